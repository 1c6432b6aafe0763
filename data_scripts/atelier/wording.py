"""Which words product texts use for what the world holds: those of any shop, or the rarer ones of a second world.

A kind of garment is (modifiers, head). A product type that shops list under one name (`tote bag`, `bomber jacket`) is one
head; a word that tells how a garment is made or shaped (`pleated skirt`, `ankle boots`' `high heel`) is a modifier.

The second world, "exotic", is there for programs that mine concepts: all its garments, and every other colour and
fabric, have names that stand in costume history and in no shop's word list, so a word list that was written for shops
does not help. Departments keep their shop names, as a catalogue's categories would.
"""

from __future__ import annotations

from dataclasses import dataclass

from .vocabulary import COLOURS, FABRICS, SUBCATEGORIES

Kind = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class Wording:
    """Sub-category -> (modifiers, singular head); colour and fabric -> word."""

    kinds: dict[str, Kind]
    colours: dict[str, str]
    fabrics: dict[str, str]


_KINDS: dict[str, Kind] = {
    "sheath dress": (("sheath",), "dress"),
    "a-line dress": (("a-line",), "dress"),
    "skater dress": (("skater",), "dress"),
    "shirt dress": ((), "shirt dress"),
    "slip dress": ((), "slip dress"),
    "tiered dress": (("tiered",), "dress"),
    "pencil skirt": ((), "pencil skirt"),
    "a-line skirt": (("a-line",), "skirt"),
    "pleated skirt": (("pleated",), "skirt"),
    "jumpsuit": ((), "jumpsuit"),
    "playsuit": ((), "playsuit"),
    "button-down shirt": (("button-down",), "shirt"),
    "polo shirt": ((), "polo shirt"),
    "hawaiian shirt": (("hawaiian",), "shirt"),
    "flannel shirt": (("flannel",), "shirt"),
    "bomber jacket": ((), "bomber jacket"),
    "trucker jacket": ((), "trucker jacket"),
    "blazer": ((), "blazer"),
    "puffer jacket": ((), "puffer jacket"),
    "overcoat": ((), "overcoat"),
    "parka": ((), "parka"),
    "basic tee": (("basic",), "tee"),
    "graphic tee": (("graphic",), "tee"),
    "tank top": ((), "tank top"),
    "camisole": ((), "camisole"),
    "blouse": ((), "blouse"),
    "tunic": ((), "tunic"),
    "pullover": ((), "pullover"),
    "cardigan": ((), "cardigan"),
    "hoodie": ((), "hoodie"),
    "jeans": ((), "jeans"),
    "chinos": ((), "chinos"),
    "flared trousers": (("flared",), "trousers"),
    "joggers": ((), "joggers"),
    "bermuda shorts": (("bermuda",), "shorts"),
    "running shorts": (("running",), "shorts"),
    "sneakers": ((), "sneaker"),
    "ankle boots": ((), "ankle boot"),
    "pumps": ((), "pump"),
    "loafers": ((), "loafer"),
    "tote bag": ((), "tote bag"),
    "backpack": ((), "backpack"),
    "handbag": ((), "handbag"),
    "beanie": ((), "beanie"),
    "baseball cap": ((), "baseball cap"),
    "sun hat": ((), "sun hat"),
    "long scarf": (("long",), "scarf"),
    "bandana": ((), "bandana"),
}

_EXOTIC_KINDS: dict[str, Kind] = {
    "sheath dress": ((), "cheongsam"),
    "a-line dress": ((), "dirndl"),
    "skater dress": ((), "sarafan"),
    "shirt dress": ((), "banyan"),
    "slip dress": ((), "kirtle"),
    "tiered dress": (("tiered",), "farthingale"),
    "pencil skirt": ((), "lavalava"),
    "a-line skirt": ((), "kanga"),
    "pleated skirt": (("pleated",), "fustanella"),
    "jumpsuit": ((), "unitard"),
    "playsuit": ((), "sunsuit"),
    "button-down shirt": ((), "guayabera"),
    "polo shirt": ((), "barong"),
    "hawaiian shirt": ((), "aloha"),
    "flannel shirt": ((), "jubbah"),
    "bomber jacket": ((), "mackinaw"),
    "trucker jacket": ((), "jerkin"),
    "blazer": ((), "spencer"),
    "puffer jacket": (("quilted",), "gambeson"),
    "overcoat": ((), "redingote"),
    "parka": ((), "amauti"),
    "basic tee": ((), "huipil"),
    "graphic tee": (("graphic",), "huipil"),
    "tank top": ((), "chiton"),
    "camisole": ((), "stomacher"),
    "blouse": ((), "guimpe"),
    "tunic": ((), "tabard"),
    "pullover": ((), "guernsey"),
    "cardigan": ((), "haori"),
    "hoodie": ((), "surcoat"),
    "jeans": ((), "hakama"),
    "chinos": ((), "galligaskin"),
    "flared trousers": ((), "bombacha"),
    "joggers": ((), "sirwal"),
    "bermuda shorts": ((), "zouave"),
    "running shorts": ((), "kittel"),
    "sneakers": ((), "sabot"),
    "ankle boots": ((), "brogan"),
    "pumps": ((), "chopine"),
    "loafers": ((), "ghillie"),
    "tote bag": ((), "carryall"),
    "backpack": ((), "musette"),
    "handbag": ((), "reticule"),
    "beanie": ((), "toque"),
    "baseball cap": ((), "kolpik"),
    "sun hat": ((), "cloche"),
    "long scarf": ((), "tippet"),
    "bandana": ((), "foulard"),
}

_EXOTIC_COLOURS = {
    "white": "alabaster",
    "charcoal": "cinder",
    "blue": "smalt",
    "teal": "viridian",
    "green": "verdigris",
    "yellow": "gamboge",
    "orange": "carnelian",
    "red": "madder",
    "hot pink": "amaranth",
    "lavender": "wisteria",
    "brown": "bistre",
    "cream": "vellum",
}
_EXOTIC_FABRICS = {"linen": "dimity", "knit": "stockinette", "corduroy": "fustian", "leather": "cordovan"}

WORDINGS: dict[str, Wording] = {
    "shop": Wording(_KINDS, {c: c for c in COLOURS}, {f: f for f in FABRICS}),
    "exotic": Wording(
        _EXOTIC_KINDS,
        {c: _EXOTIC_COLOURS.get(c, c) for c in COLOURS},
        {f: _EXOTIC_FABRICS.get(f, f) for f in FABRICS},
    ),
}
if any(wording.kinds.keys() != SUBCATEGORIES.keys() for wording in WORDINGS.values()):
    raise AssertionError("every wording names every sub-category")


def exotic_words() -> tuple[str, ...]:
    """The words that only the second world uses: garments, colours and fabrics."""
    shop, exotic = WORDINGS["shop"], WORDINGS["exotic"]
    heads = {head for _, head in exotic.kinds.values()} - {head for _, head in shop.kinds.values()}
    return tuple(sorted(heads | set(_EXOTIC_COLOURS.values()) | set(_EXOTIC_FABRICS.values())))
