"""Accuracy and macro F1 of classified products, with intervals, and under a named protocol beside controls.

Controls:

    majority        the most frequent class of the split, always
    chance          a class drawn at random: accuracy in closed form, macro F1 the mean over 100 draws
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from train.retrieval.classification_protocols import CLASSIFICATION_PROTOCOLS, ClassificationProtocol
from train.retrieval.composed import MODEL, RankRecord
from train.retrieval.statistics import DEFAULT_RESAMPLES, Interval

logger = logging.getLogger(__name__)

CHANCE_DRAWS = 100


@dataclass
class ClassificationSet:
    """Pictures with texts and labels, one entry per picture.

    Attributes:
        image_ids: distinct. texts: of their products. labels: names of the right classes.
        sources: picture id -> path or bytes. fingerprint: digest and counts.
    """

    image_ids: list[str]
    texts: list[str]
    labels: list[str]
    sources: dict[str, Any] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)


@dataclass
class ClassificationResult:
    """Figures under one protocol, with the rank of every picture's right class."""

    protocol: ClassificationProtocol
    counts: dict[str, Any]
    figures: dict[str, Interval]
    controls: dict[str, dict[str, float]]
    records: dict[str, RankRecord]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the ranks, ready for JSON."""
        return {
            "protocol": self.protocol.name,
            "definition": self.protocol.definition(),
            "unit": "percent",
            "interval": "95 %, percentile bootstrap over pictures",
            "counts": self.counts,
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "controls": {c: {n: {"value": v} for n, v in figures.items()} for c, figures in self.controls.items()},
            "differences": {},
        }


def load_classification_set(
    protocol: str, data_dir: str | Path, split: str | None = None, missing_images: str = "error"
) -> ClassificationSet:
    """One split of FashionGen, every photo with its product's text and label.

    Args:
        protocol: a key of `CLASSIFICATION_PROTOCOLS`.
        data_dir: folder of the data set. split: default validation. missing_images: "error" or "skip".

    Raises:
        FileNotFoundError, ValueError: as `train.engine.products.load_products`.
    """
    from train.engine.products import load_products

    label, split = CLASSIFICATION_PROTOCOLS[protocol].label, split or "validation"
    products = load_products(["fashiongen"], data_dir, split, missing_images, label)
    owners = [row for row, own in enumerate(products.views) for _ in own]
    ids = [view for own in products.views for view in own]
    texts, labels = ([values[row] for row in owners] for values in (products.texts, products.labels[label]))
    digest = hashlib.sha256(json.dumps([ids, texts, labels]).encode()).hexdigest()
    fingerprint = {"digest": digest, "queries": len(ids), "layout": "fashiongen", "split": split}
    return ClassificationSet(ids, texts, labels, products.sources, fingerprint)


def evaluate_classification(
    name: str,
    data: ClassificationSet,
    logits: Tensor,
    classes: dict[str, int],
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> ClassificationResult:
    """Figures of a model's answers under a protocol.

    Args:
        name: a key of `CLASSIFICATION_PROTOCOLS`.
        data: pictures and labels.
        logits: (pictures, classes).
        classes: name of a class -> its column, the model's `config.label2id`.
        resamples, seed: of the bootstrap, and of the random answers.

    Raises:
        ValueError: no label is one of the classes, logits of another shape, or NaN or infinity among them.
    """
    protocol = CLASSIFICATION_PROTOCOLS[name]
    unknown = sorted(set(data.labels) - set(classes))
    if len(unknown) == len(set(data.labels)):
        raise ValueError(
            f"{name}: the data has the {protocol.label} {unknown[0]!r}, and like all others it is none of the model's "
            f"{len(classes)} classes ({', '.join(sorted(classes)[:3])}, ...); take a model that was trained for this protocol"
        )
    if unknown:
        from data_scripts.source_files import first_few

        lost = sum(label in unknown for label in data.labels)
        logger.warning(
            "%s: %d of %d pictures are of classes that the model doesn't have (%s) and count as answered wrongly",
            name,
            lost,
            len(data.labels),
            first_few(unknown),
        )
    if tuple(logits.shape) != (len(data.labels), len(classes)):
        raise ValueError(f"{len(data.labels)} pictures and {len(classes)} classes, but logits of {tuple(logits.shape)}")
    number = classes | {label: len(classes) + place for place, label in enumerate(unknown)}
    right = np.array([number[label] for label in data.labels])
    scores = logits.float().numpy()
    if not np.isfinite(scores).all():
        row = data.image_ids[int((~np.isfinite(scores)).any(axis=1).argmax())]
        raise ValueError(f"the logits of picture {row} hold NaN or infinity: an answer would be meaningless")
    # A class that the model lacks comes after all that it has.
    wide = np.pad(scores, [(0, 0), (0, len(unknown))], constant_values=-np.inf)
    own = wide[np.arange(len(right)), right][:, None]
    earlier = (scores == own) & (np.arange(len(classes)) < right[:, None])
    ranks = ((scores > own) | earlier).sum(axis=1)
    generator = np.random.default_rng(seed)
    drawn = [
        classification_figures(generator.integers(0, len(classes), len(right)), right) for _ in range(CHANCE_DRAWS)
    ]
    controls = {
        "majority": classification_figures(np.full_like(right, np.bincount(right).argmax()), right),
        "chance": {
            "accuracy": 100 * float(np.mean(right < len(classes))) / len(classes),
            "macro_f1": float(np.mean([figures["macro_f1"] for figures in drawn])),
        },
    }
    everything = np.full(len(right), "all")
    record = RankRecord(
        name, str(data.fingerprint.get("digest", "")), np.asarray(data.image_ids), everything, ranks.astype(np.int64)
    )
    counts = {
        "queries": len(right),
        "queries_per_category": {label: data.labels.count(label) for label in sorted(set(data.labels))},
        "classes": len(classes),
    }
    figures = classification_intervals(scores.argmax(axis=1), right, resamples, seed)
    return ClassificationResult(protocol, counts, figures, controls, {MODEL: record})


def classification_figures(predictions: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """Accuracy and macro F1 in percent.

    Macro F1 is the unweighted mean over the classes that occur among the labels or the predictions; a class that is only
    predicted has F1 0.

    Raises:
        ValueError: no rows, or other numbers of predictions than labels.
    """
    pairs, counts = _pairs(predictions, labels)
    return {name: float(value) for name, value in _figures(pairs, counts[None]).items()}


def classification_intervals(
    predictions: Sequence[int], labels: Sequence[int], resamples: int = 1_000, seed: int = 0
) -> dict[str, Interval]:
    """The same with 95 % intervals, percentile bootstrap over the rows. Raises as `classification_figures`."""
    pairs, counts = _pairs(predictions, labels)
    # Rows of one (label, prediction) are exchangeable, so that a resample is one multinomial draw of their counts.
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=resamples)
    exact, spread = _figures(pairs, counts[None]), _figures(pairs, drawn)
    bounds = {name: np.quantile(values, [0.025, 0.975]) for name, values in spread.items()}
    return {name: Interval(float(value), *map(float, bounds[name])) for name, value in exact.items()}


def _pairs(predictions: Sequence[int], labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The distinct (prediction, label) pairs (P, 2), classes numbered from 0, and how often each occurs (P,)."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(
            f"expected one prediction per label and at least one row, got {predictions.shape} and {labels.shape}"
        )
    classes = np.unique(np.stack([predictions, labels], axis=1), return_inverse=True)[1].reshape(-1, 2)
    return np.unique(classes, axis=0, return_counts=True)


def _figures(pairs: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Figures (R,) of R tables of counts (R, P)."""
    classes = int(pairs.max()) + 1
    predicted, labelled = ((pairs[:, side, None] == np.arange(classes)).astype(float) for side in (0, 1))
    right = predicted * labelled
    both = counts @ (predicted + labelled)  # (R, classes)
    occurs = both > 0  # a resample may lack a class, which then is none of its mean
    scores = np.where(occurs, 2 * (counts @ right) / np.where(occurs, both, 1), 0.0)
    macro = scores.sum(axis=1) / occurs.sum(axis=1)
    accuracy = (counts @ right).sum(axis=1) / counts.sum(axis=1)
    return {"accuracy": np.squeeze(100 * accuracy), "macro_f1": np.squeeze(100 * macro)}
