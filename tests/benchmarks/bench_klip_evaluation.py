"""FashionKLIP's predictions and scores, both directions, at 10,000 captions and 50,000 images of 512 numbers.

The baseline is the original's way as its specification describes it: for every query a Python list of (candidate, score)
pairs of all candidates, sorted whole, the scores themselves from matrix products; beside it lie, as in the original, the
lists of numbers that the candidates' features were parsed into. It runs on a sample of the queries and is scaled. A
second row compares with the bound: one matrix product of that size and torch's own top-k. Reading files is apart.
"""

from __future__ import annotations

import sys
import time

import torch

from tests.benchmarks.measure import report, row, run_child

MODULE = "tests.benchmarks.bench_klip_evaluation"
TEXTS, IMAGES, DIM, K = 10_000, 50_000, 512, 10
SAMPLE = {"text": 40, "image": 120}  # queries of the baseline in each direction


def run() -> list[dict]:
    """Seconds of our way, of the original's (scaled from the sample) and of the bound."""
    ours, baseline, bound = (run_child(MODULE, side) for side in ("ours", "baseline", "bound"))
    for direction in SAMPLE:
        if ours[f"{direction}_lists"] != baseline[f"{direction}_lists"]:
            raise AssertionError(f"the two ways predict different candidates for {direction} queries")
    workload = f"{TEXTS} texts x {IMAGES} images x {DIM}, top {K} both ways"
    sampled = f"; baseline from {SAMPLE['text']} + {SAMPLE['image']} queries"
    memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
    limit = {"ours": ours["peak_mib"], "baseline": bound["peak_mib"]}
    return [
        row("klip-evaluation", workload + sampled, ours["seconds"], baseline["seconds"], "s", memory),
        row("klip-evaluation-bound", workload + ", product + topk", ours["seconds"], bound["seconds"], "s", limit),
    ]


def features() -> dict[str, torch.Tensor]:
    """Multiples of 1/64, so that every inner product is exact and ties are real."""
    generator = torch.Generator().manual_seed(0)
    return {
        kind: torch.empty(rows, DIM).random_(-8, 9, generator=generator).div_(64)
        for kind, rows in (("text", TEXTS), ("image", IMAGES))
    }


def child(side: str) -> None:
    from train.retrieval.klip_scores import predict, score

    data, seconds, found = features(), 0.0, {}
    for direction, other in (("text", "image"), ("image", "text")):
        queries, candidates = data[direction], data[other]
        ids = list(range(len(candidates)))
        sample = SAMPLE[direction]
        parsed = candidates.tolist() if side == "baseline" else None  # held while it predicts, not timed
        start = time.perf_counter()
        if side == "ours":
            lists = predict(queries, ids, candidates, K)
            score(dict(enumerate(lists)), {query: [query % len(ids)] for query in range(len(queries))})
        elif side == "bound":
            lists = []
            for block in queries.split(512):
                lists.append((block @ candidates.T).topk(K, dim=1).indices)
        else:
            lists = by_sorting_lists(queries[:sample], candidates, ids)
        spent = time.perf_counter() - start
        del parsed
        seconds += spent * (len(queries) / sample if side == "baseline" else 1)
        found[f"{direction}_lists"] = [] if side == "bound" else [list(map(int, line)) for line in lists[:sample]]
    report(seconds=seconds, **found)


def by_sorting_lists(queries: torch.Tensor, candidates: torch.Tensor, ids: list[int], block: int = 8192) -> list[list]:
    """Every candidate with its score in one Python list per query, sorted by falling score, first k kept."""
    lists = []
    for query in queries:
        pairs = []
        for first in range(0, len(candidates), block):
            scores = (query[None] @ candidates[first : first + block].T)[0].tolist()
            pairs += list(zip(ids[first : first + block], scores, strict=True))
        lists.append([identity for identity, _ in sorted(pairs, key=lambda pair: pair[1], reverse=True)[:K]])
    return lists


if __name__ == "__main__":
    child(sys.argv[1])
