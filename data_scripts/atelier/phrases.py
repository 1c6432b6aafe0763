"""What can be said about a difference, and what that says exactly.

A `Statement` is the meaning of a piece of a sentence ("sleeve is short", "buttons: two more"), a `Phrase` one way to
say it. Captions are put together from phrases, so the meaning of every caption is known and the symbolic oracle of
`oracle.py` can answer it.
"""

from dataclasses import dataclass

from .garment import Garment, position
from .vocabulary import PATTERNS, luminance

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LIGHTNESS_STEP = 30  # grey levels of Rec. 601 luminance from which "darker" and "lighter" are said and understood


@dataclass(frozen=True)
class Statement:
    """One thing a caption claims about the target, given the reference.

    Attributes:
        attribute: the visible attribute it is about.
        operation: "is" and "not" compare with `value`; "more" and "less" compare places in the attribute's order with
            the reference; "plus" asks for the reference's count plus `value`; "darker" and "lighter" compare colours.
        value: see `operation`; None for the comparisons.
    """

    attribute: str
    operation: str
    value: str | int | None = None

    def holds(self, reference: Garment, candidate: Garment) -> bool:
        """Whether the candidate is what is asked for."""
        before, after = getattr(reference, self.attribute), getattr(candidate, self.attribute)
        if self.operation == "is":
            return after == self.value
        if self.operation == "not":
            return after != self.value
        if self.operation == "plus":
            return before is not None and after is not None and after - before == self.value
        if self.operation in ("darker", "lighter"):
            if before is None or after is None:
                return False
            step = luminance(after) - luminance(before)
            return (step if self.operation == "lighter" else -step) >= _LIGHTNESS_STEP
        first, second = position(self.attribute, before), position(self.attribute, after)
        if first is None or second is None:
            return False
        return second > first if self.operation == "more" else second < first


@dataclass(frozen=True)
class Phrase:
    """One way of saying one difference.

    Attributes:
        verb: "is" or "has": how it joins a sentence about the target.
        text: what follows the verb.
        order: the same as a request ("make it red").
        statements: what it claims.
    """

    verb: str
    text: str
    order: str
    statements: tuple[Statement, ...]


def noun(garment: Garment) -> str:
    """What one calls the garment in a sentence: "dress", "shirt", "sneakers"."""
    if garment.category in ("shoes", "bag", "hat", "scarf", "jumpsuit"):
        return garment.subcategory
    return {"t-shirt": "tee", "top": "top"}.get(garment.category, garment.category)


def is_pair(garment: Garment) -> bool:
    """Whether one says "a pair of" it."""
    return garment.category in ("shoes", "trousers", "shorts")


def with_article(words: str) -> str:
    """The words with their article; "a olive" is not English."""
    return f"{'an' if words[0] in 'aeio' else 'a'} {words}"


def count_words(number: int, thing: str) -> str:
    """A small number and its noun in words: "two buttons"."""
    return f"{_NUMBERS[number]} {thing}" + ("" if number == 1 else "s")


def _phrases_colour(reference: Garment, target: Garment) -> list[Phrase]:
    old, new = reference.colour, target.colour
    exact = (Statement("colour", "is", new),)
    phrases = [
        Phrase("is", new, f"make it {new}", exact),
        Phrase("is", f"{new} in color", f"change the color to {new}", exact),
        Phrase("is", with_article(f"{new} color"), f"show it in {new}", exact),
        Phrase("is", f"{new} instead of {old}", f"change {old} to {new}", exact),
        Phrase("is", f"{new} and not {old}", f"replace the {old} with {new}", exact),
    ]
    step = luminance(new) - luminance(old)
    if abs(step) >= _LIGHTNESS_STEP:
        word = "lighter" if step > 0 else "darker"
        statement = (Statement("colour", word),)
        phrases += [
            Phrase("is", word, f"make it {word}", statement),
            Phrase("is", f"a {word} color", f"choose a {word} color", statement),
            Phrase("has", f"a {word} color", f"give it a {word} color", statement),
            Phrase("is", f"{word} and more {new}", f"make it {with_article(word)} {new}", statement + exact),
        ]
    phrases.append(Phrase("is", f"not {old}", f"choose another color than {old}", (Statement("colour", "not", old),)))
    return phrases


def pattern_words(garment: Garment) -> str:
    """The pattern as a noun: "navy polka dots", "an orange plaid pattern"."""
    words = PATTERNS[garment.pattern][1].format(c=garment.second_colour)
    return with_article(words.removeprefix("a ")) if words.startswith("a ") else words


def _phrases_pattern(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.pattern, reference.pattern
    exact = (Statement("pattern", "is", new),)
    phrases = []
    if new == "solid":
        old_adjective = PATTERNS[old][0]
        phrases += [
            Phrase("is", "a solid color", "make it a solid color", exact),
            Phrase("is", f"plain and no longer {old_adjective}", "make it plain", exact),
            Phrase("has", "no pattern", "remove the pattern", exact),
            Phrase(
                "is", "solid colored", f"show it without the {old} pattern".replace("print pattern", "print"), exact
            ),
        ]
    else:
        adjective = PATTERNS[new][0]
        colour = target.second_colour
        both = exact + ((Statement("second_colour", "is", colour),) if colour != reference.second_colour else ())
        shown = pattern_words(target)
        phrases += [
            Phrase("has", shown, f"add {shown}", both),
            Phrase("is", f"{adjective} with {colour}", f"make it {adjective} with {colour}", both),
        ]
        if colour == reference.second_colour:
            phrases.append(Phrase("is", adjective, f"make it {adjective}", exact))
            phrases.append(Phrase("is", f"more {adjective}", f"turn it {adjective}", exact))
        if old != "solid":
            negative = PATTERNS[old][0]
            phrases.append(
                Phrase(
                    "is", f"no longer {negative} but {adjective} with {colour}", f"swap the pattern for {shown}", both
                )
            )
    if old != "solid":
        negative = PATTERNS[old][0]
        gone = (Statement("pattern", "not", old),)
        phrases.append(Phrase("is", f"no longer {negative}", f"make it no longer {negative}", gone))
        phrases.append(Phrase("is", f"not {negative}", f"choose one that is not {negative}", gone))
    else:
        phrases.append(Phrase("has", "a pattern", "add a pattern", (Statement("pattern", "not", "solid"),)))
        phrases.append(Phrase("is", "less plain", "make it less plain", (Statement("pattern", "not", "solid"),)))
    return phrases


def _phrases_second_colour(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.second_colour, reference.second_colour
    exact = (Statement("second_colour", "is", new),)
    if target.pattern != "solid":
        thing = {"gingham": "checks", "plaid": "plaid", "floral": "flowers", "color block": "block"}.get(
            target.pattern, target.pattern
        )
    elif target.graphic not in (None, "none"):
        thing = target.graphic if target.graphic == "lettering" else f"{target.graphic} print"
    else:
        thing = "band" if target.detail == "band" else "trim"
    singular = thing.endswith(("block", "print", "band", "trim"))
    shown = with_article(f"{new} {thing}") if singular else f"{new} {thing}"
    phrases = [
        Phrase("has", shown, f"make the {thing} {new}", exact),
        Phrase("has", f"{shown} instead of {old}", f"change the {thing} from {old} to {new}", exact),
        Phrase("has", f"more {new} in it", f"add {new} to it", exact),
    ]
    step = luminance(new) - luminance(old)
    if abs(step) >= _LIGHTNESS_STEP:
        word = "lighter" if step > 0 else "darker"
        statement = (Statement("second_colour", word),)
        phrases.append(
            Phrase("has", f"{'a ' if singular else ''}{word} {thing}", f"make the {thing} {word}", statement)
        )
    return phrases


def _phrases_sleeve(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.sleeve, reference.sleeve
    exact = (Statement("sleeve", "is", new),)
    if new == "sleeveless":
        phrases = [
            Phrase("is", "sleeveless", "make it sleeveless", exact),
            Phrase("has", "no sleeves", "remove the sleeves", exact),
        ]
    else:
        words = {"elbow": "elbow length", "three-quarter": "3/4 length"}.get(new, new)
        phrases = [
            Phrase("has", f"{words} sleeves", f"give it {words} sleeves", exact),
            Phrase("is", f"{words} sleeved", f"make it {words} sleeved", exact),
            Phrase(
                "has", f"{words} sleeves instead of {_sleeve_words(old)}", f"swap the sleeves for {words} ones", exact
            ),
        ]
    if position("sleeve", new) > position("sleeve", old):
        more = (Statement("sleeve", "more"),)
        phrases.append(Phrase("has", "longer sleeves", "make the sleeves longer", more))
        if old == "sleeveless":
            phrases.append(Phrase("has", "sleeves", "add sleeves", more))
    elif new != "sleeveless":
        phrases.append(Phrase("has", "shorter sleeves", "make the sleeves shorter", (Statement("sleeve", "less"),)))
    return phrases


def _sleeve_words(value: str) -> str:
    return {"elbow": "elbow length", "three-quarter": "3/4"}.get(value, value) + " ones"


def _phrases_sleeve_style(reference: Garment, target: Garment) -> list[Phrase]:
    exact = (Statement("sleeve_style", "is", target.sleeve_style),)
    words = {"regular": "plain straight", "puff": "puffy", "bell": "flared bell"}[target.sleeve_style]
    phrases = [Phrase("has", f"{words} sleeves", f"give it {words} sleeves", exact)]
    old = {"regular": "straight", "puff": "puffy", "bell": "flared"}[reference.sleeve_style]
    phrases.append(
        Phrase("has", f"{words} sleeves that are not {old}", f"turn the {old} sleeves into {words} ones", exact)
    )
    return phrases


NECK_WORDS = {
    "crew": "a round crew neck", "v-neck": "a v-neck", "scoop": "a low scoop neck", "square": "a square neckline",
    "boat": "a wide boat neck", "turtleneck": "a turtleneck", "collar": "a collar",
    "band collar": "a standing band collar",
    "lapel": "lapels", "hood": "a hood", "straps": "thin straps", "sweetheart": "a strapless sweetheart neckline",
    "halter": "a halter neck", "off-shoulder": "an off the shoulder neckline",
}  # fmt: skip


def _phrases_neckline(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.neckline, reference.neckline
    exact = (Statement("neckline", "is", new),)
    words = NECK_WORDS[new]
    phrases = [
        Phrase("has", words, f"give it {words}", exact),
        Phrase("has", f"{words} instead of {NECK_WORDS[old]}", f"change the neck to {words}", exact),
    ]
    if new == "v-neck":
        phrases.append(Phrase("is", "v-necked", "make it v-necked", exact))
    if new == "hood":
        phrases.append(Phrase("is", "hooded", "add a hood", exact))
    if old in ("hood", "collar", "turtleneck", "straps"):
        gone = {"hood": "hood", "collar": "collar", "turtleneck": "turtleneck", "straps": "straps"}[old]
        phrases.append(Phrase("has", f"no {gone}", f"remove the {gone}", (Statement("neckline", "not", old),)))
    else:
        phrases.append(
            Phrase("has", "a different neckline", "change the neckline", (Statement("neckline", "not", old),))
        )
    return phrases


def length_words(garment: Garment) -> dict[str, str]:
    """Length value -> how one says it of this kind of garment."""
    if garment.category in ("trousers", "jumpsuit", "shorts"):
        return {"thigh": "short", "knee": "knee length", "midi": "ankle baring", "maxi": "full length"}
    if garment.category == "scarf":
        return {"cropped": "small", "waist": "large", "hip": "short", "thigh": "medium length", "knee": "very long"}
    if garment.category == "hat":
        return {"waist": "close fitting", "hip": "slouchy"}
    return {
        "cropped": "cropped", "waist": "waist length", "hip": "hip length", "thigh": "thigh length",
        "knee": "knee length", "midi": "mid calf length", "maxi": "floor length",
    }  # fmt: skip


def _phrases_length(reference: Garment, target: Garment) -> list[Phrase]:
    words = length_words(target)[target.length]
    exact = (Statement("length", "is", target.length),)
    longer = position("length", target.length) > position("length", reference.length)
    word = "longer" if longer else "shorter"
    compared = (Statement("length", "more" if longer else "less"),)
    return [
        Phrase("is", words, f"make it {words}", exact),
        Phrase("is", f"{word} and {words}", f"make it {word}, {words}", exact + compared),
        Phrase("is", word, f"make it {word}", compared),
        Phrase("is", f"a bit {word}" if _step(reference, target, "length") == 1 else f"much {word}",
               f"show a {word} one", compared),
        Phrase("has", f"a {word} cut", f"give it a {word} cut", compared),
    ]  # fmt: skip


def _step(reference: Garment, target: Garment, attribute: str) -> int:
    return abs(position(attribute, getattr(target, attribute)) - position(attribute, getattr(reference, attribute)))


def _phrases_fit(reference: Garment, target: Garment) -> list[Phrase]:
    if target.category == "hat":
        words = {"slim": "a narrow brim", "regular": "a medium brim", "loose": "a wide brim"}
        more, less = "a wider brim", "a narrower brim"
        verb = "has"
    elif target.category in ("trousers", "shorts"):
        words = {"slim": "slim legs", "regular": "straight legs", "loose": "wide legs"}
        more, less = "wider legs", "slimmer legs"
        verb = "has"
    else:
        words = {"slim": "fitted", "regular": "regular fit", "loose": "loose fitting"}
        more, less = "looser", "more fitted"
        verb = "is"
    looser = position("fit", target.fit) > position("fit", reference.fit)
    exact = (Statement("fit", "is", target.fit),)
    compared = (Statement("fit", "more" if looser else "less"),)
    start = "give it" if verb == "has" else "make it"
    change = more if looser else less
    return [
        Phrase(verb, words[target.fit], f"{start} {words[target.fit]}", exact),
        Phrase(verb, change, f"{start} {change}", compared),
    ]


def _phrases_closure(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.closure, reference.closure
    exact = (Statement("closure", "is", new),)
    gone = {
        "buttons": "buttons", "zip": "zipper", "laces": "laces", "buckle": "buckle", "tie": "drawstring", "none": "",
    }  # fmt: skip
    phrases = []
    if new == "buttons":
        words = count_words(target.buttons, "button")
        exact += (Statement("buttons", "is", target.buttons),)
        phrases += [
            Phrase("has", words, f"add {words}", exact),
            Phrase("has", f"{words} in front", f"close it with {words}", exact),
        ]
    elif new != "none":
        words = {"zip": "a zipper", "laces": "laces", "buckle": "a buckle", "tie": "a drawstring"}[new]
        phrases += [
            Phrase("has", words, f"add {words}", exact),
            Phrase("has", f"{words} in front", f"close it with {words}", exact),
        ]
    else:
        phrases += [
            Phrase("has", f"no {gone[old]}", f"remove the {gone[old]}", exact),
            Phrase("is", f"without {gone[old]}" if old in ("buttons", "laces") else f"without a {gone[old]}",
                   f"take off the {gone[old]}", exact),
        ]  # fmt: skip
    if new != "none" and old != "none":
        instead = f"{words} instead of {'a ' if old not in ('buttons', 'laces') else ''}{gone[old]}"
        phrases.append(Phrase("has", instead, f"replace the {gone[old]} with {words}", exact))
    return phrases


def _phrasescount_words(attribute: str, thing: str, reference: Garment, target: Garment) -> list[Phrase]:
    new, old = getattr(target, attribute), getattr(reference, attribute)
    exact = (Statement(attribute, "is", new),)
    step = new - old
    phrases = []
    if new == 0:
        phrases += [
            Phrase("has", f"no {thing}s", f"remove the {thing}s" if old > 1 else f"remove the {thing}", exact),
            Phrase("is", f"without {thing}s", f"show it without {thing}s", exact),
        ]
    else:
        words = count_words(new, thing)
        phrases += [Phrase("has", words, f"give it {words}", exact)]
        if old:
            size = "more" if step > 0 else "fewer"
            delta = (Statement(attribute, "plus", step),)
            number = _NUMBERS[abs(step)]
            plural = "" if abs(step) == 1 else "s"
            phrases.append(
                Phrase("has", f"{number} {size} {thing}{plural}", f"give it {number} {size} {thing}{plural}", delta)
            )
            phrases.append(
                Phrase("has", f"{size} {thing}s", f"give it {size} {thing}s",
                       (Statement(attribute, "more" if step > 0 else "less"),))
            )  # fmt: skip
        else:
            plural = f"a {thing}" if new == 1 else f"{thing}s"
            phrases.append(Phrase("has", f"{plural} on it", f"add {plural}", (Statement(attribute, "more"),)))
    return phrases


def _phrases_detail(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.detail, reference.detail
    exact = (Statement("detail", "is", new),)
    words = {
        "belt": "a belt", "bow": "a bow", "ruffles": "ruffles", "contrast trim": f"{target.second_colour} trim",
        "fringe": "fringes", "pompom": "a pompom", "band": with_article(f"{target.second_colour} band"),
        "tassel": "a tassel",
    }  # fmt: skip
    gone = {"contrast trim": "trim", "pompom": "pompom", "fringe": "fringes"}.get(old, old)
    if new == "none":
        singular = gone in ("belt", "bow", "band", "pompom", "tassel")
        return [
            Phrase("has", f"no {gone}", f"remove the {gone}", exact),
            Phrase("is", f"without a {gone}" if singular else f"without {gone}", f"take away the {gone}", exact),
        ]
    if new in ("contrast trim", "band") and target.second_colour != reference.second_colour:
        exact += (Statement("second_colour", "is", target.second_colour),)
    phrases = [
        Phrase("has", words[new], f"add {words[new]}", exact),
        Phrase("has", f"{words[new]} on it", f"put {words[new]} on it", exact),
    ]
    if old != "none":
        phrases.append(Phrase("has", f"{words[new]} but no {gone}", f"replace the {gone} with {words[new]}", exact))
    return phrases


def _phrases_graphic(reference: Garment, target: Garment) -> list[Phrase]:
    new, old = target.graphic, reference.graphic
    exact = (Statement("graphic", "is", new),)
    if new == "none":
        return [
            Phrase("has", "no graphic", "remove the graphic", exact),
            Phrase("is", f"plain without the {old}", f"take the {old} off", exact),
            Phrase("has", "no print on the front", f"remove the {old}", exact),
        ]
    colour = target.second_colour
    both = exact + ((Statement("second_colour", "is", colour),) if colour != reference.second_colour else ())
    one = f"{colour} lettering" if new == "lettering" else with_article(f"{colour} {new}")
    phrases = [
        Phrase("has", f"{one} on it", f"put {one} on it", both),
        Phrase("has", f"{one} graphic" if new != "lettering" else f"{one} on the front", f"add {one}", both),
    ]
    if old != "none":
        phrases.append(Phrase("has", f"{one} instead of the {old}", f"replace the {old} with {one}", both))
    if colour == reference.second_colour:
        article = "" if new == "lettering" else "a "
        phrases.append(Phrase("has", f"{article}{new} on the front", f"show {article}{new} on the front", exact))
    return phrases


def _phrases_heel(reference: Garment, target: Garment) -> list[Phrase]:
    exact = (Statement("heel", "is", target.heel),)
    higher = position("heel", target.heel) > position("heel", reference.heel)
    word = "higher" if higher else "lower"
    compared = (Statement("heel", "more" if higher else "less"),)
    words = {"flat": "a flat sole", "low": "a low heel", "high": "a high heel"}[target.heel]
    return [
        Phrase("has", words, f"give it {words}", exact),
        Phrase("has", f"a {word} heel", f"make the heel {word}", compared),
    ]


def _phrases_strap(reference: Garment, target: Garment) -> list[Phrase]:
    exact = (Statement("strap", "is", target.strap),)
    longer = position("strap", target.strap) > position("strap", reference.strap)
    if target.strap == "none":
        return [
            Phrase("has", "no handle", "remove the handle", exact),
            Phrase("is", "a clutch without handle", "turn it into a clutch", exact),
        ]
    words = f"a {target.strap} handle"
    phrases = [Phrase("has", words, f"give it {words}", exact)]
    if reference.strap == "none":
        phrases.append(Phrase("has", "a handle", "add a handle", (Statement("strap", "more"),)))
    else:
        word = "longer" if longer else "shorter"
        compared = (Statement("strap", "more" if longer else "less"),)
        phrases.append(Phrase("has", f"a {word} handle", f"make the handle {word}", compared))
    return phrases


def _phrases_fabric(reference: Garment, target: Garment) -> list[Phrase]:
    new = target.fabric
    exact = (Statement("fabric", "is", new),)
    adjective = {"knit": "knitted", "satin": "shiny satin", "leather": "smooth leather", "nylon": "sporty nylon"}.get(
        new, new
    )
    return [
        Phrase(
            "is", f"made of {adjective.removesuffix('ted')}", f"make it from {adjective.removesuffix('ted')}", exact
        ),
        Phrase("is", f"{adjective} instead of {reference.fabric}", f"change the {reference.fabric} to {new}", exact),
        Phrase("has", f"a {adjective} fabric", f"use a {adjective} fabric", exact),
    ]


def phrases(attribute: str, reference: Garment, target: Garment) -> list[Phrase]:
    """Every way to say one difference; the first one always pins the target's value."""
    if attribute in ("buttons", "pockets"):
        return _phrasescount_words(attribute, attribute[:-1], reference, target)
    return {
        "colour": _phrases_colour,
        "pattern": _phrases_pattern,
        "second_colour": _phrases_second_colour,
        "sleeve": _phrases_sleeve,
        "sleeve_style": _phrases_sleeve_style,
        "neckline": _phrases_neckline,
        "length": _phrases_length,
        "fit": _phrases_fit,
        "closure": _phrases_closure,
        "detail": _phrases_detail,
        "graphic": _phrases_graphic,
        "heel": _phrases_heel,
        "strap": _phrases_strap,
        "fabric": _phrases_fabric,
    }[attribute](reference, target)
