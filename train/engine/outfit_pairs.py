"""Training pairs for complementary items: of every outfit one item that asks and one that is looked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Draws(Protocol):
    """The call of `random.Random` that pairs need; recorded draws have it too."""

    def choices(self, population: Sequence[Any], *, k: int) -> list[Any]: ...


class OutfitPair(NamedTuple):
    """Item ids and category numbers; `negative` is an item of the target's category, None where there is no other."""

    question: str
    target: str
    question_category: int
    target_category: int
    negative: str | None


class OutfitPairs:
    """Draws pairs from the rows of an OCIR training file.

    Deviation: the original draws once, when its data set is made, and may pair an item with itself or take the target as
    its own negative. Here pairs are drawn anew in every epoch, and the two items differ where the outfit has two.

    Args:
        rows: question_ids, blank_id, question_categories, blank_category of every outfit.
        official: the original's draws.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], official: bool = False) -> None:
        self.outfits = [[*row["question_ids"], row["blank_id"]] for row in rows]
        self.official = official
        self.category: dict[str, int] = {}
        for row, items in zip(rows, self.outfits, strict=True):
            self.category |= zip(items, [*row["question_categories"], row["blank_category"]], strict=True)
        self.of_category: dict[int, list[str]] = {}
        for item, category in self.category.items():
            self.of_category.setdefault(category, []).append(item)

    def __len__(self) -> int:
        return len(self.outfits)

    def draw(self, outfit: int, draw: Draws) -> OutfitPair:
        """A pair of one outfit, then its negative."""
        items = self.outfits[outfit]
        if self.official:
            question, target = draw.choices(items, k=2)
        else:
            (question,) = draw.choices(items, k=1)
            (target,) = draw.choices([item for item in items if item != question] or items, k=1)
        pool = self.of_category[self.category[target]]
        if not self.official:
            pool = [item for item in pool if item != target]
        negative = draw.choices(pool, k=1)[0] if pool else None
        return OutfitPair(question, target, self.category[question], self.category[target], negative)

    def epoch(self, seed: int, epoch: int) -> list[OutfitPair]:
        """The pairs of one epoch, a function of (seed, epoch); the original's are the same in all."""
        number = 0 if self.official else epoch
        return [self.draw(o, random.Random(f"pairs {seed} {number} {o}")) for o in range(len(self))]
