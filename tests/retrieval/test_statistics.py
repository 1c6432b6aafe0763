"""Bootstrap intervals against closed forms and against resampling the queries one by one."""

import numpy as np
import pytest

from train.retrieval.statistics import (
    binomial_half_width,
    bootstrap_figures,
    paired_bootstrap,
    wilson_interval,
)


def mean_in_percent(means):
    (mean,) = means.values()
    return {"recall": 100 * mean[..., 0]}


def average_of_categories(means):
    return {"average": np.mean([100 * m[..., 0] for m in means.values()], axis=0)}


def hits(share, queries):
    values = np.zeros((queries, 1))
    values[: round(share * queries)] = 1
    return values


def test_the_interval_of_a_recall_is_the_binomial_one():
    interval = bootstrap_figures(hits(0.44, 2000), mean_in_percent)["recall"]
    assert interval.value == pytest.approx(44.0)
    half = 100 * binomial_half_width(0.44, 2000)
    assert interval.high - interval.value == pytest.approx(half, rel=0.06)
    assert interval.value - interval.low == pytest.approx(half, rel=0.06)
    low, high = wilson_interval(880, 2000)
    assert (interval.low, interval.high) == pytest.approx((100 * low, 100 * high), abs=0.15)


def test_half_widths_of_the_published_benchmarks():
    # FashionIQ category +-2.1, average of three +-1.3, CIRR R@1 +-1.5 percentage points.
    category = bootstrap_figures(hits(0.4, 2017), mean_in_percent)["recall"]
    assert (category.high - category.low) / 2 == pytest.approx(2.1, abs=0.1)
    values = np.concatenate([hits(0.45, n) for n in (2017, 2038, 1961)])
    names = np.repeat(["dress", "shirt", "toptee"], (2017, 2038, 1961))
    average = bootstrap_figures(values, average_of_categories, names)["average"]
    assert (average.high - average.low) / 2 == pytest.approx(1.26, abs=0.06)
    cirr = bootstrap_figures(hits(0.45, 4181), mean_in_percent)["recall"]
    assert (cirr.high - cirr.low) / 2 == pytest.approx(1.5, abs=0.06)


def test_counting_patterns_equals_resampling_the_queries():
    generator = np.random.default_rng(3)
    values = generator.integers(0, 2, size=(60, 2)).astype(float)

    def figures(means):
        (m,) = means.values()
        return {"product": m[..., 0] * m[..., 1]}

    interval = bootstrap_figures(values, figures, resamples=20_000)["product"]
    rows = generator.integers(0, 60, size=(20_000, 60))
    drawn = values[rows].mean(axis=1).prod(axis=1)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.012)


def test_categories_are_resampled_apart():
    # One category always hits, the other never: resampling the pool would move the average, this must not.
    values = np.concatenate([hits(1.0, 30), hits(0.0, 10)])
    names = np.repeat(["a", "b"], (30, 10))
    interval = bootstrap_figures(values, average_of_categories, names)["average"]
    assert (interval.value, interval.low, interval.high) == (50.0, 50.0, 50.0)


def test_the_seed_decides_the_interval():
    values = hits(0.3, 50)
    first, again, other = (bootstrap_figures(values, mean_in_percent, seed=s, resamples=200) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_paired_differences_use_the_pairing():
    # The second system hits wherever the first does and on 30 queries more: unpaired intervals overlap widely.
    first, second = hits(0.5, 1000), hits(0.53, 1000)
    difference = paired_bootstrap(second, first, mean_in_percent)["recall"]
    assert difference.value == pytest.approx(3.0)
    assert 1.8 < difference.low < difference.high < 4.3
    assert difference.p < 0.001
    unpaired = bootstrap_figures(first, mean_in_percent)["recall"]
    assert unpaired.high > 53.0


def test_equal_systems_differ_by_nothing():
    difference = paired_bootstrap(hits(0.5, 100), hits(0.5, 100), mean_in_percent)["recall"]
    assert (difference.value, difference.low, difference.high, difference.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_p_value_is_calibrated_when_nothing_differs():
    generator = np.random.default_rng(0)
    p = []
    for seed in range(200):
        pair = generator.integers(0, 2, size=(200, 2)).astype(float)
        found = paired_bootstrap(pair[:, :1], pair[:, 1:], mean_in_percent, resamples=400, seed=seed)
        p.append(found["recall"].p)
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.10
    assert 0.4 < np.mean(p) < 0.62


def test_swapping_the_systems_turns_the_sign():
    generator = np.random.default_rng(1)
    a, b = (generator.integers(0, 2, size=(300, 1)).astype(float) for _ in range(2))
    one, two = (paired_bootstrap(*pair, mean_in_percent)["recall"] for pair in ((a, b), (b, a)))
    assert one.value == pytest.approx(-two.value)
    assert one.low == pytest.approx(-two.high, abs=0.4)
    assert one.p == pytest.approx(two.p, abs=0.03)


def test_wilson_interval_is_sound_at_the_ends():
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
    with pytest.raises(ValueError, match="at least one query"):
        wilson_interval(0, 0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.empty((0, 1)), {}, "at least one query"),
        (np.ones(3), {}, "queries, figures"),
        (np.array([[np.nan]]), {}, "NaN"),
        (np.ones((2, 1)), {"groups": np.array(["a"])}, "groups must be"),
        (np.ones((2, 1)), {"resamples": 0}, "resamples"),
        (np.ones((2, 1)), {"confidence": 1.0}, "confidence"),
    ],
)
def test_values_that_cannot_be_resampled_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_figures(values, mean_in_percent, **options)


def test_paired_values_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap(np.ones((2, 1)), np.ones((3, 1)), mean_in_percent)
