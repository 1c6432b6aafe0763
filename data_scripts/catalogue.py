"""Catalogue: your own products, and relative captions between them, from plain files.

The data, their licence and their counts are yours. `data_dir` holds the products in one of two forms:

    train-00000-of-00002.parquet, valid-*.parquet, ...    a column of ids and one of photos (bytes embedded); the split
                                                          is the file name up to the shard number
    products.jsonl | products_<split>.jsonl | .csv        one product per row, photos in images/<id>.jpg (or .jpeg, .png
    images/<id>.jpg                                       and so on, the first of `IMAGE_ENDINGS`), or at the path in a
                                                          column "image" (relative to data_dir or to images/)

and, optionally, relative captions:

    composed_<split>.jsonl    {"reference": id, "target": id, "caption": text, "reference_title": ..., ...} per line

Files whose name carries no split ("products") make up the split "train". The id column is `product_id`, `id` or
`item_id`, the title column `title` or `name`; other columns are kept as strings (numbers and lists as JSON), further
photos or bytes in Parquet are left out with a warning.

    builder = Catalogue(config_name="products", data_dir="data/my_shop")

Configurations
    products   product_id, title, image, and every other column. Embedded photos stay bytes.
    composed   reference_id, target_id, caption, reference_title, target_title, and every other key of the line.
               Ids only: photos are those of "products", stored once.

Quirks: ids are unique inside a split; titles need not be. A caption whose products are not in the catalogue is an
error. Parquet files without photos next to others with photos are left out (logged).
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_scripts import info_files
from data_scripts.info_files import IMAGE_ENDINGS
from data_scripts.source_files import (
    as_id,
    check_image_options,
    content_hash,
    entries_of,
    first_few,
    repeated,
    report_missing,
    rows_left_out,
    settle_images,
    shards_of,
    split_generators,
)

logger = logging.getLogger(__name__)

ID_COLUMNS = ("product_id", "id", "item_id")
TITLE_COLUMNS = ("title", "name")
COMPOSED_COLUMNS = ("reference_id", "target_id", "caption", "reference_title", "target_title")
REMEDY = "See data_scripts/catalogue.py for the files that a catalogue consists of."
IMAGE_REMEDY = "Put the photos at images/<id>.jpg, or name each one in a column image."


@dataclass
class CatalogueConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        images: "required", or "absent" for texts alone (the image column holds None).
        missing: "error" lists every missing photo at once; "skip" leaves out those products and says how many.
    """

    splits: tuple[str, ...] | None = None
    images: str = "required"
    missing: str = "error"


class Catalogue(datasets.GeneratorBasedBuilder):
    """Builder of products and of relative captions from plain files; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, a split or photos are missing (photos as one list).
        ValueError: a row is malformed, an id occurs twice, or a caption names an unknown product.
    """

    BUILDER_CONFIG_CLASS = CatalogueConfig
    BUILDER_CONFIGS = [CatalogueConfig(name=n, version=datasets.Version("1.0.0")) for n in ("products", "composed")]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        if data_dir is None or not os.path.isdir(data_dir):
            raise FileNotFoundError(f"catalogue folder not found: {data_dir}. {REMEDY}")
        root = Path(data_dir).resolve()
        if hash is None:
            rows = row_files(root)
            files = [*rows, *root.glob("*.parquet"), *root.glob("composed*.jsonl")]
            hash = content_hash(files, photo_folders(root, rows), [__file__, info_files.__file__], nested=False)
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        root, text = Path(self.config.data_dir), datasets.Value("string")
        files = files_of(root, self.config)
        if self.config.name == "composed":
            keys = dict.fromkeys(
                k for paths in files.values() for path in paths for _, row in read_rows(path) for k in row
            )
            others = [k for k in keys if k not in (*COMPOSED_COLUMNS, "reference", "target")]
            features = dict.fromkeys((*COMPOSED_COLUMNS, *others), text)
        else:
            features = {"product_id": text, "title": text, "image": datasets.Image()}
            for path in (path for paths in files.values() for path in paths):
                used = (*id_and_title(path), "image")
                features |= {name: text for name in columns_of(path) if name not in used and name not in features}
        return datasets.DatasetInfo(
            description=f"Catalogue {root.name}, {self.config.name}.", features=datasets.Features(features)
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root, config = Path(self.config.data_dir), self.config
        check_image_options(config.images, config.missing)
        files = files_of(root, config)
        if config.name == "composed":
            shards = {split: shards_of(read_composed(root, split, paths)) for split, paths in files.items()}
            return split_generators(shards, root)

        for split, paths in files.items():
            refuse_repeated_ids(split, paths)
            for path in paths:
                if path.suffix == ".parquet" and (unread := byte_columns(path)):
                    logger.warning("%s: columns of bytes are left out: %s", path, first_few(unread))
        report = os.path.join(self._cache_dir_root, f"missing-images-catalogue-{self.hash}.txt")
        if all(path.suffix == ".parquet" for paths in files.values() for path in paths):
            lost, left_out = find_photo_gaps(files, config.missing, report) if config.images != "absent" else ([], "")
            files |= dict.fromkeys(lost, [])
            shards = {split: [group for path in paths for group in row_groups(path)] for split, paths in files.items()}
        else:
            rows = {split: [r for path in paths for r in read_products(root, path)] for split, paths in files.items()}
            rows, left_out = settle_images(rows, ("image",), config.images, config.missing, report, IMAGE_REMEDY)
            shards = {split: shards_of(r) for split, r in rows.items()}
        if left_out:
            logger.warning("%s: %s", root, left_out)
            self.info.description = f"{self._info().description} {left_out}"  # said again when found prepared
        return split_generators(shards, root)

    def _generate_examples(self, shards: list[Any]) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        for number, shard in enumerate(shards):
            rows = read_row_group(*shard, self.config.images) if isinstance(shard, tuple) else shard
            for position, row in enumerate(rows):
                yield (number, position), dict.fromkeys(self.info.features) | row


# Which files there are


def files_of(root: Path, config: CatalogueConfig) -> dict[str, list[Path]]:
    """Split -> files, for the splits asked for.

    Raises:
        FileNotFoundError: a split, or every file, is missing.
        ValueError: products come in two forms at once, or a file name does not make a split name.
    """
    kind = config.name
    if kind == "composed":
        files = sorted(root.glob("composed*.jsonl"))
    else:
        parquet = sorted(root.glob("*.parquet"))
        with_photos = [file for file in parquet if "image" in columns_of(file)]
        if with_photos and len(with_photos) < len(parquet):
            without = [file.name for file in parquet if file not in with_photos]
            logger.info("%s: left out, they hold no photos: %s", root, first_few(without))
        rows = row_files(root)
        if parquet and rows:
            raise ValueError(f"{root}: products in two forms ({parquet[0].name}, {rows[0].name}); keep one. {REMEDY}")
        files = with_photos or parquet or rows
    splits: dict[str, list[Path]] = {}
    for file in files:
        name = re.sub(rf"^{kind}[-_]?", "", re.sub(r"-\d+(-of-\d+)?$", "", file.stem)) or "train"
        if not re.fullmatch(r"\w+", name) or name == "all":
            raise ValueError(f"{file}: {name!r} cannot be the name of a split; rename the file, for instance train.*")
        splits.setdefault(name, []).append(file)
    asked = (config.splits,) if isinstance(config.splits, str) else config.splits or tuple(splits)
    if not splits or not set(asked) <= set(splits):
        wanted = [s for s in asked if s not in splits] or ["any split"]
        raise FileNotFoundError(f"no {kind} files for {first_few(wanted)} in {root} (there: {list(splits)}). {REMEDY}")
    return {split: splits[split] for split in asked}


def row_files(root: Path) -> list[Path]:
    """The products' .jsonl and .csv files."""
    return sorted(file for file in root.glob("products*") if file.suffix in (".jsonl", ".csv"))


def photo_folders(root: Path, files: list[Path]) -> set[Path]:
    """The folders in which the photos of .jsonl and .csv files are looked for."""
    names = {os.path.dirname(str(row.get("image") or "")) for file in files for _, row in read_rows(file)}
    return {place / name for name in names for place in (root, root / "images")}


def text_lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text at byte {error.start}; save the file as UTF-8") from error


def csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1) and cells of every row of a .csv file, first that of the column names.

    Raises:
        ValueError: a cell is too long.
    """
    reader = csv.reader(text_lines(file))
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise ValueError(
            f"{file}, line {reader.line_num}: {error}; close the quotation mark that is open there, or shorten the text"
        ) from error


def read_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and content of every row of a .jsonl or .csv file.

    Raises:
        ValueError: a line is not a JSON object, or a CSV row has more or fewer fields than the header.
    """
    if file.suffix == ".csv":
        rows = csv_rows(file)
        _, header = next(rows, (0, []))
        for number, cells in rows:
            if len(cells) != len(header):
                raise ValueError(f"{file}, line {number}: expected {len(header)} fields, got {len(cells)}; correct it")
            yield number, dict(zip(header, cells, strict=True))
        return
    for number, line in enumerate(text_lines(file), 1):
        if line.strip():
            try:
                row = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                message = f"{file}, line {number}, column {error.colno}: not valid JSON ({error.msg})"
                raise ValueError(f"{message}; each line holds one object") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file}, line {number}: expected a JSON object, got {line.strip()[:80]}")
            yield number, row


def columns_of(file: Path) -> list[str]:
    """Column names of a product file: Parquet schema without `byte_columns`, header, or the union over its rows."""
    if file.suffix == ".parquet":
        unread = byte_columns(file)
        return [name for name in schema_of(file).names if name not in unread]
    if file.suffix == ".csv":
        _, header = next(csv_rows(file), (0, []))
        return list(dict.fromkeys(header))
    return list(dict.fromkeys(key for _, row in read_rows(file) for key in row))


def byte_columns(file: Path) -> list[str]:
    """Columns of a Parquet file that no string can hold: bytes, and photos beside those in `image`."""
    return [field.name for field in schema_of(file) if field.name != "image" and holds_bytes(field.type)]


def schema_of(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: not a readable Parquet file ({error}); copy it again") from error


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column's type is bytes or has a part that is, as photos {bytes, path} have."""
    if pa.types.is_nested(kind):
        return any(holds_bytes(kind.field(part).type) for part in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def id_and_title(file: Path) -> tuple[str, str | None]:
    """Which columns of a file hold the id and the title (None: there are no titles)."""
    names = columns_of(file)
    ids = [c for c in ID_COLUMNS if c in names]
    if not ids:
        raise ValueError(f"{file}: expected an id column, one of {ID_COLUMNS}, got {names}; rename the id column")
    return ids[0], next((c for c in TITLE_COLUMNS if c in names), None)


def product_ids(file: Path) -> list[str]:
    """The ids of one product file, in its order."""
    column, _ = id_and_title(file)
    if file.suffix == ".parquet":
        values = enumerate(pq.read_table(file, columns=[column])[column].to_pylist())
        return [as_id(value, f"{file}, row {row} (from 0)") for row, value in values]
    return [as_id(row.get(column), f"{file}, line {number}, {column}") for number, row in read_rows(file)]


def refuse_repeated_ids(split: str, files: list[Path]) -> None:
    if twice := repeated(i for file in files for i in product_ids(file)):
        raise ValueError(f"{first_few(files)}: ids twice in split {split}: {first_few(twice)}; keep one row of each")


# Rows


def as_text(value: Any) -> str | None:
    """Other columns are strings, so that files of any schema join: numbers, lists and objects become JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)  # dates and the like may lie inside
    return str(value)


def product(row: dict[str, Any], columns: tuple[str, str | None], image: Any, where: str) -> dict[str, Any]:
    """One row of "products"."""
    id_column, title_column = columns
    others = {k: as_text(v) for k, v in row.items() if k not in (*columns, "image")}
    title = None if title_column is None else as_text(row.get(title_column))
    return others | {"product_id": as_id(row.get(id_column), where), "title": title, "image": image}


def read_products(root: Path, file: Path) -> list[dict[str, Any]]:
    """The products of a .jsonl or .csv file with the paths of their photos."""
    columns, products = id_and_title(file), []
    stems = photos_by_stem(root / "images")
    for number, row in read_rows(file):
        where = f"{file}, line {number}"
        name = row.get("image") or None
        if name is not None and not isinstance(name, str):
            raise ValueError(f"{where}: expected the path of a photo in image, got {name!r}; correct this row")
        if name is None:
            identity = as_id(row.get(columns[0]), where)
            path = root / "images" / stems.get(identity, f"{identity}.jpg")
        else:
            path = root / name if (root / name).exists() else root / "images" / name
        products.append(product(row, columns, str(path), where))
    return products


def photos_by_stem(folder: Path) -> dict[str, str]:
    """A photo's name without ending -> its name; of several the first of `IMAGE_ENDINGS`, small letters before capitals."""
    endings = {name: os.path.splitext(name)[1].lower() for name in entries_of(folder)}
    photos = [name for name, ending in endings.items() if ending in IMAGE_ENDINGS]
    photos.sort(key=lambda name: (-IMAGE_ENDINGS.index(endings[name]), name))
    return {os.path.splitext(name)[0]: name for name in photos}  # the last one wins


def row_groups(file: Path) -> list[tuple[str, int]]:
    """The pieces in which a Parquet file is read."""
    return [(str(file), group) for group in range(pq.ParquetFile(file).num_row_groups)]


def read_row_group(file: str, group: int, images: str) -> Iterator[dict[str, Any]]:
    """Products of one piece of a Parquet file; those without a photo are left out unless images are "absent"."""
    path = Path(file)
    columns = id_and_title(path)
    names = [name for name in columns_of(path) if name != "image" or images != "absent"]
    for row in pq.ParquetFile(path).read_row_group(group, columns=names).to_pylist():
        photo = row.get("image")
        if images == "absent":
            yield product(row, columns, None, file)
        elif photo is not None and photo["bytes"]:
            yield product(row, columns, photo, file)


def find_photo_gaps(files: dict[str, list[Path]], missing: str, report: str) -> tuple[list[str], str]:
    """Report products of Parquet files whose photo is null or has zero bytes, as one list.

    Returns:
        The splits in which no product has a photo, and `rows_left_out` ("" when nothing is missing).
    """
    gone, counts = [], {}
    for split, paths in files.items():
        total, lost = 0, 0
        for path in paths:
            ids = product_ids(path)
            gaps = list(range(len(ids)))
            if "image" in columns_of(path):
                photos = pq.read_table(path, columns=["image"])["image"]
                if not pa.types.is_struct(photos.type) or photos.type.get_field_index("bytes") < 0:
                    raise ValueError(f"{path}: expected photos as a column image of {{bytes, path}}, got {photos.type}")
                sizes = pc.binary_length(pc.struct_field(photos, "bytes"))
                gaps = pc.indices_nonzero(pc.equal(pc.fill_null(sizes, 0), 0)).to_pylist()
            gone += [f"{path}, row {row} (from 0), {ids[row]}" for row in gaps]
            total, lost = total + len(ids), lost + len(gaps)
        counts[split] = (lost, total)
    if not gone:
        return [], ""
    report_missing(gone, sum(total for _, total in counts.values()), missing, report, IMAGE_REMEDY)
    return [split for split, (lost, total) in counts.items() if lost == total], rows_left_out(counts)


def read_composed(root: Path, split: str, files: list[Path]) -> list[dict[str, Any]]:
    """Relative captions of one split; both products must be in the catalogue (in that split, when it is there).

    Raises:
        FileNotFoundError, ValueError: there are no products, a row is malformed, or it names unknown products.
    """
    products = files_of(root, CatalogueConfig(name="products"))
    known = {i for s in ([split] if split in products else products) for file in products[s] for i in product_ids(file)}
    rows, strangers = [], []
    for file in files:
        for number, line in read_rows(file):
            where = f"{file}, line {number}"
            if not isinstance(line.get("caption"), str):
                raise ValueError(f"{where}: expected a text in caption, got {line.get('caption')!r}; correct this row")
            target = line.get("target", line.get("target_id"))
            if target is None and not split.startswith("test"):
                raise ValueError(f"{where}: no target; only test splits may leave it out")
            ids = {
                "reference_id": as_id(line.get("reference", line.get("reference_id")), f"{where}, reference"),
                "target_id": None if target is None else as_id(target, f"{where}, target"),
            }
            strangers += [f"line {number}: {i}" for i in ids.values() if i is not None and i not in known]
            rows.append({k: as_text(v) for k, v in line.items() if k not in ("reference", "target")} | ids)
    if strangers:
        raise ValueError(
            f"{first_few(files)}: {len(strangers):,} products are not in the catalogue: {first_few(strangers)}. "
            f"Add them to the products of split {split}, or take the caption file of another split away."
        )
    return rows
