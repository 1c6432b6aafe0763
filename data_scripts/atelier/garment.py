"""The model of a garment: everything the world knows about one product."""

from dataclasses import asdict, dataclass, fields

from .vocabulary import CATEGORIES, ORDERED, SUBCATEGORIES, VISIBLE


@dataclass(frozen=True)
class Garment:
    """One product of the shop.

    The visible attributes (`vocabulary.VISIBLE`) decide the picture and the captions; an attribute that the kind of
    garment does not have is None. Season, formality, style, wearer and slot are what an outfit rule looks at; category,
    sub-category and the attributes are the levels of a concept hierarchy.

    Attributes:
        id: ten upper-case characters, "AT" and eight more, like a shop number.
        index: position in the world, from 0; the garment's own random generator is keyed by (seed, index).
        design_id: the design whose variants differ from one another in one to three visible attributes.
        member: position inside the design.
        split: "train", "val" or "test"; one design is never in two splits.
        buttons, pockets: how many can be counted on the front.
        seasons: when it is worn. formality: 0 (sport) to 4 (gala). warmth: 0 (beach) to 4 (snow).
    """

    id: str
    index: int
    design_id: str
    member: int
    split: str
    category: str
    subcategory: str
    brand: str
    colour: str
    pattern: str
    second_colour: str | None
    fabric: str
    sleeve: str | None = None
    sleeve_style: str | None = None
    neckline: str | None = None
    length: str | None = None
    fit: str | None = None
    closure: str | None = None
    buttons: int | None = None
    pockets: int | None = None
    detail: str | None = None
    graphic: str | None = None
    heel: str | None = None
    strap: str | None = None
    seasons: tuple[str, ...] = ()
    formality: int = 1
    warmth: int = 1
    style: str = "casual"
    wearer: str = "women"

    @property
    def slot(self) -> str:
        """Place in an outfit: "top", "bottom", "one-piece", "outer", "shoes", "bag", "head" or "neck"."""
        return CATEGORIES[self.category].slot

    @property
    def fashioniq_category(self) -> str | None:
        """Official FashionIQ category ("dress", "shirt", "toptee"), None for garments outside it."""
        return CATEGORIES[self.category].fashioniq

    @property
    def silhouette(self) -> str:
        """Name of the outline that is drawn."""
        return SUBCATEGORIES[self.subcategory].silhouette

    def visible(self) -> dict[str, str | int | None]:
        """The attributes a picture shows, in the order of `vocabulary.VISIBLE`."""
        return {name: getattr(self, name) for name in VISIBLE}

    def as_row(self) -> dict:
        """A JSON-able row with the derived properties written out."""
        row = asdict(self)
        row["seasons"] = list(self.seasons)
        return row | {"slot": self.slot, "fashioniq_category": self.fashioniq_category}

    @classmethod
    def from_row(cls, row: dict) -> "Garment":
        """The garment of a row of ``garments.jsonl``.

        Raises:
            ValueError: a field is missing; the message names it.
        """
        names = [f.name for f in fields(cls)]
        missing = [name for name in names if name not in row]
        if missing:
            raise ValueError(f"garment row {row.get('id', '?')} lacks {', '.join(missing)}; make the world again")
        return cls(**{name: row[name] for name in names} | {"seasons": tuple(row["seasons"])})


def position(attribute: str, value: str | int | None) -> int | None:
    """Place of a value in its order (longer, looser, higher = larger); None where there is no order or no value."""
    if value is None:
        return None
    if attribute in ("buttons", "pockets"):
        return int(value)
    return ORDERED[attribute].index(value) if attribute in ORDERED else None


def differences(reference: Garment, target: Garment) -> tuple[str, ...]:
    """Visible attributes in which two garments differ, in the order of `vocabulary.VISIBLE`.

    What follows from another difference is not counted twice: the second colour of a pattern that only one of them has,
    the buttons of a closure and the shape of a sleeve that only one of them has.
    """
    names = [name for name in VISIBLE if getattr(reference, name) != getattr(target, name)]
    if "second_colour" in names and None in (reference.second_colour, target.second_colour):
        names.remove("second_colour")
    if "buttons" in names and "closure" in names:
        names.remove("buttons")
    if "sleeve_style" in names and None in (reference.sleeve_style, target.sleeve_style):
        names.remove("sleeve_style")
    return tuple(names)
