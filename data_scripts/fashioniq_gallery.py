"""FashionIQ as FashionViL reads it: queries, and rows that only put their target among the images that are ranked.

    captions/cap.<category>.<split>.json    [{"candidate", "target", "captions", "target_id": 4, "fake_data": false,
                                             "garment_class": 0}, ...]

The original's modified files were never explained. Here the target's number is its place in the split file, and every image
of the split file that is no query's target gets one row with `fake_data`: candidate and target are the image, the captions
are empty. Ranked against the targets of all rows, a query then meets the whole split, the protocol
`fashioniq/original-split`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_scripts.source_files import as_id, read_json

GARMENT_CLASSES = {"dress": 0, "shirt": 1, "toptee": 2}
KEYS = ("target_id", "fake_data", "garment_class")

Row = dict[str, Any]


def gallery_rows(triplets: list[Row], ids: list[str], category: str) -> list[Row]:
    """Rows of one category and split: its triplets in order, then one for every other image of the split file.

    Args:
        triplets: reference_id, target_id, captions. ids: of the split file.
    """
    number = {image_id: place for place, image_id in enumerate(ids)}
    rows = [t | {"target_number": number[t["target_id"]], "fake_data": False} for t in triplets]
    asked = {t["target_id"] for t in triplets}
    for image_id in (i for i in ids if i not in asked):
        row = {"row": len(rows), "category": category, "reference_id": image_id, "target_id": image_id}
        rows.append(row | {"captions": ["", ""], "target_number": number[image_id], "fake_data": True})
    return [row | {"garment_class": GARMENT_CLASSES[category]} for row in rows]


def read_modified(path: Path, category: str, remedy: str) -> list[Row] | None:
    """Rows of a caption file that has FashionViL's keys; None for an official file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: keys in some rows only, or of another type; a number of two images, or a row of another category.
    """
    entries = read_json(path, remedy)
    if not isinstance(entries, list) or not any(isinstance(e, dict) and "fake_data" in e for e in entries):
        return None
    rows: list[Row] = []
    owner: dict[int, str] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, row {number} (from 0)"
        if not isinstance(entry, dict) or not {"candidate", "target", "captions", *KEYS} <= entry.keys():
            raise ValueError(f"{where}: expected candidate, target, captions, {', '.join(KEYS)}; got {str(entry)[:80]}")
        target, fake, kind = (entry[name] for name in KEYS)
        if not isinstance(target, int) or isinstance(target, bool) or not isinstance(fake, bool):
            raise ValueError(
                f"{where}: expected a whole number in target_id and true or false in fake_data; correct it"
            )
        if kind != GARMENT_CLASSES[category]:
            raise ValueError(
                f"{where}: garment_class of {category} is {GARMENT_CLASSES[category]}, got {kind!r}; correct it"
            )
        captions = entry["captions"]
        if not isinstance(captions, list) or not captions or not all(isinstance(c, str) for c in captions):
            raise ValueError(f"{where}: expected a list of captions, got {captions!r}; correct this row")
        image = as_id(entry["target"], f"{where}, target")
        if owner.setdefault(target, image) != image:
            raise ValueError(f"{where}: target_id {target} is of {owner[target]} already, not of {image}; correct it")
        row = {"row": number, "category": category, "reference_id": as_id(entry["candidate"], f"{where}, candidate")}
        row |= {"target_id": image, "captions": captions, "target_number": target, "fake_data": fake}
        rows.append(row | {"garment_class": kind})
    return rows


def as_written(rows: list[Row]) -> list[Row]:
    """Rows as a caption file holds them."""
    return [
        {
            "candidate": row["reference_id"],
            "target": row["target_id"],
            "captions": row["captions"],
            "target_id": row["target_number"],
            "fake_data": row["fake_data"],
            "garment_class": row["garment_class"],
        }
        for row in rows
    ]
