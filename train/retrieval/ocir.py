"""Outfit complementary item retrieval under a named protocol: exact ranks, figures with intervals, controls.

Controls:

    image_only      the mean cosine of the image features of items and candidate, in no subspace
    chance          a random order of the candidates, in closed form
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.retrieval.composed import MODEL, RankRecord, chance_of_hit
from train.retrieval.ocir_protocols import OCIR_PROTOCOLS, OcirProtocol
from train.retrieval.ranking import ranks_of_targets
from train.retrieval.statistics import DEFAULT_RESAMPLES, Difference, Interval, bootstrap_figures, paired_bootstrap


@dataclass
class OcirSet:
    """The rows of a split, R of them.

    Attributes:
        blank_ids: item that was left out. blank_categories: its category.
        fake: rows that only put their item into the gallery.
        query_ids: name of every row. fingerprint: digest and counts of the annotation files.
        questions: items of every row's outfit. categories: number of every item's category. sources: item -> path or bytes
            of its picture. What `conditioned_ranks` reads.
    """

    blank_ids: Sequence[Any]
    blank_categories: Sequence[Any]
    fake: Sequence[bool]
    query_ids: Sequence[str] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)
    questions: Sequence[Sequence[Any]] = ()
    categories: Mapping[Any, int] = field(default_factory=dict)
    sources: Mapping[Any, Any] = field(default_factory=dict)

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
    controls: dict[str, dict[str, Interval]]
    chance: dict[str, float]
    differences: dict[str, dict[str, Difference]]
    records: dict[str, RankRecord]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the ranks, ready for JSON."""
        controls = {c: {n: figure.to_dict() for n, figure in own.items()} for c, own in self.controls.items()}
        controls["chance"] = {name: {"value": value} for name, value in self.chance.items()}
        return {
            "protocol": self.protocol.name,
            "definition": self.protocol.definition(),
            "unit": "percent",
            "interval": "95 %, percentile bootstrap over queries, inside each category",
            "counts": self.counts,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "controls": controls,
            "differences": {
                f"model - {c}": {n: d.to_dict() for n, d in own.items()} for c, own in self.differences.items()
            },
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


@torch.no_grad()
def conditioned_ranks(
    protocol: OcirProtocol, model: Any, data: OcirSet, features: Tensor, ids: Sequence[Any]
) -> np.ndarray:
    """(Q,) as `ocir_ranks`, each candidate being seen beside every item of the outfit.

    A candidate's embedding depends on the category of the item beside it, not on the item, so that it is computed once
    per pair of categories.

    Args:
        model: has `item_embeds` and `target_embeds`, as FashionViLForOutfitRetrieval.
        data: with questions and categories.
        features: (T, D) of the model's `get_image_features`, of the items `ids`.
    """
    device, place = model.device, {item: row for row, item in enumerate(ids)}
    features = features.to(device)
    was_training = model.training
    model.eval()
    ranks = np.empty(len(data.queries), dtype=np.int64)
    asked = np.array([data.blank_categories[row] for row in data.queries])
    for category in np.unique(asked).tolist():
        gallery = [data.blank_ids[row] for row in data.gallery if data.blank_categories[row] == category]
        candidates = features[[place[item] for item in gallery]]
        chosen = np.flatnonzero(asked == category)
        scores = torch.zeros(len(chosen), len(gallery), device=device)
        beside: dict[int, list[tuple[int, Any]]] = {}
        for number, query in enumerate(chosen.tolist()):
            for item in data.questions[data.queries[query]]:
                beside.setdefault(data.categories[item], []).append((number, item))
        for own, pairs in beside.items():
            pair = torch.tensor([own, category], device=device)
            targets = model.target_embeds(candidates, pair.expand(len(candidates), 2))
            rows = features[[place[item] for _, item in pairs]]
            embeds = model.item_embeds(rows, pair.expand(len(rows), 2))
            owners = torch.tensor([number for number, _ in pairs], device=device)
            scores.index_add_(0, owners, embeds.float() @ targets.float().T)
        lengths = [len(data.questions[data.queries[query]]) for query in chosen.tolist()]
        scores = scores / torch.tensor(lengths, device=device)[:, None]
        if not torch.isfinite(scores).all():
            # A comparison with NaN is false, so a broken model would silently rank its answers first.
            raise ValueError(f"category {category}: scores hold NaN or infinity: a rank would be meaningless")
        position = {item: number for number, item in enumerate(gallery)}
        own = torch.tensor([position[data.blank_ids[data.queries[query]]] for query in chosen.tolist()], device=device)
        right = scores.gather(1, own[:, None])
        earlier = torch.arange(len(gallery), device=device)[None] < own[:, None]
        found = ((scores > right) | ((scores == right) & earlier)).sum(1)
        if protocol.fill is not None:
            # As in `ocir_ranks`.
            found += (right[:, 0] < protocol.fill) * (len(data.gallery) - len(gallery))
        ranks[chosen] = found.cpu().numpy()
    model.train(was_training)
    return ranks


def evaluate_ocir(
    name: str,
    data: OcirSet,
    queries: Tensor,
    targets: Tensor,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> OcirResult:
    """Figures of a model whose targets have one feature whatever stands beside them.

    Args:
        name: a key of `OCIR_PROTOCOLS`.
        data: rows of the split.
        queries: (R, D) mean features of the outfits, see `mean_by_outfit`. targets: (R, D) features of the blank items.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: other numbers of features than rows.
    """
    ranks = ocir_ranks(OCIR_PROTOCOLS[name], data, queries, targets)
    return ocir_result(name, data, {MODEL: ranks}, resamples, seed)


def evaluate_outfit_model(
    name: str,
    data: OcirSet,
    model: Any,
    features: Tensor,
    ids: Sequence[Any],
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> OcirResult:
    """Figures of a FashionViLForOutfitRetrieval, beside those of its image features alone.

    Args:
        name: a key of `OCIR_PROTOCOLS`.
        data, model, features, ids: as in `conditioned_ranks`.
        resamples, seed: of the bootstrap.
    """
    protocol = OCIR_PROTOCOLS[name]
    place = {item: row for row, item in enumerate(ids)}
    plain = torch.nn.functional.normalize(features.float(), dim=-1)
    items = plain[[place[item] for question in data.questions for item in question]]
    outfits = mean_by_outfit(items, [len(question) for question in data.questions])
    ranks = {
        MODEL: conditioned_ranks(protocol, model, data, features, ids),
        "image_only": ocir_ranks(protocol, data, outfits, plain[[place[item] for item in data.blank_ids]]),
    }
    return ocir_result(name, data, ranks, resamples, seed)


def ocir_result(
    name: str,
    data: OcirSet,
    ranks: Mapping[str, np.ndarray],
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> OcirResult:
    """Figures with intervals, controls and counts from ranks, wherever these come from.

    Args:
        name: a key of `OCIR_PROTOCOLS`.
        data: rows of the split.
        ranks: system -> (Q,) of the rows that ask; "model" must be there, the others are controls.
        resamples, seed: of the bootstrap.
    """
    protocol = OCIR_PROTOCOLS[name]
    groups = np.array([str(data.blank_categories[row]) for row in data.queries])
    sizes: dict[str, int] = {}
    for row in data.gallery:
        category = str(data.blank_categories[row])
        sizes[category] = sizes.get(category, 0) + 1
    asked = list(dict.fromkeys(groups.tolist()))
    size = np.array([sizes[category] for category in asked])
    expected = np.stack([chance_of_hit(size, np.ones_like(size), k) for k in protocol.cutoffs], axis=1)
    chance = protocol.figures(dict(zip(asked, expected, strict=True)))
    names, digest = np.asarray([data.query_ids[row] for row in data.queries]), str(data.fingerprint.get("digest", ""))
    records = {system: RankRecord(name, digest, names, groups, own) for system, own in ranks.items()}
    hits = {system: protocol.hits(own) for system, own in ranks.items()}
    figures = {s: bootstrap_figures(own, protocol.figures, groups, resamples, seed) for s, own in hits.items()}
    differences = {
        s: paired_bootstrap(hits[MODEL], own, protocol.figures, groups, resamples, seed)
        for s, own in hits.items()
        if s != MODEL
    }
    counts = {
        "queries": len(names),
        "queries_per_category": {c: int((groups == c).sum()) for c in asked},
        "gallery": {category: sizes[category] for category in asked},
    }
    controls = {system: own for system, own in figures.items() if system != MODEL}
    chance = {metric: float(value) for metric, value in chance.items()}
    return OcirResult(protocol, counts, figures[MODEL], controls, chance, differences, records)
