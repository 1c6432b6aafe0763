"""Whole outfits by beam search: the better default beside the original's greedy walks (outfit_generation.py).

    found = search_outfits(model, items, query=[12, 40], identities=identities, slots=slots)
    found[0].places        # places of the items in their order, the query's among them

Every hypothesis is a complete outfit, scored as compatibility is: the mean log-probability, forward and backward, of each
next item and of the end. It grows by one item at a time, before, behind or between its items; what the two directions
together expect at a gap proposes items, and the whole outfit's score decides. An end at which the model expects nothing
more grows no further.

Deviation: the original places the first two query pictures only, in the given order, takes the best item at each step,
repeats items, and exchanges items for the text's afterwards. Here all query pictures are placed in the best order, no
product comes twice, and the text takes part in the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from train.retrieval.outfit_generation import unit

ORDERS = 720  # of the query's items that are kept while they are placed: all of them for six items
NUMBERS = 2**23  # of a block of scores; bounds the outfits that are scored together


@dataclass(frozen=True)
class SearchOptions:
    """How the search runs.

    Attributes:
        max_items, min_items: of an outfit, the query's included.
        beam: hypotheses kept. candidates: items proposed for each gap of each.
        end_probability: an end is finished from this probability of the end on, among the distinct items of the bank.
        text_weight: what an item gains, in units of log-probability, for each standard deviation by which it is nearer
            to the text than the bank's average.
        block: items of the bank at a time; bounds the memory.
    """

    max_items: int = 8
    min_items: int = 3
    beam: int = 8
    candidates: int = 8
    end_probability: float = 0.1
    text_weight: float = 2.0
    block: int = 4096

    def __post_init__(self) -> None:
        for name in ("max_items", "min_items", "beam", "candidates", "block"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.min_items > self.max_items:
            raise ValueError(f"min_items {self.min_items} is above max_items {self.max_items}")


@dataclass
class FoundOutfit:
    """One outfit.

    Attributes:
        places: of its items, in order.
        score: what the search maximises: forward + backward + text_gain.
        forward, backward: mean log-probabilities, see `BiLSTMModel.score_outfits`.
        text_gain: the text's share, 0 without one.
        stopped: "end" (both ends expect nothing more), "max_items", or "no candidates" (the rules leave none).
    """

    places: list[int]
    score: float
    forward: float
    backward: float
    text_gain: float = 0.0
    stopped: str = "max_items"


def distinct(identities: Sequence[int]) -> list[int]:
    """The first place of every product."""
    first: dict[int, int] = {}
    for place, identity in enumerate(identities):
        first.setdefault(identity, place)
    return list(first.values())


@torch.no_grad()
def text_nearness(model: Any, images: torch.Tensor, bank: Sequence[int], words: Sequence[int]) -> torch.Tensor | None:
    """How near each picture is to a text, in standard deviations over the bank.

    Args:
        images: (T, E) in the space of pictures and texts. bank: places of the items to compare with.
        words: numbers of the text's known words; none of them: there is nothing to be near to.

    Returns:
        (T,), or None without known words.
    """
    if not words:
        return None
    text = unit(model.word_embedding.weight[torch.tensor(list(words), device=images.device)].sum(0))
    nearness = unit(images) @ text.to(images.dtype)
    own = nearness[torch.tensor(list(bank), device=images.device)]
    return (nearness - own.mean()) / own.std(correction=0).clamp(min=1e-6)


@torch.no_grad()
def search_outfits(
    model: Any,
    items: torch.Tensor,
    query: Sequence[int],
    bank: Sequence[int] | None = None,
    identities: Sequence[int] | None = None,
    slots: Sequence[int] | None = None,
    allowed: Sequence[bool] | None = None,
    nearness: torch.Tensor | None = None,
    options: SearchOptions | None = None,
    outfits: int = 1,
) -> list[FoundOutfit]:
    """The best outfits around some items.

    Args:
        model: a BiLSTMModel in evaluation mode, on the device of `items`.
        items: (T, E) of `get_item_features`.
        query: places of the items that the outfit must have, in any order.
        bank: places of the items that probabilities are taken over and outfits are made of; None: the first of every
            identity.
        identities: (T,) numbers of products, of which an outfit has each at most once; None: every item is its own.
        slots: (T,) numbers of slots, such as categories, of which an outfit has at most one item, -1 for none; the
            query's items may share one. None: no such rule.
        allowed: (T,) whether an item may be added; None: all.
        nearness: (T,) of `text_nearness`.
        outfits: how many different sets of items are wanted.

    Returns:
        The best first, fewer where the beam holds fewer. Equal for every order of the query.

    Raises:
        ValueError: no query, too many items in it, or one product twice.
    """
    options = options or SearchOptions()
    identities = list(range(len(items))) if identities is None else list(identities)
    if not query:
        raise ValueError("an outfit is made around one item at least; the query has none")
    if len({identities[place] for place in query}) < len(query):
        raise ValueError(f"the query's items {list(query)} hold one product twice; name each once")
    if len(query) > options.max_items:
        raise ValueError(f"the query has {len(query)} items, max_items is {options.max_items}; raise it")
    bank = distinct(identities) if bank is None else bank
    search = _Search(model, items, sorted(query), bank, identities, slots, allowed, nearness, options)
    found = search.run()
    kept: list[FoundOutfit] = []
    for outfit in found:
        if all(set(outfit.places) != set(other.places) for other in kept):
            kept.append(outfit)
    return kept[:outfits]


class _Search:
    """The state of one search: tensors of the bank, and the rules."""

    def __init__(self, model, items, query, bank, identities, slots, allowed, nearness, options) -> None:
        self.model, self.items, self.query, self.options = model, items, query, options
        self.places = torch.tensor(list(bank), device=items.device)
        self.bank = items[self.places]
        self.identities = identities
        self.slots = [-1] * len(items) if slots is None else list(slots)
        self.bank_identities = torch.tensor(identities, device=items.device)[self.places]
        self.bank_slots = torch.tensor(self.slots, device=items.device)[self.places]
        self.allowed = None
        if allowed is not None:
            self.allowed = torch.tensor(list(allowed), dtype=torch.bool, device=items.device)[self.places]
        self.gain = torch.zeros(len(items), device=items.device)
        if nearness is not None:
            self.gain = options.text_weight * nearness.float()

    def run(self) -> list[FoundOutfit]:
        options = self.options
        beam, finished = self.orders()[: options.beam], []
        while beam:
            proposed, ends = self.proposals(beam)
            children: dict[tuple[int, ...], None] = {}
            for outfit, own, ended in zip(beam, proposed, ends, strict=True):
                if ended:
                    finished.append(outfit)
                    outfit.stopped = "end"
                elif len(outfit.places) >= options.max_items or not own:
                    finished.append(outfit)
                    outfit.stopped = "no candidates" if len(outfit.places) < options.max_items else "max_items"
                else:
                    children |= dict.fromkeys(own)
            beam = self.scored(list(children))[: options.beam] if children else []
        return sorted(finished, key=_order)

    def orders(self) -> list[FoundOutfit]:
        """The query's items in all orders, best first; the best orders of a part of them where there are too many."""
        orders = [()]
        for place in self.query:
            orders = [(*o[:at], place, *o[at:]) for o in orders for at in range(len(o) + 1)]
            if len(orders) > ORDERS:
                orders = [tuple(found.places) for found in self.scored(orders)[:ORDERS]]
        return self.scored(orders)

    def scored(self, outfits: list[tuple[int, ...]]) -> list[FoundOutfit]:
        """Outfits of one length, best first."""
        length, found = len(outfits[0]), []
        together = max(1, NUMBERS // (length * min(self.options.block, len(self.bank))))
        asked = set(self.query)
        for start in range(0, len(outfits), together):
            rows = torch.tensor(outfits[start : start + together], device=self.items.device)
            lengths = torch.full((len(rows),), length, device=self.items.device)
            scores = self.model.score_outfits(self.items[rows], lengths, self.bank, self.options.block)
            pairs = zip(scores["forward"].tolist(), scores["backward"].tolist(), rows.tolist(), strict=True)
            for forward, backward, places in pairs:
                text = sum(float(self.gain[place]) for place in places if place not in asked) / length
                found.append(FoundOutfit(places, forward + backward + text, forward, backward, text))
        return sorted(found, key=_order)

    def proposals(self, beam: list[FoundOutfit]) -> tuple[list[list[tuple[int, ...]]], list[bool]]:
        """What each outfit may grow into, and whether both its ends are finished."""
        length, options = len(beam[0].places), self.options
        rows = torch.tensor([outfit.places for outfit in beam], device=self.items.device)
        lengths = torch.full((len(rows),), length, device=self.items.device)
        expected = self.items.new_zeros(len(rows), length + 1, self.items.shape[1])
        expected[:, 1:] += self.model.read(self.items[rows], lengths, "forward")[1]
        # Reading order turned round: the last prediction has read all items and stands before the first.
        expected[:, :-1] += self.model.read(self.items[rows], lengths, "backward")[1].flip(1)
        taken = [self._taken(outfit.places) for outfit in beam]
        # The logarithm of the sum over the bank and the end, for the two outer gaps, where one direction stands alone.
        totals = torch.zeros(len(rows), 2, device=self.items.device)
        best = torch.full((len(rows), length + 1, 0), -torch.inf, device=self.items.device)
        where = torch.zeros(len(rows), length + 1, 0, dtype=torch.long, device=self.items.device)
        for start in range(0, len(self.bank), options.block):
            part = slice(start, start + options.block)
            scores = expected.float() @ self.bank[part].float().T
            totals = torch.logaddexp(totals, scores[:, [0, -1]].logsumexp(-1))
            blocked = torch.stack([self._blocked(part, *own) for own in taken])
            scores = (scores + self.gain[self.places[part]]).masked_fill(blocked[:, None], -torch.inf)
            best = torch.cat([best, scores], -1)
            where = torch.cat([where, self.places[part].expand(*scores.shape)], -1)
            best, order = best.sort(dim=-1, descending=True, stable=True)
            best, where = best[..., : options.candidates], where.gather(-1, order[..., : options.candidates])
        closed = ((-totals).exp() >= options.end_probability) & (length >= options.min_items)
        grown: list[list[tuple[int, ...]]] = []
        for outfit, scores, found, (first, last) in zip(
            beam, best.tolist(), where.tolist(), closed.tolist(), strict=True
        ):
            gaps = range(1 if first else 0, length if last else length + 1)
            grown.append(
                [
                    (*outfit.places[:gap], place, *outfit.places[gap:])
                    for gap in gaps
                    for score, place in zip(scores[gap], found[gap], strict=True)
                    if score > -torch.inf
                ]
            )
        return grown, closed.all(1).tolist()

    def _taken(self, places: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Products and slots that an outfit has."""
        slots = [self.slots[place] for place in places if self.slots[place] >= 0]
        products = [self.identities[place] for place in places]
        return torch.tensor(products, device=self.items.device), torch.tensor(
            slots, dtype=torch.long, device=self.items.device
        )

    def _blocked(self, part: slice, products: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Items of a part of the bank that may not be added."""
        blocked = torch.isin(self.bank_identities[part], products) | torch.isin(self.bank_slots[part], slots)
        return blocked if self.allowed is None else blocked | ~self.allowed[part]


def _order(outfit: FoundOutfit) -> tuple:
    return (-outfit.score, outfit.places)


@torch.no_grad()
def rank_for_blank(
    model: Any,
    items: torch.Tensor,
    outfit: Sequence[int],
    blank_position: int,
    candidates: Sequence[int],
    block: int = 4096,
) -> list[tuple[int, float]]:
    """All candidates for a blank, best first, with their probabilities among each other.

    The probabilities are those of `BiLSTMModel.score_candidates`, without a copy of the bank in memory.

    Args:
        items: (T, E) features. outfit: places of the other items, in order, one or more.
        blank_position: place of the blank in the whole outfit, from 1.
        candidates: places.

    Raises:
        ValueError: no other items, no candidates, or a blank outside the outfit.
    """
    if not outfit or not candidates:
        raise ValueError(f"a blank needs other items and candidates; there are {len(outfit)} and {len(candidates)}")
    if not 1 <= blank_position <= len(outfit) + 1:
        raise ValueError(f"the blank is at {blank_position} of {len(outfit) + 1} places; count from 1")
    places = torch.tensor(list(candidates), device=items.device)
    sides = {"forward": list(outfit[: blank_position - 1]), "backward": list(outfit[blank_position - 1 :])}
    found = []
    for direction, read in sides.items():
        if read:
            lengths = torch.tensor([len(read)], device=items.device)
            expected = model.read(items[read][None], lengths, direction)[1][0, -1].double()
            scores = [items[part].double() @ expected for part in places.split(block)]
            found.append(torch.cat(scores).softmax(0))
    scores, order = torch.stack(found).mean(0).sort(descending=True, stable=True)
    return list(zip(places[order].tolist(), scores.tolist(), strict=True))
