"""Predictions and scores in FashionKLIP's own formats.

A prediction is the list of the k best candidates of a query. A score is a hit rate: the share of the reference's queries
with a right answer among the first n predictions, n = 1, 5, 10, in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from train.retrieval.ranking import top_k

CUTOFFS = (1, 5, 10)
Id = int | str


def predict(
    query_features: torch.Tensor,
    candidate_ids: Sequence[Id],
    candidate_features: torch.Tensor,
    k: int,
    max_block_bytes: int | None = None,
) -> list[list[Id]]:
    """Ids of the k best candidates of every query, best first; equal scores keep the candidates' order.

    Args:
        query_features: (Q, D) and candidate_features: (N, D), compared as they are by float32 inner products.
        candidate_ids: N ids.
        k: how many; fewer candidates give fewer.
        max_block_bytes: largest block of scores.
    """
    _, rows = top_k(query_features, candidate_features, k, max_block_bytes=max_block_bytes)
    return [[candidate_ids[row] for row in line] for line in rows.tolist()]


def score(predictions: dict[Any, Sequence[Any]], reference: dict[Any, Sequence[Any]]) -> dict[str, Any]:
    """The original's score object.

    Args:
        predictions: query id -> candidate ids, best first.
        reference: query id -> right ids. Only its queries count; ids are equal when they are equal as Python values.

    Raises:
        KeyError: a query of the reference has no prediction; the argument is its id.
        ZeroDivisionError: an empty reference.
    """
    hits = dict.fromkeys(CUTOFFS, 0)
    for query, right in reference.items():
        found, wanted = predictions[query], set(right)
        for n in CUTOFFS:
            hits[n] += any(candidate in wanted for candidate in found[:n])
    ratios = [hits[n] / len(reference) for n in CUTOFFS]
    # In this order of operations, to the original's last digit.
    mean = sum(ratios) / 3 * 100
    figures = {f"r{n}": ratio * 100 for n, ratio in zip(CUTOFFS, ratios, strict=True)}
    return {"success": True, "score": mean, "scoreJson": {"score": mean, "mean_recall": mean, **figures}}


def error_object(error: Exception) -> dict[str, Any]:
    """What the original writes in place of a score when anything goes wrong."""
    detail = error.args[0] if error.args else str(error)
    return {"errorDetail": detail, "errorMsg": detail, "score": 0, "scoreJson": {}, "success": False}
