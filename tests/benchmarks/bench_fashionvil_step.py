"""FashionViL's training steps: texts trimmed to the batch's longest, against texts padded to 75 tokens; and the image tokenizer.

The baseline is the original's step as its specification describes it: every text is padded to 75 tokens, and words are guessed
at every text position though only the selected ones have a loss. Both sides take loss and gradient of the same weights, without
dropout, in turn, and have the same loss. The rows of the tasks are the transformer's part: the grid of the image encoder is
given, and so are the codes of pictures, which stand still where pictures are not augmented. The tokenizer, whose work padding
doesn't touch, has its own row: pictures in chunks, against the whole batch at once.
"""

from __future__ import annotations

import sys

import torch

from tests.benchmarks.measure import Stopwatch, report, row, run_child

MODULE = "tests.benchmarks.bench_fashionvil_step"
BATCH, PADDED, CELLS, CHANNELS = 16, 75, 49, 2048
WIDTHS, REPEATS = (25, 40), 2
WORDS, ATTRIBUTES, CODES = 8000, 512, 1024
TASKS = ("itc", "mvc", "pac", "mpfc", "mlm", "itm")
# A tenth of BERT-base's layers.
TEXT = {"hidden_size": 384, "num_hidden_layers": 5, "num_attention_heads": 6, "intermediate_size": 1536}
# An eighth of the published channels, at the published 224 pixels.
TOKENIZER = {"hidden_dim": 16, "latent_dim": 64, "code_dim": 64, "num_codes": CODES, "group_norm_groups": 16}


def run() -> list[dict]:
    """Processor seconds of one step of every task at both lengths, and of coding a batch of pictures."""
    rows = []
    for width in WIDTHS:
        found = run_child(MODULE, "steps", str(width))
        ours, baseline = (run_child(MODULE, "memory", str(width), str(shown)) for shown in (width, PADDED))
        memory = {"ours": ours["peak_mib"], "baseline": baseline["peak_mib"]}
        workload = f"{TEXT['num_hidden_layers']} layers of {TEXT['hidden_size']}, batch {BATCH}, {width} tokens"
        for task, (trimmed, padded) in found["tasks"].items():
            rows.append(row(f"fashionvil-step/{task}", workload, trimmed, padded, "s", memory))
    found = run_child(MODULE, "codes")
    memory = {"ours": found["peak_mib"], "baseline": found["peak_mib"]}
    workload = f"{BATCH} pictures of 224 px, {TOKENIZER['hidden_dim']} channels; chunks, at once"
    rows.append(row("fashionvil-step/tokenizer", workload, *found["seconds"], "s", memory))
    return rows


class GivenGrid(torch.nn.Module):
    """In the place of the image encoder: its output is its input."""

    def forward(self, pixel_values: torch.Tensor):
        from transformers.utils import ModelOutput

        return ModelOutput(last_hidden_state=pixel_values)


def inputs_of(task: str, width: int, shown: int) -> dict:
    """One batch whose texts have at most `width` tokens, padded to `shown`; equal for every `shown`."""
    generator = torch.Generator().manual_seed(4)
    lengths = torch.randint(width // 2, width + 1, (BATCH,), generator=generator)
    lengths[0] = width
    ids = torch.zeros(BATCH, PADDED, dtype=torch.long)
    for line, length in zip(ids, lengths.tolist(), strict=True):
        line[:length] = torch.randint(5, WORDS, (length,), generator=generator)
    side = int(CELLS**0.5)
    grids = torch.randn(2, BATCH, CHANNELS, side, side, generator=generator)
    batch = {"task": task, "pixel_values": grids[0], "input_ids": ids[:, :shown]}
    batch["attention_mask"] = (batch["input_ids"] > 0).long()
    selected = (torch.rand(BATCH, PADDED, generator=generator) < 0.15) & (ids > 0)
    patches = torch.rand(BATCH, CELLS, generator=generator) < 8 / CELLS
    attributes = (torch.rand(BATCH, ATTRIBUTES, generator=generator) < 0.02).float()
    dropped = [torch.randint(n, (n // 4,), generator=generator) for n in (PADDED, CELLS)]
    extra = {
        "mvc": {"second_pixel_values": grids[1], "dropped_text": dropped[0], "dropped_image": dropped[1]},
        "pac": {"attribute_targets": attributes},
        "mpfc": {
            "patch_mask": patches,
            "image_codes": torch.randint(CODES, (BATCH, CELLS), generator=generator),
        },
        "mlm": {
            "masked_input_ids": ids.masked_fill(selected, 4)[:, :shown],
            "mlm_labels": ids.masked_fill(~selected, -100)[:, :shown],
        },
        "itm": {"replace_text": torch.arange(BATCH) % 2 == 0},
    }
    return batch | extra.get(task, {})


def small_model():
    """A pre-training model without dropout and without image encoder."""
    from modeling.fashionvil import FashionViLConfig, FashionViLForPreTraining

    torch.manual_seed(0)
    text = TEXT | {"vocab_size": WORDS, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    # A network of nothing but the right number of channels, since the grid is given.
    vision = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [8, CHANNELS], "depths": [1, 1]}
    config = FashionViLConfig(
        text_config=text, vision_config=vision | {"layer_type": "basic"}, num_attributes=ATTRIBUTES, num_codes=CODES
    )
    model = FashionViLForPreTraining(config).train()
    model.model.image_encoder = GivenGrid()
    return model


def step(model, batch: dict) -> float:
    """The loss of a batch, whose gradient is taken."""
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return float(loss)


def straightforward_step(model, batch: dict) -> float:
    """The same with a guess at every text position."""
    if batch["task"] != "mlm":
        return step(model, batch)
    model.zero_grad()
    grid = model.model.grid(batch["pixel_values"])
    states = model.model.encode_fused(grid, batch["masked_input_ids"], batch["attention_mask"])
    logits = model.heads["mlm"](states[:, : batch["mlm_labels"].shape[1]], model.get_input_embeddings().weight)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["mlm_labels"].flatten())
    loss.backward()
    return float(loss)


def steps(width: int) -> None:
    """Fastest of several steps of every task, trimmed and padded in turn, so that both meet the same machine.

    Raises:
        AssertionError: a trimmed and a padded loss differ.
    """
    model = small_model()
    seconds = {}
    for task in TASKS:
        batches = [inputs_of(task, width, shown) for shown in (width, PADDED)]
        both = [step, straightforward_step]
        # The first run takes memory and chooses kernels.
        losses = [take(model, batch) for take, batch in zip(both, batches, strict=True)]
        if abs(losses[0] - losses[1]) > 1e-4 * abs(losses[1]):
            raise AssertionError(f"{task}: trimmed and padded losses differ: {losses[0]} and {losses[1]}")
        times: list[list[float]] = [[], []]
        for _ in range(REPEATS):
            for take, batch, own in zip(both, batches, times, strict=True):
                watch = Stopwatch()
                take(model, batch)
                own.append(watch.read()["seconds"])
        seconds[task] = [min(own) for own in times]
    report(tasks=seconds)


def memory(width: int, shown: int) -> None:
    """One step of the task that needs most, in a process of its own."""
    take = straightforward_step if shown == PADDED else step
    report(loss=take(small_model(), inputs_of("mlm", width, shown)))


def codes() -> None:
    """Fastest of several codings of a batch of pictures, in the default chunks and at once, in turn.

    Raises:
        AssertionError: the two have other codes.
    """
    from modeling.fashionvil import FashionViLImageTokenizer, FashionViLImageTokenizerConfig

    torch.manual_seed(0)
    model = FashionViLImageTokenizer(FashionViLImageTokenizerConfig(has_decoder=False, **TOKENIZER)).eval()
    pictures = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    model.encode(pictures)
    times: dict[int | None, list[float]] = {None: [], BATCH: []}
    found = {}
    for _ in range(REPEATS + 1):
        for chunk, own in times.items():
            model.config.chunk_size = chunk
            watch = Stopwatch()
            found[chunk] = model.encode(pictures)
            own.append(watch.read()["seconds"])
    if not torch.equal(found[BATCH], found[None]):
        raise AssertionError("pictures have other codes in chunks")
    report(seconds=[min(own) for own in times.values()])


if __name__ == "__main__":
    {"steps": steps, "memory": memory, "codes": codes}[sys.argv[1]](*map(int, sys.argv[2:]))
