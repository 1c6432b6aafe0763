"""The text tower on real caption lengths, padded to the longest of the batch, against padding to 77 tokens.

The baseline is the original's input: every text padded with zeros to the 77 positions of CLIP. Model, threads and
type are the same; features and loss are compared.
"""

from __future__ import annotations

import statistics
import sys

import torch

from tests.benchmarks.measure import clip_model, padded, report, row, run_child, sampled_captions, timed

MODULE = "tests.benchmarks.bench_text_padding"
TEXT_BATCH, BATCHES = 32, 3
STEP_BATCH = {"ViT-B/32": 16, "RN50": 8, "RN50x4": 4}


def tower_child(backbone: str, width: int | None) -> None:
    model = clip_model(backbone)
    model.vision_model = None  # only the text tower's memory is asked for
    batches = [padded(sampled_captions(TEXT_BATCH, seed), width) for seed in range(BATCHES)]
    with torch.no_grad():
        times = [timed(lambda b=batch: model.get_text_features(b), repeats=1) for batch in batches]
        features = model.get_text_features(batches[0])
    widths = [batch.shape[1] for batch in batches]
    mean = {name: statistics.mean(reading[name] for reading in times) for name in ("seconds", "wall")}
    report(**mean, features=features.tolist(), width=statistics.mean(widths))


def step_child(backbone: str, width: int | None) -> None:
    model, size = clip_model(backbone), STEP_BATCH[backbone]
    side = model.config.image_size
    generator = torch.Generator().manual_seed(1)
    reference, target = (torch.randn(size, 3, side, side, generator=generator) for _ in range(2))
    ids = padded(sampled_captions(size, 3), width)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-6, eps=1e-7)
    losses = []

    def step() -> None:
        loss = model(pixel_values=reference, input_ids=ids, target_pixel_values=target).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    elapsed = timed(step, repeats=1)
    report(**elapsed, losses=losses, width=ids.shape[1])


def run() -> list[dict]:
    """Text tower rows (forward pass, batch 32) and whole training steps per backbone."""
    rows = []
    for backbone in ("ViT-B/32", "RN50x4"):
        ours, theirs = (run_child(MODULE, "tower", backbone, width) for width in ("longest", "77"))
        difference = (torch.tensor(ours["features"]) - torch.tensor(theirs["features"])).abs().max().item()
        workload = (
            f"{backbone} text tower, forward, batch {TEXT_BATCH}, FashionIQ lengths: {ours['width']:.1f} tokens "
            f"against 77; features differ by at most {difference:.1e}; ratio of wall times "
            f"{theirs['wall'] / ours['wall']:.2f}"
        )
        memory = {"ours": ours["peak_mib"], "baseline": theirs["peak_mib"]}
        rows.append(
            row(f"text tower, {backbone}", workload, ours["seconds"], theirs["seconds"], "CPU s per batch", memory)
        )
    for backbone, size in STEP_BATCH.items():
        ours, theirs = (run_child(MODULE, "step", backbone, width) for width in ("longest", "77"))
        difference = max(abs(a / b - 1) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
        workload = (
            f"whole stage-1 step with AdamW, {backbone}, batch {size}, {ours['width']} tokens against 77; "
            f"losses of two steps differ by at most {difference:.1e} (relative); ratio of wall times "
            f"{theirs['wall'] / ours['wall']:.2f}"
        )
        memory = {"ours": ours["peak_mib"], "baseline": theirs["peak_mib"]}
        rows.append(
            row(f"stage-1 step, {backbone}", workload, ours["seconds"], theirs["seconds"], "CPU s per step", memory)
        )
    return rows


if __name__ == "__main__":
    {"tower": tower_child, "step": step_child}[sys.argv[1]](sys.argv[2], 77 if sys.argv[3] == "77" else None)
