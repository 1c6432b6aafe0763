"""Noun chunks of fashion texts, and the phrases a chunk gives.

    chunker = Chunker(WordTagger(default_lexicon()))
    [chunk] = chunker.chunks("Olive cotton coats")             Chunk(("olive", "cotton"), "coat")
    [p.text for p in chunk.phrases()]                          ["olive cotton coat", "olive coat", "cotton coat", "coat"]

Phrases of a chunk with modifiers m1..mk and head h: h, each single modifier with h, each suffix m_j..mk h; of a chunk
with an attachment also `chunk in ...` and `h in ...`. A modifier is one unit, be it `red`, `navy blue`, `slim fit` or
`round neck`. Audience words, brands, numbers and unknown words inside a chunk are passed over, so that
"Check Men Navy Blue Shirt" holds check shirt, navy blue shirt and check navy blue shirt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from data_scripts.concepts.lexicon import (
    BOUNDARIES,
    COMPOUND_FIRST,
    COMPOUND_SECOND,
    MODIFIERS,
    NOUNS,
    PATTERN_NOUN_SET,
    default_lexicon,
    singular,
)
from data_scripts.concepts.tagging import Tagger, Unit, WordTagger
from data_scripts.concepts.text import sentences

Text = str | Iterable[str | None] | None
ATTACHING = frozenset({"in", "with", "of"})
MAX_WORDS = 6
REMEMBERED = 100_000  # sentences; those of a shop repeat themselves
# Nouns that join the adjective before them into one modifier of what follows: slim fit jeans, biker style jacket.
JOINING_OTHERS = frozenset("fit style wash cut length rise finish weight".split())
# Words that do the same without being parts: high heel pumps, round toed shoes, short sleeved shirt.
JOINING_WORDS = frozenset("heel heels heeled toed sleeved waisted legged necked".split())
JOINED_BY_PART = frozenset({"adjective", "colour", "material", "pattern", "fit", "modifier"})
JOINED_BY_PATTERN = frozenset({"pattern", "adjective", "modifier"})
COORDINATED = frozenset({"colour", "material", "pattern", "adjective", "fit", "modifier"})


class Phrase(NamedTuple):
    """A phrase and how it is built: modifiers (one unit each), head, and `("in", "white")` or None."""

    modifiers: tuple[str, ...]
    head: str
    attached: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        return " ".join((*self.modifiers, self.head, *(self.attached or ())))


class Chunk(NamedTuple):
    """A noun chunk; its head is singular, or empty for colours alone ("in white")."""

    modifiers: tuple[str, ...]
    head: str
    attached: tuple[tuple[str, str], ...] = ()

    def phrases(self, max_words: int = MAX_WORDS) -> list[Phrase]:
        """Distinct phrases in order of their first word, the longest first where they begin together."""
        return list(named_phrases(self, max_words).values())


@lru_cache(maxsize=200_000)
def named_phrases(chunk: Chunk, max_words: int = MAX_WORDS) -> dict[str, Phrase]:
    """`chunk.phrases()` by their texts; the dictionary is shared."""
    if not chunk.head:
        return {}
    found: dict[Phrase, None] = {}
    for start in range(len(chunk.modifiers) + 1):
        suffix = chunk.modifiers[start:]
        if start == 0 or not suffix:
            found |= dict.fromkeys(Phrase(suffix, chunk.head, attached) for attached in chunk.attached)
        found[Phrase(suffix, chunk.head)] = None
        found[Phrase(suffix[:1], chunk.head)] = None
    named = {}
    for phrase in found:
        text = phrase.text
        if text.count(" ") < max_words:
            named.setdefault(text, phrase)
    return named


@dataclass
class Learned:
    """Words that a catalogue taught (see discovery.py), beside those of the lexicon.

    Attributes:
        nouns: garments and parts. modifiers: materials, patterns and the like. compounds: heads of two words.
        brands: openings of titles that are left out, each a tuple of words.
        colours: modifiers that a pattern does not join ("madder plaid kilt") and that stand alone ("in madder").
    """

    nouns: tuple[str, ...] = ()
    modifiers: tuple[str, ...] = ()
    compounds: tuple[str, ...] = ()
    brands: tuple[tuple[str, ...], ...] = ()
    colours: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list]:
        return {
            "nouns": list(self.nouns),
            "modifiers": list(self.modifiers),
            "compounds": list(self.compounds),
            "brands": [" ".join(words) for words in self.brands],
            "colours": list(self.colours),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, list]) -> Learned:
        brands = tuple(tuple(words.split()) for words in stored.get("brands", ()))
        names = ("nouns", "modifiers", "compounds", "colours")
        return cls(brands=brands, **{name: tuple(stored.get(name, ())) for name in names})

    def __or__(self, other: Learned) -> Learned:
        """Both together."""
        return Learned(
            *(
                tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name))))
                for name in ("nouns", "modifiers", "compounds", "brands", "colours")
            )
        )


@dataclass
class Chunker:
    """Noun chunks by a tagger, with what a catalogue taught.

    Args:
        tagger: words -> units; by default the lexicon's. learned: words to know beside the lexicon's.
    """

    tagger: Tagger | None = None
    learned: Learned = field(default_factory=Learned)

    def __post_init__(self) -> None:
        tagger = self.tagger or WordTagger(default_lexicon())
        lexicon = tagger.lexicon.copy()
        for word in self.learned.modifiers:
            lexicon.add(word, "modifier")
        for word in (*self.learned.nouns, *self.learned.compounds):
            lexicon.add(word, "noun")
        for word in self.learned.colours:
            lexicon.add(word, "colour")
        self.tagger = tagger.with_lexicon(lexicon)
        self._chunks: dict[tuple[str, bool], list[Chunk]] = {}
        self._brands: dict[str, list[tuple[str, ...]]] = {}
        for words in sorted(self.learned.brands, key=len, reverse=True):
            self._brands.setdefault(words[0], []).append(words)

    def chunks(self, text: Text) -> list[Chunk]:
        """The chunks of a text, or of the fields of one product, in order."""
        found: list[Chunk] = []
        for part in fields_of(text):
            for number, sentence in enumerate(sentences(part)):
                key = (sentence, number == 0)
                chunks = self._chunks.get(key)
                if chunks is None:
                    units = self.tagger.units(sentence)
                    chunks = self.sentence_chunks(self._without_brand(units) if number == 0 else units)
                    if len(self._chunks) < REMEMBERED:
                        self._chunks[key] = chunks
                found += chunks
        return found

    def parse(self, phrase: str) -> Phrase:
        """How a phrase that stands alone is built; its last word is the head where nothing else can be made of it."""
        for chunk in self.sentence_chunks([unit for part in self.tagger.sentences(phrase) for unit in part])[:1]:
            for found in chunk.phrases():
                if found.text == phrase:
                    return found
        *modifiers, head = phrase.split()
        return Phrase(tuple(modifiers), head)

    def knowing(self, phrases: Iterable[str]) -> Chunker:
        """A chunker that also knows the words of given phrases: their last words as nouns, the others as modifiers."""
        nouns: dict[str, None] = {}
        modifiers: dict[str, None] = {}
        for phrase in phrases:
            *before, head = [unit for part in self.tagger.sentences(phrase) for unit in part] or [Unit("", "garment")]
            modifiers |= dict.fromkeys(unit.text for unit in before if unit.kind == "unknown")
            if head.kind == "unknown":
                nouns[head.text] = None
        extra = Learned(tuple(nouns), tuple(word for word in modifiers if word not in nouns))
        return self if extra == Learned() else Chunker(self.tagger, self.learned | extra)

    def _without_brand(self, units: list[Unit]) -> list[Unit]:
        if not units or not units[0].capital:
            return units
        words = [word for unit in units[:6] for word in unit.text.split()]
        for brand in self._brands.get(words[0], ()):
            if tuple(words[: len(brand)]) == brand:
                left, taken = len(brand), 0
                while left > 0:  # a brand may end inside an expression, which then goes with it
                    left -= len(units[taken].text.split())
                    taken += 1
                return units[taken:]
        return units

    def sentence_chunks(self, units: list[Unit]) -> list[Chunk]:
        """The chunks of one sentence."""
        found: list[Chunk] = []
        region: list[Unit] = []
        split_at: int | None = None  # where "and" stands between two modifiers of one kind
        open_for: int | None = None  # number of the chunk that an attachment would belong to
        preposition = ""
        for i, unit in enumerate([*units, Unit(".", "punctuation")]):
            kind = unit.kind
            if kind in MODIFIERS or kind in NOUNS or kind == "container" or kind == "other":
                region.append(unit)
                continue
            if kind not in BOUNDARIES:
                continue  # audience, brand, number, unknown word
            if kind in ("conjunction", "punctuation") and region and self._coordinates(unit, region[-1], units, i):
                split_at = len(region)
                continue
            made, clean_end = self._chunks_of(region, split_at)
            was_empty, region, split_at = not region, [], None
            for number, chunk in enumerate(made):
                if open_for is not None and number == 0:
                    attached = _attachment(preposition, chunk)
                    if attached:
                        found[open_for] = found[open_for]._replace(attached=(*found[open_for].attached, attached))
                    if not chunk.head:
                        continue
                    found.append(chunk)
                    if len(made) > 1 or not attached:
                        open_for = len(found) - 1
                elif chunk.head:
                    found.append(chunk)
                    open_for = len(found) - 1
            if kind == "determiner" and was_empty:
                continue  # "coat with a hood"
            if kind == "preposition" and unit.text in ATTACHING and clean_end and made and open_for is not None:
                preposition = unit.text
            else:
                open_for = None
        return found

    @staticmethod
    def _coordinates(mark: Unit, before: Unit, units: list[Unit], i: int) -> bool:
        """Whether a mark joins two modifiers of one kind: black and white, cotton & linen; a comma joins colours only."""
        if mark.kind == "punctuation" and (mark.text != "," or before.kind != "colour"):
            return False
        after = next((unit for unit in units[i + 1 :] if unit.kind in MODIFIERS or unit.kind in BOUNDARIES), None)
        return before.kind in COORDINATED and after is not None and after.kind == before.kind

    def _chunks_of(self, region: list[Unit], split_at: int | None) -> tuple[list[Chunk], bool]:
        """The chunks of a stretch without boundaries, and whether nothing was left over behind the last one."""
        while region and region[-1].kind == "container":
            region = region[:-1]
        if not region or region[-1].kind == "other":
            return [], False
        end = len(region)
        while end and not _can_head(region[end - 1]):
            end -= 1
        if not end:
            alone = all(unit.kind in ("colour", "modifier") for unit in region)
            joiner = " and " if split_at and len(region) == 2 else " "
            return ([Chunk((joiner.join(unit.text for unit in region),), "")] if alone else []), True
        head = end - 1
        if region[head].kind in ("material", "pattern") and head and region[head - 1].kind in NOUNS:
            head -= 1  # "jeans cotton": the noun is the head
        if split_at is not None and split_at == head:  # "floral print and lace": two heads
            first, _ = self._chunks_of(region[:split_at], None)
            second, clean = self._chunks_of(region[split_at:], None)
            return first + second, clean
        clean = head == len(region) - 1
        if region[head].kind == "part":  # "shirt full sleeve": a garment, then a part with its own adjective
            for i in range(head - 1, 0, -1):
                if region[i - 1].kind in ("garment", "noun") and region[i].kind in MODIFIERS:
                    first, _ = self._chunks_of(region[:i], None)
                    second, _ = self._chunks_of(region[i : head + 1], None)
                    return first + second, clean
        name = singular_head(region[head].text)
        start = head
        if head and self._is_compound(region[head - 1].text, name):
            start = head - 1
            name = f"{region[start].text} {name}"
        modifiers = _modifiers(region[:start])
        # A title may say a word twice ("Casual Red Casual Shoes", "Belts Men Black Belt"): the last one counts.
        once = [one for i, one in enumerate(modifiers) if one not in modifiers[i + 1 :] and singular_head(one) != name]
        return [Chunk(tuple(once), name)], clean

    def _is_compound(self, first: str, second: str) -> bool:
        """Whether two units make one head; they may have had an audience word between them ("Tank Women Top")."""
        if first in COMPOUND_FIRST and second in COMPOUND_SECOND:
            return first != second
        known = self.tagger.lexicon.expressions.get(first.partition(" ")[0], ())
        return any(" ".join(expected) == f"{first} {second}" and kind in NOUNS for expected, kind in known)


def fields_of(text: Text) -> list[str | None]:
    """The fields of one product as a list."""
    return [text] if text is None or isinstance(text, str) else list(text)


def singular_head(words: str) -> str:
    """The head with its last word in the singular."""
    first, space, last = words.rpartition(" ")
    return first + space + singular(last)


def _can_head(unit: Unit) -> bool:
    if unit.kind in NOUNS or unit.kind == "material":
        return True
    return unit.kind == "pattern" and singular_head(unit.text) in PATTERN_NOUN_SET


def _modifiers(units: list[Unit]) -> tuple[str, ...]:
    """Modifiers in front of a head: one per unit, a part or a pattern noun together with the adjective before it."""
    found: list[tuple[str, str]] = []  # text, kind
    for unit in units:
        before = found[-1][1] if found else ""
        is_pattern_noun = unit.kind == "pattern" and singular_head(unit.text) in PATTERN_NOUN_SET
        if (unit.kind == "part" or unit.text in JOINING_WORDS) and before in JOINED_BY_PART:
            found[-1] = (f"{found[-1][0]} {unit.text}", "joined")
        elif is_pattern_noun and before in JOINED_BY_PATTERN:
            found[-1] = (f"{found[-1][0]} {unit.text}", "joined")
        elif unit.kind == "other":
            if unit.text in JOINING_OTHERS and before in JOINED_BY_PART | NOUNS:
                found[-1] = (f"{found[-1][0]} {unit.text}", "joined")
        elif unit.kind != "container":
            found.append((unit.text, unit.kind))
    return tuple(text for text, _ in found)


def _attachment(preposition: str, chunk: Chunk) -> tuple[str, str] | None:
    if not chunk.head:
        return (preposition, chunk.modifiers[0]) if preposition == "in" else None
    return preposition, " ".join((*chunk.modifiers, chunk.head))
