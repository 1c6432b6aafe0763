"""FashionIQ validation at full gallery size: counting better scores against sorting every row with tables of names.

The baseline is the original's way as its specification describes it: one matrix of distances, every row sorted, and the
(queries x gallery) table of image names materialised twice, once sorted and once as repeated target names, to compare.
Each side runs in its own process, so that peak memory is its own; features, threads and number type are the same.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from tests.benchmarks.measure import peak_mib, report, row, run_child

MODULE = "tests.benchmarks.bench_ranking"
SIZES = {"dress": (2017, 3817), "shirt": (2038, 6346), "toptee": (1961, 5373)}  # queries, gallery
DIM = 640  # of RN50x4
REPEATS = 3


def run() -> list[dict]:
    """Seconds for the three categories, best of a few turns, and peak resident memory of each process."""
    ours, baseline = run_child(MODULE, "ours"), run_child(MODULE, "baseline")
    if any(abs(ours["figures"][name] - value) > 1e-3 for name, value in baseline["figures"].items()):
        raise AssertionError(f"the two ways disagree: {ours['figures']} and {baseline['figures']}")
    sizes = ", ".join(f"{queries}x{images}" for queries, images in SIZES.values())
    workload = f"{sizes}, {DIM}-d, {ours['threads']} threads; {ours['before_mib']:.0f} MiB before it starts"
    memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
    return [row("fashioniq-validation", workload, ours["seconds"], baseline["seconds"], "s", memory)]


def count_better_scores(queries: torch.Tensor, gallery: torch.Tensor, names: list[str], targets: list[str]) -> dict:
    """Recall@10 and @50 in percent, the project's way; (Q, D) normalised queries, (N, D) raw gallery features."""
    from train.retrieval.ranking import ranks_of_targets

    row_of = {name: row for row, name in enumerate(names)}
    gallery = torch.nn.functional.normalize(gallery, dim=-1)
    ranks = ranks_of_targets(queries, gallery, [row_of[name] for name in targets])
    return {f"recall_at{k}": 100 * (ranks < k).double().mean().item() for k in (10, 50)}


def sort_every_row(queries: torch.Tensor, gallery: torch.Tensor, names: list[str], targets: list[str]) -> dict:
    """The same figures the original's way."""
    gallery = torch.nn.functional.normalize(gallery, dim=-1).float()
    distances = 1 - queries @ gallery.T
    order = torch.argsort(distances, dim=-1).cpu()
    sorted_names = np.array(names)[order]
    wanted = np.repeat(np.array(targets), len(names)).reshape(len(targets), -1)
    hits = torch.tensor(sorted_names == wanted)
    if not torch.equal(hits.sum(dim=-1).int(), torch.ones(len(targets)).int()):
        raise AssertionError("a target must occur exactly once in the gallery")
    return {f"recall_at{k}": (hits[:, :k].sum() / len(hits)).item() * 100 for k in (10, 50)}


def child(side: str) -> None:
    if side == "ours":
        import train.retrieval.ranking  # noqa: F401  (imports are not timed)
    generator = torch.Generator().manual_seed(0)
    data = []
    for queries, images in SIZES.values():
        gallery = torch.randn(images, DIM, generator=generator)
        names = [f"B{row:09d}" for row in torch.randperm(images, generator=generator).tolist()]
        targets = torch.randint(0, images, (queries,), generator=generator)
        # Far enough from the target that ranks spread over the gallery.
        query = gallery[targets] + 8 * torch.randn(queries, DIM, generator=generator)
        data.append((torch.nn.functional.normalize(query, dim=-1), gallery, names, [names[t] for t in targets]))
    way = {"ours": count_better_scores, "baseline": sort_every_row}[side]
    before, seconds = peak_mib(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = [way(*arguments) for arguments in data]
        seconds.append(time.perf_counter() - start)
    figures = {f"{c}_{k}": v for c, values in zip(SIZES, found, strict=True) for k, v in values.items()}
    report(figures=figures, seconds=min(seconds), before_mib=before, threads=torch.get_num_threads())


if __name__ == "__main__":
    child(sys.argv[1])
