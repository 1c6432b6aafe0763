"""Image-text sets for evaluation, read through the builders in `data_scripts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train.engine.fashionklip_arguments import PairArguments
from train.retrieval.image_text import ImageTextSet, fingerprint

CATEGORY_COLUMNS = ("subcategory", "subCategory", "articleType", "category")
DEFAULT_SPLITS = {"catalogue": "valid", "fashiongen": "validation", "fashionklip": "validation"}


def detect_image_text_layout(data_dir: str | Path, protocol: str) -> str:
    """ "fashiongen", "fashionklip" or "catalogue", from the protocol's name or the files.

    Raises:
        FileNotFoundError: none of them.
    """
    root = Path(data_dir)
    if protocol.startswith("fashiongen/"):
        return "fashiongen"
    if any((folder / "fashion_kb").is_dir() or (folder / "fashiongen").is_dir() for folder in (root, root / "tmp")):
        return "fashionklip"
    for folder in (root, root / "FashionGen"):
        if any(next(folder.glob(pattern), None) for pattern in ("*_info.json", "fashiongen*.h5")):
            return "fashiongen"
    if any(next(root.glob(pattern), None) for pattern in ("*.parquet", "products*.jsonl", "products*.csv")):
        return "catalogue"
    raise FileNotFoundError(
        f"no captions with images found under {root}: expected products.jsonl or *.parquet (own catalogue), *_info.json or "
        "fashiongen_*.h5 (FashionGen), or fashiongen/ and fashion_kb/ (FashionKLIP); give the layout with --dataset"
    )


def load_image_text_set(
    layout: str,
    data_dir: str | Path,
    protocol: str,
    split: str | None = None,
    missing_images: str = "error",
    caption: list[str] | None = None,
) -> ImageTextSet:
    """One split of a data set, as a protocol wants it.

    Args:
        layout: "catalogue", "fashiongen" or "fashionklip".
        data_dir: folder of the data set.
        protocol: fashiongen/... has one text per product, retrieval/same-title one per image.
        split: default valid (catalogue) or validation.
        missing_images: "error" or "skip".
        caption: columns whose texts, joined, are the caption; default: title, and title with description for FashionGen.

    Raises:
        ValueError: a layout that the protocol can't use, an unknown split.
        FileNotFoundError: from the builder.
    """
    if layout not in DEFAULT_SPLITS:
        raise ValueError(f"{protocol} reads the layouts {', '.join(DEFAULT_SPLITS)}, not {layout}")
    if protocol.startswith("fashiongen/"):
        if layout != "fashiongen":
            raise ValueError(f"{protocol} needs products with several photos, the layout fashiongen, not {layout}")
        data = _by_product(data_dir, split or DEFAULT_SPLITS[layout], missing_images, caption)
    else:
        data = _by_caption(layout, data_dir, split, missing_images, caption)
    data.fingerprint = fingerprint(data) | {"layout": layout, "split": split or DEFAULT_SPLITS[layout]}
    return data


def _by_product(data_dir: str | Path, split: str, missing: str, caption: list[str] | None) -> ImageTextSet:
    from data_scripts.fashiongen import FashionGen, caption_form
    from data_scripts.prepare import prepare
    from train.engine.triplets import encoded_images

    splits = prepare(FashionGen, "pairs", data_dir, caption=caption_form(caption), missing=missing)
    if split not in splits:
        raise ValueError(f"{data_dir} has no split {split!r}; it has {', '.join(splits)}")
    rows = splits[split]
    columns = {name: rows[name][:] for name in ("image_id", "product_id", "caption", "subcategory")}
    first: dict[str, int] = {}
    for row, product in enumerate(columns["product_id"]):
        first.setdefault(product, row)
    have = all(category is not None for category in columns["subcategory"])
    return ImageTextSet(
        columns["image_id"],
        dict(zip(columns["image_id"], encoded_images(rows, "image"), strict=True)),
        list(first),
        [columns["caption"][row] for row in first.values()],
        columns["product_id"],
        list(first),
        columns["subcategory"] if have else None,
        [columns["subcategory"][row] for row in first.values()] if have else None,
    )


def _by_caption(layout: str, data_dir: str | Path, split: str | None, missing: str, caption: Any) -> ImageTextSet:
    from train.engine.caption_pairs import load_pairs

    pairs = load_pairs(
        PairArguments(
            data_dir=str(data_dir),
            dataset=layout,
            caption=list(caption or []),
            validation_split=split,
            missing_images=missing,
        ),
        "validation",
    )
    owners: dict[str, list[str]] = {}
    for image_id, text in zip(pairs.image_ids, pairs.texts, strict=True):
        owners.setdefault(image_id, []).append(text)
    categories = _catalogue_categories(data_dir, split, missing) if layout == "catalogue" else None
    return ImageTextSet(
        list(owners),
        pairs.sources,
        [f"{row}-{image_id}" for row, image_id in enumerate(pairs.image_ids)],
        pairs.texts,
        [tuple(texts) for texts in owners.values()],
        pairs.texts,
        [categories[i] for i in owners] if categories else None,
        [categories[i] for i in pairs.image_ids] if categories else None,
    )


def _catalogue_categories(data_dir: str | Path, split: str | None, missing: str) -> dict[str, str] | None:
    """Product id -> category, where the catalogue has a column of that kind."""
    from data_scripts.catalogue import Catalogue
    from data_scripts.prepare import prepare

    splits = prepare(Catalogue, "products", data_dir, missing=missing)
    rows = splits[split] if split else next(splits[n] for n in ("valid", "val", "validation") if n in splits)
    column = next((name for name in CATEGORY_COLUMNS if name in rows.column_names), None)
    if column is None:
        return None
    return {i: str(c) for i, c in zip(rows["product_id"][:], rows[column][:], strict=True)}
