"""A caption's concepts are those of the vocabulary, in order of appearance, the longest first where they begin together."""

from hypothesis import given
from hypothesis import strategies as st

from data_scripts.concepts.matching import ConceptMatcher, match
from data_scripts.concepts.mining import mine
from tests.data_scripts.concept_examples import shop_texts, strange_texts

VOCABULARY = [
    "shirt",
    "red shirt",
    "cotton shirt",
    "red cotton shirt",
    "dress",
    "shirt dress",
    "button",
    "coat in wool",
]


def test_order_of_appearance_and_the_longest_first() -> None:
    assert match("Button, then a red cotton shirt", VOCABULARY) == [
        "button",
        "red cotton shirt",
        "red shirt",
        "cotton shirt",
        "shirt",
    ]


def test_every_concept_is_named_once() -> None:
    assert match("shirt. Shirts! SHIRT", VOCABULARY) == ["shirt"]


def test_a_match_does_not_cross_a_chunk() -> None:
    assert match("red shirt dress", VOCABULARY) == ["shirt dress"]
    assert match("red, shirt", VOCABULARY) == ["shirt"]


def test_attachments_are_found() -> None:
    assert match("long coat in wool", VOCABULARY) == ["coat in wool"]


def test_words_of_the_vocabulary_that_no_lexicon_has_are_known() -> None:
    assert match("Blue vask snoods with buttons", ["vask snood", "snood"]) == ["vask snood", "snood"]


def test_captions_without_words_or_concepts_have_none() -> None:
    matcher = ConceptMatcher(VOCABULARY)
    assert [matcher.match(text) for text in ("", None, "  ", "nothing here", "\u200b<br>")] == [[]] * 5
    assert ConceptMatcher([]).match("red shirt") == []


def test_capitals_entities_and_plurals_make_no_difference() -> None:
    assert match("RED&nbsp;<b>SHIRTS</b>", VOCABULARY) == ["red shirt", "shirt"]


def test_mined_texts_match_with_exactly_their_own_phrases() -> None:
    for texts in (shop_texts(60), strange_texts(200)):
        mined = mine(texts)
        matcher = ConceptMatcher(mined.phrases, mined.chunker)
        counts = {name: 0 for name in mined.phrases}
        for text in texts:
            for name in matcher.match(text):
                counts[name] += 1
        assert counts == {name: one.frequency for name, one in mined.phrases.items()}


@given(st.text(alphabet="redcotn shirwl,.-'&", max_size=80), st.sets(st.sampled_from(VOCABULARY)))
def test_only_phrases_of_the_vocabulary_are_found_and_none_twice(text, vocabulary) -> None:
    found = match(text, vocabulary)
    assert set(found) <= vocabulary and len(set(found)) == len(found)
