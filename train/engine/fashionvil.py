"""FashionViL's pre-training: which task a step trains, what the task reads, its loss over all processes.

Han et al., "FashionViL: Fashion-Focused Vision-and-Language Representation Learning", ECCV 2022, section 3.3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from train.engine.gather import gather_rows_no_grad, process_count
from train.engine.losses import query_target_loss
from train.engine.products import Products
from train.engine.text_masking import MaskedTexts

# The published order and probabilities; the paper's MVC is `icc` in the original's code.
TASK_SHARES = {"itm": 0.15, "pac": 0.15, "itc": 0.20, "mvc": 0.20, "mlm": 0.15, "mpfc": 0.15}
CONTRASTIVE = ("itc", "mvc")


class TaskDraw:
    """The task of every step, a pure function of (seed, step): the same on all processes and after a resume.

    Args:
        shares: task -> weight, any positive numbers.
        seed: of the run.

    Raises:
        ValueError: no task, an unknown one, or a weight that is not positive.
    """

    def __init__(self, shares: dict[str, float], seed: int) -> None:
        unknown = [task for task in shares if task not in TASK_SHARES]
        if unknown or not shares:
            raise ValueError(f"tasks are {', '.join(TASK_SHARES)}; got {', '.join(unknown) or 'none'}")
        if not all(0 < share < np.inf for share in shares.values()):
            raise ValueError(
                f"shares of tasks must be numbers above 0, got {shares}; leave out tasks that shall not be trained"
            )
        self.tasks, self.seed = tuple(shares), seed
        self.bounds = np.cumsum(list(shares.values())) / sum(shares.values())

    def __call__(self, step: int) -> str:
        draw = np.random.default_rng((self.seed, step)).random()
        return self.tasks[min(int(np.searchsorted(self.bounds, draw, side="right")), len(self.tasks) - 1)]


class ProductRows:
    """Map-style data set of products; a row is asked for as (step, row), because its task is the step's.

    Args:
        products: the products.
        attributes: numbers of their pseudo-attributes.
        seed: of the draws of views.
    """

    with_steps = True

    def __init__(self, products: Products, attributes: list[list[int]] | None = None, seed: int = 0) -> None:
        self.products, self.seed, self.epoch = products, seed, 0
        self.attributes = attributes if attributes is not None else [[] for _ in products.ids]
        self.numbers = products.numbers()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        """Text, attributes and two views, drawn with replacement: they may be one picture, augmented differently."""
        step, row = place
        draw = random.Random(f"views {self.seed} {self.epoch} {row}")
        own = self.products.views[row]
        return {
            "step": step,
            "row": row,
            "epoch": self.epoch,
            "text": self.products.texts[row],
            "views": [own[draw.randrange(len(own))] for _ in range(2)],
            "attributes": self.attributes[row],
            "group": self.numbers[row],
        }


class PretrainingCollate:
    """From products to the batch of the step's task; what other tasks read is not made.

    Args:
        tasks: the task of a step.
        texts: whole and masked texts.
        pixels: serves `batch(ids, augmentation=, epoch=, indices=, role=)`.
        augmentation: random views, or None.
        patches: draws masks of the grid.
        codes: picture id -> (cells,) codes of the image tokenizer; None where pictures are augmented.
        num_attributes: classes of the pseudo-attributes.
        dropped: text positions and image positions that MVC drops, and out of how many: ((18, 75), (12, 49)).
        seed: of the draws.
    """

    def __init__(
        self,
        tasks: TaskDraw,
        texts: MaskedTexts,
        pixels: Any,
        augmentation: Any,
        patches: Any,
        codes: dict[str, torch.Tensor] | None,
        num_attributes: int,
        dropped: tuple[tuple[int, int], tuple[int, int]],
        seed: int,
    ) -> None:
        self.tasks, self.texts, self.pixels, self.augmentation = tasks, texts, pixels, augmentation
        self.patches, self.codes, self.num_attributes = patches, codes, num_attributes
        self.dropped, self.seed = dropped, seed

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        task = self.tasks(rows[0]["step"])
        texts = self.texts(rows)
        batch: dict[str, Any] = {"task": task, "pixel_values": self._views(rows, 0)}
        batch |= {name: texts[name] for name in ("input_ids", "attention_mask")}
        if task in (*CONTRASTIVE, "itm"):
            batch["group"] = torch.tensor([row["group"] for row in rows])
        if task == "mvc":
            batch["second_pixel_values"] = self._views(rows, 1)
            draw = random.Random(f"dropped {self.seed} {rows[0]['step']}")  # one draw for the batch of all processes
            for name, (count, positions) in zip(("dropped_text", "dropped_image"), self.dropped, strict=True):
                batch[name] = torch.tensor([draw.randrange(positions) for _ in range(count)], dtype=torch.int64)
        elif task == "mlm":
            batch |= {name: texts[name] for name in ("masked_input_ids", "mlm_labels")}
        elif task == "mpfc":
            batch["patch_mask"] = self.patches.batch(rows, self.seed)
            if self.codes is not None:
                batch["image_codes"] = torch.stack([self.codes[row["views"][0]] for row in rows]).long()
        elif task == "pac":
            batch["attribute_targets"] = attribute_targets([row["attributes"] for row in rows], self.num_attributes)
        elif task == "itm":
            draws = [random.Random(f"replace {self.seed} {row['epoch']} {row['row']}").random() for row in rows]
            batch["replace_text"] = torch.tensor([draw > 0.5 for draw in draws])
        return batch

    def _views(self, rows: list[dict[str, Any]], view: int) -> torch.Tensor:
        return self.pixels.batch(
            [row["views"][view] for row in rows],
            augmentation=self.augmentation,
            epoch=rows[0]["epoch"],
            indices=[row["row"] for row in rows],
            role=view,
        )


def attribute_targets(attributes: Sequence[Sequence[int]], classes: int) -> torch.Tensor:
    """(B, classes): 1 / n at each of a product's n attributes, a row of zeros for none.

    Raises:
        ValueError: a number outside of the classes.
    """
    targets = torch.zeros(len(attributes), classes)
    for row, own in enumerate(attributes):
        wrong = [number for number in own if not 0 <= number < classes]
        if wrong:
            raise ValueError(
                f"pseudo-attribute {wrong[0]} is outside of the model's {classes} (numbered from 0); the annotations and "
                "num_attributes of the model must be of one vocabulary"
            )
        targets[row, list(own)] = 1 / max(1, len(own))
    return targets


def task_loss(
    output: Any, batch: dict[str, Any], official_false_negatives: bool = False, official_process_means: bool = False
) -> torch.Tensor:
    """Loss of a step over the batches of all processes: averaged by DDP, the one-process loss of the joined batch.

    Deviation: the original averages the processes' means of MLM, MPFC and PAC whatever they are means of; here every
    masked piece, masked cell and product with attributes counts alike. ITM looks for its negatives within one process,
    as in the original.

    Args:
        output: of the model's forward pass.
        batch: as `PretrainingCollate` makes it.
        official_false_negatives: as the original, a product with the same text is a wrong answer.
        official_process_means: as the original, the processes' means are averaged.
    """
    if batch["task"] in CONTRASTIVE:
        ids = None if official_false_negatives else batch["group"]
        return query_target_loss(output.query_embeds, output.target_embeds, 1.0, symmetric=True, target_ids=ids)
    counted = {
        "mlm": lambda: (batch["mlm_labels"] >= 0).sum(),
        "mpfc": lambda: batch["patch_mask"].sum(),
        "pac": lambda: (batch["attribute_targets"].sum(1) > 0).sum(),
    }.get(batch["task"])
    if counted is None or official_process_means or process_count() == 1:
        return output.loss
    own = counted().reshape(1)
    every = gather_rows_no_grad(own).sum().clamp(min=1)
    return output.loss * (own[0] * process_count() / every)


@torch.no_grad()
def codes_of_images(model: Any, pixels: Any, ids: Sequence[str], batch_size: int = 64) -> dict[str, torch.Tensor]:
    """Picture id -> (cells,) codes of the model's image tokenizer, for pictures that are not augmented."""
    from tqdm import tqdm

    device = next(model.parameters()).device
    small = torch.int16 if model.config.num_codes <= 2**15 else torch.int32
    found: dict[str, torch.Tensor] = {}
    starts = range(0, len(ids), batch_size)
    for start in tqdm(
        starts, "image codes", unit="batch", disable=process_count() > 1 and torch.distributed.get_rank() > 0
    ):
        part = ids[start : start + batch_size]
        codes = model.image_tokenizer.encode(pixels.batch(part).to(device)).cpu().to(small)
        found.update(zip(part, codes, strict=True))
    return found


class ProductRetrieval:
    """Recall between all pictures and all texts of a split: `fashiongen/full`.

    Args:
        products: the split. processor: of the model. cache: folder for decoded pictures.

    Attributes:
        groups: hits (queries, cut-offs) of both directions, of the last `figures`.
    """

    def __init__(self, products: Products, processor: Any, cache: Any, name: str = "validation") -> None:
        from train.engine.images import PixelStore

        self.products, self.processor = products, processor
        self.ids = [view for own in products.views for view in own]
        sources = {view: products.sources[view] for view in self.ids}
        self.pixels = PixelStore.build(cache, sources, processor.image_processor, name=name)
        owner = [product for product, own in enumerate(products.views) for _ in own]
        views: list[list[int]] = [[] for _ in products.ids]
        for row, product in enumerate(owner):
            views[product].append(row)
        self.texts_of_image, self.images_of_text = [[product] for product in owner], views

    @torch.no_grad()
    def figures(self, model: Any) -> dict[str, float]:
        """Recalls at 1, 5, 10 in percent in both directions, and their mean; every process gets the same."""
        from train.retrieval.encode import encode_pixels, encode_texts
        from train.retrieval.ranking import ranks_of_targets

        normalise = torch.nn.functional.normalize
        images = normalise(encode_pixels(model, self.pixels, self.ids), dim=-1)
        texts = normalise(encode_texts(model, self.processor, self.products.texts, progress=False), dim=-1)
        ranks = {
            "image_to_text": ranks_of_targets(images, texts, self.texts_of_image),
            "text_to_image": ranks_of_targets(texts, images, self.images_of_text),
        }
        self.groups = {name: np.stack([own.numpy() < k for k in (1, 5, 10)], axis=1) for name, own in ranks.items()}
        figures = {
            f"{name}_recall_at{k}": 100 * float(hits[:, column].mean())
            for name, hits in self.groups.items()
            for column, k in enumerate((1, 5, 10))
        }
        return figures | {"mean_recall": sum(figures.values()) / len(figures)}
