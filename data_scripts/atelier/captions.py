"""Relative captions: what a shopper says to get from one garment to another."""

from dataclasses import dataclass

import numpy as np

from .garment import Garment, differences
from .phrases import Phrase, Statement, is_pair, noun, phrases


@dataclass(frozen=True)
class Caption:
    """A sentence and what it claims."""

    text: str
    statements: tuple[Statement, ...]


def _join(rng: np.random.Generator, said: list[Phrase], target: Garment) -> Caption:
    """One lower-case FashionIQ-like caption from one to three phrases about the target."""
    statements = tuple(s for phrase in said for s in phrase.statements)
    said = sorted(said, key=lambda phrase: phrase.verb != "is") if rng.random() < 0.7 else said
    text = f"{said[0].verb} {said[0].text}"
    for before, phrase in zip(said, said[1:], strict=False):
        mark = rng.random()
        if phrase.verb == "has" and before.verb == "is" and mark < 0.5 and not phrase.text.startswith(("no ", "none")):
            text += f" with {phrase.text}"
        elif phrase.verb == before.verb and mark < 0.6:
            text += f" and {phrase.text}"
        else:
            text += f" and {phrase.verb} {phrase.text}"
    opening = rng.random()
    if opening < 0.06:
        text = f"the {noun(target)} {text}"
    elif opening < 0.12:
        text = f"it {text}"
    elif opening < 0.18 and said[0].verb == "is":
        text = text.removeprefix("is ")
    return Caption(text, statements)


def _meets(statements: tuple[Statement, ...], reference: Garment, candidate: Garment) -> bool:
    return all(s.holds(reference, candidate) for s in statements)


def _is_settled(
    statements: tuple[Statement, ...], reference: Garment, target: Garment, others: tuple[Garment, ...]
) -> bool:
    """Whether nobody but the target keeps what was not spoken of and has what was asked for."""
    spoken = {s.attribute for s in statements}
    for other in others:
        if other is target or other is reference:
            continue
        if set(differences(reference, other)) <= spoken and _meets(statements, reference, other):
            return False
    return True


_TRIES = 12


def relative_captions(
    rng: np.random.Generator, reference: Garment, target: Garment, design: tuple[Garment, ...]
) -> tuple[Caption, Caption]:
    """Two captions for one pair, as two people would write them.

    Each may speak of a part of the differences; together they leave only the target among the garments of the design.

    Args:
        rng: the pair's generator.
        reference, target: two garments of one design.
        design: all garments of the design.
    """
    names = differences(reference, target)
    for attempt in range(_TRIES):
        order = [names[int(i)] for i in rng.permutation(len(names))]
        if len(order) == 1:
            shares = (order, order)
        elif len(order) == 2:
            shares = ((order[:1], order[1:]), (order, order[:1]), (order, order[::-1]))[int(rng.integers(3))]
        else:
            shares = ((order[:2], order[2:]), (order[:1], order[1:]), (order[:2], order[1:]))[int(rng.integers(3))]
        captions = []
        for share in shares:
            said = []
            for name in share:
                ways = phrases(name, reference, target)
                said.append(ways[0] if attempt == _TRIES - 1 else ways[int(rng.integers(len(ways)))])
            captions.append(_join(rng, said, target))
        first, second = captions
        if first.text != second.text and _is_settled(first.statements + second.statements, reference, target, design):
            break
    return first, second


def cirr_caption(rng: np.random.Generator, reference: Garment, target: Garment, group: tuple[Garment, ...]) -> Caption:
    """One CIRR-like sentence that speaks of every difference and leaves only the target in its group of six."""
    names = differences(reference, target)
    for attempt in range(_TRIES):
        order = [names[int(i)] for i in rng.permutation(len(names))]
        said = []
        for name in order:
            ways = phrases(name, reference, target)
            said.append(ways[0] if attempt == _TRIES - 1 else ways[int(rng.integers(len(ways)))])
        statements = tuple(s for phrase in said for s in phrase.statements)
        if _is_settled(statements, reference, target, group):
            break
    thing = noun(target)
    style = rng.random()
    if style < 0.45:
        orders = [p.order for p in said]
        text = orders[0] + ("," if len(orders) > 1 else "") + "".join(f" and {o}" for o in orders[1:])
        text = text.replace(" it ", f" the {thing} ", 1) if " it " in text and rng.random() < 0.5 else text
    else:
        body = _join_plain(said)
        if style < 0.6:
            text = f"the target {thing} {body}"
        elif style < 0.75:
            text = f"same {thing} but it {body}"
        elif style < 0.9:
            text = f"show a pair of {thing} that {body}" if is_pair(target) else f"show a {thing} that {body}"
        else:
            text = f"a similar pair of {thing} that {body}" if is_pair(target) else f"a similar {thing} that {body}"
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.5:
        text += "."
    return Caption(text, statements)


def _join_plain(said: list[Phrase]) -> str:
    return " and ".join(f"{p.verb} {p.text}" for p in said)
