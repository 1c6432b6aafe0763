"""The hidden style rule: which garments go together. A pure function of the garments; no text of a world states it.

Garments go together when they
    slots        are worn in different places, listed from head to toe; a one-piece leaves no room for top and bottom,
    season       have a season in which all are worn,
    formality    are at most one step of formality apart,
    colours      keep to one scheme: neutrals and one accent, neighbours on the colour wheel, or two opposite hues.

The wheel is the painters' one of twelve hues, on which red faces green; both colours of a pattern count.
"""

from collections.abc import Iterable, Sequence

from .garment import Garment
from .vocabulary import SEASONS

#: Places in an outfit from head to toe, the bag in the hand.
SLOT_ORDER = ("head", "neck", "outer", "top", "one-piece", "bottom", "bag", "shoes")
PARTS = ("slots", "season", "formality", "colours")

#: Colours that go with every other one.
NEUTRALS = ("black", "white", "gray", "charcoal", "cream", "tan", "brown", "navy")
#: The other colours -> their place on the wheel.
WHEEL: dict[str, int] = {
    "red": 0, "burgundy": 0, "coral": 1, "orange": 2, "mustard": 3, "yellow": 4, "olive": 5, "green": 6, "mint": 6,
    "teal": 7, "blue": 8, "light blue": 8, "lavender": 9, "purple": 10, "pink": 11, "hot pink": 11,
}  # fmt: skip
HUES = 12
#: Hues that lie next to one another and look alike.
NEIGHBOURS = 3
LARGEST_STEP = 1


def worn_in(garment: Garment) -> tuple[str, ...]:
    """The seasons in which a garment is worn in an outfit.

    More than its `seasons`, which know its warmth alone: a bag is carried all year, and what covers legs or feet in
    autumn does so in winter, under a coat.
    """
    if garment.slot == "bag":
        return SEASONS
    if garment.slot in ("bottom", "shoes") and "autumn" in garment.seasons and "winter" not in garment.seasons:
        return (*garment.seasons, "winter")
    return garment.seasons


def colours_of(garment: Garment) -> tuple[str, ...]:
    """The named colours in which a garment is drawn."""
    return (garment.colour,) if garment.second_colour is None else (garment.colour, garment.second_colour)


def hues_of(garments: Iterable[Garment]) -> set[int]:
    """Places on the wheel of all colours that are not neutral."""
    return {WHEEL[colour] for garment in garments for colour in colours_of(garment) if colour in WHEEL}


def colour_scheme(hues: Iterable[int]) -> str | None:
    """Name of the scheme that some hues keep to, None where they clash.

    Args:
        hues: places on the wheel, 0 to 11.
    Returns:
        "accent" (at most one hue), "analogous" (inside three neighbours), "complementary" (two opposite ones) or None.
    """
    hues = set(hues)
    if len(hues) <= 1:
        return "accent"
    if any(all((hue - start) % HUES < NEIGHBOURS for hue in hues) for start in hues):
        return "analogous"
    return "complementary" if len(hues) == 2 and abs(min(hues) - max(hues)) == HUES // 2 else None


def _fit_in_slots(garments: Sequence[Garment]) -> bool:
    places = [SLOT_ORDER.index(garment.slot) for garment in garments]
    slots = {garment.slot for garment in garments}
    rising = all(a < b for a, b in zip(places, places[1:], strict=False))
    return rising and not ("one-piece" in slots and slots & {"top", "bottom"})


def broken_parts(garments: Sequence[Garment]) -> tuple[str, ...]:
    """The parts of the rule that garments break, in the order of `PARTS`; none when they go together."""
    common = set(SEASONS).intersection(*(worn_in(garment) for garment in garments))
    levels = [garment.formality for garment in garments]
    kept = {
        "slots": _fit_in_slots(garments),
        "season": bool(common),
        "formality": max(levels) - min(levels) <= LARGEST_STEP,
        "colours": colour_scheme(hues_of(garments)) is not None,
    }
    return tuple(part for part in PARTS if not kept[part])


def is_compatible(garments: Sequence[Garment]) -> bool:
    """Whether garments go together.

    Args:
        garments: at least one, in the order of the outfit.
    """
    return not broken_parts(garments)
