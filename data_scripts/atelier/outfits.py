"""From a seed to outfits: capsule wardrobes, each of one season, one formality and one colour scheme.

A capsule is a small set of garments of one theme, two for a place on the body where the shop has any, and four outfits
made of them. Its garments occur in no other capsule: splitting capsules splits designs. Everything is a function of
(seed, number of the capsule).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .designs import BRANDS, contrasts, finished_garment, garment_id, generator
from .garment import Garment
from .outfit_rule import (
    HUES,
    LARGEST_STEP,
    NEIGHBOURS,
    NEUTRALS,
    SLOT_ORDER,
    WHEEL,
    colour_scheme,
    colours_of,
    hues_of,
    worn_in,
)
from .vocabulary import CATEGORIES, SEASONS, SUBCATEGORIES, SubCategory

OUTFIT_STREAM, QUESTION_STREAM, COUNTER_STREAM = 7, 8, 9  # beside the streams of designs.py and product_texts.py
OUTFITS_PER_CAPSULE = 4
GARMENTS_PER_SLOT = 2
CAPSULE_SIZE = GARMENTS_PER_SLOT * len(SLOT_ORDER)
#: Index of the first garment of capsule 0, after those of the largest world.
FIRST_INDEX = 1_000_000
#: One more than the last index of the largest world's outfits, of which there are 1,000,000.
END_INDEX = FIRST_INDEX + 1_000_000 // OUTFITS_PER_CAPSULE * CAPSULE_SIZE
LEAST_ITEMS = 4
SCHEMES = ("accent", "analogous", "complementary")

# Capsules follow a fixed cycle, so that the smallest world has all splits and shares are exact: 6, 2 and 2 of 10.
_SPLITS = ("train", "train", "test", "train", "val", "train", "test", "train", "val", "train")
_KINDS = {slot: [s for s in SUBCATEGORIES.values() if CATEGORIES[s.category].slot == slot] for slot in SLOT_ORDER}
_FIRST_SET = 200_000_000
_NEUTRAL_SHARE = 0.3
_ONE_PIECE_SHARE, _EXTRA_SHARE = 0.35, 0.75
_LEAST_COLOURED = 2  # garments of an outfit in other colours than neutrals, or else nothing could clash with it


@dataclass(frozen=True)
class Outfit:
    """Garments that go together.

    Attributes:
        number: position in the world, from 0.
        season: one in which all are worn. formality: the lowest of its garments. scheme: one of `SCHEMES`.
        garments: 4 to 7, from head to toe.
    """

    number: int
    season: str
    formality: int
    scheme: str
    garments: tuple[Garment, ...]

    @property
    def set_id(self) -> str:
        """Its id in the official files."""
        return set_id_of(self.number)

    def key(self, place: int) -> str:
        """Name of its garment at a place from 0, as questions give it."""
        return f"{self.set_id}_{place + 1}"

    def keys(self) -> tuple[str, ...]:
        """Names of all its garments."""
        return tuple(self.key(place) for place in range(len(self.garments)))


def set_id_of(number: int) -> str:
    """The id of an outfit in the official files, a number like those of Polyvore."""
    return str(_FIRST_SET + number)


def number_of(set_id: str) -> int:
    """The number of an outfit from its id."""
    return int(set_id) - _FIRST_SET


def split_of(number: int, disjoint: bool = True) -> str:
    """Split of an outfit: "train", "val" or "test"; not `disjoint`, capsules are torn apart and share garments."""
    return _SPLITS[(number // OUTFITS_PER_CAPSULE if disjoint else number) % len(_SPLITS)]


def _pick(rng: np.random.Generator, values):
    return values[int(rng.integers(len(values)))]


def _draw_palette(rng: np.random.Generator) -> tuple[str, ...]:
    """The colours beside neutrals of one capsule."""
    first, scheme = int(rng.integers(HUES)), _pick(rng, SCHEMES)
    steps = {"accent": (0,), "analogous": range(NEIGHBOURS), "complementary": (0, HUES // 2)}[scheme]
    hues = {(first + step) % HUES for step in steps}
    return tuple(colour for colour, hue in WHEEL.items() if hue in hues)


def _draw_colour(rng: np.random.Generator, palette: tuple[str, ...]) -> str:
    return _pick(rng, NEUTRALS if rng.random() < _NEUTRAL_SHARE else palette)


def _draw_garment(
    rng: np.random.Generator, slot: str, season: str, formality: int, palette: tuple[str, ...], identity: dict
) -> Garment | None:
    """A garment for a place on the body; None where the shop has none for the season and formality."""
    for _ in range(40):
        kind: SubCategory = _pick(rng, _KINDS[slot])
        attributes = {name: _pick(rng, values) for name, values in kind.choices.items()}
        colour = _draw_colour(rng, palette)
        seconds = [c for c in (*NEUTRALS, *palette) if contrasts(c, [colour])]
        attributes |= {"colour": colour, "second_colour": _pick(rng, seconds)}
        style, brand = _pick(rng, kind.styles), _pick(rng, BRANDS)
        garment = finished_garment(kind, attributes, style=style, brand=brand, **identity)
        if season in worn_in(garment) and formality <= garment.formality <= formality + LARGEST_STEP:
            return garment
    return None


def _draw_outfit(rng: np.random.Generator, wardrobe: dict[str, list[Garment]]) -> tuple[Garment, ...]:
    """One garment for the body or two, shoes, and what else the wardrobe has, each with some luck."""
    whole = "one-piece" in wardrobe and ("top" not in wardrobe or "bottom" not in wardrobe or
                                         rng.random() < _ONE_PIECE_SHARE)  # fmt: skip
    needed = {"one-piece", "shoes"} if whole else {"top", "bottom", "shoes"}
    excluded = {"top", "bottom"} if whole else {"one-piece"}
    return tuple(
        _pick(rng, wardrobe[slot])
        for slot in SLOT_ORDER
        if slot in wardrobe and slot not in excluded and (slot in needed or rng.random() < _EXTRA_SHARE)
    )


def _is_worth_asking(garments: tuple[Garment, ...]) -> bool:
    coloured = sum(any(colour in WHEEL for colour in colours_of(garment)) for garment in garments)
    return len(garments) >= LEAST_ITEMS and coloured >= _LEAST_COLOURED


@lru_cache(maxsize=1024)
def make_capsule(seed: int, number: int) -> tuple[Outfit, ...]:
    """The four outfits of one capsule.

    Args:
        seed: the world's seed, 0 or larger.
        number: the capsule's number; its outfits are ``4 * number`` to ``4 * number + 3``.
    """
    rng = generator(seed, OUTFIT_STREAM, number)
    while True:  # a season and formality for which the shop has too little, such as summer gala, is drawn again
        season, formality, palette = _pick(rng, SEASONS), int(rng.integers(4)), _draw_palette(rng)
        wardrobe = _draw_wardrobe(rng, seed, number, season, formality, palette)
        if "shoes" not in wardrobe or not ("one-piece" in wardrobe or {"top", "bottom"} <= wardrobe.keys()):
            continue
        outfits: dict[tuple[int, ...], tuple[Garment, ...]] = {}
        for _ in range(40):
            garments = _draw_outfit(rng, wardrobe)
            if len(outfits) < OUTFITS_PER_CAPSULE and _is_worth_asking(garments):
                outfits.setdefault(tuple(garment.index for garment in garments), garments)
        if len(outfits) == OUTFITS_PER_CAPSULE:
            first = number * OUTFITS_PER_CAPSULE
            return tuple(
                Outfit(
                    first + k, season, min(g.formality for g in garments), colour_scheme(hues_of(garments)), garments
                )
                for k, garments in enumerate(outfits.values())
            )


def _draw_wardrobe(
    rng: np.random.Generator, seed: int, number: int, season: str, formality: int, palette: tuple[str, ...]
) -> dict[str, list[Garment]]:
    """Garments of a capsule by their place on the body; places for which the shop has nothing are left out."""
    wardrobe: dict[str, list[Garment]] = {}
    for place, slot in enumerate(SLOT_ORDER):
        for member in range(GARMENTS_PER_SLOT):
            index = FIRST_INDEX + number * CAPSULE_SIZE + place * GARMENTS_PER_SLOT + member
            identity = {"id": garment_id(seed, index), "index": index, "design_id": f"O{number:06d}-{slot}"}
            identity |= {"member": member, "split": split_of(number * OUTFITS_PER_CAPSULE)}
            garment = _draw_garment(rng, slot, season, formality, palette, identity)
            if garment is not None:
                wardrobe.setdefault(slot, []).append(garment)
    return wardrobe


def make_outfit(seed: int, number: int) -> Outfit:
    """The outfit at one position of the world."""
    return make_capsule(seed, number // OUTFITS_PER_CAPSULE)[number % OUTFITS_PER_CAPSULE]


def outfit_garment(seed: int, index: int) -> Garment:
    """The garment of a capsule with an index from `FIRST_INDEX`.

    Raises:
        KeyError: no outfit of the capsule has it.
    """
    outfits = make_capsule(seed, (index - FIRST_INDEX) // CAPSULE_SIZE)
    return {garment.index: garment for outfit in outfits for garment in outfit.garments}[index]
