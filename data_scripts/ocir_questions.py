"""Makes questions of complementary item retrieval out of outfits; the original's own selection was never released.

The rule, for one version of the outfits:

    categories    fine-grained categories among `polyvore_ocir.CATEGORY_IDS` of which the outfits of all splits have at
                  least `candidates` different items
    train         every outfit with two or more items of known categories: the last one is the blank. (Training draws its
                  pairs from all of them.)
    test          every test outfit with such an item and at least one other: the blank is drawn from its items of the
                  categories above, in `disjoint` from those that no training outfit has; the others are the question
    gallery       of every category that is asked for, all blanks, then further items up to `candidates`, drawn from the
                  test outfits, and, where these have too few, from the validation and the training outfits; each is one row
                  with fake_data, whose question is the item itself

Items without a category, or of another one, are left out of their outfits and counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from data_scripts.polyvore_ocir import CATEGORY_NUMBERS

Outfits = Mapping[str, Sequence[Sequence[str]]]  # split -> outfits, each a list of item ids


def ocir_questions(
    outfits: Outfits,
    categories: Mapping[str, str | None],
    candidates: int = 3000,
    seed: int = 0,
    disjoint: bool = False,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Rows of ocir_*_train.json and ocir_*_test.json, and counts of what was used and left out.

    Args:
        outfits: of train and test, and of valid where there is one.
        categories: item id -> raw category id. candidates: items of a gallery. seed: of the draws.
        disjoint: ask for no item that is in a training outfit.

    Raises:
        ValueError: no category has enough items, or no test outfit has an item of one that may be asked for.
    """
    if candidates < 2:
        raise ValueError(f"candidates is {candidates}, expected at least 2: an item must be found among others")
    known = {s: [[i for i in o if categories.get(i) in CATEGORY_NUMBERS] for o in some] for s, some in outfits.items()}
    pools: dict[str, dict[str, list[str]]] = {}  # category -> split -> distinct items
    seen: set[str] = set()
    for split in ("test", "valid", "train"):
        for item in (item for outfit in known.get(split, ()) for item in outfit):
            if item not in seen:
                seen.add(item)
                pools.setdefault(str(categories[item]), {}).setdefault(split, []).append(item)
    sizes = {category: sum(map(len, by_split.values())) for category, by_split in pools.items()}
    kept = {category for category, size in sizes.items() if size >= candidates}
    if not kept:
        largest = max(sizes.values(), default=0)
        raise ValueError(f"no category has {candidates} items, the largest has {largest}; use fewer candidates")
    draw = random.Random(seed)
    trained = {item for outfit in outfits["train"] for item in outfit}
    train = [{"question": o[:-1], "blank": o[-1]} for o in known["train"] if len(o) > 1]
    test: list[dict[str, Any]] = []
    for outfit in known["test"]:
        blanks = [i for i in outfit if str(categories[i]) in kept and not (disjoint and i in trained)]
        if len(set(outfit)) > 1 and blanks:
            blank = draw.choice(blanks)
            test.append({"question": [i for i in outfit if i != blank], "blank": blank, "fake_data": False})
    if not test:
        unseen = " that no training outfit has" if disjoint else ""
        raise ValueError(
            f"no test outfit has another item and one of the {len(kept)} categories with {candidates} items{unseen}; "
            f"use fewer candidates{', or write the version nondisjoint' if disjoint else ''}"
        )
    asked = Counter(str(categories[blank]) for blank in dict.fromkeys(row["blank"] for row in test))
    blanks = {row["blank"] for row in test}
    questions = len(test)
    for category, count in asked.items():
        wanted = max(0, candidates - count)
        for split in ("test", "valid", "train"):
            rest = [item for item in pools[category].get(split, ()) if item not in blanks]
            chosen = draw.sample(rest, min(wanted, len(rest)))
            test += [{"question": [item], "blank": item, "fake_data": True} for item in chosen]
            wanted -= len(chosen)
    total = {split: sum(len(o) for o in some) for split, some in outfits.items()}
    counts = {
        "categories": len(asked),
        "train_outfits": len(train),
        "train_outfits_left_out": len(outfits["train"]) - len(train),
        "test_questions": questions,
        "test_outfits_left_out": len(outfits["test"]) - questions,
        "gallery_rows": len(test) - questions,
        "test_items": len(tested := {item for outfit in outfits["test"] for item in outfit}),
        "test_items_in_training": len(tested & trained),
        "items_of_other_categories": sum(total.values()) - sum(len(o) for some in known.values() for o in some),
    }
    return {"train": train, "test": test}, counts
