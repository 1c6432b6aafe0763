"""The is-a tree: every phrase has one father, or none.

A phrase is shortened step by step: first its attachment goes (`red coat in wool` -> `red coat`), then the left-most
modifier again and again (-> `coat`), then of a compound head all but the last word (`tote bag` -> `bag`). The father is
the first of these that is a concept; else the catalogue's category; else "". Every step is shorter, so there are no
cycles; category fathers, which are not, are checked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from data_scripts.concepts.chunker import Phrase


def shortened(phrase: Phrase) -> list[str]:
    """All the phrases that could be the father, the longest first."""
    modifiers, head, attached = phrase
    chain = [" ".join((*modifiers[start:], head)) for start in range(0 if attached else 1, len(modifiers) + 1)]
    if " " in head:
        chain.append(head.rsplit(" ", 1)[1])
    return chain


class Hierarchy:
    """Concepts and their fathers; grows by `add`, with the same result as if it had been built at once.

    Args:
        categories: phrase -> name of the catalogue's category, for phrases that nothing shorter stands above.
    """

    def __init__(self, categories: Mapping[str, str] | None = None) -> None:
        self.categories = dict(categories or {})
        self.phrases: dict[str, Phrase] = {}
        self._fathers: dict[str, str] = {}  # by shortening alone
        self._shortens_to: dict[str, list[str]] = defaultdict(list)

    def add(self, phrases: Iterable[Phrase]) -> list[str]:
        """Insert phrases and hang those below them that now meet them first.

        Returns:
            The phrases, old ones, whose father by shortening changed.
        """
        changed: dict[str, None] = {}
        for phrase in phrases:
            name = phrase.text
            if name in self.phrases:
                continue
            self.phrases[name] = phrase
            chain = shortened(phrase)
            self._fathers[name] = next((one for one in chain if one in self.phrases and one != name), "")
            for one in chain:
                self._shortens_to[one].append(name)
            for child in self._shortens_to.get(name, ()):
                below = shortened(self.phrases[child])
                father = self._fathers[child]
                if child != name and (not father or below.index(name) < below.index(father)):
                    self._fathers[child] = name
                    changed[child] = None
        return list(changed)

    def fathers(self) -> dict[str, str]:
        """Phrase -> father for all concepts, categories included; "" is a root."""
        fathers = dict(self._fathers)
        for name in sorted(name for name, father in fathers.items() if not father):
            category = self.categories.get(name, "")
            if category and name not in ancestors(category, fathers) and category != name:
                fathers[name] = category
        return fathers


def ancestors(phrase: str, fathers: Mapping[str, str]) -> list[str]:
    """The fathers above a phrase, the nearest first.

    Raises:
        ValueError: the fathers run in a circle.
    """
    chain: list[str] = []
    father = fathers.get(phrase, "")
    while father:
        if father in chain or father == phrase:
            raise ValueError(f"the fathers of {phrase!r} run in a circle through {father!r}; correct one of them")
        chain.append(father)
        father = fathers.get(father, "")
    return chain
