"""Phrases are counted once per text and filtered; unknown words are learned from how the texts use them."""

import pytest

from data_scripts.concepts.chunker import Chunker
from data_scripts.concepts.discovery import DiscoveryOptions, discover, style_of
from data_scripts.concepts.mining import MiningOptions, learn, mine
from tests.data_scripts.concept_examples import (
    COLOURS,
    MATERIALS,
    STRANGE_COLOURS,
    STRANGE_GARMENTS,
    STRANGE_MATERIALS,
    brand_titles,
    shop_texts,
    strange_texts,
)


def test_a_phrase_counts_once_per_text() -> None:
    mined = mine(["red shirt, red shirt", "red shirt", ("Red shirt", "a red shirt")], MiningOptions(min_frequency=1))
    assert mined.phrases["red shirt"].frequency == 3 and mined.texts == 3


def test_rare_phrases_are_left_out() -> None:
    texts = ["red shirt"] * 4 + ["blue shirt"] * 5
    assert list(mine(texts, MiningOptions(min_frequency=5)).phrases) == ["shirt", "blue shirt"]


def test_attachments_have_a_threshold_of_their_own() -> None:
    texts = ["red coat in wool"] * 5
    kept = mine(texts, MiningOptions(min_frequency=5, attachment_frequency=6)).phrases
    assert "red coat" in kept and not any(" in " in name for name in kept)
    assert "coat in wool" in mine(texts, MiningOptions(min_frequency=6, attachment_frequency=5)).phrases


def test_the_number_of_words_is_limited() -> None:
    kept = mine(["slim red cotton shirt"] * 5, MiningOptions(min_words=2, max_words=3)).phrases
    assert {name.count(" ") + 1 for name in kept} == {2, 3}


def test_empty_texts_are_counted_and_harmless() -> None:
    mined = mine(["", None, "   ", ("", None), "red shirt"], MiningOptions(min_frequency=1))
    assert (mined.texts, mined.empty) == (5, 4) and "red shirt" in mined.phrases


def test_heads_of_too_many_texts_go_unless_they_are_garments() -> None:
    texts = [f"{colour} shirt in soft cotton" for colour in ("red", "blue", "green", "black") * 5]
    mined = mine(texts, MiningOptions(min_frequency=2, common_head=0.3))
    assert mined.dropped_heads == ["cotton"]
    assert "shirt" in mined.phrases and "soft cotton" not in mined.phrases
    assert "soft cotton" in mine(texts, MiningOptions(min_frequency=2, common_head=1.0)).phrases


@pytest.mark.parametrize("bad", [{"min_words": 3, "max_words": 2}, {"min_frequency": 0}, {"attachment_frequency": -1}])
def test_thresholds_that_make_no_sense_are_errors(bad) -> None:
    with pytest.raises(ValueError):
        MiningOptions(**bad)


def test_the_same_texts_give_the_same_phrases_in_the_same_order() -> None:
    texts = shop_texts(100)
    first, second = mine(texts), mine(list(texts))
    assert list(first.phrases.items()) == list(second.phrases.items())
    counts = [one.frequency for one in first.phrases.values()]
    assert counts == sorted(counts, reverse=True)


# Unknown words


def test_garments_colours_and_materials_of_another_world_are_found() -> None:
    learned = discover(strange_texts(), Chunker().tagger)
    assert {*STRANGE_GARMENTS} <= {*learned.nouns}
    assert {*learned.colours} == {*STRANGE_COLOURS}
    assert {*STRANGE_MATERIALS} <= {*learned.modifiers, *learned.nouns}
    assert not ({*learned.nouns, *learned.modifiers} - {*STRANGE_GARMENTS, *STRANGE_MATERIALS})


def test_concepts_of_another_world_are_those_that_its_sentences_were_made_of() -> None:
    kept = mine(strange_texts()).phrases
    expected = {f"{m} {g}" for g in STRANGE_GARMENTS for m in (*STRANGE_COLOURS, *STRANGE_MATERIALS)}
    assert len(expected & set(kept)) >= 0.95 * len(expected)
    words = {*STRANGE_GARMENTS, *STRANGE_COLOURS, *STRANGE_MATERIALS}
    words |= {"relaxed", "slim", "cropped", "soft", "horn", "button", "in", "with"}
    assert all(set(name.split()) <= words for name in kept)
    assert not any(name in STRANGE_COLOURS for name in kept)


def test_small_letters_alone_are_enough() -> None:
    texts = [description.lower() for _, description in strange_texts()]
    learned = discover(texts, Chunker().tagger)
    assert {*STRANGE_GARMENTS} <= {*learned.nouns} and {*STRANGE_COLOURS} <= {*learned.colours}


def test_brands_and_product_lines_of_titles_are_no_concepts() -> None:
    mined = mine(brand_titles())
    assert {"harrow lane", "nubbin", "red quill", "pepe jeans"} == {" ".join(b) for b in mined.chunker.learned.brands}
    words = {word for name in mined.phrases for word in name.split()}
    assert not words & {"harrow", "lane", "nubbin", "quill", "pepe", "meridian", "vortex", "ferro", "lumen", "men"}
    assert "red shirt" in mined.phrases and "black jacket" in mined.phrases


def test_a_colour_in_a_brand_is_no_colour_of_its_garments() -> None:
    chunker = learn(brand_titles())
    [chunk] = chunker.chunks("Red Quill Women Navy Shirt")
    assert chunk.modifiers == ("navy",)


def test_words_that_come_before_one_head_only_make_a_compound() -> None:
    texts = [f"A {colour} glim hat." for colour in COLOURS] + [
        f"A {colour} {material} hat." for colour in COLOURS for material in MATERIALS
    ]
    learned = discover(texts, Chunker().tagger)
    assert learned.compounds == ("glim hat",) and not learned.modifiers


def test_what_a_shop_repeats_under_every_product_teaches_nothing() -> None:
    texts = [("red shirt", "Send your blorf to our snarf, and a gloobed blorf to us.")] * 30
    learned = discover(texts, Chunker().tagger)
    assert not learned.nouns and not learned.modifiers


def test_a_web_page_in_the_place_of_a_text_teaches_nothing() -> None:
    page = " ".join(f"A {colour} blorf, {number}." for number in range(400) for colour in COLOURS)
    assert not discover([page], Chunker().tagger).nouns
    assert discover([page], Chunker().tagger, DiscoveryOptions(longest=10**6)).nouns == ("blorf",)


def test_names_with_a_capital_inside_a_sentence_are_not_learned() -> None:
    texts = [f"A {colour} shirt from Blorfington with Snarf pockets." for colour in ("red", "blue", "green") * 5]
    learned = discover(texts, Chunker().tagger)
    assert not learned.nouns and not learned.modifiers


def test_a_verb_behind_a_noun_is_no_garment() -> None:
    texts = [f"This {colour} skirt skorbs the hips." for colour in ("red", "blue", "green") * 5]
    assert "skorbs" not in discover(texts, Chunker().tagger).nouns


def test_rare_words_are_not_learned() -> None:
    texts = ["A red blorf.", "A blue blorf."]
    assert not discover(texts, Chunker().tagger, DiscoveryOptions(evidence=3)).nouns
    assert discover(texts, Chunker().tagger, DiscoveryOptions(evidence=2)).nouns == ("blorf",)


def test_learning_can_be_turned_off() -> None:
    kept = mine(strange_texts(100), MiningOptions(discovery=None)).phrases
    assert not set(STRANGE_GARMENTS) & set(kept)


@pytest.mark.parametrize(
    "text, style", [("Red Cotton Shirt", "title"), ("Red cotton shirt", "sentence"), ("red cotton shirt", "plain")]
)
def test_the_writing_of_a_sentence_is_told(text, style) -> None:
    assert style_of(Chunker().tagger.sentences(text)[0]) == style
