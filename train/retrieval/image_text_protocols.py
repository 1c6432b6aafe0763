"""Rules of image-text retrieval: captions ask for images and images for captions, each direction with its own figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text_to_image", "image_to_text"
DIRECTIONS = (TEXT_TO_IMAGE, IMAGE_TO_TEXT)


@dataclass(frozen=True)
class ImageTextProtocol:
    """The rules of one protocol, in words for the report and in values for the computation.

    Attributes:
        candidates: length of a query's own list of candidates, 0 for the whole gallery.
        queries: most queries of a direction, drawn once; 0 for all.
    """

    name: str
    description: str
    images: str
    texts: str
    positives: str
    candidates: int = 0
    queries: int = 0
    cutoffs: tuple[int, ...] = (1, 5, 10)
    by_category: bool = True  # a direction is a stratum: its queries are resampled among themselves
    group_cutoffs: tuple[int, ...] = ()
    ties: str = "an earlier candidate wins"

    def definition(self) -> dict[str, str]:
        """The rules as text, for results.json."""
        names = ("description", "images", "texts", "positives", "ties")
        return {name: getattr(self, name) for name in names}

    def hits(self, ranks: np.ndarray, group_ranks: np.ndarray | None = None) -> np.ndarray:
        """(Q, M) hit or not at every cut-off."""
        return np.stack([ranks < k for k in self.cutoffs], axis=1).astype(np.float64)

    def figures(self, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Named figures in percent from the mean hits (..., M) of each direction, and the mean of all six."""
        figures = {f"{d}_recall_at{k}": 100 * m[..., i] for d, m in means.items() for i, k in enumerate(self.cutoffs)}
        return figures | {"mean_recall": np.mean(list(figures.values()), axis=0)}


IMAGE_TEXT_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ImageTextProtocol(
            name="retrieval/same-title",
            description="Captions and images of a split against each other; several may be right, the best ranked counts.",
            images="every image of the split; each asks for texts",
            texts="the caption of every image, equal captions as often as they occur; each asks for images",
            positives="every image that has a caption equal to the query, every caption equal to one of the query's",
        ),
        ImageTextProtocol(
            name="fashiongen/full",
            description="FashionGen validation, every query against everything (FashionViL's r@k_general).",
            images="every photo of the split, several views of a product; each asks for texts",
            texts="the caption of every product once (title. description); each asks for images",
            positives="whatever belongs to the query's product; the best ranked counts",
        ),
        ImageTextProtocol(
            name="fashiongen/sampled-100",
            description="FashionGen validation, 1 right of 101 candidates (FashionBERT and its followers). The lists are "
            "drawn once and kept in a file, because figures depend on the draw.",
            images="a photo of the query's product and 100 of other products of its sub-category (of others where it has "
            "fewer); 1,000 drawn captions ask",
            texts="the caption of the query's product and those of 100 other products, likewise; 1,000 drawn photos ask",
            positives="the drawn one of the query's product",
            candidates=101,
            queries=1000,
        ),
    )
}
