"""The loss of batches that are small catalogues: any number of right columns per row."""

import math

import torch
from torch.nn import functional as F

from train.engine.matching_loss import matching_loss, symmetric_matching_loss


def unit(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def naive(rows, columns, positive, ignored, scale):
    terms = []
    for i in range(len(rows)):
        negatives = [j for j in range(len(columns)) if not positive[i, j] and not ignored[i, j]]
        own = []
        for j in range(len(columns)):
            if positive[i, j]:
                logits = [scale * float(rows[i] @ columns[k]) for k in (j, *negatives)]
                own.append(math.log(sum(math.exp(x) for x in logits)) - logits[0])
        if own:
            terms.append(sum(own) / len(own))
    return sum(terms) / len(terms)


def test_it_is_cross_entropy_when_every_row_has_one_right_column():
    rows, columns = unit(5, 8), unit(5, 8)
    none = torch.zeros(5, 5, dtype=torch.bool)
    expected = F.cross_entropy(10 * rows @ columns.T, torch.arange(5))
    torch.testing.assert_close(
        matching_loss(rows, columns, torch.eye(5).bool(), none, 10).double(), expected, rtol=1e-5, atol=0
    )


def test_it_equals_a_loop_with_several_right_and_some_ignored_columns():
    rows, columns = unit(6, 8), unit(9, 8)
    positive, ignored = torch.rand(6, 9) < 0.3, torch.rand(6, 9) < 0.2
    ignored &= ~positive
    positive[2] = False  # a row without a right column is left out
    found = matching_loss(rows, columns, positive, ignored, 7.0).item()
    assert math.isclose(found, naive(rows, columns, positive, ignored, 7.0), rel_tol=1e-5)
    back = matching_loss(columns, rows, positive.T, ignored.T, 7.0).item()
    both = symmetric_matching_loss(rows, columns, positive, ignored, 7.0).item()
    assert math.isclose(both, (found + back) / 2, rel_tol=1e-6)


def test_equal_embeddings_give_the_log_of_the_candidates():
    same = torch.ones(4, 3) / 3**0.5
    none = torch.zeros(4, 4, dtype=torch.bool)
    assert math.isclose(matching_loss(same, same, torch.eye(4).bool(), none, 20).item(), math.log(4), rel_tol=1e-5)


def test_gradients_stay_finite_without_negatives_and_without_positives():
    rows = torch.randn(2, 3, requires_grad=True)
    everything, nothing = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    for positive in (everything, nothing):
        loss = matching_loss(rows, torch.randn(2, 3), positive, nothing, 10)
        (gradient,) = torch.autograd.grad(loss, rows)
        assert torch.isfinite(gradient).all() and loss.item() < 1e-6
