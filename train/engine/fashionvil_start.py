"""FashionViL models before training, and what trains them: optimizer, schedule, views of pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
import yaml

from train.engine.fashionvil_arguments import ViLOptimizer, ViLStart
from train.engine.fashionvil_optimizer import OfficialAdamW, parameter_groups, warmup_multistep
from train.engine.weights import check_name, whole_model

logger = logging.getLogger(__name__)


def starting_head(
    head_class: type, start: ViLStart, texts: Sequence[str], max_length: int, trained: bool = True, **fields: Any
) -> tuple[Any, Any]:
    """A model of one of modeling/fashionvil's classes, and its processor.

    With --model of the same class all weights are taken. With another class, image encoder and transformer are (for the
    outfit head, which has no transformer, the image encoder): heads and scale begin anew, as in the original. Without
    --model, published backbones fill what they fit and the rest is random.

    Args:
        texts: of training, for a tokenizer where there is none to start from.
        max_length: tokens of a text.
        trained: whether training follows; if not, heads of the same class must not begin anew.
        fields: further fields of the configuration; heads begin anew where --model has others.

    Raises:
        ValueError: weights that don't fit each other, a start that says nothing about one half of the model, or texts that
            are longer than the transformer reads.
    """
    if start.model and (start.vision_weights or start.text_weights or start.architecture):
        raise ValueError("--model brings both halves: leave out --vision_weights, --text_weights and --architecture")
    model, processor = (
        _from_model(head_class, start, trained, fields)
        if start.model
        else _from_parts(head_class, start, texts, fields)
    )
    positions = model.config.text_config.max_position_embeddings
    if max_length > positions and hasattr(getattr(model, "model", model), "bert"):
        raise ValueError(f"--max_length {max_length}: the model has {positions} positions; give {positions} or less")
    model.config.train_batch_norm = start.train_batch_norm
    images = type(processor.image_processor)(**_picture_settings(processor.image_processor, start.resize))
    processor = type(processor)(images, processor.tokenizer, max_text_length=max_length)
    if start.sync_batchnorm:
        from train.engine.sync_batch_norm import synchronise

        synchronise(model)
    if start.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if start.freeze:
        from train.engine.clip4cir import freeze

        freeze(model, start.freeze)
    return model, processor


def _picture_settings(image_processor: Any, resize: int | None) -> dict[str, Any]:
    kept = {n: getattr(image_processor, n) for n in ("size", "image_mean", "image_std", "official_image_modes")}
    if resize is None:
        resize = image_processor.resize
    return kept | {"resize": resize or image_processor.size}


def check_code_grid(model: Any, cells: int) -> None:
    """Refuse an image tokenizer whose codes are not one per cell of the image encoder's grid."""
    config = model.image_tokenizer.config
    codes = (config.image_size // 2 ** (len(config.channel_multipliers) - 1)) ** 2
    if codes != cells:
        raise ValueError(
            f"the image tokenizer makes {codes} codes of a picture and the image encoder sees {cells} cells; train a tokenizer "
            "with other --image_size or --channel_multipliers, or leave mpfc out of --tasks"
        )


def check_attributes(attributes: list[list[int]], classes: int) -> None:
    """Refuse pseudo-attributes that the model's head doesn't have; warn of a head that is mostly empty."""
    used = {number for own in attributes for number in own}
    if max(used, default=0) >= classes:
        raise ValueError(
            f"pseudo-attribute {max(used)} is outside of the model's {classes} (numbered from 0); correct attributes_id, or "
            "give --num_attributes to a new model"
        )
    if classes > 1000 and classes > 10 * len(used):
        logger.warning("the products have %d pseudo-attributes, and the head has %d", len(used), classes)


def transfer_scale(model: Any, name: str) -> None:
    """Take the scale of features from a saved model, pre-trained or fine-tuned.

    Raises:
        ValueError: it has none.
    """
    from transformers import AutoModel

    saved = whole_model(AutoModel, name)
    source = getattr(saved, "contrastive_norm", getattr(saved, "norm_layer", None))
    target = getattr(model, "norm_layer", None)
    if source is None or target is None:
        raise ValueError(f"--transfer_scale: {name} or the task's model has no scale of features")
    target.load_state_dict(source.state_dict())


def _from_model(head_class: type, start: ViLStart, trained: bool, fields: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModel

    from modeling.fashionvil import FashionViLProcessor

    loaded = whole_model(AutoModel, start.model)
    if loaded.config.model_type != "fashionvil":
        raise ValueError(f"--model {start.model} is a {loaded.config.model_type} model; expected a fashionvil one")
    processor = FashionViLProcessor.from_pretrained(start.model)
    settings = loaded.config.to_dict()
    changed = [name for name, value in fields.items() if _settings_of(settings.get(name)) != _settings_of(value)]
    if type(loaded) is head_class:
        if not changed:
            return loaded, processor
        if not trained:
            raise ValueError(
                f"--model {start.model} has other {', '.join(changed)} than this data; validate it on the data and with the "
                "arguments that it was trained with"
            )
        logger.warning("--model %s: heads and scale begin anew, since %s changed", start.model, ", ".join(changed))
    elif not trained:
        raise ValueError(
            f"--model {start.model} is a {type(loaded).__name__}; the task is answered by a {head_class.__name__}, "
            "fine-tune one first"
        )
    model = head_class(type(loaded.config)(**(settings | {"architectures": [head_class.__name__]} | fields)))
    source, target = getattr(loaded, "model", loaded), getattr(model, "model", model)
    if hasattr(source, "bert") and hasattr(target, "bert"):
        target.load_state_dict(source.state_dict())
    elif hasattr(target, "bert"):
        raise ValueError(
            f"--model {start.model} is a {type(loaded).__name__} and has no transformer to start from; give a pre-trained "
            "FashionViL, or parts by --vision_weights and --text_weights"
        )
    else:
        target.image_encoder.load_state_dict(source.image_encoder.state_dict())
    return model, processor


def _settings_of(value: Any) -> Any:
    """A field as it is compared; where a nested configuration was saved, and by what, is none of its settings."""
    if not isinstance(value, dict):
        return value
    return {k: v for k, v in _plain(value).items() if k not in ("transformers_version", "_name_or_path")}


def _from_parts(head_class: type, start: ViLStart, texts: Sequence[str], fields: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoModelForPreTraining, PreTrainedConfig

    from modeling.fashionvil import (
        FashionViLConfig,
        FashionViLImageProcessor,
        FashionViLProcessor,
        start_from_backbones,
    )

    settings = _architecture(start.architecture) if start.architecture else {}
    vision = bert = None
    if start.vision_weights:
        vision = whole_model(AutoModel, start.vision_weights, dtype="float32")
        if vision.main_input_name != "pixel_values":
            raise ValueError(
                f"--vision_weights {start.vision_weights} is a {type(vision).__name__}: it reads no pictures"
            )
        settings["vision_config"] = _plain(vision.config.to_dict()) | (settings.get("vision_config") or {})
    if start.text_weights:
        check_name(start.text_weights)
        kind = PreTrainedConfig.get_config_dict(start.text_weights)[0].get("model_type")
        if kind is not None and kind != "bert":
            raise ValueError(f"--text_weights {start.text_weights} is a {kind} model; the transformer is a bert")
        bert = whole_model(AutoModelForPreTraining, start.text_weights, dtype="float32")
        settings["text_config"] = _plain(bert.config.to_dict()) | (settings.get("text_config") or {})
    missing = [name for name in ("vision_config", "text_config") if name not in settings]
    if missing:
        raise ValueError(
            f"nothing says what the model's {' and '.join(missing)} is: give --model, or --vision_weights and "
            "--text_weights, or sizes in --architecture"
        )
    tokenizer = _tokenizer(start, texts, settings["text_config"].get("vocab_size", 30522))
    try:
        config = FashionViLConfig(**settings, **fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--architecture {start.architecture or '(none)'}: {error}") from error
    if len(tokenizer) > config.text_config.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} pieces and the transformer a table of {config.text_config.vocab_size}: "
            "give the --tokenizer of the --text_weights"
        )
    config.text_config.pad_token_id = tokenizer.pad_token_id
    model = head_class(config)
    if vision is not None:
        # The head's own weights begin as its class says; only the encoder is the published one.
        start_from_backbones(model, vision=vision)
    if bert is not None and hasattr(getattr(model, "model", model), "bert"):
        start_from_backbones(model, bert=bert)
    # Published weights know pictures normalised as theirs were. Deviation: the original normalises by its own constants
    # whatever the encoder was trained with, and lets the encoder adapt.
    means = _normalisation(start.vision_weights) if start.vision_weights else {}
    images = FashionViLImageProcessor(size=config.image_size, resize=start.resize or None, **means)
    return model, FashionViLProcessor(images, tokenizer)


def _architecture(path: str) -> dict[str, Any]:
    """Fields of a configuration, as a YAML file gives them."""
    try:
        with open(path, encoding="utf-8") as file:
            settings = yaml.safe_load(file) or {}
    except OSError as error:
        raise FileNotFoundError(f"--architecture {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"--architecture {path}: not a YAML file ({problem})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"--architecture {path}: expected fields of a FashionViL configuration, `name: value`")
    return settings


def _normalisation(vision_weights: str) -> dict[str, Any]:
    """Mean and deviation of the published weights' pictures, FashionViL's where they don't say."""
    from train.engine.clip4cir import normalisation

    try:
        return normalisation(vision_weights)
    except OSError:
        logger.warning("%s has no preprocessor_config.json: pictures are normalised as FashionViL's", vision_weights)
        return {}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in ("dtype", "architectures", "auto_map")}


def _tokenizer(start: ViLStart, texts: Sequence[str], vocab_size: int) -> Any:
    from transformers import AutoTokenizer

    from train.engine.vocabulary import word_piece_tokenizer

    name = start.tokenizer or start.text_weights
    return AutoTokenizer.from_pretrained(name) if name else word_piece_tokenizer(texts, vocab_size)


def make_optimizer(model: Any, arguments: ViLOptimizer) -> torch.optim.Optimizer:
    """AdamW with the published groups; called before the model is wrapped for several processes."""
    groups = parameter_groups(
        model.named_parameters(), arguments.learning_rate, arguments.weight_decay, arguments.lr_multiplier
    )
    kind = OfficialAdamW if arguments.official_adamw else torch.optim.AdamW
    return kind(groups, lr=arguments.learning_rate, weight_decay=arguments.weight_decay)


def make_scheduler(optimizer: torch.optim.Optimizer, arguments: ViLOptimizer, total_steps: int) -> Any:
    """The learning rate of every step; None for a constant one without a rise."""
    from torch.optim.lr_scheduler import LambdaLR

    if arguments.schedule == "cosine":
        from train.engine.fashionklip import warmup_cosine

        return LambdaLR(optimizer, lambda step: warmup_cosine(step, arguments.warmup, total_steps))
    steps = arguments.lr_steps if arguments.schedule == "multistep" else []
    return LambdaLR(optimizer, lambda step: warmup_multistep(step, steps, arguments.warmup))


def uncropped(image_processor: Any) -> Any:
    """The image processor of stored training pictures: resized, and left whole for `RandomCrop`."""
    settings = _picture_settings(image_processor, image_processor.resize)
    return type(image_processor)(**(settings | {"size": image_processor.resize}))
