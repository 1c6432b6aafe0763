"""The in-batch contrastive loss against closed forms, naive loops and torch's own cross entropy."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from train.engine.losses import query_target_loss


def unit_rows(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


def naive_direction(rows, columns, scale, row_ids, column_ids, smoothing) -> float:
    """One direction of the loss, one exponential at a time."""
    total = 0.0
    for i in range(len(rows)):
        kept = [j for j in range(len(columns)) if j == i or row_ids is None or column_ids[j] != row_ids[i]]
        logits = {j: scale * sum(float(a) * float(b) for a, b in zip(rows[i], columns[j], strict=True)) for j in kept}
        log_sum = math.log(sum(math.exp(value) for value in logits.values()))
        uniform = sum(log_sum - value for value in logits.values()) / len(kept)
        total += (1 - smoothing) * (log_sum - logits[i]) + smoothing * uniform
    return total / len(rows)


def naive_loss(queries, targets, scale, symmetric, extras, ids, extra_ids, smoothing) -> float:
    columns = list(targets) + ([] if extras is None else list(extras))
    column_ids = None if ids is None else list(ids) + ([] if extra_ids is None else list(extra_ids))
    loss = naive_direction(queries, columns, scale, ids, column_ids, smoothing)
    if symmetric:
        loss = (loss + naive_direction(targets, queries, scale, ids, ids, smoothing)) / 2
    return loss


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_loss_of_zero_embeddings_is_the_log_of_the_batch_size(batch, symmetric, smoothing):
    zeros = torch.zeros(batch, 4)
    loss = query_target_loss(zeros, zeros, 100.0, symmetric=symmetric, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(math.log(batch), abs=1e-6)


def test_loss_of_orthogonal_pairs_has_its_closed_form():
    eye = torch.eye(5, dtype=torch.float64)
    # Own logit s, four others zero.
    assert query_target_loss(eye, eye, 3.0).item() == pytest.approx(math.log(math.exp(3.0) + 4) - 3.0, rel=1e-12)


def test_extra_negatives_enter_the_denominator_only():
    zeros = torch.zeros(3, 4)
    assert query_target_loss(zeros, zeros, 1.0, extra_negatives=torch.zeros(5, 4)).item() == pytest.approx(math.log(8))


def test_targets_that_show_one_image_are_not_each_others_negatives():
    zeros, ids = torch.zeros(4, 2), torch.tensor([5, 5, 6, 7])
    # Rows 0 and 1 see three columns, rows 2 and 3 all four.
    expected = (2 * math.log(3) + 2 * math.log(4)) / 4
    for symmetric in (False, True):
        loss = query_target_loss(zeros, zeros, 1.0, target_ids=ids, symmetric=symmetric)
        assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_an_extra_negative_that_is_the_target_is_left_out():
    zeros = torch.zeros(2, 2)
    ids, extra_ids = torch.tensor([1, 2]), torch.tensor([2, 3])
    loss = query_target_loss(zeros, zeros, 1.0, extra_negatives=zeros, target_ids=ids, extra_ids=extra_ids)
    assert loss.item() == pytest.approx((math.log(4) + math.log(3)) / 2)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 6),
    extra=st.integers(0, 4),
    scale=st.floats(0.1, 20.0),
    symmetric=st.booleans(),
    with_ids=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 0.7]),
    block=st.sampled_from([None, 1, 2, 5]),
    seed=st.integers(0, 10**6),
)
def test_loss_equals_the_naive_loops(batch, extra, scale, symmetric, with_ids, smoothing, block, seed):
    queries, targets = unit_rows(batch, 5, seed), unit_rows(batch, 5, seed + 1)
    extras = unit_rows(extra, 5, seed + 2) if extra else None
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 3, (batch,), generator=generator) if with_ids else None
    extra_ids = torch.randint(0, 3, (extra,), generator=generator) if with_ids and extra else None
    loss = query_target_loss(
        queries,
        targets,
        scale,
        symmetric=symmetric,
        extra_negatives=extras,
        target_ids=ids,
        extra_ids=extra_ids,
        label_smoothing=smoothing,
        rows_per_block=block,
    )
    as_lists = [None if ids is None else ids.tolist(), None if extra_ids is None else extra_ids.tolist()]
    assert loss.item() == pytest.approx(
        naive_loss(queries, targets, scale, symmetric, extras, *as_lists, smoothing), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("block", [None, 3])
def test_value_and_gradients_equal_torch_cross_entropy(block, smoothing):
    queries, targets = unit_rows(8, 6, 0).requires_grad_(), unit_rows(8, 6, 1).requires_grad_()
    scale = torch.tensor(14.0, dtype=torch.float64, requires_grad=True)
    loss = query_target_loss(queries, targets, scale, rows_per_block=block, label_smoothing=smoothing)
    expected = F.cross_entropy(scale * queries @ targets.T, torch.arange(8), label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    inputs = (queries, targets, scale)
    for got, want in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-14)


def test_gradients_stay_finite_where_columns_are_masked():
    queries, targets = unit_rows(4, 6, 0).requires_grad_(), unit_rows(4, 6, 1).requires_grad_()
    ids = torch.tensor([1, 1, 1, 1])  # every row keeps its own column only: nothing to learn
    loss = query_target_loss(queries, targets, 10.0, target_ids=ids, label_smoothing=0.1, symmetric=True)
    assert loss.item() == 0
    for grad in torch.autograd.grad(loss, (queries, targets)):
        assert torch.equal(grad, torch.zeros_like(grad))


def test_logits_of_half_precision_embeddings_are_float32():
    queries, targets = unit_rows(4, 64, 0).float(), unit_rows(4, 64, 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = query_target_loss(queries, targets, 100.0)
        official = query_target_loss(queries, targets, 100.0, half_precision_logits=True)
    assert loss.dtype == torch.float32
    assert loss.item() == query_target_loss(queries, targets, 100.0).item()
    assert official.item() != loss.item()
    rounded = query_target_loss(queries.bfloat16(), targets.bfloat16(), 100.0)
    assert rounded.item() == query_target_loss(queries.bfloat16().float(), targets.bfloat16().float(), 100.0).item()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_embeds": torch.zeros(3, 4)}, "row i of the targets"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"rows_per_block": 0}, "rows_per_block is 0"),
        ({"extra_ids": torch.zeros(2)}, "give all three"),
        ({"target_ids": torch.zeros(3)}, "one id per row"),
        ({"target_ids": torch.zeros(2), "extra_negatives": torch.zeros(2, 4)}, "need extra_ids"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments = {"query_embeds": torch.zeros(2, 4), "target_embeds": torch.zeros(2, 4), "scale": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        query_target_loss(**arguments)
