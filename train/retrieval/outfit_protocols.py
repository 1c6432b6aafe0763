"""Figures of outfit questions with intervals, beside controls that know no style: chance, popularity, categories.

polyvore/fitb            percent of blanks answered right; of n equal best answers the right one counts 1/n
polyvore/compatibility   area under the ROC curve of outfits that somebody made against made-up ones, ties half

The same of Polyvore Outfits are polyvore-outfits/fitb and polyvore-outfits/compatibility, and of its disjoint version
polyvore-outfits/disjoint-fitb and polyvore-outfits/disjoint-compatibility. A name without its last word is both.

Random wrong answers are nearly solved by the kind of item that is missing: look at the controls, and prefer questions
whose wrong answers are of the right kind ("typed").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from train.retrieval.outfit_scores import area_under_curve, right_share

KINDS = ("fill_in_blank", "compatibility")
METRICS = {"fill_in_blank": "fill_in_blank_accuracy", "compatibility": "compatibility_auc"}
DESCRIPTIONS = {
    "fill_in_blank": "percent of fill-in-the-blank questions answered right, ties as 1/n",
    "compatibility": "area under the ROC curve of labelled outfits, ties half",
}


def protocol_of(kind: str, dataset: str, disjoint: bool = False) -> str:
    """Name of the protocol that asks one kind of questions of a data set, e.g. polyvore-outfits/disjoint-fitb."""
    kind = {"fill_in_blank": "fitb"}.get(kind, kind)
    return f"{dataset.replace('_', '-')}/{'disjoint-' if disjoint else ''}{kind}"


@dataclass(frozen=True)
class OutfitProtocol:
    """What a protocol asks, of which data."""

    kind: str
    dataset: str
    disjoint: bool = False


_SETS = (("polyvore", False), ("polyvore_outfits", False), ("polyvore_outfits", True))
PROTOCOLS = {protocol_of(kind, *which): OutfitProtocol(kind, *which) for which in _SETS for kind in KINDS}
GROUPS = {
    name: tuple(protocol_of(kind, *which) for kind in KINDS)
    for name, which in zip(("polyvore", "polyvore-outfits", "polyvore-outfits/disjoint"), _SETS, strict=True)
}


@dataclass
class OutfitResult:
    """One protocol's outcome.

    Attributes:
        name: of the protocol. figure: the model's {"value", "low", "high"}. controls: name -> value.
        queries: questions that were asked. left_out: questions that could not be.
        differences: control or model -> {"value", "low", "high"} of the model minus it.
    """

    name: str
    figure: dict[str, float]
    controls: dict[str, float]
    queries: int
    left_out: int = 0
    differences: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return PROTOCOLS[self.name].kind

    @property
    def metric(self) -> str:
        return METRICS[self.kind]

    def to_dict(self) -> dict[str, Any]:
        unit = "percent" if self.kind == "fill_in_blank" else ""
        return {
            "protocol": self.name,
            "definition": {"description": DESCRIPTIONS[self.kind], "ties": "1/n" if unit else "half"},
            "interval": "95 %, percentile bootstrap over questions",
            "figures": {self.metric: self.figure | {"unit": unit}},
            "controls": {name: {self.metric: {"value": value}} for name, value in self.controls.items()},
            "differences": {name: {self.metric: value} for name, value in self.differences.items()},
            "counts": {"questions": self.queries, "left_out": self.left_out},
        }

    def table(self) -> str:
        """The model and its controls, a line each."""
        lines = [f"{self.name}   {self.queries} questions" + (f", {self.left_out} left out" if self.left_out else "")]
        own = self.figure
        lines.append(f"  {'model':22} {own['value']:8.3f} [{own['low']:.3f}, {own['high']:.3f}]")
        lines += [f"  {name:22} {value:8.3f}" for name, value in self.controls.items()]
        for name, d in self.differences.items():
            lines.append(f"  model - {name:14} {d['value']:+8.3f} [{d['low']:+.3f}, {d['high']:+.3f}]")
        return "\n".join(lines)


def blank_result(
    scores: np.ndarray,
    right: np.ndarray,
    controls: dict[str, np.ndarray],
    resamples: int,
    seed: int,
    name: str = "polyvore/fitb",
) -> OutfitResult:
    """Result of fill in the blank.

    Args:
        scores: (questions, A), rows of NaN for what can't be asked. right: (questions,) place of the right answer, or
            (questions, A) bool where several may be right.
        controls: name -> (questions, A) scores.
    """
    hits = right_share(scores, right)
    kept = ~np.isnan(hits)
    chance = right_share(np.where(np.isnan(scores), np.nan, 0), right)[kept]
    own = {control: right_share(np.where(np.isnan(scores), np.nan, s), right)[kept] for control, s in controls.items()}
    picks = _picks(int(kept.sum()), resamples, seed)
    figure = _interval(lambda rows: 100 * hits[kept][rows].mean(-1), picks)
    values = {"chance": float(100 * chance.mean())}
    values |= {control: float(100 * s.mean()) for control, s in own.items()}
    differences = {
        control: _interval(lambda rows, s=s: 100 * (hits[kept][rows] - s[rows]).mean(-1), picks)
        for control, s in own.items()
    }
    return OutfitResult(name, figure, values, int(kept.sum()), int((~kept).sum()), differences)


def compatibility_result(
    scores: np.ndarray,
    labels: np.ndarray,
    controls: dict[str, np.ndarray],
    resamples: int,
    seed: int,
    name: str = "polyvore/compatibility",
) -> OutfitResult:
    """Result of compatibility; arguments as of `blank_result`, (outfits,) each."""
    kept = ~np.isnan(scores)
    scores, labels = scores[kept], np.asarray(labels)[kept].astype(bool)
    picks = _picks(len(scores), resamples, seed)
    # A draw without both labels has no area; with hundreds of outfits there is none.
    picks = np.stack([rows for rows in picks if labels[rows].any() and not labels[rows].all()])
    own = {control: values[kept] for control, values in controls.items()}

    def area(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def of(rows: np.ndarray) -> np.ndarray:
            rows = np.atleast_2d(rows)
            return np.array([area_under_curve(values[one], labels[one]) for one in rows])

        return of

    figure = _interval(area(scores), picks)
    values = {"chance": 0.5} | {control: float(area(s)(np.arange(len(s)))[0]) for control, s in own.items()}
    differences = {}
    for control, other in own.items():
        drawn = area(scores)(picks) - area(other)(picks)
        low, high = np.percentile(drawn, [2.5, 97.5])
        differences[control] = {"value": figure["value"] - values[control], "low": float(low), "high": float(high)}
    return OutfitResult(name, figure, values, len(scores), int((~kept).sum()), differences=differences)


def _picks(count: int, resamples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _interval(statistic: Callable[[np.ndarray], np.ndarray], picks: np.ndarray) -> dict[str, float]:
    value = float(np.ravel(statistic(np.arange(picks.shape[1])))[0])
    low, high = np.percentile(statistic(picks), [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}


class Controls:
    """Answers without looking at style, counted on the training outfits.

    Args:
        outfits: the training outfits, as lists of (product, category).
    """

    def __init__(self, outfits: Sequence[Sequence[tuple[Any, str]]]) -> None:
        self.products = Counter(product for outfit in outfits for product, _ in outfit)
        self.categories = Counter(category for outfit in outfits for _, category in outfit)
        self.pairs: Counter = Counter()
        for outfit in outfits:
            kinds = [category for _, category in outfit]
            self.pairs.update((a, b) for i, a in enumerate(kinds) for j, b in enumerate(kinds) if i != j)

    def popularity(self, product: Any) -> float:
        """In how many training outfits a product is."""
        return float(self.products[product])

    def fit(self, category: str, others: Sequence[str]) -> float:
        """Mean logarithm of how often a category is worn with others, per time that either occurs (smoothed)."""
        total = sum(self.categories.values()) or 1
        return float(
            np.mean(
                [
                    np.log((self.pairs[other, category] + 1) / (self.categories[other] + len(self.categories) + 1))
                    - np.log((self.categories[category] + 1) / (total + len(self.categories) + 1))
                    for other in others
                ]
            )
            if len(others)
            else 0.0
        )


def fused(scores: Sequence[np.ndarray], weights: Sequence[float], blanks: bool) -> np.ndarray:
    """Late fusion: the weighted mean of several models' scores.

    Scores of a question's answers are first divided by their sum; those of outfits are standardised over all outfits, for
    probabilities, cosines and log-probabilities have nothing in common. NaN where any model has NaN.

    Raises:
        ValueError: other numbers of weights than models, or weights that are negative or all 0.
    """
    if len(weights) != len(scores) or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"fusion of {len(scores)} models: give as many weights, none negative; got {list(weights)}")
    total = np.zeros_like(scores[0])
    for values, weight in zip(scores, weights, strict=True):
        if blanks:
            alike = values / np.nansum(values, axis=1, keepdims=True)
        else:
            alike = (values - np.nanmean(values)) / max(float(np.nanstd(values)), 1e-12)
        total = total + weight / sum(weights) * alike
    return total
