"""Run the benchmarks, print a table, write bench.json.

python -m tests.benchmarks [--only ranking] [--output bench.json]
"""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def benchmark_names() -> list[str]:
    """Names of the files bench_<name>.py beside this one."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned text."""
    lines = [["benchmark", "workload", "ours", "baseline", "ratio", "memory MiB, ours / baseline"]]
    for row in rows:
        memory = row.get("memory")
        lines.append(
            [
                row["name"],
                row["workload"],
                f"{row['ours']:.4g} {row['unit']}",
                f"{row['baseline']:.4g} {row['unit']}",
                f"{row['ratio']:.1f}x",
                f"{memory['ours']:.0f} / {memory['baseline']:.0f}" if memory else "-",
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def machine() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=benchmark_names(), help="run this one; may be repeated")
    parser.add_argument("--output", default="bench.json", help="file for the rows (default: bench.json)")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.only or benchmark_names():
        print(f"running {name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.benchmarks.bench_{name}").run()
    print(table(rows))
    Path(arguments.output).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    print(f"written to {arguments.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
