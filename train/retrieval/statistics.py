"""Bootstrap intervals and paired comparisons of retrieval figures, from per-query values.

The unit that is resampled is the query. Figures that average over categories (FashionIQ) resample inside each category,
because the categories' sizes are part of the protocol and not chance.

A resample of n queries only matters through how often each distinct row of per-query values was drawn, and those counts
are multinomial. Recalls have a handful of distinct rows (hit at 1, 5, 10, ... or not), so ten thousand resamples of six
thousand queries take milliseconds and the result is exactly that of resampling the queries one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

DEFAULT_RESAMPLES = 10_000

# Group name -> mean of every per-query value, shape (..., M); gives named figures of shape (...).
Figures = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, in the figure's own unit."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Difference:
    """First minus second figure over the same queries, with its 95 % interval and a two-sided p-value."""

    value: float
    low: float
    high: float
    p: float

    def to_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p}


def bootstrap_figures(
    values: np.ndarray,
    figures: Figures,
    groups: np.ndarray | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Figures and their percentile bootstrap intervals.

    Args:
        values: (Q, M) per-query values, e.g. hits at several cut-offs.
        figures: turns the group means into named figures; must work on leading batch dimensions.
        groups: (Q,) name of each query's stratum; None puts all queries in one stratum named "all".
        resamples: bootstrap resamples. seed: of the resampling. confidence: coverage of the interval.

    Returns:
        Figure name -> :class:`Interval`. A recall of exactly 0 or 100 % has a zero-width interval, as always with the
        bootstrap; :func:`wilson_interval` says what such a sample allows.

    Raises:
        ValueError: no queries, values that are not finite, or arguments out of range.
    """
    values, strata = _checked(values, groups, resamples, confidence)
    exact = figures({name: values[rows].mean(axis=0) for name, rows in strata.items()})
    drawn = figures(_resampled_means(values, strata, resamples, seed))
    tail = (1 - confidence) / 2
    result = {}
    for name, value in exact.items():
        low, high = np.quantile(drawn[name], [tail, 1 - tail])
        result[name] = Interval(float(value), float(low), float(high))
    return result


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    figures: Figures,
    groups: np.ndarray | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Difference of two systems' figures over the same queries; every resample draws both systems' values together.

    Args:
        first, second: (Q, M) per-query values of the two systems, row i belonging to the same query.
        figures, groups, resamples, seed, confidence: as in :func:`bootstrap_figures`.

    Returns:
        Figure name -> :class:`Difference`. p is twice the smaller share of resamples in which the difference reaches
        zero or the other side, never below 2 / (resamples + 1).

    Raises:
        ValueError: as :func:`bootstrap_figures`, or arrays of different shape.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values must have one shape, got {first.shape} and {second.shape}")
    values, strata = _checked(np.concatenate([first, second], axis=-1), groups, resamples, confidence)
    half = first.shape[1]
    exact = {name: values[rows].mean(axis=0) for name, rows in strata.items()}
    drawn = _resampled_means(values, strata, resamples, seed)
    value = _difference(figures, exact, half)
    spread = _difference(figures, drawn, half)
    tail = (1 - confidence) / 2
    result = {}
    for name, point in value.items():
        d = spread[name]
        low, high = np.quantile(d, [tail, 1 - tail])
        # Differences of sums of the same hits can miss zero by a rounding error.
        below, above = np.sum(d <= 1e-9), np.sum(d >= -1e-9)
        p = min(1.0, 2 * (1 + min(below, above)) / (resamples + 1))
        result[name] = Difference(float(point), float(low), float(high), float(p))
    return result


def wilson_interval(hits: int, queries: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Closed-form 95 % interval of a share (Wilson 1927), also sound when all or none of the queries hit.

    Returns:
        (low, high), fractions in 0..1.

    Raises:
        ValueError: no queries, or hits outside 0..queries.
    """
    if queries < 1 or not 0 <= hits <= queries:
        raise ValueError(f"need 0 <= hits <= queries and at least one query, got {hits} of {queries}")
    p, z2 = hits / queries, z * z
    centre = (p + z2 / (2 * queries)) / (1 + z2 / queries)
    half = z / (1 + z2 / queries) * math.sqrt(p * (1 - p) / queries + z2 / (4 * queries**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def binomial_half_width(share: float, queries: int, z: float = 1.959963984540054) -> float:
    """Normal approximation of the 95 % half-width of a recall over `queries` queries, as a fraction."""
    return z * math.sqrt(share * (1 - share) / queries)


def _difference(figures: Figures, means: Mapping[str, np.ndarray], half: int) -> dict[str, np.ndarray]:
    first = figures({name: m[..., :half] for name, m in means.items()})
    second = figures({name: m[..., half:] for name, m in means.items()})
    return {name: first[name] - second[name] for name in first}


def _resampled_means(
    values: np.ndarray, strata: dict[str, np.ndarray], resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Group name -> (resamples, M) means of bootstrap resamples inside the group."""
    generator = np.random.default_rng(seed)
    means = {}
    for name, rows in strata.items():
        patterns, counts = np.unique(values[rows], axis=0, return_counts=True)
        total = len(rows)
        share = counts / total
        out = np.empty((resamples, values.shape[1]))
        step = max(1, 2**22 // len(patterns))  # at most 32 MiB of counts at a time
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            out[start : start + size] = generator.multinomial(total, share, size=size) @ patterns / total
        means[name] = out
    return means


def _checked(
    values: np.ndarray, groups: np.ndarray | None, resamples: int, confidence: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"values must be (queries, figures) with at least one query, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values hold NaN or infinity")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"need resamples >= 1 and 0 < confidence < 1, got {resamples} and {confidence}")
    if groups is None:
        return values, {"all": np.arange(len(values))}
    groups = np.asarray(groups)
    if groups.shape != (len(values),):
        raise ValueError(f"groups must be ({len(values)},), got {groups.shape}")
    return values, {str(name): np.flatnonzero(groups == name) for name in dict.fromkeys(groups.tolist())}
