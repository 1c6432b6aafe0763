"""Rules of outfit complementary item retrieval: an outfit and a kind of item ask for the item that was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OcirProtocol:
    """The rules of one protocol, in words for the report and in values for the computation.

    Attributes:
        fill: score that items of other categories get; None removes them from the ranking.
        version: of Polyvore Outfits, "disjoint" or "nondisjoint"; the published recipe trains and tests on the first.
    """

    name: str
    gallery: str
    fill: float | None = None
    version: str = "disjoint"
    cutoffs: tuple[int, ...] = (10, 30, 50)
    by_category: bool = True  # a category's queries are resampled among themselves
    group_cutoffs: tuple[int, ...] = ()

    def definition(self) -> dict[str, str]:
        """The rules as text, for results.json."""
        return {
            "description": f"Polyvore Outfits ({self.version}) test: recall@10, 30, 50 inside each category of missing "
            "items, and their mean over the categories, however many queries these have (CSA-Net, FashionViL).",
            "queries": "the mean of the outfit's item features, each conditioned on its own category and the missing one's; "
            "rows with fake_data ask nothing",
            "gallery": self.gallery,
            "positives": "the item that was left out",
            "ties": "an earlier gallery row wins",
        }

    def hits(self, ranks: np.ndarray, group_ranks: np.ndarray | None = None) -> np.ndarray:
        """(Q, M) hit or not at every cut-off."""
        return np.stack([ranks < k for k in self.cutoffs], axis=1).astype(np.float64)

    def figures(self, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Named figures in percent from the mean hits (..., M) of each category, and the mean of the three."""
        mean = np.mean(list(means.values()), axis=0)
        figures = {f"recall_at{k}": 100 * mean[..., i] for i, k in enumerate(self.cutoffs)}
        return figures | {"average_recall": np.mean(list(figures.values()), axis=0)}


_ITEMS = "every blank item of the split's rows once, those with fake_data too"
_CLEAN = f"{_ITEMS}, of the missing item's category"
_FILLED = f"{_ITEMS}; those of other categories have score -1, which is not always the lowest (FashionViL's code)"
OCIR_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        OcirProtocol("polyvore-outfits/ocir", _CLEAN),
        OcirProtocol("polyvore-outfits/ocir-official", _FILLED, fill=-1.0),
        OcirProtocol("polyvore-outfits/nondisjoint-ocir", _CLEAN, version="nondisjoint"),
        OcirProtocol("polyvore-outfits/nondisjoint-ocir-official", _FILLED, fill=-1.0, version="nondisjoint"),
    )
}
