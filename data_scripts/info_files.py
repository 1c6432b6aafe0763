"""Products of `*_info.json` files, the form in which FashionViL reads its pre-training sets: one object per product.

    [{"id": 77, "images": ["a/0.jpg", "a/1.jpg"], "color": "navy blue", "title": "ribbed cardigan",
      "description": "a warm layer", "attributes_id": [5, 40]}, ...]

Which texts there are depends on the set; so does the file's name. Photos lie under one folder and may have another
ending than the file says. `attributes_id` are pseudo-attributes (data_scripts/pseudo_attributes.py makes them), opaque
numbers from 0.

Shared by the builders of BigFACAD, Fashion200k, FashionGen and Polyvore Outfits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from data_scripts import source_files
from data_scripts.images import check_images
from data_scripts.source_files import (
    as_id,
    check_image_options,
    content_hash,
    entries_of,
    find_missing,
    first_few,
    read_json,
    repeated,
    report_missing,
    shards_of,
    split_generators,
)

logger = logging.getLogger(__name__)

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Product = dict[str, Any]


@dataclass
class InfoConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        num_attributes: how many pseudo-attributes there are; a larger id is an error. None accepts all from 0.
        images: "required", or "absent" for texts alone.
        missing: "error" lists every photo that cannot be used at once; "skip" leaves them out and says how many. A
            product keeps its other photos, and goes when it has none.
        check: open every photo; damaged ones count as missing. Once per prepared copy, but slow.
    """

    splits: tuple[str, ...] | None = None
    num_attributes: int | None = None
    images: str = "required"
    missing: str = "error"
    check: bool = False


@dataclass(frozen=True)
class InfoSet:
    """What one of the sets calls its files and texts.

    Attributes:
        name: of its folder. files: split -> info file. photos: split -> folder of its photos.
        texts: keys of the texts, in the order in which the caption joins them.
        joint: what stands between them. The original puts a full stop without a blank.
        counts: split -> published number of products.
        remedy: where to get it.
    """

    name: str
    files: dict[str, str]
    photos: dict[str, str]
    texts: tuple[str, ...]
    remedy: str
    joint: str = "."
    counts: dict[str, int] = field(default_factory=dict)


class InfoBuilder(datasets.GeneratorBasedBuilder):
    """Builder of the products of one set; rows keep the order of the files. Sub-classes set `SET` and `SOURCE`.

    Raises:
        FileNotFoundError: `data_dir`, a split or photos are missing (photos as one list).
        ValueError: a malformed product, an id twice, or an id of an attribute that there is not.
    """

    SET: InfoSet
    SOURCE: str
    BUILDER_CONFIG_CLASS = InfoConfig
    BUILDER_CONFIGS = [InfoConfig(name="products", version=datasets.Version("1.0.0"))]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        root = find_root(data_dir, self.SET)
        if hash is None:
            files = [annotation_file(root, name) for name in self.SET.files.values()]
            folders = [root / folder for folder in self.SET.photos.values()]
            sources = [self.SOURCE, __file__, source_files.__file__]
            hash = content_hash(files, folders, sources, photo_times=kwargs.get("check", False))
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"{self.SET.name}, {self.config.name}.", features=product_features(self.SET.texts)
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root, config = Path(self.config.data_dir), self.config
        check_image_options(config.images, config.missing)
        splits = splits_to_prepare(root, self.SET, config.splits)
        products = {split: self.read_products(root, split) for split in splits}
        compare_counts(root, self.SET, {split: len(rows) for split, rows in products.items()})
        report = os.path.join(self._cache_dir_root, f"missing-images-{self.SET.name.lower()}-{self.hash}.txt")
        products, left_out = settle_views(
            products, config.images, config.missing, config.check, report, self.SET.remedy
        )
        if left_out:
            logger.warning("%s: %s", root, left_out)
            self.info.description = f"{self._info().description} {left_out}"
        rows = {split: [row_of(product) for product in listed] for split, listed in products.items()}
        return split_generators({split: shards_of(r) for split, r in rows.items()}, root)

    def read_products(self, root: Path, split: str) -> list[Product]:
        """Products of one split, see the function of this name."""
        return read_products(root, self.SET, split, self.config.num_attributes)

    def _generate_examples(self, shards: list[list[Product]]) -> Iterator[tuple[tuple[int, int], Product]]:
        for number, shard in enumerate(shards):
            for position, row in enumerate(shard):
                yield (number, position), row


def product_features(texts: Iterable[str]) -> datasets.Features:
    """Columns of a product: product_id, its texts, caption, attributes (the ids as text, where FashionGen has names),
    attribute_ids, image_ids, images."""
    text = datasets.Value("string")
    columns = dict.fromkeys(("product_id", *texts, "caption"), text)
    columns |= {"attributes": datasets.List(text), "attribute_ids": datasets.List(datasets.Value("int64"))}
    return datasets.Features(columns | {"image_ids": datasets.List(text), "images": datasets.List(datasets.Image())})


def row_of(product: Product) -> Product:
    """A product as a row: its photos as two lists."""
    images, absent = product["images"], "views" in product
    row = {name: value for name, value in product.items() if name != "views"}
    return row | {
        "attributes": [str(number) for number in product["attribute_ids"]],
        "image_ids": product["views"] if absent else list(images),
        "images": None if absent else list(images.values()),
    }


# Where the files are


def find_root(data_dir: str | os.PathLike | None, info: InfoSet) -> Path:
    """The folder with the info files: `data_dir`, a folder of the set's name in it, or that in `datasets`.

    Raises:
        FileNotFoundError: none of them holds one.
    """
    if data_dir is None or not os.path.isdir(data_dir):
        raise FileNotFoundError(f"{info.name} folder not found: {data_dir}. {info.remedy}")
    for root in (Path(data_dir), Path(data_dir, info.name), Path(data_dir, "datasets", info.name)):
        if any(annotation_file(root, name).is_file() for name in info.files.values()):
            return root.resolve()
    raise FileNotFoundError(f"{data_dir}: none of {', '.join(info.files.values())} is there. {info.remedy}")


def annotation_file(root: Path, name: str) -> Path:
    """An info file, in the folder `annotations` where that holds it."""
    inner = root / "annotations" / name
    return inner if inner.is_file() else root / name


def splits_to_prepare(root: Path, info: InfoSet, asked: Sequence[str] | str | None) -> list[str]:
    """The splits asked for, or those that are present.

    Raises:
        ValueError: no such split. FileNotFoundError: its file, or that of every split, is missing.
    """
    present = [split for split, name in info.files.items() if annotation_file(root, name).is_file()]
    splits = [asked] if isinstance(asked, str) else list(asked or present or info.files)
    if unknown := [split for split in splits if split not in info.files]:
        raise ValueError(f"{info.name} has the splits {', '.join(info.files)}, not {first_few(unknown)}")
    if lost := [str(annotation_file(root, info.files[split])) for split in splits if split not in present]:
        raise FileNotFoundError(f"expected {first_few(lost)}. {info.remedy}")
    return splits


def compare_counts(root: Path, info: InfoSet, found: dict[str, int]) -> None:
    """Warn with both numbers where a count of products is not the published one."""
    unlike = [
        f"{s} has {n:,}, {info.counts[s]:,} are published" for s, n in found.items() if info.counts.get(s, n) != n
    ]
    if unlike:
        logger.warning("%s: products of %s: %s", root, info.name, "; ".join(unlike))


# Reading


def read_products(root: Path, info: InfoSet, split: str, num_attributes: int | None = None) -> list[Product]:
    """Products of one split: product_id, texts, caption, attribute_ids; `images` maps a photo's id to its path.

    A photo's id is its name without ending. An image key may hold one name instead of a list of them.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: not a list of products, a key is missing or of another type, a photo twice in a product, an id twice.
    """
    path = annotation_file(root, info.files[split])
    content = read_json(path, info.remedy)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of products, got {type(content).__name__}. {info.remedy}")
    finder = PhotoFinder(root / info.photos[split])
    products = []
    for number, entry in enumerate(content):
        where = f"{path}, product {number} (from 0)"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected an object, got {str(entry)[:60]}; correct this row")
        if lacking := [name for name in ("id", "images", *info.texts) if name not in entry]:
            raise ValueError(f"{where}: lacks {', '.join(lacking)}; add it to this row. {info.remedy}")
        texts = {name: text_of(entry, name, where) for name in info.texts}
        products.append(
            {"product_id": as_id(entry["id"], f"{where}, id")}
            | texts
            | {
                "caption": info.joint.join(texts.values()),
                "attribute_ids": label_ids(entry.get("attributes_id"), num_attributes, f"{where}, attributes_id"),
                "images": photos_of(entry["images"], finder, where),
            }
        )
    if twice := repeated(product["product_id"] for product in products):
        raise ValueError(f"{path}: ids twice: {first_few(twice)}; keep one product of each")
    return products


def text_of(entry: Product, name: str, where: str) -> str:
    """A text as it is there, "" for null or none.

    Raises:
        ValueError: no text, or one that UTF-8 cannot hold (half of a character, as "\\ud83d" alone is).
    """
    text = entry.get(name) or ""
    if not isinstance(entry.get(name), str | None):
        raise ValueError(f"{where}: expected a text in {name}, got {str(entry[name])[:80]}; correct this row")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: {name} holds {text[error.start]!a} at {error.start}, half of a character; correct this row"
        ) from error
    return text


def label_ids(ids: Any, count: int | None, where: str) -> list[int]:
    """A list of label ids, each once, in their order; null is an empty one.

    Raises:
        ValueError: not a list of whole numbers, or one outside 0 .. count - 1.
    """
    ids = [] if ids is None else ids
    if not isinstance(ids, list):
        raise ValueError(f"{where}: expected a list of ids, got {str(ids)[:80]}; correct this row")
    return list(dict.fromkeys(label_id(number, count, where) for number in ids))


def label_id(number: Any, count: int | None, where: str) -> int:
    """A label's id, checked.

    Raises:
        ValueError: no whole number, or outside 0 .. count - 1, or of 64 bits.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"{where}: expected a whole number, got {number!r}; correct this row")
    if not 0 <= number < (2**63 if count is None else count):
        limit = "0 or more in 64 bits" if count is None else f"0 to {count - 1}"
        raise ValueError(
            f"{where}: {number} is out of range, expected {limit}; are the labels of another vocabulary? Make them anew, "
            "or state their number"
        )
    return number


class PhotoFinder:
    """Photos under a folder, whatever their ending; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root, self._listed = str(root), {}  # folder -> its entries by name

    def __call__(self, name: str) -> str:
        """Path of a photo: the first of `IMAGE_ENDINGS` that is there, else the name as given."""
        path = f"{self.root}/{name}"  # joined as text: `datasets` makes joining paths slow in builders
        folder, base = os.path.split(path)
        if folder not in self._listed:
            self._listed[folder] = entries_of(folder)
        stem = os.path.splitext(base)[0]
        found = next((e for e in IMAGE_ENDINGS if stem + e in self._listed[folder]), None)
        return path if found is None else f"{folder}/{stem}{found}"


def photos_of(names: Any, finder: PhotoFinder, where: str) -> dict[str, str]:
    """Id -> path of a product's photos; a single name counts as a list of one.

    Raises:
        ValueError: no list of names, or a photo twice.
    """
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"{where}: expected file names in images, got {str(names)[:80]}; correct this row")
    if outside := [name for name in names if os.path.isabs(name) or ".." in name.split("/")]:
        raise ValueError(f"{where}: photos lie under {finder.root}, got {first_few(outside)}; correct this row")
    photos = {os.path.splitext(name)[0]: finder(name) for name in names}
    if len(photos) < len(names):
        raise ValueError(f"{where}: a photo is listed twice: {names}; leave one of each")
    return photos


def settle_views(
    products: dict[str, list[Product]], images: str, missing: str, check: bool, report_file: str, remedy: str
) -> tuple[dict[str, list[Product]], str]:
    """Decide what becomes of photos that are missing or damaged, and of products without any.

    Args:
        products: per split; "images" maps photo ids to paths. images: "absent" leaves texts alone.
        missing: "error", or "skip" to leave out those photos, and products that have no other.
        check: open every photo.
        report_file: where the full list is written. remedy: what to do; part of the message.

    Returns:
        The products, and a sentence on what was left out ("" for nothing).

    Raises:
        FileNotFoundError: photos cannot be used and `missing` is "error".
        ValueError: a product has no photos in its file and `missing` is "error".
    """
    if images == "absent":
        kept = {s: [p | {"images": None, "views": list(p["images"])} for p in rows] for s, rows in products.items()}
        return kept, ""
    wanted = dict.fromkeys(path for rows in products.values() for row in rows for path in row["images"].values())
    gone = dict.fromkeys(find_missing(wanted), "missing")
    if check:
        gone |= dict(check_images(path for path in wanted if path not in gone))
    if gone:
        listed = [path if why == "missing" else why for path, why in gone.items()]
        what = "are missing" if set(gone.values()) == {"missing"} else "cannot be used"
        report_missing(listed, len(wanted), missing, report_file, remedy, what)
    counts: dict[str, tuple[int, int]] = {}
    kept, bare = {}, []
    for split, rows in products.items():
        bare += [f"{split} product {row['product_id']}" for row in rows if not row["images"]]
        left = [row | {"images": {i: p for i, p in row["images"].items() if p not in gone}} for row in rows]
        kept[split] = [row for row in left if row["images"]]
        counts[split] = (len(rows) - len(kept[split]), len(rows))
    if bare and missing == "error":
        raise ValueError(
            f"{len(bare):,} products have no image: {first_few(bare)}. Name their images, delete their rows, or leave them "
            'out with missing="skip" (in train/: --missing_images skip)'
        )
    if not gone and not bare:
        return kept, ""
    said = ", ".join(f"{split} {lost:,} of {total:,}" for split, (lost, total) in counts.items())
    photos = f" Images left out: {len(gone):,} of {len(wanted):,} ({first_few(list(gone))})." if gone else ""
    return kept, f"Rows left out because no image is left: {said}.{photos}"
