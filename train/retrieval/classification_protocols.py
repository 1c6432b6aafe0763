"""Rules of product classification: a picture and its product's text ask for the category or the sub-category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassificationProtocol:
    """The rules of one protocol, in words for the report and in values for the computation.

    Attributes:
        label: which of a product's labels is asked for: "category" or "subcategory".
    """

    name: str
    label: str
    by_category: bool = False
    group_cutoffs: tuple[int, ...] = ()

    def definition(self) -> dict[str, str]:
        """The rules as text, for results.json."""
        return {
            "description": f"FashionGen validation, {self.label} of a product: accuracy, and the mean F1 of the classes that "
            "occur among the answers or the labels, each weighing the same.",
            "queries": "every photo of a product with the product's text (title.description)",
            "classes": "those of the model; a label that it lacks counts as answered wrongly, with a warning",
            "left_out": f"products without a {self.label}, with a warning",
            "ties": "the class with the lower number wins",
        }

    def hits(self, ranks: np.ndarray, group_ranks: np.ndarray | None = None) -> np.ndarray:
        """(Q, 1) right or not; a rank is the number of classes before the right one."""
        return (ranks < 1)[:, None].astype(np.float64)

    def figures(self, means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Accuracy in percent, the figure of a paired comparison; macro F1 is no mean over queries."""
        (mean,) = means.values()
        return {"accuracy": 100 * mean[..., 0]}


CLASSIFICATION_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ClassificationProtocol("fashiongen/category", "category"),
        ClassificationProtocol("fashiongen/subcategory", "subcategory"),
    )
}
