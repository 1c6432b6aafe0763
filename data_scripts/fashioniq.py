"""FashionIQ: relative captions between product photos of dresses, shirts and tops (Wu et al., CVPR 2021).

Source: https://github.com/XiaoxiaoGuo/fashion-iq (annotations; Community Data License Agreement). The photos are
Amazon product images, fetched from the addresses listed there; they carry no licence of their own.

    fashionIQ_dataset/captions/cap.<category>.<split>.json        [{"target", "candidate", "captions": [two]}, ...]
    fashionIQ_dataset/image_splits/split.<category>.<split>.json  ["B0084Y8XIU", ...]
    fashionIQ_dataset/images/<id>.jpg

`data_dir` is that folder or the one that holds it. Categories dress, shirt, toptee; splits train, val, test.

    builder = FashionIQ(config_name="dress", data_dir="data/fashionIQ_dataset")
    builder.download_and_prepare()
    builder.as_dataset(split="val")[0]["captions"]

Configurations
    dress, shirt, toptee, all        triplets: row, category, reference_id, target_id, captions, two images
    <one of those>-gallery           "original split" protocol: every id of the split file
    <one of those>-gallery-val-split "VAL split" protocol: ids that are a reference or a target of the split's triplets
                                     (only for splits whose triplets have targets)
    <one of those>-fashionvil        triplets with target_number, fake_data and garment_class, and rows for the other
                                     images of the val split: see data_scripts/fashioniq_gallery.py. Read from the
                                     official files, or from modified ones, in which case split files aren't needed

Published counts, dress / shirt / toptee: see PUBLISHED below. The nine split files hold 77,683 entries but 74,381
distinct ids, because shirt and toptee share products, also across splits (a shirt-train photo can be in toptee-val).
The paper's "about 77.7k" counts entries: 74,381 images are a complete download. Test triplets have no target in the
official release. Rows with "fake_data" in caption files that were modified for FashionViL are no triplets. A few captions
are empty once punctuation is stripped. Captions are passed on untouched.

Options (keyword arguments): splits, categories (what "all" joins), images="required"|"absent",
missing="error"|"skip"; see FashionIQConfig.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from data_scripts import fashioniq_gallery
from data_scripts.fashioniq_gallery import gallery_rows, read_modified
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

CATEGORIES = ("dress", "shirt", "toptee")
SPLITS = ("train", "val", "test")
FASHIONVIL_ORDER = ("shirt", "dress", "toptee")  # in which the original joins the categories
TRIPLETS = ("triplets", "fashionvil")  # contents whose rows are triplets
# (category, split): triplets, images in the split file, distinct references and targets (None: targets are hidden)
PUBLISHED = {
    ("dress", "train"): (5985, 11452, None),
    ("dress", "val"): (2017, 3817, 2628),
    ("dress", "test"): (2024, 3818, None),
    ("shirt", "train"): (5988, 19036, None),
    ("shirt", "val"): (2038, 6346, 3089),
    ("shirt", "test"): (2038, 6346, None),
    ("toptee", "train"): (6027, 16121, None),
    ("toptee", "val"): (1961, 5373, 2902),
    ("toptee", "test"): (2056, 5374, None),
}
REMEDY = "The annotations are at https://github.com/XiaoxiaoGuo/fashion-iq; see data_scripts/fashioniq.py for the tree."
IMAGE_REMEDY = (
    "Put <id>.jpg files into the images folder (the addresses are listed at https://github.com/XiaoxiaoGuo/fashion-iq; "
    "a complete official download has 74,381 images)."
)


@dataclass
class FashionIQConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        content: "triplets", "gallery", "gallery-val-split" or "fashionvil".
        categories: the categories that are joined, in this order.
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        images: "required", or "absent" to use the annotation files alone (image columns hold None).
        missing: "error" lists every missing image at once; "skip" leaves out the rows that need one and says how many.
    """

    content: str = "triplets"
    categories: tuple[str, ...] = CATEGORIES
    splits: tuple[str, ...] | None = None
    images: str = "required"
    missing: str = "error"


class FashionIQ(datasets.GeneratorBasedBuilder):
    """Builder of every FashionIQ split and configuration; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, an annotation file or images are missing (images as one list).
        ValueError: an annotation file is malformed, or belongs to another split.
    """

    BUILDER_CONFIG_CLASS = FashionIQConfig
    BUILDER_CONFIGS = [
        FashionIQConfig(
            name=name + ("" if content == "triplets" else f"-{content}"),
            version=datasets.Version("1.0.0"),
            content=content,
            categories=(name,) if name != "all" else FASHIONVIL_ORDER if content == "fashionvil" else CATEGORIES,
        )
        for content in ("triplets", "gallery", "gallery-val-split", "fashionvil")
        for name in (*CATEGORIES, "all")
    ]
    DERIVED = tuple(f"{name}-fashionvil" for name in (*CATEGORIES, "all"))  # what the others hold, for one system

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        root = find_root(data_dir)
        if hash is None:
            annotations = [caption_file(root, c, s) for c, s in PUBLISHED] + [
                split_file(root, c, s) for c, s in PUBLISHED
            ]
            hash = content_hash(annotations, [root / "images"], [__file__, fashioniq_gallery.__file__])
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        text = datasets.Value("string")
        if self.config.content in TRIPLETS:
            features = {
                "row": datasets.Value("int64"),  # position in its caption file, from 0
                "category": text,
                "reference_id": text,
                "target_id": text,
                "captions": datasets.List(text),
                "reference_image": datasets.Image(),
                "target_image": datasets.Image(),
            }
            if self.config.content == "fashionvil":
                number = datasets.Value("int64")
                features |= {"target_number": number, "fake_data": datasets.Value("bool"), "garment_class": number}
        else:
            features = {"image_id": text, "category": text, "image": datasets.Image()}
        return datasets.DatasetInfo(
            description=f"FashionIQ, {self.config.name}.",
            homepage="https://github.com/XiaoxiaoGuo/fashion-iq",
            license="Annotations: Community Data License Agreement. Photos: none stated.",
            features=datasets.Features(features),
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        config, root = self.config, Path(self.config.data_dir)
        paths = image_paths(root) if config.images != "absent" else {}
        rows: dict[str, list[dict[str, Any]]] = {}
        found: dict[tuple[str, str], tuple[int | None, int, int | None]] = {}
        sample: list[str] = []
        for split in splits_to_prepare(root, config):
            rows[split] = []
            for category in config.categories:
                if config.content == "fashionvil":
                    listed = fashionvil_rows(root, category, split)
                    rows[split] += [row | images_of(row, root, paths) for row in listed]
                    continue
                ids = read_split_file(root, category, split)
                triplets = None if config.content == "gallery" else read_triplets(root, category, split, ids)
                used = None
                if config.content == "triplets":
                    rows[split] += [triplet | images_of(triplet, root, paths) for triplet in triplets]
                else:
                    if config.content == "gallery-val-split":
                        used = {t[k] for t in triplets for k in ("reference_id", "target_id")}
                        ids = [i for i in ids if i in used]
                    rows[split] += [
                        {"image_id": i, "category": category, "image": image_path(i, root, paths)} for i in ids
                    ]
                found[category, split] = (
                    None if triplets is None else len(triplets),
                    None if used is not None else len(ids),
                    None if used is None else len(ids),
                )
                sample += ids
        compare_counts(root, found, sample)
        columns = ("reference_image", "target_image") if config.content in TRIPLETS else ("image",)
        report = os.path.join(self._cache_dir_root, f"missing-images-fashioniq-{config.name}-{self.hash}.txt")
        rows, left_out = settle_images(rows, columns, config.images, config.missing, report, IMAGE_REMEDY)
        if left_out:
            logger.warning("%s: %s", root, left_out)
            self.info.description = f"{self._info().description} {left_out}"  # said again when found prepared
        return split_generators({split: shards_of(r) for split, r in rows.items()}, root)

    def _generate_examples(
        self, shards: list[list[dict[str, Any]]]
    ) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        for number, shard in enumerate(shards):
            for position, row in enumerate(shard):
                yield (number, position), row


def find_root(data_dir: str | os.PathLike | None) -> Path:
    """The folder with `captions` and `image_splits`: `data_dir` itself, or `data_dir/fashionIQ_dataset`."""
    if data_dir is None:
        raise FileNotFoundError(f"FashionIQ needs data_dir, the folder fashionIQ_dataset or its parent. {REMEDY}")
    places = [
        Path(data_dir, *parts) for parts in ((), ("fashionIQ_dataset",), ("FashionIQ",), ("datasets", "FashionIQ"))
    ]
    for root in places:
        if (root / "captions").is_dir() and (root / "image_splits").is_dir():
            return root.resolve()
    for root in places:  # as FashionViL has it
        if any((root / "captions").glob("cap.*.json")):
            return root.resolve()
    raise FileNotFoundError(
        f"FashionIQ not found under {data_dir}: expected the folders captions and image_splits in it or in "
        f"{Path(data_dir, 'fashionIQ_dataset')}. {REMEDY}"
    )


def caption_file(root: Path, category: str, split: str) -> Path:
    return root / "captions" / f"cap.{category}.{split}.json"


def split_file(root: Path, category: str, split: str) -> Path:
    return root / "image_splits" / f"split.{category}.{split}.json"


def splits_to_prepare(root: Path, config: FashionIQConfig) -> list[str]:
    """The splits asked for, or those that are present; reading them then reports each file that is missing."""
    asked = (config.splits,) if isinstance(config.splits, str) else config.splits or ()
    unknown = [c for c in config.categories if c not in CATEGORIES] + [s for s in asked if s not in SPLITS]
    if unknown:
        raise ValueError(f"not a FashionIQ category or split: {first_few(unknown)}; choose from {CATEGORIES}, {SPLITS}")
    if asked:
        return list(asked)
    needed = split_file if config.content == "gallery" else caption_file
    present = [s for s in SPLITS if any(needed(root, c, s).is_file() for c in config.categories)]
    if config.content in ("gallery-val-split", "fashionvil"):
        present = [s for s in present if s != "test" or all(has_targets(root, c, s) for c in config.categories)]
    else:
        for split in SPLITS:
            if split not in present and any(split_file(root, c, split).is_file() for c in config.categories):
                logger.warning("%s: split %s is left out, it has no caption files (cap.*.json)", root, split)
    if not present:
        expected = [needed(root, c, s) for s in SPLITS for c in config.categories]
        raise FileNotFoundError(f"no FashionIQ files for {config.name}: expected {first_few(expected)}. {REMEDY}")
    return present


def has_targets(root: Path, category: str, split: str) -> bool:
    """Whether the first triplet names a target; official test files hide it."""
    first = read_entries(caption_file(root, category, split))[0]
    return isinstance(first, dict) and first.get("target") is not None


def read_entries(file: Path) -> list[Any]:
    """What a caption file lists, unchecked.

    Raises:
        FileNotFoundError, ValueError: missing, no list, or an empty one.
    """
    entries = read_json(file, REMEDY)
    if not isinstance(entries, list) or not entries:
        got = "an empty list" if entries == [] else type(entries).__name__
        raise ValueError(f"{file}: expected a list of triplets, got {got}. {REMEDY}")
    return entries


def read_split_file(root: Path, category: str, split: str) -> list[str]:
    """The ids of one split file, in its order.

    Raises:
        FileNotFoundError, ValueError: missing, malformed, or an id is listed twice.
    """
    file = split_file(root, category, split)
    entries = read_json(file, REMEDY)
    if not isinstance(entries, list) or not entries:
        got = "an empty list" if entries == [] else type(entries).__name__
        raise ValueError(f"{file}: expected a list of image ids, got {got}. {REMEDY}")
    ids = [as_id(entry, f"{file}, row {row} (from 0)") for row, entry in enumerate(entries)]
    if twice := repeated(ids):
        raise ValueError(f"{file}: {len(twice):,} ids are listed twice: {first_few(twice)}; keep one of each")
    return ids


def read_triplets(root: Path, category: str, split: str, ids: list[str] | None) -> list[dict[str, Any]]:
    """The triplets of one caption file, in its order: row, category, reference_id, target_id, captions.

    Args:
        ids: the ids of the split file, which every reference and target must be among; None doesn't check.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is malformed, a train or val row has no target, or it belongs to another split.
    """
    file = caption_file(root, category, split)
    entries, triplets = read_entries(file), []
    for row, entry in enumerate(entries):
        where = f"{file}, row {row} (from 0)"
        if not isinstance(entry, dict) or "candidate" not in entry or "captions" not in entry:
            raise ValueError(
                f'{where}: expected {{"target", "candidate", "captions"}}, got {entry!r}; correct this row'
            )
        if entry.get("fake_data") is True:
            continue  # asks nothing, see data_scripts/fashioniq_gallery.py
        captions = entry["captions"]
        if not isinstance(captions, list) or len(captions) != 2 or not all(isinstance(c, str) for c in captions):
            raise ValueError(f"{where}: expected a list of exactly two captions, got {captions!r}; correct this row")
        target = entry.get("target")
        if target is None and split != "test":
            raise ValueError(f'{where}: no "target"; only test files may leave it out. Is this the test file?')
        triplets.append(
            {
                "row": row,
                "category": category,
                "reference_id": as_id(entry["candidate"], f"{where}, candidate"),
                "target_id": None if target is None else as_id(target, f"{where}, target"),
                "captions": captions,
            }
        )
    if ids is not None:
        refuse_other_split(root, category, split, triplets, set(ids))
    if len(triplets) < len(entries):
        logger.warning("%s: %s rows with fake_data are no triplets", file, f"{len(entries) - len(triplets):,}")
    return triplets


def fashionvil_rows(root: Path, category: str, split: str) -> list[dict[str, Any]]:
    """Rows of one category and split with target_number, fake_data and garment_class.

    Of a modified file, or made from the official ones: training has no images beside its targets', validation has those
    of the whole split file.

    Raises:
        FileNotFoundError, ValueError: as `read_modified` and `read_triplets`; a test file without targets.
    """
    file = caption_file(root, category, split)
    rows = read_modified(file, category, REMEDY)
    if rows is not None:
        return rows
    if split == "train" and not split_file(root, category, split).is_file():
        triplets = read_triplets(root, category, split, None)
        ids = list(dict.fromkeys(t["target_id"] for t in triplets))
    else:
        ids = read_split_file(root, category, split)
        triplets = read_triplets(root, category, split, ids)
        if any(t["target_id"] is None for t in triplets):
            raise ValueError(f"{file}: no targets, which FashionViL's rows need; choose the splits train and val")
        if split == "train":
            ids = list(dict.fromkeys(t["target_id"] for t in triplets))
    return gallery_rows(triplets, ids, category)


def refuse_other_split(root: Path, category: str, split: str, triplets: list[dict[str, Any]], ids: set[str]) -> None:
    """Raise ValueError when triplets name ids outside their split file, and say whose ids they are if that is clear."""

    def outside(known: set[str]) -> list[tuple[int, str]]:
        names = ((t["row"], t[k]) for t in triplets for k in ("reference_id", "target_id"))
        return [(row, name) for row, name in names if name is not None and name not in known]

    strangers = outside(ids)
    if not strangers:
        return
    own, hint = split_file(root, category, split), ""
    for (other_category, other_split), listed in readable_split_files(root).items():
        if not outside(set(listed)):
            other = split_file(root, other_category, other_split)
            hint = f" All its ids are in {other.name}: it looks like the caption file of that split."
            break
    raise ValueError(
        f"{caption_file(root, category, split)}: {len({row for row, _ in strangers}):,} of {len(triplets):,} rows name "
        f"images that {own.name} does not list (first: row {strangers[0][0]}, {strangers[0][1]}).{hint} "
        f"Put the caption file and the split file of the same category and split there. {REMEDY}"
    )


def image_paths(root: Path) -> dict[str, str]:
    """Path of every image by its id. Official images are .jpg; .jpeg and .png are found too."""
    folder, found = root / "images", {}
    if folder.is_dir():
        for suffix in (".png", ".jpeg", ".jpg"):  # the last one wins
            names = (name for name in os.listdir(folder) if name.endswith(suffix))
            found.update({name.removesuffix(suffix): str(folder / name) for name in names})
    return found


def image_path(image_id: str | None, root: Path, paths: dict[str, str]) -> str | None:
    """Where the image is, or where it was expected."""
    return None if image_id is None else paths.get(image_id) or str(root / "images" / f"{image_id}.jpg")


def images_of(triplet: dict[str, Any], root: Path, paths: dict[str, str]) -> dict[str, str | None]:
    return {f"{k}_image": image_path(triplet[f"{k}_id"], root, paths) for k in ("reference", "target")}


def compare_counts(
    root: Path, found: dict[tuple[str, str], tuple[int | None, int | None, int | None]], ids: list[str]
) -> None:
    """Warn with both numbers when counts differ from the published ones; other data in the same layout get one line.

    Args:
        found: (category, split) -> triplets, images in the split file, distinct references and targets; None: not read.
        ids: image ids, to tell Amazon product codes from other data.
    """
    kinds = ("triplets", "images in the split file", "distinct references and targets")
    differences = [
        f"{category} {split} {kind}: {number:,} found, {published:,} published"
        for (category, split), numbers in found.items()
        for kind, number, published in zip(kinds, numbers, PUBLISHED[category, split], strict=True)
        if number is not None and published is not None and number != published
    ]
    if not differences:
        return
    if 2 * sum(bool(re.fullmatch(r"[0-9B][0-9A-Z]{9}", i)) for i in ids) < len(ids):
        note_other_data(root)
        return
    explanation = ""
    everything = readable_split_files(root)
    if len(everything) == len(PUBLISHED):
        entries = [i for ids_of_file in everything.values() for i in ids_of_file]
        explanation = (
            f" The nine split files here hold {len(entries):,} entries and {len(set(entries)):,} distinct ids; the "
            "official ones hold 77,683 entries and 74,381 distinct ids, because shirt and toptee share products. The "
            "paper's 'about 77.7k' counts entries, so 74,381 images are a complete download."
        )
    logger.warning("%s: counts differ from the published ones: %s.%s", root, "; ".join(differences), explanation)


@functools.cache  # once per folder, however many configurations are prepared
def note_other_data(root: Path) -> None:
    """Say in one line that these are not the official annotations, and that their counts are not compared."""
    distinct = {i for ids in readable_split_files(root).values() for i in ids}
    logger.warning(
        "%s: other data in the FashionIQ layout (%s distinct ids in its split files, 74,381 in the official ones)",
        root,
        f"{len(distinct):,}",
    )


def readable_split_files(root: Path) -> dict[tuple[str, str], list[str]]:
    """Every split file that can be read, for messages; the files that are needed are read with errors."""
    found = {}
    for category, split in PUBLISHED:
        try:
            found[category, split] = read_split_file(root, category, split)
        except (FileNotFoundError, ValueError):
            continue
    return found
