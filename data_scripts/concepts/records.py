"""Products and captions of a data set, as the graph builder reads them, and their pictures, opened when asked for.

Three layouts: an own catalogue (data_scripts/catalogue.py), a FashionGen tree (data_scripts/fashiongen.py) and the files
of FashionKLIP (data_scripts/fashionklip_files.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_scripts.concepts.building import Record

LAYOUTS = ("catalogue", "fashiongen", "fashionklip")
TEXT_COLUMNS = ("title", "name", "description", "caption", "text")
CAPTION_COLUMNS = ("caption", "title", "name", "text", "description")
# What the arrays of FashionKLIP's archives were normalised with.
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


@dataclass
class Records:
    """What was read.

    Attributes:
        records: products or captions. images: id -> what `data_scripts.images.open_image` opens; empty without photos.
        kb_phrases: the knowledge base's own vocabulary, where the layout has one.
        layout: which one it was. own_pool: the pictures are the knowledge base's, not those of the records.
    """

    records: list[Record]
    images: Mapping[str, Any]
    kb_phrases: list[str] = field(default_factory=list)
    layout: str = "catalogue"
    own_pool: bool = False


def detect_layout(data_dir: str | os.PathLike) -> str:
    """Which of the three layouts lies in a folder.

    Raises:
        FileNotFoundError: none of them.
    """
    root = Path(data_dir)
    if any(next(root.glob(pattern), None) for pattern in ("*.parquet", "products*.jsonl", "products*.csv")):
        return "catalogue"
    if next(root.rglob("*_queries_phrases.jsonl"), None):
        return "fashionklip"
    if next(root.glob("**/fashiongen*.h5"), None) or next(root.glob("**/*_info.json"), None):
        return "fashiongen"
    raise FileNotFoundError(
        f"{root}: found no catalogue (products*.jsonl, products*.csv, *.parquet), no FashionKLIP files "
        "(*_queries_phrases.jsonl) and no FashionGen tree; give the folder that holds one, or name it with --layout"
    )


def read_records(
    data_dir: str | os.PathLike,
    layout: str | None = None,
    split: str = "train",
    text_columns: Sequence[str] = (),
    caption_columns: Sequence[str] = (),
    category_column: str | None = None,
    images: str = "required",
) -> Records:
    """Read one split of a data set.

    Args:
        data_dir: its folder. layout: one of LAYOUTS; None looks.
        text_columns: columns to mine; by default those of TEXT_COLUMNS that are there.
        caption_columns: columns that make up the caption, joined as the trainer does; by default the first of
            CAPTION_COLUMNS, for FashionGen title and description.
        category_column: column with the catalogue's own categories.
        images: "required", or "absent" for texts alone.

    Raises:
        FileNotFoundError: a file or column is missing. ValueError: rows that cannot be used.
    """
    if not Path(data_dir).is_dir():
        raise FileNotFoundError(f"data folder not found: {data_dir}")
    layout = layout or detect_layout(data_dir)
    if layout == "fashionklip":
        return _read_fashionklip(Path(data_dir), split, images)
    if layout == "fashiongen":
        return _read_fashiongen(data_dir, split, text_columns, caption_columns, category_column, images)
    return _read_catalogue(data_dir, split, text_columns, caption_columns, category_column, images)


def _read_catalogue(data_dir, split, text_columns, caption_columns, category_column, images) -> Records:
    from data_scripts.catalogue import Catalogue
    from data_scripts.prepare import prepare

    options = {"images": images} if images == "absent" else {"missing": "skip"}
    rows = prepare(Catalogue, "products", data_dir, splits=(split,), **options)[split]
    columns = _Columns(rows.column_names, text_columns, caption_columns, category_column, str(data_dir))
    ids = rows["product_id"][:]
    records = [
        columns.record(row, (product_id,))
        for row, product_id in zip(rows.select_columns(columns.wanted), ids, strict=True)
    ]
    pictures = {} if images == "absent" else RowPictures(rows, {one: number for number, one in enumerate(ids)})
    return Records(records, pictures, layout="catalogue")


def _read_fashiongen(data_dir, split, text_columns, caption_columns, category_column, images) -> Records:
    from data_scripts.fashiongen import FashionGen, caption_form
    from data_scripts.prepare import prepare

    options = {"images": images} if images == "absent" else {}
    options["caption"] = caption_form(caption_columns)
    split = "validation" if split in ("val", "valid") else split
    rows = prepare(FashionGen, "pairs", data_dir, splits=(split,), **options)[split]
    texts = text_columns or ("title", "description")
    columns = _Columns(rows.column_names, texts, ("caption",), category_column, str(data_dir))
    product, image = (_first(rows.column_names, names) for names in (("product_id", "id"), ("image_id", "image_name")))
    ids = [str(one) for one in rows[image][:]]
    grouped: dict[tuple, tuple[dict, list[str]]] = {}
    for row, image_id in zip(rows.select_columns([*columns.wanted, product]), ids, strict=True):
        grouped.setdefault((row[product], columns.caption(row)), (row, []))[1].append(image_id)
    records = [columns.record(row, tuple(own)) for row, own in grouped.values()]
    pictures = {} if images == "absent" else RowPictures(rows, {one: number for number, one in enumerate(ids)})
    return Records(records, pictures, layout="fashiongen")


def _first(names: Sequence[str], wanted: Sequence[str]) -> str:
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise ValueError(f"no column {' or '.join(wanted)}; there are {', '.join(names)}")
    return found


def _read_fashionklip(root: Path, split: str, images: str) -> Records:
    from data_scripts.fashionklip_files import KlipLayout, NpzImages, read_captions, read_concepts

    layout = KlipLayout.find(root)
    side = {"train": "train", "val": "val", "valid": "val", "validation": "val"}.get(split)
    if side is None:
        raise ValueError(f"{root}: FashionKLIP files have the splits train and val, not {split!r}")
    captions = read_captions(layout.need(f"{side}_captions"))
    records = [Record((one.query_text,), one.query_text, tuple(one.item_ids)) for one in captions]
    archives = layout.kb_images or getattr(layout, f"{side}_images")
    kb = [one.phrase for one in read_concepts(layout.kb_concepts)] if layout.kb_concepts else []
    pictures = ArrayPictures(NpzImages(archives)) if archives and images != "absent" else {}
    return Records(records, pictures, list(dict.fromkeys(kb)), "fashionklip", bool(layout.kb_images))


class _Columns:
    """Which columns of a table are read, and how a row becomes a record."""

    def __init__(self, names: Sequence[str], texts, captions, category, where: str) -> None:
        for column in (*texts, *captions, *([category] if category else ())):
            if column not in names:
                raise ValueError(f"{where}: no column {column!r}; there are {', '.join(names)}")
        self.texts = list(texts) or [name for name in TEXT_COLUMNS if name in names]
        self.captions = list(captions) or [name for name in CAPTION_COLUMNS if name in names][:1]
        if not self.texts or not self.captions:
            raise ValueError(
                f"{where}: no column of texts; name them with --text_columns and --caption, there are {', '.join(names)}"
            )
        self.category = category
        self.wanted = list(dict.fromkeys([*self.texts, *self.captions, *([category] if category else ())]))

    def caption(self, row: Mapping[str, Any]) -> str:
        return " ".join(row[name] for name in self.captions if row[name])

    def record(self, row: Mapping[str, Any], item_ids: tuple[str, ...]) -> Record:
        texts = tuple(row[name] or "" for name in self.texts)
        fields = tuple(row[name] for name in self.captions if row[name])
        category = (row[self.category] or "") if self.category else ""
        return Record(texts, self.caption(row), item_ids, category.strip(), fields)


class RowPictures(Mapping):
    """Image id -> {"bytes", "path"} of a prepared table, read when asked for."""

    def __init__(self, rows: Any, places: Mapping[str, int], column: str = "image") -> None:
        self.rows, self.places = rows.select_columns([column]), dict(places)
        self.column = column

    def __getitem__(self, image_id: str) -> dict[str, Any]:
        return self.rows[self.places[image_id]][self.column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class ArrayPictures(Mapping):
    """Image id -> PIL picture of FashionKLIP's normalised arrays, brought back to 8 bits."""

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays

    def __getitem__(self, image_id: str) -> Image.Image:
        values = np.asarray(self.arrays[image_id], dtype=np.float32).transpose(1, 2, 0) * CLIP_STD + CLIP_MEAN
        return Image.fromarray((255 * values).round().clip(0, 255).astype(np.uint8))

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays.ids)

    def __len__(self) -> int:
        return len(self.arrays)
