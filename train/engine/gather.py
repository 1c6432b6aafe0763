"""Rows of all processes in one tensor, with or without a gradient.

A contrastive loss needs the embeddings of every process as columns. `accelerator.gather` returns them without a
gradient, so the towers would never learn from being somebody else's negative. `gather_rows` keeps it: what arrives
at the copies on all processes is summed and returned to the process that owns the row.

With the loss taken over the local rows only (see `losses.py`) and DDP averaging parameter gradients over processes, the
result is the gradient of the one-process loss on the joined batch:

    mean over k of  d f_k / d theta . sum over r of d L_r / d f_k   =   d [mean over r of L_r] / d theta
"""

from __future__ import annotations

import torch
import torch.distributed as dist


def process_rank() -> int:
    """Number of this process, 0 when nothing is distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def process_count() -> int:
    """Number of processes, 1 when nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank_offset(rows: int) -> int:
    """Position of this process's first row in a gathered tensor, when every process holds `rows` rows."""
    return process_rank() * rows


class AllGatherRows(torch.autograd.Function):
    """(rows, ...) on every process -> (processes * rows, ...), in rank order; the gradient goes back to its owner."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ctx.rows = x.shape[0]
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(process_count())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        # A copy: autograd may still need the incoming buffer, and all_reduce writes in place.
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        first = rank_offset(ctx.rows)
        return total[first : first + ctx.rows]


def _row_counts(x: torch.Tensor) -> list[int]:
    """Row counts of all processes; every other size and the type have to agree."""
    if x.ndim > 6:
        raise ValueError(f"a tensor of {x.ndim} dimensions cannot be gathered, 6 is the most")
    # One small tensor of fixed length, because pickled objects would cost milliseconds in every training step.
    own = [x.element_size(), int(x.is_floating_point()), *x.shape] + [-1] * (6 - x.ndim)
    kinds = [torch.empty(8, dtype=torch.int64, device=x.device) for _ in range(process_count())]
    dist.all_gather(kinds, torch.tensor(own, device=x.device))
    listed = torch.stack(kinds).tolist()
    if any(kind[:2] != own[:2] or kind[3:] != own[3:] for kind in listed):
        shapes = ", ".join(
            f"rank {rank}: {tuple(size for size in kind[2:] if size >= 0)} of {8 * kind[0]}-bit "
            f"{'floats' if kind[1] else 'integers'}"
            for rank, kind in enumerate(listed)
        )
        raise ValueError(f"processes hold tensors of different kinds, so their rows cannot be joined ({shapes})")
    return [kind[2] for kind in listed]


def gather_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows of all processes in rank order, with gradient; `x` itself when there is one process.

    Args:
        x: (rows, ...), the same number of rows on every process.
    Returns:
        (processes * rows, ...).
    Raises:
        ValueError: on every process, when the numbers of rows differ (a training loader without `drop_last=True`).
    """
    if process_count() == 1:
        return x
    counts = _row_counts(x)
    if len(set(counts)) != 1:
        listed = ", ".join(f"rank {rank}: {count}" for rank, count in enumerate(counts))
        raise ValueError(
            f"processes hold different numbers of rows ({listed}); labels of a contrastive loss would point at the "
            "wrong columns. Use a training loader with drop_last=True and a batch size divisible by the number of "
            "processes"
        )
    return AllGatherRows.apply(x)


@torch.no_grad()
def gather_rows_no_grad(x: torch.Tensor) -> torch.Tensor:
    """Rows of all processes in rank order, without gradient; processes may hold different numbers of rows.

    For ids, metrics and features of an evaluation that is split over processes without repeated rows.

    Args:
        x: (rows of this process, ...).
    Returns:
        (sum of rows, ...), detached.
    """
    if process_count() == 1:
        return x.detach()
    counts = _row_counts(x)
    padded = x.new_zeros((max(counts), *x.shape[1:]))  # all_gather wants equal sizes
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
