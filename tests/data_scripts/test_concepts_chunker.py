"""Texts are repaired and cut into words, words get kinds, and noun chunks give the phrases that the definition names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_scripts.concepts.chunker import Chunk, Chunker, Learned, Phrase
from data_scripts.concepts.lexicon import default_lexicon, singular
from data_scripts.concepts.spacy_tagger import SpacyTagger
from data_scripts.concepts.tagging import WordTagger
from data_scripts.concepts.text import clean, sentences, words

CHUNKER = Chunker()


def phrases(text, chunker=CHUNKER):
    return [phrase.text for chunk in chunker.chunks(text) for phrase in chunk.phrases()]


# Text


def test_mark_up_and_entities_are_resolved_and_breaks_end_a_sentence() -> None:
    assert sentences("<p>Men&amp;#39;s shirt.<br>Slim&nbsp;fit</p>") == ["Men's shirt.", "Slim fit"]


def test_broken_encodings_and_typographic_letters_are_repaired() -> None:
    assert clean("Caf\u00c3\u00a9 dress") == "Café dress"
    assert words(clean("\uff2d\uff45\uff4e\u2019s t\u2011shirt\u2122")) == [("men's", True), ("t-shirt", False)]


@pytest.mark.parametrize("nothing", [None, "", "   ", "\n\t", "<br>", "\u200b", "..."])
def test_a_text_without_words_has_no_chunks(nothing) -> None:
    assert CHUNKER.chunks(nothing) == []


def test_a_text_that_is_no_string_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="int 7"):
        clean(7)


def test_hyphens_apostrophes_and_fractions_stay_inside_words() -> None:
    assert [word for word, _ in words("Girls' v-neck 3/4 top")] == ["girls'", "v-neck", "3/4", "top"]


def test_abbreviations_do_not_end_a_sentence() -> None:
    assert sentences("U.S. Polo Assn. Men Sweater. Round neck") == ["U.S. Polo Assn. Men Sweater.", "Round neck"]


@given(st.text(max_size=120))
def test_any_text_can_be_read(text) -> None:
    for phrase in phrases(text):
        phrase.encode()
        assert phrase == " ".join(phrase.split()) and 1 <= len(phrase.split()) <= 6


# Words


@pytest.mark.parametrize(
    "plural, one",
    [
        ("dresses", "dress"),
        ("dress", "dress"),
        ("shoes", "shoe"),
        ("watches", "watch"),
        ("t-shirts", "t-shirt"),
        ("scarves", "scarf"),
        ("flip-flops", "flip-flop"),
        ("lenses", "lens"),
        ("bodies", "body"),
        ("hoodies", "hoodie"),
        ("ties", "tie"),
        ("saris", "sari"),
    ],
)
def test_nouns_become_singular(plural, one) -> None:
    assert singular(plural) == one


@pytest.mark.parametrize("word", "jeans shorts trousers leggings sunglasses tights canvas glass".split())
def test_what_fashion_keeps_in_the_plural_stays(word) -> None:
    assert singular(word) == word


@pytest.mark.parametrize(
    "word, kind",
    [
        ("wide-leg", "adjective"),
        ("silver-toned", "adjective"),
        ("cotton-blend", "material"),
        ("mini-dress", "garment"),
        ("v-neck", "part"),
        ("ice-blue", "colour"),
        ("crumpled", "adjective"),
        ("seamless", "adjective"),
        ("softly", "adverb"),
        ("blorf", None),
    ],
)
def test_words_outside_the_list_are_known_by_how_they_are_built(word, kind) -> None:
    assert default_lexicon().kind(word) == kind


# Chunks


def test_a_chunk_gives_its_head_each_modifier_with_it_and_each_suffix() -> None:
    assert phrases("Olive cotton coats") == ["olive cotton coat", "olive coat", "cotton coat", "coat"]


def test_three_modifiers_give_all_suffixes_and_single_modifiers() -> None:
    assert set(phrases("slim red cotton shirt")) == {
        "slim red cotton shirt",
        "red cotton shirt",
        "cotton shirt",
        "slim shirt",
        "red shirt",
        "shirt",
    }


def test_colours_of_two_words_are_one_modifier() -> None:
    assert phrases("navy blue shirt") == ["navy blue shirt", "shirt"]
    assert phrases("light olive green shirt") == ["light olive green shirt", "shirt"]


def test_audience_brand_and_model_words_are_passed_over() -> None:
    assert phrases("Turtle Check Men Navy Blue Shirt") == [
        "check navy blue shirt",
        "check shirt",
        "navy blue shirt",
        "shirt",
    ]
    assert phrases("Casio Men Steel Watch EX045 EFR-502D") == ["steel watch", "watch"]


def test_parts_join_the_adjective_before_them() -> None:
    [chunk] = CHUNKER.chunks("black dial chronograph watch")
    assert chunk == Chunk(("black dial", "chronograph"), "watch")
    assert phrases("floral print dress") == ["floral print dress", "dress"]
    assert phrases("slim fit jeans") == ["slim fit jeans", "jeans"]


def test_fixed_compounds_are_one_head() -> None:
    assert phrases("red tote bags") == ["red tote bag", "tote bag"]
    assert phrases("t-shirt dress") == ["t-shirt dress"]
    assert phrases("black flip flops") == ["black flip flop", "flip flop"]


def test_attachments_belong_to_the_chunk_and_to_its_head() -> None:
    assert phrases("short sleeve t-shirt in white") == [
        "short sleeve t-shirt in white",
        "short sleeve t-shirt",
        "t-shirt in white",
        "t-shirt",
    ]
    assert "coat with detachable hood" in phrases("coat with a detachable hood")
    assert {"coat in navy wool", "navy wool", "wool"} <= set(phrases("coat in navy wool"))


def test_a_second_attachment_belongs_to_the_first_noun() -> None:
    found = phrases("coat in wool with hood")
    assert {"coat in wool", "coat with hood"} <= set(found) and "wool with hood" not in found


def test_coordinated_modifiers_are_modifiers_of_the_same_head() -> None:
    assert set(phrases("black and white shirt")) == {"black white shirt", "black shirt", "white shirt", "shirt"}
    assert phrases("made from cotton and linen") == ["cotton", "linen"]
    assert phrases("floral print and lace dress")[:2] == ["floral print", "print"]


def test_other_marks_and_words_of_grammar_end_a_chunk() -> None:
    assert phrases("red shirt, blue jeans") == ["red shirt", "shirt", "blue jeans", "jeans"]
    assert phrases("The skirt ties at the waist") == ["skirt", "waist"]
    assert phrases("Dress it up with heels") == ["heel"]


def test_nouns_that_are_no_garments_give_nothing() -> None:
    assert phrases("a relaxed look for summer days") == []
    assert phrases("pair of blue jeans") == ["blue jeans", "jeans"]
    assert phrases("set of 3 gold bangles") == ["gold bangle", "bangle"]


def test_a_word_said_twice_counts_once() -> None:
    assert phrases("Women Casual Red Casual Shoes")[0] == "red casual shoe"


def test_learned_words_are_read_like_those_of_the_lexicon() -> None:
    chunker = Chunker(learned=Learned(("snood",), ("vask",), ("glim hat",), (("red", "tape"),), ("zorbel",)))
    assert phrases("zorbel plaid snoods", chunker) == ["zorbel plaid snood", "zorbel snood", "plaid snood", "snood"]
    assert phrases("snood in zorbel", chunker) == ["snood in zorbel", "snood"]
    assert phrases("vask cotton snoods", chunker) == ["vask cotton snood", "vask snood", "cotton snood", "snood"]
    assert phrases("blue glim hats", chunker) == ["blue glim hat", "glim hat"]
    assert phrases("Red Tape Men Shirt", chunker) == ["shirt"]
    assert Learned.from_dict(chunker.learned.to_dict()) == chunker.learned


@pytest.mark.parametrize(
    "text", ["red shirt", "check navy blue shirt", "coat in white", "tote bag", "slim coat with patch pocket"]
)
def test_a_phrase_alone_is_read_as_it_was_in_its_text(text) -> None:
    assert CHUNKER.parse(text).text == text


def test_a_phrase_of_unknown_words_has_its_last_word_as_head() -> None:
    assert CHUNKER.parse("blorf snarf") == Phrase(("blorf",), "snarf")


# spaCy


class Token:
    def __init__(self, text, idx, pos, tag="", entity=""):
        self.text, self.idx, self.pos_, self.tag_, self.ent_type_ = text, idx, pos, tag, entity


def fake_nlp(kinds):
    def nlp(sentence):
        found, place = [], 0
        for word in sentence.split():
            place = sentence.index(word, place)
            found.append(Token(word, place, *kinds.get(word.lower().strip(".,"), ("X",))))
            place += len(word)
        return found

    return nlp


def test_spacy_is_asked_about_unknown_words_only() -> None:
    kinds = {"blorf": ("ADJ",), "snarf": ("NOUN",), "zara": ("PROPN", "NNP", "ORG"), "cotton": ("VERB",)}
    chunker = Chunker(SpacyTagger(fake_nlp(kinds), default_lexicon()))
    assert phrases("A blorf cotton snarf by Zara.", chunker)[0] == "blorf cotton snarf"
    assert phrases("A blorf cotton snarf by Zara.") == ["cotton"]


def test_spacy_tells_a_verb_from_a_plural() -> None:
    chunker = Chunker(SpacyTagger(fake_nlp({"zips": ("VERB",)}), default_lexicon()))
    assert phrases("jacket that zips", chunker) == ["jacket"]


def test_without_spacy_the_error_names_the_extra(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match=r"lookbook\[nlp\]"):
        SpacyTagger.load("en_core_web_sm", default_lexicon())


def test_real_spacy_fits_the_tagger() -> None:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed (extra nlp)")
    chunker = Chunker(SpacyTagger(spacy.blank("en"), default_lexicon()))
    assert phrases("Navy blue shirt, blorf", chunker) == ["navy blue shirt", "shirt"]


def test_taggers_share_no_state_between_lexicons() -> None:
    tagger = WordTagger(default_lexicon())
    Chunker(tagger, Learned(("blorf",)))
    assert tagger.kind("blorf") == "unknown"
