"""Words that the lexicon lacks, found from how a catalogue uses them: garments, modifiers, compounds and brands.

One pass collects for every unknown word where it stands (at the end of a noun chunk, before other words, at the start of
titles), next to what, and how it is written; then it is decided, precision first:

    noun       ends chunks, behind several different words
    modifier   stands before at least two different heads
    colour     a modifier that also stands alone behind "in", and never behind "of" or "from" as materials do
    compound   stands before one and the same head always: the two make one head
    brand      opens titles; the longest opening that stays together is left out of chunks (`Red Tape`, `Pepe Jeans`)

A word written small inside a sentence is a word of the language. In Titles Written Like This capitals say nothing, so a
word must there be used by several brands (that is, behind several different first words); a product line's name is not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from data_scripts.concepts.chunker import Learned, Text, fields_of
from data_scripts.concepts.lexicon import BOUNDARIES, MODIFIERS, NOUNS, Lexicon, singular
from data_scripts.concepts.tagging import AFTER_VERBS, Tagger, Unit
from data_scripts.concepts.text import sentences

KEPT = 12  # different neighbours remembered per word; more change no decision
OPENING = 4  # words of a title that can be a brand


@dataclass(frozen=True)
class DiscoveryOptions:
    """When an unknown word counts as known.

    Attributes:
        evidence: least number of uses in one role, in different sentences.
        variety: least number of different neighbours (words before a noun, heads behind a modifier).
        first_words, common_first: for a word seen in Title Case only, the least number of different first words of its
            titles, and the largest part of them that may begin with one word.
        title_evidence, title_share: uses that a modifier seen in Title Case only needs, as a number and as a part of
            the texts; the words of product lines (Pro, Glow, Active) are many, and rarer.
        opening: least number of titles that begin with a brand.
        longest: characters of a text that words are learned from; what is longer is a web page, not a product's text.
    """

    evidence: int = 3
    variety: int = 2
    first_words: int = 3
    common_first: float = 0.6
    title_evidence: int = 10
    title_share: float = 0.001
    opening: int = 5
    longest: int = 5000


@dataclass
class Usage:
    """Where one unknown word stands."""

    count: int = 0
    leading: int = 0
    with_colour: int = 0
    small: int = 0  # written small in a sentence that also has capitals
    plain: int = 0  # in a text without capitals
    name_like: int = 0
    final: int = 0
    alone_after_in: int = 0
    alone_after_of: int = 0  # or "from": a material, never a colour
    final_after_noun: int = 0
    verb_like: int = 0
    before_others: int = 0
    behind: Counter = field(default_factory=Counter)  # words before it where it ends a chunk
    heads: Counter = field(default_factory=Counter)  # last words of the chunks that it modifies
    following: Counter = field(default_factory=Counter)
    preceding: Counter = field(default_factory=Counter)
    first_words: Counter = field(default_factory=Counter)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


def discover(texts: Iterable[Text], tagger: Tagger, options: DiscoveryOptions | None = None) -> Learned:
    """What a catalogue's texts teach beside the tagger's lexicon.

    Args:
        texts: one text, or the fields of one product, per entry; a brand is looked for at the start of each field.
        tagger: with the lexicon to extend.
    """
    options = options or DiscoveryOptions()
    usages, openings = _Usages(), Openings()
    seen: set[int] = set()  # numbers instead of sentences, for there may be millions
    for text in texts:
        usages.texts += 1
        for part in fields_of(text):
            if part and len(part) > options.longest:
                continue
            found = sentences(part)
            for number, sentence in enumerate(found):
                key = hash((sentence, number == 0))
                if key in seen:  # what a shop repeats under every product says nothing new
                    continue
                seen.add(key)
                units = tagger.units(sentence)
                if number == 0:
                    openings.add(units)
                usages.add(units, units[0].text if number == 0 else tagger.units(found[0])[0].text, number == 0)
    settled = usages.settled()
    learned = _decide(settled, usages.texts, options)
    known = {*learned.nouns, *learned.modifiers, *learned.colours}
    brands = openings.brands(tagger.lexicon, known, settled, options)
    return replace(learned, brands=brands)


def style_of(units: list[Unit]) -> str:
    """ "title" when most words begin with a capital, "plain" when none does, else "sentence"."""
    letters = [unit.capital for unit in units if unit.text[0].isalpha()]
    if not any(letters):
        return "plain"
    return "title" if len(letters) > 1 and sum(letters) >= 0.7 * len(letters) else "sentence"


class _Usages:
    """The usage of every unknown word; that at the start of texts apart, where it may be a brand."""

    def __init__(self) -> None:
        self.texts = 0
        self.inside: dict[str, Usage] = defaultdict(Usage)
        self.at_start: dict[str, Usage] = defaultdict(Usage)
        self.starts = self.starts_with_colour = 0

    def add(self, units: list[Unit], first_word: str, opens: bool) -> None:
        """Count one sentence; `first_word` is that of its text, `opens` says whether it is the text's first."""
        style = style_of(units)
        run = next((i for i, unit in enumerate(units) if unit.kind != "unknown"), len(units)) if opens else 0
        # In titles, and where two capitals stand in a row, the unknown words at the start are a brand. Elsewhere the
        # first capital says nothing; a brand is then told from a colour by the other colours behind it.
        named = run > 0 and (style == "title" or (len(units) > 1 and units[0].capital and units[1].capital))
        has_colour = _has_colour(units[run:])
        if run and not named:
            self.starts += 1
            self.starts_with_colour += has_colour
        places = [self.at_start if i < run and not named else self.inside for i in range(len(units))]
        region: list[int] = []
        opened_by = ""
        for i, unit in enumerate([*units, Unit(".", "punctuation")]):
            if unit.kind == "unknown":
                usage = places[i][unit.text]
                usage.count += 1
                usage.with_colour += has_colour
                if i:
                    usage.preceding[units[i - 1].text] += 1
                if len(usage.first_words) < 4 * KEPT or first_word in usage.first_words:
                    usage.first_words[first_word] += 1
                if i < run and named:
                    usage.leading += 1
                    continue
                if style == "sentence" and unit.capital and i:
                    usage.name_like += 1
                elif style == "plain":
                    usage.plain += 1
                elif style == "sentence":
                    usage.small += 1
            if unit.kind in BOUNDARIES:
                if region:
                    self._add_region([(units[j], places[j]) for j in region], opened_by, unit, style)
                region = []
                opened_by = unit.text
            elif unit.kind in MODIFIERS or unit.kind in NOUNS or unit.kind in ("unknown", "other", "container"):
                region.append(i)

    @staticmethod
    def _add_region(region: list[tuple[Unit, dict[str, Usage]]], opened_by: str, closed_by: Unit, style: str) -> None:
        last, place = region[-1]
        for i, (unit, own_place) in enumerate(region[:-1]):
            if unit.kind == "unknown":
                usage = own_place[unit.text]
                usage.before_others += 1
                _count(usage.heads, singular(last.text))
                following = region[i + 1][0].text
                _count(usage.following, singular(following) if i + 2 == len(region) else following)
        if last.kind != "unknown":
            return
        usage = place[last.text]
        if len(region) == 1 and opened_by in ("in", "of", "from"):
            usage.alone_after_in += opened_by == "in"
            usage.alone_after_of += opened_by != "in"
            return
        usage.final += 1
        usage.verb_like += closed_by.kind in AFTER_VERBS and closed_by.kind != "preposition"
        if len(region) > 1:
            before = region[-2][0]
            _count(usage.behind, before.text)
            like_verb = style == "title" or closed_by.kind in AFTER_VERBS  # "shirt zooms the", "Shirt Zoom"
            usage.final_after_noun += before.kind in NOUNS and like_verb

    def settled(self) -> dict[str, Usage]:
        """One usage per word: with what was counted at the start of texts, unless that is a brand's.

        Where many texts begin with an unknown word and have a colour behind it, they begin with brands, and texts
        without capitals are then no better than titles.
        """
        share = self.starts_with_colour / self.starts if self.starts >= 20 else 0.0
        branded = share >= 0.2 and self.starts >= 0.3 * self.texts
        settled = dict(self.inside)
        for word, usage in self.at_start.items():
            total = usage.count + self.inside[word].count if word in self.inside else usage.count
            mostly = usage.count >= 0.7 * total
            if share >= 0.05 and mostly and 0 < usage.with_colour >= 0.5 * share * usage.count:
                continue
            settled[word] = settled[word] + usage if word in settled else usage
        if not branded:
            settled = {word: replace(usage, small=usage.small + usage.plain) for word, usage in settled.items()}
        return settled


def _has_colour(units: list[Unit]) -> bool:
    """Whether a colour stands before the first boundary."""
    for unit in units:
        if unit.kind in BOUNDARIES:
            return False
        if unit.kind == "colour":
            return True
    return False


def _count(counter: Counter, word: str) -> None:
    if len(counter) < KEPT or word in counter:
        counter[word] += 1


def _decide(usages: dict[str, Usage], texts: int, options: DiscoveryOptions) -> Learned:
    merged: dict[str, Usage] = {}
    for word, usage in usages.items():  # a noun's plural speaks for its singular
        single = singular(word)
        if single != word and single in usages:
            usage = usages[single] + usage
        merged[single if single in usages else word] = usage
        merged.setdefault(word, usage)
    nouns, modifiers, compounds, colours = [], [], [], []
    for word in sorted(merged):
        usage = merged[word]
        inner = usage.count - usage.leading
        if inner < options.evidence or usage.name_like > 0.5 * inner or len(word) < 3:
            continue
        small = usage.small >= max(min(2, options.evidence), 0.3 * inner)
        if not small and not _used_by_several(usage, options):
            continue
        material = small and usage.alone_after_of >= options.evidence
        if _is_colour(usage, options):
            colours.append(word)
        elif material or _is_noun(usage, inner, small, options):
            nouns.append(word)
        elif usage.before_others >= (
            options.evidence if small else max(options.title_evidence, options.title_share * texts)
        ):
            following, times = usage.following.most_common(1)[0]
            fixed = times >= 0.95 * usage.before_others and times >= max(5, options.evidence)
            if fixed and len(usage.heads) == 1 and following in usage.heads:
                compounds.append(f"{word} {following}")
            elif small or (len(usage.heads) > options.variety and _used_by_several(usage, options, strict=True)):
                modifiers.append(word)
        elif small and usage.alone_after_in >= options.evidence:
            modifiers.append(word)  # a colour or a material: only ever "in <word>"
    return Learned(tuple(nouns), tuple(modifiers), tuple(compounds), colours=tuple(colours))


def _is_colour(usage: Usage, options: DiscoveryOptions) -> bool:
    """Before garments and alone behind "in"; a chunk ends in it otherwise only where "and" another colour follows."""
    alone = usage.alone_after_in
    return (
        alone >= options.evidence <= usage.before_others
        and not usage.alone_after_of
        and len(usage.heads) >= options.variety
        and usage.final < 0.5 * (alone + usage.before_others)
    )


def _used_by_several(usage: Usage, options: DiscoveryOptions, strict: bool = False) -> bool:
    total = sum(usage.first_words.values())
    common = usage.first_words.most_common(1)[0][1]
    least, most = options.first_words + 2 * strict, options.common_first - 0.2 * strict
    return len(usage.first_words) >= least and common <= most * total


def _is_noun(usage: Usage, inner: int, small: bool, options: DiscoveryOptions) -> bool:
    if usage.final < options.evidence or len(usage.behind) < (1 if small else options.variety):
        return False
    if usage.final_after_noun >= 0.5 * usage.final or usage.verb_like >= 0.3 * usage.final:
        return False
    if usage.final >= (0.5 if small else 0.6) * inner:
        return True
    # A material: mostly before a garment, but also "in soft <material>".
    return small and usage.final >= 0.15 * inner and len(usage.behind) >= options.variety


class Openings:
    """How often titles begin with the same words, and what follows."""

    def __init__(self) -> None:
        self.counts: Counter = Counter()
        self.before_audience: Counter = Counter()
        self.garment_later: Counter = Counter()

    def add(self, units: list[Unit]) -> None:
        """Count the opening of one title (at most OPENING words, up to a mark or an audience word)."""
        if not units[0].capital or units[0].kind in BOUNDARIES:
            return
        opening: list[str] = []
        for i, unit in enumerate(units):
            if unit.kind == "audience":
                self.before_audience[tuple(opening)] += 1
                self.garment_later[tuple(opening)] += any(later.kind in NOUNS for later in units[i + 1 :])
                return
            if unit.kind == "punctuation" and unit.text != ".":
                return
            for word in unit.text.split():
                if len(opening) == OPENING:
                    return
                opening.append(word)
                self.counts[tuple(opening)] += 1

    def brands(
        self, lexicon: Lexicon, known: set[str], usages: dict[str, Usage], options: DiscoveryOptions
    ) -> tuple[tuple[str, ...], ...]:
        """Openings that are brands: they hold a word of no meaning, or a garment before "Men" and another behind it."""
        children: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for opening, count in self.counts.items():
            if count >= options.opening:
                children[opening[:-1]].append(opening)

        def meaning(word: str) -> str | None:
            kind = "noun" if word in known else lexicon.kind(word)
            return kind if kind in MODIFIERS or kind in NOUNS else None

        def is_fixed(opening: tuple[str, ...]) -> bool:
            """Whether a meaningless last word belongs to the words before it: "tape" comes behind "red" only."""
            usage = usages.get(opening[-1])
            if usage is None:
                return self.before_audience[opening] >= 0.5 * self.counts[opening]
            return usage.preceding[opening[-2]] >= 0.8 * usage.count

        found = []
        waiting = list(children[()])
        while waiting:
            opening = waiting.pop()
            longer = children.get(opening, [])
            best = max(longer, key=lambda one: (self.counts[one], one), default=None)
            if best and self.counts[best] >= 0.6 * self.counts[opening]:
                waiting.append(best)
            elif all(meaning(word) for word in opening):
                waiting += [one for one in longer if not meaning(one[-1]) and is_fixed(one)]
            if best and self.counts[best] >= 0.9 * self.counts[opening]:
                continue  # the longer one stands for it
            if self._is_brand(opening, meaning, is_fixed, options):
                found.append(opening)
        return tuple(sorted(found))

    def _is_brand(self, opening, meaning, is_fixed, options: DiscoveryOptions) -> bool:
        meanings = [meaning(word) for word in opening]
        if not any(meanings):
            return True
        followed = self.before_audience[opening]
        if all(meanings):
            garment = any(kind in NOUNS for kind in meanings)
            return garment and followed >= options.opening and self.garment_later[opening] >= 0.8 * followed
        if meanings[-1] and self.before_audience[opening] < 0.6 * self.counts[opening]:
            return False  # "turtle check": the second word is a modifier
        return meanings[0] is None or (is_fixed(opening) and followed >= 0.5 * self.counts[opening])
