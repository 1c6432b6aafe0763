"""Timing, peak memory of a variant in a process of its own, and the pieces that several benchmarks share."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
START, END = 49406, 49407

# Tokens of the four training forms of FashionIQ's 18,000 training captions under CLIP's vocabulary, start and end
# included: length -> number of texts. Counted once from the official annotations; 60,017 of the 72,000 texts differ.
FASHIONIQ_LENGTHS = {
    **{2: 13, 3: 213, 4: 2824, 5: 4086, 6: 4480, 7: 7061, 8: 7220, 9: 6266, 10: 5101, 11: 4706, 12: 4766, 13: 4806},
    **{14: 4717, 15: 4396, 16: 3481, 17: 2763, 18: 1976, 19: 1265, 20: 763, 21: 487, 22: 326, 23: 122, 24: 78, 25: 45},
    **{26: 12, 27: 9, 28: 2, 29: 10, 32: 2, 34: 2, 37: 2},
}


def sampled_captions(count: int, seed: int) -> list[list[int]]:
    """Token ids of made-up captions whose lengths follow FashionIQ's."""
    rng = np.random.default_rng(seed)
    sizes, numbers = np.array(list(FASHIONIQ_LENGTHS)), np.array(list(FASHIONIQ_LENGTHS.values()))
    lengths = rng.choice(sizes, count, p=numbers / numbers.sum())
    return [[START, *rng.integers(1, START, length - 2).tolist(), END] for length in lengths]


def padded(captions: list[list[int]], width: int | None = None) -> torch.Tensor:
    """(captions, width) ids, padded with zeros to the longest, or to `width`."""
    width = width or max(map(len, captions))
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in captions])


def clip_model(backbone: str, combiner: bool = False) -> Any:
    """CLIP4CirModel of an official size with random weights, in evaluation mode as both stages keep CLIP."""
    from transformers import CLIPTextConfig, CLIPVisionConfig
    from transformers.utils import logging

    from modeling.clip4cir.configuration_clip4cir import CLIP4CirConfig, CLIP4CirResNetConfig
    from modeling.clip4cir.modeling_clip4cir import CLIP4CirModel

    logging.set_verbosity_error()
    torch.manual_seed(0)
    vision, width, dim = {
        "RN50": (CLIP4CirResNetConfig(layers=(3, 4, 6, 3), width=64, image_size=224), 512, 1024),
        "RN50x4": (CLIP4CirResNetConfig(layers=(4, 6, 10, 6), width=80, image_size=288), 640, 640),
        "ViT-B/32": (CLIPVisionConfig(hidden_size=768, patch_size=32, image_size=224), 512, 512),
    }[backbone]
    text = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=12,
        num_attention_heads=width // 64,
        bos_token_id=START,
        eos_token_id=END,
    )
    combiner_type = "combiner" if combiner else "sum"
    config = CLIP4CirConfig(vision_config=vision, text_config=text, projection_dim=dim, combiner_type=combiner_type)
    return CLIP4CirModel(config).eval()


def timed(call: Callable[[], Any], repeats: int = 3, warm_up: int = 1) -> dict[str, float]:
    """Fastest of several calls, by processor and by wall time."""
    for _ in range(warm_up):
        call()
    readings = []
    for _ in range(repeats):
        watch = Stopwatch()
        call()
        readings.append(watch.read())
    return {name: min(reading[name] for reading in readings) for name in ("seconds", "wall")}


class Stopwatch:
    """Processor and wall time since it was made, as fields for `report`.

    Tables show processor seconds, all threads together, because they hardly depend on what else the machine does; the
    ratio of wall times stands beside them.
    """

    def __init__(self) -> None:
        self.start = time.process_time(), time.perf_counter()

    def read(self, count: int = 1) -> dict[str, float]:
        """Seconds per each of `count` things: {"seconds": processor, "wall": wall}."""
        now = time.process_time(), time.perf_counter()
        return {
            name: (end - start) / count for name, start, end in zip(("seconds", "wall"), self.start, now, strict=True)
        }


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def report(**values: Any) -> None:
    """A child's last line: what it measured, and its peak memory."""
    print(json.dumps({**values, "peak_mib": round(peak_mib(), 1)}))


def run_child(module: str, *arguments: str) -> dict[str, Any]:
    """Runs `python -m module arguments` with this process's number of threads and returns what it reported.

    Variants run one after the other in processes of their own, because peak memory cannot be reset within one.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(name: str, workload: str, ours: float, baseline: float, unit: str, memory: dict[str, float]) -> dict[str, Any]:
    """One line of the table; ratio above 1 means that ours is better. Memory: peak MiB of both processes."""
    figures = {"ours": round(ours, 4), "baseline": round(baseline, 4), "ratio": round(baseline / ours, 2)}
    return {"name": name, "workload": workload, **figures, "unit": unit, "memory": memory}
