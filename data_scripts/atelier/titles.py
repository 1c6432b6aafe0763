"""Titles and descriptions as a shop writes them."""

from .garment import Garment
from .phrases import NECK_WORDS, count_words, length_words, pattern_words, with_article
from .vocabulary import PATTERNS, SUBCATEGORIES


def title(garment: Garment) -> str:
    """Product title as a shop writes it."""
    wearer = {"women": "Women's", "men": "Men's", "unisex": "Unisex"}[garment.wearer]
    words = [garment.brand, wearer, garment.fabric.title()]
    if garment.fit == "slim" and garment.category not in ("hat",):
        words.append("Slim")
    if garment.pattern != "solid":
        words.append(PATTERNS[garment.pattern][0].title())
    if garment.sleeve is not None:
        words.append("Sleeveless" if garment.sleeve == "sleeveless" else f"{garment.sleeve.title()}-Sleeve")
    words.append(SUBCATEGORIES[garment.subcategory].name.title())
    colours = garment.colour.title() + (f"/{garment.second_colour.title()}" if garment.second_colour else "")
    return f"{' '.join(words)}, {colours}"


def description(garment: Garment) -> str:
    """Two or three sentences of catalogue prose; every visible attribute is named."""
    parts = [
        f"This {garment.style} {garment.subcategory} by {garment.brand} comes in {garment.colour} {garment.fabric}"
    ]
    if garment.pattern != "solid":
        parts[0] += f" with {pattern_words(garment)}"
    has = []
    if garment.neckline:
        has.append(NECK_WORDS[garment.neckline])
    if garment.sleeve:
        style = "" if garment.sleeve_style in (None, "regular") else f" {garment.sleeve_style}"
        has.append("no sleeves" if garment.sleeve == "sleeveless" else f"{garment.sleeve}{style} sleeves")
    if garment.closure == "buttons":
        has.append(count_words(garment.buttons, "button"))
    elif garment.closure not in (None, "none"):
        has.append({"zip": "a zipper", "laces": "laces", "buckle": "a buckle", "tie": "a drawstring"}[garment.closure])
    if garment.pockets:
        has.append(count_words(garment.pockets, "pocket"))
    if garment.detail not in (None, "none"):
        words = {
            "belt": "a belt",
            "bow": "a bow",
            "pompom": "a pompom",
            "tassel": "a tassel",
            "fringe": "fringes",
            "band": with_article(f"{garment.second_colour} band"),
            "contrast trim": f"{garment.second_colour} trim",
        }
        has.append(words.get(garment.detail, garment.detail))
    if garment.graphic not in (None, "none"):
        has.append(f"{garment.second_colour} {garment.graphic} on the front")
    if garment.heel:
        has.append({"flat": "a flat sole", "low": "a low heel", "high": "a high heel"}[garment.heel])
    if garment.strap:
        has.append("no handle" if garment.strap == "none" else f"a {garment.strap} handle")
    if has:
        parts.append("It has " + ", ".join(has[:-1]) + (" and " if len(has) > 1 else "") + has[-1])
    if garment.length:
        fit = f" with a {garment.fit} cut" if garment.fit else ""
        parts.append(
            f"{length_words(garment)[garment.length].capitalize()}{fit}, made for {' and '.join(garment.seasons)}"
        )
    else:
        parts.append(f"Made for {' and '.join(garment.seasons)}")
    return ". ".join(parts) + "."
