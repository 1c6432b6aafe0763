"""Exact ranks and exact top-k of a gallery, computed in blocks: memory stays bounded whatever the gallery's size.

Scores are dot products: pass L2-normalised features for cosine similarity. Higher is better.

Tie rule, everywhere in this file: **an earlier gallery row wins**. The answers are those of a stable descending sort
of every row of scores, but nothing is sorted: a rank is the number of gallery rows that score better, counted.

Equal gallery rows get equal scores, to the bit, so that duplicates tie instead of beating each other by rounding. Two
things see to that. A target's own score is read out of the product that scores its competitors, not computed apart.
And every block of the gallery has the same width, a multiple of 64 (the last one is padded): matrix libraries sum the
columns at an odd edge in another order. Both were needed in measurements on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

# Measured: small blocks stay in the processor's cache; a GPU wants few, large products.
CPU_BLOCK_BYTES = 16 * 2**20
GPU_BLOCK_BYTES = 512 * 2**20

_MULTIPLE = 64  # of the width of a block, see above
_NOWHERE = torch.iinfo(torch.int64).max


def ranks_of_targets(
    queries: Tensor,
    gallery: Tensor,
    positives: Tensor | Sequence[int] | Sequence[Sequence[int]],
    exclude: Tensor | Sequence[int] | None = None,
    max_block_bytes: int | None = None,
) -> Tensor:
    """How many gallery rows rank before each query's best right answer.

    Args:
        queries: (Q, D) query features.
        gallery: (N, D) gallery features; may lie on another device or be memory-mapped, it is read block by block.
        positives: the gallery row of each query's target, (Q,); or one sequence of rows per query when several are
            right, and the best-ranked of them counts.
        exclude: (Q,) gallery row that is taken out of each query's ranking (its reference image), -1 for none.
        max_block_bytes: size of the largest block of scores, at least 256; None takes 16 MiB on a CPU, 512 MiB on a
            GPU. The working memory is about 1.4 times this.

    Returns:
        (Q,) int64 on the CPU; 0 means the target ranks first.

    Raises:
        ValueError: shapes that do not fit, a row outside the gallery, a query without a right answer (also when its
            only right answer is the excluded row), features that are not finite.
    """
    queries, gallery = _checked_features(queries, gallery)
    excluded = _row_per_query("exclude", exclude, len(queries), len(gallery), smallest=-1)
    offsets, rows = _positive_lists(positives, excluded, len(gallery))

    # Queries whose targets lie in the same part of the gallery share a block: then the target's score is found by
    # computing one or two tiles instead of a whole first pass over the gallery.
    first_row = torch.full((len(queries),), _NOWHERE)
    owner = torch.repeat_interleave(torch.arange(len(queries)), offsets.diff())
    first_row.scatter_reduce_(0, owner, rows, "amin")
    order = torch.argsort(first_row, stable=True)

    ranks = torch.empty(len(queries), dtype=torch.int64)
    query_step, gallery_step = _block_shape(queries, len(gallery), max_block_bytes)
    tiles = _Tiles(gallery, gallery_step, queries)
    with _exact_matmul(), torch.no_grad():
        for chosen in _blocks(order, query_step):
            ranks[chosen] = _ranks_of_block(queries, tiles, chosen, offsets, rows, excluded)
    return ranks


def top_k(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    exclude: Tensor | Sequence[int] | None = None,
    max_block_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The k best gallery rows of every query, best first, merged block by block.

    Args:
        queries, gallery, exclude, max_block_bytes: as in :func:`ranks_of_targets`. The running result, (Q, k), comes
            on top of the block.
        k: rows wanted; a gallery with fewer gives fewer columns.

    Returns:
        scores: (Q, min(k, N)) on the CPU. indices: (Q, min(k, N)) int64. A query that has fewer rows than columns
        (because one is excluded) ends in score -inf, index -1.

    Raises:
        ValueError: as :func:`ranks_of_targets`, or k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    queries, gallery = _checked_features(queries, gallery)
    excluded = _row_per_query("exclude", exclude, len(queries), len(gallery), smallest=-1)
    width = min(k, len(gallery))
    all_scores = torch.empty(len(queries), width, dtype=queries.dtype)
    all_indices = torch.empty(len(queries), width, dtype=torch.int64)
    query_step, gallery_step = _block_shape(queries, len(gallery), max_block_bytes)
    tiles = _Tiles(gallery, gallery_step, queries)
    with _exact_matmul(), torch.no_grad():
        for chosen in _blocks(torch.arange(len(queries)), query_step):
            block, device = queries[chosen.to(queries.device)], queries.device
            scores = torch.full((len(chosen), 0), -math.inf, dtype=queries.dtype, device=device)
            indices = torch.full((len(chosen), 0), -1, dtype=torch.int64, device=device)
            for start in tiles.starts:
                tile_scores = tiles.scores(block, start, excluded[chosen])
                scores, indices = _merge(scores, indices, tile_scores, start, width)
            indices = indices.masked_fill(scores == -math.inf, -1)
            all_scores[chosen], all_indices[chosen] = scores.cpu(), indices.cpu()
    return all_scores, all_indices


def order_candidates(queries: Tensor, gallery: Tensor, candidates: Tensor, exclude=None) -> Tensor:
    """Each query's own short list of gallery rows, best first: the ranking restricted to these rows.

    Args:
        queries: (Q, D). gallery: (N, D).
        candidates: (Q, m) gallery rows; -1 pads short lists, a row listed twice counts once.
        exclude: (Q,) row taken out of the list, -1 for none.

    Returns:
        (Q, m) int64 on the CPU: the rows in order, then -1 where a list is shorter.

    Raises:
        ValueError: shapes that do not fit, a row outside the gallery, features that are not finite.
    """
    queries, gallery = _checked_features(queries, gallery)
    excluded = _row_per_query("exclude", exclude, len(queries), len(gallery), smallest=-1)
    candidates = torch.as_tensor(candidates, dtype=torch.int64).cpu()
    if candidates.ndim != 2 or len(candidates) != len(queries):
        raise ValueError(f"candidates must be (queries, m) = ({len(queries)}, m), got {tuple(candidates.shape)}")
    _check_range("candidates", candidates, len(gallery), smallest=-1)

    # Ascending rows first, so that the stable sort below lets the earlier row win a tie.
    candidates = candidates.sort(dim=1).values
    absent = (candidates < 0) | (candidates == excluded[:, None])
    absent[:, 1:] |= candidates[:, 1:] == candidates[:, :-1]
    chosen = gallery[candidates.clamp(min=0).to(gallery.device)].to(queries.device)  # (Q, m, D)
    with _exact_matmul(), torch.no_grad():
        # Row by row: a matrix product gives equal rows of a short list scores that differ in the last bit.
        scores = (queries[:, None] * chosen).sum(dim=-1).cpu().masked_fill(absent, -math.inf)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return candidates.gather(1, order).masked_fill(scores == -math.inf, -1)


def subset_ranks(queries: Tensor, gallery: Tensor, candidates: Tensor, targets: Tensor, exclude=None) -> Tensor:
    """Rank of each target inside its query's own list of candidates (CIRR's groups).

    Args:
        queries, gallery, candidates, exclude: as in :func:`order_candidates`.
        targets: (Q,) gallery row of the right answer; must be one of the candidates.

    Returns:
        (Q,) int64, 0 means first.

    Raises:
        ValueError: as :func:`order_candidates`, or a target that is not among the query's candidates.
    """
    ordered = order_candidates(queries, gallery, candidates, exclude)
    targets = _row_per_query("targets", targets, len(queries), len(gallery), smallest=0)
    hits = ordered == targets[:, None]
    lost = (~hits.any(dim=1)).nonzero().flatten()
    if len(lost):
        first = int(lost[0])
        raise ValueError(
            f"{len(lost)} targets are not among their candidates, first: query {first}, target row "
            f"{int(targets[first])}, candidates {candidates[first].tolist()} (the excluded row does not count)"
        )
    return hits.int().argmax(dim=1)


def _ranks_of_block(
    queries: Tensor, tiles: _Tiles, chosen: Tensor, offsets: Tensor, rows: Tensor, excluded: Tensor
) -> Tensor:
    """Ranks of a block of queries: find the best right answer's score, then count what beats it. Returns (B,)."""
    device, step = queries.device, tiles.step
    block, excluded = queries[chosen.to(device)], excluded[chosen]
    lengths = (offsets[1:] - offsets[:-1])[chosen]
    owner = torch.repeat_interleave(torch.arange(len(chosen)), lengths)  # block row of each right answer
    within = torch.arange(len(owner)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    right = rows[offsets[:-1][chosen][owner] + within]  # gallery row of each right answer

    best = torch.full((len(chosen),), -math.inf, dtype=queries.dtype, device=device)
    own = torch.full((len(right),), -math.inf, dtype=queries.dtype, device=device)
    scores, scored = None, -1
    for start in sorted({int(tile) * step for tile in (right // step).unique()}):
        del scores  # one block of scores at a time
        scores, scored = tiles.scores(block, start, excluded), start
        inside = ((right >= start) & (right < start + step)).nonzero().flatten()
        own[inside.to(device)] = scores[owner[inside].to(device), (right[inside] - start).to(device)]
    best.scatter_reduce_(0, owner.to(device), own, "amax")
    # Among right answers of equal score the earliest row stands for the query.
    at_best = own == best[owner.to(device)]
    row = torch.full((len(chosen),), _NOWHERE, device=device)
    row.scatter_reduce_(0, owner.to(device)[at_best], right.to(device)[at_best], "amin")

    ranks = torch.zeros(len(chosen), dtype=torch.int64, device=device)
    others = [start for start in tiles.starts if start != scored]
    for start in [scored, *others]:  # counting has no order, so the tile at hand comes first
        if start != scored:
            del scores
            scores = tiles.scores(block, start, excluded)
        better = (scores > best[:, None]).sum(dim=1)
        no_worse = (scores >= best[:, None]).sum(dim=1)
        ranks += better
        own_here = (row >= start) & (row < start + step)
        tied = (no_worse - better > own_here).nonzero().flatten()
        if len(tied):
            columns = torch.arange(start, start + scores.shape[1], device=device)
            ties = (scores[tied] == best[tied, None]) & (columns < row[tied, None])
            ranks[tied] += ties.sum(dim=1)
    return ranks.cpu()


def _merge(scores: Tensor, indices: Tensor, tile: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Running top-k (B, j <= width), sorted, joined with a tile of scores (B, n) whose first column is row `start`."""
    if scores.shape[1] == width:
        # Strictly better only: an equal score in a later tile loses to the rows already held.
        candidates = tile > scores[:, -1:]
        counts = candidates.sum(dim=1)
        most = int(counts.max()) if len(counts) else 0
        if most == 0:
            return scores, indices
        if most <= width:
            found, columns = candidates.nonzero(as_tuple=True)  # row-major, so columns ascend inside a row
            place = torch.arange(len(found), device=tile.device) - (counts.cumsum(0) - counts)[found]
            new_scores = torch.full((len(tile), most), -math.inf, dtype=tile.dtype, device=tile.device)
            new_indices = torch.full((len(tile), most), -1, dtype=torch.int64, device=tile.device)
            new_scores[found, place] = tile[found, columns]
            new_indices[found, place] = columns + start
        else:
            new_scores, new_indices = _tile_top_k(tile, start, width)
    else:
        new_scores, new_indices = _tile_top_k(tile, start, width)
    # Rows held come first and are earlier in the gallery, new ones ascend: a stable sort keeps the tie rule.
    joined, order = torch.cat([scores, new_scores], dim=1).sort(dim=1, descending=True, stable=True)
    kept = order[:, :width]
    return joined[:, :width], torch.cat([indices, new_indices], dim=1).gather(1, kept)


def _tile_top_k(tile: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """The `width` best columns of a tile in the order of a stable sort, as (scores, gallery rows)."""
    width = min(width, tile.shape[1])
    scores, columns = tile.topk(width, dim=1)
    # torch.topk picks any of several equal scores at the edge: rows where that matters are sorted in full.
    edge = scores[:, -1:]
    uncertain = ((tile >= edge).sum(dim=1) > width).nonzero().flatten()
    columns = columns.sort(dim=1).values
    for rows in uncertain.split(max(1, 2**20 // tile.shape[1])):
        columns[rows] = tile[rows].sort(dim=1, descending=True, stable=True).indices[:, :width].sort(dim=1).values
    scores, order = tile.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return scores, columns.gather(1, order) + start


class _Tiles:
    """The gallery in blocks of one width, read when asked for; the last one is filled up with zeros."""

    def __init__(self, gallery: Tensor, step: int, queries: Tensor) -> None:
        self.gallery, self.step, self.device, self.dtype = gallery, step, queries.device, queries.dtype
        self.starts = range(0, len(gallery), step)
        last = gallery[self.starts[-1] :].to(self.device, self.dtype)
        self.tail = torch.nn.functional.pad(last, (0, 0, 0, step - len(last)))

    def scores(self, block: Tensor, start: int, excluded: Tensor) -> Tensor:
        """Scores (B, n) of a block of queries against the gallery rows from `start`; excluded rows get -inf."""
        if start == self.starts[-1]:
            scores = (block @ self.tail.T)[:, : len(self.gallery) - start]
        else:
            scores = block @ self.gallery[start : start + self.step].to(self.device, self.dtype).T
        here = ((excluded >= start) & (excluded < start + scores.shape[1])).nonzero().flatten()
        if len(here):
            scores[here.to(scores.device), (excluded[here] - start).to(scores.device)] = -math.inf
        return scores


def _blocks(order: Tensor, step: int) -> tuple[Tensor, ...]:
    return order.split(step) if len(order) else ()


def _block_shape(queries: Tensor, gallery_rows: int, max_block_bytes: int | None) -> tuple[int, int]:
    """Rows and columns of a block of scores within the limit: whole gallery rows if a fair number of them fits."""
    if max_block_bytes is None:
        max_block_bytes = CPU_BLOCK_BYTES if queries.device.type == "cpu" else GPU_BLOCK_BYTES
    if max_block_bytes < 1:
        raise ValueError(f"max_block_bytes must be positive, got {max_block_bytes}")
    cells = max_block_bytes // queries.element_size()
    whole = _rounded_up(gallery_rows)
    rows = max(cells // whole, min(512, math.isqrt(cells)))
    rows = max(1, min(len(queries), rows, cells // _MULTIPLE))
    columns = max(_MULTIPLE, min(whole, cells // rows // _MULTIPLE * _MULTIPLE))
    # Blocks of about equal width, so that little of the last one is padding.
    count = -(-gallery_rows // columns)
    return rows, _rounded_up(-(-gallery_rows // count))


def _rounded_up(columns: int) -> int:
    return -(-columns // _MULTIPLE) * _MULTIPLE


@contextmanager
def _exact_matmul() -> Iterator[None]:
    """Full float32 products, whatever precision the training code around has asked for (TF32, bfloat16)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _checked_features(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries (Q, D) and gallery (N, D) must agree in D, got {tuple(queries.shape)} and {tuple(gallery.shape)}"
        )
    if len(gallery) == 0:
        raise ValueError("the gallery is empty: there is nothing to rank")
    for name, features in (("queries", queries), ("gallery", gallery)):
        if not features.is_floating_point():
            raise ValueError(f"{name} must be floating point features, got {features.dtype}")
        step = max(1, 2**20 // max(1, features.shape[1]))
        for start in range(0, len(features), step):
            finite = torch.isfinite(features[start : start + step]).all(dim=1)
            if not finite.all():
                # A comparison with NaN is false, so a broken query would silently rank first.
                row = start + int((~finite).nonzero()[0])
                raise ValueError(f"row {row} of the {name} holds NaN or infinity: a rank would be meaningless")
    wide = queries.dtype if queries.dtype == torch.float64 else torch.float32
    return queries.detach().to(wide), gallery.detach()


def _row_per_query(name: str, rows, queries: int, gallery: int, smallest: int) -> Tensor:
    if rows is None:
        return torch.full((queries,), -1, dtype=torch.int64)
    rows = torch.as_tensor(rows, dtype=torch.int64).cpu()
    if rows.shape != (queries,):
        raise ValueError(f"{name} must hold one gallery row per query, shape ({queries},), got {tuple(rows.shape)}")
    _check_range(name, rows, gallery, smallest)
    return rows


def _check_range(name: str, rows: Tensor, gallery: int, smallest: int) -> None:
    if rows.numel() and (int(rows.min()) < smallest or int(rows.max()) >= gallery):
        raise ValueError(
            f"{name} must lie in {smallest}..{gallery - 1} (gallery of {gallery} rows), "
            f"got {int(rows.min())}..{int(rows.max())}"
        )


def _positive_lists(positives, excluded: Tensor, gallery: int) -> tuple[Tensor, Tensor]:
    """Right answers as offsets (Q + 1,) into rows (P,), without those that are excluded from their ranking."""
    queries = len(excluded)
    if not isinstance(positives, Tensor) and len(positives) and isinstance(positives[0], Sequence | Tensor):
        lists = [torch.as_tensor(p, dtype=torch.int64).flatten().cpu() for p in positives]
    else:
        flat = torch.as_tensor(positives, dtype=torch.int64).cpu()
        if flat.ndim != 1:
            raise ValueError(f"positives must be (Q,) rows or one list of rows per query, got {tuple(flat.shape)}")
        lists = None
    given = len(flat) if lists is None else len(lists)
    if given != queries:
        raise ValueError(f"positives must have one entry per query: {queries} queries, {given} entries")
    if lists is None:
        lengths, rows = torch.ones(queries, dtype=torch.int64), flat
    else:
        lengths = torch.tensor([len(p) for p in lists], dtype=torch.int64)
        rows = torch.cat(lists) if lists else torch.empty(0, dtype=torch.int64)
    _check_range("positives", rows, gallery, smallest=0)
    owner = torch.repeat_interleave(torch.arange(queries), lengths)
    keep = rows != excluded[owner]
    rows, owner = rows[keep], owner[keep]
    lengths = torch.bincount(owner, minlength=queries)
    if queries and int(lengths.min()) == 0:
        empty = (lengths == 0).nonzero().flatten()
        raise ValueError(
            f"{len(empty)} queries have no right answer in the gallery (none listed, or only the excluded row), "
            f"first: query {int(empty[0])}"
        )
    return torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]), rows
