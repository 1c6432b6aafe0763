"""Questions of outfit complementary item retrieval (OCIR) on Polyvore Outfits, as FashionViL reads them.

    ocir_<disjoint|nondisjoint>_<train|test>.json    [{"question": [item ids], "blank": item id, "fake_data": bool}, ...]
    polyvore_item_metadata.json                      {item id: {"category_id": "41", ...}}, for every item of them

A question is an outfit without one item, the blank. Rows of a test file whose `fake_data` is true ask nothing: they put
their blank among the items that are ranked. The original's files were never released; `python -m data_scripts.derive
ocir` writes some by a stated rule. Raw categories become 0 .. 152 by `CATEGORY_IDS`, the original's order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_scripts.source_files import as_id, first_few, read_json

CATEGORY_IDS = (
    *(3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 17, 18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 35, 36, 37, 38, 39, 40, 41),
    *(42, 43, 46, 47, 48, 49, 50, 51, 52, 53, 55, 56, 57, 58, 59, 61, 62, 64, 65, 68, 69, 1606, 1607, 1605, 104, 105),
    *(106, 107, 231, 236, 237, 238, 239, 240, 241, 243, 244, 248, 249, 250, 251, 252, 253, 254, 255, 256, 257, 258),
    *(259, 260, 261, 262, 263, 264, 265, 266, 267, 268, 269, 270, 272, 273, 275, 277, 278, 279, 280, 281, 282, 284),
    *(286, 287, 288, 289, 290, 291, 292, 293, 294, 295, 296, 297, 298, 299, 300, 301, 302, 303, 304, 305, 306, 307),
    *(309, 310, 315, 318, 332, 341, 342, 343, 4452, 4454, 4455, 4456, 4457, 4458, 4459, 4460, 4461, 4462, 4463, 4464),
    *(4465, 4466, 4467, 4468, 4470, 4472, 4473, 4495, 4496, 4517, 4518),
)
CATEGORY_NUMBERS = {str(category): number for number, category in enumerate(CATEGORY_IDS)}
VERSIONS = ("disjoint", "nondisjoint")
SPLITS = ("train", "test")
REMEDY = "Write these files with `python -m data_scripts.derive ocir`; see data_scripts/polyvore_ocir.py."

Row = dict[str, Any]


def question_file(root: Path, version: str, split: str) -> Path:
    return root / f"ocir_{version}_{split}.json"


def read_questions(root: Path, version: str, split: str) -> list[Row]:
    """Rows of one file: row, question_ids, blank_id, question_categories, blank_category (0 .. 152), fake_data.

    Raises:
        FileNotFoundError: the file or the metadata are missing.
        ValueError: a malformed row, or an item without a category or of one that is not in `CATEGORY_IDS`.
    """
    path = question_file(root, version, split)
    content = read_json(path, REMEDY)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of questions, got {type(content).__name__}. {REMEDY}")
    rows = []
    for number, entry in enumerate(content):
        where = f"{path}, row {number} (from 0)"
        if not isinstance(entry, dict) or not {"question", "blank"} <= entry.keys():
            raise ValueError(f'{where}: expected {{"question", "blank"}}, got {str(entry)[:80]}; correct this row')
        if not isinstance(entry["question"], list) or not entry["question"]:
            raise ValueError(
                f"{where}: expected at least one item in question, got {entry['question']!r}; correct this row"
            )
        fake = entry.get("fake_data", False)
        if not isinstance(fake, bool):
            raise ValueError(f"{where}: expected true or false in fake_data, got {fake!r}; correct this row")
        question = [as_id(item, f"{where}, question") for item in entry["question"]]
        blank = as_id(entry["blank"], f"{where}, blank")
        rows.append({"row": number, "question_ids": question, "blank_id": blank, "fake_data": fake})
    used = dict.fromkeys(item for row in rows for item in (*row["question_ids"], row["blank_id"]))
    categories = read_category_numbers(root / "polyvore_item_metadata.json", list(used))
    for row in rows:
        row["question_categories"] = [categories[item] for item in row["question_ids"]]
        row["blank_category"] = categories[row["blank_id"]]
    return rows


def read_category_numbers(path: Path, items: list[str]) -> dict[str, int]:
    """Item id -> number of its category.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: items without an entry (as one list), or a category outside of `CATEGORY_IDS`.
    """
    metadata = read_json(path, REMEDY)
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: expected an object with item ids for keys, got {type(metadata).__name__}")
    if lacking := [i for i in items if not isinstance(metadata.get(i), dict)]:
        raise ValueError(
            f"{path}: no entry for {len(lacking):,} of {len(items):,} items: {first_few(lacking)}; add them"
        )
    numbers = {}
    for item in items:
        category = str(metadata[item].get("category_id"))
        if category not in CATEGORY_NUMBERS:
            raise ValueError(
                f"{path}, item {item}: category_id {category} is none of the {len(CATEGORY_IDS)} fine-grained categories of "
                "Polyvore Outfits (3, 4, ... 4518); correct it, or leave questions with this item out"
            )
        numbers[item] = CATEGORY_NUMBERS[category]
    return numbers
