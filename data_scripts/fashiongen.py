"""FashionGen: 293,008 studio photos of 78,850 luxury products with descriptions (Rostamzadeh et al., 2018).

Source: https://fashion-gen.com, after accepting the licence of the challenge (research only; the photos may not be
published). The test images of the challenge were never released, so papers test on the validation file.

`data_dir` holds the official download or the layout that retrieval code derives from it:

    fashiongen_256_256_train.h5, fashiongen_256_256_validation.h5     one row per photo: input_image (256, 256, 3),
                                          input_name, input_description, input_category, input_subcategory,
                                          input_productID, input_gender, input_pose, ...; texts are latin-1 bytes
    FashionGen/train_info.json, val_info.json      [{"id", "images": [names], "title", "description", "category_id",
                                                     "subcategory_id", "attributes_id"}, ...]: one object per product
    FashionGen/train/<name>, val/<name>            its photos; a third split test is read where test_info.json lies
    FashionGen/labels.json                         {"attributes", "categories", "subcategories": {name: id}} (optional)

These .json files may also lie in a folder FashionGen/annotations.

    builder = FashionGen(config_name="pairs", data_dir="data/FashionGen")

Configurations
    products   product_id, caption, title, description, category, subcategory, category_id, subcategory_id, attributes,
               attribute_ids, gender, image_ids, images: one row per product with all its views
    pairs      image_id, product_id, caption, title, description, category, subcategory, category_id, subcategory_id,
               gender, image: one row per photo
The caption is of the form chosen by `caption`: "title", "description", "both" (title. description), or "fashionvil", both
texts as they are with a full stop and no blank between them, as FashionViL reads them. The ids of labels are those of the
info files; the HDF5 files have none.

Published counts: 260,480 training and 32,528 validation photos (the data set's paper); retrieval papers count 35,528
evaluation pairs. Other counts are a warning. FashionViL counts 60,147 training products and 121 sub-categories. A product
without title and description has an empty caption. The rows of a product's views carry one product id; their texts are
taken from its first row. A photo may have another ending than the file says. Category names are those of labels.json
or of the HDF5 file, or else the ids. The HDF5 files need the extra `fashiongen` (h5py); photos of it become PNG bytes.
`python -m data_scripts.fashiongen --data_dir DIR --output_dir DIR` writes the second layout from the first, and
continues where it stopped.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import logging
import os
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from tqdm import tqdm

from data_scripts import info_files as info
from data_scripts.info_files import PhotoFinder, annotation_file, label_id, label_ids, photos_of, settle_views, text_of
from data_scripts.source_files import (
    as_id,
    check_image_options,
    content_hash,
    first_few,
    read_json,
    repeated,
    shards_of,
    split_generators,
)

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
PUBLISHED = {"train": (260_480,), "validation": (32_528, 35_528)}  # photos: data set paper, retrieval papers
INFO_NAMES = {"train": "train_info.json", "validation": "val_info.json", "test": "test_info.json"}
PHOTO_FOLDERS = {"train": "train", "validation": "val", "test": "test"}
REMEDY = "Get FashionGen at https://fashion-gen.com; see data_scripts/fashiongen.py for the trees."
HDF5_TEXTS = ("name", "description", "category", "subcategory", "gender", "pose")
TEXT_BYTES = 1000
ROWS_PER_PIECE = 2048
CAPTIONS = ("both", "title", "description", "fashionvil")

Product = dict[str, Any]


@dataclass
class FashionGenConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        caption: "both" (title. description, as retrieval papers join them), "title", "description" or "fashionvil".
        num_attributes, num_categories, num_subcategories: how many labels there are; a larger id is an error. None
            accepts all from 0.
        images: "required", or "absent" for texts alone.
        missing: "error" lists every photo that cannot be used at once; "skip" leaves them out and says how many. A
            product keeps its other photos, and goes when it has none.
        check: open every photo; damaged ones count as missing.
    """

    splits: tuple[str, ...] | None = None
    caption: str = "both"
    num_attributes: int | None = None
    num_categories: int | None = None
    num_subcategories: int | None = None
    images: str = "required"
    missing: str = "error"
    check: bool = False


class FashionGen(datasets.GeneratorBasedBuilder):
    """Builder of products and of image-caption pairs; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, a split or photos are missing (photos as one list).
        ValueError: a malformed product, a product id twice, or both layouts at once.
        ImportError: an HDF5 file without h5py.
    """

    BUILDER_CONFIG_CLASS = FashionGenConfig
    BUILDER_CONFIGS = [FashionGenConfig(name=n, version=datasets.Version("1.0.0")) for n in ("products", "pairs")]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        root = find_root(data_dir)
        if hash is None:
            files = [annotation_file(root, name) for name in (*INFO_NAMES.values(), "labels.json")]
            folders = [root / folder for folder in PHOTO_FOLDERS.values()]
            sources = [__file__, info.__file__]
            files += hdf5_files(root).values()
            hash = content_hash(files, folders, sources, photo_times=kwargs.get("check", False))
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        text, texts = datasets.Value("string"), datasets.List(datasets.Value("string"))
        number = datasets.Value("int64")
        names = ("product_id", "caption", "title", "description", "category", "subcategory", "gender")
        common = dict.fromkeys(names, text) | dict.fromkeys(("category_id", "subcategory_id"), number)
        if self.config.name == "products":
            features = common | {"attributes": texts, "attribute_ids": datasets.List(number)}
            features |= {"image_ids": texts, "images": datasets.List(datasets.Image())}
        else:
            features = {"image_id": text} | common | {"image": datasets.Image()}
        return datasets.DatasetInfo(
            description=f"FashionGen, {self.config.name}.",
            features=datasets.Features(features),
            homepage="https://fashion-gen.com",
            license="research only, see the data set's own terms",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root, config = Path(self.config.data_dir), self.config
        check_image_options(config.images, config.missing)
        if config.caption not in CAPTIONS:
            raise ValueError(f"caption must be one of {CAPTIONS}, got {config.caption!r}")
        sources = info_files(root) or hdf5_files(root)
        asked = (config.splits,) if isinstance(config.splits, str) else config.splits or tuple(sources)
        if lost := [split for split in asked if split not in sources]:
            raise FileNotFoundError(f"{root}: no file for {first_few(lost)} (there: {list(sources)}). {REMEDY}")
        if info_files(root):
            shards = self._json_shards(root, asked)
        else:
            shards = {split: hdf5_shards(sources[split]) for split in asked}
        return split_generators(shards, root)

    def _json_shards(self, root: Path, splits: Iterable[str]) -> dict[str, list[list[Product]]]:
        labels, config = read_labels(root), self.config
        counts = {"attributes": config.num_attributes, "categories": config.num_categories}
        counts["subcategories"] = config.num_subcategories
        products = {split: read_products(root, split, labels, counts) for split in splits}
        for split, rows in products.items():
            compare_counts(root, split, sum(len(row["images"]) for row in rows))
        report = os.path.join(self._cache_dir_root, f"missing-images-fashiongen-{self.hash}.txt")
        remedy = "Put the photos where listed."
        products, left_out = settle_views(products, config.images, config.missing, config.check, report, remedy)
        if left_out:
            logger.warning("%s: %s", root, left_out)
            self.info.description = f"{self._info().description} {left_out}"
        return {s: shards_of(list(self._rows((p, views_of(p)) for p in rows))) for s, rows in products.items()}

    def _rows(self, products: Iterable[tuple[Product, list[tuple[str, Any]]]]) -> Iterator[Product]:
        """Rows of the configuration from products, each with the ids of its photos and the photos."""
        for product, photos in products:
            row = {name: product.get(name) for name in self.info.features}
            row["caption"] = caption_of(product, self.config.caption)
            if self.config.name == "pairs":
                yield from (row | {"image_id": name, "image": photo} for name, photo in photos)
            else:
                images = [photo for _, photo in photos] if self.config.images == "required" else None
                yield row | {"image_ids": [name for name, _ in photos], "images": images}

    def _generate_examples(self, shards: list[Any]) -> Iterator[tuple[tuple[int, int], Product]]:
        for number, shard in enumerate(shards):
            rows = shard
            if isinstance(shard, tuple):
                rows = self._rows(by_product(read_hdf5(*shard, images=self.config.images == "required")))
            for position, row in enumerate(rows):
                yield (number, position), row


def views_of(product: Product) -> list[tuple[str, str | None]]:
    """Id and path of every photo of a product; no path without photos."""
    images = product["images"]
    return [(view, None) for view in product["views"]] if images is None else list(images.items())


def by_product(photos: Iterable[Product]) -> Iterator[tuple[Product, list[tuple[str, Any]]]]:
    """Products with their photos from one row per photo, photos of a product being neighbours."""
    for _, group in itertools.groupby(photos, key=lambda photo: photo["product_id"]):
        views = list(group)
        yield views[0], [(view["image_id"], view["image"]) for view in views]


# The derived layout


def find_root(data_dir: str | os.PathLike | None) -> Path:
    """The folder with the files: `data_dir`, a FashionGen folder in it, or that in `datasets`.

    Raises:
        FileNotFoundError: none of them holds any.
        ValueError: both layouts lie there.
    """
    if data_dir is None or not os.path.isdir(data_dir):
        raise FileNotFoundError(f"FashionGen folder not found: {data_dir}. {REMEDY}")
    for root in (Path(data_dir), Path(data_dir, "FashionGen"), Path(data_dir, "datasets", "FashionGen")):
        found = info_files(root), hdf5_files(root)
        if all(found):
            raise ValueError(f"{root} holds both info files and HDF5 files; keep one form, or name a folder with one")
        if any(found):
            return root.resolve()
    raise FileNotFoundError(f"{data_dir}: neither *_info.json nor fashiongen_*.h5 is there. {REMEDY}")


def info_files(root: Path) -> dict[str, Path]:
    files = {split: annotation_file(root, name) for split, name in INFO_NAMES.items()}
    return {split: file for split, file in files.items() if file.is_file()}


def hdf5_files(root: Path) -> dict[str, Path]:
    """Split -> its HDF5 file.

    Raises:
        ValueError: two files are of one split.
    """
    found: dict[str, Path] = {}
    for path in sorted(root.glob("fashiongen*.h5")):
        match = re.search(r"_(train|validation)\.h5$", path.name)
        if match and match[1] in found:
            raise ValueError(f"{root}: {found[match[1]].name} and {path.name} are both of {match[1]}; keep one")
        if match:
            found[match[1]] = path
    return {split: found[split] for split in SPLITS if split in found}


def read_labels(root: Path) -> dict[str, dict[int, str]]:
    """Kind of label -> id -> name; empty without labels.json."""
    path = annotation_file(root, "labels.json")
    if not path.is_file():
        return {}
    content = read_json(path, REMEDY)
    try:
        found = {kind: {int(number): name for name, number in names.items()} for kind, names in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected {{kind: {{name: id}}}}, e.g. {{'categories': {{'SHOES': 3}}}}; correct or delete it"
        ) from error
    for kind, names in content.items():
        if len(found[kind]) < len(names):
            raise ValueError(f"{path}: two {kind} have one id; give each its own")
    return found


def read_products(
    root: Path, split: str, labels: dict[str, dict[int, str]], counts: dict[str, int | None] | None = None
) -> list[Product]:
    """Products of an info file; `images` maps the photo's id (its file name without ending) to its path.

    Args:
        root: folder of the files. split: which one.
        labels: kind of label -> id -> name, see `read_labels`. counts: kind of label -> how many there are, where known.

    Raises:
        ValueError: not a list of products, a field is missing or of another type, a label out of range, an id or photo
            occurs twice.
    """
    counts = counts or {}
    finder = PhotoFinder(root / PHOTO_FOLDERS[split])
    path = annotation_file(root, INFO_NAMES[split])
    content = read_json(path, REMEDY)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of products, got {type(content).__name__}. {REMEDY}")
    products = []
    for number, entry in enumerate(content):
        where = f"{path}, product {number} (from 0)"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected an object, got {str(entry)[:60]}; correct this row")
        if lacking := [name for name in ("id", "images", "title", "description") if name not in entry]:
            raise ValueError(f"{where}: lacks {', '.join(lacking)}; add it to this row. {REMEDY}")
        attributes = label_ids(entry.get("attributes_id"), counts.get("attributes"), f"{where}, attributes_id")
        kinds = {"category_id": "categories", "subcategory_id": "subcategories"}
        ids = {
            key: None if entry.get(key) is None else label_id(entry[key], counts.get(kind), f"{where}, {key}")
            for key, kind in kinds.items()
        }
        products.append(
            {
                "product_id": as_id(entry["id"], where),
                "title": text_of(entry, "title", where),
                "description": text_of(entry, "description", where),
                "category": label_of(labels, "categories", ids["category_id"], where),
                "subcategory": label_of(labels, "subcategories", ids["subcategory_id"], where),
                "attributes": [labels.get("attributes", {}).get(number, str(number)) for number in attributes],
                "attribute_ids": attributes,
                "gender": text_of(entry, "gender", where) or None,
                "images": photos_of(entry["images"], finder, where),
            }
            | ids
        )
    if twice := repeated(product["product_id"] for product in products):
        raise ValueError(f"{path}: ids twice: {first_few(twice)}; keep one product of each")
    if twice := repeated(photo for product in products for photo in product["images"]):
        raise ValueError(f"{path}: photos of two products: {first_few(twice)}; leave each to one product")
    return products


def label_of(labels: dict[str, dict[int, str]], kind: str, number: int | None, where: str) -> str | None:
    """A label's name, its id as text where no names are known, None where there is none.

    Raises:
        ValueError: labels.json has names of this kind, and none for the id.
    """
    names = labels.get(kind)
    if number is None or not names:
        return None if number is None else str(number)
    if number not in names:
        raise ValueError(
            f"{where}: labels.json has no name for {number} among its {len(names)} {kind}; correct one of them"
        )
    return names[number]


def caption_form(columns: Iterable[str] | None) -> str:
    """The form of caption that columns make up: both texts by default, as retrieval papers have it.

    Raises:
        ValueError: other columns than title and description.
    """
    columns = tuple(columns or ())
    forms = {(): "both", ("title", "description"): "both", ("title",): "title", ("description",): "description"}
    if columns not in forms:
        raise ValueError(f"--caption {' '.join(columns)}: FashionGen has title, description, or title description")
    return forms[columns]


def caption_of(row: Product, form: str) -> str:
    """The caption of a product's photos: its texts without surrounding blanks, a full stop between two.

    The form "fashionvil" leaves the texts as they are.
    """
    if form == "fashionvil":
        return f"{row['title'] or ''}.{row['description'] or ''}"
    names = {"both": ("title", "description"), "title": ("title",), "description": ("description",)}[form]
    texts = [text for name in names if (text := (row[name] or "").strip())]
    if len(texts) == 2:
        texts[0] = texts[0].rstrip(".")
    return ". ".join(texts)


def compare_counts(root: Path, split: str, photos: int) -> None:
    if split in PUBLISHED and photos not in PUBLISHED[split]:
        published = " or ".join(f"{count:,}" for count in PUBLISHED[split])
        logger.warning(
            "%s: %s has %s photos, FashionGen's own has %s; figures are not comparable with published ones",
            root,
            split,
            f"{photos:,}",
            published,
        )


# The official HDF5 files


def open_hdf5(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("FashionGen's HDF5 files need h5py: pip install 'lookbook[fashiongen]'") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error}); fetch it again") from error


def hdf5_order(file: Any, path: Path) -> np.ndarray:
    """Rows of the file, views of a product together, products and views in the order of the file."""
    for name in ("input_image", "input_productID", "input_name", "input_description"):
        if name not in file:
            raise ValueError(f"{path}: lacks {name}; it has {', '.join(sorted(file))}. {REMEDY}")
    lengths = {name: len(file[name]) for name in file if name.startswith("input_")}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: columns of different lengths, {lengths}; fetch it again. {REMEDY}")
    photos = file["input_image"]
    if photos.ndim != 4 or photos.shape[-1] != 3 or photos.dtype != np.uint8:
        raise ValueError(
            f"{path}: input_image has shape {photos.shape} of {photos.dtype}; expected (rows, height, width, 3) of uint8"
        )
    products = file["input_productID"][:].reshape(-1)
    _, first, inverse = np.unique(products, return_index=True, return_inverse=True)
    return np.lexsort((np.arange(len(products)), first[inverse]))


def hdf5_shards(path: Path) -> list[tuple[str, int, int]]:
    """Pieces (file, first, stop) of `hdf5_order`, cut between products."""
    with open_hdf5(path) as file:
        order = hdf5_order(file, path)
        products = file["input_productID"][:].reshape(-1)[order]
    compare_counts(path, "train" if path.name.endswith("_train.h5") else "validation", len(order))
    starts = np.flatnonzero(np.r_[True, products[1:] != products[:-1]]) if len(order) else np.array([], dtype=int)
    cuts = [0]
    for start in starts[1:]:
        if start - cuts[-1] >= ROWS_PER_PIECE:
            cuts.append(int(start))
    return [(str(path), a, b) for a, b in zip(cuts, [*cuts[1:], len(order)], strict=True) if b > a]


def read_hdf5(path: str, first: int, stop: int, images: bool = True, present: Container[str] = ()) -> Iterator[Product]:
    """One row per photo of a piece of `hdf5_order`; texts of the product's first row, photos as PNG bytes.

    Args:
        path: the file.
        first: where in the order the piece begins.
        stop: where it ends.
        images: False for None in the place of photos.
        present: names of photos that need not be read; they have no "bytes".
    """
    with open_hdf5(Path(path)) as file:
        order = hdf5_order(file, Path(path))[first:stop]
        columns = {name: file[f"input_{name}"] for name in HDF5_TEXTS if f"input_{name}" in file}
        previous, texts, view = None, {}, 0
        for row in order.tolist():
            product = int(np.ravel(file["input_productID"][row])[0])
            if product != previous:
                previous, view = product, 0
                texts = {name: decoded(column[row]) for name, column in columns.items()}
            name, photo = f"{product}_{view}.png", None
            if images:
                photo = {"path": name, "bytes": None if name in present else png(photo_of(file, path, row))}
            yield {
                "product_id": str(product),
                "title": texts.get("name", ""),
                "description": texts.get("description", ""),
                "category": texts.get("category") or None,  # an empty cell is no label
                "subcategory": texts.get("subcategory") or None,
                "attributes": [],
                "attribute_ids": [],
                "gender": texts.get("gender") or None,
                "image_id": f"{product}_{view}",
                "image": photo,
            }
            view += 1


def decoded(value: Any) -> str:
    """Text of an HDF5 cell: bytes in latin-1, padded with zeros, alone or in an array of one."""
    value = np.ravel(value)[0] if isinstance(value, np.ndarray) else value
    return value.rstrip(b"\0").decode("latin-1").strip() if isinstance(value, bytes) else str(value).strip()


def photo_of(file: Any, path: str | os.PathLike, row: int) -> np.ndarray:
    try:
        return file["input_image"][row]
    except OSError as error:
        raise ValueError(f"{path}: the photo of row {row} is damaged ({error}); fetch it again") from error


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def write_hdf5(path: str | os.PathLike, rows: Iterable[Product]) -> int:
    """Write the official layout: one row per photo with image (h, w, 3) uint8, product_id and texts.

    Args:
        path: the file; it appears when it is complete.
        rows: "image" (array), "product_id" (number), and any of name, description, category, subcategory, gender, pose.

    Returns:
        Number of rows.

    Raises:
        ValueError: no rows, a text that latin-1 or 1,000 bytes don't hold, or an array of another type or shape.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("writing HDF5 needs h5py: pip install 'lookbook[fashiongen]'") from error
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        with h5py.File(partial, "w") as file:
            for row in rows:
                where = f"{path}, row {count}"
                photo = np.asarray(row["image"])
                if photo.ndim != 3 or photo.shape[-1] != 3 or photo.dtype != np.uint8:
                    raise ValueError(
                        f"{where}: photo of shape {photo.shape} and {photo.dtype}; expected (h, w, 3) uint8"
                    )
                if count and photo.shape != file["input_image"].shape[1:]:
                    raise ValueError(f"{where}: photo of shape {photo.shape}, others {file['input_image'].shape[1:]}")
                cells = {f"input_{name}": _cell(row.get(name), f"{where}, {name}") for name in HDF5_TEXTS}
                cells |= {"input_productID": np.array([int(row["product_id"])]), "input_image": photo}
                for name, cell in cells.items():
                    if name not in file:
                        file.create_dataset(
                            name, (0, *cell.shape), cell.dtype, maxshape=(None, *cell.shape), chunks=True
                        )
                    file[name].resize(count + 1, axis=0)
                    file[name][count] = cell
                count += 1
        if not count:
            raise ValueError(f"{path}: no rows to write")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _cell(text: str | None, where: str) -> np.ndarray:
    """A text as the official files hold it: latin-1 bytes of fixed length, in an array of one."""
    try:
        data = (text or "").encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: {text[error.start]!r} is no latin-1 character, the file holds no others") from error
    if len(data) > TEXT_BYTES:
        raise ValueError(f"{where}: {len(data):,} bytes, the file holds {TEXT_BYTES:,}; shorten the text")
    return np.array([data], dtype=f"S{TEXT_BYTES}")


def write_json_layout(data_dir: str | os.PathLike, output_dir: str | os.PathLike) -> dict[str, int]:
    """The derived layout from the HDF5 files; photos that are there already are not read again.

    Labels of a labels.json that is there keep their numbers, so that one split can follow the other.

    Returns:
        Split -> number of products.

    Raises:
        FileNotFoundError: no HDF5 files.
        ValueError: a damaged file, or the folder of the HDF5 files as `output_dir`.
    """
    root, output = find_root(data_dir), Path(output_dir)
    files = hdf5_files(root)
    if not files:
        raise FileNotFoundError(f"{root}: no fashiongen_*.h5. {REMEDY}")
    if output.resolve() == root:
        raise ValueError(f"{output} holds the HDF5 files; choose another --output_dir, one folder holds one form")
    labels: dict[str, dict[str, int]] = {"attributes": {}, "categories": {}, "subcategories": {}}
    for kind, names in read_labels(output).items():
        labels[kind] = {name: number for number, name in names.items()}
    counts = {}
    for split in (s for s in SPLITS if s in files):
        products: dict[str, Product] = {}
        folder = output / PHOTO_FOLDERS[split]
        folder.mkdir(parents=True, exist_ok=True)
        pieces, present = hdf5_shards(files[split]), set(os.listdir(folder))
        with tqdm(total=pieces[-1][2] if pieces else 0, desc=split, unit="photo") as bar:
            for piece in pieces:
                for row in read_hdf5(*piece, present=present):
                    name = row["image"]["path"]
                    if row["image"]["bytes"] is not None:
                        partial = folder / f".{name}.partial"
                        partial.write_bytes(row["image"]["bytes"])
                        os.replace(partial, folder / name)
                    entry = products.setdefault(row["product_id"], new_entry(row, labels))
                    entry["images"].append(name)
                    bar.update()
        write_json(output / INFO_NAMES[split], list(products.values()))
        counts[split] = len(products)
    write_json(output / "labels.json", labels)
    return counts


def new_entry(row: Product, labels: dict[str, dict[str, int]]) -> Product:
    """An entry of an info file without photos; labels that are new get the next number."""
    entry = {"id": int(row["product_id"]), "images": [], "title": row["title"], "description": row["description"]}
    for kind, name in (("category", "categories"), ("subcategory", "subcategories")):
        fresh = max(labels[name].values(), default=-1) + 1
        entry[f"{kind}_id"] = None if row[kind] is None else labels[name].setdefault(row[kind], fresh)
    return entry | {"attributes_id": [], "gender": row["gender"]}


def write_json(path: Path, content: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with the official HDF5 files")
    parser.add_argument("--output_dir", required=True, help="folder for train_info.json, val_info.json and the photos")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        counts = write_json_layout(arguments.data_dir, arguments.output_dir)
    except (FileNotFoundError, ValueError, ImportError) as error:
        parser.exit(1, f"{error}\n")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
