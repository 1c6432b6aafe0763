"""Which concepts fill a caption's slots: the filters, the fathers, and the original's lists that change while read."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.engine.caption_pairs import CaptionPairs, ConceptTable
from train.engine.concept_slots import OfficialSlots, concept_slots, data_phrases, kb_phrases
from train.engine.fashionklip import Slots

FATHERS = {
    "long red wool coat": "red wool coat",
    "red wool coat": "wool coat",
    "wool coat": "coat",
    "coat": "",
    "horn button": "button",
    "button": "fastener",
}
CONCEPTS = {phrase: number for number, phrase in enumerate([*FATHERS, "fastener"])}


def test_data_phrases_are_known_have_2_to_6_words_and_are_not_in_the_knowledge_base():
    known = {
        phrase: 0 for phrase in ("coat", "red coat", "wool coat", "a b c d e f", "a b c d e f g", "  padded   coat ")
    }
    phrases = ["coat", "red coat", "wool coat", "blue coat", "a b c d e f", "a b c d e f g", "  padded   coat "]
    assert data_phrases(phrases, ["wool coat"], known) == ["red coat", "a b c d e f", "  padded   coat "]


def test_kb_phrases_are_known_and_have_two_characters():
    assert kb_phrases(["coat", "x", "xy", "hat", "coat"], {"coat": 0, "x": 1, "xy": 2}) == ["coat", "xy", "coat"]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, ["long red wool coat", "horn button"]),
        (1, ["long red wool coat", "horn button", "red wool coat", "button"]),
        (2, ["long red wool coat", "horn button", "red wool coat", "button", "wool coat", "fastener"]),
        (9, ["long red wool coat", "horn button", "red wool coat", "button", "wool coat", "fastener", "coat"]),
    ],
)
def test_fathers_fill_up_nearest_generation_first(depth, expected):
    phrases = ["long red wool coat", "horn button"]
    assert concept_slots(phrases, FATHERS, CONCEPTS, slots=10, depth=depth) == expected
    assert concept_slots(phrases, FATHERS, CONCEPTS, slots=3, depth=depth) == expected[:3]


def test_phrases_come_before_fathers_and_stand_once():
    found = concept_slots(["wool coat", "coat", "wool coat", "unknown"], FATHERS, CONCEPTS)
    assert found == ["wool coat", "coat"]


def test_a_father_without_prototypes_is_left_out_but_its_own_father_is_not():
    concepts = {k: v for k, v in CONCEPTS.items() if k != "wool coat"}
    assert concept_slots(["red wool coat"], FATHERS, concepts) == ["red wool coat", "coat"]


def test_fathers_that_go_in_a_circle_end():
    assert concept_slots(["a", "b"], {"a": "b", "b": "a"}, {"a": 0, "b": 1}, depth=50) == ["a", "b"]


def test_no_phrases_have_no_slots():
    assert concept_slots([], FATHERS, CONCEPTS) == []


@settings(max_examples=50, deadline=None)
@given(
    phrases=st.lists(st.sampled_from([*CONCEPTS, "unknown"]), max_size=8),
    slots=st.integers(1, 8),
    depth=st.integers(0, 4),
)
def test_slots_are_pure_distinct_known_and_keep_the_first_phrases(phrases, slots, depth):
    before = list(phrases)
    found = concept_slots(phrases, FATHERS, CONCEPTS, slots, depth)
    assert phrases == before and found == concept_slots(phrases, FATHERS, CONCEPTS, slots, depth)
    assert len(found) <= slots and len(set(found)) == len(found) and set(found) <= CONCEPTS.keys()
    own = list(dict.fromkeys(p for p in phrases if p in CONCEPTS))[:slots]
    assert found[: len(own)] == own
    assert concept_slots(phrases, FATHERS, CONCEPTS, slots, depth + 1)[: len(found)] == found


# The original


def test_the_original_s_appended_fathers_bring_their_fathers_the_next_time():
    reader = OfficialSlots([["red wool coat"]], FATHERS, CONCEPTS)
    assert reader.read(0)[0] == ["red wool coat", "wool coat", "", "", ""]
    # The father went into the stored list, the padding into a copy of it. Duplicates stay stored.
    assert reader.lists[0] == ["red wool coat", "wool coat"]
    assert reader.read(0)[0] == ["red wool coat", "wool coat", "coat", "", ""]
    assert reader.lists[0] == ["red wool coat", "wool coat", "wool coat", "coat"]
    # Four stored and two fathers are too many to add: the padding is stored, and the duplicate takes a slot.
    assert reader.read(0)[0] == ["red wool coat", "wool coat", "wool coat", "coat", ""]
    assert reader.read(0)[0] == reader.lists[0] == ["red wool coat", "wool coat", "wool coat", "coat", ""]


def test_the_original_cuts_long_lists_without_changing_them():
    lists = [[f"phrase {i}" for i in range(7)]]
    reader = OfficialSlots(lists, {}, {f"phrase {i}": 10 + i for i in range(7)})
    assert reader.read(0) == ([f"phrase {i}" for i in range(5)], [10, 11, 12, 13, 14])
    assert len(lists[0]) == 7


def test_the_original_s_empty_and_unknown_slots_have_the_number_minus_one():
    reader = OfficialSlots([["wool coat"], []], {"wool coat": "garment"}, {"wool coat": 3})
    assert reader.read(0) == (["wool coat", "garment", "", "", ""], [3, -1, -1, -1, -1])
    # Nothing to append, but the copy without duplicates is made here too, and it is the copy that is padded.
    assert reader.read(1) == ([""] * 5, [-1] * 5) and reader.lists[1] == []


# Both lists of a pair


def pairs(count: int = 2) -> CaptionPairs:
    data, kb = ["red coat"], ["coat", "hat"]
    return CaptionPairs(["a"] * count, list("abcdefgh"[:count]), [data] * count, [kb] * count, {})


DATA = ConceptTable({"red coat": 0, "thing": 1}, ["", ""], {"red coat": "thing", "coat": "thing"})
KB = ConceptTable({"coat": 0, "hat": 1, "garment": 2}, ["", "", ""], {"coat": "garment", "red coat": "garment"})


def test_each_list_takes_its_own_file_of_fathers_first_and_the_other_one_after():
    read = Slots(pairs(), DATA, KB, 4, True, 1, False)
    # "coat" is a garment to the knowledge base, whatever the data's file says.
    assert read(0) == (["red coat", "thing", "", "", "coat", "hat", "garment", ""], [0, 1, -1, -1, 2, 3, 4, -1])
    lone = ConceptTable(DATA.numbers, DATA.prompts, {})
    borrowed = ConceptTable(KB.numbers, KB.prompts, {"red coat": "thing"})
    assert Slots(pairs(), lone, borrowed, 2, False, 1, False)(0) == (["red coat", "thing"], [0, 1])


def test_the_original_takes_the_other_list_s_fathers_and_changes_what_pairs_of_a_caption_share():
    read = Slots(pairs(), DATA, KB, 5, True, 1, True)
    first = read(0)
    assert first[0] == ["red coat", "garment", "", "", "", "coat", "hat", "thing", "", ""]
    assert first[1] == [0, -1, -1, -1, -1, 2, 3, -1, -1, -1]
    twin = copy.deepcopy(read)
    # What the first pair's reading appended is there for the second pair of the caption.
    assert read(1)[0][:5] == ["red coat", "garment", "", "", ""] == twin(0)[0][:5]
    assert read.lists[0][0] == ["red coat", "garment", "garment"]


def test_coverage_counts_pairs():
    some = pairs()
    some.phrases[1], some.match_phrases[1] = [], []
    assert Slots(some, DATA, KB, 5, True, 2, False).coverage() == {"with_concepts": 0.5, "concepts_per_pair": 1.5}
    assert Slots(some, DATA, KB, 5, False, 2, False).coverage() == {"with_concepts": 0.5, "concepts_per_pair": 0.5}
