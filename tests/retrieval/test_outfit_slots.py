"""Slots by co-occurrence: the rule against counts by hand, what it leaves alone, and a made-up wardrobe."""

from itertools import product

import numpy as np
import pytest

from train.retrieval.outfit_slots import slots_by_cooccurrence


def meetings(together: int, apart: int = 40, rest: int = 20) -> list[list[str]]:
    """boots and sandals in 100 outfits: by chance they meet (apart + together)^2 / 100 times."""
    outfits = [["boots", "bag"]] * apart + [["sandals", "bag"]] * apart
    outfits += [["boots", "sandals", "bag"]] * together + [["bag"]] * (rest - together)
    assert len(outfits) == 2 * apart + rest
    return outfits


@pytest.mark.parametrize(
    ("together", "joined"),
    [(0, True), (1, True), (2, False), (20, False)],  # of 16, 16.81, 17.64 and 36 by chance: a tenth is 1.6, 1.68, 1.76
)
def test_categories_that_meet_less_than_a_tenth_of_chance_are_one_slot(together, joined) -> None:
    slots = slots_by_cooccurrence(meetings(together))
    assert slots == ({"boots / sandals": ["boots", "sandals"]} if joined else {})


def test_of_rare_categories_nothing_is_known() -> None:
    # 31 of each in 100 outfits would meet 9.61 times, 32 of each 10.24 times.
    assert slots_by_cooccurrence(meetings(0, apart=31, rest=38)) == {}
    assert slots_by_cooccurrence(meetings(0, apart=32, rest=36))
    assert slots_by_cooccurrence(meetings(0, apart=31, rest=38), expected=9)
    assert slots_by_cooccurrence([]) == {} and slots_by_cooccurrence([["", ""], [""]]) == {}


def test_a_category_that_is_worn_with_one_of_a_slot_joins_it_only_where_that_is_a_trifle() -> None:
    shoes = [["boots"]] * 50 + [["sandals"]] * 50
    # Socks: 20 times without shoes and twice with boots, of 122 outfits; with the shoes they would meet 18 times.
    assert "socks" not in str(slots_by_cooccurrence([*shoes, *[["socks"]] * 20, *[["boots", "socks"]] * 2]))
    # Clogs are as rare, and meet nobody: alone they are too rare for sandals (8.3), not for both (16.7).
    slots = slots_by_cooccurrence([*shoes, *[["clogs"]] * 20])
    assert slots == {"boots / sandals / clogs": ["boots", "sandals", "clogs"]}


def test_the_slots_of_a_wardrobe_are_found_in_any_order() -> None:
    slots = {"top": ["shirt", "blouse", "sweater"], "bottom": ["skirt", "jeans"], "shoes": ["boots", "pumps", "clogs"]}
    outfits = [list(outfit) for outfit in product(*slots.values())] * 12
    outfits += [["dress", shoe] for shoe in slots["shoes"]] * 12
    outfits += [[*outfit, "bag"] for outfit in outfits[::2]]
    found = slots_by_cooccurrence(outfits)
    assert {frozenset(group) for group in found.values()} == {
        frozenset(slots["shoes"]),
        frozenset(slots["top"]),
        frozenset((*slots["bottom"], "dress")),
    }
    rng = np.random.default_rng(0)
    shuffled = [list(rng.permutation(outfits[row])) for row in rng.permutation(len(outfits))]
    assert slots_by_cooccurrence(shuffled) == found
