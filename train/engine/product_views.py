"""Random views of stored pictures: FashionViL's crop out of a larger picture, and mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RandomCrop:
    """A square cut out of a stored picture, and perhaps mirrored; drawn from (seed, epoch, index, role) and nothing else.

    The published pre-training crops 224 out of 256 pixels and mirrors every second picture.

    Attributes:
        size: side of the crop. flip: probability of a mirror image. seed: of the run.
    """

    size: int
    flip: float = 0.5
    seed: int = 0

    def __call__(self, pixels: np.ndarray, epoch: int, index: int, role: int = 0) -> np.ndarray:
        """(size, size, 3) uint8 out of (d, d, 3); `role` tells one product's pictures apart (view 0, view 1).

        Raises:
            ValueError: the picture is smaller than the crop.
        """
        room = pixels.shape[0] - self.size
        if room < 0:
            raise ValueError(f"a crop of {self.size} pixels doesn't fit a picture of {pixels.shape[0]}")
        draws = np.random.default_rng((self.seed, epoch, index, role)).random(3)
        top, left = (int(draw * (room + 1)) for draw in draws[:2])
        cut = pixels[top : top + self.size, left : left + self.size]
        return cut[:, ::-1] if draws[2] < self.flip else cut
