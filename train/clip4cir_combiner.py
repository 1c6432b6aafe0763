"""Stage 2 of CLIP4Cir: train the Combiner on the frozen encoders of stage 1.

The encoders' features are computed once and kept in a feature bank, so an epoch costs the Combiner alone; --online
encodes pictures and texts again in every step, as the original does (arXiv 2308.11485, section 3.2).

    accelerate launch train/clip4cir_combiner.py --config train/recipes/clip4cir_combiner/fashioniq.yaml \\
        --model runs/stage1/model --data_dir fashionIQ_dataset --output_dir runs/stage2

    accelerate launch train/clip4cir_combiner.py --config train/recipes/clip4cir_combiner/atelier.yaml \\
        --model runs/stage1/model --data_dir data/atelier --output_dir runs/stage2
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.clip4cir import BackboneArguments
from train.engine.run import RunArguments
from train.engine.triplets import DataArguments


@dataclasses.dataclass
class CombinerArguments:
    """How stage 2 trains. Defaults are the paper's."""

    projection_dim: int | None = argument(None, "P of the Combiner; default: 4 times the feature size", minimum=1)
    hidden_dim: int | None = argument(None, "H of the Combiner; default: 8 times the feature size", minimum=1)
    dropout: float = argument(0.5, "probability of the Combiner's four dropouts", minimum=0, maximum=0.99)
    epochs: int = argument(300, "passes over the training triplets", minimum=1)
    batch_size: int = argument(4096, "triplets per step, over all processes", minimum=2)
    learning_rate: float = argument(2e-5, "step size", above=0)
    weight_decay: float = argument(0.0, "decoupled weight decay (0 is the original's Adam)", minimum=0)
    schedule: Literal["constant", "cosine"] = argument("constant", "learning rate over time")
    warmup_fraction: float = argument(0.0, "part of the steps in which the learning rate rises", minimum=0, maximum=1)
    max_grad_norm: float | None = argument(None, "gradient clipping; default: none", above=0)
    logit_scale: float = argument(100.0, "constant that multiplies the cosines", above=0)
    label_smoothing: float = argument(0.0, "label smoothing of the loss", minimum=0, maximum=0.99)
    gallery_negatives: int = argument(
        0, "training pictures, drawn anew for every step and process, that are answers too (bank only)", minimum=0
    )
    leave_out_reference: bool = argument(
        False,
        "with --gallery_negatives, leave a query's own reference out: for protocols that remove it from the ranking",
    )
    official_false_negatives: bool = argument(
        False, "as the original, count another query's equal target as a wrong answer"
    )
    official_half_precision_logits: bool = argument(False, "compute the logits in the autocast type, as the original")
    online: bool = argument(False, "encode in every step, as the original, instead of reading the feature bank")
    clip_batch_size: int = argument(32, "pictures per call of the frozen encoders", minimum=1)
    bank: str | None = argument(None, "folder of the feature bank; default: inside --output_dir")
    validation_frequency: int = argument(3, "validate every so many epochs", minimum=1)
    save: Literal["best", "last", "every", "none"] = argument(
        "best", "which models to keep: the best by --best_metrics, the last, every validated one, or none"
    )
    best_metrics: list[str] = argument(
        [], "figures to choose the best model by, one folder each; default: the data set's as in the original"
    )

    def __post_init__(self) -> None:
        if self.gallery_negatives and self.online:
            raise ValueError("--gallery_negatives come from the feature bank; leave out --online")
        if self.gallery_negatives and (self.label_smoothing or self.official_half_precision_logits):
            raise ValueError("--gallery_negatives goes with neither --label_smoothing nor half-precision logits")
        if self.leave_out_reference and not self.gallery_negatives:
            raise ValueError("--leave_out_reference goes with --gallery_negatives")


def add_combiner(model: Any, arguments: CombinerArguments) -> Any:
    """A model with the encoders of `model`, frozen, and a new Combiner."""
    from modeling.clip4cir import CLIP4CirModel

    config = type(model.config).from_dict(
        {
            **model.config.to_dict(),
            "combiner_type": "combiner",
            "combiner_projection_dim": arguments.projection_dim,
            "combiner_hidden_dim": arguments.hidden_dim,
            "combiner_dropout": arguments.dropout,
            "logit_scale_value": arguments.logit_scale,
            "train_batch_norm": False,
        }
    )
    combined = CLIP4CirModel(config)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("combiner.")}
    combined.load_state_dict(weights, strict=False)
    combined.requires_grad_(False)
    combined.combiner.requires_grad_(True)
    return combined


def make_optimizer(model: Any, arguments: CombinerArguments) -> Any:
    """Adam over the Combiner, as the original; AdamW when weight decay is asked for."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    if arguments.weight_decay:
        return torch.optim.AdamW(trained, lr=arguments.learning_rate, weight_decay=arguments.weight_decay)
    return torch.optim.Adam(trained, lr=arguments.learning_rate)


def stage2_loss(combiner: Any, arguments: CombinerArguments, batch: dict[str, Any]) -> Any:
    """Loss of a batch of raw features, negatives from all processes.

    Args:
        combiner: the Combiner, wrapped by DDP or not: the only part that trains, so the only part that is wrapped and
            that checkpoints hold.
        batch: image_features, text_features, target_features (rows, dim), target_group (rows,), and optionally
            gallery_features (m, dim) with gallery_group (m,) and the image numbers gallery_image (m,),
            reference_image and target_image (rows,).
    """
    import torch
    from torch.nn import functional as F

    from train.engine.gather import gather_rows_no_grad
    from train.engine.losses import query_target_loss
    from train.engine.matching_loss import matching_loss

    query_embeds = combiner(batch["image_features"], batch["text_features"])
    target_embeds = F.normalize(batch["target_features"], dim=-1)
    if "gallery_features" not in batch:
        return query_target_loss(
            query_embeds,
            target_embeds,
            arguments.logit_scale,
            target_ids=None if arguments.official_false_negatives else batch["target_group"],
            label_smoothing=arguments.label_smoothing,
            half_precision_logits=arguments.official_half_precision_logits,
        )
    gallery = F.normalize(batch["gallery_features"], dim=-1)
    columns = gather_rows_no_grad(torch.cat([target_embeds, gallery]))  # frozen features: no gradient to keep
    column_group = gather_rows_no_grad(torch.cat([batch["target_group"], batch["gallery_group"]]))
    column_image = gather_rows_no_grad(torch.cat([batch["target_image"], batch["gallery_image"]]))
    own = batch["reference_image"][:, None] == column_image
    positive = (batch["target_group"][:, None] == column_group) & ~own
    ignored = own if arguments.leave_out_reference else torch.zeros_like(own)
    return matching_loss(query_embeds, columns, positive, ignored, arguments.logit_scale)


class BankCollate:
    """From rows to stored features."""

    def __init__(self, bank: Any, group_number: dict[str, int], gallery_negatives: int, seed: int) -> None:
        self.bank, self.group_number, self.seed = bank, group_number, seed
        self.image_number = {image: number for number, image in enumerate(bank.image_ids)}
        self.gallery_negatives = min(gallery_negatives, len(bank.image_ids))

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        from train.engine.batches import row_generator

        references, targets = [r["reference_id"] for r in rows], [r["target_id"] for r in rows]
        batch = {
            "image_features": self.bank.images(references),
            "text_features": self.bank.texts([r["row"] for r in rows], [r["form"] for r in rows]),
            "target_features": self.bank.images(targets),
            "target_group": torch.tensor([r["group"] for r in rows]),
        }
        if self.gallery_negatives:
            draw = row_generator(self.seed + 1, rows[0]["epoch"], rows[0]["row"])
            chosen = torch.randperm(len(self.bank.image_ids), generator=draw)[: self.gallery_negatives]
            ids = [self.bank.image_ids[i] for i in chosen.tolist()]
            batch["gallery_features"] = self.bank.images(ids)
            batch["gallery_group"] = torch.tensor([self.group_number[i] for i in ids])
            batch["gallery_image"] = chosen
            batch["reference_image"] = torch.tensor([self.image_number[i] for i in references])
            batch["target_image"] = torch.tensor([self.image_number[i] for i in targets])
        return batch


class OnlineCollate:
    """From rows to pictures and texts, decoded again in every step."""

    def __init__(self, processor: Any, images: dict[str, Any], group_number: dict[str, int]) -> None:
        self.processor, self.images, self.group_number = processor, images, group_number

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        from data_scripts.images import open_image

        def pictures(name: str) -> list[Any]:
            return [open_image(self.images[r[name]]) for r in rows]

        batch = self.processor(
            images=pictures("reference_id"),
            text=[r["text"] for r in rows],
            target_images=pictures("target_id"),
            return_tensors="pt",
        )
        return {**batch, "target_group": torch.tensor([r["group"] for r in rows])}


def encode_online(model: Any, batch: dict[str, Any], rows_at_once: int) -> dict[str, Any]:
    """Raw features of a batch of pictures and texts, the frozen encoders called on `rows_at_once` at a time."""
    import torch

    with torch.no_grad():
        ids, mask = batch["input_ids"].split(rows_at_once), batch["attention_mask"].split(rows_at_once)
        return {
            "image_features": torch.cat(
                [model.get_image_features(p) for p in batch["pixel_values"].split(rows_at_once)]
            ),
            "text_features": torch.cat([model.get_text_features(i, m) for i, m in zip(ids, mask, strict=True)]),
            "target_features": torch.cat(
                [model.get_image_features(p) for p in batch["target_pixel_values"].split(rows_at_once)]
            ),
            "target_group": batch["target_group"],
        }


def main() -> None:
    backbone, data, training, run_arguments = parse_arguments(
        BackboneArguments, DataArguments, CombinerArguments, RunArguments, description=__doc__
    )
    import torch

    from train.engine.adapters import save_model
    from train.engine.clip4cir import starting_model
    from train.engine.feature_bank import FeatureBank
    from train.engine.loop import Schedule, fit, make_scheduler
    from train.engine.run import Run
    from train.engine.triplets import TripletRows, caption_texts, load_triplets
    from train.engine.validation import ComposedValidation

    with Run(run_arguments, backbone, data, training) as run:
        accelerator = run.accelerator
        triplets = load_triplets(data, data.train_split, gallery=training.gallery_negatives > 0)
        forms = [caption_texts(captions) for captions in triplets.captions]
        model, processor = starting_model(backbone, [text for texts in forms for text in texts])
        model = add_combiner(model, training).to(accelerator.device).eval()
        cache = data.pixel_cache or run.folder / "cache"
        validation = ComposedValidation(data, processor, cache)
        validation.freeze_encoders(model)
        rows = TripletRows(triplets, run_arguments.seed)
        if training.online:
            collate = OnlineCollate(processor, triplets.images, rows.group_number)
        else:
            bank = FeatureBank.build(
                training.bank or run.folder / "bank",
                model,
                processor,
                triplets.images,
                forms,
                batch_size=training.clip_batch_size,
            )
            collate = BankCollate(bank, rows.group_number, training.gallery_negatives, run_arguments.seed)

        optimizer = make_optimizer(model, training)
        steps = training.epochs * max(1, len(rows) // training.batch_size)
        scheduler = make_scheduler(optimizer, training.schedule, training.warmup_fraction, steps)
        combiner, optimizer = accelerator.prepare(model.combiner, optimizer)

        def training_step(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
            if training.online:
                batch = encode_online(model, batch, training.clip_batch_size)
            with accelerator.autocast():  # reaches the logits only with --official_half_precision_logits
                loss = stage2_loss(combiner, training, batch)
            accelerator.backward(loss)
            return loss.detach()

        best = tuple(training.best_metrics) or validation.default_best
        progress = fit(
            run,
            combiner,
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
            validate=lambda: validation.figures(model),
            save_model=None if training.save == "none" else lambda path: save_model(model, processor, path),
            before_epoch=model.combiner.train,
        )
        summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
    if run.is_main:
        print(json.dumps(summary))


if __name__ == "__main__":
    run_program(main)
