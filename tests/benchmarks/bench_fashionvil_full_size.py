"""A full-size FashionViL takes a step of every task at batch 8 within 16 GiB on a CPU, also under bf16 autocast.

ResNet-50, BERT-base and the frozen image tokenizer at 224 pixels, as published; texts of 25 tokens. A step is loss, gradient and
an update of AdamW. A row's baseline is the limit of 16 GiB; ours the peak memory of the process that took all six steps.
"""

from __future__ import annotations

import math
import sys

import torch

from tests.benchmarks.measure import report, row, run_child

MODULE = "tests.benchmarks.bench_fashionvil_full_size"
BATCH, WIDTH, LIMIT_MIB = 8, 25, 16 * 1024
TASKS = ("itc", "mvc", "pac", "mpfc", "mlm", "itm")
# Of the original at full size: image encoder, transformer, heads and tokenizer.
PARAMETERS = 179_843_709


def run() -> list[dict]:
    """Peak memory, in float32 and under bf16 autocast.

    Raises:
        AssertionError: more than 16 GiB, a model of another size than the published one, or a loss that is not finite, or
            that bf16 moves by more than 5 %.
    """
    rows, losses = [], {}
    for precision in ("float32", "bf16"):
        found = run_child(MODULE, precision)
        losses[precision] = found["losses"]
        if found["peak_mib"] > LIMIT_MIB or found["parameters"] != PARAMETERS:
            raise AssertionError(f"{precision}: {found['peak_mib']} MiB, {found['parameters']} parameters")
        seconds = ", ".join(f"{task} {found['seconds'][task]:.0f}" for task in TASKS)
        workload = f"batch {BATCH}, {WIDTH} tokens, {precision}; processor seconds: {seconds}"
        memory = {"ours": found["peak_mib"], "baseline": float(LIMIT_MIB)}
        rows.append(row("fashionvil-full-size", workload, found["peak_mib"], LIMIT_MIB, "MiB", memory))
    for task in TASKS:
        exact, half = losses["float32"][task], losses["bf16"][task]
        if not math.isfinite(exact) or not abs(half - exact) < 0.05 * abs(exact):
            raise AssertionError(f"{task}: the loss is {exact} in float32 and {half} under bf16")
    return rows


def child(precision: str) -> None:
    from modeling.fashionvil import FashionViLConfig, FashionViLForPreTraining
    from tests.benchmarks.measure import Stopwatch

    torch.manual_seed(0)
    text = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # both precisions have the same loss
    model = FashionViLForPreTraining(
        FashionViLConfig(text_config=text, tokenizer_config={"has_decoder": False})
    ).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6)
    seconds, losses = {}, {}
    for task in TASKS:
        batch = inputs_of(task)
        watch = Stopwatch()
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        seconds[task], losses[task] = watch.read()["seconds"], float(loss)
    report(seconds=seconds, losses=losses, parameters=sum(p.numel() for p in model.parameters()))


def inputs_of(task: str) -> dict:
    """A made-up batch of a task."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1000, 30000, (BATCH, WIDTH), generator=generator)
    pictures = torch.randn(2, BATCH, 3, 224, 224, generator=generator)
    selected = torch.rand(BATCH, WIDTH, generator=generator) < 0.15
    attributes = (torch.rand(BATCH, 2232, generator=generator) < 0.005).float()
    batch = {"task": task, "pixel_values": pictures[0], "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    extra = {
        "mvc": {
            "second_pixel_values": pictures[1],
            "dropped_text": torch.arange(18),
            "dropped_image": torch.arange(12),
        },
        "pac": {"attribute_targets": attributes},
        "mpfc": {"patch_mask": torch.rand(BATCH, 49, generator=generator) < 8 / 49},
        "mlm": {"masked_input_ids": ids.masked_fill(selected, 103), "mlm_labels": ids.masked_fill(~selected, -100)},
        "itm": {"replace_text": torch.arange(BATCH) % 2 == 0},
    }
    return batch | extra.get(task, {})


if __name__ == "__main__":
    child(sys.argv[1])
