"""spaCy's part-of-speech tags and entities for the words that the lexicon does not know.

    tagger = SpacyTagger.load("en_core_web_sm", default_lexicon())
    mined = mine(texts, options, learn(texts, options, Chunker(tagger)))

Needs the extra `nlp` and a spaCy model of the user's choice. What the lexicon knows stays as it is, so colours and
garments are the same with either tagger; what spaCy cannot tell (proper nouns in Titles Written Like This) is left to
discovery.py.
"""

from __future__ import annotations

from typing import Any

from data_scripts.concepts.lexicon import Lexicon
from data_scripts.concepts.tagging import VERB_OR_PLURAL, Unit, WordTagger
from data_scripts.concepts.text import words

KINDS = {
    "NOUN": "noun",
    "ADJ": "modifier",
    "VERB": "verb",
    "AUX": "verb",
    "ADV": "adverb",
    "ADP": "preposition",
    "DET": "determiner",
    "PRON": "pronoun",
    "NUM": "number",
    "CCONJ": "conjunction",
    "SCONJ": "preposition",
}
NAMED = frozenset({"PERSON", "ORG", "GPE", "LOC", "FAC", "NORP"})
PARTICIPLES = frozenset({"VBN", "VBG"})  # before a noun these are modifiers, behind it they end the chunk


class SpacyTagger(WordTagger):
    """A tagger that asks a spaCy pipeline about unknown words.

    Args:
        nlp: called with a sentence, gives tokens with `text`, `idx`, `pos_`, `tag_` and `ent_type_`.
        lexicon, cache_size: as of `WordTagger`.
    """

    def __init__(self, nlp: Any, lexicon: Lexicon, cache_size: int = 100_000) -> None:
        super().__init__(lexicon, cache_size)
        self.nlp = nlp

    @classmethod
    def load(cls, model: str, lexicon: Lexicon) -> SpacyTagger:
        """With an installed spaCy model.

        Raises:
            ImportError: spaCy is not installed. OSError: the model is not.
        """
        try:
            import spacy
        except ImportError as error:
            raise ImportError(
                "the spaCy tagger needs a package that is not installed: pip install 'lookbook[nlp]'"
            ) from error
        try:
            return cls(spacy.load(model, exclude=["lemmatizer"]), lexicon)
        except OSError as error:
            raise OSError(f"spaCy model {model!r} is not installed: python -m spacy download {model}") from error

    def with_lexicon(self, lexicon: Lexicon) -> SpacyTagger:
        return SpacyTagger(self.nlp, lexicon, self.cache_size)

    def read(self, sentence: str) -> list[Unit]:
        return self._with_spacy(self.tag(words(sentence)), sentence)

    def _with_spacy(self, units: list[Unit], sentence: str) -> list[Unit]:
        if not any(unit.kind == "unknown" or unit.text in VERB_OR_PLURAL for unit in units):
            return units  # most sentences of a shop: nothing to ask
        tokens = list(self.nlp(sentence))
        place, resolved = 0, []
        low = sentence.lower()
        for unit in units:
            start = low.find(unit.text, place)
            if start < 0:  # letters whose lower-case form is longer
                resolved.append(unit)
                continue
            place = start + len(unit.text)
            inside = [token for token in tokens if start <= token.idx < place]
            resolved.append(self._resolved(unit, inside[-1]) if inside else unit)
        return resolved

    @staticmethod
    def _resolved(unit: Unit, token: Any) -> Unit:
        if unit.text in VERB_OR_PLURAL:
            return unit._replace(kind="verb") if token.pos_ == "VERB" and unit.kind != "unknown" else unit
        if unit.kind != "unknown":
            return unit
        if token.ent_type_ in NAMED:
            return unit._replace(kind="name")
        if token.pos_ == "VERB" and token.tag_ in PARTICIPLES:
            return unit._replace(kind="modifier")
        return unit._replace(kind=KINDS.get(token.pos_, "unknown"))
