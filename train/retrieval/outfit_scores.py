"""Fill-in-the-blank answers and outfit compatibility of a Bi-LSTM, for all questions at once, from a bank of item features.

    bank = ItemBank(ids, items=model_item_features, images=model_image_features)
    scores = score_questions(model, bank, questions)          # (questions, answers), NaN rows for what can't be asked
    forward, backward = score_outfits(model, bank, outfits)

Source: `fill_in_blank.py`, `fill_in_blank_siamese.py` and `predict_compatibility.py` of xthan/polyvore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

DIRECTIONS = ("both", "forward", "backward", "pooled")


@dataclass
class ItemBank:
    """Features of all items that questions may name.

    Attributes:
        ids: of the items, each once.
        items: (T, E) of `get_item_features`, None for a model without recurrent networks.
        images: (T, E) of `get_image_features`.
    """

    ids: Sequence[str]
    items: torch.Tensor | None = None
    images: torch.Tensor | None = None
    places: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.places = {str(item): place for place, item in enumerate(self.ids)}
        if len(self.places) < len(self.ids):
            seen: set[str] = set()
            twice = [str(item) for item in self.ids if str(item) in seen or seen.add(str(item))]
            raise ValueError(f"item ids occur twice in the bank: {first_few(twice, 5)}; keep one of each")
        for name in ("items", "images"):
            features = getattr(self, name)
            if features is not None and len(features) != len(self.ids):
                raise ValueError(f"the bank has {len(self.ids)} ids and {len(features)} rows of {name}")

    def missing(self, items: Sequence[str]) -> list[str]:
        """Those of the items that the bank lacks."""
        return [item for item in items if item not in self.places]

    def rows(self, outfits: Sequence[Sequence[str]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(outfits, N) places of items, 0 behind the last one, and (outfits,) lengths."""
        lengths = torch.tensor([len(outfit) for outfit in outfits])
        width = max([1, *map(len, outfits)])
        places = torch.zeros(len(outfits), width, dtype=torch.long)
        for row, outfit in enumerate(outfits):
            places[row, : len(outfit)] = torch.tensor([self.places[item] for item in outfit], dtype=torch.long)
        return places, lengths


@dataclass(frozen=True)
class Question:
    """One blank: the other items in order, its place in the whole outfit from 1, and the answers to choose from."""

    items: tuple[str, ...]
    blank_position: int
    answers: tuple[str, ...]

    @classmethod
    def of(cls, row: dict[str, Any]) -> Question:
        return cls(tuple(row["question"]), int(row["blank_position"]), tuple(row["answers"]))


def first_few(values: Sequence[str], count: int) -> str:
    """The first values, and how many more there are."""
    more = f" and {len(values) - count} more" if len(values) > count else ""
    return ", ".join(values[:count]) + more


def askable(bank: ItemBank, questions: Sequence[Question], missing: str = "skip") -> tuple[list[int], list[str]]:
    """Which questions can be scored, and what is wrong with the others.

    Args:
        missing: "skip" leaves out questions that name items the bank lacks, as the original does; "error" refuses them.

    Raises:
        ValueError: a question that can't be asked under "error", or a blank outside its outfit.
    """
    kept, problems = [], []
    for number, question in enumerate(questions):
        if not 1 <= question.blank_position <= len(question.items) + 1:
            raise ValueError(
                f"question {number} has its blank at {question.blank_position} of {len(question.items) + 1} items"
            )
        lost = bank.missing((*question.items, *question.answers))
        if lost:
            problems.append(f"question {number}: no item {first_few(lost, 3)}")
        elif not question.items:
            problems.append(f"question {number}: no items beside the blank")
        else:
            kept.append(number)
    if problems and missing == "error":
        raise ValueError(f"{len(problems)} questions can't be asked: {first_few(problems, 5)}")
    return kept, problems


def score_questions(
    model: Any,
    bank: ItemBank,
    questions: Sequence[Question],
    direction: str = "both",
    missing: str = "skip",
    batch_size: int = 1024,
) -> np.ndarray:
    """Scores of all answers.

    Args:
        model: a BiLSTMModel in evaluation mode, on the bank's device.
        direction: "both", "forward", "backward", or "pooled" (no order; images of the bank).
        missing: see `askable`.

    Returns:
        (questions, A) float64; rows of NaN for questions that can't be asked or in whose direction nothing can be read,
        and NaN behind the last answer of a question with fewer than A.
    """
    kept, _ = askable(bank, questions, missing)
    widest = max((len(question.answers) for question in questions), default=0)
    scores = np.full((len(questions), widest), np.nan)
    by_count: dict[int, list[int]] = {}
    for number in kept:
        by_count.setdefault(len(questions[number].answers), []).append(number)
    for count, numbers in by_count.items():
        for start in range(0, len(numbers), batch_size):
            batch = numbers[start : start + batch_size]
            asked = [questions[number] for number in batch]
            places, lengths = bank.rows([question.items for question in asked])
            answers, _ = bank.rows([question.answers for question in asked])
            if direction == "pooled":
                images = bank.images
                found = model.score_pooled(images[places], lengths, images[answers])
            else:
                blanks = torch.tensor([question.blank_position for question in asked])
                items = bank.items
                found = model.score_candidates(items[places], lengths, blanks, items[answers], direction)
            scores[np.array(batch), :count] = found.double().cpu().numpy()
    return scores


def ranked_answers(scores: np.ndarray) -> list[list[int] | None]:
    """The answers of every question, best first; of equal ones the earlier first, as the original. None: not asked."""
    return [None if np.isnan(row).all() else np.argsort(-row, kind="stable").tolist() for row in scores]


def right_share(scores: np.ndarray, right: int | np.ndarray = 0) -> np.ndarray:
    """(questions,) 1 where the right answer is best, 1/n where it is one of n best, else 0; NaN for what wasn't asked.

    Args:
        scores: (questions, A). right: place of the right answer, for all or for each question; or (questions, A) bool
            where several may be right, of which each counts.

    Deviation: the original takes the first of equal answers, and the first one is the right one. See `ranked_answers`.
    """
    best = np.nanmax(np.where(np.isnan(scores).all(1, keepdims=True), 0, scores), axis=1, keepdims=True)
    tied = scores == best
    if np.ndim(right) < 2:
        right = np.arange(scores.shape[1]) == np.broadcast_to(right, len(scores))[:, None]
    hit = (tied & right).sum(1) / np.maximum(tied.sum(1), 1)
    return np.where(np.isnan(scores).all(1), np.nan, hit)


def score_outfits(
    model: Any,
    bank: ItemBank,
    outfits: Sequence[Sequence[str]],
    missing: str = "error",
    batch_size: int = 512,
    block: int = 2048,
) -> dict[str, np.ndarray]:
    """Compatibility of outfits within the bank.

    Args:
        outfits: item ids in order, one or more each; items may repeat.
        missing: "error" as the original, or "skip": NaN for outfits that name items the bank lacks.
        block: bank rows at a time, see `BiLSTMModel.score_outfits`.

    Returns:
        "forward", "backward" and "both" (their sum): (outfits,) float64.

    Raises:
        ValueError: an outfit without items, or items that the bank lacks under "error".
    """
    problems, kept = [], []
    for number, outfit in enumerate(outfits):
        lost = bank.missing(outfit)
        if lost or not outfit:
            problems.append(f"outfit {number}: " + (f"no item {first_few(lost, 3)}" if lost else "no items"))
        else:
            kept.append(number)
    if problems and missing == "error":
        raise ValueError(f"{len(problems)} outfits can't be scored: {first_few(problems, 5)}")
    scores = {name: np.full(len(outfits), np.nan) for name in ("forward", "backward", "both")}
    # Outfits of one length beside each other need no padding.
    kept.sort(key=lambda number: len(outfits[number]))
    for start in range(0, len(kept), batch_size):
        batch = kept[start : start + batch_size]
        places, lengths = bank.rows([outfits[number] for number in batch])
        found = model.score_outfits(bank.items[places], lengths, bank.items, block)
        for name, values in found.items():
            scores[name][batch] = values.double().cpu().numpy()
    scores["both"] = scores["forward"] + scores["backward"]
    return scores


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """ROC area: the share of (positive, negative) pairs in which the positive is higher, ties counting half.

    Raises:
        ValueError: labels of one kind only.
    """
    labels = np.asarray(labels, dtype=bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        raise ValueError(f"the area under the curve needs both labels; there are {positives} of 1 and {negatives} of 0")
    scores = np.asarray(scores)
    below = np.sort(scores[~labels])
    won = np.searchsorted(below, scores[labels], "left") + np.searchsorted(below, scores[labels], "right")
    return float(won.sum() / 2 / (positives * negatives))
