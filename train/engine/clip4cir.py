"""Where a CLIP4Cir training starts from: one of the official backbones, a CLIP of the Hub, a saved model, or nothing."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, nearest
from train.engine.weights import whole_model

# Official name -> the same weights on the Hub in transformers' layout. The ResNets exist as OpenAI archives only.
HUB_BACKBONES = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}
ARCHIVE_BACKBONES = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")
DEFAULT_TOKENIZER = "openai/clip-vit-base-patch32"


@dataclasses.dataclass
class BackboneArguments:
    """What the model is before training. Exactly one of model, backbone and architecture."""

    model: str | None = argument(None, "folder or Hub id of a CLIP4Cir model to go on from")
    backbone: str | None = argument(
        None,
        f"{', '.join((*ARCHIVE_BACKBONES, *HUB_BACKBONES))}, or folder or Hub id of any CLIP of transformers",
    )
    clip_checkpoint: str | None = argument(
        None, "OpenAI archive or fine-tuned CLIP4Cir .pt with the backbone's weights (needed for the ResNets)"
    )
    architecture: str | None = argument(None, "YAML file with a CLIP4Cir configuration, to start from random weights")
    vision_weights: str | None = argument(
        None, "folder or Hub id of a vision model of transformers whose weights start the image tower of --architecture"
    )
    tokenizer: str | None = argument(
        None,
        "folder or Hub id of a CLIP tokenizer; default: the model's own, CLIP's for official checkpoints, and one "
        "trained on the training captions for --architecture",
    )
    transform: Literal["targetpad", "squarepad", "clip"] | None = argument(
        None, "padding before the resize; default: what --model was trained with, else targetpad"
    )
    target_ratio: float | None = argument(
        None, "longest side ratio that targetpad leaves alone; default: that of --model, else 1.25", minimum=1.0
    )
    image_size: int | None = argument(None, "input side in pixels; default: the backbone's", minimum=1)

    def __post_init__(self) -> None:
        if self.vision_weights and not self.architecture:
            raise ValueError("--vision_weights goes with --architecture, whose image tower it fills")
        for name in ("tokenizer", "image_size"):
            if self.model and getattr(self, name):
                raise ValueError(f"--{name} cannot be changed: --model has its own")
        if not self.model:
            self.transform = self.transform or "targetpad"
            self.target_ratio = self.target_ratio or 1.25


def starting_model(arguments: BackboneArguments, captions: list[str]) -> tuple[Any, Any]:
    """Model and processor to train from.

    Args:
        arguments: the program's arguments.
        captions: training captions, from which a tokenizer is made when there is none to start from.

    Returns:
        (CLIP4CirModel, CLIP4CirProcessor)

    Raises:
        ValueError: none or several starting points; an unknown backbone; a ResNet without its archive.
        FileNotFoundError: a file that does not exist.
    """
    from modeling.clip4cir import CLIP4CirConfig, CLIP4CirImageProcessor, CLIP4CirModel, CLIP4CirProcessor

    chosen = [n for n in ("model", "backbone", "architecture") if getattr(arguments, n)]
    if len(chosen) > 1 or not (chosen or arguments.clip_checkpoint):
        raise ValueError(
            "give exactly one starting point: --model (a CLIP4Cir model), --backbone (a CLIP) or --architecture "
            f"(random weights); got {', '.join('--' + n for n in chosen) or 'none'}"
        )
    if arguments.model:
        if arguments.clip_checkpoint:
            raise ValueError("--clip_checkpoint holds the weights of a --backbone; --model has its own")
        model = fast_layout(whole_model(CLIP4CirModel, arguments.model))
        return model, _padded_as_asked(CLIP4CirProcessor.from_pretrained(arguments.model), arguments)
    if arguments.architecture:
        model, tokenizer = from_scratch(arguments, captions, CLIP4CirConfig, CLIP4CirModel)
    else:
        model = _from_clip(arguments)
        tokenizer = fitting_tokenizer(arguments.tokenizer or _own_tokenizer(arguments), model.config.text_config)
    image_processor = CLIP4CirImageProcessor(
        size=arguments.image_size or model.config.image_size,
        transform=arguments.transform,
        target_ratio=arguments.target_ratio,
        **normalisation(arguments.vision_weights),
    )
    return fast_layout(model), CLIP4CirProcessor(image_processor=image_processor, tokenizer=tokenizer)


def fast_layout(model: Any) -> Any:
    """The model with its weights in fresh memory, and its image tower's convolutions in channels-last order.

    Channels-last is about twice as fast on a CPU. Fresh memory makes runs repeatable: weights that are mapped from a
    file may lie at any address, and the order in which a matrix product sums depends on it, down to the last bit.
    """
    import torch

    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    model.vision_model.to(memory_format=torch.channels_last)
    return model


def load_tokenizer(name: str) -> Any:
    """A CLIP tokenizer by folder or Hub id.

    Raises:
        OSError: there is none, or it could not be fetched.
    """
    from transformers import CLIPTokenizer

    remedy = "check the name and the connection to the Hub, or give --tokenizer a folder with tokenizer.json"
    try:
        tokenizer = CLIPTokenizer.from_pretrained(name)
    except OSError as error:
        raise OSError(f"no tokenizer at {name} ({error}): {remedy}") from error
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        # transformers makes a tokenizer without words where it finds no vocabulary, as without a connection.
        raise OSError(f"no tokenizer at {name}, its vocabulary is missing: {remedy}, or with vocab.json and merges.txt")
    if tokenizer.model_max_length > 10_000:  # vocabulary files alone do not state it
        tokenizer.model_max_length = 77
    return tokenizer


def freeze(model: Any, frozen: list[str]) -> None:
    """Freeze the parameters whose names begin like one of `frozen`.

    Raises:
        ValueError: nothing begins with one of the names.
    """
    names = [name for name, _ in model.named_parameters()]
    for start in frozen:
        if not any(name.startswith(start) for name in names):
            raise ValueError(f"--freeze {start}: no parameter begins like this; there are {', '.join(names[:3])}, ...")
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(frozen)):
            parameter.requires_grad_(False)


def fitting_tokenizer(name: str, text_config: Any) -> Any:
    """The tokenizer by folder or Hub id, limited to the longest text that the weights take.

    Raises:
        ValueError: it has more entries than the weights, or its end isn't the largest id.
        OSError: there is none.
    """
    tokenizer = load_tokenizer(name)
    if len(tokenizer) > text_config.vocab_size or tokenizer.eos_token_id != len(tokenizer) - 1:
        raise ValueError(
            f"the tokenizer {name} has {len(tokenizer)} entries and end id {tokenizer.eos_token_id}; the weights have "
            f"{text_config.vocab_size} entries, and the end must be the last: name another one with --tokenizer"
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_config.max_position_embeddings)
    return tokenizer


def _padded_as_asked(processor: Any, arguments: BackboneArguments) -> Any:
    """The processor of a model with the padding that the arguments ask for, where they do."""
    asked = {"transform": arguments.transform, "target_ratio": arguments.target_ratio}
    settings = processor.image_processor.to_dict() | {k: v for k, v in asked.items() if v is not None}
    processor.image_processor = type(processor.image_processor).from_dict(settings)
    return processor


def image_encoder_parameters(model: Any) -> list:
    """Parameters of the image encoder: the original's `visual.*`."""
    return [p for n, p in model.named_parameters() if "vision_model." in n or "visual_projection." in n]


def choose_encoder(model: Any, encoder: str, frozen: list[str] = ()) -> None:
    """Freeze what is not trained: `both` trains all, `text` freezes the image encoder, `image` everything else.

    The logit scale never trains, as in the original, where no loss reaches it.

    Args:
        model: the model.
        encoder: both, text or image.
        frozen: starts of parameter names that are frozen too.

    Raises:
        ValueError: nothing begins with one of the names.
    """
    freeze(model, frozen)
    image = {id(p) for p in image_encoder_parameters(model)}
    for name, parameter in model.named_parameters():
        is_image = id(parameter) in image
        trains = encoder == "both" or (encoder == "image") == is_image
        held = name.endswith("logit_scale") or name.startswith(tuple(frozen))
        parameter.requires_grad_(trains and not held)


def normalisation(vision_weights: str | None) -> dict[str, Any]:
    """Mean and deviation that the image tower was trained with; CLIP's where there are no such weights."""
    if vision_weights is None:
        return {}
    from transformers.image_processing_base import ImageProcessingMixin

    settings, _ = ImageProcessingMixin.get_image_processor_dict(vision_weights)
    return {name: settings[name] for name in ("image_mean", "image_std") if name in settings}


def _from_clip(arguments: BackboneArguments) -> Any:
    from modeling.clip4cir import CLIP4CirModel
    from modeling.clip4cir.convert_clip4cir import from_clip, load_clip

    name = arguments.backbone
    if arguments.clip_checkpoint:
        if not Path(arguments.clip_checkpoint).is_file():
            raise FileNotFoundError(f"--clip_checkpoint {arguments.clip_checkpoint}: no such file")
        model = load_clip(arguments.clip_checkpoint)
        if name and name in (*ARCHIVE_BACKBONES, *HUB_BACKBONES):
            _check_backbone(name, model.config, arguments.clip_checkpoint)
        return model
    if name in ARCHIVE_BACKBONES:
        raise ValueError(
            f"--backbone {name} needs --clip_checkpoint FILE: its weights exist only as OpenAI's archive {name}.pt "
            "(addresses in modeling/clip4cir/README.md)"
        )
    known = [*ARCHIVE_BACKBONES, *HUB_BACKBONES]
    source = HUB_BACKBONES.get(name, name)
    if name not in HUB_BACKBONES and "/" not in name and not Path(name).is_dir():
        raise ValueError(
            f"--backbone {name}: neither a known name ({', '.join(known)}) nor a folder{nearest(name, known)}"
        )
    from transformers import AutoConfig, CLIPModel

    kind = AutoConfig.from_pretrained(source).model_type
    if kind == "clip4cir":
        return whole_model(CLIP4CirModel, source)
    if kind != "clip":
        raise ValueError(f"--backbone {name} is a {kind} model; expected a clip model")
    return from_clip(whole_model(CLIPModel, source))


def _check_backbone(name: str, config: Any, path: str) -> None:
    from modeling.clip4cir.convert_clip4cir import backbone_name

    found = backbone_name(config)
    if found != name:
        raise ValueError(f"{path} holds {found or 'a CLIP of another size'}, not --backbone {name}")


def _own_tokenizer(arguments: BackboneArguments) -> str:
    name = arguments.backbone
    return name if name and name not in (*ARCHIVE_BACKBONES, *HUB_BACKBONES) else DEFAULT_TOKENIZER


def from_scratch(arguments: Any, captions: list[str], config_class: type, model_class: type) -> tuple[Any, Any]:
    """A model with random weights, but for the image tower of `vision_weights`, and its tokenizer.

    Args:
        arguments: architecture (YAML file with the configuration), vision_weights and tokenizer.
        captions: what a tokenizer is trained on where none is named.
        config_class, model_class: of a model with `vision_model` and `text_model`.
    """
    import yaml

    from train.engine.vocabulary import train_tokenizer

    path = Path(arguments.architecture)
    if not path.is_file():
        raise FileNotFoundError(f"--architecture {path}: no such file")
    settings = yaml.safe_load(path.read_text("utf-8"))
    text = settings.setdefault("text_config", {})
    length = text.get("max_position_embeddings", 77)
    if arguments.tokenizer:
        tokenizer = load_tokenizer(arguments.tokenizer)
        tokenizer.model_max_length = length
    else:
        tokenizer = train_tokenizer(captions, vocab_size=text.get("vocab_size", 2048), max_length=length)
    text.update(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    if arguments.vision_weights:
        from transformers import AutoModel

        tower = whole_model(AutoModel, arguments.vision_weights, dtype="float32")
        stored = {k: v for k, v in tower.config.to_dict().items() if k not in ("dtype", "architectures", "auto_map")}
        settings["vision_config"] = {**stored, **settings.get("vision_config", {})}
        model = model_class(config_class(**settings))
        model.vision_model.load_state_dict(tower.state_dict())
        return model, tokenizer
    return model_class(config_class(**settings)), tokenizer
