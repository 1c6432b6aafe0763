"""Image-text retrieval under a named protocol: exact ranks in both directions, intervals, controls.

Controls, in closed form:

    chance          a random order of the candidates
    category_only   a random order in which everything of the query's own category comes first (data with categories)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.retrieval.composed import MODEL, RankRecord, chance_of_hit
from train.retrieval.image_text_protocols import (
    DIRECTIONS,
    IMAGE_TEXT_PROTOCOLS,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    ImageTextProtocol,
)
from train.retrieval.ranking import ranks_of_targets, subset_ranks
from train.retrieval.statistics import DEFAULT_RESAMPLES, Interval, bootstrap_figures

Candidates = dict[
    str, dict[str, list]
]  # direction -> {"queries": (Q) rows, "candidates": (Q, m) rows, right one first}


@dataclass
class ImageTextSet:
    """Images and texts of one split.

    Attributes:
        image_ids: distinct. images: file, bytes or row per id, or an archive of finished arrays.
        text_ids, texts: the gallery of texts, as the protocol wants it.
        image_owner, text_owner: what decides who belongs together: product, or caption. Equal means right.
        image_category, text_category: None where the data has none.
        fingerprint: digest and counts.
    """

    image_ids: list[str]
    images: Any
    text_ids: list[str]
    texts: list[str]
    image_owner: list[Any]
    text_owner: list[Any]
    image_category: list[str] | None = None
    text_category: list[str] | None = None
    fingerprint: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.image_ids or not self.texts:
            raise ValueError("image-text retrieval needs at least one image and one text")

    def side(self, direction: str) -> tuple[list[Any], list[Any]]:
        """Owners of the queries and of the candidates."""
        owners = (self.text_owner, self.image_owner)
        return owners if direction == TEXT_TO_IMAGE else owners[::-1]

    def categories(self, direction: str) -> tuple[list[str], list[str]] | None:
        """Categories of the queries and of the candidates, None where there are none."""
        if self.image_category is None or self.text_category is None:
            return None
        both = (self.text_category, self.image_category)
        return both if direction == TEXT_TO_IMAGE else both[::-1]

    def query_names(self, direction: str) -> list[str]:
        ids = self.text_ids if direction == TEXT_TO_IMAGE else self.image_ids
        return [f"{direction}/{identity}" for identity in ids]


@dataclass
class ImageTextResult:
    """Figures under one protocol, with the ranks behind them."""

    protocol: ImageTextProtocol
    counts: dict[str, Any]
    figures: dict[str, Interval]
    controls: dict[str, dict[str, float]]
    records: dict[str, RankRecord]
    median_rank: dict[str, float]
    candidates: Candidates | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything but ranks and candidates, ready for JSON."""
        return {
            "protocol": self.protocol.name,
            "definition": self.protocol.definition(),
            "unit": "percent",
            "interval": "95 %, percentile bootstrap over queries, inside each direction",
            "counts": self.counts,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "controls": {c: {n: {"value": v} for n, v in figures.items()} for c, figures in self.controls.items()},
            "differences": {},
            "median_rank": self.median_rank,
        }


def evaluate_image_text(
    name: str,
    data: ImageTextSet,
    image_features: Tensor,
    text_features: Tensor,
    candidates: Candidates | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    max_block_bytes: int | None = None,
) -> ImageTextResult:
    """Rank both directions under a protocol.

    Args:
        name: a key of `IMAGE_TEXT_PROTOCOLS`.
        data: images and texts.
        image_features: (images, D), text_features: (texts, D); raw or normalised.
        candidates: the lists of a sampled protocol; None draws them with seed 0 (see `draw_candidates`).
        resamples, seed: of the bootstrap. max_block_bytes: see `ranks_of_targets`.

    Raises:
        ValueError: features of another number than images or texts, a query without a right answer, lists that don't
            fit the data.
    """
    protocol = IMAGE_TEXT_PROTOCOLS[name]
    for what, features, wanted in (("images", image_features, data.image_ids), ("texts", text_features, data.texts)):
        if len(features) != len(wanted):
            raise ValueError(f"{len(wanted)} {what} but {len(features)} feature rows")
    images, texts = (torch.nn.functional.normalize(f.float(), dim=-1) for f in (image_features, text_features))
    if protocol.candidates:
        candidates = draw_candidates(protocol, data) if candidates is None else candidates
        check_candidates(protocol, data, candidates)
    else:
        candidates = None
    ranks, names, strata, expected = [], [], [], {}
    for direction in DIRECTIONS:
        queries, gallery = (texts, images) if direction == TEXT_TO_IMAGE else (images, texts)
        right = right_rows(*data.side(direction))
        if candidates:
            rows = torch.tensor(candidates[direction]["queries"])
            lists = torch.tensor(candidates[direction]["candidates"])
            found = subset_ranks(queries[rows], gallery, lists, lists[:, 0], None)
            chosen = rows.tolist()
        else:
            lost = next((row for row, answers in enumerate(right) if not answers), None)
            if lost is not None:
                raise ValueError(f"query {data.query_names(direction)[lost]} has no right answer in the data")
            found = ranks_of_targets(queries, gallery, right, None, max_block_bytes)
            chosen = list(range(len(queries)))
        everyone = data.query_names(direction)
        ranks.append(found.numpy())
        names += [everyone[row] for row in chosen]
        strata += [direction] * len(chosen)
        for control, values in expected_hits(protocol, data, direction, right, chosen).items():
            expected.setdefault(control, {})[direction] = values.mean(axis=0)
    groups = np.asarray(strata)
    annotations = str(data.fingerprint.get("digest", ""))
    record = RankRecord(
        name,
        _digest([annotations, candidates]) if candidates else annotations,
        np.asarray(names),
        groups,
        np.concatenate(ranks),
    )
    figures = bootstrap_figures(protocol.hits(record.ranks), protocol.figures, groups, resamples, seed)
    controls = {c: {n: float(v) for n, v in protocol.figures(means).items()} for c, means in expected.items()}
    counts = {
        "queries": len(names),
        "queries_per_category": {d: strata.count(d) for d in DIRECTIONS},
        "gallery": {TEXT_TO_IMAGE: len(images), IMAGE_TO_TEXT: len(texts)},
    }
    if candidates:
        counts["gallery"] = {d: len(candidates[d]["candidates"][0]) for d in DIRECTIONS}
    medians = {d: float(np.median(r)) + 1 for d, r in zip(DIRECTIONS, ranks, strict=True)}
    return ImageTextResult(protocol, counts, figures, controls, {MODEL: record}, medians, candidates)


def right_rows(query_owner: list[Any], candidate_owner: list[Any]) -> list[list[int]]:
    """For each query the candidates of the same owner; an owner may be a tuple of captions, any common one counts."""
    rows: dict[Any, list[int]] = {}
    for row, owner in enumerate(candidate_owner):
        for one in owner if isinstance(owner, tuple) else (owner,):
            rows.setdefault(one, []).append(row)
    found = []
    for owner in query_owner:
        answers = [row for one in (owner if isinstance(owner, tuple) else (owner,)) for row in rows.get(one, [])]
        found.append(sorted(set(answers)))
    return found


def expected_hits(
    protocol: ImageTextProtocol, data: ImageTextSet, direction: str, right: list[list[int]], queries: list[int]
) -> dict[str, np.ndarray]:
    """Control -> (Q, M) expected hits."""
    if protocol.candidates:
        size, one = np.full(len(queries), protocol.candidates), np.ones(len(queries))
        return {"chance": np.stack([chance_of_hit(size, one, k) for k in protocol.cutoffs], axis=1)}
    _, candidates = data.side(direction)
    counts = np.array([len(right[row]) for row in queries])
    size = np.full(len(queries), len(candidates))
    hits = {"chance": np.stack([chance_of_hit(size, counts, k) for k in protocol.cutoffs], axis=1)}
    categories = data.categories(direction)
    if categories is not None:
        asked, there = categories
        total: dict[str, int] = {}
        for category in there:
            total[category] = total.get(category, 0) + 1
        inside = np.array([sum(there[r] == asked[row] for r in right[row]) for row in queries])
        pool = np.array([total.get(asked[row], 0) for row in queries])
        hits["category_only"] = np.stack(
            [np.where(pool > 0, chance_of_hit(np.maximum(pool, 1), inside, k), 0.0) for k in protocol.cutoffs], axis=1
        )
    return hits


def draw_candidates(protocol: ImageTextProtocol, data: ImageTextSet, seed: int = 0) -> Candidates:
    """The lists of a sampled protocol: for each drawn query its right answer and others of the same category.

    Raises:
        ValueError: data without categories, or with fewer candidates than a list has.
    """
    drawn: Candidates = {}
    for number, direction in enumerate(DIRECTIONS):
        categories = data.categories(direction)
        if categories is None:
            raise ValueError(f"{protocol.name} draws wrong answers from the query's sub-category; this data has none")
        asked, there = (np.asarray([str(c) for c in side]) for side in categories)
        right = right_rows(*data.side(direction))
        if len(there) < protocol.candidates:
            raise ValueError(f"{protocol.name} needs {protocol.candidates} candidates; this data has {len(there)}")
        generator = np.random.default_rng([seed, number])
        answerable = np.array([row for row, answers in enumerate(right) if answers])
        queries = np.sort(generator.permutation(answerable)[: protocol.queries])
        same = {category: np.flatnonzero(there == category) for category in dict.fromkeys(there.tolist())}
        lists = []
        for row in queries.tolist():
            one = int(generator.choice(right[row]))
            wrong = np.setdiff1d(same.get(asked[row], np.array([], dtype=int)), right[row])
            wanted = protocol.candidates - 1
            chosen = generator.permutation(wrong)[:wanted]
            if len(chosen) < wanted:
                others = np.setdiff1d(np.arange(len(there)), [*right[row], *wrong])
                chosen = np.concatenate([chosen, generator.permutation(others)[: wanted - len(chosen)]])
            if len(chosen) < wanted:
                raise ValueError(
                    f"{protocol.name}: only {len(chosen)} wrong answers for query {row}, {wanted} are needed"
                )
            lists.append([one, *map(int, chosen)])
        drawn[direction] = {"queries": queries.tolist(), "candidates": lists}
    return drawn


def check_candidates(protocol: ImageTextProtocol, data: ImageTextSet, candidates: Candidates) -> None:
    """Refuse lists that were drawn for other data or another protocol.

    Raises:
        ValueError: a direction is missing, a list has another length than the protocol's or a candidate twice, rows are
            out of range, or the first of a list is not right.
    """
    remedy = "they were drawn for another split or version; draw them anew by leaving --candidates out"
    if not isinstance(candidates, dict):
        raise ValueError(f"the candidate lists are not lists for {' and '.join(DIRECTIONS)}; {remedy}")
    sizes = {
        TEXT_TO_IMAGE: (len(data.texts), len(data.image_ids)),
        IMAGE_TO_TEXT: (len(data.image_ids), len(data.texts)),
    }
    for direction in DIRECTIONS:
        entry = candidates.get(direction)
        lists = entry.get("candidates") if isinstance(entry, dict) else None
        if not isinstance(lists, list) or not lists or len(entry.get("queries") or []) != len(lists):
            raise ValueError(f"the candidate lists hold nothing usable for {direction}; draw them anew")
        queries, gallery = sizes[direction]
        right = right_rows(*data.side(direction))
        asked = set()
        for row, rows in zip(entry["queries"], lists, strict=True):
            if len(rows) != protocol.candidates or len(set(rows)) < len(rows) or row in asked:
                raise ValueError(
                    f"the candidate lists ({direction}, query {row}): expected every query once with {protocol.candidates} "
                    f"different candidates, as {protocol.name} wants; {remedy}"
                )
            asked.add(row)
            fits = 0 <= row < queries and all(0 <= r < gallery for r in rows)
            if not fits or rows[0] not in right[row] or set(rows[1:]) & set(right[row]):
                raise ValueError(f"the candidate lists don't fit this data ({direction}, query {row}): {remedy}")


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fingerprint(data: ImageTextSet) -> dict[str, Any]:
    """Digest of everything in the annotations that decides a rank, with counts."""
    content = [data.image_ids, data.texts, list(map(str, data.image_owner)), list(map(str, data.text_owner))]
    content += [data.image_category, data.text_category]
    return {"digest": _digest(content), "queries": len(data.texts) + len(data.image_ids), "images": len(data.image_ids)}
