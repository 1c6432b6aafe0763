"""Predict and evaluate from feature files, in FashionKLIP's own formats.

    python train/fashionklip_evaluate.py --image_feats val.img_feat.safetensors --text_feats val.txt_feat.safetensors \\
        --text_standard_path val_queries.jsonl --image_standard_path val_images.jsonl --output_dir runs/scores

Feature files are stores or JSONL files of train/extract_features.py, or the original's. Both directions are predicted:
`text_predictions.jsonl` holds each caption's best images, `image_predictions.jsonl` each image's best captions; they and
the scores `text_output.json` and `image_output.json` go to --output_dir, or where the original's flags say.

Ids are compared as strings, and a query without prediction is an error; the original compares numbers and strings as
different (a mismatch scores 0) and writes an error object, with --official_ids and --official_errors. Intervals, ranks
and named protocols: train/evaluation.py. Takes seconds on a CPU for 10,000 captions and 50,000 images.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from train.engine.arguments import argument, parse_arguments, run_program


@dataclasses.dataclass
class EvaluateArguments:
    """Files to read and to write."""

    image_feats: str = argument(help="image features, a store or a JSONL file")
    text_feats: str = argument(help="text features, a store or a JSONL file")
    text_standard_path: str = argument(help="reference of the captions: query_id and item_ids, the right images")
    image_standard_path: str = argument(
        help="reference of the images: image_id and item_ids, the right captions, or text"
    )
    output_dir: str | None = argument(None, "folder for the four files; must be empty or new unless --overwrite")
    overwrite: bool = argument(False, "write into --output_dir although it is not empty")
    output_texts: str | None = argument(None, "predictions of the captions; default: in --output_dir")
    output_images: str | None = argument(None, "predictions of the images; default: in --output_dir")
    text_out_path: str | None = argument(None, "score of the captions; default: in --output_dir")
    image_out_path: str | None = argument(None, "score of the images; default: in --output_dir")
    top_k: int = argument(10, "predictions per query", minimum=1)
    eval_batch_size: int = argument(8192, "candidates per block of scores", minimum=1)
    official_ids: bool = argument(
        False, "as the original: 12 and '12' are different ids, of an id twice the last line counts"
    )
    official_errors: bool = argument(False, "as the original: an error object in place of a score, and success")


# Direction -> kind of the queries, kind of the candidates.
DIRECTIONS = {"text": ("text", "image"), "image": ("image", "text")}


def main() -> None:
    (arguments,) = parse_arguments(EvaluateArguments, description=__doc__)
    print(json.dumps(evaluate(arguments)))


def evaluate(arguments: EvaluateArguments) -> dict[str, Any]:
    """Predict, write, score, write.

    Returns:
        The score object of each direction.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: damaged files, repeated ids, features of different sizes, ids of a reference without prediction.
    """
    from train.engine.feature_store import ID_FIELDS, read_features
    from train.evaluation import check_output_dir
    from train.retrieval.klip_scores import error_object, predict, score

    paths = _output_paths(arguments)
    if arguments.output_dir:
        check_output_dir(Path(arguments.output_dir), arguments.overwrite)
    features = {kind: read_features(getattr(arguments, f"{kind}_feats"), kind) for kind in ("image", "text")}
    _check_features(arguments, features)
    results = {}
    for direction, (queries, candidates) in DIRECTIONS.items():
        ids, vectors = features[queries]
        block = 4 * arguments.eval_batch_size * 512
        lists = predict(vectors, *features[candidates], arguments.top_k, block)
        rows = [{ID_FIELDS[queries]: i, "item_ids": found} for i, found in zip(ids, lists, strict=True)]
        _write(paths[f"output_{direction}s"], "".join(json.dumps(row) + "\n" for row in rows))
        try:
            path = Path(getattr(arguments, f"{direction}_standard_path"))
            reference = read_reference(path, queries, arguments.official_ids)
            predictions = dict(zip(ids, lists, strict=True))
            if not arguments.official_ids:
                predictions = {str(i): [str(c) for c in found] for i, found in predictions.items()}
                reference = {str(i): [str(c) for c in right] for i, right in reference.items()}
                _check_reference(arguments, direction, predictions, reference, features[candidates][0])
            result = score(predictions, reference)
        except Exception as error:  # whatever it was, the original writes it down and goes on
            if not arguments.official_errors:
                if isinstance(error, KeyError):
                    where = getattr(arguments, f"{direction}_standard_path")
                    raise ValueError(
                        f"{where}: no features for id {error.args[0]!r}; extract them, or correct it"
                    ) from error
                raise
            result = error_object(error)  # with --official_ids, the missing id keeps its type
        _write(paths[f"{direction}_out_path"], json.dumps(result))
        results[direction] = result
    return results


def _output_paths(arguments: EvaluateArguments) -> dict[str, Path]:
    names = {"output_texts": "text_predictions.jsonl", "output_images": "image_predictions.jsonl"}
    names |= {"text_out_path": "text_output.json", "image_out_path": "image_output.json"}
    paths = {}
    for name, default in names.items():
        own = getattr(arguments, name)
        if own is None and arguments.output_dir is None:
            raise ValueError(f"give --output_dir, or say with --{name} where {default} goes")
        paths[name] = Path(own) if own else Path(arguments.output_dir) / default
    return paths


def _check_features(arguments: EvaluateArguments, features: dict[str, tuple[list, Any]]) -> None:
    sizes = {kind: vectors.shape[1] for kind, (_, vectors) in features.items()}
    if sizes["image"] != sizes["text"]:
        raise ValueError(
            f"{arguments.image_feats} has features of size {sizes['image']} and {arguments.text_feats} of size "
            f"{sizes['text']}; extract both with one model"
        )
    if arguments.official_ids:
        return
    for kind, (ids, _) in features.items():
        names = list(map(str, ids))
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise ValueError(
                f"{getattr(arguments, f'{kind}_feats')}: id {twice!r} occurs twice; keep one line of each, or let the last "
                "one count as the original does (--official_ids)"
            )


def _check_reference(arguments, direction: str, predictions: dict, reference: dict, candidates: list) -> None:
    """Right answers that no candidate bears: the original would count a miss without a word."""
    path, known = getattr(arguments, f"{direction}_standard_path"), set(map(str, candidates))
    missing = next((query for query in reference if query not in predictions), None)
    if missing is not None:
        raise KeyError(missing)
    lost = [query for query, right in reference.items() if not known & set(right)]
    if lost:
        raise ValueError(
            f"{path}: no right answer of {len(lost)} of {len(reference)} queries has features, first: {lost[0]!r} -> "
            f"{reference[lost[0]][:3]}, while candidates are named like {candidates[0]!r}. Extract them, or count such "
            "queries as misses as the original does (--official_ids)"
        )


def read_reference(path: Path, kind: str, official_ids: bool = False) -> dict[Any, list[Any]]:
    """Query id -> right ids, with the types that they have in the file.

    Args:
        path: the file. kind: "text" or "image", of the queries.
        official_ids: of an id twice the last line counts; by default it is an error, as are 12 and "12" in one file.

    Raises:
        ValueError: an unreadable line, an id that is neither a number nor a string, an id twice.
    """
    from data_scripts.fashionklip_files import read_lines
    from train.engine.feature_store import ID_FIELDS

    reference: dict[Any, list[Any]] = {}
    seen: set[str] = set()
    for number, row in read_lines(path, (ID_FIELDS[kind],)):
        if "item_ids" not in row and "text" not in row:
            raise ValueError(f"{path}, line {number}: lacks item_ids, and text in its place")
        right = row["item_ids"] if "item_ids" in row else [row["text"]]
        if not isinstance(right, list):
            raise ValueError(f"{path}, line {number}: expected a list in item_ids, got {str(right)[:60]}")
        identity = row[ID_FIELDS[kind]]
        for one in (identity, *right):
            if isinstance(one, bool) or not isinstance(one, int | str):
                raise ValueError(f"{path}, line {number}: expected numbers or strings as ids, got {str(one)[:60]}")
        if not official_ids:
            if str(identity) in seen:
                raise ValueError(
                    f"{path}, line {number}: {ID_FIELDS[kind]} {identity!r} occurs twice; keep one line of it, or let the last "
                    "one count as the original does (--official_ids)"
                )
            seen.add(str(identity))
        reference[identity] = right
    if not reference:
        raise ValueError(f"{path}: no line with an id to score")
    return reference


def _write(path: Path, text: str) -> None:
    from train.engine.run import replace_text

    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text)


if __name__ == "__main__":
    run_program(main)
