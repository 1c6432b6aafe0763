"""Slots of an outfit from the company that categories keep: boots and sandals are hardly ever worn together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXPECTED = 10.0
SHARE = 0.1


def slots_by_cooccurrence(
    outfits: Sequence[Sequence[str]], expected: float = EXPECTED, share: float = SHARE
) -> dict[str, list[str]]:
    """Categories that stand for each other in an outfit.

    Two categories are of one slot when they meet in at most `share` of the outfits in which they would meet by chance,
    n_a n_b / n, and these are at least `expected`, for of rare ones nothing is known. Joined categories count as one
    whose meetings are the sums of theirs, so a rare category joins the slot that it keeps out of as a whole. The pair
    that misses most meetings is joined first.

    Args:
        outfits: categories of each outfit's items; "" for an item without one.

    Returns:
        Slot -> its categories, two or more, the most worn first; the slot's name lists them. A category that is in no
        slot is one of its own.
    """
    worn = [sorted({category for category in outfit if category}) for outfit in outfits]
    names = sorted({category for outfit in worn for category in outfit})
    number = {name: place for place, name in enumerate(names)}
    met = np.zeros((len(names), len(names)))
    for outfit in worn:
        places = [number[name] for name in outfit]
        met[np.ix_(places, places)] += 1
    count = met.diagonal().copy()
    chance = np.outer(count, count) / max(len(worn), 1)
    np.fill_diagonal(chance, 0)  # nothing is joined with itself
    groups = [[place] for place in range(len(names))]
    while groups:
        missed = np.where((chance >= expected) & (met <= share * chance), chance - met, 0)
        one, other = sorted(np.unravel_index(missed.argmax(), missed.shape))
        if missed[one, other] <= 0:
            break
        groups[one] += groups.pop(other)
        met, chance = _joined(met, one, other), _joined(chance, one, other)
        chance[one, one] = 0
    by_wear = [sorted(group, key=lambda place: (-count[place], place)) for group in groups if len(group) > 1]
    return {" / ".join(names[place] for place in group): [names[place] for place in group] for group in by_wear}


def _joined(table: np.ndarray, one: int, other: int) -> np.ndarray:
    """A symmetric table of pairs in which `other` has been added to `one`."""
    table = table.copy()
    table[one] += table[other]
    table[:, one] += table[:, other]
    return np.delete(np.delete(table, other, 0), other, 1)
