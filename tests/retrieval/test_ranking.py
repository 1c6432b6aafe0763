"""Exact ranks and top-k against sorting every row, with ties, duplicates, exclusions and degenerate sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.retrieval.ranking import order_candidates, ranks_of_targets, subset_ranks, top_k


def stable_order(queries, gallery, exclude=None):
    """The slow truth: every row of the gallery in the order of a stable sort, per query, excluded row left out."""
    orders = []
    for query, row in enumerate((queries @ gallery.T).tolist()):
        rows = sorted(range(len(row)), key=lambda g: (-row[g], g))
        orders.append([g for g in rows if exclude is None or g != int(exclude[query])])
    return orders


def small_integers(rows, dim, generator, top=2):
    """Features whose products are exact in float32, so that equal scores are really equal: many ties."""
    return torch.randint(-top, top + 1, (rows, dim), generator=generator).float()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_ranks_and_top_k_equal_a_stable_sort_whatever_the_block(data):
    seed = data.draw(st.integers(0, 10**6))
    queries, gallery, dim = (data.draw(st.integers(1, n)) for n in (12, 40, 4))
    block = data.draw(st.sampled_from([4, 16, 60, 256, 1000, 10**6]))
    generator = torch.Generator().manual_seed(seed)
    q, g = small_integers(queries, dim, generator), small_integers(gallery, dim, generator)
    exclude = torch.randint(-1, gallery, (queries,), generator=generator) if data.draw(st.booleans()) else None
    positives = []
    for query in range(queries):
        allowed = [row for row in range(gallery) if exclude is None or row != int(exclude[query])]
        if not allowed:  # a gallery of one image that is excluded has no answer
            exclude[query], allowed = -1, [0]
        count = data.draw(st.integers(1, min(3, len(allowed))))
        positives.append([allowed[i] for i in torch.randperm(len(allowed), generator=generator)[:count]])
    orders = stable_order(q, g, exclude)

    expected = [min(order.index(row) for row in rows) for order, rows in zip(orders, positives, strict=True)]
    assert ranks_of_targets(q, g, positives, exclude, block).tolist() == expected

    k = data.draw(st.integers(1, gallery + 3))
    scores, indices = top_k(q, g, k, exclude, block)
    assert indices.shape == (queries, min(k, gallery))
    for query, order in enumerate(orders):
        found = indices[query].tolist()
        assert found == order[: len(found)] + [-1] * (len(found) - len(order[: len(found)]))
        for row, score in zip(found, scores[query].tolist(), strict=True):
            assert score == (float(q[query] @ g[row]) if row >= 0 else float("-inf"))


@pytest.mark.parametrize("block", [2_000, 50_000, None])
@pytest.mark.parametrize("dim", [7, 64, 640])
def test_real_valued_ranks_are_those_of_the_full_matrix(dim, block):
    generator = torch.Generator().manual_seed(dim)
    q = torch.nn.functional.normalize(torch.randn(61, dim, generator=generator), dim=1)
    g = torch.nn.functional.normalize(torch.randn(503, dim, generator=generator), dim=1)
    targets = torch.randint(0, 503, (61,), generator=generator)
    scores = q.double() @ g.double().T
    own = scores.gather(1, targets[:, None])
    gaps = (scores - own).abs()
    gaps.scatter_(1, targets[:, None], 1.0)
    clear = gaps.min(dim=1).values > 1e-6  # where rounding cannot decide
    assert clear.sum() > 50
    expected = (scores > own).sum(dim=1)
    assert torch.equal(ranks_of_targets(q, g, targets, None, block)[clear], expected[clear])


@pytest.mark.parametrize("block", [1_000, 40_000, None])
def test_a_duplicate_of_the_target_never_beats_it_by_rounding(block):
    # The score of a target is taken from the product that scores its duplicates. A dot product apart from it differs
    # in the last bit, and duplicates before or after it would then win or lose by chance.
    generator = torch.Generator().manual_seed(0)
    g = torch.nn.functional.normalize(torch.randn(40, 640, generator=generator), dim=1).repeat(3, 1)
    q = torch.nn.functional.normalize(g[:40] + 0.01 * torch.randn(40, 640, generator=generator), dim=1)
    rows = torch.arange(40)
    for copy in range(3):
        assert ranks_of_targets(q, g, rows + 40 * copy, None, block).tolist() == [copy] * 40


def test_the_best_of_several_positives_counts_and_the_excluded_one_does_not():
    q, g = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert ranks_of_targets(q, g, [[3, 1]]).tolist() == [1]
    assert ranks_of_targets(q, g, [[3, 1]], exclude=[0]).tolist() == [0]
    assert ranks_of_targets(q, g, [[3, 1]], exclude=[1]).tolist() == [2]


def test_a_tie_goes_to_the_earlier_gallery_row():
    q, g = torch.ones(1, 1), torch.ones(5, 1)
    assert [ranks_of_targets(q, g, [row]).item() for row in range(5)] == [0, 1, 2, 3, 4]
    assert ranks_of_targets(q, g, [4], exclude=[2]).item() == 3
    assert top_k(q, g, 3)[1].tolist() == [[0, 1, 2]]


def test_a_gallery_of_one_image_and_no_queries():
    assert ranks_of_targets(torch.ones(2, 3), torch.ones(1, 3), [0, 0]).tolist() == [0, 0]
    assert top_k(torch.ones(1, 3), torch.ones(1, 3), 50)[1].tolist() == [[0]]
    assert top_k(torch.ones(1, 3), torch.ones(1, 3), 50, exclude=[0])[1].tolist() == [[-1]]
    assert ranks_of_targets(torch.ones(0, 3), torch.ones(4, 3), []).shape == (0,)
    assert top_k(torch.ones(0, 3), torch.ones(4, 3), 2)[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("positives", "exclude", "message"),
    [
        ([[0], []], None, "no right answer"),
        ([0, 1], [0, -1], "no right answer"),
        ([0, 5], None, "positives must lie in 0..4"),
        ([0, -1], None, "positives must lie in 0..4"),
        ([0], None, "one entry per query"),
        ([0, 1], [0, 9], "exclude must lie in -1..4"),
        ([0, 1], [0], "exclude must hold one gallery row per query"),
    ],
)
def test_answers_that_do_not_fit_are_refused(positives, exclude, message):
    with pytest.raises(ValueError, match=message):
        ranks_of_targets(torch.ones(2, 3), torch.ones(5, 3), positives, exclude)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(bad):
    # NaN compares as not better, so a broken query would otherwise rank first.
    broken = torch.ones(3, 2)
    broken[1, 0] = bad
    for q, g in ((broken, torch.ones(4, 2)), (torch.ones(3, 2), broken)):
        with pytest.raises(ValueError, match="row 1 of the .* NaN or infinity"):
            ranks_of_targets(q, g, [0, 0, 0])
        with pytest.raises(ValueError, match="NaN"):
            top_k(q, g, 1)


def test_shapes_and_types_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="agree in D"):
        ranks_of_targets(torch.ones(1, 3), torch.ones(2, 4), [0])
    with pytest.raises(ValueError, match="gallery is empty"):
        top_k(torch.ones(1, 3), torch.ones(0, 3), 1)
    with pytest.raises(ValueError, match="floating point"):
        top_k(torch.ones(1, 3, dtype=torch.int64), torch.ones(2, 3), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        top_k(torch.ones(1, 3), torch.ones(2, 3), 0)
    with pytest.raises(ValueError, match="max_block_bytes"):
        top_k(torch.ones(1, 3), torch.ones(2, 3), 1, max_block_bytes=0)


def test_no_block_of_scores_exceeds_the_limit(monkeypatch):
    from train.retrieval import ranking

    largest = 0
    whole = ranking._Tiles.scores

    def watched(*args):
        nonlocal largest
        scores = whole(*args)
        largest = max(largest, scores.untyped_storage().nbytes())
        return scores

    monkeypatch.setattr(ranking._Tiles, "scores", watched)
    q, g = torch.randn(30, 4), torch.randn(5000, 4)
    for limit in (256, 4096, 10**5, 6 * 10**5):
        largest = 0
        ranks_of_targets(q, g, torch.arange(30), None, limit)
        assert limit / 4 < largest <= limit
        top_k(q, g, 5, None, limit)
        assert largest <= limit


def test_the_precision_setting_around_does_not_change_ranks_and_is_restored():
    q, g = torch.randn(50, 256), torch.randn(900, 256)
    expected = ranks_of_targets(q, g, torch.arange(50))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(ranks_of_targets(q, g, torch.arange(50)), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_subset_ranks_are_the_full_ranking_restricted_to_the_group(seed):
    generator = torch.Generator().manual_seed(seed)
    q, g = small_integers(6, 3, generator), small_integers(20, 3, generator)
    groups = torch.stack([torch.randperm(20, generator=generator)[:6] for _ in range(6)])
    reference, targets = groups[:, 0].clone(), groups[:, 1].clone()
    groups[2, 4:] = -1  # a shorter group
    groups[3, 5] = groups[3, 2]  # a member listed twice counts once
    groups = torch.stack([row[torch.randperm(6, generator=generator)] for row in groups])
    orders = stable_order(q, g, reference)
    expected = [[row for row in order if row in group] for order, group in zip(orders, groups.tolist(), strict=True)]
    found = order_candidates(q, g, groups, reference).tolist()
    assert [[row for row in listed if row >= 0] for listed in found] == expected
    ranks = subset_ranks(q, g, groups, targets, reference).tolist()
    assert ranks == [order.index(target) for order, target in zip(expected, targets.tolist(), strict=True)]


def test_a_target_outside_its_group_is_refused():
    q, g = torch.ones(2, 2), torch.ones(5, 2)
    with pytest.raises(ValueError, match="not among their candidates, first: query 1"):
        subset_ranks(q, g, torch.tensor([[0, 1], [2, 3]]), torch.tensor([1, 4]))
    with pytest.raises(ValueError, match="excluded row does not count"):
        subset_ranks(q, g, torch.tensor([[0, 1], [2, 3]]), torch.tensor([1, 2]), exclude=torch.tensor([-1, 2]))
