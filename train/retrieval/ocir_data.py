"""Questions of complementary item retrieval for evaluation, read through the builder in `data_scripts`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from train.retrieval.ocir import OcirSet


def load_ocir_set(data_dir: str | Path, version: str, split: str = "test", missing_images: str = "error") -> OcirSet:
    """One split of the questions, with every item's category and picture.

    Args:
        data_dir: folder of Polyvore Outfits, with ocir_*.json. version: "disjoint" or "nondisjoint".
        split: "test", or "train", whose rows all ask.
        missing_images: "error" or "skip".

    Raises:
        FileNotFoundError: from the builder. ValueError: no such split.
    """
    from data_scripts.polyvore_outfits import PolyvoreOutfits
    from data_scripts.prepare import prepare

    splits = prepare(PolyvoreOutfits, f"ocir_{version}", data_dir, missing=missing_images)
    if split not in splits:
        raise ValueError(f"{data_dir}: ocir_{version} has no split {split!r}; it has {', '.join(splits)}")
    return ocir_set(splits[split], split)


def ocir_set(rows: Any, split: str) -> OcirSet:
    """The prepared rows of a split as `OcirSet`; pictures stay undecoded."""
    names = ("row", "question_ids", "question_categories", "blank_id", "blank_category", "fake_data")
    table = rows.select_columns(list(names))[:]
    categories: dict[str, int] = {}
    for items, numbers in zip(table["question_ids"], table["question_categories"], strict=True):
        categories |= zip(items, numbers, strict=True)
    categories |= zip(table["blank_id"], table["blank_category"], strict=True)
    digest = hashlib.sha256(json.dumps([table[name] for name in names]).encode()).hexdigest()
    return OcirSet(
        table["blank_id"],
        table["blank_category"],
        table["fake_data"],
        [str(row) for row in table["row"]],
        {"digest": digest, "layout": "polyvore_outfits", "split": split},
        table["question_ids"],
        categories,
        item_pictures(rows),
    )


def item_pictures(rows: Any) -> dict[str, Any]:
    """Item id -> path or bytes of its picture."""
    import datasets

    pictures: dict[str, Any] = {}
    undecoded = rows.cast_column("question_images", datasets.List(datasets.Image(decode=False)))
    undecoded = undecoded.cast_column("blank_image", datasets.Image(decode=False))
    columns = [rows["question_ids"][:], rows["blank_id"][:]]
    columns += [undecoded["question_images"][:], undecoded["blank_image"][:]]
    for ids, blank, found, own in zip(*columns, strict=True):
        for item, picture in zip([*ids, blank], [*found, own], strict=True):
            pictures[item] = picture["bytes"] if picture["bytes"] is not None else picture["path"]
    return pictures
