"""Composed retrieval protocols: reference image + relative caption -> target image, with every rule pinned.

A protocol's name says all that changes a number: which gallery, how captions are joined, what happens to the reference
image, which answers count, how ties fall. Figures of different protocols are never compared: `compare_ranks` refuses.

Every protocol reports the model beside what a cheaper query reaches on the same gallery:

    image_only   the reference image's own feature
    text_only    the caption's feature
    sum          normalise(image feature + text feature), the raw features as the encoders give them
    chance       expected figures of a random order, in closed form
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from train.retrieval.classification_protocols import CLASSIFICATION_PROTOCOLS, ClassificationProtocol
from train.retrieval.image_text_protocols import IMAGE_TEXT_PROTOCOLS, ImageTextProtocol
from train.retrieval.ocir_protocols import OCIR_PROTOCOLS, OcirProtocol
from train.retrieval.ranking import ranks_of_targets, subset_ranks
from train.retrieval.statistics import (
    DEFAULT_RESAMPLES,
    Difference,
    Interval,
    bootstrap_figures,
    paired_bootstrap,
)

MODEL = "model"
CONTROLS = ("image_only", "text_only", "sum")
_TIES = "an earlier gallery row wins"


@dataclass(frozen=True)
class Protocol:
    """The rules of one protocol, in words for the report and in values for the computation."""

    name: str
    description: str
    gallery: str
    captions: str
    positives: str
    reference_removed: bool
    cutoffs: tuple[int, ...]
    by_category: bool = False
    group_cutoffs: tuple[int, ...] = ()
    ties: str = _TIES

    def definition(self) -> dict[str, str]:
        """The rules as text, for results.json."""
        return {
            "description": self.description,
            "gallery": self.gallery,
            "captions": self.captions,
            "reference_image": "removed from the ranking" if self.reference_removed else "kept in the ranking",
            "positives": self.positives,
            "ties": self.ties,
        }

    def hits(self, ranks: np.ndarray, group_ranks: np.ndarray | None = None) -> np.ndarray:
        """Per-query values (Q, M) that the figures are means of: hit or not at every cut-off."""
        columns = [ranks < k for k in self.cutoffs]
        if self.group_cutoffs:
            if group_ranks is None:
                raise ValueError(f"{self.name} needs the ranks inside each query's group")
            columns = [group_ranks < k for k in self.group_cutoffs] + columns
        return np.stack(columns, axis=1).astype(np.float64)

    def figures(self, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Named figures in percent from the mean hits (..., M) of every category."""
        if self.by_category:
            return _fashioniq_figures(means, self.cutoffs)
        (mean,) = means.values()
        if self.group_cutoffs:
            return _cirr_figures(mean, self.group_cutoffs, self.cutoffs)
        return {f"recall_at{k}": 100 * mean[..., i] for i, k in enumerate(self.cutoffs)}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="fashioniq/original-split",
            description="FashionIQ validation as CLIP4Cir computes it: recall@10 and @50 per category and averaged.",
            gallery="per category, every image of the split file (dress 3817, shirt 6346, toptee 5373 on val)",
            captions="Caption1 and caption2: cleaned of '.?, ' at the ends, first capitalised, joined by ' and '",
            positives="the one target",
            reference_removed=False,
            cutoffs=(10, 50),
            by_category=True,
        ),
        Protocol(
            name="fashioniq/val-split",
            description="FashionIQ validation on the smaller gallery of VAL (Chen et al. 2020): scores are higher.",
            gallery="per category, the images that are a reference or a target of the split (dress 2628, shirt 3089, "
            "toptee 2902 on val), in the order of the split file",
            captions="Caption1 and caption2: cleaned of '.?, ' at the ends, first capitalised, joined by ' and '",
            positives="the one target",
            reference_removed=False,
            cutoffs=(10, 50),
            by_category=True,
        ),
        Protocol(
            name="cirr/val",
            description="CIRR validation: recall@1, 5, 10, 50 and, inside each query's group, recall_subset@1, 2, 3.",
            gallery="every image of the split file (2297 on val); for the subset recalls the query's group",
            captions="as annotated",
            positives="the hard target",
            reference_removed=True,
            cutoffs=(1, 5, 10, 50),
            group_cutoffs=(1, 2, 3),
        ),
        Protocol(
            name="composed/pooled-noref",
            description="Composed queries over one gallery of all categories.",
            gallery="every image of the split, all categories pooled, an image of several categories once",
            captions="two captions as in FashionIQ (Caption1 and caption2), a single caption as annotated",
            positives="the one target",
            reference_removed=True,
            cutoffs=(1, 5, 10, 50),
        ),
        Protocol(
            name="catalogue/same-title",
            description="Composed queries over one gallery; several photos may be right.",
            gallery="every photo of the split",
            captions="as annotated",
            positives="every photo whose title equals the target's title; the best ranked counts",
            reference_removed=True,
            cutoffs=(1, 5, 10, 50),
        ),
    )
}


@dataclass
class ComposedSet:
    """Composed queries and the galleries they are asked of; rows always index `gallery_ids`.

    Attributes:
        gallery_ids: the distinct images, each encoded once.
        images: one entry per gallery id: a path, encoded bytes, or a {"bytes", "path"} row.
        galleries: protocol name -> category -> gallery rows in the data set's order, for the protocols it can serve.
        query_ids: (Q) unique name of each query.
        captions: (Q) the text given to the model.
        reference: (Q,) int64 gallery row of the reference image.
        positives: protocol name -> per query the gallery rows that are right.
        categories: (Q) category of each query; a key of the galleries of protocols that count by category.
        members: (Q, m) int64 gallery rows of the query's group, for CIRR.
        annotated: (Q) the captions as the protocol forms them, where a model reads them in another form.
        caption_rule: how captions were made where a model reads them in another form than the protocol says.
        fingerprint: digest and counts of the annotation files, for results.json.
    """

    gallery_ids: list[str]
    galleries: dict[str, dict[str, Tensor]]
    query_ids: list[str]
    captions: list[str]
    reference: Tensor
    positives: dict[str, list[list[int]]]
    categories: list[str]
    members: Tensor | None = None
    images: Sequence = ()
    annotated: list[str] | None = None
    caption_rule: str | None = None
    fingerprint: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        queries = len(self.query_ids)
        if len(set(self.gallery_ids)) != len(self.gallery_ids):
            raise ValueError("an image id occurs twice in the gallery: each image must be listed once")
        if len(set(self.query_ids)) != queries:
            raise ValueError("two queries have the same id")
        if queries == 0:
            raise ValueError("no queries to evaluate")
        if not len(self.captions) == len(self.reference) == len(self.categories) == queries:
            raise ValueError(
                f"{queries} queries but {len(self.captions)} captions, {len(self.reference)} references, "
                f"{len(self.categories)} categories"
            )
        for name, positives in self.positives.items():
            if len(positives) != queries:
                raise ValueError(f"{name}: {queries} queries but {len(positives)} lists of right answers")


@dataclass
class RankRecord:
    """Per-query ranks of one system under one protocol: what a paired comparison needs."""

    protocol: str
    data: str
    query_ids: np.ndarray
    categories: np.ndarray
    ranks: np.ndarray
    group_ranks: np.ndarray | None = None

    def hits(self) -> np.ndarray:
        return find_protocol(self.protocol).hits(self.ranks, self.group_ranks)


@dataclass
class ProtocolResult:
    """Figures of the model and its controls under one protocol, with the ranks behind them."""

    protocol: Protocol
    counts: dict
    figures: dict[str, Interval]
    controls: dict[str, dict[str, Interval]]
    chance: dict[str, float]
    differences: dict[str, dict[str, Difference]]
    records: dict[str, RankRecord]

    def headline(self) -> dict[str, float]:
        """Metric name -> the model's figure in percent, rounded for reading."""
        return {name: round(figure.value, 4) for name, figure in self.figures.items()}

    def to_dict(self) -> dict:
        """Everything but the ranks, ready for JSON."""
        controls = {name: _dicts(figures) for name, figures in self.controls.items()}
        controls["chance"] = {name: {"value": value} for name, value in self.chance.items()}
        return {
            "protocol": self.protocol.name,
            "definition": self.protocol.definition(),
            "unit": "percent",
            "interval": "95 %, percentile bootstrap over queries"
            + (", inside each category" if self.protocol.by_category else ""),
            "counts": self.counts,
            "figures": _dicts(self.figures),
            "controls": controls,
            "differences": {f"model - {name}": _dicts(d) for name, d in self.differences.items()},
        }


def find_protocol(name: str) -> Protocol | ImageTextProtocol | ClassificationProtocol | OcirProtocol:
    """The protocol of this name: composed, image-text, of classification, or for missing items of outfits.

    Raises:
        ValueError: no such protocol; lists the names.
    """
    known = {**PROTOCOLS, **IMAGE_TEXT_PROTOCOLS, **CLASSIFICATION_PROTOCOLS, **OCIR_PROTOCOLS}
    if name not in known:
        raise ValueError(f"unknown protocol {name!r}; one of {', '.join(known)}")
    return known[name]


def system_queries(
    image_features: Tensor,
    text_features: Tensor,
    reference: Tensor,
    compose: Callable[[Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    """L2-normalised query features (Q, D) of the model and of its controls.

    Args:
        image_features: (N, D) raw gallery features; the reference's feature is looked up here, as in the original.
        text_features: (Q, D) raw.
        reference: (Q,) gallery row of each query's reference image.
        compose: the model's (image (Q, D), text (Q, D)) -> normalised query features (Q, D).
    """
    images = image_features[reference]
    normalise = torch.nn.functional.normalize
    return {
        MODEL: compose(images, text_features),
        "image_only": normalise(images, dim=-1),
        "text_only": normalise(text_features, dim=-1),
        "sum": normalise(images + text_features, dim=-1),
    }


def evaluate_protocol(
    name: str,
    data: ComposedSet,
    image_features: Tensor,
    queries: Mapping[str, Tensor],
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    max_block_bytes: int | None = None,
) -> ProtocolResult:
    """Rank every query under a protocol and report figures, intervals, controls and paired differences.

    Args:
        name: a key of `PROTOCOLS` that `data` serves.
        data: queries and galleries.
        image_features: (N, D) features of `data.gallery_ids`, raw or normalised.
        queries: system name -> (Q, D) normalised query features; "model" must be there (see :func:`system_queries`).
        resamples, seed: of the bootstrap.
        max_block_bytes: see :func:`train.retrieval.ranking.ranks_of_targets`.

    Raises:
        ValueError: a protocol this data cannot serve, or a reference or target outside its gallery (both named).
    """
    protocol, plans, records = _ranked(name, data, image_features, queries, max_block_bytes)
    strata = np.asarray(data.categories) if protocol.by_category else None
    hits = {system: record.hits() for system, record in records.items()}
    figures = {s: bootstrap_figures(h, protocol.figures, strata, resamples, seed) for s, h in hits.items()}
    differences = {
        s: paired_bootstrap(hits[MODEL], h, protocol.figures, strata, resamples, seed)
        for s, h in hits.items()
        if s != MODEL
    }
    expected = np.empty_like(hits[MODEL])
    for plan in plans:
        expected[plan.queries] = _chance(protocol, plan)
    chance = {name: float(value) for name, value in protocol.figures(_group_means(expected, strata)).items()}
    counts = {
        "queries": len(data.query_ids),
        "queries_per_category": {plan.category: len(plan.queries) for plan in plans},
        "gallery": {plan.category: len(plan.rows) for plan in plans},
    }
    controls = {s: f for s, f in figures.items() if s != MODEL}
    if data.caption_rule:
        protocol = replace(protocol, captions=data.caption_rule)
    return ProtocolResult(protocol, counts, figures[MODEL], controls, chance, differences, records)


def protocol_figures(
    name: str,
    data: ComposedSet,
    image_features: Tensor,
    queries: Mapping[str, Tensor],
    max_block_bytes: int | None = None,
) -> dict[str, dict[str, float]]:
    """The figures alone, for validation during training: system name -> metric -> percent.

    Arguments and errors as :func:`evaluate_protocol`; any system names will do.
    """
    protocol, _, records = _ranked(name, data, image_features, queries, max_block_bytes)
    strata = np.asarray(data.categories) if protocol.by_category else None
    return {
        system: {k: float(v) for k, v in protocol.figures(_group_means(record.hits(), strata)).items()}
        for system, record in records.items()
    }


def protocol_hits(
    name: str, data: ComposedSet, image_features: Tensor, queries: Tensor, max_block_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Hits (q, M) of every query at every cut-off, by category where the protocol counts by it, else under "all".

    queries: (Q, D) normalised. Other arguments and errors: as :func:`evaluate_protocol`.
    """
    protocol, _, records = _ranked(name, data, image_features, {MODEL: queries}, max_block_bytes)
    hits = records[MODEL].hits()
    if not protocol.by_category:
        return {"all": hits}
    categories = np.asarray(data.categories)
    return {str(category): hits[categories == category] for category in dict.fromkeys(data.categories)}


def _group_means(values: np.ndarray, strata: np.ndarray | None) -> dict[str, np.ndarray]:
    if strata is None:
        return {"all": values.mean(axis=0)}
    return {c: values[strata == c].mean(axis=0) for c in dict.fromkeys(strata.tolist())}


def _ranked(
    name: str, data: ComposedSet, image_features: Tensor, queries: Mapping[str, Tensor], max_block_bytes: int | None
) -> tuple[Protocol, list[_CategoryPlan], dict[str, RankRecord]]:
    """Ranks of every system's queries under a protocol."""
    protocol = find_protocol(name)
    if name not in data.galleries or name not in data.positives:
        raise ValueError(f"this data serves {', '.join(data.galleries)}, not {name}")
    if len(image_features) != len(data.gallery_ids):
        raise ValueError(f"{len(data.gallery_ids)} gallery images but {len(image_features)} feature rows")
    gallery = torch.nn.functional.normalize(image_features, dim=-1)
    plans = list(_category_plans(protocol, data))
    records = {}
    for system, features in queries.items():
        if len(features) != len(data.query_ids):
            raise ValueError(f"{system}: {len(data.query_ids)} queries but {len(features)} feature rows")
        ranks = np.empty(len(data.query_ids), dtype=np.int64)
        groups = np.empty_like(ranks) if protocol.group_cutoffs else None
        for plan in plans:
            asked, of_category = features[plan.queries], gallery[plan.rows]
            found = ranks_of_targets(asked, of_category, plan.positives, plan.exclude, max_block_bytes)
            ranks[plan.queries] = found.numpy()
            if groups is not None:
                targets = torch.tensor([answers[0] for answers in plan.positives])
                found = subset_ranks(asked, of_category, plan.members, targets, plan.exclude)
                groups[plan.queries] = found.numpy()
        digest = str(data.fingerprint.get("digest", ""))
        asked_by = np.asarray(data.query_ids), np.asarray(data.categories)
        records[system] = RankRecord(name, digest, *asked_by, ranks, groups)
    return protocol, plans, records


def compare_ranks(
    first: RankRecord, second: RankRecord, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Paired bootstrap of two runs over the same queries: metric name -> first minus second, in percentage points.

    Raises:
        ValueError: the runs differ in protocol, data or queries, so that their figures may not be compared.
    """
    if first.protocol != second.protocol:
        raise ValueError(
            f"results of different protocols cannot be compared: {first.protocol} and {second.protocol}; "
            "evaluate both models under one protocol"
        )
    if first.data != second.data:
        raise ValueError(
            f"the runs read different annotation files (digests {first.data[:12]} and {second.data[:12]}); "
            "evaluate both models on one copy of the data"
        )
    same = len(first.query_ids) == len(second.query_ids) and bool(np.all(first.query_ids == second.query_ids))
    if not same or not np.array_equal(first.categories, second.categories):
        raise ValueError("the runs answered different queries; evaluate both models on the same split")
    protocol = find_protocol(first.protocol)
    strata = first.categories if protocol.by_category else None
    return paired_bootstrap(first.hits(), second.hits(), protocol.figures, strata, resamples, seed)


@dataclass
class _CategoryPlan:
    """The queries of one category with their rows counted inside the category's own gallery."""

    category: str
    queries: np.ndarray
    rows: Tensor
    positives: list[list[int]]
    exclude: Tensor | None
    members: Tensor | None


def _category_plans(protocol: Protocol, data: ComposedSet) -> Iterator[_CategoryPlan]:
    galleries = data.galleries[protocol.name]
    categories = np.asarray(data.categories)
    if protocol.by_category:
        unknown = set(data.categories) - set(galleries)
        if unknown:
            raise ValueError(f"{protocol.name}: no gallery for categories {', '.join(sorted(unknown))}")
    elif len(galleries) != 1:
        raise ValueError(f"{protocol.name} has one gallery, the data has {len(galleries)}")
    for category, rows in galleries.items():
        chosen = np.flatnonzero(categories == category) if protocol.by_category else np.arange(len(categories))
        if len(chosen) == 0:
            continue
        local = torch.full((len(data.gallery_ids),), -1, dtype=torch.int64)
        local[rows] = torch.arange(len(rows))
        lists = [data.positives[protocol.name][q] for q in chosen]
        inside = [[int(local[row]) for row in answers if local[row] >= 0] for answers in lists]
        lost = [q for q, found in zip(chosen, inside, strict=True) if not found]
        reference = local[data.reference[chosen]]
        if lost:
            raise ValueError(f"{protocol.name}: {_lost(data, lost, 'target', category)}")
        if bool((reference < 0).any()):
            missing = chosen[(reference < 0).numpy()]
            raise ValueError(f"{protocol.name}: {_lost(data, missing, 'reference', category)}")
        members = None
        if data.members is not None:
            listed = data.members[chosen]
            members = torch.where(listed < 0, -1, local[listed.clamp(min=0)])
        if protocol.group_cutoffs and members is None:
            raise ValueError(f"{protocol.name} needs the group members of every query")
        yield _CategoryPlan(category, chosen, rows, inside, reference if protocol.reference_removed else None, members)


def _lost(data: ComposedSet, queries, role: str, category: str) -> str:
    names = ", ".join(data.query_ids[q] for q in queries[:3])
    return f"{len(queries)} queries have their {role} outside the gallery of {category}, first: {names}"


def _chance(protocol: Protocol, plan: _CategoryPlan) -> np.ndarray:
    """Expected hits (Q, M) of a random order of the gallery."""
    size = np.full(len(plan.queries), len(plan.rows))
    right = np.array([len(set(p)) for p in plan.positives])
    if plan.exclude is not None:
        size = size - 1
        right = right - np.array([int(e) in p for e, p in zip(plan.exclude, plan.positives, strict=True)])
    columns = [chance_of_hit(size, right, k) for k in protocol.cutoffs]
    if protocol.group_cutoffs:
        distinct = [set(m.tolist()) - {-1} for m in plan.members]
        removed = plan.exclude if plan.exclude is not None else [None] * len(distinct)
        group = np.array([len(m - {None if r is None else int(r)}) for m, r in zip(distinct, removed, strict=True)])
        columns = [chance_of_hit(group, np.ones_like(group), k) for k in protocol.group_cutoffs] + columns
    return np.stack(columns, axis=1)


def chance_of_hit(gallery: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Probability that a random order of `gallery` rows has one of the `right` ones among the first k.

    1 - C(gallery - right, k) / C(gallery, k), elementwise over arrays (Q,).
    """
    gallery, right = np.asarray(gallery, dtype=np.float64), np.asarray(right, dtype=np.float64)
    miss = np.ones_like(gallery)
    for drawn in range(k):
        left = gallery - drawn
        miss = miss * np.clip(gallery - right - drawn, 0, None) / np.where(left > 0, left, 1)
    return 1 - miss


def _fashioniq_figures(means: Mapping[str, np.ndarray], cutoffs: tuple[int, ...]) -> dict[str, np.ndarray]:
    figures = {f"{c}_recall_at{k}": 100 * m[..., i] for c, m in means.items() for i, k in enumerate(cutoffs)}
    for k in cutoffs:
        figures[f"average_recall_at{k}"] = np.mean([figures[f"{c}_recall_at{k}"] for c in means], axis=0)
    figures["average_recall"] = np.mean([figures[f"average_recall_at{k}"] for k in cutoffs], axis=0)
    return figures


def _cirr_figures(mean: np.ndarray, group_cutoffs: tuple[int, ...], cutoffs: tuple[int, ...]) -> dict[str, np.ndarray]:
    names = [f"group_recall_at{k}" for k in group_cutoffs] + [f"recall_at{k}" for k in cutoffs]
    figures = {name: 100 * mean[..., i] for i, name in enumerate(names)}
    recalls = np.stack(list(figures.values()), axis=-1)
    figures["mean(R@5+R_s@1)"] = (figures["recall_at5"] + figures["group_recall_at1"]) / 2
    figures["arithmetic_mean"] = recalls.mean(axis=-1)
    # Deviation: the original stops with an error when a recall is 0; both means then tend to 0.
    positive = recalls.min(axis=-1) > 0
    safe = np.where(recalls > 0, recalls, 1.0)
    figures["harmonic_mean"] = positive * recalls.shape[-1] / np.sum(1 / safe, axis=-1)
    figures["geometric_mean"] = positive * np.exp(np.mean(np.log(safe), axis=-1))
    return figures


def _dicts(figures: Mapping[str, Interval | Difference]) -> dict[str, dict[str, float]]:
    return {name: figure.to_dict() for name, figure in figures.items()}
