"""Choosing prototypes for 20,000 concepts among 50,000 images: exact search and thinning, against concept by concept.

The baseline is the original's way as its specification describes it: an exact search, and then for every concept a Python
loop of maximal marginal relevance over its 20 candidates in float64. It runs on a sample of the concepts and is scaled.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from tests.benchmarks.measure import report, row, run_child

MODULE = "tests.benchmarks.bench_prototypes"
CONCEPTS, IMAGES, DIM, SAMPLE = 20_000, 50_000, 512, 500


def run() -> list[dict]:
    """Seconds and peak memory of both ways."""
    ours, baseline = run_child(MODULE, "ours"), run_child(MODULE, "baseline")
    if ours["chosen"] != baseline["chosen"]:
        raise AssertionError("the two ways choose different images")
    workload = f"{CONCEPTS} concepts, {IMAGES} images, {DIM}-d, 10 of 20; baseline from {SAMPLE} concepts"
    memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
    return [row("prototypes", workload, ours["seconds"], baseline["seconds"], "s", memory)]


def child(side: str) -> None:
    from train.engine.prototypes import select_prototypes

    generator = torch.Generator().manual_seed(0)
    concepts, images = (
        torch.nn.functional.normalize(torch.randn(n, DIM, generator=generator), dim=-1) for n in (CONCEPTS, IMAGES)
    )
    start = time.perf_counter()
    if side == "ours":
        indices = select_prototypes(concepts, images).indices
        seconds = time.perf_counter() - start
    else:
        indices = one_by_one(concepts[:SAMPLE], images)
        seconds = (time.perf_counter() - start) * CONCEPTS / SAMPLE
    report(seconds=seconds, chosen=indices[:SAMPLE].tolist())


def one_by_one(concepts: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Prototypes of each concept by itself."""
    chosen = []
    for concept in concepts:
        candidates = (images @ concept).topk(20).indices
        rows = images[candidates].double().numpy()
        query = concept.double().numpy()
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        relevance, alike = rows @ (query / np.linalg.norm(query)), rows @ rows.T
        order = [int(np.argmax(relevance))]
        rest = [i for i in range(20) if i != order[0]]
        while len(order) < 10:
            values = [0.2 * relevance[i] - 0.8 * max(alike[i, j] for j in order) for i in rest]
            best = rest[int(np.argmax(values))]
            order.append(best)
            rest.remove(best)
        chosen.append(candidates[torch.tensor(order)])
    return torch.stack(chosen)


if __name__ == "__main__":
    child(sys.argv[1])
