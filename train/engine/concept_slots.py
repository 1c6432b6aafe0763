"""Which concepts of a caption fill its slots in the concept loss.

A caption carries two lists of phrases: those of the data's own concepts and those of the knowledge base. Short lists
are filled up with what the phrases are kinds of (their fathers in the graph).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MIN_DATA_WORDS, MAX_DATA_WORDS = 2, 6
MIN_KB_CHARACTERS = 2
SLOTS = 5


def data_phrases(phrases: Sequence[str], match_phrases: Sequence[str], concepts: Mapping[str, int]) -> list[str]:
    """The phrases of a caption that count as the data's own concepts: known, of 2 to 6 words, not in the knowledge
    base."""
    elsewhere = set(match_phrases)
    return [
        p
        for p in phrases
        if MIN_DATA_WORDS <= len(p.split()) <= MAX_DATA_WORDS and p in concepts and p not in elsewhere
    ]


def kb_phrases(match_phrases: Sequence[str], concepts: Mapping[str, int]) -> list[str]:
    """The phrases of a caption that count as concepts of the knowledge base: known, of at least two characters."""
    return [p for p in match_phrases if len(p) >= MIN_KB_CHARACTERS and p in concepts]


def concept_slots(
    phrases: Sequence[str],
    fathers: Mapping[str, str],
    concepts: Mapping[str, int],
    slots: int = SLOTS,
    depth: int = 2,
) -> list[str]:
    """Concepts of one caption for one list, at most `slots` of them.

    The phrases in their order, each once; as long as there is room, then their fathers, nearest generation first.
    Deviation: the original changes its samples while it reads them, see [`OfficialSlots`].

    Args:
        phrases: the caption's phrases for this list.
        fathers: phrase -> what it is a kind of, "" for nothing.
        concepts: phrase -> number; a father that is none of these has no prototypes and is left out.
        slots: most concepts.
        depth: generations of fathers: 0 for none, 2 for fathers and their fathers.
    """
    chosen = list(dict.fromkeys(p for p in phrases if p in concepts))[:slots]
    generation = chosen
    for _ in range(depth):
        generation = list(dict.fromkeys(f for p in generation if (f := fathers.get(p))))
        chosen += [f for f in generation if f in concepts and f not in chosen]
    return chosen[:slots]


class OfficialSlots:
    """The original's five slots, with its side effects: reading a caption changes its list for the next reading.

    Fathers are appended to the stored list and padding stays in it, so an appended father brings its own father in the
    next time, and duplicates can take slots. Where fathers were appended, the original's order comes from a set of
    strings and differs between runs; here it is the order of the list.

    Args:
        lists: one list of phrases per caption (changed in place; pairs of one caption share one list).
        fathers: phrase -> father. The original hands each list the father file of the other one.
        concepts: phrase -> number.
    """

    def __init__(self, lists: Sequence[list[str]], fathers: Mapping[str, str], concepts: Mapping[str, int]) -> None:
        self.lists, self.fathers, self.concepts = lists, fathers, concepts

    def read(self, row: int) -> tuple[list[str], list[int]]:
        """Five phrases ("" in empty slots) and their numbers (-1 where there is none)."""
        phrases = self.lists[row]
        fathers = list(dict.fromkeys(f for p in phrases if (f := self.fathers.get(p))))
        if len(phrases) + len(fathers) < SLOTS:
            phrases += fathers  # in place
            phrases = list(dict.fromkeys(phrases))
        if len(phrases) > SLOTS:
            phrases = phrases[:SLOTS]
        phrases += [""] * (SLOTS - len(phrases))  # in place, unless a copy was made above
        return list(phrases), [self.concepts.get(p, -1) if p else -1 for p in phrases]
