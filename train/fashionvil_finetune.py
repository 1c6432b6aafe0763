"""Fine-tune FashionViL on one of its five downstream tasks, and validate as it goes.

    accelerate launch train/fashionvil_finetune.py --task retrieval --model runs/vil/model --data_dir datasets \\
        --config train/recipes/fashionvil_finetune/retrieval.yaml --output_dir runs/vil-retrieval

Tasks: retrieval (pictures and texts, FashionGen), composition (picture and change of text ask for a picture, FashionIQ),
category and subcategory (FashionGen), outfits (the item that is missing, Polyvore Outfits). --model is a pre-trained
FashionViL, whose image encoder and transformer are taken; --vision_weights and --text_weights start without pre-training.
--validate_only evaluates --model on the validation split and trains nothing. hits.npz keeps the hits of every query of the
last validation: group of queries -> (queries, cut-offs). train/evaluation.py gives intervals and what train/compare.py reads.
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.fashionvil_arguments import ViLOptimizer, ViLStart
from train.engine.run import RunArguments

DATASETS = {
    "retrieval": ("fashiongen", "fashion200k", "polyvore_outfits", "catalogue"),
    "composition": ("fashioniq", "cirr", "catalogue"),
    "category": ("fashiongen", "catalogue"),
    "subcategory": ("fashiongen", "catalogue"),
    "outfits": ("polyvore_outfits", "polyvore"),
}


@dataclasses.dataclass
class TaskData:
    """Which data."""

    data_dir: str = argument(help="folder with the data set's tree (see data_scripts/<dataset>.py)")
    dataset: (
        Literal["fashiongen", "fashion200k", "catalogue", "fashioniq", "cirr", "polyvore_outfits", "polyvore"] | None
    ) = argument(None, "layout of --data_dir; default: the one that the task is published on")
    train_split: str = argument("train", "split to train on")
    validation_split: str | None = argument(None, "split to validate on; default: the data set's own")
    protocol: str | None = argument(
        None, "of the validation: fashioniq/original-split, fashioniq/val-split, polyvore-outfits/ocir-official, ..."
    )
    disjoint: bool = argument(True, "polyvore_outfits: the disjoint version")
    questions: str | None = argument(None, "polyvore: which blanks validate, e.g. typed; default: the official ones")
    max_length: int | None = argument(None, "tokens of a text; default: 75, for changes of FashionIQ 50", minimum=3)
    missing_images: Literal["error", "skip"] = argument(
        "error", "stop at missing pictures, or leave their rows out and count them"
    )
    pixel_cache: str | None = argument(
        None, "folder for decoded pictures, shared by runs of one data set; default: inside --output_dir"
    )


@dataclasses.dataclass
class TaskTraining:
    """How the task trains."""

    task: Literal["retrieval", "composition", "category", "subcategory", "outfits"] = argument(help="downstream task")
    steps: int = argument(10_000, "optimizer steps", minimum=1)
    validate_only: bool = argument(False, "validate --model as it is, and train nothing")
    transfer_scale: bool = argument(
        False, "take the scale of features from --model too; the original begins anew with 4"
    )
    augment: bool = argument(True, "random crops and mirror images")
    flip: float = argument(0.5, "probability of a mirror image", minimum=0, maximum=1)
    validation_steps: int = argument(1000, "validate every so many steps", minimum=1)
    save: Literal["best", "last", "every", "none"] = argument(
        "best", "which models to keep: the best by the task's own figure, the last, every validated one, or none"
    )
    outfit_loss: Literal["contrastive", "triplet"] = argument(
        "contrastive",
        "outfits: other targets of the batch as wrong answers (the original), or one of the same category",
    )
    outfit_embedding_dim: int = argument(256, "outfits: size of an item's embedding", minimum=1)
    official_outfits: bool = argument(
        False,
        "outfits, as the original: pairs drawn once and with repeats, last stage frozen, targets without subspaces",
    )
    official_false_negatives: bool = argument(
        False, "as the original, a row with the same text or target is a wrong answer"
    )

    def __post_init__(self) -> None:
        if self.official_outfits and self.outfit_loss == "triplet":
            raise ValueError("--official_outfits trains with the contrastive loss; its triplet loss never ran")


def check_task(data: TaskData, training: TaskTraining) -> None:
    """Refuse a data set or a protocol that isn't the task's.

    Raises:
        ValueError: names those that are.
    """
    from train.engine.validation import BEST_METRICS
    from train.retrieval.ocir_protocols import OCIR_PROTOCOLS

    if data.dataset and data.dataset not in DATASETS[training.task]:
        raise ValueError(
            f"--task {training.task} reads --dataset {', '.join(DATASETS[training.task])}, not {data.dataset}"
        )
    version = "disjoint" if data.disjoint else "nondisjoint"
    protocols = {
        "retrieval": ["fashiongen/full"],
        "composition": list(BEST_METRICS),
        "outfits": [name for name, protocol in OCIR_PROTOCOLS.items() if protocol.version == version],
    }.get(training.task, [f"fashiongen/{training.task}"])
    if data.dataset == "polyvore":
        protocols = []
    if data.protocol and data.protocol not in protocols:
        told = f"--disjoint {str(data.disjoint).lower()} " if training.task == "outfits" and protocols else ""
        raise ValueError(
            f"--protocol {data.protocol}: this task {told}validates with {', '.join(protocols) or 'blanks alone'}"
        )


def open_task(data: TaskData, training: TaskTraining) -> Any:
    """The task's data, read but not decoded."""
    from train.engine.fashionvil_tasks import ClassificationTask, CompositionTask, RetrievalTask
    from train.engine.outfit_items import OutfitTask

    if training.task in ("category", "subcategory"):
        return ClassificationTask(data, training, training.task)
    return {"retrieval": RetrievalTask, "composition": CompositionTask, "outfits": OutfitTask}[training.task](
        data, training
    )


def main() -> None:
    start, data, training, optimization, run_arguments = parse_arguments(
        ViLStart, TaskData, TaskTraining, ViLOptimizer, RunArguments, description=__doc__
    )
    import numpy as np

    import modeling.fashionvil
    from train.engine.adapters import save_model
    from train.engine.fashionvil_start import make_optimizer, make_scheduler, starting_head, transfer_scale
    from train.engine.loop import Schedule, fit
    from train.engine.run import Run

    if (training.validate_only or training.transfer_scale) and not start.model:
        raise ValueError("--validate_only and --transfer_scale need a --model")
    check_task(data, training)
    with Run(run_arguments, start, data, training, optimization, find_unused_parameters=True) as run:
        accelerator = run.accelerator
        with accelerator.main_process_first():
            task = open_task(data, training)
        head = getattr(modeling.fashionvil, task.head)
        # FashionIQ's and Polyvore's pictures are resized to the network's size and not cropped.
        start.resize = start.resize or (None if task.max_length == 75 else 0)
        length, trained = data.max_length or task.max_length, not training.validate_only
        model, processor = starting_head(head, start, task.texts, length, trained, **task.fields)
        if training.transfer_scale:
            transfer_scale(model, start.model)
        with accelerator.local_main_process_first():
            task.open(processor, data.pixel_cache or run.folder / "cache", run_arguments.seed, trained)
        if training.validate_only:
            figures = task.figures(model.to(accelerator.device).eval())
            run.log({f"validation/{name}": value for name, value in figures.items()}, 0)
            summary = {"output_dir": str(run.folder), "steps": 0, **figures}
        else:
            optimizer = make_optimizer(model, optimization)
            scheduler = make_scheduler(optimizer, optimization, training.steps)
            model, optimizer = accelerator.prepare(model, optimizer)
            plain_model = accelerator.unwrap_model(model)

            def training_step(batch: dict[str, Any]) -> Any:
                batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items()}
                with accelerator.autocast():
                    loss = task.loss(model, batch)
                accelerator.backward(loss)
                return loss.detach()

            progress = fit(
                run,
                model,
                optimizer,
                scheduler,
                task.rows,
                task.collate,
                optimization.batch_size,
                training_step,
                Schedule(
                    -(-training.steps // max(1, len(task.rows) // optimization.batch_size)),
                    best_metrics=(task.best_metric,) if training.save == "best" else (),
                    save_every=training.save == "every",
                    max_grad_norm=optimization.max_grad_norm,
                    steps=training.steps,
                    validation_steps=training.validation_steps,
                    zero_gradients=optimization.official_zero_gradients,
                ),
                validate=lambda: task.figures(plain_model),
                save_model=None if training.save == "none" else lambda path: save_model(plain_model, processor, path),
                before_epoch=model.train,
            )
            summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
        if run.is_main and hasattr(task, "groups"):
            np.savez(run.folder / "hits.npz", **task.groups)
    if run.is_main:
        print(json.dumps(summary))


if __name__ == "__main__":
    run_program(main)
