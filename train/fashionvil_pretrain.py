"""Pre-train FashionViL on products: six tasks on one model, one task per step.

    accelerate launch train/fashionvil_pretrain.py --config train/recipes/fashionvil_pretrain/official.yaml \\
        --data_dir datasets --vision_weights microsoft/resnet-50 --text_weights bert-base-uncased \\
        --image_tokenizer runs/tokenizer/model --output_dir runs/vil

Tasks: itc and mvc (contrast of picture and text, and of two views), pac (pseudo-attributes), mpfc (codes of masked
patches; needs --image_tokenizer), mlm (masked words), itm (does this text belong to this picture). The published setting is
120,000 steps of 256 products on four GPUs; recipes for small models run on one GPU or a CPU.
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.fashionvil_arguments import RETRIEVAL_FIGURES, ProductData, ViLOptimizer, ViLStart, check_choices
from train.engine.run import RunArguments

TASKS = ("itm", "pac", "itc", "mvc", "mlm", "mpfc")
NO_TOKENIZER = (
    "the task mpfc predicts codes of an image tokenizer: give --image_tokenizer (train/fashionvil_tokenizer.py makes one), or "
    "leave mpfc out of --tasks"
)


@dataclasses.dataclass
class PretrainingArguments:
    """Which tasks, for how long, on which views. Defaults are the published ones."""

    steps: int = argument(120_000, "optimizer steps", minimum=1)
    tasks: list[str] = argument(list(TASKS), f"tasks to train, of {', '.join(TASKS)}")
    task_shares: list[float] = argument([], "share of steps of each of --tasks; default: as published")
    image_tokenizer: str | None = argument(
        None, "folder or Hub id of a FashionViLImageTokenizer, for mpfc (train/fashionvil_tokenizer.py makes one)"
    )
    share_encoders: bool | None = argument(
        None, "one transformer for text alone and text with picture; False: two. Default: --model's, else one"
    )
    bypass_transformer: bool | None = argument(
        None, "pictures alone skip the transformer; False: they go through it. Default: --model's, else they skip it"
    )
    num_attributes: int | None = argument(
        None, "size of a new model's head for pac; default: what the products have (the original has 2232)", minimum=1
    )
    attribute_scale: float | None = argument(
        None, "factor on the cosines of pseudo-attributes; default: --model's, else 1, which learns slowly", above=0
    )
    mask_probability: float = argument(0.15, "of a word, for mlm", above=0, maximum=1)
    whole_words: bool = argument(True, "mlm masks words with all their pieces; False: single pieces")
    masked_patches: int | None = argument(None, "cells that mpfc masks; default: 8 of 49, as published", minimum=1)
    augment: bool = argument(True, "random crops and mirror images; without, codes of pictures are made only once")
    flip: float = argument(0.5, "probability of a mirror image", minimum=0, maximum=1)
    validation_steps: int = argument(1500, "validate every so many steps", minimum=1)
    save: Literal["best", "last", "every", "none"] = argument(
        "best", "which models to keep: the best by --best_metrics, the last, every validated one, or none"
    )
    best_metrics: list[str] = argument(["mean_recall"], "figures to choose the best model by")
    official_false_negatives: bool = argument(False, "as the original, a product of the same text is a wrong answer")
    official_itm_fill: bool = argument(False, "as the original, itm's true text is ruled out by the score -1 alone")
    official_process_means: bool = argument(
        False, "as the original, several processes average their means of mlm, mpfc and pac, whatever these count"
    )

    def __post_init__(self) -> None:
        check_choices("--tasks", self.tasks, TASKS)
        check_choices("--best_metrics", self.best_metrics, RETRIEVAL_FIGURES)
        if self.task_shares and len(self.task_shares) != len(self.tasks):
            raise ValueError(f"--task_shares has {len(self.task_shares)} numbers for {len(self.tasks)} tasks")


def main() -> None:
    start, data, training, optimization, run_arguments = parse_arguments(
        ViLStart, ProductData, PretrainingArguments, ViLOptimizer, RunArguments, description=__doc__
    )
    from modeling.fashionvil import FashionViLForPreTraining, FashionViLImageTokenizer
    from train.engine.adapters import save_model
    from train.engine.fashionvil import (
        TASK_SHARES,
        PretrainingCollate,
        ProductRetrieval,
        ProductRows,
        TaskDraw,
        codes_of_images,
        task_loss,
    )
    from train.engine.fashionvil_start import (
        check_attributes,
        check_code_grid,
        make_optimizer,
        make_scheduler,
        starting_head,
        uncropped,
    )
    from train.engine.images import PixelStore
    from train.engine.loop import Schedule, fit
    from train.engine.patch_masking import PatchMasking
    from train.engine.product_views import RandomCrop
    from train.engine.products import attribute_numbers, load_products
    from train.engine.run import Run
    from train.engine.text_masking import MaskedTexts, TextMasking
    from train.engine.weights import whole_model

    if "mpfc" in training.tasks and not training.image_tokenizer and not start.model:
        raise ValueError(NO_TOKENIZER)
    shares = training.task_shares or [TASK_SHARES[task] for task in training.tasks]
    tasks = TaskDraw(dict(zip(training.tasks, shares, strict=True)), run_arguments.seed)
    # A step uses the parameters of one task.
    with Run(run_arguments, start, data, training, optimization, find_unused_parameters=True) as run:
        accelerator, seed = run.accelerator, run_arguments.seed
        with accelerator.main_process_first():
            products = load_products(data.datasets, data.data_dir, data.train_split, data.missing_images)
            validation = load_products(
                [data.validation_dataset], data.data_dir, data.validation_split, data.missing_images
            )
        attributes, known = attribute_numbers(products)
        names = ("share_encoders", "bypass_transformer", "attribute_scale")
        fields: dict[str, Any] = {n: value for n in names if (value := getattr(training, n)) is not None}
        fields |= {"official_itm_fill": True} if training.official_itm_fill else {}
        if not start.model and "pac" in training.tasks:
            if not known:
                raise ValueError(
                    f"{data.data_dir} has no pseudo-attributes: make them first, or leave pac out of --tasks"
                )
            fields["num_attributes"] = training.num_attributes or 1 + max(known.values())
        tokenizer = None
        if training.image_tokenizer:
            tokenizer = whole_model(FashionViLImageTokenizer, training.image_tokenizer)
            fields["tokenizer_config"] = tokenizer.config.to_dict() | {"has_decoder": False}
            fields["num_codes"] = tokenizer.config.num_codes
        model, processor = starting_head(FashionViLForPreTraining, start, products.texts, data.max_length, **fields)
        if tokenizer is not None:
            wanted = model.image_tokenizer.state_dict()
            model.image_tokenizer.load_state_dict({k: v for k, v in tokenizer.state_dict().items() if k in wanted})
        if "mpfc" in training.tasks and not hasattr(model, "image_tokenizer"):
            raise ValueError(NO_TOKENIZER)
        cells = grid_cells(model)
        if "mpfc" in training.tasks:
            check_code_grid(model, cells)
        if "pac" in training.tasks:
            check_attributes(attributes, model.config.num_attributes)
        images = processor.image_processor
        stored = uncropped(images) if training.augment else images
        cache = data.pixel_cache or run.folder / "cache"
        with accelerator.local_main_process_first():
            pixels = PixelStore.build(cache, products.sources, stored, name="train")
            retrieval = ProductRetrieval(validation, processor, cache)
        model.to(accelerator.device)
        side = round(cells**0.5)
        codes = None
        if "mpfc" in training.tasks and not training.augment:
            codes = codes_of_images(model, pixels, list(products.sources))
        collate = PretrainingCollate(
            tasks,
            MaskedTexts(
                processor.tokenizer,
                data.max_length,
                TextMasking(processor.tokenizer, training.mask_probability, training.whole_words),
                seed,
            ),
            pixels,
            RandomCrop(images.size, training.flip, seed) if training.augment else None,
            PatchMasking((side, side), training.masked_patches or max(1, round(cells * 8 / 49))),
            codes,
            model.config.num_attributes,
            tuple((int(n * model.config.mvc_drop_rate), n) for n in (model.config.mvc_text_length, cells)),
            seed,
        )
        rows = ProductRows(products, attributes, seed)
        optimizer = make_optimizer(model, optimization)
        scheduler = make_scheduler(optimizer, optimization, training.steps)
        model, optimizer = accelerator.prepare(model, optimizer)
        plain_model = accelerator.unwrap_model(model)

        def training_step(batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            task = batch["task"]
            tensors = {
                name: value.to(accelerator.device, non_blocking=True) for name, value in batch.items() if name != "task"
            }
            products_of_rows = tensors.pop("group", None)
            with accelerator.autocast():
                output = model(task=task, product_ids=products_of_rows if task == "itm" else None, **tensors)
                loss = task_loss(
                    output,
                    tensors | {"task": task, "group": products_of_rows},
                    training.official_false_negatives,
                    training.official_process_means,
                )
            accelerator.backward(loss)
            return loss.detach(), {"task": task}

        per_epoch = max(1, len(rows) // optimization.batch_size)
        progress = fit(
            run,
            model,
            optimizer,
            scheduler,
            rows,
            collate,
            optimization.batch_size,
            training_step,
            Schedule(
                -(-training.steps // per_epoch),
                best_metrics=tuple(training.best_metrics) if training.save == "best" else (),
                save_every=training.save == "every",
                max_grad_norm=optimization.max_grad_norm,
                steps=training.steps,
                validation_steps=training.validation_steps,
                zero_gradients=optimization.official_zero_gradients,
            ),
            validate=lambda: retrieval.figures(plain_model),
            save_model=None if training.save == "none" else lambda path: save_model(plain_model, processor, path),
            before_epoch=model.train,
        )
        summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
    if run.is_main:
        print(json.dumps(summary))


def grid_cells(model: Any) -> int:
    """Cells of the image encoder's grid, read off a picture without content."""
    import torch

    size = model.config.image_size
    was_training = model.training
    model.eval()
    with torch.no_grad():
        cells = model.model.grid(torch.zeros(1, 3, size, size, device=model.device)).shape[1]
    model.train(was_training)
    return cells


if __name__ == "__main__":
    run_program(main)
