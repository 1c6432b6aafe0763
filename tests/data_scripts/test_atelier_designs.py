"""Atelier's garments, captions and the promise that every query has one answer."""

import itertools
import json

import numpy as np
import pytest

from data_scripts.atelier.captions import relative_captions
from data_scripts.atelier.designs import (
    DESIGN_SIZE,
    PAIR_STREAM,
    garment_id,
    generator,
    lane_and_split,
    make_design,
    make_garment,
)
from data_scripts.atelier.garment import Garment, differences
from data_scripts.atelier.oracle import oracle_rank
from data_scripts.atelier.phrases import Statement
from data_scripts.atelier.titles import description, title
from data_scripts.atelier.vocabulary import CATEGORIES, COLOUR_WEIGHTS, COLOURS, PATTERNS, SUBCATEGORIES

SEED = 7
DESIGNS = range(120)


@pytest.fixture(scope="module")
def designs() -> list[tuple[Garment, ...]]:
    return [make_design(SEED, number) for number in DESIGNS]


def test_the_world_is_as_rich_as_promised():
    assert len(CATEGORIES) >= 12 and len(SUBCATEGORIES) >= 30 and len(COLOURS) >= 16 and len(PATTERNS) >= 8
    assert set(COLOUR_WEIGHTS) == set(COLOURS)
    assert {s.category for s in SUBCATEGORIES.values()} == set(CATEGORIES)
    made = {make_design(SEED, n)[0].subcategory for n in range(1500)}
    assert made == set(SUBCATEGORIES)


def test_a_garment_depends_on_seed_and_index_alone():
    early = [make_garment(SEED, i) for i in range(40)]
    make_design.cache_clear()
    late = [make_garment(SEED, i) for i in reversed(range(40))][::-1]
    assert early == late
    assert [g.visible() for g in early] != [make_garment(SEED + 1, i).visible() for i in range(40)]


def test_annotations_are_pinned():
    garment = make_garment(7, 25)
    assert len(PINNED_GARMENT) > 15
    assert PINNED_GARMENT == {name: garment.as_row()[name] for name in PINNED_GARMENT}


PINNED_GARMENT: dict = {
    "id": "AT37PS74X0",
    "design_id": "D000001",
    "split": "train",
    "category": "shirt",
    "subcategory": "button-down shirt",
    "brand": "Fennick",
    "colour": "gray",
    "pattern": "horizontal stripes",
    "second_colour": "black",
    "fabric": "cotton",
    "sleeve": "elbow",
    "neckline": "collar",
    "length": "waist",
    "closure": "buttons",
    "buttons": 7,
    "pockets": 0,
    "seasons": ["spring", "summer"],
    "style": "classic",
}


def test_ids_are_ten_upper_case_characters_and_unique():
    ids = [garment_id(SEED, i) for i in range(200_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(i) == 10 and i.startswith("AT") and i.isalnum() and i == i.upper() for i in ids[:1000])
    assert len({garment_id(SEED + 1, i) for i in range(1000)} & set(ids[:1000])) == 0


def test_variants_of_a_design_differ_in_one_to_three_visible_attributes(designs):
    for design in designs:
        assert len(design) == DESIGN_SIZE
        for one, other in itertools.combinations(design, 2):
            names = differences(one, other)
            assert 1 <= len(names) <= 3, (one.subcategory, names)
            assert names == differences(other, one)
            assert (one.category, one.split, one.brand) == (other.category, other.split, other.brand)


def test_every_query_has_near_duplicates_that_miss_one_change(designs):
    for design in designs[:30]:
        for reference, target in itertools.permutations(design[:6], 2):
            near = [g for g in design if len(differences(g, target)) == 1]
            assert len(near) >= 4
            assert any(set(differences(reference, g)) <= set(differences(reference, target)) for g in near)


def test_attributes_that_cannot_be_seen_are_none(designs):
    for garment in itertools.chain(*designs):
        allowed = set(SUBCATEGORIES[garment.subcategory].choices) | {"colour", "second_colour"}
        assert all(value is None for name, value in garment.visible().items() if name not in allowed)
        plain = garment.pattern == "solid" and garment.graphic in (None, "none")
        if plain and garment.detail not in ("contrast trim", "band"):
            assert garment.second_colour is None
        else:
            assert garment.second_colour in COLOURS and garment.second_colour != garment.colour
        if garment.buttons is not None:
            assert (garment.buttons > 0) == (garment.closure == "buttons")


def test_fields_for_outfits_and_concepts_are_filled(designs):
    for garment in itertools.chain(*designs):
        assert garment.slot and garment.seasons and 0 <= garment.formality <= 4 and 0 <= garment.warmth <= 4
        assert garment.style in SUBCATEGORIES[garment.subcategory].styles
        assert garment.colour in title(garment).lower() and garment.subcategory in title(garment).lower()
        assert garment.fabric in description(garment) and description(garment).endswith(".")


def test_rows_come_back_as_the_same_garment():
    garment = make_garment(SEED, 33)
    row = json.loads(json.dumps(garment.as_row()))
    assert Garment.from_row(row) == garment
    del row["sleeve"]
    with pytest.raises(ValueError, match="sleeve"):
        Garment.from_row(row)


def test_splits_and_fashioniq_categories_have_their_shares():
    seen = [lane_and_split(n) for n in range(700)]
    lanes = [lane for lane, _ in seen]
    assert [lanes.count(x) for x in ("dress", "shirt", "toptee", None)] == [200, 200, 200, 100]
    splits = [split for _, split in seen]
    assert [splits.count(x) for x in ("train", "val", "test")] == [420, 210, 70]
    # The smallest world (200 garments) has every FashionIQ category in every split.
    smallest = {lane_and_split(n) for n in range(-(-200 // DESIGN_SIZE))}
    assert smallest >= set(itertools.product(("dress", "shirt", "toptee"), ("train", "val", "test")))


@pytest.mark.parametrize(
    ("statement", "holds"),
    [
        (Statement("sleeve", "more"), True),
        (Statement("sleeve", "less"), False),
        (Statement("sleeve", "is", "long"), True),
        (Statement("sleeve", "not", "short"), True),
        (Statement("buttons", "plus", 2), True),
        (Statement("buttons", "plus", 1), False),
        (Statement("colour", "darker"), True),
        (Statement("colour", "lighter"), False),
        (Statement("second_colour", "lighter"), False),
        (Statement("heel", "more"), False),
    ],
)
def test_statements_mean_what_the_words_say(statement, holds):
    base = next(g for g in map(lambda i: make_garment(SEED, i), range(2000)) if g.subcategory == "button-down shirt")
    row = base.as_row() | {"pattern": "solid", "second_colour": None}
    reference = Garment.from_row(row | {"sleeve": "short", "buttons": 3, "colour": "white"})
    candidate = Garment.from_row(row | {"sleeve": "long", "buttons": 5, "colour": "navy"})
    assert statement.holds(reference, candidate) is holds


def _queries(designs, per_design):
    for design in designs:
        rng = generator(SEED, PAIR_STREAM, design[0].index)
        for _ in range(per_design):
            a, b = (int(i) for i in rng.permutation(DESIGN_SIZE)[:2])
            captions = relative_captions(rng, design[a], design[b], design)
            yield design[a], design[b], captions


def test_captions_are_lower_case_sentences_with_every_kind_of_change(designs):
    texts = [c.text for _, _, captions in _queries(designs, 6) for c in captions]
    for text in texts:
        assert text == text.lower() == text.strip() and "none" not in text.split() and "  " not in text
        assert not any(f" a {vowel}" in f" {text}" for vowel in ("olive", "orange"))
    for words in (
        "no longer",
        "without",
        "instead of",
        "longer",
        "shorter sleeves",
        "darker",
        "lighter",
        "more buttons",
        " pockets",
    ):
        assert any(words in text for text in texts), words
    assert len(set(texts)) > 0.6 * len(texts)


def test_both_captions_differ_and_speak_only_of_true_changes(designs):
    for reference, target, captions in _queries(designs, 4):
        assert captions[0].text != captions[1].text
        spoken = {s.attribute for c in captions for s in c.statements}
        names = set(differences(reference, target))
        assert names <= spoken
        assert spoken - names <= {
            "second_colour",
            "buttons",
        }  # said along with the pattern or the closure they belong to
        assert all(s.holds(reference, target) for c in captions for s in c.statements)


def test_oracle_finds_the_target_and_neither_half_of_the_query_is_enough(designs):
    validation = [d for d in designs if d[0].split == "val" and d[0].fashioniq_category]
    gallery = {
        c: [g for d in validation if d[0].fashioniq_category == c for g in d] for c in ("dress", "shirt", "toptee")
    }
    ranks = {"both": [], "text": [], "image": []}
    for reference, target, captions in _queries(validation, 8):
        claims = [s for c in captions for s in c.statements]
        candidates = gallery[reference.fashioniq_category]
        ranks["both"].append(oracle_rank(reference, claims, target, candidates))
        ranks["text"].append(oracle_rank(reference, claims, target, candidates, use_reference=False))
        ranks["image"].append(oracle_rank(reference, claims, target, candidates, use_text=False))
    first = {name: np.mean(np.array(values) < 1) for name, values in ranks.items()}
    assert first["both"] >= 0.95
    assert first["text"] < 0.5 and first["image"] < 0.2
