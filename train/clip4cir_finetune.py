"""Stage 1 of CLIP4Cir: fine-tune CLIP so that image + sentence lands on the target image.

The query is normalise(image features + text features); the loss is the cross entropy of its cosines with all target
images of the batch (arXiv 2308.11485, section 3.1).

    accelerate launch train/clip4cir_finetune.py --config train/recipes/clip4cir_finetune/fashioniq.yaml \\
        --clip_checkpoint RN50x4.pt --data_dir fashionIQ_dataset --output_dir runs/stage1

    accelerate launch train/clip4cir_finetune.py --config train/recipes/clip4cir_finetune/atelier.yaml \\
        --data_dir data/atelier --output_dir runs/stage1

Expected with the first: 24 GB of GPU memory at batch 128 with --gradient_checkpointing or --rows_per_chunk 32. The second
runs on a CPU.
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.clip4cir import BackboneArguments
from train.engine.run import RunArguments
from train.engine.triplets import DataArguments


@dataclasses.dataclass
class FineTuneArguments:
    """How stage 1 trains. Defaults are the paper's."""

    epochs: int = argument(100, "passes over the training triplets", minimum=1)
    batch_size: int = argument(128, "triplets per step, over all processes", minimum=2)
    learning_rate: float = argument(2e-6, "step size of AdamW", above=0)
    vision_learning_rate: float | None = argument(
        None, "other step size for the image tower (without its projection)", minimum=0
    )
    weight_decay: float = argument(0.01, "decoupled weight decay, on every trained parameter", minimum=0)
    adam_epsilon: float = argument(1e-7, "epsilon of AdamW", above=0)
    schedule: Literal["constant", "cosine"] = argument("constant", "learning rate over time")
    warmup_fraction: float = argument(0.0, "part of the steps in which the learning rate rises", minimum=0, maximum=1)
    max_grad_norm: float | None = argument(None, "gradient clipping; default: none", above=0)
    encoder: Literal["both", "text", "image"] = argument("both", "which encoder to train")
    freeze: list[str] = argument([], "also freeze the parameters whose names begin like one of these")
    logit_scale: float = argument(100.0, "constant that multiplies the cosines", above=0)
    batches: Literal["triplets", "photos"] = argument(
        "triplets",
        "what a batch is made of: triplets, as the original, or photos, linked ones together: every triplet among them "
        "is a query, every photo is encoded once, and all other photos are wrong answers",
    )
    title_weight: float = argument(
        0.0,
        "weight of an image-title contrastive loss beside the main one (--batches photos, data with titles)",
        minimum=0,
    )
    title_logit_scale: float = argument(15.0, "constant that multiplies its cosines", above=0)
    symmetric: bool = argument(False, "add the loss from target to query")
    reference_negatives: bool = argument(False, "let the batch's reference images be wrong answers too")
    label_smoothing: float = argument(0.0, "label smoothing of the loss", minimum=0, maximum=0.99)
    official_false_negatives: bool = argument(
        False, "as the original, count another query's equal target as a wrong answer"
    )
    train_batch_norm: bool = argument(
        False, "let batch norm learn its statistics (needed from random weights; the original keeps CLIP's)"
    )
    official_half_precision_logits: bool = argument(False, "compute the logits in the autocast type, as the original")
    rows_per_chunk: int | None = argument(
        None, "embed the batch in chunks of so many triplets: the same gradient in a fraction of the memory", minimum=1
    )
    gradient_checkpointing: bool = argument(False, "recompute activations in the backward pass")
    flip: float = argument(0.0, "probability of mirroring a training picture", minimum=0, maximum=1)
    min_crop_area: float = argument(1.0, "smallest part of a picture that a random crop keeps", minimum=0.01, maximum=1)
    shift: float = argument(0.0, "largest random shift as a part of the picture's side", minimum=0, maximum=0.5)
    lora: bool = argument(False, "train low-rank adapters instead of all weights")
    lora_rank: int = argument(16, "rank of the adapters", minimum=1)
    lora_alpha: float = argument(32, "scale of the adapters", above=0)
    lora_targets: list[str] = argument(["q_proj", "v_proj"], "layers that get an adapter")
    validation_frequency: int = argument(1, "validate every so many epochs", minimum=1)
    save: Literal["best", "last", "every", "none"] = argument(
        "best", "which models to keep: the best by --best_metrics, the last, every validated one, or none"
    )
    best_metrics: list[str] = argument(
        [], "figures to choose the best model by, one folder each; default: the data set's as in the original"
    )

    def __post_init__(self) -> None:
        if self.batches == "photos" and self.rows_per_chunk:
            raise ValueError("--rows_per_chunk cuts triplets; a batch of photos cannot be cut (use --batches triplets)")
        if self.batches == "triplets" and self.title_weight:
            raise ValueError("--title_weight needs --batches photos")


def make_optimizer(model: Any, arguments: FineTuneArguments) -> Any:
    """AdamW over everything that trains, weight decay on all of it, as the original."""
    import torch

    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if arguments.vision_learning_rate is None:
        groups = [{"params": [p for _, p in trained]}]
    else:
        groups = [
            {"params": [p for n, p in trained if "vision_model." not in n]},
            {"params": [p for n, p in trained if "vision_model." in n], "lr": arguments.vision_learning_rate},
        ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=arguments.learning_rate,
        betas=(0.9, 0.999),
        eps=arguments.adam_epsilon,
        weight_decay=arguments.weight_decay,
    )


def embed(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """One forward pass of a batch or chunk: everything that the loss looks at, by name."""
    output = model(
        pixel_values=batch["pixel_values"],
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        target_pixel_values=batch["target_pixel_values"],
    )
    return {
        "query_embeds": output.query_embeds,
        "target_embeds": output.target_embeds,
        "reference_features": output.image_features,
        "target_ids": batch["target_group"],
        "reference_ids": batch["reference_group"],
    }


def stage1_loss(arguments: FineTuneArguments, **embedded: Any) -> Any:
    """Loss of `embed`'s outputs, negatives from all processes."""
    from torch.nn import functional as F

    from train.engine.losses import query_target_loss

    ids = None if arguments.official_false_negatives else embedded["target_ids"]
    extra = {}
    if arguments.reference_negatives:
        extra["extra_negatives"] = F.normalize(embedded["reference_features"].float(), dim=-1)
        extra["extra_ids"] = None if ids is None else embedded["reference_ids"]
    return query_target_loss(
        embedded["query_embeds"],
        embedded["target_embeds"],
        arguments.logit_scale,
        symmetric=arguments.symmetric,
        target_ids=ids,
        label_smoothing=arguments.label_smoothing,
        half_precision_logits=arguments.official_half_precision_logits,
        **extra,
    )


def photo_batch_loss(model: Any, arguments: FineTuneArguments, batch: dict[str, Any]) -> Any:
    """Loss of a batch of photos: each query against all photos but its own reference.

    The photos of the query's target group are all right answers. With `title_weight` every photo is also matched with
    its title, in both directions.
    """
    import torch
    from torch.nn import functional as F

    from train.engine.gather import gather_rows, gather_rows_no_grad
    from train.engine.matching_loss import gather_ragged, matching_loss, symmetric_matching_loss

    # One forward pass, so that DDP sees one; the photos are encoded as "targets" because there is nothing to compose.
    output = model(
        target_pixel_values=batch["pixel_values"],
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
    )
    photos, texts = output.target_features, output.text_features
    captions = texts[batch["caption_text"]]  # (queries, dim): equal texts are encoded once
    queries = F.normalize((photos[batch["reference"]] + captions).float(), dim=-1)
    photos = F.normalize(photos.float(), dim=-1)

    all_photos, photo_row = gather_rows(photos), gather_rows_no_grad(batch["photo_row"])
    photo_group = gather_rows_no_grad(batch["photo_group"])
    all_queries, target_group = gather_ragged(queries), gather_ragged(batch["target_group"])
    own = gather_ragged(batch["reference_row"])[:, None] == photo_row
    positive = (target_group[:, None] == photo_group) & ~own
    padding = (target_group < 0)[:, None]  # of processes with fewer queries
    loss_of = symmetric_matching_loss if arguments.symmetric else matching_loss
    loss = loss_of(all_queries, all_photos, positive, own | padding, arguments.logit_scale)
    if arguments.title_weight:
        titles = gather_rows(F.normalize(texts[batch["title_text"]].float(), dim=-1))
        number = gather_rows_no_grad(batch["title_number"])
        same = (number[:, None] == number) & (number >= 0)
        ignored = torch.zeros_like(same) | (number < 0)
        loss = loss + arguments.title_weight * symmetric_matching_loss(
            all_photos, titles, same, ignored, arguments.title_logit_scale
        )
    return loss


class Collate:
    """From rows to a batch: pictures from the pixel store, texts tokenised and padded to the longest of the batch."""

    def __init__(self, processor: Any, pixels: Any, augmentation: Any, group_number: dict[str, int]) -> None:
        self.processor, self.pixels = processor, pixels
        self.augmentation, self.group_number = augmentation, group_number

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        batch = dict(self.processor(text=[r["text"] for r in rows], return_tensors="pt"))
        seeds = {"epoch": rows[0]["epoch"], "indices": [r["row"] for r in rows], "augmentation": self.augmentation}
        for role, (kind, name) in enumerate((("reference", "pixel_values"), ("target", "target_pixel_values"))):
            ids = [r[f"{kind}_id"] for r in rows]
            batch[name] = self.pixels.batch(ids, role=role, **seeds)
            batch[f"{kind}_group"] = torch.tensor([self.group_number[i] for i in ids])
        return batch


class PhotoCollate:
    """From photos to a batch: this process's share of the photos, and the queries whose target is in the whole batch."""

    def __init__(self, processor: Any, pixels: Any, augmentation: Any, titles: bool, rank: int, processes: int) -> None:
        self.processor, self.pixels, self.augmentation, self.titles = processor, pixels, augmentation, titles
        self.rank, self.processes = rank, processes

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        groups = {r["group"] for r in rows}
        share = len(rows) // self.processes
        own = rows[self.rank * share : (self.rank + 1) * share]
        queries = [(place, q) for place, row in enumerate(own) for q in row["queries"] if q["group"] in groups]
        texts = list(dict.fromkeys(q["text"] for _, q in queries))
        titles = [row["title"] for row in own] if self.titles else []
        texts += [t for t in dict.fromkeys(titles) if t is not None and t not in set(texts)]
        texts = texts or [""]  # a share without queries still takes part
        place_of = {text: place for place, text in enumerate(texts)}
        return {
            **self.processor(text=texts, return_tensors="pt"),
            "pixel_values": self.pixels.batch(
                [row["image_id"] for row in own],
                augmentation=self.augmentation,
                epoch=rows[0]["epoch"],
                indices=[row["row"] for row in own],
            ),
            "photo_row": torch.tensor([row["row"] for row in own]),
            "photo_group": torch.tensor([row["group"] for row in own]),
            "reference": torch.tensor([place for place, _ in queries], dtype=torch.int64),
            "reference_row": torch.tensor([own[place]["row"] for place, _ in queries], dtype=torch.int64),
            "target_group": torch.tensor([q["group"] for _, q in queries], dtype=torch.int64),
            "caption_text": torch.tensor([place_of[q["text"]] for _, q in queries], dtype=torch.int64),
            "title_text": torch.tensor([place_of.get(title, 0) for title in titles], dtype=torch.int64),
            "title_number": torch.tensor([row["title_number"] for row in own], dtype=torch.int64),
        }


def main() -> None:
    backbone, data, training, run_arguments = parse_arguments(
        BackboneArguments, DataArguments, FineTuneArguments, RunArguments, description=__doc__
    )
    import torch

    from train.engine.adapters import add_adapters, save_base, save_model
    from train.engine.cached_gradients import cached_step, split_batch
    from train.engine.clip4cir import choose_encoder, starting_model
    from train.engine.images import Augmentation, PixelStore
    from train.engine.loop import Schedule, fit, make_scheduler
    from train.engine.run import Run
    from train.engine.triplets import PhotoRows, TripletRows, caption_texts, load_triplets
    from train.engine.validation import ComposedValidation

    with Run(run_arguments, backbone, data, training) as run:
        accelerator = run.accelerator
        triplets = load_triplets(data, data.train_split)
        if training.title_weight and not triplets.titles:
            raise ValueError(f"--title_weight: {data.data_dir} has no titles; name a file with --titles")
        texts = [text for captions in triplets.captions for text in caption_texts(captions)]
        texts += triplets.titles.values() if training.title_weight else []
        model, processor = starting_model(backbone, texts)
        model.config.combiner_type, model.combiner = "sum", None
        model.config.logit_scale_value = training.logit_scale
        model.config.train_batch_norm = training.train_batch_norm
        if training.gradient_checkpointing:
            model.activation_checkpointing_enable()
        choose_encoder(model, training.encoder, training.freeze)
        if training.lora:
            if not backbone.model:  # an adapter needs a base that can be loaded again
                save_base(run, model, processor)
            model = add_adapters(
                model, training.lora_targets, training.lora_rank, training.lora_alpha, training.encoder
            )

        cache = data.pixel_cache or run.folder / "cache"
        with accelerator.local_main_process_first():
            pixels = PixelStore.build(cache, triplets.images, processor.image_processor, name="train")
            validation = ComposedValidation(data, processor, cache)
        augmentation = None
        if training.flip or training.shift or training.min_crop_area < 1:
            augmentation = Augmentation(
                flip=training.flip, shift=training.shift, min_area=training.min_crop_area, seed=run_arguments.seed
            )
        if training.batches == "photos":
            rows = PhotoRows(triplets, run_arguments.seed)
            place = (accelerator.process_index, accelerator.num_processes)
            collate = PhotoCollate(processor, pixels, augmentation, training.title_weight > 0, *place)
        else:
            rows = TripletRows(triplets, run_arguments.seed)
            collate = Collate(processor, pixels, augmentation, rows.group_number)

        optimizer = make_optimizer(model, training)
        steps = training.epochs * max(1, len(rows) // training.batch_size)
        scheduler = make_scheduler(optimizer, training.schedule, training.warmup_fraction, steps)
        model, optimizer = accelerator.prepare(model, optimizer)
        plain_model = accelerator.unwrap_model(model)

        def loss_of(**embedded: Any) -> torch.Tensor:
            with accelerator.autocast():  # reaches the logits only with --official_half_precision_logits
                return stage1_loss(training, **embedded)

        def training_step(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
            if training.batches == "photos":
                loss = photo_batch_loss(model, training, batch)
                accelerator.backward(loss)
                return loss.detach()
            chunks = split_batch(batch, training.rows_per_chunk or len(batch["input_ids"]))
            return cached_step(model, chunks, embed, loss_of, accelerator=accelerator).loss

        best = tuple(training.best_metrics) or validation.default_best
        progress = fit(
            run,
            model,
            optimizer,
            scheduler,
            rows,
            collate,
            training.batch_size,
            training_step,
            Schedule(
                training.epochs,
                training.validation_frequency,
                best if training.save == "best" else (),
                save_every=training.save == "every",
                max_grad_norm=training.max_grad_norm,
            ),
            validate=lambda: validation.figures(plain_model),
            save_model=None if training.save == "none" else lambda path: save_model(plain_model, processor, path),
            before_epoch=model.train,
        )
        summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
    if run.is_main:
        print(json.dumps(summary))


if __name__ == "__main__":
    run_program(main)
