"""Whole outfits from pictures and words: the original's greedy walks, exactly as published.

Source: `outfit_generation.py` of xthan/polyvore; Han et al. 2017, section 4.3. `official_outfit` is that program; see
train/retrieval/outfit_search.py for the better default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

MAX_STEPS = 10
END_PROBABILITY = 1e-5
TEXT_WEIGHT = 2.0


@dataclass
class OfficialOutfit:
    """What the original computes on its way; numbers are places in the bank.

    Attributes:
        first_forward, first_backward: walks from the first query picture.
        positions: where the query pictures lie among these; num_blank: items between the outermost two.
        filled: the base with its blanks filled, where there are two pictures or more.
        final_forward, final_backward: walks from the base, in the order of generation.
        outfit: the result; outfit_text: after the text has exchanged items, None without a text.
        word_ids: known words of the text, in the order of the vocabulary.
    """

    first_forward: list[int] = field(default_factory=list)
    first_backward: list[int] = field(default_factory=list)
    positions: list[int] | None = None
    num_blank: int | None = None
    filled: list[int] | None = None
    final_forward: list[int] = field(default_factory=list)
    final_backward: list[int] = field(default_factory=list)
    outfit: list[int] = field(default_factory=list)
    outfit_text: list[int] | None = None
    word_ids: list[int] | None = None


@torch.no_grad()
def official_outfit(
    model: Any,
    items: torch.Tensor,
    images: torch.Tensor,
    query: list[int],
    words: list[int] | None = None,
    text_weight: float = TEXT_WEIGHT,
    max_steps: int = MAX_STEPS,
    end_probability: float = END_PROBABILITY,
) -> OfficialOutfit:
    """The original's outfit for one query.

    Args:
        model: a BiLSTMModel in evaluation mode.
        items, images: (T, E) the bank in both spaces.
        query: places of the query pictures, one or more. Only the first two are ever placed, in this order.
        words: numbers of the text's known words; an empty list (a text without known words) makes the original choose
            item 0 everywhere; None: no text.

    Raises:
        ValueError: no query picture; fewer than no blanks, or a blank that became the end, where the original crashes.
    """
    if not query:
        raise ValueError("a query needs at least one picture")
    walker = _Walker(model, items, max_steps, end_probability)
    made = OfficialOutfit()
    made.first_forward = walker.walk(query[:1], "forward")
    made.first_backward = walker.walk(query[:1], "backward")
    base = query[:1]
    if len(query) > 1:
        first = made.first_backward + query[:1] + made.first_forward  # the backward walk is not turned round
        near = unit(items[query[1:]]) @ unit(items[first]).T
        made.positions = [len(made.first_backward), *near.argmax(1).tolist()]
        made.num_blank = max(made.positions) - min(made.positions) - 1
        if made.num_blank < 0:
            raise ValueError(
                "negative number of blanks: all query pictures are nearest to one item of the first outfit"
            )
        base = made.filled = walker.fill(query[0], query[1], made.num_blank)
        if len(items) in base:
            raise ValueError("a blank became the end of the outfit; the original stops here with an index error")
    made.final_forward = walker.walk(base, "forward")
    made.final_backward = walker.walk(base, "backward")
    made.outfit = made.final_backward[::-1] + base + made.final_forward
    if words is not None:
        made.word_ids = sorted(set(words))
        made.outfit_text = _exchanged(model, images, made.outfit, query, made.word_ids, text_weight)
    return made


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows of length one; a row of zeros stays one."""
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-6)


class _Walker:
    """Greedy walks over the bank; its last row is the end, a vector of zeros."""

    def __init__(self, model: Any, items: torch.Tensor, max_steps: int, end_probability: float) -> None:
        self.model, self.max_steps, self.end_probability = model, max_steps, end_probability
        self.bank = torch.cat([items, items.new_zeros(1, items.shape[1])])
        self.end = len(items)

    def read(self, places: list[int], direction: str):
        """Prediction and state after some items, read in the direction."""
        state = prediction = None
        for place in places if direction == "forward" else places[::-1]:
            prediction, state = self.model.step(self.bank[place][None], state, direction)
        return prediction, state

    def walk(self, places: list[int], direction: str) -> list[int]:
        """What follows some items, until the end is best or likely enough, or for `max_steps` items."""
        prediction, state = self.read(places, direction)
        found: list[int] = []
        for _ in range(self.max_steps):
            chances = (prediction @ self.bank.T).softmax(-1)[0]
            best = int(chances.argmax())
            if best == self.end or float(chances[self.end]) > self.end_probability:
                break
            found.append(best)
            prediction, state = self.model.step(self.bank[best][None], state, direction)
        return found

    def fill(self, first: int, last: int, blanks: int) -> list[int]:
        """[first, ..., last] with the given number of items between, each best for both directions together."""
        predictions = []
        for direction, start in (("forward", first), ("backward", last)):
            prediction, state = self.read([start], direction)
            own = []
            for _ in range(blanks):
                own.append(prediction)
                best = int((prediction @ self.bank.T).argmax())
                prediction, state = self.model.step(self.bank[best][None], state, direction)
            predictions.append(own if direction == "forward" else own[::-1])
        between = [int(((f + b) @ self.bank.T).argmax()) for f, b in zip(*predictions, strict=True)]
        return [first, *between, last]


def _exchanged(model: Any, images: torch.Tensor, outfit: list[int], query: list[int], words: list[int], weight: float):
    """Every item but the query's pictures exchanged for the one nearest to itself and the text together."""
    if not words:
        # As the original: it normalises a zero vector, and of scores that are all NaN the first counts as the largest.
        return [place if place in query else 0 for place in outfit]
    bank = unit(images)
    text = unit(model.word_embedding.weight[torch.tensor(words)].sum(0))
    return [place if place in query else int((bank @ (bank[place] + weight * text)).argmax()) for place in outfit]
