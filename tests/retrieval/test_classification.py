"""Accuracy and macro F1: by hand, against a slow reference, and their intervals."""

import numpy as np
import pytest
import torch

from train.metrics.classification.classification import Classification
from train.retrieval.classification import (
    CLASSIFICATION_PROTOCOLS,
    ClassificationSet,
    classification_figures,
    classification_intervals,
    evaluate_classification,
)


def test_figures_by_hand():
    figures = classification_figures([0, 0, 2, 5], [0, 1, 2, 2])
    assert figures == pytest.approx({"accuracy": 50.0, "macro_f1": 100 / 3})
    assert classification_figures([7], [7]) == {"accuracy": 100.0, "macro_f1": 100.0}
    assert classification_figures([1], [7]) == {"accuracy": 0.0, "macro_f1": 0.0}


@pytest.mark.parametrize("seed", range(3))
def test_figures_agree_with_the_evaluate_module(seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 40, 200)
    predictions = np.where(generator.random(200) < 0.6, labels, generator.integers(0, 50, 200))
    module = Classification(keep_in_memory=True).compute(predictions=predictions, references=labels)
    assert classification_figures(predictions, labels) == pytest.approx(module)


def test_intervals_agree_with_resampling_the_rows_one_by_one():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 150)
    predictions = np.where(generator.random(150) < 0.7, labels, generator.integers(0, 5, 150))
    intervals = classification_intervals(predictions, labels, resamples=4000)
    drawn = []
    for _ in range(2000):
        rows = generator.integers(0, 150, 150)
        drawn.append(classification_figures(predictions[rows], labels[rows]))
    for name, interval in intervals.items():
        low, high = np.quantile([figures[name] for figures in drawn], [0.025, 0.975])
        assert interval.value == pytest.approx(classification_figures(predictions, labels)[name])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=1.0)


def test_rows_that_do_not_fit_are_refused():
    for predictions, labels in (([], []), ([1, 2], [1])):
        with pytest.raises(ValueError, match="one prediction per label and at least one row"):
            classification_figures(predictions, labels)


def test_logits_that_are_no_numbers_are_refused():
    data = ClassificationSet(["a", "b"], ["", ""], ["x", "y"], {}, {})
    logits = torch.tensor([[1.0, 0.0], [0.0, float("nan")]])
    with pytest.raises(ValueError, match="logits of picture b hold NaN or infinity"):
        evaluate_classification(next(iter(CLASSIFICATION_PROTOCOLS)), data, logits, {"x": 0, "y": 1})


def test_a_class_that_the_model_lacks_is_answered_wrongly(caplog):
    data = ClassificationSet(["a", "b", "c"], [""] * 3, ["x", "new", "y"], {}, {})
    logits = torch.tensor([[1.0, 0.0], [5.0, 0.0], [2.0, 0.0]])
    name = next(iter(CLASSIFICATION_PROTOCOLS))
    result = evaluate_classification(name, data, logits, {"x": 0, "y": 1})
    assert result.records["model"].ranks.tolist() == [0, 2, 1]
    assert result.figures["accuracy"].value == pytest.approx(100 / 3)
    assert result.figures["macro_f1"].value == pytest.approx(100 * (2 * 1 / 4 + 0 + 0) / 3)
    assert result.controls["chance"]["accuracy"] == pytest.approx(100 * (2 / 3) / 2)
    assert "1 of 3 pictures are of classes that the model doesn't have (new)" in caplog.text
