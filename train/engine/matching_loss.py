"""Contrastive loss of rows with any number of right columns, for batches that are small catalogues of photos.

Every process computes the loss of the joined batch from gathered rows. `gather_rows` sums what all processes send back
and DDP averages over processes, so values and gradients are those of one process with the whole batch.
"""

from __future__ import annotations

import torch

from train.engine.gather import gather_rows, gather_rows_no_grad, process_count


def matching_loss(
    rows: torch.Tensor,
    columns: torch.Tensor,
    positive: torch.Tensor,
    ignored: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Mean over rows of the mean over their positive columns p of

        - log( exp(s x_pos) / (exp(s x_pos) + sum over negative columns of exp(s x_neg)) )

    A column that is neither positive nor ignored is negative: other positives of the row are never wrong answers.

    Args:
        rows: (n, dim) and columns: (m, dim), normalised by the caller.
        positive: (n, m) bool. Rows without a positive are left out.
        ignored: (n, m) bool, columns that do not count for a row.
        scale: s, inverse temperature.

    Returns:
        0-d loss; 0 with a gradient of 0 when no row has a positive.
    """
    with torch.autocast(rows.device.type, enabled=False):
        logits = scale * rows.float() @ columns.float().T
        # A finite floor: a row whose columns are all positive has no negatives, and -inf would give nan gradients.
        negatives = logits.masked_fill(positive | ignored, -1e4).logsumexp(dim=1)
        row, column = positive.nonzero(as_tuple=True)
        chosen = logits[row, column]
        weight = 1.0 / positive.sum(dim=1)[row]
        terms = (torch.logaddexp(chosen, negatives[row]) - chosen) * weight
        return terms.sum() / positive.any(dim=1).sum().clamp(min=1)


def symmetric_matching_loss(
    rows: torch.Tensor,
    columns: torch.Tensor,
    positive: torch.Tensor,
    ignored: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Mean of the loss from rows to columns and the loss from columns to rows."""
    forth = matching_loss(rows, columns, positive, ignored, scale)
    return (forth + matching_loss(columns, rows, positive.T, ignored.T, scale)) / 2


def gather_ragged(x: torch.Tensor, fill: int = -1) -> torch.Tensor:
    """Rows of all processes when their numbers differ: every part is padded to the longest.

    Args:
        x: (n, ...) floats, padded with zeros, keep their gradient; integers are padded with `fill`.

    Returns:
        (processes * longest, ...) with the padding in it; `x` itself for one process.
    """
    if process_count() == 1:
        return x
    lengths = gather_rows_no_grad(torch.tensor([len(x)], device=x.device))
    missing = int(lengths.max()) - len(x)
    value = 0 if x.is_floating_point() else fill
    padded = torch.cat([x, x.new_full((missing, *x.shape[1:]), value)])
    return gather_rows(padded) if x.is_floating_point() else gather_rows_no_grad(padded)
