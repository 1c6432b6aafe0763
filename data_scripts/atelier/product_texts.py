"""Title and description of a product as FashionGen's shops write them, with every concept in them known.

    texts = product_texts(seed, garment)
    texts.title        "Navy Floral Satin Slip Dress"
    texts.description  "A party slip dress in navy satin. White floral print. Thin straps. Knee length. Made in Portugal."
    texts.fathers()    {"navy floral satin slip dress": "floral satin slip dress", ...}

All that a picture shows is said, in an order and with words that differ from product to product; so is some of what it
does not show (brand, wearer, care), which is no concept. The words are functions of (seed, index) and of the wording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .concepts import ALWAYS_PLURAL, NounPhrase, Silent, Text
from .designs import generator
from .garment import Garment
from .phrases import with_article
from .wording import WORDINGS, Wording

TEXT_STREAM = 6  # beside the streams of designs.py
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SMALL = ("shoes", "bag", "hat", "scarf")

# Pattern -> the modifiers that name it in front of a garment, and the phrase that names it behind one.
_PATTERNS: dict[str, tuple[tuple[str, ...], NounPhrase]] = {
    "horizontal stripes": (("striped",), NounPhrase(("horizontal",), "stripe", plural=True)),
    "vertical stripes": (("striped",), NounPhrase(("vertical",), "stripe", plural=True)),
    "diagonal stripes": (("striped",), NounPhrase(("diagonal",), "stripe", plural=True)),
    "polka dots": (("polka dot",), NounPhrase((), "polka dot", plural=True)),
    "gingham": (("gingham",), NounPhrase(("gingham",), "check")),
    "plaid": (("plaid",), NounPhrase(("plaid",), "pattern")),
    "floral": (("floral",), NounPhrase(("floral",), "print")),
    "zigzag": (("zigzag",), NounPhrase(("zigzag",), "pattern")),
    "color block": (("color block",), NounPhrase(("color block",), "panel", plural=True)),
    "argyle": (("argyle",), NounPhrase(("argyle",), "pattern")),
    "animal print": (("animal print",), NounPhrase(("animal",), "print")),
}
_NECKS: dict[str, NounPhrase] = {
    "crew": NounPhrase(("crew",), "neckline"),
    "v-neck": NounPhrase((), "v-neck"),
    "scoop": NounPhrase(("scoop",), "neckline"),
    "square": NounPhrase(("square",), "neckline"),
    "boat": NounPhrase(("boat",), "neckline"),
    "turtleneck": NounPhrase((), "turtleneck"),
    "collar": NounPhrase(("pointed",), "collar"),
    "band collar": NounPhrase(("band",), "collar"),
    "lapel": NounPhrase(("notched",), "lapel", plural=True),
    "hood": NounPhrase((), "hood"),
    "straps": NounPhrase(("thin",), "strap", plural=True),
    "sweetheart": NounPhrase(("sweetheart",), "neckline"),
    "halter": NounPhrase(("halter",), "neckline"),
    "off-shoulder": NounPhrase(("off-shoulder",), "neckline"),
}
_LENGTHS = {
    "cropped": "cropped", "waist": "waist-length", "hip": "hip-length", "thigh": "thigh-length", "knee": "knee-length",
    "midi": "midi", "maxi": "maxi",
}  # fmt: skip
_SMALL_LENGTHS = {
    "hat": {"waist": "close-fitting", "hip": "slouchy"},
    "scarf": {"cropped": "small", "waist": "large", "hip": "short", "thigh": "mid-length", "knee": "extra-long"},
}
_CARE = ("Dry clean only", "Machine washable", "Fits true to size", "Made to last", "Ships in two days", "")
_SEASONS = ("Made for {}", "Ready for {}", "Keeps you going through {}")


@dataclass(frozen=True)
class ProductTexts:
    """The two texts of a product, and what they are made of."""

    title_text: Text
    sentences: tuple[Text, ...]

    @property
    def title(self) -> str:
        return _title_case(self.title_text.text())

    @property
    def description(self) -> str:
        return " ".join(_first_large(sentence.text()) + "." for sentence in self.sentences)

    def fathers(self) -> dict[str, str]:
        """Concept -> the next shorter one, over both texts in their order."""
        found: dict[str, str] = {}
        for text in (self.title_text, *self.sentences):
            for phrase, father in text.fathers().items():
                found.setdefault(phrase, father)
        return found


def product_texts(seed: int, garment: Garment, wording: str = "shop") -> ProductTexts:
    """The texts of one garment.

    Args:
        seed: the world's seed. garment: what they are about. wording: one of `wording.WORDINGS`.
    """
    return _Writer(seed, garment, WORDINGS[wording]).write()


class _Writer:
    def __init__(self, seed: int, garment: Garment, words: Wording) -> None:
        self.rng = generator(seed, TEXT_STREAM, garment.index)
        self.garment, self.words = garment, words
        self.kind_modifiers, self.head = words.kinds[garment.subcategory]
        self.colour, self.fabric = words.colours[garment.colour], words.fabrics[garment.fabric]
        self.second = words.colours[garment.second_colour] if garment.second_colour else None

    def write(self) -> ProductTexts:
        wearer = {"women": "women's", "men": "men's", "unisex": "unisex"}[self.garment.wearer]
        brand = [self.garment.brand.lower()] if self.rng.random() < 0.3 else []
        modifiers, joined = self._title_modifiers()
        if self.rng.random() < 0.4:
            modifiers = (Silent(wearer), *modifiers)
            joined = None if joined is None else joined + 1
        many = self.garment.category == "shoes"
        title = Text((*brand, NounPhrase(modifiers, self.head, plural=many, joined=joined)))
        sentences = [self._opening(), *self._shuffled(self._facts()), *self._closing()]
        return ProductTexts(title, tuple(sentences))

    def _title_modifiers(self) -> tuple[tuple[str, ...], int | None]:
        """What stands before the head in a title, and where "and" is said between two colours."""
        two = self.garment.pattern != "solid" and self.rng.random() < 0.5
        modifiers = [self.colour, self.second] if two else [self.colour]
        fitted = self.garment.fit in ("slim", "loose") and self.garment.category not in _SMALL
        front = [self.garment.fit] if fitted else []
        pattern = _PATTERNS[self.garment.pattern][0] if self.garment.pattern != "solid" else ()
        # What stands in a kind's own name is not said twice.
        fabric = () if self.fabric in self.kind_modifiers else (self.fabric,)
        tail = (*pattern, *fabric, *self.kind_modifiers)
        return (*front, *modifiers, *tail), (len(front) + 1 if two else None)

    def _opening(self) -> Text:
        """The first sentence: what it is, in which colour and fabric."""
        length = self._length()
        sleeveless = "sleeveless" if self.garment.sleeve == "sleeveless" else None
        modifiers = tuple(m for m in (sleeveless, length, *self.kind_modifiers) if m)
        many = self.garment.category == "shoes"
        choice = int(self.rng.integers(3))
        article = "" if many or self.head in ALWAYS_PLURAL else self._article((*modifiers, self.head)[0])
        if choice == 0:  # long sleeve dress in navy
            kind = NounPhrase(modifiers, self.head, many, article, (("in", NounPhrase((self.colour,), "")),))
            return Text((kind, ",", "cut from", NounPhrase((), self.fabric)))
        if choice == 1:  # a classic dress in navy cotton
            style = self.garment.style
            modifiers = (style, *modifiers)
            article = article and self._article(style)
            cloth = NounPhrase((self.colour,), self.fabric)
            return Text((NounPhrase(modifiers, self.head, many, article, (("in", cloth),)),))
        # this cotton dress comes in navy
        kind = NounPhrase((self.fabric, *modifiers), self.head, many, "these" if many else "this")
        return Text((kind, "come in" if many else "comes in", NounPhrase((self.colour,), "")))

    def _length(self) -> str | None:
        g = self.garment
        if g.length is None or (g.category == "scarf" and g.length == "hip"):
            return None
        names = _SMALL_LENGTHS.get(g.category, _LENGTHS)
        return None if names[g.length] in self.kind_modifiers else names[g.length]

    def _facts(self) -> list[Text]:
        """One phrase for each thing that the picture shows, alone or two in a sentence."""
        phrases = [phrase for phrase in self._parts() if phrase is not None]
        texts, waiting = [], self._shuffled(phrases)
        while waiting:
            take = 2 if len(waiting) > 1 and self.rng.random() < 0.4 else 1
            taken, waiting = waiting[:take], waiting[take:]
            if take == 2:
                first, second = (self._with_article(one) for one in taken)
                texts.append(Text(("it has", first, "and", second)))
            else:
                texts.append(Text((taken[0],)))
        return texts

    def _parts(self) -> list[NounPhrase | None]:
        g = self.garment
        parts: list[NounPhrase | None] = [_NECKS[g.neckline] if g.neckline else None, self._sleeves(), self._closure()]
        if g.pattern != "solid":
            noun = _PATTERNS[g.pattern][1]
            parts.append(NounPhrase((self.second, *noun.modifiers), noun.head, noun.plural))
        if g.pockets:
            parts.append(NounPhrase((Silent(_NUMBERS[g.pockets]), "patch"), "pocket", g.pockets > 1))
        if g.graphic == "lettering":
            parts.append(NounPhrase((self.second,), "lettering"))
        elif g.graphic not in (None, "none"):
            parts.append(NounPhrase((self.second, g.graphic), "print"))
        if g.heel:
            parts.append(NounPhrase((g.heel,), "sole" if g.heel == "flat" else "heel"))
        if g.strap and g.strap != "none":
            parts.append(NounPhrase((g.strap,), "handle"))
        detail = {
            "belt": NounPhrase((), "belt"),
            "bow": NounPhrase((), "bow"),
            "ruffles": NounPhrase((), "ruffle", plural=True),
            "contrast trim": NounPhrase((self.second or "",), "trim"),
            "fringe": NounPhrase((), "fringe"),
            "pompom": NounPhrase((), "pompom"),
            "band": NounPhrase((self.second or "",), "band"),
            "tassel": NounPhrase((), "tassel"),
        }
        return [*parts, detail.get(g.detail or "none")]

    def _sleeves(self) -> NounPhrase | None:
        g = self.garment
        if g.sleeve is None or g.sleeve == "sleeveless":
            return None
        length = {"elbow": "elbow-length"}.get(g.sleeve, g.sleeve)
        style = () if g.sleeve_style in (None, "regular") else (g.sleeve_style,)
        return NounPhrase((length, *style), "sleeve", plural=True)

    def _closure(self) -> NounPhrase | None:
        g = self.garment
        if g.closure == "buttons" and g.buttons:
            return NounPhrase((Silent(_NUMBERS[g.buttons]),), "button", g.buttons > 1)
        return {
            "zip": NounPhrase(("metal",), "zip"),
            "laces": NounPhrase(("cotton",), "lace", plural=True),
            "buckle": NounPhrase((), "buckle"),
            "tie": NounPhrase((), "drawstring"),
        }.get(g.closure or "none")

    def _closing(self) -> list[Text]:
        """What the picture does not show; no concept is in it."""
        said = [self._pick(_SEASONS).format(" and ".join(self.garment.seasons)), self._pick(_CARE)]
        return [Text((one,)) for one in said if one and self.rng.random() < 0.7]

    def _article(self, word: str) -> str:
        return with_article(word).split()[0]

    def _with_article(self, phrase: NounPhrase) -> NounPhrase:
        counted = any(isinstance(one, Silent) for one in phrase.modifiers)
        return phrase if phrase.plural or counted else replace(phrase, article=self._article(phrase.text()))

    def _pick(self, values: tuple):
        return values[int(self.rng.integers(len(values)))]

    def _shuffled(self, values: list) -> list:
        return [values[int(i)] for i in self.rng.permutation(len(values))]


def _first_large(line: str) -> str:
    return line[:1].upper() + line[1:]


def _title_case(line: str) -> str:
    """Every word, and every part of a hyphenated one, with a capital; "and" stays small."""
    return " ".join(
        word if word == "and" else "-".join(_first_large(part) for part in word.split("-")) for word in line.split()
    )
