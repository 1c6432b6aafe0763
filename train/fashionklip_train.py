"""Train FashionKLIP: captions against images, and the concepts of captions against the images that stand for them.

    accelerate launch train/fashionklip_train.py --config train/recipes/fashionklip_train/fashiongen.yaml \\
        --data_dir data/fashionklip --clip_checkpoint pai-clip-commercial-base-en.pt --output_dir runs/klip

    python train/fashionklip_graph.py --data_dir data/my_shop --output_dir data/my_graph
    accelerate launch train/fashionklip_train.py --config train/recipes/fashionklip_train/myntra_mobilenet.yaml \\
        --data_dir data/my_shop --graph data/my_graph --vision_weights mobilenet_v2 --output_dir runs/klip

The first is the paper's setting (ACL 2023 Industry, section 4): ViT-B/32, batch 32 per GPU, 20 epochs; it wants one GPU of
16 GB. The second runs on a CPU. `--concepts none` is plain CLIP training.
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.fashionklip_arguments import PairArguments, StartArguments
from train.engine.run import RunArguments


@dataclasses.dataclass
class KlipArguments:
    """How FashionKLIP trains. Defaults are the published command's, repaired."""

    epochs: int = argument(20, "passes over the training pairs", minimum=1)
    batch_size: int = argument(32, "pairs per step, over all processes", minimum=2)
    eval_batch_size: int = argument(256, "pictures or prompts per forward pass when prototypes are chosen", minimum=1)
    learning_rate: float = argument(1e-5, "step size of AdamW", above=0)
    vision_learning_rate: float | None = argument(
        None, "other step size for the image tower (without its projection)", minimum=0
    )
    weight_decay: float = argument(0.001, "decoupled weight decay, on all but norms, biases and logit scale", minimum=0)
    beta1: float = argument(0.9, "AdamW", minimum=0, maximum=1)
    beta2: float = argument(0.98, "AdamW", minimum=0, maximum=1)
    adam_epsilon: float = argument(1e-6, "AdamW", above=0)
    warmup: int = argument(500, "steps in which the learning rate rises; then half a cosine", minimum=0)
    max_grad_norm: float | None = argument(None, "gradient clipping; default: none", above=0)
    max_logit_scale: float = argument(100.0, "largest factor on the cosines; it is learned below that", minimum=1)
    freeze: list[str] = argument([], "freeze the parameters whose names begin like one of these")
    train_batch_norm: bool = argument(False, "let batch norm learn its statistics (needed from random weights)")
    gradient_checkpointing: bool = argument(False, "recompute activations in the backward pass")
    flip: float = argument(0.0, "probability of mirroring a training picture", minimum=0, maximum=1)
    min_crop_area: float = argument(1.0, "smallest part of a picture that a random crop keeps", minimum=0.01, maximum=1)
    shift: float = argument(0.0, "largest random shift as a part of the picture's side", minimum=0, maximum=0.5)
    word_dropout: float = argument(
        0.0, "probability that a word of a training caption is left out", minimum=0, maximum=0.9
    )
    lora: bool = argument(False, "train low-rank adapters (and nothing else) instead of all weights")
    lora_rank: int = argument(16, "rank of the adapters", minimum=1)
    lora_alpha: float = argument(32, "scale of the adapters", above=0)
    lora_targets: list[str] = argument(["q_proj", "v_proj"], "layers that get an adapter")
    validation_frequency: int = argument(1, "validate every so many epochs", minimum=1)
    save: Literal["best", "last", "every", "none"] = argument(
        "best", "which models to keep: the best by --best_metrics, the last, every validated one, or none"
    )
    best_metrics: list[str] = argument(["mean_recall"], "figures to choose the best model by, one folder each")
    official_false_negatives: bool = argument(False, "as the original, an equal caption's image is a wrong answer")
    official_gather: bool = argument(
        False,
        "as the original, no gradient through the rows of other processes (1/W of the gradient); goes with "
        "--official_false_negatives",
    )

    def __post_init__(self) -> None:
        if self.official_gather and not self.official_false_negatives:
            raise ValueError("--official_gather knows no equal captions: give --official_false_negatives too")


@dataclasses.dataclass
class ConceptArguments:
    """How concepts take part."""

    concepts: Literal["both", "data", "none"] = argument(
        "both", "whose concepts: the data's and the knowledge base's, the data's alone (as the original), or none"
    )
    concept_target: Literal["prototypes", "images"] = argument(
        "prototypes",
        "what a concept is compared with: prototype images, chosen anew every epoch (the paper; trains the text tower), "
        "or the batch's own images that carry it (trains both towers, needs no pool)",
    )
    concept_weight: float | None = argument(
        None, "weight of the concept loss beside the caption loss; default: balanced as the original", minimum=0
    )
    concept_logit_scale: float | None = argument(
        None, "factor on the cosines of concepts; default: the captions' learned one", above=0
    )
    slots: int = argument(5, "concepts per caption and list", minimum=1)
    hypernym_depth: int = argument(2, "generations of fathers that fill up a short list", minimum=0)
    prototypes: int = argument(10, "images that stand for a concept", minimum=1)
    candidates: int = argument(20, "most similar images that they are chosen from", minimum=1)
    diversity: float = argument(0.8, "weight of being different when they are chosen", minimum=0, maximum=1)
    ranks: int = argument(5, "prototypes of a concept that a step uses: the nearest to the caption's image", minimum=1)
    prototype_frequency: int = argument(1, "choose prototypes every so many epochs", minimum=1)
    caption_only_epochs: int = argument(
        0, "first epochs without concepts (the original's --is-finetune-only: 10)", minimum=0
    )
    official_concept_loss: bool = argument(
        False,
        "as the original: mixed-up pairs of slot and rank, nan for empty slots, empty and equal concepts as wrong",
    )
    official_lambda: bool = argument(False, "as the original, let the balance train captions backwards")
    official_slots: bool = argument(
        False, "as the original: swapped father files, lists that change while they are read (cannot be resumed)"
    )
    official_sharded_search: bool = argument(
        False, "as the original with several processes: each looks for prototypes in its own part of the pool"
    )

    def __post_init__(self) -> None:
        if self.candidates < self.prototypes:
            raise ValueError(f"--candidates {self.candidates} is below --prototypes {self.prototypes}")
        if self.official_slots and self.slots != 5:
            raise ValueError("--official_slots fills five slots; leave --slots at 5")
        width = self.slots * (2 if self.concepts == "both" else 1)
        if self.official_concept_loss and self.concepts != "none":
            if self.concept_target != "prototypes":
                raise ValueError("--official_concept_loss compares with prototypes; leave --concept_target at that")
            if width != min(self.ranks, self.prototypes):
                raise ValueError(
                    f"--official_concept_loss mixes up slots and ranks and needs as many of both: there are {width} slots and "
                    f"{min(self.ranks, self.prototypes)} ranks. The original has five: --concepts data --slots 5 --ranks 5"
                )


def make_optimizer(model: Any, arguments: KlipArguments) -> Any:
    """AdamW; norms, biases and logit scale without decay."""
    import torch

    from train.engine.fashionklip import parameter_groups

    groups = parameter_groups(model, arguments.weight_decay)
    if arguments.vision_learning_rate is not None:
        tower = {id(p) for n, p in model.named_parameters() if "vision_model." in n}
        apart = []
        for group in groups:
            for inside in (False, True):
                chosen = [p for p in group["params"] if (id(p) in tower) == inside]
                rate = arguments.vision_learning_rate if inside else arguments.learning_rate
                apart.append({**group, "params": chosen, "lr": rate})
        groups = apart
    betas = (arguments.beta1, arguments.beta2)
    chosen = [group for group in groups if group["params"]]
    return torch.optim.AdamW(chosen, lr=arguments.learning_rate, betas=betas, eps=arguments.adam_epsilon)


def make_scheduler(optimizer: Any, arguments: KlipArguments, total_steps: int) -> Any:
    """The learning rate of every step, see `warmup_cosine`."""
    from torch.optim.lr_scheduler import LambdaLR

    from train.engine.fashionklip import warmup_cosine

    return LambdaLR(optimizer, lambda step: warmup_cosine(step, arguments.warmup, total_steps))


def clamp_logit_scale(model: Any, largest: float) -> None:
    """Keep the factor on the cosines between 1 and `largest`; called after every optimizer step."""
    import math

    model.logit_scale.data.clamp_(0, math.log(largest))


def step_loss(
    output: Any,
    scale: Any,
    batch: dict[str, Any],
    training: KlipArguments,
    concepts: ConceptArguments,
    prototypes: Any = None,
) -> tuple[Any, dict[str, float]]:
    """Loss of one batch, and its parts for the log.

    Args:
        output: of the model's forward pass over `batch`.
        scale: exp(logit_scale), with gradient.
        batch: as `PairCollate` makes it.
        training, concepts: arguments.
        prototypes: (n, K, P, D) prototypes of the batch's concepts; None for an epoch of captions alone, or with
            `concept_target` images.
    """
    from train.engine import concept_loss as losses

    groups = None if training.official_false_negatives else batch["group"]
    caption = losses.caption_loss(
        output.image_embeds, output.text_embeds, scale, groups, official_gather=training.official_gather
    )
    if output.concept_embeds is None:
        return caption, {"caption_loss": float(caption.detach())}
    factor = concepts.concept_logit_scale or scale
    record = {}
    if concepts.concept_target == "images":
        numbers = batch["concept_number"]
        concept = losses.concept_image_loss(
            output.image_embeds, output.concept_embeds, batch["prompt_number"], numbers, factor
        )
    else:
        terms = losses.concept_prototype_loss(
            output.image_embeds,
            output.concept_embeds[batch["concept_place"]].transpose(0, 1),
            batch["concept_number"],
            prototypes,
            factor,
            ranks=concepts.ranks,
            rules=losses.OFFICIAL if concepts.official_concept_loss else None,
            official_gather=training.official_gather,
        )
        concept, record["active_slots"] = terms.loss, terms.active_slots
    loss, share = losses.combined_loss(
        caption, concept, concepts.concept_weight, official_lambda=concepts.official_lambda
    )
    record |= {"caption_loss": float(caption.detach()), "concept_loss": float(concept.detach())}
    return loss, record | {"concept_share": float(share)}


def main() -> None:
    start, data, training, concepts, run_arguments = parse_arguments(
        StartArguments, PairArguments, KlipArguments, ConceptArguments, RunArguments, description=__doc__
    )
    from train.engine.adapters import add_adapters, save_base, save_model
    from train.engine.caption_pairs import PairRows, load_concepts, load_pairs, open_pixels
    from train.engine.clip4cir import freeze
    from train.engine.fashionklip import (
        EpochPrototypes,
        PairCollate,
        PairValidation,
        Slots,
        choose_prototypes,
        starting_model,
    )
    from train.engine.images import Augmentation
    from train.engine.loop import Schedule, fit
    from train.engine.run import Run

    use_concepts = concepts.concepts != "none"
    if concepts.official_slots and (run_arguments.resume or run_arguments.num_workers):
        raise ValueError(
            "--official_slots: lists that change while they are read allow neither --resume nor --num_workers"
        )
    with Run(run_arguments, start, data, training, concepts) as run:
        accelerator = run.accelerator
        with accelerator.main_process_first():
            pairs, validation_pairs = (load_pairs(data, split) for split in ("train", "validation"))
        model, processor = starting_model(start, pairs.texts)
        model.config.train_batch_norm = training.train_batch_norm
        if training.gradient_checkpointing:
            model.activation_checkpointing_enable()
        freeze(model, training.freeze)
        if training.lora:
            if not start.model:  # an adapter needs a base that can be loaded again
                save_base(run, model, processor)
            model = add_adapters(model, training.lora_targets, training.lora_rank, training.lora_alpha)
        cache = data.pixel_cache or run.folder / "cache"
        with accelerator.local_main_process_first():
            pairs.open_pixels(cache, processor.image_processor, "train")
            validation_pairs.open_pixels(cache, processor.image_processor, "validation")
        augmentation = None
        if training.flip or training.shift or training.min_crop_area < 1:
            augmentation = Augmentation(
                flip=training.flip, shift=training.shift, min_area=training.min_crop_area, seed=run_arguments.seed
            )

        slots, table, width = None, None, 0
        if use_concepts:
            table = load_concepts(data, pairs)
            both = concepts.concepts == "both"
            slots = Slots(
                pairs, table.data, table.kb, concepts.slots, both, concepts.hypernym_depth, concepts.official_slots
            )
            width = concepts.slots * (2 if both else 1)
            coverage = slots.coverage()
            run.print(
                f"{len(table.data.prompts)} + {len(table.kb.prompts)} concepts; {coverage['with_concepts']:.1%} of the pairs "
                f"have one, {coverage['concepts_per_pair']:.1f} on average; pool of {len(table.pool_ids)} images"
            )
            if not coverage["with_concepts"]:
                raise ValueError(
                    "no training caption has a concept of the graph: it was made from other texts. Make one from these "
                    "with train/fashionklip_graph.py, or train without (--concepts none)"
                )
            if concepts.concept_target == "prototypes" and table.pool_pixels is None:
                table.pool_pixels = open_pixels(table.pool_sources, cache, processor.image_processor, "pool")
        rows = PairRows(pairs, slots, training.word_dropout, run_arguments.seed)
        collate = PairCollate(processor, pairs.pixels, augmentation, width)
        validation = PairValidation(validation_pairs, processor, training.batch_size)

        optimizer = make_optimizer(model, training)
        steps = training.epochs * max(1, len(rows) // training.batch_size)
        scheduler = make_scheduler(optimizer, training, steps)
        model, optimizer = accelerator.prepare(model, optimizer)
        plain_model = accelerator.unwrap_model(model)

        def choose() -> tuple[Any, Any]:
            modes = [(module, module.training) for module in plain_model.modules()]
            plain_model.eval()
            shards = accelerator.num_processes if concepts.official_sharded_search else 1
            used = table.data.prompts + (table.kb.prompts if concepts.concepts == "both" else [])
            numbers = {name: getattr(concepts, name) for name in ("candidates", "prototypes", "diversity")}
            try:
                return choose_prototypes(
                    plain_model,
                    processor,
                    used,
                    table.pool_pixels,
                    table.pool_ids,
                    training.eval_batch_size,
                    shards,
                    **numbers,
                )
            finally:
                for module, mode in modes:
                    module.training = mode

        prototypes = EpochPrototypes(choose) if use_concepts and concepts.concept_target == "prototypes" else None
        if prototypes:
            accelerator.register_for_checkpointing(prototypes)

        def before_epoch() -> None:
            if prototypes and rows.epoch >= concepts.caption_only_epochs:
                since = rows.epoch - concepts.caption_only_epochs
                prototypes.refresh(rows.epoch - since % concepts.prototype_frequency)
            model.train()

        def training_step(batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
            active = use_concepts and rows.epoch >= concepts.caption_only_epochs
            names = ("pixel_values", "input_ids", "attention_mask")
            names += ("concept_input_ids", "concept_attention_mask") if active else ()
            output = model(**{name: batch[name] for name in names})
            chosen = prototypes.lookup(batch["concept_number"]) if active and prototypes else None
            with accelerator.autocast():
                loss, record = step_loss(output, plain_model.logit_scale.exp(), batch, training, concepts, chosen)
            accelerator.backward(loss)
            return loss.detach(), record | {"logit_scale": float(plain_model.logit_scale.detach().exp())}

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
                tuple(training.best_metrics) if training.save == "best" else (),
                save_every=training.save == "every",
                max_grad_norm=training.max_grad_norm,
            ),
            validate=lambda: validation.figures(plain_model),
            save_model=None if training.save == "none" else lambda path: save_model(plain_model, processor, path),
            before_epoch=before_epoch,
            after_step=lambda: clamp_logit_scale(plain_model, training.max_logit_scale),
        )
        summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
    if run.is_main:
        print(json.dumps(summary))


if __name__ == "__main__":
    run_program(main)
