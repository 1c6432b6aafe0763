"""A reader that knows every attribute and the exact meaning of every caption: the ceiling of the world's queries.

It also answers with half of the query only, which shows that neither half is enough.
"""

from collections.abc import Sequence

from .garment import Garment
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
