"""The images that stand for a concept: the most similar of a pool, thinned out so that they differ from one another.

FashionKLIP chooses them again at the start of every epoch with the model as it is then (ACL 2023 Industry, section 3.2;
the released code's knowledge-base update). Search and thinning are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from train.retrieval.ranking import top_k

# Numbers of float64 similarity held at once while thinning; 64 MiB.
_BLOCK_NUMBERS = 2**23


@dataclass(frozen=True)
class Prototypes:
    """Chosen images of every concept, in the order of their choice.

    Attributes:
        indices: (concepts, P) int64 rows of the pool. P is smaller than asked for where the whole pool is; -1 stands
            where only a concept's part of the pool is (see [`select_sharded`]).
        scores: (concepts, P) similarity of concept and image, 0 where there is none.
    """

    indices: torch.Tensor
    scores: torch.Tensor


def select_prototypes(
    concept_features: torch.Tensor,
    image_features: torch.Tensor,
    candidates: int = 20,
    prototypes: int = 10,
    diversity: float = 0.8,
    max_block_bytes: int | None = None,
) -> Prototypes:
    """The `candidates` most similar images of each concept, thinned to `prototypes` by maximal marginal relevance.

    Args:
        concept_features: (C, D) features of the concepts' prompts, length one.
        image_features: (N, D) features of the pool, length one. A pool smaller than `candidates` is used whole, one
            smaller than `prototypes` gives fewer. Deviation: the original crashes below 20 images.
        candidates: images that enter the thinning.
        prototypes: images that are kept.
        diversity: 0 keeps the most similar, 1 looks at the differences alone.
        max_block_bytes: largest block of scores in the search.

    Returns:
        [`Prototypes`].

    Raises:
        ValueError: an empty pool, numbers out of range, features that are not finite.
    """
    if prototypes < 1 or candidates < prototypes:
        raise ValueError(f"{prototypes} prototypes of {candidates} candidates: expected 1 <= prototypes <= candidates")
    if not len(concept_features):
        empty = torch.empty(0, min(prototypes, len(image_features)))
        return Prototypes(empty.long(), empty)
    scores, rows = top_k(concept_features, image_features, candidates, max_block_bytes=max_block_bytes)
    kept = min(prototypes, rows.shape[1])
    indices = torch.empty(len(rows), kept, dtype=torch.int64)
    step = max(1, _BLOCK_NUMBERS // (rows.shape[1] * (rows.shape[1] + image_features.shape[1])))
    pool = image_features.cpu()
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        order = maximal_marginal_relevance(concept_features[start : start + step].cpu(), pool[part], kept, diversity)
        indices[start : start + step] = part.gather(1, order)
        scores[start : start + step, :kept] = scores[start : start + step].gather(1, order)
    return Prototypes(indices, scores[:, :kept])


def maximal_marginal_relevance(
    queries: torch.Tensor, candidates: torch.Tensor, top_n: int, diversity: float = 0.8
) -> torch.Tensor:
    """Order in which candidates are chosen: the most similar first, then always the one that maximises

        (1 - diversity) cos(query, x) - diversity max over the chosen y of cos(x, y)

    Args:
        queries: (B, D). candidates: (B, n, D) each query's own candidates. Of any length; cosines are in float64.
        top_n: how many to choose; all of them where there are fewer.
        diversity: between 0 and 1. Among equals the first candidate wins.

    Returns:
        (B, min(top_n, n)) int64 positions among the candidates.

    Raises:
        ValueError: a number out of range.
    """
    if top_n < 1 or not 0 <= diversity <= 1:
        raise ValueError(f"expected top_n >= 1 and 0 <= diversity <= 1, got {top_n} and {diversity}")
    queries = torch.nn.functional.normalize(queries.double(), dim=-1)
    candidates = torch.nn.functional.normalize(candidates.double(), dim=-1)
    relevance = torch.einsum("bd,bnd->bn", queries, candidates)
    alike = candidates @ candidates.transpose(1, 2)  # (B, n, n)
    chosen = [_first_maximum(relevance)]
    taken = torch.zeros_like(relevance, dtype=torch.bool).scatter_(1, chosen[0][:, None], True)
    redundancy = torch.full_like(relevance, -torch.inf)
    rows = torch.arange(len(queries), device=queries.device)
    for _ in range(min(top_n, candidates.shape[1]) - 1):
        redundancy = torch.maximum(redundancy, alike[rows, chosen[-1]])
        value = (1 - diversity) * relevance - diversity * redundancy
        chosen.append(_first_maximum(value.masked_fill(taken, -torch.inf)))
        taken.scatter_(1, chosen[-1][:, None], True)
    return torch.stack(chosen, dim=1)


def _first_maximum(values: torch.Tensor) -> torch.Tensor:
    """Position of the first largest value of each row; `argmax` promises no order among equals."""
    return (values == values.amax(dim=1, keepdim=True)).int().argmax(dim=1)


def select_sharded(
    concept_features: torch.Tensor,
    image_features: torch.Tensor,
    concept_shards: list[list[int]],
    image_shards: list[list[int]],
    **options,
) -> Prototypes:
    """The original's search with several processes: each looks for its own concepts among its own images only.

    Args:
        concept_features, image_features: as in [`select_prototypes`], of all processes.
        concept_shards, image_shards: for each process its rows. A concept in several shards keeps what the last found.
        options: as in [`select_prototypes`].

    Returns:
        [`Prototypes`] with rows of the whole pool. Deviation: `select_prototypes` searches the whole pool for everyone.

    Raises:
        ValueError: a concept in no shard; otherwise as `select_prototypes`, a shard without images included.
    """
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for concepts, images in zip(concept_shards, image_shards, strict=True):
        pool = torch.tensor(images)
        part = select_prototypes(concept_features[concepts], image_features[pool], **options)
        found |= {c: (pool[part.indices[row]], part.scores[row]) for row, c in enumerate(concepts)}
    missing = sorted(set(range(len(concept_features))) - found.keys())
    if missing:
        raise ValueError(f"{len(missing)} concepts are in no shard, first: row {missing[0]}")
    # Shards smaller than the number of prototypes need not be equally small.
    indices, scores = (
        torch.nn.utils.rnn.pad_sequence([found[c][k] for c in range(len(found))], True, padding_value=empty)
        for k, empty in ((0, -1), (1, 0.0))
    )
    return Prototypes(indices, scores)
