"""Words -> units: a word, or a fixed expression such as `navy blue` or `tote bag`, with its kind."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from data_scripts.concepts.lexicon import Lexicon, singular
from data_scripts.concepts.text import sentences, words

NUMBER_MODIFIERS = {"3/4": "fit", "3/4th": "fit", "1/2": "fit"}  # three-quarter sleeves
CONJUNCTION_MARKS = frozenset("&+/")
SILENT_MARKS = frozenset("\"'%#*$\u20ac\u00a3`~^_=")
# Third person of a verb, or plural of a noun: a verb between a noun and what follows verbs ("the skirt ties at ...").
VERB_OR_PLURAL = frozenset(
    "ties zips buttons laces fits looks wraps flares drapes snaps hooks pairs cuts folds layers works lines pleats tapers "
    "gathers falls closes opens flows stretches pulls slips rolls".split()
)
AFTER_VERBS = frozenset({"preposition", "adverb", "determiner", "pronoun"})


class Unit(NamedTuple):
    """One word or fixed expression, lower-case as it stands in the text."""

    text: str
    kind: str
    capital: bool = False


class Tagger(Protocol):
    """What turns a sentence into units. `lexicon` may be exchanged to teach it words."""

    lexicon: Lexicon

    def with_lexicon(self, lexicon: Lexicon) -> Tagger: ...

    def units(self, sentence: str) -> list[Unit]: ...

    def sentences(self, text: str | None) -> list[list[Unit]]: ...


class WordTagger:
    """Tags by the lexicon, the way words are built, and a few rules of position. Deterministic, no model.

    Args:
        lexicon: the known words. cache_size: sentences whose units are remembered, for product texts repeat themselves.
    """

    def __init__(self, lexicon: Lexicon, cache_size: int = 100_000) -> None:
        self.lexicon = lexicon
        self.cache_size = cache_size
        self._sentences: dict[str, list[Unit]] = {}
        self._words: dict[str, str] = {}

    def with_lexicon(self, lexicon: Lexicon) -> WordTagger:
        return WordTagger(lexicon, self.cache_size)

    def sentences(self, text: str | None) -> list[list[Unit]]:
        """The units of every sentence of a text."""
        return [self.units(sentence) for sentence in sentences(text)]

    def units(self, sentence: str) -> list[Unit]:
        """The units of one cleaned sentence; callers do not change the list, which is shared."""
        units = self._sentences.get(sentence)
        if units is None:
            units = self.read(sentence)
            if len(self._sentences) < self.cache_size:
                self._sentences[sentence] = units
        return units

    def read(self, sentence: str) -> list[Unit]:
        """The same, not remembered."""
        return self.tag(words(sentence))

    def tag(self, tokens: list[tuple[str, bool]]) -> list[Unit]:
        """Units of one sentence's words, expressions joined (longest first)."""
        units: list[Unit] = []
        position = 0
        while position < len(tokens):
            word, capital = tokens[position]
            length, kind = self._expression(tokens, position)
            if length:
                text = " ".join(token for token, _ in tokens[position : position + length])
                units.append(Unit(text, kind, capital))
                position += length
                continue
            kind = self._words.get(word)
            if kind is None:
                kind = self._words[word] = self.kind(word)
            units.append(Unit(word, kind, capital))
            position += 1
        return self._by_position(units)

    def kind(self, word: str) -> str:
        """The kind of one word or mark; "unknown" when nothing tells."""
        known = self.lexicon.kind(word) or NUMBER_MODIFIERS.get(word)
        if known:
            return known
        if not any(letter.isalnum() for letter in word):
            return "conjunction" if word in CONJUNCTION_MARKS else "silent" if word in SILENT_MARKS else "punctuation"
        if any(letter.isdigit() for letter in word):
            return "number" if word[0].isdigit() else "code"
        return "measure" if len(word) == 1 and word.isascii() else "unknown"

    def _expression(self, tokens: list[tuple[str, bool]], start: int) -> tuple[int, str]:
        for expected, kind in self.lexicon.expressions.get(tokens[start][0], ()):
            end = start + len(expected)
            if end > len(tokens):
                continue
            *inner, last = [word for word, _ in tokens[start:end]]
            if inner == list(expected[:-1]) and (last == expected[-1] or singular(last) == expected[-1]):
                return len(expected), kind
        return 0, ""

    @staticmethod
    def _by_position(units: list[Unit]) -> list[Unit]:
        for i, unit in enumerate(units):
            before = units[i - 1].kind if i else ""
            after = units[i + 1].kind if i + 1 < len(units) else ""
            verb = (
                unit.text in VERB_OR_PLURAL
                and before in ("garment", "part", "noun", "unknown")
                and after in AFTER_VERBS
            )
            verb = verb or (i == 0 and unit.kind == "garment" and after == "pronoun")  # "dress it up"
            if verb:
                units[i] = unit._replace(kind="verb")
        return units
