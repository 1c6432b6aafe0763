"""Train an outfit model: Bi-LSTM with or without its visual-semantic embedding, that embedding alone, or siamese.

    accelerate launch train/bilstm_train.py --config train/recipes/bilstm_train/modern.yaml --data_dir data/polyvore \\
        --vision_weights google/mobilenet_v2_1.0_224 --output_dir runs/outfits
    accelerate launch train/bilstm_train.py --config train/recipes/bilstm_train/official.yaml --data_dir data/polyvore \\
        --vision_weights inception_v3.ckpt --train_vision --output_dir runs/bilstm-2017
    accelerate launch train/bilstm_train.py --config train/recipes/bilstm_train/modern.yaml --data_dir data/polyvore \\
        --records data/tf_records --vision_weights google/mobilenet_v2_1.0_224 --output_dir runs/from-shards

The image network is frozen by default, and its features are computed once; --train_vision trains it with all else, as the
paper does. The first command takes minutes on a CPU; the second is the paper's setting (100,000 steps) and wants a GPU;
the third reads outfits and photos from the original's TFRecord shards.
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.bilstm_arguments import OutfitData, OutfitStart
from train.engine.run import RunArguments


@dataclasses.dataclass
class OutfitTraining:
    """How outfit models train. Defaults are the modern recipe's; official.yaml has the paper's."""

    epochs: int = argument(12, "passes over the training outfits", minimum=1)
    batch_size: int = argument(64, "outfits per step, over all processes", minimum=2)
    optimizer: Literal["adamw", "sgd"] = argument("adamw", "adamw, or plain sgd as the paper")
    learning_rate: float = argument(1e-3, "step size", above=0)
    weight_decay: float = argument(0.01, "decoupled weight decay of adamw", minimum=0)
    schedule: Literal["cosine", "staircase", "constant"] = argument(
        "cosine", "learning rate: half a cosine after a short rise, halved after every --decay_epochs, or constant"
    )
    warmup_fraction: float = argument(0.05, "part of the steps in which the cosine's rate rises", minimum=0, maximum=1)
    decay_epochs: float = argument(2.0, "staircase: epochs between two halvings", above=0)
    max_grad_norm: float = argument(5.0, "gradient clipping by the global norm", above=0)
    official_clipping: bool = argument(
        False, "as the original, take the norm of the word table's gradient before equal words are added up"
    )
    recurrent_dropout: float = argument(0.3, "of the recurrent networks' inputs and outputs", minimum=0, maximum=0.95)
    vse_factor: float = argument(1.0, "weight of the visual-semantic loss", minimum=0)
    forward_factor: float = argument(1.0, "weight of the forward loss", minimum=0)
    backward_factor: float = argument(1.0, "weight of the backward loss", minimum=0)
    train_vision: bool = argument(False, "train the image network too, with its batch norm")
    vision_weight_decay: float = argument(
        4e-5, "--train_vision with Inception: factor on half the squared kernels in the loss, as the paper", minimum=0
    )
    flip: float = argument(0.5, "--train_vision: probability of mirroring a picture", minimum=0, maximum=1)
    validation_frequency: int = argument(1, "validate every so many epochs", minimum=1)
    save: Literal["best", "last", "every", "none"] = argument(
        "best", "which models to keep: the best by --best_metrics, the last, every validated one, or none"
    )
    best_metrics: list[str] = argument(["fill_in_blank_accuracy"], "figures to choose the best model by")
    official_end_columns: bool = argument(False, "as the original, one end column for every outfit of the batch")
    official_siamese_pairs: bool = argument(False, "as the original, count filled-up places and an item with itself")
    official_identities: bool = argument(False, "as the original, a product in two outfits is a wrong answer of itself")

    def __post_init__(self) -> None:
        if self.official_clipping and self.train_vision is False and self.optimizer != "sgd":
            raise ValueError("--official_clipping belongs to --optimizer sgd")


def make_optimizer(model: Any, training: OutfitTraining) -> Any:
    """Plain SGD, or AdamW without decay for biases and word tables."""
    import torch

    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if training.optimizer == "sgd":
        return torch.optim.SGD([p for _, p in trained], lr=training.learning_rate)
    free = [p for name, p in trained if name.endswith("bias") or "word_embedding" in name]
    kept = {id(p) for p in free}
    groups = [
        {"params": free, "weight_decay": 0.0},
        {"params": [p for _, p in trained if id(p) not in kept], "weight_decay": training.weight_decay},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=training.learning_rate)


def make_scheduler(optimizer: Any, training: OutfitTraining, steps_per_epoch: int) -> Any:
    """The learning rate of every step; None for a constant one."""
    from torch.optim.lr_scheduler import LambdaLR

    from train.engine.loop import make_scheduler as transformers_scheduler
    from train.engine.outfit_optimizer import staircase

    if training.schedule == "constant":
        return None
    if training.schedule == "cosine":
        return transformers_scheduler(optimizer, "cosine", training.warmup_fraction, training.epochs * steps_per_epoch)
    every = max(1, int(steps_per_epoch * training.decay_epochs))
    return LambdaLR(optimizer, lambda step: staircase(step, every))


def main() -> None:
    start, data, training, run_arguments = parse_arguments(
        OutfitStart, OutfitData, OutfitTraining, RunArguments, description=__doc__
    )
    from train.engine.adapters import save_model
    from train.engine.bilstm import bank_of, freeze_untrained, question_figures, starting_model, whole_batch_loss
    from train.engine.loop import Schedule, fit
    from train.engine.outfit_optimizer import clip_by, gradient_norm
    from train.engine.outfits import (
        OutfitCollate,
        OutfitRows,
        load_outfits,
        load_questions,
        pooled_features,
        unknown_word_note,
        vocabulary_of,
    )
    from train.engine.run import Run

    photos = start.item_inputs != "text"
    with Run(run_arguments, start, data, training) as run:
        accelerator = run.accelerator
        with accelerator.main_process_first():
            outfits, validation = (load_outfits(data, s, photos) for s in (data.train_split, data.validation_split))
            questions = load_questions(data, data.validation_split, data.questions, photos, validation)
        options = {
            name: getattr(training, name)
            for name in ("recurrent_dropout", "vse_factor", "forward_factor", "backward_factor")
        }
        options |= {name: getattr(training, name) for name in ("official_end_columns", "official_siamese_pairs")}
        model, processor = starting_model(start, vocabulary_of(data, outfits), **options)
        model.config.train_batch_norm = training.train_vision
        freeze_untrained(model, training.train_vision)
        texts = model.config.variant in ("bilstm", "vse") or model.config.item_inputs != "image"
        if texts and (note := unknown_word_note(processor, outfits.texts)):
            run.print(note)
        longer = sum(len(items) > model.config.max_items for items in outfits.outfits)
        if longer:
            run.print(f"{longer} of {len(outfits)} outfits are cut to --max_items {model.config.max_items}")
        model = model.to(accelerator.device)
        cache = data.feature_cache or run.folder / "cache"

        def features_of(of: Any) -> Any:
            from pathlib import Path

            with accelerator.local_main_process_first():
                return pooled_features(model, processor, of, Path(cache), data.feature_batch)

        frozen = photos and not training.train_vision
        features = features_of(outfits) if frozen else None
        validation_features = features_of(validation) if frozen else None
        rows = OutfitRows(outfits)
        flip = training.flip if training.train_vision else 0.0
        collate = OutfitCollate(outfits, processor, features, model.config.max_items, texts, flip, run_arguments.seed)

        optimizer = make_optimizer(model, training)
        scheduler = make_scheduler(optimizer, training, max(1, len(rows) // training.batch_size))
        model, optimizer = accelerator.prepare(model, optimizer)
        plain_model = accelerator.unwrap_model(model)

        def training_step(batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
            identities = None if training.official_identities else batch.pop("identities")
            batch.pop("identities", None)
            output = model(**batch, return_loss=False)
            if training.official_clipping and output.text_embeds is not None:
                output.text_embeds.retain_grad()
            embeds, words = output.text_embeds, batch.get("attention_mask")
            with accelerator.autocast():
                output = whole_batch_loss(plain_model, output, batch | {"identities": identities})
                loss = output.loss
                if training.train_vision and plain_model.config.has_inception and training.vision_weight_decay:
                    loss = loss + training.vision_weight_decay * plain_model.vision_model.convolution_penalty()
            accelerator.backward(loss)
            record = {
                name: float(output[name].detach())
                for name in ("vse_loss", "forward_loss", "backward_loss", "siamese_loss")
                if output.get(name) is not None
            }
            if training.official_clipping:
                norm = gradient_norm(plain_model.named_parameters(), embeds, words)
                clip_by(plain_model.parameters(), norm, training.max_grad_norm)
                record["grad_norm"] = float(norm)
            return loss.detach(), record

        def validate() -> dict[str, float]:
            modes = [(module, module.training) for module in plain_model.modules()]
            given = features_of(validation) if photos and validation_features is None else validation_features
            try:
                bank = bank_of(plain_model, processor, validation, given)
                return question_figures(plain_model, bank, questions)[0]
            finally:
                for module, mode in modes:
                    module.training = mode

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
                max_grad_norm=None if training.official_clipping else training.max_grad_norm,
            ),
            validate=validate,
            save_model=None if training.save == "none" else lambda path: save_model(plain_model, processor, path),
            before_epoch=model.train,
        )
        summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
    if run.is_main:
        print(json.dumps(summary))


if __name__ == "__main__":
    run_program(main)
