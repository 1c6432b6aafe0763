"""Products with all their views, texts, pseudo-attributes and labels, from any of the sets that FashionViL trains on."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# What makes up the text of a product, joined by full stops (loaders of BrandonHanx/mmf).
TEXT_COLUMNS = {
    "fashiongen": ("title", "description"),
    "big_facad": ("color", "title", "description"),
    "fashion200k": ("title",),
    "polyvore_outfits": ("title", "description"),
    "catalogue": ("title",),
}
# The split that validates, by name: Fashion200k has no other than its test split, and a shop's files are named freely.
VALIDATION_SPLITS = {
    "fashiongen": ("validation",),
    "big_facad": ("validation",),
    "fashion200k": ("test",),
    "polyvore_outfits": ("valid",),
    "catalogue": ("validation", "val", "valid", "test"),
}
LABELS = ("category", "subcategory")
FIELDS = ("ids", "views", "texts", "attributes")


@dataclasses.dataclass
class Products:
    """Products of one split of one or several data sets, one entry of every list per product.

    Attributes:
        ids: "<data set>/<id>": ids of two sets may be equal.
        views: ids of the product's pictures, at least one.
        texts: title and whatever else the set has.
        attributes: names or ids of pseudo-attributes.
        labels: "category" and "subcategory" -> names, None where a product has none; empty where the set has none.
        sources: picture id -> path or bytes.
    """

    ids: list[str]
    views: list[list[str]]
    texts: list[str]
    attributes: list[list[str]]
    labels: dict[str, list[str | None]]
    sources: dict[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    def numbers(self) -> list[int]:
        """A number for every text: equal texts have equal numbers."""
        number: dict[str, int] = {}
        return [number.setdefault(text, len(number)) for text in self.texts]


def load_products(
    names: Sequence[str],
    data_dir: str | Path,
    split: str,
    missing: str = "error",
    labelled: str | None = None,
) -> Products:
    """Read one split of one or several data sets.

    Args:
        names: data sets, keys of TEXT_COLUMNS, in the order in which their products come.
        data_dir: folder of the set, or of all of them.
        split: its name; "validation" is the one of VALIDATION_SPLITS. Others are not read, nor are their photos.
        missing: "error" or "skip" pictures that are not there or can't be opened; a product keeps its others.
        labelled: "category" or "subcategory": leave out, and count, products without that label.

    Raises:
        FileNotFoundError, ValueError: as the builders; also no such split, no products, or no labels.
    """
    parts = [_one_set(name, data_dir, split, missing) for name in names]
    joined = Products([], [], [], [], {kind: [] for kind in LABELS}, {})
    for part in parts:
        for field in FIELDS:
            getattr(joined, field).extend(getattr(part, field))
        for kind in LABELS:
            joined.labels[kind] += part.labels[kind]
        joined.sources |= part.sources
    if labelled:
        joined = _with_label(joined, labelled, f"{data_dir}, {split}")
    if not len(joined):
        raise ValueError(f"{data_dir}: no products in the {split} split of {', '.join(names)}")
    return joined


def _one_set(name: str, data_dir: str | Path, split: str, missing: str) -> Products:
    from data_scripts.prepare import BUILDERS, prepare

    options: dict[str, Any] = {"missing": missing}
    if missing == "skip" and hasattr(BUILDERS[name].BUILDER_CONFIG_CLASS, "check"):
        options["check"] = True  # a photo that can't be opened is left out like one that isn't there
    found = _split_name(name, data_dir, split)
    rows = prepare(BUILDERS[name], "products", data_dir, splits=(found,), **options)[found]
    ids = [f"{name}/{i}" for i in rows["product_id"][:]]
    views, sources = _pictures(rows, name)
    texts = [sentence(parts) for parts in zip(*(rows[c][:] for c in TEXT_COLUMNS[name]), strict=True)]
    # Ids before names: the published assignment of ids is opaque, and a model's head is numbered by it.
    column = next((c for c in ("attribute_ids", "attributes") if c in rows.column_names), None)
    attributes = [[] for _ in ids]
    if column:
        attributes = [_listed(own, f"{data_dir}: {i}, {column}") for i, own in zip(ids, rows[column][:], strict=True)]
    labels = {kind: rows[kind][:] if kind in rows.column_names else [None] * len(ids) for kind in LABELS}
    return Products(ids, views, texts, attributes, labels, sources)


def _split_name(name: str, data_dir: str | Path, split: str) -> str:
    """The set's own name of a split."""
    from data_scripts.catalogue import CatalogueConfig, files_of

    names = VALIDATION_SPLITS[name] if split == "validation" else (split,)
    if len(names) == 1:
        return names[0]
    there = files_of(Path(data_dir), CatalogueConfig(name="products"))
    found = next((other for other in names if other in there), None)
    if found is None:
        raise ValueError(f"{data_dir}: {name} has no split to validate on; it has {', '.join(there)}")
    if found == "test":
        logger.warning("%s: there is no split to validate on but test", data_dir)
    return found


def _listed(value: Any, where: str) -> list[str]:
    """A product's attributes as strings; the columns of a shop's files are text, in which a list is JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            pass
        if not isinstance(value, list):
            raise ValueError(f'{where}: expected a list, such as ["red", "wool"], got {value!r}; correct this row')
    return [str(attribute) for attribute in value or ()]


def sentence(parts: Iterable[str | None]) -> str:
    """The texts of a product in one, a full stop between two; empty ones are left out."""
    return ".".join(part.strip() for part in parts if part and part.strip())


def _pictures(rows: Any, name: str) -> tuple[list[list[str]], dict[str, Any]]:
    """Ids of every product's pictures, and where each picture is, undecoded."""
    import datasets

    if isinstance(rows.features.get("images"), datasets.List):
        column = rows.select_columns(["images"]).cast_column("images", datasets.List(datasets.Image(decode=False)))
        pictures, ids = column["images"][:], rows["image_ids"][:]
    else:
        column = rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
        pictures, ids = [[picture] for picture in column["image"][:]], [[i] for i in rows["product_id"][:]]
    views = [[f"{name}/{i}" for i in own] for own in ids]
    sources: dict[str, Any] = {}
    for own, found in zip(views, pictures, strict=True):
        for view, picture in zip(own, found, strict=True):
            sources[view] = picture["bytes"] if picture["bytes"] is not None else picture["path"]
    return views, sources


def _with_label(products: Products, kind: str, where: str) -> Products:
    kept = [row for row, label in enumerate(products.labels[kind]) if label is not None]
    if not kept:
        raise ValueError(f"{where}: no product has a {kind}; choose a data set with labels")
    if len(kept) < len(products):
        logger.warning("%s: %d products without a %s are left out", where, len(products) - len(kept), kind)
    ids, views, texts, attributes = ([getattr(products, f)[row] for row in kept] for f in FIELDS)
    labels = {k: [own[row] for row in kept] for k, own in products.labels.items()}
    sources = {view: products.sources[view] for own in views for view in own}
    return Products(ids, views, texts, attributes, labels, sources)


def attribute_numbers(
    products: Products, known: dict[str, int] | None = None
) -> tuple[list[list[int]], dict[str, int]]:
    """Numbers of every product's pseudo-attributes, and the table of their names.

    Attributes that are ids keep their numbers: the published assignment is opaque. Names are numbered in alphabetical
    order, or as `known` has them; a name that it lacks is left out.
    """
    names = {name for own in products.attributes for name in own}
    if known is None:
        ids = names and all(name.isdecimal() for name in names)
        known = {name: int(name) if ids else place for place, name in enumerate(sorted(names))}
    return [[known[name] for name in own if name in known] for own in products.attributes], known
