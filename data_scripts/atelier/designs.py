"""From a seed to garments: every design is a full grid of variants over three attributes, three by two by three.

A design is the unit of the world: its eighteen garments share everything but three attributes ("axes"). Any two of them
differ in one to three visible attributes, and for every query the garments that miss exactly one of the asked changes
are in the gallery: the picture alone cannot tell them apart, and neither can the sentence, which other designs satisfy.
"""

from functools import lru_cache

import numpy as np

from .garment import Garment
from .vocabulary import (
    CATEGORIES,
    COLOUR_WEIGHTS,
    COLOURS,
    SEASONS,
    SLEEVES,
    SUBCATEGORIES,
    SubCategory,
)

#: Values on each axis of a design, garments per design, and per CIRR group (the last axis separates the groups).
AXIS_SIZES = (3, 2, 3)
DESIGN_SIZE = 18
GROUP_SIZE = 6

# One generator per (seed, stream, number): nothing depends on the order in which the world is made.
DESIGN_STREAM, PAIR_STREAM, PICTURE_STREAM, GROUP_STREAM, VIEW_STREAM = 1, 2, 3, 4, 5

# Departments and splits follow fixed cycles, so that the smallest world has all of them and shares are exact.
_LANES = ("dress", "shirt", "toptee", None, "dress", "toptee", "shirt")
_SPLITS = ("train", "val", "test", "train", "val", "train", "train", "val", "train", "train")

BRANDS = (
    "Marlowe", "Ostara", "Velline", "Corvane", "Lindqvale", "Tamsin Fog", "Halden", "Brisa", "Odalie", "Quillon",
    "Rue Nord",
    "Pemberlane", "Sorrel", "Kestrin", "Avonlea Mill", "Novarre", "Fennick", "Juniper Row", "Castellane", "Ingram Yard",
)  # fmt: skip
_ID_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWX"
_COLOUR_NAMES = tuple(COLOURS)
_COLOUR_SHARES = np.array([COLOUR_WEIGHTS[c] for c in _COLOUR_NAMES], dtype=np.float64)
# How much each attribute is wanted as an axis; what changes a picture most is what shoppers speak about most.
_AXIS_WEIGHTS = {
    "colour": 7.0, "pattern": 4.0, "sleeve": 3.5, "length": 3.0, "neckline": 3.0, "second_colour": 1.5, "buttons": 1.5,
    "closure": 1.5, "pockets": 1.2, "detail": 2.0, "graphic": 3.0, "sleeve_style": 1.2, "fit": 1.5, "heel": 3.0,
    "strap": 2.0, "fabric": 0.7,
}  # fmt: skip


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """The random generator of one thing in one stream of one world."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream, number])))


def lane_and_split(number: int) -> tuple[str | None, str]:
    """FashionIQ category (None: outside it) and split of a design, by its number alone."""
    cycle, place = divmod(number, len(_LANES))
    lane = _LANES[place]
    turn = cycle * _LANES.count(lane) + _LANES[:place].count(lane)
    return lane, _SPLITS[turn % len(_SPLITS)]


def garment_id(seed: int, index: int) -> str:
    """Ten characters, unique in the world; a bijective mix of 40 bits, so neighbours do not look alike."""
    mask = (1 << 40) - 1
    value = (index * 0x9E3779B97F + seed * 0xD1B54A32D1 + 0x5851F42D4C) & mask
    value ^= value >> 19
    value = (value * 0xC2B2AE3D27) & mask
    value ^= value >> 23
    value = (value * 0xBF58476D1D) & mask
    value ^= value >> 20
    return "AT" + "".join(_ID_LETTERS[(value >> shift) & 31] for shift in range(35, -1, -5))


def _pick(rng: np.random.Generator, values: tuple):
    return values[int(rng.integers(len(values)))]


def _weighted(rng: np.random.Generator, names: list, weights: list[float]):
    mark = rng.random() * sum(weights)
    for name, weight in zip(names, weights, strict=True):
        mark -= weight
        if mark < 0:
            return name
    return names[-1]


def contrasts(colour: str, others: list[str]) -> bool:
    """Whether a colour can be told from every other one on a small picture."""
    red, green, blue = COLOURS[colour]
    for other in others:
        r, g, b = COLOURS[other]
        if abs(red - r) + abs(green - g) + abs(blue - b) < 120:
            return False
    return True


def _draw_colours(rng: np.random.Generator, count: int, taken: list[str]) -> list[str]:
    drawn: list[str] = []
    while len(drawn) < count:
        colour = _weighted(rng, list(_COLOUR_NAMES), list(_COLOUR_SHARES))
        if contrasts(colour, taken + drawn):
            drawn.append(colour)
    return drawn


def _choose_axes(rng: np.random.Generator, base: dict, choices: dict[str, tuple]) -> list[str]:
    """Three attributes that may vary independently of one another, with at least the values of `AXIS_SIZES`."""
    sizes = {name: len(values) for name, values in choices.items() if len(values) > 1}
    sizes |= {"colour": len(COLOURS)}
    uses_second = base["pattern"] != "solid" or base.get("graphic", "none") != "none"
    if uses_second:
        sizes["second_colour"] = len(COLOURS)
    if "buttons" in sizes and base.get("closure") != "buttons":
        del sizes["buttons"]
    if base.get("sleeve") in ("sleeveless", "cap"):
        sizes.pop("sleeve_style", None)  # a sleeve that is not there has no shape
    axes: list[str] = []
    for count in (AXIS_SIZES[0], AXIS_SIZES[2], AXIS_SIZES[1]):  # the long axes first: fewer attributes can be one
        names = [n for n, size in sizes.items() if n not in axes and size >= count]
        if "second_colour" in axes:  # what switches the second colour off cannot vary beside it
            names = [n for n in names if n not in ("pattern", "graphic", "detail")]
        if {"pattern", "graphic", "detail"} & set(axes):
            names = [n for n in names if n != "second_colour"]
        if "buttons" in axes:
            names = [n for n in names if n != "closure"]
        if "closure" in axes:
            names = [n for n in names if n != "buttons"]
        if "sleeve_style" in axes:
            names = [n for n in names if n != "sleeve"]
        if "sleeve" in axes:
            names = [n for n in names if n != "sleeve_style"]
        axes.append(_weighted(rng, names, [_AXIS_WEIGHTS[n] for n in names]))
    return [axes[0], axes[2], axes[1]]


def _axis_values(rng: np.random.Generator, name: str, count: int, base: dict, choices: dict, colours: dict) -> list:
    if name in ("colour", "second_colour"):
        return colours[name][:count]
    values = [base[name]] + [v for v in _shuffled(rng, choices[name]) if v != base[name]]
    return values[:count]


def _shuffled(rng: np.random.Generator, values: tuple) -> list:
    return [values[int(i)] for i in rng.permutation(len(values))]


def _seasons(warmth: int) -> tuple[str, ...]:
    spring, summer, autumn, winter = SEASONS
    return ((summer,), (spring, summer), (spring, autumn), (autumn, winter), (winter,))[min(warmth, 4)]


def _complete(values: dict) -> dict:
    """Set to None what the other values make meaningless, so that equal pictures have equal attributes."""
    trimmed = values.get("detail") in ("contrast trim", "band")
    if values["pattern"] == "solid" and values.get("graphic", "none") == "none" and not trimmed:
        values["second_colour"] = None
    if "buttons" in values and values.get("closure") != "buttons":
        values["buttons"] = 0
    if values.get("sleeve") in ("sleeveless", "cap"):
        values["sleeve_style"] = None
    return values


def finished_garment(kind: SubCategory, attributes: dict, **identity) -> Garment:
    """A garment from the values of its attributes; what follows from them is worked out.

    Args:
        kind: its sub-category.
        attributes: a value for every attribute of the kind and both colours.
        identity: id, index, design_id, member, split, brand and style.
    """
    attributes = _complete(attributes)
    warmth = kind.warmth + (attributes["fabric"] in ("wool", "knit", "leather", "corduroy"))
    warmth += SLEEVES.index(attributes["sleeve"]) >= 4 if attributes.get("sleeve") else 0
    formality = kind.formality + (attributes["fabric"] == "satin") - (attributes.get("graphic", "none") != "none")
    return Garment(
        category=kind.category,
        subcategory=kind.name,
        seasons=_seasons(warmth),
        formality=min(max(formality, 0), 4),
        warmth=min(warmth, 4),
        wearer=kind.wearer,
        **identity,
        **attributes,
    )


@lru_cache(maxsize=64)
def make_design(seed: int, number: int) -> tuple[Garment, ...]:
    """The eighteen garments of one design.

    Args:
        seed: the world's seed, 0 or larger.
        number: the design's number; its garments have the indices ``18 * number`` to ``18 * number + 17``.
    """
    rng = generator(seed, DESIGN_STREAM, number)
    lane, split = lane_and_split(number)
    categories = [c.name for c in CATEGORIES.values() if c.fashioniq == lane]
    kinds = [s for s in SUBCATEGORIES.values() if s.category in categories]
    kind = kinds[int(rng.integers(len(kinds)))]
    choices = kind.choices
    base = {name: _pick(rng, values) for name, values in choices.items()}
    if "graphic" in choices and len(choices["graphic"]) > 2 and rng.random() < 0.6:
        base["pattern"] = "solid" if "solid" in choices["pattern"] else base["pattern"]
        base["graphic"] = _pick(rng, tuple(g for g in choices["graphic"] if g != "none"))
    axes = _choose_axes(rng, base, choices)
    seconds = _draw_colours(rng, 3, [])
    colours = {"second_colour": seconds}
    colours["colour"] = _draw_colours(rng, 3, seconds if "second_colour" in axes else seconds[:1])
    base |= {"colour": colours["colour"][0], "second_colour": seconds[0]}

    values = [_axis_values(rng, n, count, base, choices, colours) for n, count in zip(axes, AXIS_SIZES, strict=True)]
    grid = [[(first, second, last) for first in values[0] for second in values[1]] for last in values[2]]
    brand, style = _pick(rng, BRANDS), _pick(rng, kind.styles)
    garments: list[Garment] = []
    for group in grid:
        for variant in _shuffled(rng, tuple(group)):
            attributes = base | dict(zip(axes, variant, strict=True))
            index = number * DESIGN_SIZE + len(garments)
            garments.append(
                finished_garment(
                    kind,
                    attributes,
                    id=garment_id(seed, index),
                    index=index,
                    design_id=f"D{number:06d}",
                    member=len(garments),
                    split=split,
                    brand=brand,
                    style=style,
                )
            )
    return tuple(garments)


def make_garment(seed: int, index: int) -> Garment:
    """The garment at one position of the world, without making the others (but its design)."""
    return make_design(seed, index // DESIGN_SIZE)[index % DESIGN_SIZE]
