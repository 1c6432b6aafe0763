"""A reader that knows every attribute, the exact meaning of every caption and the style rule: the ceiling of the world.

It also answers with half of a query or with a part of the rule only, which shows that neither is enough.
"""

from collections.abc import Sequence

from .garment import Garment
from .outfit_rule import PARTS, broken_parts
from .phrases import Statement
from .vocabulary import VISIBLE


def oracle_rank(
    reference: Garment,
    statements: Sequence[Statement],
    target: Garment,
    gallery: Sequence[Garment],
    *,
    use_reference: bool = True,
    use_text: bool = True,
) -> float:
    """Rank of the target among the gallery, from 0; ties count half of the others that share the target's score.

    A candidate is better when it breaks fewer statements; among equals when it keeps more of what the caption does not
    speak of. The reference itself is never a candidate.

    Args:
        reference, target: the query's garments.
        statements: what both captions claim.
        gallery: the candidates; must contain the target.
        use_reference: False leaves out what the reference says about the rest ("text only"; comparisons with the
            reference cannot be read either).
        use_text: False leaves out the statements ("image only").
    """
    absolute = [s for s in statements if s.operation in ("is", "not")]
    asked = (list(statements) if use_reference else absolute) if use_text else []
    spoken = {s.attribute for s in asked}
    kept = [name for name in VISIBLE if name not in spoken] if use_reference else []

    def score(candidate: Garment) -> tuple[int, int, bool]:
        broken = sum(not s.holds(reference, candidate) for s in asked)
        changed = sum(getattr(candidate, name) != getattr(reference, name) for name in kept)
        return broken, changed, use_reference and candidate.subcategory != reference.subcategory

    goal = score(target)
    better = equal = 0
    for candidate in gallery:
        if candidate.index in (reference.index, target.index):
            continue
        value = score(candidate)
        better += value < goal
        equal += value == goal
    return better + equal / 2


def outfit_score(garments: Sequence[Garment], parts: Sequence[str] = PARTS) -> float:
    """How well garments go together: the share of the style rule's parts that they keep, 1 for an outfit.

    Args:
        garments: at least one, in the order of the outfit.
        parts: of `outfit_rule.PARTS`; fewer make a reader that sees less, such as "slots" alone for one that knows
            nothing but categories.
    """
    return 1 - len(set(broken_parts(garments)) & set(parts)) / len(parts)


def answer_scores(
    others: Sequence[Garment], blank_position: int, answers: Sequence[Garment], parts: Sequence[str] = PARTS
) -> list[float]:
    """`outfit_score` of an outfit with each answer in its blank.

    Args:
        others: the garments beside the blank.
        blank_position: place of the blank, from 1.
        answers: the candidates.
        parts: as for `outfit_score`.
    """
    place = blank_position - 1
    return [outfit_score([*others[:place], answer, *others[place:]], parts) for answer in answers]
