"""The outfit models' training: where it starts from, its optimizers, its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.engine.bilstm_arguments import OutfitStart
from train.engine.gather import gather_rows, gather_rows_no_grad
from train.engine.outfits import OutfitQuestions, Outfits
from train.engine.weights import whole_model
from train.retrieval.outfit_scores import ItemBank, area_under_curve, right_share, score_outfits, score_questions


def starting_model(arguments: OutfitStart, vocabulary: list[str], **options: Any) -> tuple[Any, Any]:
    """Model and processor to train from.

    Args:
        vocabulary: words of the texts, for a fresh model. options: further fields of its configuration.

    Raises:
        ValueError: no image network for a model that reads pictures, or an --architecture that is none.
        FileNotFoundError: no file --architecture.
    """
    from modeling.bilstm import (
        BiLSTMConfig,
        BiLSTMImageProcessor,
        BiLSTMInceptionConfig,
        BiLSTMModel,
        BiLSTMProcessor,
    )

    if arguments.model:
        model = whole_model(BiLSTMModel, arguments.model)
        return model, BiLSTMProcessor.from_pretrained(arguments.model)
    names = ("variant", "item_inputs", "cell", "embedding_dim", "hidden_size", "max_items")
    settings = {name: getattr(arguments, name) for name in names} | {"vocab_size": len(vocabulary) + 1} | options
    if arguments.item_inputs == "text":
        return BiLSTMModel(BiLSTMConfig(**settings)), BiLSTMProcessor(None, vocabulary)
    pictures: dict[str, Any] = {"pad": arguments.pad}
    tower = None
    if arguments.vision_weights and Path(arguments.vision_weights).is_file():
        model = _with_inception(arguments.vision_weights, settings)
    elif arguments.vision_weights:
        from transformers import AutoModel

        from train.engine.clip4cir import normalisation

        tower = whole_model(AutoModel, arguments.vision_weights, dtype="float32")
        tower = getattr(tower, "vision_model", tower)  # of a CLIP, the image half
        stored = {k: v for k, v in tower.config.to_dict().items() if k not in ("dtype", "architectures", "auto_map")}
        if arguments.image_size:
            stored["image_size"] = arguments.image_size
        model = BiLSTMModel(BiLSTMConfig(vision_config=stored, **settings))
        model.vision_model.load_state_dict(tower.state_dict())
        pictures |= {"resize": "bicubic", **normalisation(arguments.vision_weights)}
    elif arguments.architecture:
        vision = _architecture(arguments.architecture)
        vision |= {"image_size": arguments.image_size} if arguments.image_size else {}
        model = BiLSTMModel(BiLSTMConfig(vision_config=vision, **settings))
        pictures["resize"] = "bicubic"
    elif arguments.inception:
        sizes = {"depth_multiplier": arguments.inception_multiplier}
        sizes |= {"image_size": arguments.image_size} if arguments.image_size else {}
        model = BiLSTMModel(BiLSTMConfig(vision_config=BiLSTMInceptionConfig(**sizes), **settings))
    else:
        raise ValueError(
            "an image network is needed: --vision_weights, or --architecture or --inception (random weights)"
        )
    image_processor = BiLSTMImageProcessor(size=arguments.image_size or model.config.image_size, **pictures)
    return model, BiLSTMProcessor(image_processor, vocabulary)


def _architecture(file: str) -> dict[str, Any]:
    """The configuration of an image network in a YAML file."""
    import yaml

    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"--architecture {path}: no such file")
    settings = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ValueError(f"--architecture {path}: expected a configuration with model_type, e.g. model_type: resnet")
    return settings


def _with_inception(checkpoint: str, settings: dict[str, Any]) -> Any:
    """A fresh model around the Inception of a TensorFlow checkpoint; its other variables are left."""
    from modeling.bilstm import BiLSTMConfig, BiLSTMModel
    from modeling.bilstm.convert_bilstm import inception_from_official
    from modeling.bilstm.tensorflow_files import read_checkpoint

    config, state = inception_from_official(read_checkpoint(checkpoint))
    model = BiLSTMModel(BiLSTMConfig(vision_config=config, **settings))
    model.vision_model.load_state_dict(state)
    return model


def freeze_untrained(model: Any, train_vision: bool) -> None:
    """Leave out of training what has no loss: a frozen image network, and what "bilstm-no-vse" only carries along."""
    for name, parameter in model.named_parameters():
        if name.startswith("vision_model."):
            parameter.requires_grad_(train_vision)
        elif model.config.variant == "bilstm-no-vse" and name.startswith(("image_embedding.", "word_embedding.")):
            parameter.requires_grad_(False)


TENSORS = (
    "image_embeds",
    "item_embeds",
    "text_embeds",
    "forward_predictions",
    "backward_predictions",
)


def whole_batch_loss(plain_model: Any, output: Any, batch: dict[str, torch.Tensor]) -> Any:
    """The output with the losses over the batches of all processes, gathered with gradient."""
    for name in TENSORS:
        value = output.get(name)
        if value is not None:
            output[name] = gather_rows(value)
    mask = gather_rows_no_grad(batch["item_mask"].long()).bool()
    identities = batch.get("identities")
    words = None
    if output.text_embeds is not None:
        words = gather_rows_no_grad((batch["attention_mask"].sum(-1) > 1).long()).bool()
    if identities is not None:
        identities = gather_rows_no_grad(identities)
    plain_model.add_losses(output, mask, words, identities)
    return output


@torch.no_grad()
def bank_of(
    model: Any, processor: Any, outfits: Outfits, features: torch.Tensor | None, batch_size: int = 4096
) -> ItemBank:
    """The items of a split in the model's spaces."""
    model.eval()
    device = next(model.parameters()).device
    items, images = [], []
    for start in range(0, len(outfits.ids), batch_size):
        given = None if features is None else features[start : start + batch_size].to(device)
        if model.config.has_images:
            images.append(model.get_image_features(image_features=given).float())
        if model.config.has_recurrent:
            words = {}
            if model.config.item_inputs != "image":
                texts = processor(text=outfits.texts[start : start + batch_size], return_tensors="pt").to(device)
                words = {"input_ids": texts["input_ids"], "attention_mask": texts["attention_mask"]}
            items.append(model.get_item_features(image_features=given, **words).float())
    return ItemBank(outfits.ids, torch.cat(items) if items else None, torch.cat(images) if images else None)


def question_figures(
    model: Any, bank: ItemBank, questions: OutfitQuestions, missing: str = "skip"
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Accuracy of fill in the blank (percent, ties as 1/n) and area under the curve of compatibility, with their scores.

    A model without recurrent networks answers by pooled cosines, and its compatibility is the mean cosine of pairs.
    """
    direction = "both" if model.config.has_recurrent else "pooled"
    scores = score_questions(model, bank, questions.blanks, direction, missing)
    hits = right_share(scores, questions.right_mask())
    found = {"blank_scores": scores, "blank_hits": hits}
    if model.config.has_recurrent:
        found["outfit_scores"] = score_outfits(model, bank, questions.lines, missing)["both"]
    else:
        found["outfit_scores"] = pair_scores(bank, questions.lines)
    kept = ~np.isnan(found["outfit_scores"])
    labels = np.array(questions.labels)
    figures = {
        "fill_in_blank_accuracy": 100 * float(np.nanmean(hits)),
        "compatibility_auc": area_under_curve(found["outfit_scores"][kept], labels[kept]),
    }
    return figures, found


def pair_scores(bank: ItemBank, outfits: list[tuple[str, ...]]) -> np.ndarray:
    """Mean cosine over the pairs of each outfit's items; 0 for a single item, NaN where an item is not in the bank."""
    images = torch.nn.functional.normalize(bank.images.float(), dim=-1)
    scores = np.full(len(outfits), np.nan)
    for number, outfit in enumerate(outfits):
        if outfit and not bank.missing(outfit):
            own = images[[bank.places[item] for item in outfit]]
            pairs = len(own) * (len(own) - 1)
            scores[number] = float((own.sum(0).square().sum() - len(own)) / pairs) if pairs else 0.0
    return scores
