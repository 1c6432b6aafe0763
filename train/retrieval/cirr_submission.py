"""The two files that the CIRR test server wants, and a check of such files against the annotations.

Each file is one JSON object on one line: `"version": "rc2"`, `"metric": "recall"` or `"recall_subset"`, and for every
query its pair id as a string -> image names, best first. Recall lists 50 names of the whole gallery, subset recall the
best 3 of the query's own group; the reference image is in neither. Keys are sorted as strings, as in the original.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.retrieval.ranking import order_candidates, top_k

VERSION = "rc2"
LENGTHS = {"recall": 50, "recall_subset": 3}
MAX_BYTES = 5 * 10**6  # the server refuses larger files


def submission(
    queries: Tensor,
    gallery: Tensor,
    gallery_names: Sequence[str],
    pair_ids: Sequence[str | int],
    references: Sequence[str],
    groups: Sequence[Sequence[str]],
) -> dict[str, dict[str, Any]]:
    """Both predictions, by metric name.

    Args:
        queries: (Q, D) normalised query features. gallery: (N, D) normalised features of `gallery_names`.
        gallery_names: (N) image names of the split file.
        pair_ids, references, groups: (Q) of the caption file; groups with or without the reference.

    Returns:
        {"recall": {...}, "recall_subset": {...}}, each as the server reads it. A gallery with fewer than 51 images
        gives shorter lists: the server refuses them, :func:`check_submission` says so.

    Raises:
        ValueError: a name outside the gallery, a pair id given twice, lengths that differ, features not finite.
    """
    if not len(queries) == len(pair_ids) == len(references) == len(groups):
        raise ValueError(
            f"{len(queries)} queries, {len(pair_ids)} pair ids, {len(references)} references, {len(groups)} groups"
        )
    if len(gallery) != len(gallery_names):
        raise ValueError(f"{len(gallery)} gallery features but {len(gallery_names)} names")
    keys = [str(pair_id) for pair_id in pair_ids]
    if len(set(keys)) != len(keys):
        raise ValueError("a pair id occurs twice: the server keys answers by pair id")
    row_of = {name: row for row, name in enumerate(gallery_names)}
    needed = {name for names in ([*references], *groups) for name in names}
    unknown = sorted(needed - row_of.keys())
    if unknown:
        raise ValueError(
            f"{len(unknown)} image names are not in the gallery, first: {', '.join(unknown[:3])}; "
            "captions and image split must be of the same split"
        )
    reference = torch.tensor([row_of[name] for name in references])
    best = top_k(queries, gallery, LENGTHS["recall"], exclude=reference)[1].tolist()
    candidates = torch.full((len(groups), max(map(len, groups))), -1, dtype=torch.int64)
    for query, group in enumerate(groups):
        candidates[query, : len(group)] = torch.tensor([row_of[name] for name in group])
    subset = order_candidates(queries, gallery, candidates, exclude=reference)[:, : LENGTHS["recall_subset"]].tolist()

    def answers(rows: list[list[int]]) -> dict[str, list[str]]:
        return {key: [gallery_names[row] for row in listed if row >= 0] for key, listed in zip(keys, rows, strict=True)}

    return {
        "recall": {"version": VERSION, "metric": "recall", **answers(best)},
        "recall_subset": {"version": VERSION, "metric": "recall_subset", **answers(subset)},
    }


def write_submission(predictions: Mapping[str, Mapping[str, Any]], folder: str | Path, name: str) -> list[Path]:
    """Write `recall_submission_<name>.json` and `recall_subset_submission_<name>.json`, byte for byte as the original.

    Args:
        predictions: from :func:`submission`. folder: made if needed. name: of the submission, part of the file names.

    Returns:
        The two paths.

    Raises:
        ValueError: a name that is no file name, or a file above the server's 5 MB (nothing is written then).
    """
    if not name or name != os.path.basename(name) or name in (".", ".."):
        raise ValueError(f"submission name {name!r} must be usable in a file name")
    texts = {metric: json.dumps(answers, sort_keys=True).encode() for metric, answers in predictions.items()}
    for metric, text in texts.items():
        if len(text) > MAX_BYTES:
            raise ValueError(f"the {metric} file has {len(text):,} bytes, the server takes {MAX_BYTES:,}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for metric, text in texts.items():
        path = folder / f"{metric}_submission_{name}.json"
        beside = path.with_name(path.name + ".tmp")
        beside.write_bytes(text)
        os.replace(beside, path)
        paths.append(path)
    return paths


def validate_submission(path: str | Path, annotations: str | Path | Sequence[Mapping[str, Any]]) -> list[str]:
    """What the server would refuse or score wrongly in a submission file; an empty list means nothing.

    Args:
        path: the file.
        annotations: `cap.rc2.test1.json` or its content.
    """
    path = Path(path)
    size = path.stat().st_size
    problems = [f"{size:,} bytes, the server takes {MAX_BYTES:,}"] if size > MAX_BYTES else []
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return [*problems, f"not JSON: {error}"]
    if not isinstance(annotations, Sequence) or isinstance(annotations, str):
        annotations = json.loads(Path(annotations).read_text(encoding="utf-8"))
    return problems + check_submission(answers, annotations)


def check_submission(answers: Any, annotations: Sequence[Mapping[str, Any]]) -> list[str]:
    """As :func:`validate_submission`, for the parsed content."""
    if not isinstance(answers, Mapping):
        return [f"expected one JSON object, got {type(answers).__name__}"]
    problems = []
    if answers.get("version") != VERSION:
        problems.append(f'"version" must be "{VERSION}", got {answers.get("version")!r}')
    metric = answers.get("metric")
    if metric not in LENGTHS:
        return [*problems, f'"metric" must be one of {", ".join(LENGTHS)}, got {metric!r}']
    by_pair = {str(row["pairid"]): row for row in annotations}
    given = {key for key in answers if key not in ("version", "metric")}
    problems += _some(sorted(by_pair.keys() - given), "queries have no answer")
    problems += _some(sorted(given - by_pair.keys()), "answers are for pair ids that the annotations do not have")
    lists = {key: answers[key] for key in sorted(given & by_pair.keys())}
    malformed = [k for k, v in lists.items() if not isinstance(v, list) or not all(isinstance(n, str) for n in v)]
    problems += _some(malformed, "answers are not lists of image names")
    lists = {key: names for key, names in lists.items() if key not in set(malformed)}
    wanted = LENGTHS[metric]
    problems += _some([k for k, v in lists.items() if len(v) != wanted], f"answers do not list exactly {wanted} names")
    problems += _some([k for k, v in lists.items() if len(set(v)) != len(v)], "answers list a name twice")
    shown = [k for k, v in lists.items() if by_pair[k]["reference"] in v]
    problems += _some(shown, "answers list the query's reference image")
    if metric == "recall_subset":
        outside = [k for k, v in lists.items() if not set(v) <= set(by_pair[k]["img_set"]["members"])]
        problems += _some(outside, "answers list an image outside the query's group")
    return problems


def _some(keys: Sequence[str], what: str) -> list[str]:
    return [f"{len(keys)} {what}, first: {', '.join(keys[:3])}"] if keys else []
