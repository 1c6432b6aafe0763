"""Writing and reading features: the mapped store against FashionKLIP's JSONL files.

Both sides hold the same float32 features; reading means having all of them and looking at 256 of them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.benchmarks.measure import report, row, run_child

MODULE = "tests.benchmarks.bench_feature_store"
ROWS, DIM = 20_000, 512


def run() -> list[dict]:
    """Seconds to write and to read, and peak memory of each process."""
    ours, baseline = run_child(MODULE, "ours"), run_child(MODULE, "baseline")
    if abs(ours["check"] - baseline["check"]) > 1e-3:
        raise AssertionError(f"the two ways read different numbers: {ours['check']} and {baseline['check']}")
    memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
    sizes = f"{ours['mib']:.0f} and {baseline['mib']:.0f} MiB on disk"
    return [
        row(f"feature-store-{what}", f"{ROWS} x {DIM} float32, {sizes}", ours[what], baseline[what], "s", memory)
        for what in ("write", "read")
    ]


def child(side: str) -> None:
    from train.engine.feature_store import FeatureStore, FeatureWriter, read_jsonl, write_jsonl

    features = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(0))
    ids = [str(i) for i in range(ROWS)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.safetensors" if side == "ours" else "a.jsonl")
        start = time.perf_counter()
        if side == "ours":
            with FeatureWriter(path, "image", ids, DIM) as writer:
                for first in range(0, ROWS, 1024):
                    writer.add(features[first : first + 1024])
        else:
            write_jsonl(path, "image", ids, features)
        write = time.perf_counter() - start
        start = time.perf_counter()
        found = FeatureStore(path).features if side == "ours" else read_jsonl(path, "image")[1]
        check = float(found[5000:5256].sum())
        read = time.perf_counter() - start
        report(write=write, read=read, check=check, mib=path.stat().st_size / 2**20)


if __name__ == "__main__":
    child(sys.argv[1])
