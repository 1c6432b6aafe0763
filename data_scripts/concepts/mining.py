"""The concept phrases of many texts: found, counted once per text, filtered.

mined = mine(["Navy blue cotton shirt", ...], MiningOptions(min_frequency=5))
mined.phrases["cotton shirt"].frequency
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from data_scripts.concepts.chunker import MAX_WORDS, Chunker, Phrase, Text, fields_of, named_phrases
from data_scripts.concepts.discovery import DiscoveryOptions, discover


@dataclass(frozen=True)
class MiningOptions:
    """What a phrase must be to become a concept.

    Attributes:
        min_frequency: least number of texts with the phrase.
        attachment_frequency: the same for phrases with an attachment (`coat in white`); None: as min_frequency.
        min_words, max_words: length of a phrase.
        common_head: heads in more than this part of the texts are left out unless they are garments or parts.
        discovery: when an unknown word counts as known; None leaves all unknown words out.
    """

    min_frequency: int = 5
    attachment_frequency: int | None = None
    min_words: int = 1
    max_words: int = MAX_WORDS
    common_head: float = 0.3
    discovery: DiscoveryOptions | None = field(default_factory=DiscoveryOptions)

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(f"words per phrase: expected 1 <= min <= max, got {self.min_words} and {self.max_words}")
        if self.min_frequency < 1 or (self.attachment_frequency or 1) < 1:
            raise ValueError("frequencies must be at least 1")

    def least(self, phrase: Phrase) -> int:
        """The frequency that a phrase needs."""
        return (self.attachment_frequency if phrase.attached else None) or self.min_frequency


@dataclass
class MinedPhrase:
    """A kept phrase, how it is built, and in how many texts it is."""

    phrase: Phrase
    frequency: int


@dataclass
class Mined:
    """What mining found.

    Attributes:
        phrases: kept phrases by text, most frequent first, then by text.
        chunker: knows what the texts taught; matching uses the same.
        texts: number of texts read. empty: of these, without a single word.
        dropped_heads: heads left out because they are in too many texts.
    """

    phrases: dict[str, MinedPhrase]
    chunker: Chunker
    texts: int
    empty: int
    dropped_heads: list[str]


def mine(texts: Iterable[Text], options: MiningOptions | None = None, chunker: Chunker | None = None) -> Mined:
    """Mine the concept phrases of texts.

    Args:
        texts: one text, or the fields of one product, per entry; read twice unless `chunker` has learned already.
        options: thresholds. chunker: one that has learned (see `learn`); by default it learns from these texts.
    """
    options = options or MiningOptions()
    if chunker is None:
        texts = list(texts)
        chunker = learn(texts, options)
    frequencies: Counter[str] = Counter()
    built: dict[str, Phrase] = {}
    heads: Counter[str] = Counter()
    total = empty = 0
    for text in texts:
        total += 1
        found = phrases_of(text, chunker, options.max_words)
        empty += not found and not any(part and part.strip() for part in fields_of(text))
        for name, phrase in found.items():
            built.setdefault(name, phrase)
        frequencies.update(found.keys())
        heads.update({phrase.head for phrase in found.values()})
    dropped = _common_heads(heads, built, total, chunker, options)
    kept = {
        name: MinedPhrase(built[name], count)
        for name, count in sorted(frequencies.items(), key=lambda one: (-one[1], one[0]))
        if count >= options.least(built[name])
        and options.min_words <= name.count(" ") + 1 <= options.max_words
        and built[name].head not in dropped
    }
    return Mined(kept, chunker, total, empty, sorted(dropped))


def learn(texts: Iterable[Text], options: MiningOptions | None = None, chunker: Chunker | None = None) -> Chunker:
    """A chunker that knows what the texts teach (see discovery.py), beside what `chunker` knows already."""
    options, chunker = options or MiningOptions(), chunker or Chunker()
    if options.discovery is None:
        return chunker
    return Chunker(chunker.tagger, chunker.learned | discover(texts, chunker.tagger, options.discovery))


def phrases_of(text: Text, chunker: Chunker, max_words: int = MAX_WORDS) -> dict[str, Phrase]:
    """The distinct phrases of one text by name, in order of appearance, longest first at one place."""
    found: dict[str, Phrase] = {}
    for chunk in chunker.chunks(text):
        for name, phrase in named_phrases(chunk, max_words).items():
            found.setdefault(name, phrase)
    return found


def _common_heads(
    heads: Counter[str], built: dict[str, Phrase], total: int, chunker: Chunker, options: MiningOptions
) -> set[str]:
    """Heads of too many texts that are no garment and no part.

    A learned noun is taken for one when it carries three different modifiers that the lexicon knows or that were
    learned as modifiers: things have colours and materials, "style" and "look" rarely do.
    """
    common = {head for head, count in heads.items() if count > options.common_head * total and total > 1}
    if not common:
        return set()
    modifiers = defaultdict(set)
    for phrase in built.values():
        if phrase.head in common:
            modifiers[phrase.head].update(phrase.modifiers[-1:])
    kinds = {head: chunker.tagger.sentences(head)[0][-1].kind for head in common}
    return {
        head
        for head in common
        if kinds[head] not in ("garment", "part") and not (kinds[head] == "noun" and len(modifiers[head]) >= 3)
    }
