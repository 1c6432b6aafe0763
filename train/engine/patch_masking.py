"""Masks of rectangular blocks on a grid of image patches (BEiT, arXiv 2106.08254, algorithm 1), as FashionViL draws them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Draws(Protocol):
    """The two calls of `random.Random` that a mask needs; recorded draws have them too."""

    def uniform(self, a: float, b: float) -> float: ...

    def randint(self, a: int, b: int) -> int: ...


class PatchMasking:
    """Blocks until enough cells are masked.

    The area of a block is uniform between `smallest` and the number of cells still wanted (between that number and
    `smallest` where it is less), its height to width log-uniform between `min_aspect` and `max_aspect`. A block is taken
    if it adds at least one cell and not too many; when none of `attempts` fits, the mask stays smaller.

    Args:
        grid: rows and columns.
        target: cells to mask.
        smallest, largest: bounds of a block's area.
        min_aspect, max_aspect: above 0; the second is 1 / `min_aspect` when None.
        attempts: blocks that are tried for one place in the mask.
    """

    def __init__(
        self,
        grid: tuple[int, int] = (7, 7),
        target: int = 8,
        smallest: int = 4,
        largest: int | None = None,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        attempts: int = 10,
    ) -> None:
        if not 0 <= target <= grid[0] * grid[1]:
            raise ValueError(f"{target} masked cells don't fit a grid of {grid[0]} x {grid[1]}")
        if min_aspect <= 0 or smallest < 1 or attempts < 1:
            raise ValueError(
                f"expected min_aspect > 0, smallest >= 1, attempts >= 1; got {min_aspect}, {smallest}, {attempts}"
            )
        self.grid, self.target, self.smallest, self.attempts = grid, target, smallest, attempts
        self.largest = target if largest is None else largest
        self.log_aspect = (math.log(min_aspect), math.log(1 / min_aspect if max_aspect is None else max_aspect))

    def __call__(self, draw: Draws) -> torch.Tensor:
        """One mask, (rows, columns) bool."""
        mask = torch.zeros(self.grid, dtype=torch.bool)
        while (wanted := self.target - int(mask.sum())) > 0:
            if not self._add_block(mask, min(wanted, self.largest), draw):
                break
        return mask

    def _add_block(self, mask: torch.Tensor, most: int, draw: Draws) -> bool:
        rows, columns = self.grid
        for _ in range(self.attempts):
            area = draw.uniform(self.smallest, most)
            aspect = math.exp(draw.uniform(*self.log_aspect))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= rows or width >= columns:
                continue
            top, left = draw.randint(0, rows - height), draw.randint(0, columns - width)
            block = mask[top : top + height, left : left + width]
            if 0 < int((~block).sum()) <= most:
                block.fill_(True)
                return True
        return False

    def batch(self, rows: Sequence[dict[str, Any]], seed: int) -> torch.Tensor:
        """(B, cells) bool for rows with "epoch" and "row", cells from top left, row by row.

        A mask depends on (seed, epoch, row) and on nothing else, so a resumed run sees the same masks.
        """
        drawn = [self(random.Random(f"patches {seed} {row['epoch']} {row['row']}")) for row in rows]
        return torch.stack(drawn).flatten(1)
