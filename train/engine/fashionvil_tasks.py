"""FashionViL's downstream tasks: what each one reads, its loss over all processes, its figures.

A task is opened in two steps, because a tokenizer and the number of labels come from its data and the pictures' size from
the model: `Task(data, training)` reads annotations, `open(processor, cache, seed, trained)` decodes the pictures, those of
training only where it follows. `figures(model)` validates and leaves in `groups` the hits (queries, cut-offs) of every group
of queries; the task's main figure is the mean over groups of the mean hit.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.engine.fashionvil import ProductRetrieval
from train.engine.images import Augmentation, PixelStore
from train.engine.losses import query_target_loss
from train.engine.product_views import RandomCrop
from train.engine.products import Products, load_products

logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]


class SingleViewRows:
    """Map-style data set: text, label and one random picture of every product."""

    def __init__(self, products: Products, labels: list[int] | None = None, seed: int = 0) -> None:
        self.products, self.labels, self.seed, self.epoch = products, labels, seed, 0
        self.numbers = products.numbers()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, row: int) -> dict[str, Any]:
        own = self.products.views[row]
        view = own[random.Random(f"views {self.seed} {self.epoch} {row}").randrange(len(own))]
        label = self.labels[row] if self.labels else 0
        return {
            "row": row,
            "epoch": self.epoch,
            "text": self.products.texts[row],
            "view": view,
            "label": label,
            "group": self.numbers[row],
        }


class _ProductTask:
    """What retrieval and classification share: products with pictures cropped out of larger ones."""

    max_length = 75

    def __init__(self, data: Any, training: Any, label: str | None = None) -> None:
        name = data.dataset or "fashiongen"
        read = (data.data_dir, data.missing_images, label)
        self.products = load_products([name], read[0], data.train_split, *read[1:])
        self.validation = load_products([name], read[0], data.validation_split or "validation", *read[1:])
        self.texts, self.training = self.products.texts, training

    def open(self, processor: Any, cache: Path, seed: int, trained: bool = True) -> None:
        """Decode the pictures."""
        from train.engine.fashionvil_start import uncropped

        self.processor = processor
        images = processor.image_processor
        if not trained:
            return
        augmented = self.training.augment
        self.pixels = PixelStore.build(
            cache, self.products.sources, uncropped(images) if augmented else images, name="train"
        )
        self.augmentation = RandomCrop(images.size, self.training.flip, seed) if augmented else None

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        """Tensors of a batch."""
        batch = dict(self.processor(text=[row["text"] for row in rows], return_tensors="pt"))
        batch["pixel_values"] = self.pixels.batch(
            [row["view"] for row in rows],
            augmentation=self.augmentation,
            epoch=rows[0]["epoch"],
            indices=[row["row"] for row in rows],
        )
        for name in ("label", "group"):
            batch[name] = torch.tensor([row[name] for row in rows])
        return batch


class RetrievalTask(_ProductTask):
    """Image-text retrieval: `fashiongen/full` on the validation products."""

    head, best_metric = "FashionViLForRetrieval", "mean_recall"
    fields: dict[str, Any] = {}

    def open(self, processor: Any, cache: Path, seed: int, trained: bool = True) -> None:
        super().open(processor, cache, seed, trained)
        self.rows = SingleViewRows(self.products, seed=seed)
        self.retrieval = ProductRetrieval(self.validation, processor, cache)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Symmetric contrast over the batches of all processes (specification 4.2, the original's `contrastive`)."""
        group = batch.pop("group")
        batch.pop("label")
        output = model(**batch)
        ids = None if self.training.official_false_negatives else group
        return query_target_loss(output.query_embeds, output.target_embeds, 1.0, symmetric=True, target_ids=ids)

    def figures(self, model: Any) -> dict[str, float]:
        figures = self.retrieval.figures(model)
        self.groups = self.retrieval.groups
        return figures


class ClassificationTask(_ProductTask):
    """Category or sub-category from picture and text; evaluation scores every picture of a product with its text."""

    head, best_metric = "FashionViLForClassification", "accuracy"

    def __init__(self, data: Any, training: Any, label: str) -> None:
        super().__init__(data, training, label)
        seen, asked = (set(products.labels[label]) for products in (self.products, self.validation))
        if unseen := sorted(asked - seen):
            logger.warning(
                "%s: no training product has the %s %s; products of it can only be classified wrongly",
                data.data_dir,
                label,
                ", ".join(unseen),
            )
        names = sorted(seen | asked)
        number = {name: place for place, name in enumerate(names)}
        self.labels = [number[name] for name in self.products.labels[label]]
        self.right = [number[name] for name in self.validation.labels[label]]
        self.fields = {"id2label": dict(enumerate(names)), "label2id": number}

    def open(self, processor: Any, cache: Path, seed: int, trained: bool = True) -> None:
        super().open(processor, cache, seed, trained)
        self.rows = SingleViewRows(self.products, self.labels, seed)
        self.validation_pixels = PixelStore.build(
            cache, self.validation.sources, processor.image_processor, name="validation"
        )

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Cross entropy; every process has as many rows."""
        batch.pop("group")
        return model(labels=batch.pop("label"), **batch).loss

    def figures(self, model: Any) -> dict[str, float]:
        from train.retrieval.classification import classification_figures
        from train.retrieval.encode import encode_pairs

        owners = [row for row, own in enumerate(self.validation.views) for _ in own]
        views = [view for own in self.validation.views for view in own]
        texts = [self.validation.texts[row] for row in owners]
        logits = encode_pairs(
            model, self.processor, self.validation_pixels, views, texts, lambda m, **inputs: m(**inputs).logits
        )
        predictions, right = logits.argmax(1).numpy(), np.array([self.right[row] for row in owners])
        self.groups = {"all": (predictions == right)[:, None]}
        return classification_figures(predictions, right)


class CompositionRows:
    """Map-style data set of queries: reference, target, and the captions joined by a comma, as the original joins them."""

    def __init__(self, triplets: Any) -> None:
        self.triplets, self.epoch = triplets, 0
        number = {group: place for place, group in enumerate(dict.fromkeys(triplets.target_groups))}
        self.groups = [number[group] for group in triplets.target_groups]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, row: int) -> dict[str, Any]:
        t = self.triplets
        return {
            "row": row,
            "epoch": self.epoch,
            "text": ", ".join(t.captions[row]),
            "reference": t.reference_ids[row],
            "target": t.target_ids[row],
            "group": self.groups[row],
        }


class CompositionTask:
    """Text-guided image retrieval: a reference picture and what to change ask for a picture."""

    head, best_metric, max_length = "FashionViLForComposition", "average_recall", 50
    fields: dict[str, Any] = {}

    def __init__(self, data: Any, training: Any) -> None:
        from train.engine.triplets import load_triplets
        from train.engine.validation import BEST_METRICS, DEFAULT_PROTOCOLS
        from train.retrieval.composed_data import default_split, load_composed_set

        name = data.dataset or "fashioniq"
        self.data, self.training = data, training
        data.dataset, data.titles = name, []
        self.triplets = load_triplets(data, data.train_split)
        self.texts = [text for captions in self.triplets.captions for text in captions]
        self.protocol = data.protocol or DEFAULT_PROTOCOLS[name]
        self.best_metric = BEST_METRICS[self.protocol][0]
        split = data.validation_split or default_split(self.protocol, name)
        self.set = load_composed_set(name, data.data_dir, split, missing_images=data.missing_images, joiner=", ")

    def open(self, processor: Any, cache: Path, seed: int, trained: bool = True) -> None:
        self.processor, images = processor, processor.image_processor
        if trained:
            self.pixels = PixelStore.build(cache, self.triplets.images, images, name="train")
        sources = dict(zip(self.set.gallery_ids, self.set.images, strict=True))
        self.validation_pixels = PixelStore.build(cache, sources, images, name="validation")
        self.augmentation = random_resized_crop(self.training, seed)
        self.rows = CompositionRows(self.triplets)

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        """Tensors of a batch; reference and target are augmented apart."""
        batch = dict(self.processor(text=[row["text"] for row in rows], return_tensors="pt"))
        seeds = {"epoch": rows[0]["epoch"], "indices": [row["row"] for row in rows], "augmentation": self.augmentation}
        for role, (side, name) in enumerate((("reference", "pixel_values"), ("target", "target_pixel_values"))):
            batch[name] = self.pixels.batch([row[side] for row in rows], role=role, **seeds)
        batch["group"] = torch.tensor([row["group"] for row in rows])
        return batch

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Every query among the targets of all processes."""
        group = batch.pop("group")
        output = model(**batch)
        ids = None if self.training.official_false_negatives else group
        return query_target_loss(output.query_embeds, output.target_embeds, 1.0, target_ids=ids)

    def figures(self, model: Any) -> dict[str, float]:
        from train.retrieval.composed import MODEL, protocol_figures, protocol_hits
        from train.retrieval.encode import encode_pairs, encode_pixels

        images = encode_pixels(model, self.validation_pixels, self.set.gallery_ids)
        references = [self.set.gallery_ids[row] for row in self.set.reference.tolist()]
        queries = encode_pairs(
            model,
            self.processor,
            self.validation_pixels,
            references,
            self.set.captions,
            lambda m, **inputs: m.get_query_features(**inputs),
        )
        queries = torch.nn.functional.normalize(queries, dim=-1)
        self.groups = protocol_hits(self.protocol, self.set, images, queries)
        figures = protocol_figures(self.protocol, self.set, images, {MODEL: queries})[MODEL]
        if "recall_at1" in figures and "group_recall_at1" not in figures:
            figures["mean_recall"] = sum(figures[f"recall_at{k}"] for k in (1, 5, 10)) / 3
        return figures


def random_resized_crop(training: Any, seed: int) -> Augmentation | None:
    """The published views of FashionIQ and Polyvore Outfits: 80 to 100 % of the picture, ratio 3/4 to 4/3, mirrored.

    Deviation: cut out of the resized picture, and enlarged by bicubic interpolation; the original cuts the file's.
    """
    if not training.augment:
        return None
    return Augmentation(flip=training.flip, min_area=0.8, max_ratio=4 / 3, seed=seed)
