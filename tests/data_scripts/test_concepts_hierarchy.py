"""Every phrase has one father, found by shortening; the tree has no cycle and does not depend on the order of insertion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_scripts.concepts.chunker import Phrase
from data_scripts.concepts.hierarchy import Hierarchy, ancestors, shortened

WORDS = st.sampled_from(["red", "navy blue", "cotton", "slim", "shirt"])
HEADS = st.sampled_from(["shirt", "coat", "tote bag", "bag", "shirt dress", "dress"])
ATTACHED = st.one_of(st.none(), st.tuples(st.just("in"), st.sampled_from(["white", "wool"])))
PHRASES = st.lists(st.builds(Phrase, st.lists(WORDS, max_size=3).map(tuple), HEADS, ATTACHED), max_size=25)


def tree(*phrases, categories=None):
    hierarchy = Hierarchy(categories)
    hierarchy.add(phrases)
    return hierarchy.fathers()


def test_a_phrase_is_shortened_by_its_attachment_then_from_the_left_then_to_the_last_word() -> None:
    phrase = Phrase(("red", "navy blue"), "tote bag", ("in", "wool"))
    assert shortened(phrase) == ["red navy blue tote bag", "navy blue tote bag", "tote bag", "bag"]


def test_the_father_is_the_longest_that_is_a_concept() -> None:
    full = Phrase(("red", "cotton"), "shirt")
    assert tree(full, Phrase((), "shirt"))["red cotton shirt"] == "shirt"
    assert tree(full, Phrase((), "shirt"), Phrase(("cotton",), "shirt"))["red cotton shirt"] == "cotton shirt"
    assert tree(Phrase((), "tote bag"), Phrase((), "bag"))["tote bag"] == "bag"
    assert tree(Phrase(("red",), "coat", ("in", "wool")), Phrase(("red",), "coat"))["red coat in wool"] == "red coat"


def test_without_a_shorter_concept_there_is_no_father() -> None:
    assert tree(Phrase(("red",), "shirt")) == {"red shirt": ""}


def test_a_colour_of_two_words_goes_at_once() -> None:
    found = tree(Phrase(("navy blue",), "shirt"), Phrase(("blue",), "shirt"), Phrase((), "shirt"))
    assert found["navy blue shirt"] == "shirt"


def test_the_category_is_the_father_of_what_has_no_other() -> None:
    found = tree(
        Phrase(("red",), "shirt"), Phrase((), "shirt"), categories={"shirt": "topwear", "red shirt": "topwear"}
    )
    assert found == {"red shirt": "shirt", "shirt": "topwear"}


def test_categories_that_would_close_a_circle_are_left_out() -> None:
    found = tree(
        Phrase((), "blouse"), Phrase((), "shirt"), categories={"blouse": "shirt", "shirt": "blouse", "hat": "hat"}
    )
    assert sorted(found.values()) == ["", "shirt"]


def test_insertion_hangs_what_lies_below_the_new_phrase_under_it() -> None:
    hierarchy = Hierarchy()
    hierarchy.add([Phrase((), "shirt"), Phrase(("red", "cotton"), "shirt"), Phrase(("blue",), "shirt")])
    assert hierarchy.add([Phrase(("cotton",), "shirt")]) == ["red cotton shirt"]
    assert hierarchy.fathers() == {
        "shirt": "",
        "red cotton shirt": "cotton shirt",
        "blue shirt": "shirt",
        "cotton shirt": "shirt",
    }


def test_fathers_in_a_circle_are_an_error_that_names_them() -> None:
    with pytest.raises(ValueError, match="circle"):
        ancestors("a", {"a": "b", "b": "a"})


@given(PHRASES)
def test_there_is_never_a_cycle_and_fathers_are_concepts(phrases) -> None:
    categories = {phrase.text: "bag" for phrase in phrases} | {"bag": "shirt", "shirt": "coat"}
    fathers = tree(*phrases, categories=categories)
    for name, father in fathers.items():
        ancestors(name, fathers)
        assert not father or father in fathers or father in categories.values()


@given(PHRASES, st.randoms(use_true_random=False))
def test_any_order_of_insertion_gives_the_tree_that_is_built_at_once(phrases, order) -> None:
    names = {}
    for phrase in phrases:  # two ways to build one text would be two phrases of one name
        names.setdefault(phrase.text, phrase)
    shuffled = list(names.values())
    order.shuffle(shuffled)
    one_by_one = Hierarchy()
    for phrase in shuffled:
        one_by_one.add([phrase])
    assert one_by_one.fathers() == tree(*names.values())
