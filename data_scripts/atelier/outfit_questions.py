"""Questions about outfits: fill in the blank and compatibility, with easy wrong answers and hard ones.

Easy ("random"): garments of any kind, as in the official Polyvore questions; most stand in a place that is taken.
Hard ("typed"): garments of the category that they stand for, so whoever knows categories alone is at chance. Both break
the style rule, and come from other outfits of the same split; not of the same capsule, whose garments would fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .designs import generator
from .garment import Garment
from .outfit_rule import is_compatible
from .outfits import OUTFITS_PER_CAPSULE, QUESTION_STREAM, make_outfit, split_of

KINDS = ("random", "typed")
WRONG_ANSWERS = 3
#: Wrong answers come from the same block of so many capsules: time and memory grow in proportion to the world.
BLOCK = 100
_TRIES = 1000


@dataclass(frozen=True)
class Question:
    """A blank: keys of the other garments, place from 1 in the whole outfit, the right key and three wrong ones."""

    question: tuple[str, ...]
    blank_position: int
    answers: tuple[str, ...]


@dataclass(frozen=True)
class _Hanger:
    """A garment as an outfit has it."""

    garment: Garment
    key: str
    capsule: int


def blocks_of(capsules: int) -> list[range]:
    """Capsules in a row that share their wrong answers; a short last block belongs to its neighbour."""
    count = max(capsules // BLOCK, 1)
    ends = [*(BLOCK * k for k in range(count)), capsules]
    return [range(start, stop) for start, stop in zip(ends, ends[1:], strict=False)]


@lru_cache(maxsize=24)
def _rack(seed: int, outfits: int, block: range, split: str, disjoint: bool) -> dict[str, list[_Hanger]]:
    """All garments of a split's outfits in a block, by category and, under "", together."""
    rack: dict[str, list[_Hanger]] = {}
    last = min(block.stop * OUTFITS_PER_CAPSULE, outfits)
    for number in range(block.start * OUTFITS_PER_CAPSULE, last):
        if split_of(number, disjoint) == split:
            outfit = make_outfit(seed, number)
            for place, garment in enumerate(outfit.garments):
                hanger = _Hanger(garment, outfit.key(place), number // OUTFITS_PER_CAPSULE)
                rack.setdefault(garment.category, []).append(hanger)
                rack.setdefault("", []).append(hanger)
    return rack


class Asker:
    """Makes the questions about one outfit.

    Args:
        seed: the world's seed.
        outfits: how many outfits the world has.
        number: the outfit asked about.
        kind: of the wrong answers, one of `KINDS`.
        disjoint: which split the outfit is in, and so where wrong answers come from.
    """

    def __init__(self, seed: int, outfits: int, number: int, kind: str, disjoint: bool = True) -> None:
        self.outfit, self.kind = make_outfit(seed, number), kind
        stream = (number * 2 + disjoint) * len(KINDS) + KINDS.index(kind)
        self.rng = generator(seed, QUESTION_STREAM, stream)
        capsule = number // OUTFITS_PER_CAPSULE
        block = next(b for b in blocks_of(-(-outfits // OUTFITS_PER_CAPSULE)) if capsule in b)
        self.capsule, self.rack = capsule, _rack(seed, outfits, block, split_of(number, disjoint), disjoint)

    def _others(self, place: int) -> list[_Hanger]:
        """Garments of other capsules that may be asked about in a place of the outfit, in an order by chance."""
        category = self.outfit.garments[place].category if self.kind == "typed" else ""
        hangers = [hanger for hanger in self.rack[category] if hanger.capsule != self.capsule]
        return [hangers[int(k)] for k in self.rng.permutation(len(hangers))]

    def blank(self) -> Question:
        """A blank at a place by chance; a place for which there are too few wrong answers is passed over.

        Raises:
            ValueError: there is no such place.
        """
        garments, keys = list(self.outfit.garments), self.outfit.keys()
        for place in (int(k) for k in self.rng.permutation(len(garments))):
            wrong: dict[int, str] = {}
            for hanger in self._others(place):
                if not is_compatible([*garments[:place], hanger.garment, *garments[place + 1 :]]):
                    wrong.setdefault(hanger.garment.index, hanger.key)
                if len(wrong) == WRONG_ANSWERS:
                    rest = (*keys[:place], *keys[place + 1 :])
                    return Question(rest, place + 1, (keys[place], *wrong.values()))
        raise ValueError(self._too_few())

    def clash(self) -> tuple[str, ...]:
        """Keys of as many garments as the outfit has that do not go together.

        Where no other outfit has the category of a garment, a typed one keeps the garment.

        Raises:
            ValueError: there are none.
        """
        own = [_Hanger(g, key, self.capsule) for g, key in zip(self.outfit.garments, self.outfit.keys(), strict=True)]
        choices = [self._others(place) or [own[place]] for place in range(len(own))]
        for _ in range(_TRIES):
            drawn = [hangers[int(self.rng.integers(len(hangers)))] for hangers in choices]
            garments = [hanger.garment for hanger in drawn]
            if len({garment.index for garment in garments}) == len(garments) and not is_compatible(garments):
                return tuple(hanger.key for hanger in drawn)
        raise ValueError(self._too_few())

    def _too_few(self) -> str:
        return (
            f"outfit {self.outfit.set_id}: its split has too few other outfits to find {self.kind} wrong answers in; "
            "ask for more --outfits, or another --seed"
        )
