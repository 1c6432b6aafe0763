"""Compare two evaluations over the same queries: paired bootstrap of every figure.

    python train/compare.py runs/a/evaluation/ranks.npz runs/b/evaluation/ranks.npz
    python train/compare.py runs/a/outfits/scores.npz runs/b/outfits/scores.npz

Prints the first minus the second run in percentage points (areas under a curve: between 0 and 1) with the 95 % interval and
a two-sided p-value, then one JSON object. Runs of different protocols, data or queries are refused.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def _has_scores(path: str) -> bool:
    given = Path(path)
    if given.is_dir():
        return (given / "scores.npz").is_file() and not (given / "ranks.npz").is_file()
    return given.name == "scores.npz"


def _compare_scores(arguments: argparse.Namespace) -> dict[str, Any]:
    from train.retrieval.outfit_files import compare_scores, read_scores

    if (arguments.system, arguments.second_system) != ("model", None):
        raise ValueError("--system and --second_system are for ranks; scores.npz has the model's scores alone")
    pair = read_scores(arguments.first), read_scores(arguments.second)
    return compare_scores(*pair, resamples=arguments.resamples, seed=arguments.seed)


def _compare_ranks(arguments: argparse.Namespace) -> dict[str, Any]:
    from train.retrieval.composed import compare_ranks
    from train.retrieval.rank_files import read_ranks

    first, second = read_ranks(arguments.first), read_ranks(arguments.second)
    shared = [name for name in first if name in second]
    if not shared:
        raise ValueError(
            f"results of different protocols cannot be compared: {', '.join(first)} in {arguments.first}, "
            f"{', '.join(second)} in {arguments.second}"
        )
    report = {}
    for name in shared:
        pair = []
        for records, system in (
            (first[name], arguments.system),
            (second[name], arguments.second_system or arguments.system),
        ):
            if system not in records:
                raise ValueError(f"{name}: no system {system!r}; one of {', '.join(records)}")
            pair.append(records[system])
        report[name] = compare_ranks(*pair, resamples=arguments.resamples, seed=arguments.seed)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="ranks.npz or scores.npz of the first run, or its folder")
    parser.add_argument("second", help="ranks.npz or scores.npz of the second run, or its folder")
    parser.add_argument("--system", default="model", help="whose ranks: model (default), image_only, ...")
    parser.add_argument("--second_system", help="the same for the second run; default: as --system")
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap resamples (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    arguments = parser.parse_args()

    try:
        scores = [_has_scores(arguments.first), _has_scores(arguments.second)]
        if any(scores) and not all(scores):
            raise ValueError("answers to outfit questions (scores.npz) and ranks (ranks.npz) cannot be compared")
        if all(scores):
            report = _compare_scores(arguments)
        else:
            report = _compare_ranks(arguments)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    for name, differences in report.items():
        print(f"{name}   first - second")
        for metric, d in differences.items():
            digits, unit = (3, "") if metric.endswith("_auc") else (2, " points")
            interval = f"[{d.low:+.{digits}f}, {d.high:+.{digits}f}]{unit}"
            print(f"  {metric:28} {d.value:+7.{digits}f} {interval}  p = {d.p:.4f}")
    print(json.dumps({name: {m: d.to_dict() for m, d in found.items()} for name, found in report.items()}))


if __name__ == "__main__":
    main()
