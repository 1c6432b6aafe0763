"""Training pairs of outfits: drawn anew and of different items, or as the original draws them."""

import random

import pytest

from train.engine.outfit_pairs import OutfitPairs

ROWS = [
    {"question_ids": ["a", "b"], "blank_id": "c", "question_categories": [1, 2], "blank_category": 3},
    {"question_ids": ["d"], "blank_id": "e", "question_categories": [3], "blank_category": 1},
    {"question_ids": ["f"], "blank_id": "f", "question_categories": [7], "blank_category": 7},
]


def test_pairs_are_two_items_of_an_outfit_with_their_categories_and_another_item_as_negative():
    pairs = OutfitPairs(ROWS)
    category = {"a": 1, "b": 2, "c": 3, "d": 3, "e": 1, "f": 7}
    drawn = [pairs.draw(0, random.Random(seed)) for seed in range(300)]
    assert {(p.question, p.target) for p in drawn} == {(x, y) for x in "abc" for y in "abc" if x != y}
    for pair in drawn:
        assert (pair.question_category, pair.target_category) == (category[pair.question], category[pair.target])
        assert pair.negative == {"a": "e", "b": None, "c": "d"}[pair.target]  # None: no other item of the category
    assert pairs.draw(2, random.Random(0)).question == "f"  # an outfit of one item twice


def test_the_original_draws_with_replacement_and_once_for_all_epochs():
    pairs = OutfitPairs(ROWS, official=True)
    drawn = [pairs.draw(0, random.Random(seed)) for seed in range(300)]
    same = sum(p.question == p.target for p in drawn) / len(drawn)
    assert same == pytest.approx(1 / 3, abs=0.08)
    assert any(p.negative == p.target for p in drawn)
    assert pairs.epoch(0, 1) == pairs.epoch(0, 2)


def test_epochs_differ_and_repeat_exactly():
    pairs = OutfitPairs(ROWS * 10)
    assert pairs.epoch(0, 1) == pairs.epoch(0, 1) != pairs.epoch(0, 2)
    assert pairs.epoch(1, 1) != pairs.epoch(0, 1) and len(pairs.epoch(0, 0)) == len(pairs) == 30
