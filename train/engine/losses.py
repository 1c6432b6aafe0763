"""Contrastive losses as pure functions of embeddings.

Every loss takes this process's rows and compares them with the columns of all processes (`gather.py`). Averaged by
DDP it equals the one-process loss on the joined batch, value and gradient.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch.utils.checkpoint import checkpoint

from train.engine.gather import gather_rows, gather_rows_no_grad, rank_offset


def _cross_entropy_sum(
    rows: torch.Tensor,
    columns: torch.Tensor,
    scale: torch.Tensor | float,
    labels: torch.Tensor,
    row_ids: torch.Tensor | None,
    column_ids: torch.Tensor | None,
    label_smoothing: float,
) -> torch.Tensor:
    """Sum over rows of the cross entropy of `scale * rows @ columns.T`; columns with the row's id are left out."""
    logits = ((scale * rows) @ columns.T).to(columns.dtype)  # (rows, columns)
    count = logits.new_tensor(logits.shape[1])
    excluded = None
    if row_ids is not None:
        excluded = row_ids[:, None] == column_ids[None, :]
        excluded = excluded.scatter(1, labels[:, None], False)
        logits = logits.masked_fill(excluded, float("-inf"))
        count = (~excluded).sum(dim=1)
    log_probabilities = logits.log_softmax(dim=1)
    loss = -log_probabilities.gather(1, labels[:, None]).squeeze(1)  # (rows,)
    if label_smoothing:
        if excluded is not None:  # -inf times a weight of zero would be nan
            log_probabilities = log_probabilities.masked_fill(excluded, 0.0)
        uniform = -log_probabilities.sum(dim=1) / count
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    return loss.sum()


def _blocked_mean(rows, columns, scale, labels, row_ids, column_ids, label_smoothing, rows_per_block):
    settings = (row_ids, column_ids, label_smoothing)
    if rows_per_block is None or rows_per_block >= len(rows):
        return _cross_entropy_sum(rows, columns, scale, labels, *settings) / len(rows)
    total = rows.new_zeros(())
    for first in range(0, len(rows), rows_per_block):
        part = slice(first, first + rows_per_block)
        ids = None if row_ids is None else row_ids[part]
        # Recomputing a block's logits in the backward pass is what keeps only one block of them alive.
        total = total + checkpoint(
            _cross_entropy_sum,
            rows[part],
            columns,
            scale,
            labels[part],
            ids,
            column_ids,
            label_smoothing,
            use_reentrant=False,
        )
    return total / len(rows)


def query_target_loss(
    query_embeds: torch.Tensor,
    target_embeds: torch.Tensor,
    scale: torch.Tensor | float,
    *,
    symmetric: bool = False,
    extra_negatives: torch.Tensor | None = None,
    target_ids: torch.Tensor | None = None,
    extra_ids: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    rows_per_block: int | None = None,
    half_precision_logits: bool = False,
) -> torch.Tensor:
    """In-batch contrastive loss of queries and their targets, negatives from all processes.

        L = - 1/B sum_i log( exp(s q_i.t_i) / sum_{j not in M_i} exp(s q_i.t_j) )

    CLIP4Cir (arXiv 2308.11485, section 3) uses exactly this in both stages: B the batch, s = 100 a constant, q the
    normalised composed query, t the normalised target image, no symmetric term, M_i empty. CLIP (arXiv 2103.00020,
    figure 3) adds the same loss from target to query and halves the sum (`symmetric`).

    M_i, the columns left out of row i, is empty unless `target_ids` are given. Then it holds the other columns that
    show the same image as t_i: a catalogue has many queries with one answer, and the original counts those as
    wrong answers.

    Deviation: the original's logits are float16 under autocast (steps of 1/16 near 100); here embeddings are raised to
    float32 and multiplied outside of autocast, unless `half_precision_logits`.

    Args:
        query_embeds: (n, dim) this process's queries, normalised by the caller.
        target_embeds: (n, dim) row i answers query i.
        scale: inverse temperature, number or 0-d tensor (with gradient when it is learned).
        symmetric: average with the target-to-query direction. Extra negatives are no rows there.
        extra_negatives: (m, dim) further candidates of this process, e.g. reference images; shared with all
            processes too.
        target_ids: (n,) integer id of each target image; equal ids are one image.
        extra_ids: (m,) ids of the extra negatives in the same numbering; needs `target_ids`.
        label_smoothing: e in (1 - e) * loss + e * mean over the row's columns, as in torch, masked columns left out.
        rows_per_block: compute the logits in blocks of that many rows and again in the backward pass; memory then
            grows with rows_per_block * columns instead of n * columns. None computes them at once.
        half_precision_logits: leave the product to the autocast type in force, as the original does; no effect without
            autocast.
    Returns:
        0-d loss of this process's rows. The mean over processes is the joined batch's loss.
    Raises:
        ValueError: shapes that do not fit, or `extra_ids` without what they refer to.
    """
    if query_embeds.ndim != 2 or query_embeds.shape != target_embeds.shape or not len(query_embeds):
        raise ValueError(
            f"queries {tuple(query_embeds.shape)} and targets {tuple(target_embeds.shape)} must be two (rows, dim) "
            "tensors of one size, row i of the targets answering row i of the queries, with at least one row"
        )
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}, expected 0 <= label_smoothing < 1")
    if rows_per_block is not None and rows_per_block < 1:
        raise ValueError(f"rows_per_block is {rows_per_block}, expected None or at least 1")
    if extra_ids is not None and (target_ids is None or extra_negatives is None):
        raise ValueError("extra_ids name rows of extra_negatives in the numbering of target_ids: give all three")
    for name, ids, rows in (("target_ids", target_ids, target_embeds), ("extra_ids", extra_ids, extra_negatives)):
        if ids is not None and ids.shape != rows.shape[:1]:
            raise ValueError(f"{name} has shape {tuple(ids.shape)}, expected ({len(rows)},): one id per row")

    with nullcontext() if half_precision_logits else torch.autocast(query_embeds.device.type, enabled=False):
        queries, targets = _at_least_float32(query_embeds), _at_least_float32(target_embeds)
        all_targets = gather_rows(targets)  # (N, dim)
        labels = torch.arange(len(queries), device=queries.device) + rank_offset(len(queries))
        all_target_ids = None if target_ids is None else gather_rows_no_grad(target_ids)  # (N,)

        candidates, candidate_ids = all_targets, all_target_ids
        if extra_negatives is not None:
            extras = gather_rows(_at_least_float32(extra_negatives))
            candidates = torch.cat([all_targets, extras])  # targets first: labels stay valid
            if target_ids is not None:
                if extra_ids is None:
                    raise ValueError(
                        "extra_negatives beside target_ids need extra_ids, or a target may be its own negative"
                    )
                candidate_ids = torch.cat([all_target_ids, gather_rows_no_grad(extra_ids)])

        settings = (label_smoothing, rows_per_block)
        loss = _blocked_mean(queries, candidates, scale, labels, target_ids, candidate_ids, *settings)
        if symmetric:
            all_queries = gather_rows(queries)
            # Query j answers target i as well when both have one target: the same ids serve as column ids.
            back = _blocked_mean(targets, all_queries, scale, labels, target_ids, all_target_ids, *settings)
            loss = (loss + back) / 2
    return loss


def _at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
