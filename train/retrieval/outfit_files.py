"""Scores of outfit questions on disk: one `.npz` per evaluation, enough to compare two models on the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from train.retrieval.outfit_protocols import KINDS, METRICS
from train.retrieval.outfit_scores import area_under_curve, right_share
from train.retrieval.statistics import DEFAULT_RESAMPLES, Difference, paired_bootstrap


def write_scores(
    path: str | Path,
    scores: dict[str, np.ndarray],
    members: list[dict[str, np.ndarray]],
    protocols: dict[str, str],
    questions: Any,
    digest: str,
) -> None:
    """Write one evaluation.

    Args:
        scores: kind -> (questions, A) or (outfits,) final scores. members: the same of every model that they are fused of.
        protocols: kind -> name of the protocol. questions: [`train.engine.outfits.OutfitQuestions`]. digest: of the questions.
    """
    arrays = dict(scores) | {"labels": np.array(questions.labels), "right": questions.right_mask()}
    for number, own in enumerate(members):
        arrays |= {f"{kind}_{number}": values for kind, values in own.items()}
    arrays |= {f"{kind}|protocol": np.asarray(name) for kind, name in protocols.items()}
    np.savez_compressed(path, **arrays, data=np.asarray(digest))


def read_scores(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays that `write_scores` wrote. Nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file. ValueError: not a file of scores.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "scores.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: give the scores.npz of an evaluation of outfits")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a file of scores: {error}") from error
    if "data" not in arrays or not any(f"{kind}|protocol" in arrays for kind in KINDS):
        raise ValueError(f"{path} is not a file of scores with its questions; evaluate the model again")
    return arrays


def compare_scores(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Difference]]:
    """Paired bootstrap of two evaluations: protocol -> metric -> first minus second.

    Questions that either model could not answer count for neither. Accuracy is in percentage points, the area under the
    curve between 0 and 1.

    Raises:
        ValueError: other questions, or no kind of questions that both answered.
    """
    names = {kind: f"{kind}|protocol" for kind in KINDS}
    shared = [kind for kind, name in names.items() if name in first and name in second]
    shared = [kind for kind in shared if str(first[names[kind]]) == str(second[names[kind]])]
    if not shared:
        asked = [", ".join(str(run[name]) for name in names.values() if name in run) for run in (first, second)]
        raise ValueError(f"results of different protocols cannot be compared: {asked[0]} and {asked[1]}")
    if str(first["data"]) != str(second["data"]):
        digests = [str(run["data"])[:12] for run in (first, second)]
        raise ValueError(
            f"the runs answered different questions (digests {digests[0]} and {digests[1]}); "
            "evaluate both models on one copy of the data, split and kind of questions"
        )
    found = {}
    for kind in shared:
        compare = _compare_blanks if kind == "fill_in_blank" else _compare_areas
        found[str(first[names[kind]])] = {METRICS[kind]: compare(first, second, resamples, seed)}
    return found


def _compare_blanks(first: dict, second: dict, resamples: int, seed: int) -> Difference:
    hits = [right_share(run["fill_in_blank"], run["right"]) for run in (first, second)]
    both = ~np.isnan(hits[0]) & ~np.isnan(hits[1])
    if not both.any():
        raise ValueError("no blank that both models answered")
    pair = [100 * own[both][:, None] for own in hits]
    return paired_bootstrap(*pair, _mean, resamples=resamples, seed=seed)["mean"]


def _mean(means: dict[Any, np.ndarray]) -> dict[str, np.ndarray]:
    (values,) = means.values()
    return {"mean": values[..., 0]}


def _compare_areas(first: dict, second: dict, resamples: int, seed: int) -> Difference:
    both = ~np.isnan(first["compatibility"]) & ~np.isnan(second["compatibility"])
    labels = first["labels"][both].astype(bool)
    if labels.all() or not labels.any():
        raise ValueError("no outfits of both labels that both models scored")
    scores = [run["compatibility"][both] for run in (first, second)]

    def difference(rows: Any) -> float:
        return area_under_curve(scores[0][rows], labels[rows]) - area_under_curve(scores[1][rows], labels[rows])

    draw, drawn = np.random.default_rng(seed), []
    # An area takes a sort of all outfits, unlike a mean: a tenth of the resamples.
    for _ in range(max(100, resamples // 10)):
        rows = draw.integers(len(labels), size=len(labels))
        if labels[rows].any() and not labels[rows].all():
            drawn.append(difference(rows))
    low, high = np.quantile(drawn, [0.025, 0.975])
    below, above = (int(np.sum(sign * np.array(drawn) <= 1e-12)) for sign in (1, -1))
    p = min(1.0, 2 * (1 + min(below, above)) / (len(drawn) + 1))
    return Difference(float(difference(slice(None))), float(low), float(high), p)
