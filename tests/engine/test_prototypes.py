"""Prototypes: search and thinning against a write-up with loops, ties, small pools, shards."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.utils.data import DistributedSampler

from train.engine import prototypes
from train.engine.fashionklip import _sampler_shard
from train.engine.prototypes import maximal_marginal_relevance, select_prototypes, select_sharded


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def cosine(a, b) -> float:
    length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / length


def thinned(query, candidates, top_n: int, diversity: float) -> list[int]:
    """Maximal marginal relevance, one candidate at a time."""
    query, candidates = query.tolist(), candidates.tolist()
    chosen: list[int] = []
    while len(chosen) < min(top_n, len(candidates)):
        values = {}
        for i, candidate in enumerate(candidates):
            if i not in chosen:
                near = max((cosine(candidate, candidates[j]) for j in chosen), default=0.0)
                weight = 1 - diversity if chosen else 1.0  # the first is the most similar, whatever the diversity
                values[i] = weight * cosine(query, candidate) - diversity * near
        chosen.append(max(values, key=values.get))  # max keeps the first among equals
    return chosen


def naive(concepts, images, candidates: int, count: int, diversity: float) -> list[list[int]]:
    rows = []
    for concept in concepts:
        scores = [float(s) for s in images @ concept]
        best = sorted(range(len(images)), key=lambda i: -scores[i])[:candidates]
        rows.append([best[i] for i in thinned(concept, images[best], count, diversity)])
    return rows


@settings(max_examples=40, deadline=None)
@given(
    concepts=st.integers(1, 5),
    images=st.integers(1, 30),
    count=st.integers(1, 10),
    more=st.integers(0, 10),
    diversity=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_choice_equals_the_loops(concepts, images, count, more, diversity, seed):
    queries, pool = unit(concepts, 7, seed), unit(images, 7, seed + 1)
    found = select_prototypes(queries, pool, count + more, count, diversity)
    assert found.indices.tolist() == naive(queries, pool, count + more, count, diversity)
    expected = (queries[:, None] * pool[found.indices]).sum(dim=2)
    torch.testing.assert_close(found.scores, expected, atol=1e-6, rtol=0)


def test_defaults_are_ten_of_the_twenty_nearest_at_diversity_0_8():
    queries, pool = unit(3, 6, 0), unit(60, 6, 1)
    assert select_prototypes(queries, pool).indices.tolist() == naive(queries, pool, 20, 10, 0.8)


def test_a_look_alike_of_the_first_choice_comes_last():
    query = torch.tensor([[1.0, 0.0, 0.0]])
    pool = normalize(torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.1, 0.001], [0.5, -1.0, 0.0], [0.3, 0.0, 1.0]]), dim=1)
    assert select_prototypes(query, pool, 4, 4).indices.tolist() == [[0, 3, 2, 1]]
    assert select_prototypes(query, pool, 4, 4, diversity=0).indices.tolist() == [[0, 1, 2, 3]]


def test_among_equals_the_first_image_wins():
    query, pool = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert select_prototypes(query, pool, 4, 3).indices.tolist() == [[1, 0, 2]]
    assert select_prototypes(query, pool, 2, 2).indices.tolist() == [[1, 2]]


def test_relevance_and_redundancy_are_cosines_whatever_the_lengths():
    queries, candidates = unit(4, 6, 2), unit(4 * 9, 6, 3).view(4, 9, 6)
    lengths = torch.rand(4, 9, 1, generator=torch.Generator().manual_seed(4)) * 50 + 0.1
    order = maximal_marginal_relevance(queries, candidates, 5)
    assert torch.equal(maximal_marginal_relevance(queries * 7, candidates * lengths, 5), order)
    assert order.tolist() == [thinned(q, c, 5, 0.8) for q, c in zip(queries, candidates, strict=True)]


@pytest.mark.parametrize("pool", [1, 4, 10, 15])
def test_a_small_pool_is_used_whole(pool):
    found = select_prototypes(unit(3, 5, 0), unit(pool, 5, 1))
    kept = min(pool, 10)
    assert found.indices.shape == found.scores.shape == (3, kept)
    assert all(len(set(row)) == kept for row in found.indices.tolist())
    assert 0 <= found.indices.min() and found.indices.max() < pool


def test_blocks_change_nothing(monkeypatch):
    queries, pool = unit(50, 8, 0), unit(300, 8, 1)
    whole = select_prototypes(queries, pool)
    monkeypatch.setattr(prototypes, "_BLOCK_NUMBERS", 20 * 28 * 3)  # three concepts at a time
    blocked = select_prototypes(queries, pool, max_block_bytes=64 * 4 * 7)
    assert torch.equal(blocked.indices, whole.indices)
    torch.testing.assert_close(blocked.scores, whole.scores)


def test_no_concepts_have_no_prototypes():
    found = select_prototypes(torch.empty(0, 5), unit(30, 5, 0))
    assert found.indices.shape == (0, 10) and found.indices.dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": 5}, "10 prototypes of 5 candidates"),
        ({"prototypes": 0}, "0 prototypes of 20 candidates"),
        ({"diversity": 1.5}, "0 <= diversity <= 1"),
        ({"image_features": torch.empty(0, 5)}, "gallery"),
        ({"image_features": torch.full((4, 5), math.nan)}, "NaN or infinity"),
        ({"image_features": torch.zeros(4, 6)}, "must agree in D"),
    ],
)
def test_what_cannot_be_chosen_is_refused(change, message):
    arguments = {"concept_features": unit(2, 5, 0), "image_features": unit(30, 5, 1), **change}
    with pytest.raises(ValueError, match=message):
        select_prototypes(**arguments)


def test_a_shard_finds_the_best_of_its_own_images_only():
    concepts, images = unit(5, 6, 0), unit(61, 6, 1)
    concept_shards, image_shards = [[0, 2, 4], [1, 3, 0]], [list(range(0, 61, 2)), list(range(1, 61, 2))]
    found = select_sharded(concepts, images, concept_shards, image_shards)
    for owner, rows in ((0, [2, 4]), (1, [1, 3, 0])):  # concept 0 is in both, the later shard counts
        pool = torch.tensor(image_shards[owner])
        expected = naive(concepts[rows], images[pool], 20, 10, 0.8)
        assert found.indices[rows].tolist() == [[int(pool[i]) for i in row] for row in expected]
    whole = select_sharded(concepts, images, [list(range(5))], [list(range(61))])
    assert torch.equal(whole.indices, select_prototypes(concepts, images).indices)


def test_unequal_small_shards_leave_places_empty():
    concepts, images = unit(2, 6, 0), unit(7, 6, 1)
    found = select_sharded(concepts, images, [[0], [1]], [[0, 1, 2, 3], [4, 5, 6]])
    assert sorted(found.indices[0].tolist()) == [0, 1, 2, 3]
    assert found.indices[1, 3] == -1 and sorted(found.indices[1, :3].tolist()) == [4, 5, 6]
    assert found.scores[1, 3] == 0


def test_a_concept_in_no_shard_is_named():
    with pytest.raises(ValueError, match="1 concepts are in no shard, first: row 1"):
        select_sharded(unit(2, 6, 0), unit(7, 6, 1), [[0]], [list(range(7))])


@pytest.mark.parametrize(("rows", "shards"), [(10, 2), (11, 2), (7, 3), (1, 3), (2, 5)])
def test_shards_are_those_of_torch_s_sampler(rows, shards):
    for shard in range(shards):
        sampler = DistributedSampler(range(rows), num_replicas=shards, rank=shard, shuffle=True, seed=0)
        assert _sampler_shard(rows, shards, shard) == list(sampler)
