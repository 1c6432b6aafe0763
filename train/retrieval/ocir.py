"""Outfit complementary item retrieval under a named protocol: exact ranks, figures with intervals, chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.retrieval.composed import MODEL, RankRecord, chance_of_hit
from train.retrieval.ocir_protocols import OCIR_PROTOCOLS, OcirProtocol
from train.retrieval.ranking import ranks_of_targets
from train.retrieval.statistics import DEFAULT_RESAMPLES, Interval, bootstrap_figures


@dataclass
class OcirSet:
    """The rows of a split, R of them.

    Attributes:
        blank_ids: item that was left out. blank_categories: its category.
        fake: rows that only put their item into the gallery.
        query_ids: name of every row. fingerprint: digest and counts of the annotation files.
    """

    blank_ids: Sequence[Any]
    blank_categories: Sequence[Any]
    fake: Sequence[bool]
    query_ids: Sequence[str] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.blank_ids)
        self.query_ids = list(self.query_ids) or [str(row) for row in range(rows)]
        if not len(self.blank_categories) == len(self.fake) == len(self.query_ids) == rows:
            raise ValueError(f"{rows} blank items, but other numbers of categories, fake flags or names")
        self.queries = [row for row, fake in enumerate(self.fake) if not fake]
        if not self.queries:
            raise ValueError("no row asks anything: fake_data is true in all of them")
        first: dict[Any, int] = {}
        for row, item in enumerate(self.blank_ids):
            first.setdefault(item, row)
            if self.blank_categories[first[item]] != self.blank_categories[row]:
                raise ValueError(f"item {item} has two categories, in rows {first[item]} and {row}; correct one")
        self.gallery = list(first.values())  # an item's feature is that of its first row


@dataclass
class OcirResult:
    """Figures under one protocol, with the ranks behind them."""

    protocol: OcirProtocol
    counts: dict[str, Any]
    figures: dict[str, Interval]
    controls: dict[str, dict[str, float]]
    records: dict[str, RankRecord]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the ranks, ready for JSON."""
        return {
            "protocol": self.protocol.name,
            "definition": self.protocol.definition(),
            "unit": "percent",
            "interval": "95 %, percentile bootstrap over queries, inside each category",
            "counts": self.counts,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "controls": {c: {n: {"value": v} for n, v in figures.items()} for c, figures in self.controls.items()},
            "differences": {},
        }


def mean_by_outfit(features: Tensor, lengths: Sequence[int]) -> Tensor:
    """(outfits, D) means of consecutive rows of `features` (items, D), not normalised again, as in the original.

    Args:
        lengths: items of every outfit, at least one each.
    """
    if sum(lengths) != len(features) or min(lengths, default=1) < 1:
        raise ValueError(f"outfits of {sum(lengths)} items, none empty, expected; got {len(features)} features")
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(features.device)
    total = features.new_zeros(len(lengths), features.shape[1]).index_add_(0, owner, features)
    return total / torch.tensor(lengths, device=features.device, dtype=features.dtype)[:, None]


def ocir_ranks(protocol: OcirProtocol, data: OcirSet, queries: Tensor, targets: Tensor) -> np.ndarray:
    """(Q,) how many gallery items rank before each query's, for the rows that ask.

    Args:
        queries, targets: (R, D) features of every row, with the model's own scale where `protocol.fill` is a score.
    """
    if not len(queries) == len(targets) == len(data.blank_ids):
        raise ValueError(f"{len(data.blank_ids)} rows, but features of {len(queries)} queries and {len(targets)} items")
    gallery = targets[torch.tensor(data.gallery)]
    place = {data.blank_ids[row]: number for number, row in enumerate(data.gallery)}
    categories = np.array([str(data.blank_categories[row]) for row in data.gallery])
    own = torch.tensor([place[data.blank_ids[row]] for row in data.queries])
    asked = np.array([str(data.blank_categories[row]) for row in data.queries])
    questions, ranks = queries[torch.tensor(data.queries)], np.empty(len(data.queries), dtype=np.int64)
    for category in dict.fromkeys(asked.tolist()):
        chosen, items = np.flatnonzero(asked == category), np.flatnonzero(categories == category)
        local = torch.full((len(gallery),), -1)
        local[items] = torch.arange(len(items))
        ranks[chosen] = ranks_of_targets(questions[chosen], gallery[items], local[own[chosen]]).numpy()
    if protocol.fill is not None:
        # All items of other categories stand at one score; they come before a target that scores less.
        below = ((questions * gallery[own]).sum(dim=-1) < protocol.fill).cpu().numpy()
        others = np.array([(categories != category).sum() for category in asked])
        ranks = ranks + below * others
    return ranks


def evaluate_ocir(
    name: str,
    data: OcirSet,
    queries: Tensor,
    targets: Tensor,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> OcirResult:
    """Rank every question under a protocol.

    Args:
        name: a key of `OCIR_PROTOCOLS`.
        data: rows of the split.
        queries: (R, D) mean features of the outfits, see `mean_by_outfit`. targets: (R, D) features of the blank items.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: other numbers of features than rows.
    """
    protocol = OCIR_PROTOCOLS[name]
    ranks = ocir_ranks(protocol, data, queries, targets)
    groups = np.array([str(data.blank_categories[row]) for row in data.queries])
    sizes: dict[str, int] = {}
    for row in data.gallery:
        category = str(data.blank_categories[row])
        sizes[category] = sizes.get(category, 0) + 1
    asked = list(dict.fromkeys(groups.tolist()))
    size = np.array([sizes[category] for category in asked])
    expected = np.stack([chance_of_hit(size, np.ones_like(size), k) for k in protocol.cutoffs], axis=1)
    chance = protocol.figures(dict(zip(asked, expected, strict=True)))
    names = np.asarray([data.query_ids[row] for row in data.queries])
    record = RankRecord(name, str(data.fingerprint.get("digest", "")), names, groups, ranks)
    counts = {
        "queries": len(ranks),
        "queries_per_category": {c: int((groups == c).sum()) for c in asked},
        "gallery": {category: sizes[category] for category in asked},
    }
    figures = bootstrap_figures(protocol.hits(ranks), protocol.figures, groups, resamples, seed)
    controls = {"chance": {name: float(value) for name, value in chance.items()}}
    return OcirResult(protocol, counts, figures, controls, {MODEL: record})
