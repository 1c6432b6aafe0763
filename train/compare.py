"""Compare two evaluations over the same queries: paired bootstrap of every figure.

    python train/compare.py runs/a/evaluation/ranks.npz runs/b/evaluation/ranks.npz

Prints the first minus the second run in percentage points with the 95 % interval and a two-sided p-value, then one JSON
object. Runs of different protocols, data or queries are refused.
"""

import argparse
import json
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="ranks.npz of the first run, or its folder")
    parser.add_argument("second", help="ranks.npz of the second run, or its folder")
    parser.add_argument("--system", default="model", help="whose ranks: model (default), image_only, ...")
    parser.add_argument("--second_system", help="the same for the second run; default: as --system")
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap resamples (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    arguments = parser.parse_args()

    from train.retrieval.composed import compare_ranks
    from train.retrieval.rank_files import read_ranks

    try:
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
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
    for name, differences in report.items():
        print(f"{name}   first - second, percentage points")
        for metric, d in differences.items():
            print(f"  {metric:28} {d.value:+7.2f} [{d.low:+.2f}, {d.high:+.2f}]  p = {d.p:.4f}")
    print(json.dumps({name: {m: d.to_dict() for m, d in found.items()} for name, found in report.items()}))


if __name__ == "__main__":
    main()
