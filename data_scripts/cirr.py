"""CIRR: relative captions between photos of everyday scenes, in groups of six look-alikes (Liu et al., ICCV 2021).

Source: https://github.com/Cuberick-Orion/CIRR, branch cirr_dataset, annotation version rc2 (MIT licence). The photos
come from NLVR2 (https://lil.nlp.cornell.edu/nlvr/), ask there; they are not covered by that licence.

    cirr_dataset/cirr/captions/cap.rc2.<split>.json        [{"pairid", "reference", "target_hard", "target_soft",
                                                             "caption", "img_set": {"members": [six names], ...}}, ...]
    cirr_dataset/cirr/image_splits/split.rc2.<split>.json  {"dev-12-0-img1": "./dev/dev-12-0-img1.png", ...}
    cirr_dataset/train/<0..99>/*.png, dev/*.png, test1/*.png

`data_dir` is cirr_dataset or its parent; a folder that directly holds captions and image_splits works too. Splits
train, val, test1 (the validation photos lie in dev). The order of the split file is the order of the gallery.

    builder = Cirr(config_name="triplets", data_dir="data/cirr_dataset")

Configurations
    triplets   pairid, reference_id, target_id, caption, members, target_soft, two images. test1 hides its targets.
               Members always include the reference; target_soft lists further acceptable targets with a score
               (1.0, 0.5, 0.2, -1.0), only target_hard counts in the benchmark.
    gallery    image_id, image

Published counts, queries / images: train 28,225 / 16,939, val 4,181 / 2,297, test1 4,148 / 2,315. A split with a split
file but no caption file is left out of "triplets" with a warning. Captions are passed on untouched.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from data_scripts.source_files import (
    as_id,
    content_hash,
    first_few,
    read_json,
    repeated,
    settle_images,
    shards_of,
    split_generators,
)

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test1")
PUBLISHED = {"train": (28225, 16939), "val": (4181, 2297), "test1": (4148, 2315)}  # queries, images in the split file
REMEDY = (
    "The annotations are at https://github.com/Cuberick-Orion/CIRR (branch cirr_dataset); "
    "see data_scripts/cirr.py for the tree."
)
IMAGE_REMEDY = "The photos come from NLVR2: ask at https://lil.nlp.cornell.edu/nlvr/ and put them where listed."


@dataclass
class CirrConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        images: "required", or "absent" to use the annotation files alone (image columns hold None).
        missing: "error" lists every missing image at once; "skip" leaves out the rows that need one and says how many.
    """

    splits: tuple[str, ...] | None = None
    images: str = "required"
    missing: str = "error"


class Cirr(datasets.GeneratorBasedBuilder):
    """Builder of every CIRR split and configuration; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, an annotation file or images are missing (images as one list).
        ValueError: an annotation file is malformed, or belongs to another split.
    """

    BUILDER_CONFIG_CLASS = CirrConfig
    BUILDER_CONFIGS = [CirrConfig(name=name, version=datasets.Version("1.0.0")) for name in ("triplets", "gallery")]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        annotations = find_annotations(data_dir)
        if hash is None:
            files = [file(annotations, split) for split in SPLITS for file in (caption_file, split_file)]
            splits = [read_split_file(annotations, s) for s in SPLITS if split_file(annotations, s).is_file()]
            folders = {Path(path).parent for images in splits for path in images.values()}
            hash = content_hash(files, folders, [__file__])
        super().__init__(data_dir=str(annotations), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        text = datasets.Value("string")
        if self.config.name == "triplets":
            features = {
                "pairid": text,
                "reference_id": text,
                "target_id": text,
                "caption": text,
                "members": datasets.List(text),
                "target_soft": datasets.List({"image_id": text, "score": datasets.Value("float64")}),
                "reference_image": datasets.Image(),
                "target_image": datasets.Image(),
            }
        else:
            features = {"image_id": text, "image": datasets.Image()}
        return datasets.DatasetInfo(
            description=f"CIRR rc2, {self.config.name}.",
            homepage="https://github.com/Cuberick-Orion/CIRR",
            license="Annotations: MIT. Photos: NLVR2, not covered.",
            features=datasets.Features(features),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        config, annotations = self.config, Path(self.config.data_dir)
        triplets_wanted = config.name == "triplets"
        rows: dict[str, list[dict[str, Any]]] = {}
        for split in splits_to_prepare(annotations, config):
            images = read_split_file(annotations, split)
            if triplets_wanted:
                triplets = read_triplets(annotations, split, images)
                rows[split] = [
                    t | {f"{k}_image": images.get(t[f"{k}_id"]) for k in ("reference", "target")} for t in triplets
                ]
            else:
                rows[split] = [{"image_id": name, "image": path} for name, path in images.items()]
            compare_counts(annotations, split, len(rows[split]) if triplets_wanted else None, images)
        columns = ("reference_image", "target_image") if triplets_wanted else ("image",)
        report = os.path.join(self._cache_dir_root, f"missing-images-cirr-{config.name}-{self.hash}.txt")
        rows, left_out = settle_images(rows, columns, config.images, config.missing, report, IMAGE_REMEDY)
        if left_out:
            logger.warning("%s: %s", annotations, left_out)
            self.info.description = f"{self._info().description} {left_out}"  # said again when found prepared
        return split_generators({split: shards_of(r) for split, r in rows.items()}, annotations)

    def _generate_examples(
        self, shards: list[list[dict[str, Any]]]
    ) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        for number, shard in enumerate(shards):
            for position, row in enumerate(shard):
                yield (number, position), row


def find_annotations(data_dir: str | os.PathLike | None) -> Path:
    """The folder with `captions` and `image_splits`: cirr_dataset/cirr, looked for from its parents too."""
    if data_dir is None:
        raise FileNotFoundError(f"CIRR needs data_dir, the folder cirr_dataset or its parent. {REMEDY}")
    for folder in (Path(data_dir, "cirr_dataset", "cirr"), Path(data_dir, "cirr"), Path(data_dir)):
        if (folder / "captions").is_dir() and (folder / "image_splits").is_dir():
            return folder.resolve()
    raise FileNotFoundError(
        f"CIRR not found under {data_dir}: expected the folders captions and image_splits in "
        f"{Path(data_dir, 'cirr')} or {Path(data_dir, 'cirr_dataset', 'cirr')}. {REMEDY}"
    )


def caption_file(annotations: Path, split: str) -> Path:
    return annotations / "captions" / f"cap.rc2.{split}.json"


def split_file(annotations: Path, split: str) -> Path:
    return annotations / "image_splits" / f"split.rc2.{split}.json"


def image_root(annotations: Path) -> Path:
    """What the paths of a split file start from: cirr_dataset, the parent of the annotation folder `cirr`."""
    return annotations.parent if annotations.name == "cirr" else annotations


def splits_to_prepare(annotations: Path, config: CirrConfig) -> list[str]:
    """The splits asked for, or those that are present."""
    asked = (config.splits,) if isinstance(config.splits, str) else config.splits or ()
    if unknown := [s for s in asked if s not in SPLITS]:
        raise ValueError(f"not a CIRR split: {first_few(unknown)}; choose from {SPLITS}")
    if asked:
        return list(asked)
    needed = caption_file if config.name == "triplets" else split_file
    present = [s for s in SPLITS if needed(annotations, s).is_file()]
    for split in SPLITS:
        if split not in present and split_file(annotations, split).is_file():
            logger.warning("%s is not there: split %s is left out. %s", needed(annotations, split), split, REMEDY)
    if not present:
        raise FileNotFoundError(
            f"no CIRR files: expected {first_few([needed(annotations, s) for s in SPLITS])}. {REMEDY}"
        )
    return present


def read_split_file(annotations: Path, split: str) -> dict[str, str]:
    """Image name -> absolute path, in the order of the file.

    Raises:
        FileNotFoundError, ValueError: missing, malformed, a name is listed twice, or a path leaves the folder.
    """
    file = split_file(annotations, split)
    entries = read_json(file, REMEDY, unique_keys=True)
    if not isinstance(entries, dict) or not entries:
        got = "an empty one" if entries == {} else type(entries).__name__
        raise ValueError(f"{file}: expected an object of image name -> path, got {got}. {REMEDY}")
    images = {}
    for row, (name, relative) in enumerate(entries.items()):
        where = f"{file}, entry {row} (from 0)"
        if not isinstance(relative, str) or PurePosixPath(relative).is_absolute() or ".." in relative.split("/"):
            raise ValueError(f"{where}: expected a path inside the data folder, got {relative!r}; correct this entry")
        images[as_id(name, where)] = str(image_root(annotations) / relative)
    return images


def read_triplets(annotations: Path, split: str, images: dict[str, str]) -> list[dict[str, Any]]:
    """The queries of one caption file, in its order: every text column of the configuration "triplets".

    Args:
        images: the split file; every name must be in it.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a row is malformed, a train or val row has no target, a pairid occurs twice, or the file belongs to
            another split.
    """
    file = caption_file(annotations, split)
    entries = read_json(file, REMEDY)
    if not isinstance(entries, list) or not entries:
        got = "an empty list" if entries == [] else type(entries).__name__
        raise ValueError(f"{file}: expected a list of queries, got {got}. {REMEDY}")
    triplets = [read_query(entry, f"{file}, row {row} (from 0)", split) for row, entry in enumerate(entries)]
    if twice := repeated(t["pairid"] for t in triplets):
        raise ValueError(f"{file}: pairids occur twice: {first_few(twice)}; keep one row of each")
    strangers = [(row, n) for row, t in enumerate(triplets) for n in names_of(t) if n not in images]
    if strangers:
        raise ValueError(
            f"{file}: {len({row for row, _ in strangers}):,} of {len(triplets):,} rows name images that "
            f"{split_file(annotations, split).name} does not list (first: row {strangers[0][0]}, {strangers[0][1]})."
            f"{other_split(annotations, split, triplets)} Put the two files of the same split there. {REMEDY}"
        )
    return triplets


def read_query(entry: Any, where: str, split: str) -> dict[str, Any]:
    """One row of a caption file, checked."""
    if not isinstance(entry, dict) or not {"pairid", "reference", "caption", "img_set"} <= entry.keys():
        expected = '{"pairid", "reference", "target_hard", "target_soft", "caption", "img_set"}'
        raise ValueError(f"{where}: expected {expected}, got {entry!r}; correct this row")
    if not isinstance(entry["caption"], str):
        raise ValueError(f"{where}: expected one caption, got {entry['caption']!r}; correct this row")
    members = entry["img_set"].get("members") if isinstance(entry["img_set"], dict) else None
    if not isinstance(members, list) or len(members) != 6:
        raise ValueError(f"{where}: expected six names in img_set.members, got {members!r}; correct this row")
    target, soft = entry.get("target_hard"), entry.get("target_soft") or {}
    if target is None and split != "test1":
        raise ValueError(f'{where}: no "target_hard"; only test1 may leave it out. Is this the test1 file?')
    if not isinstance(soft, dict) or not all(isinstance(score, int | float) for score in soft.values()):
        raise ValueError(f"{where}: expected target_soft as name -> score, got {soft!r}; correct this row")
    reference = as_id(entry["reference"], f"{where}, reference")
    members = [as_id(member, f"{where}, img_set.members") for member in members]
    if reference not in members:
        raise ValueError(f"{where}: the reference {reference} is not among img_set.members; correct this row")
    return {
        "pairid": as_id(entry["pairid"], f"{where}, pairid"),
        "reference_id": reference,
        "target_id": None if target is None else as_id(target, f"{where}, target_hard"),
        "caption": entry["caption"],
        "members": members,
        "target_soft": [{"image_id": name, "score": float(score)} for name, score in soft.items()],
    }


def names_of(triplet: dict[str, Any]) -> list[str]:
    """Every image that a query names."""
    target = [] if triplet["target_id"] is None else [triplet["target_id"]]
    return [triplet["reference_id"], *target, *triplet["members"], *(s["image_id"] for s in triplet["target_soft"])]


def other_split(annotations: Path, split: str, triplets: list[dict[str, Any]]) -> str:
    """A sentence that names the split whose images these are, when there is one."""
    for other in SPLITS:
        if other != split and split_file(annotations, other).is_file():
            listed = read_split_file(annotations, other)
            if all(name in listed for t in triplets for name in names_of(t)):
                return f" All its names are in {split_file(annotations, other).name}: it looks like that split's file."
    return ""


def compare_counts(annotations: Path, split: str, queries: int | None, images: dict[str, str]) -> None:
    """Warn with both numbers when counts differ from the published ones; other data in the same layout get one line."""
    differences = [
        f"{split} {kind}: {number:,} found, {published:,} published"
        for kind, number, published in zip(("queries", "images"), (queries, len(images)), PUBLISHED[split], strict=True)
        if number is not None and number != published
    ]
    if not differences:
        return
    if 2 * sum(bool(re.fullmatch(r"(train|dev|test1)-\d+-\d+-img\d", name)) for name in images) < len(images):
        note_other_data(annotations)
    else:
        logger.warning("%s: counts differ from the published ones: %s", annotations, "; ".join(differences))


@functools.cache  # once per folder, however many configurations are prepared
def note_other_data(annotations: Path) -> None:
    """Say in one line that these are not the official annotations, and that their counts are not compared."""
    total = sum(len(read_split_file(annotations, s)) for s in SPLITS if split_file(annotations, s).is_file())
    logger.warning(
        "%s: other data in the CIRR layout (%s images in its split files, 21,551 in the official ones)",
        annotations,
        f"{total:,}",
    )
