"""The concepts that a text holds, known from the noun phrases it was built with.

    coat = NounPhrase(("olive", "cotton"), "coat", attached=(("with", NounPhrase((), "hood")),))
    coat.phrases()  # olive cotton coat with hood, coat with hood, olive cotton coat, olive coat, cotton coat, coat, hood

A concept is a lower-case phrase of one to six words that ends in a singular noun: the head; each modifier with the head;
each run of the last modifiers with the head; the full phrase and the head with what is attached by in, with or of; and the
concepts of what is attached. Brands, audience words, numbers and adverbs are no part of a concept. A fixed compound such as
`tote bag` is one head, a pattern noun and its adjective (`floral print`) one modifier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_WORDS = 6
IRREGULAR_PLURALS = {"scarf": "scarves"}
# Garments for two legs have no singular of their own.
ALWAYS_PLURAL = frozenset({"jeans", "chinos", "trousers", "joggers", "shorts", "bermuda shorts", "running shorts"})


@dataclass(frozen=True)
class Silent:
    """A word of a noun phrase that is no part of its concepts: an adverb, a number, a brand, an audience word."""

    text: str


@dataclass(frozen=True)
class NounPhrase:
    """A noun phrase of a text.

    Attributes:
        modifiers: in the order of the text, each one unit of one or more words; `Silent` ones are said only.
        head: singular; empty for colours alone ("in white").
        plural: whether the text says the plural. article: what the text says before the phrase.
        attached: (preposition, phrase) behind it; the text says all of them.
        joined: "and" before the last modifier but one ("black and white striped shirt") is said where this is its place.
    """

    modifiers: tuple[str | Silent, ...]
    head: str
    plural: bool = False
    article: str = ""
    attached: tuple[tuple[str, NounPhrase], ...] = ()
    joined: int | None = None

    def said(self) -> tuple[str, ...]:
        """Modifiers that belong to concepts."""
        return tuple(one for one in self.modifiers if isinstance(one, str))

    def full(self) -> str:
        """The longest concept without attachment."""
        return " ".join((*self.said(), self.head)).strip()

    def fathers(self) -> dict[str, str]:
        """Concept -> the next shorter one, in the order of the phrase; "" for a head of one word.

        A father by this rule may be rare; `kept_fathers` goes on from it to one that is kept.
        """
        found: dict[str, str] = {}
        modifiers = self.said()
        if self.head:
            chain = [" ".join((*modifiers[start:], self.head)) for start in range(len(modifiers) + 1)]
            for preposition, other in self.attached:
                for phrase in dict.fromkeys((chain[0], self.head)):
                    found.setdefault(f"{phrase} {preposition} {other.full()}", phrase)
            for start, phrase in enumerate(chain[:-1]):
                found.setdefault(phrase, chain[start + 1])
                found.setdefault(f"{modifiers[start]} {self.head}", self.head)
            found.setdefault(self.head, self.head.rpartition(" ")[2] if " " in self.head else "")
        for _, other in self.attached:
            for phrase, father in other.fathers().items():
                found.setdefault(phrase, father)
        return {phrase: father for phrase, father in found.items() if phrase.count(" ") < MAX_WORDS}

    def phrases(self) -> list[str]:
        """All concepts."""
        return list(self.fathers())

    def text(self) -> str:
        """What the text says, lower-case."""
        words = [self.article] if self.article else []
        for place, one in enumerate(self.modifiers):
            words += ["and"] if place == self.joined else []
            words.append(one if isinstance(one, str) else one.text)
        if self.head:
            words.append(plural(self.head) if self.plural else self.head)
        for preposition, other in self.attached:
            words += [preposition, other.text()]
        return " ".join(words)


@dataclass(frozen=True)
class Text:
    """Words and noun phrases of one text, in order."""

    pieces: tuple[str | NounPhrase, ...]

    def fathers(self) -> dict[str, str]:
        """Concept -> the next shorter one, over all noun phrases."""
        found: dict[str, str] = {}
        for piece in self.pieces:
            if isinstance(piece, NounPhrase):
                for phrase, father in piece.fathers().items():
                    found.setdefault(phrase, father)
        return found

    def text(self) -> str:
        """One line; a mark stands directly behind the word before it."""
        line = ""
        for piece in self.pieces:
            words = piece if isinstance(piece, str) else piece.text()
            line += words if not line or words[0] in ".,/" else f" {words}"
        return line


def plural(noun: str) -> str:
    """The plural of a head."""
    if noun in ALWAYS_PLURAL:
        return noun
    first, space, last = noun.rpartition(" ")
    if last in IRREGULAR_PLURALS:
        return first + space + IRREGULAR_PLURALS[last]
    return first + space + last + ("es" if last.endswith(("s", "sh", "ch", "x")) else "s")


@dataclass
class Vocabulary:
    """Concepts, in how many texts each one is, and the next shorter one of each."""

    counts: Counter = field(default_factory=Counter)
    shorter: dict[str, str] = field(default_factory=dict)

    def add(self, phrases: Iterable[str], shorter: dict[str, str]) -> None:
        """One text's distinct concepts; of a phrase with two readings the first one counts."""
        self.counts.update(phrases)
        for phrase, father in shorter.items():
            self.shorter.setdefault(phrase, father)

    def fathers(self, least: int = 1) -> dict[str, str]:
        """Concept -> father among those in `least` texts or more; most frequent first, then by name."""
        kept = {phrase for phrase, count in self.counts.items() if count >= least}
        return kept_fathers(self.shorter, sorted(kept, key=lambda one: (-self.counts[one], one)))


def kept_fathers(shorter: dict[str, str], kept: Iterable[str]) -> dict[str, str]:
    """Kept concept -> the first kept one on its way to the head, "" for none."""
    kept = dict.fromkeys(kept)
    fathers = {}
    for phrase in kept:
        father = shorter.get(phrase, "")
        while father and father not in kept:
            father = shorter.get(father, "")
        fathers[phrase] = father
    return fathers
