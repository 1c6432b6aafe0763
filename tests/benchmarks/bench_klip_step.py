"""FashionKLIP's training step: equal prompts encoded once and texts padded to the longest, against the straightforward step.

The baseline is the original's step as its specification describes it: every caption brings five prompts of its own, all
texts padded to 77 tokens. Both take one step's loss and gradient of one ViT-B/32, from the same weights, and have the same
loss. Captions have real lengths; the prompts of a batch repeat as those of a catalogue of similar products do.
"""

from __future__ import annotations

import sys
import time

import torch

from tests.benchmarks.measure import report, row, run_child

MODULE = "tests.benchmarks.bench_klip_step"
BATCH, SLOTS = 16, 5
# Tokens of 16 shop titles with start and end, and how many different concepts the batch has.
LENGTHS = (9, 11, 8, 12, 10, 9, 14, 8, 10, 11, 9, 13, 10, 8, 12, 10)
CONCEPTS, PROMPT = 24, 7


def run() -> list[dict]:
    """Seconds of one step and peak memory of each process."""
    ours, baseline = run_child(MODULE, "ours"), run_child(MODULE, "baseline")
    if abs(ours["loss"] - baseline["loss"]) > 1e-4 * abs(baseline["loss"]):
        raise AssertionError(f"the two steps have different losses: {ours['loss']} and {baseline['loss']}")
    workload = f"ViT-B/32, batch {BATCH}, {BATCH * SLOTS} prompts of {CONCEPTS} concepts"
    memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
    return [row("klip-step", workload, ours["seconds"], baseline["seconds"], "s", memory)]


def tokens(lengths: list[int], seed: int) -> torch.Tensor:
    """(n, 77) ids, padded with 0."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(lengths), 77, dtype=torch.long)
    for line, length in zip(ids, lengths, strict=True):
        line[:length] = torch.randint(1, 49000, (length,), generator=generator)
        line[0], line[length - 1] = 49406, 49407
    return ids


def child(side: str) -> None:
    from modeling.fashionklip import FashionKLIPConfig, FashionKLIPModel
    from train.engine.concept_loss import caption_loss, combined_loss, concept_prototype_loss, normalise

    torch.manual_seed(0)
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    text |= {"vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "eos_token_id": 49407}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision |= {"image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "model_type": "clip_vision_model"}
    model = FashionKLIPModel(FashionKLIPConfig(text_config=text, vision_config=vision)).train()
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(BATCH, 3, 224, 224, generator=generator)
    captions, prompts = tokens(list(LENGTHS), 2), tokens([PROMPT] * CONCEPTS, 3)
    ids = torch.stack([torch.randperm(CONCEPTS, generator=generator)[:SLOTS] for _ in range(BATCH)])
    prototypes = normalise(torch.randn(CONCEPTS, 10, 512, generator=generator))[ids]
    if side == "ours":
        captions, prompts = captions[:, : max(LENGTHS)], prompts[:, :PROMPT]
        used, place = ids.unique(return_inverse=True)
        prompts = prompts[used]
    else:
        prompts, place = prompts[ids.flatten()], torch.arange(BATCH * SLOTS).view(BATCH, SLOTS)

    def step() -> torch.Tensor:
        model.zero_grad()
        output = model(pixel_values=pixels, input_ids=captions, concept_input_ids=prompts)
        scale = model.logit_scale.exp()
        caption = caption_loss(output.image_embeds, output.text_embeds, scale, None)
        embeds = output.concept_embeds[place].transpose(0, 1)
        concept = concept_prototype_loss(output.image_embeds, embeds, ids, prototypes, scale).loss
        loss, _ = combined_loss(caption, concept, None)
        loss.backward()
        return loss.detach()

    step()  # memory is taken and kernels are chosen
    start = time.process_time()
    loss = step()
    report(seconds=time.process_time() - start, loss=float(loss))


if __name__ == "__main__":
    child(sys.argv[1])
