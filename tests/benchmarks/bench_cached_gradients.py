"""Memory and time of the exact step in chunks against the plain step, gradients compared.

The baseline embeds the whole batch with one graph, takes the loss and goes back: what CLIP4Cir's stage 1 does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from tests.benchmarks.measure import Stopwatch, peak_mib, report, row, run_child

MODULE = "tests.benchmarks.bench_cached_gradients"
BATCH, SIDE, TOKENS = 512, 64, 20


def make_model():
    from transformers import CLIPTextConfig, CLIPVisionConfig

    from modeling.clip4cir.configuration_clip4cir import CLIP4CirConfig
    from modeling.clip4cir.modeling_clip4cir import CLIP4CirModel

    torch.manual_seed(0)
    size = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 3}
    return CLIP4CirModel(
        CLIP4CirConfig(
            vision_config=CLIPVisionConfig(image_size=SIDE, patch_size=16, **size),
            text_config=CLIPTextConfig(vocab_size=2000, bos_token_id=1998, eos_token_id=1999, **size),
            projection_dim=128,
        )
    )


def make_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 1998, (BATCH, TOKENS), generator=generator)
    ids[:, -1] = 1999
    reference, target = (torch.randn(BATCH, 3, SIDE, SIDE, generator=generator) for _ in range(2))
    return {"pixel_values": reference, "input_ids": ids, "target_pixel_values": target}


def embed(model, chunk) -> tuple[torch.Tensor, torch.Tensor]:
    output = model(**chunk)
    return output.query_embeds, output.target_embeds


def child(rows_per_chunk: int, folder: str) -> None:
    from train.engine.cached_gradients import cached_step, split_batch
    from train.engine.losses import query_target_loss

    def loss_fn(queries, targets):
        return query_target_loss(queries, targets, 100.0)

    model, batch = make_model(), make_batch()
    embed(model, {name: value[:1] for name, value in batch.items()})[0].sum().backward()
    model.zero_grad(set_to_none=False)  # gradients exist from here on: the peak is the step's activations
    before, watch = peak_mib(), Stopwatch()
    if rows_per_chunk == BATCH:
        loss = loss_fn(*embed(model, batch))
        loss.backward()
    else:
        loss = cached_step(model, split_batch(batch, rows_per_chunk), embed, loss_fn).loss
    elapsed, step_mib = watch.read(), peak_mib() - before
    grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.save(grads, Path(folder) / f"{rows_per_chunk}.pt")
    report(**elapsed, step_mib=step_mib, loss=loss.item())


def run() -> list[dict]:
    """Memory and time rows for chunks of 128, 32 and 8 of a batch of 512."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        plain = run_child(MODULE, str(BATCH), folder)
        expected = torch.load(Path(folder) / f"{BATCH}.pt")
        for size in (128, 32, 8):
            ours = run_child(MODULE, str(size), folder)
            grads = torch.load(Path(folder) / f"{size}.pt")
            difference = ((grads - expected).norm() / expected.norm()).item()
            workload = (
                f"stage-1 step, ViT 6 x 192 at {SIDE} px, batch {BATCH} in chunks of {size}; gradients differ by "
                f"{difference:.1e} of their norm, losses by {abs(ours['loss'] / plain['loss'] - 1):.1e}; ratio of wall "
                f"times {plain['wall'] / ours['wall']:.2f}"
            )
            memory = {"ours": ours["peak_mib"], "baseline": plain["peak_mib"]}
            name = f"cached gradients, chunks of {size}"
            rows.append(row(f"{name}: memory", workload, ours["step_mib"], plain["step_mib"], "MiB per step", memory))
            rows.append(row(f"{name}: time", workload, ours["seconds"], plain["seconds"], "CPU s per step", memory))
    return rows


if __name__ == "__main__":
    child(int(sys.argv[1]), sys.argv[2])
