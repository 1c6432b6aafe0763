"""Complementary items: FashionViL's outfit head on the OCIR files of Polyvore Outfits, or on outfits of the Maryland layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.engine.images import PixelStore
from train.engine.losses import query_target_loss
from train.engine.outfit_pairs import OutfitPairs


class PairRows:
    """Map-style data set: a pair of every outfit, in the draw of the current epoch."""

    def __init__(self, pairs: OutfitPairs, seed: int) -> None:
        self.pairs, self.seed = pairs, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.drawn = epoch, self.pairs.epoch(self.seed, epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"row": row, "epoch": self.epoch, "pair": self.drawn[row]}


class OutfitTask:
    """Pairs of one outfit in training; in validation `polyvore-outfits/ocir`, or fill in the blank."""

    head, max_length, texts = "FashionViLForOutfitRetrieval", 50, ["outfit"]

    def __init__(self, data: Any, training: Any) -> None:
        self.training = training
        read = _maryland if data.dataset == "polyvore" else _polyvore_outfits
        rows, self.sources, self.validation = read(data)
        self.fields = {
            "official_outfit_target": training.official_outfits,
            "outfit_frozen_stages": [4] if training.official_outfits else [],
            "outfit_categories": self.validation.num_categories,
            "outfit_embedding_dim": training.outfit_embedding_dim,
        }
        self.best_metric = self.validation.best_metric
        self.pairs = OutfitPairs(rows, training.official_outfits)
        self.number = {item: place for place, item in enumerate(self.pairs.category)}

    def open(self, processor: Any, cache: Path, seed: int, trained: bool = True) -> None:
        """Decode the pictures."""
        from train.engine.fashionvil_tasks import random_resized_crop

        images = processor.image_processor
        if trained:
            self.pixels = PixelStore.build(cache, self.sources, images, name="train")
        self.validation.open(images, cache)
        self.augmentation = random_resized_crop(self.training, seed)
        self.rows = PairRows(self.pairs, seed)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of a batch; under the triplet loss each target has a wrong item of its category beside it."""
        seeds = {"epoch": rows[0]["epoch"], "indices": [row["row"] for row in rows], "augmentation": self.augmentation}
        pairs = [row["pair"] for row in rows]
        sides = {"question_pixel_values": "question", "target_pixel_values": "target"}
        if self.training.outfit_loss == "triplet":
            sides["negative_pixel_values"] = "negative"
        batch = {}
        for role, (name, side) in enumerate(sides.items()):
            # A category of one item has no wrong one: its own then gives the constant margin, and no gradient.
            ids = [getattr(pair, side) or pair.target for pair in pairs]
            batch[name] = self.pixels.batch(ids, role=role, **seeds)
        batch["category_pairs"] = torch.tensor([(pair.question_category, pair.target_category) for pair in pairs])
        batch["target_ids"] = torch.tensor([self.number[pair.target] for pair in pairs])
        return batch

    def loss(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Contrast over the batches of all processes, where equal targets are no wrong answers; or the triplet loss."""
        ids = batch.pop("target_ids")
        output = model(**batch)
        if self.training.outfit_loss == "triplet":
            return output.loss
        ids = None if self.training.official_outfits or self.training.official_false_negatives else ids
        return query_target_loss(output.query_embeds, output.target_embeds, 1.0, symmetric=True, target_ids=ids)

    def figures(self, model: Any) -> dict[str, float]:
        figures = self.validation.figures(model)
        self.groups = self.validation.groups
        return figures


class OcirValidation:
    """Recall of the left-out item among those of its category."""

    best_metric, num_categories = "average_recall", 153

    def __init__(self, data: Any, protocol: str) -> None:
        from train.retrieval.ocir_protocols import OCIR_PROTOCOLS

        self.set, self.protocol = data, OCIR_PROTOCOLS[protocol]

    def open(self, images: Any, cache: Path) -> None:
        """Decode the pictures."""
        self.pixels = PixelStore.build(cache, self.set.sources, images, name="validation")

    def ranks(self, model: Any) -> np.ndarray:
        """(Q,) how many items of the right category come before each question's."""
        from train.retrieval.encode import encode_pixels
        from train.retrieval.ocir import conditioned_ranks

        features = encode_pixels(model, self.pixels, self.pixels.ids)
        return conditioned_ranks(self.protocol, model, self.set, features, self.pixels.ids)

    def figures(self, model: Any) -> dict[str, float]:
        """Recalls at 10, 30, 50 in percent and their mean; every process gets the same."""
        hits = self.protocol.hits(self.ranks(model))
        asked = np.array([self.set.blank_categories[row] for row in self.set.queries])
        self.groups = {str(category): hits[asked == category] for category in np.unique(asked)}
        figures = self.protocol.figures({category: own.mean(axis=0) for category, own in self.groups.items()})
        return {name: float(value) for name, value in figures.items()}


class BlankValidation:
    """Fill in the blank on outfits of the Maryland layout; equal best answers count 1/n."""

    best_metric = "fill_in_blank_accuracy"

    def __init__(self, outfits: Any, questions: Any, number: dict[str, int]) -> None:
        self.questions, self.num_categories = questions, len(number)
        self.sources = dict(zip(outfits.ids, outfits.pictures, strict=True))
        self.categories = {i: number[c] for i, c in zip(outfits.ids, outfits.categories, strict=True)}

    def open(self, images: Any, cache: Path) -> None:
        """Decode the pictures."""
        self.pixels = PixelStore.build(cache, self.sources, images, name="validation")

    @torch.no_grad()
    def hits(self, model: Any) -> np.ndarray:
        """(questions,) 1 for a right answer, 1/n for one of n equal best, NaN where an item is not there."""
        from train.retrieval.encode import encode_pixels
        from train.retrieval.outfit_scores import right_share

        features = encode_pixels(model, self.pixels, self.pixels.ids).to(model.device)
        place = {item: row for row, item in enumerate(self.pixels.ids)}
        widest = max(len(question.answers) for question in self.questions.blanks)
        scores = np.full((len(self.questions.blanks), widest), np.nan)
        was_training = model.training
        model.eval()
        for number, question in enumerate(self.questions.blanks):
            items, answers = ([i for i in part if i in place] for part in (question.items, question.answers))
            if len(items) < len(question.items) or len(answers) < len(question.answers):
                continue
            inputs = []
            for part in (items, answers):
                inputs.append(features[[place[i] for i in part]])
                inputs.append(torch.tensor([self.categories[i] for i in part], device=model.device))
            scores[number, : len(answers)] = model.score_candidates(*inputs).cpu().numpy()
        model.train(was_training)
        return right_share(scores, self.questions.right_mask())

    def figures(self, model: Any) -> dict[str, float]:
        """Accuracy in percent, of the questions whose items are all there."""
        hits = self.hits(model)
        self.groups = {"all": hits[~np.isnan(hits)][:, None]}
        return {"fill_in_blank_accuracy": 100 * float(self.groups["all"].mean())}


def _polyvore_outfits(data: Any) -> tuple[Any, dict[str, Any], OcirValidation]:
    from train.retrieval.ocir_data import load_ocir_set

    version = "disjoint" if data.disjoint else "nondisjoint"
    default = "polyvore-outfits/ocir" if data.disjoint else "polyvore-outfits/nondisjoint-ocir"
    train, asked = (
        load_ocir_set(data.data_dir, version, split, data.missing_images)
        for split in (data.train_split, data.validation_split or "test")
    )
    rows = [
        {
            "question_ids": items,
            "blank_id": blank,
            "question_categories": [train.categories[item] for item in items],
            "blank_category": train.categories[blank],
        }
        for items, blank in zip(train.questions, train.blank_ids, strict=True)
    ]
    return rows, train.sources, OcirValidation(asked, data.protocol or default)


def _maryland(data: Any) -> tuple[Any, dict[str, Any], BlankValidation]:
    """Items with one picture are one item: shops sell a thing in many outfits, under a key of its own in each."""
    from train.engine.bilstm_arguments import OutfitData
    from train.engine.outfits import load_outfits, load_questions

    reading = OutfitData(data_dir=data.data_dir, missing=data.missing_images)
    split = data.validation_split or "valid"
    train, valid = (load_outfits(reading, name, True) for name in (data.train_split, split))
    questions = load_questions(reading, split, data.questions, True, kinds=("fill_in_blank",))
    # The categories of all splits: a test item may be of one that training lacks, and then is seen as untrained.
    number = {name: n for n, name in enumerate(sorted({*train.categories, *valid.categories}))}
    first: dict[int, str] = {}
    items = [first.setdefault(n, item) for n, item in zip(train.identities, train.ids, strict=True)]
    rows = []
    for outfit in train.outfits:
        if len({items[i] for i in outfit}) > 1:
            ids, kinds = ([part[i] for i in outfit] for part in (items, train.categories))
            numbers = [number[kind] for kind in kinds]
            rows.append(
                {
                    "question_ids": ids[:-1],
                    "blank_id": ids[-1],
                    "question_categories": numbers[:-1],
                    "blank_category": numbers[-1],
                }
            )
    return rows, dict(zip(train.ids, train.pictures, strict=True)), BlankValidation(valid, questions, number)
