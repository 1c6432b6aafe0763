"""The `evaluate` modules: hand-typed ranks, and agreement with the figures of the protocols."""

from pathlib import Path

import evaluate
import numpy as np
import pytest

from train.retrieval.composed import find_protocol

METRICS = Path(__file__).resolve().parents[2] / "train" / "metrics"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    cache = tmp_path_factory.mktemp("metrics")
    return lambda name: evaluate.load(str(METRICS / name), cache_dir=str(cache))


def test_fashioniq_figures_of_hand_typed_ranks(load):
    # dress: 2 of 4 under 10, 3 of 4 under 50; shirt: 1 of 2 and 1 of 2; toptee: 0 of 1 and 1 of 1.
    ranks = [0, 9, 10, 50, 3, 51, 49]
    categories = ["dress"] * 4 + ["shirt"] * 2 + ["toptee"]
    figures = load("fashioniq").compute(ranks=ranks, categories=categories)
    assert figures == pytest.approx(
        {
            "dress_recall_at10": 50.0,
            "dress_recall_at50": 75.0,
            "shirt_recall_at10": 50.0,
            "shirt_recall_at50": 50.0,
            "toptee_recall_at10": 0.0,
            "toptee_recall_at50": 100.0,
            "average_recall_at10": 100 / 3,
            "average_recall_at50": 75.0,
            "average_recall": (100 / 3 + 75.0) / 2,
        }
    )


def test_cirr_figures_of_hand_typed_ranks(load):
    figures = load("cirr").compute(ranks=[0, 4, 9, 49], group_ranks=[0, 1, 2, 0])
    seven = [50.0, 75.0, 100.0, 25.0, 50.0, 75.0, 100.0]
    names = ["group_recall_at1", "group_recall_at2", "group_recall_at3"] + [f"recall_at{k}" for k in (1, 5, 10, 50)]
    assert [figures[name] for name in names] == seven
    assert figures["mean(R@5+R_s@1)"] == 50.0
    assert figures["arithmetic_mean"] == pytest.approx(475 / 7)
    assert figures["harmonic_mean"] == pytest.approx(7 / sum(1 / x for x in seven))
    assert figures["geometric_mean"] == pytest.approx(np.prod(seven) ** (1 / 7))


def test_a_recall_of_zero_does_not_stop_the_means(load):
    # The original stops with a statistics error at the first recall that is zero.
    figures = load("cirr").compute(ranks=[3], group_ranks=[4])
    assert figures["recall_at1"] == 0.0
    assert figures["harmonic_mean"] == figures["geometric_mean"] == 0.0
    assert figures["arithmetic_mean"] == pytest.approx(300 / 7)


def test_recall_of_hand_typed_ranks(load):
    figures = load("recall").compute(ranks=[0, 1, 9, 99], ks=(1, 10))
    assert figures == pytest.approx(
        {
            "recall_at1": 25.0,
            "recall_at10": 75.0,
            "median_rank": 6.0,
            "mean_reciprocal_rank": (1 + 1 / 2 + 1 / 10 + 1 / 100) / 4,
        }
    )


def test_ranks_may_come_in_batches(load):
    metric = load("fashioniq")
    for start in range(0, 6, 2):
        metric.add_batch(ranks=np.arange(start, start + 2) * 5, categories=["a", "b"])
    assert metric.compute()["a_recall_at10"] == pytest.approx(100 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_modules_agree_with_the_protocols(load, seed):
    generator = np.random.default_rng(seed)
    ranks = generator.geometric(0.03, size=300) - 1
    groups = generator.integers(0, 5, size=300)
    categories = generator.choice(["dress", "shirt", "toptee"], size=300)
    protocol = find_protocol("fashioniq/original-split")
    hits = protocol.hits(ranks)
    means = {c: hits[categories == c].mean(axis=0) for c in dict.fromkeys(categories.tolist())}
    assert load("fashioniq").compute(ranks=ranks, categories=categories.tolist()) == pytest.approx(
        protocol.figures(means)
    )
    protocol = find_protocol("cirr/val")
    expected = protocol.figures({"all": protocol.hits(ranks, groups).mean(axis=0)})
    assert load("cirr").compute(ranks=ranks, group_ranks=groups) == pytest.approx(expected)
    protocol = find_protocol("composed/pooled-noref")
    expected = protocol.figures({"all": protocol.hits(ranks).mean(axis=0)})
    assert expected.items() <= load("recall").compute(ranks=ranks).items()


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("recall", {"ranks": [-1]}),
        ("fashioniq", {"ranks": [-1], "categories": ["dress"]}),
        ("cirr", {"ranks": [0], "group_ranks": [-1]}),
    ],
)
def test_negative_ranks_are_refused(load, name, inputs):
    with pytest.raises(ValueError, match="never negative"):
        load(name).compute(**inputs)


@pytest.mark.parametrize("name", ["recall", "fashioniq", "cirr"])
def test_a_metric_file_can_be_published_alone(name):
    # `evaluate` scans the text: one import per line, and nothing of this repository.
    lines = [line for line in (METRICS / name / f"{name}.py").read_text().splitlines() if "import " in line[:8]]
    assert lines and all("," not in line and "train" not in line for line in lines)
    assert (METRICS / name / "README.md").read_text().startswith("---\n")


def test_fashiongen_figures_of_hand_typed_ranks(load):
    ranks = [0, 4, 9, 10, 0, 5]
    directions = ["text_to_image"] * 4 + ["image_to_text"] * 2
    figures = load("fashiongen").compute(ranks=ranks, directions=directions)
    expected = {"text_to_image_recall_at1": 25.0, "text_to_image_recall_at5": 50.0, "text_to_image_recall_at10": 75.0}
    expected |= {"image_to_text_recall_at1": 50.0, "image_to_text_recall_at5": 50.0, "image_to_text_recall_at10": 100.0}
    assert figures == pytest.approx(expected | {"mean_recall": 350 / 6})


def test_fashiongen_module_and_protocol_agree(load):
    protocol = find_protocol("fashiongen/full")
    ranks, directions = np.random.default_rng(0).integers(0, 20, 60), np.repeat(["text_to_image", "image_to_text"], 30)
    hits = protocol.hits(ranks)
    means = {d: hits[directions == d].mean(axis=0) for d in ("text_to_image", "image_to_text")}
    figures = load("fashiongen").compute(ranks=ranks, directions=directions.tolist())
    assert figures == pytest.approx({name: float(value) for name, value in protocol.figures(means).items()})


@pytest.mark.parametrize(
    "ranks, directions, message",
    [([], [], "no ranks"), ([-1], ["text_to_image"], "never negative"), ([0], ["sideways"], "sideways")],
)
def test_fashiongen_refuses_what_is_no_rank_or_direction(load, ranks, directions, message):
    with pytest.raises(ValueError, match=message):
        load("fashiongen").compute(ranks=ranks, directions=directions)


def test_fill_in_blank_shares_ties(load):
    figures = load("fill_in_blank").compute(ranks=[0, 2, 0, 0], ties=[1, 1, 2, 4])
    assert figures == {"fill_in_blank_accuracy": pytest.approx(100 * (1 + 0 + 1 / 2 + 1 / 4) / 4)}


@pytest.mark.parametrize(
    "ranks, ties, message", [([-1], [1], "never negative"), ([0], [0], "1 or more"), ([], [], "no ranks")]
)
def test_fill_in_blank_refuses_what_is_no_rank(load, ranks, ties, message):
    with pytest.raises(ValueError, match=message):
        load("fill_in_blank").compute(ranks=ranks, ties=ties)


def test_outfit_compatibility_counts_pairs(load):
    # Pairs (3, 2), (3, 1) won, (2, 2) half, (2, 1) won.
    assert load("outfit_compatibility").compute(scores=[3, 2, 2, 1], labels=[1, 1, 0, 0]) == {
        "compatibility_auc": 0.875
    }


def test_outfit_compatibility_agrees_with_the_protocol(load):
    from train.retrieval.outfit_scores import area_under_curve

    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 9, 200).astype(float), rng.integers(0, 2, 200)
    figures = load("outfit_compatibility").compute(scores=scores.tolist(), labels=labels.tolist())
    assert figures["compatibility_auc"] == pytest.approx(area_under_curve(scores, labels))


@pytest.mark.parametrize(
    "scores, labels, message",
    [([1.0, 2], [1, 1], "both labels"), ([1.0, 2], [1, 2], "labels are 1 and 0"), ([np.nan, 2], [1, 0], "finite")],
)
def test_outfit_compatibility_refuses_other_input(load, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        load("outfit_compatibility").compute(scores=scores, labels=labels)


def test_ocir_figures_of_hand_typed_ranks(load):
    # Category a: 1 of 2 under 10, both under 30; category b: 0, 0 and 1 of 1. Categories count alike.
    figures = load("ocir").compute(ranks=[9, 29, 49], categories=["a", "a", "b"])
    assert figures == pytest.approx(
        {"recall_at10": 25.0, "recall_at30": 50.0, "recall_at50": 100.0, "average_recall": 175 / 3}
    )


def test_classification_figures_of_hand_typed_predictions(load):
    # F1 of 0: 2 * 1 / (2 + 1), of 1: 0 (never predicted), of 2: 2 * 1 / (1 + 2), of 5: 0 (never right).
    figures = load("classification").compute(predictions=[0, 0, 2, 5], references=[0, 1, 2, 2])
    assert figures == pytest.approx({"accuracy": 50.0, "macro_f1": 100 * (2 / 3 + 0 + 2 / 3 + 0) / 4})


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ocir", {"ranks": [], "categories": []}, "no ranks"),
        ("ocir", {"ranks": [-1], "categories": ["a"]}, "never negative, got -1"),
        ("classification", {"predictions": [], "references": []}, "no rows"),
    ],
)
def test_new_modules_refuse_what_they_cannot_count(load, name, given, message):
    with pytest.raises(ValueError, match=message):
        load(name).compute(**given)
