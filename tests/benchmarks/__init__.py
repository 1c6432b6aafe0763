"""Benchmarks: each figure is a ratio to a naive way that the original took, measured in the same run.

A file `bench_<name>.py` has `run() -> list[dict]`. A row has

    name, workload      what was done, on how much data
    ours, baseline      figures of both, in `unit`
    ratio               baseline / ours, so more is better
    unit                e.g. "s"
    memory              {"ours", "baseline"} peak resident memory in MiB, or None where it was not measured

`python -m tests.benchmarks` runs all of them.
"""
