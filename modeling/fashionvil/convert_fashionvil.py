"""Official FashionViL checkpoints (the original's fork of MMF) to the classes of this folder.

Sizes are read off the tensors, and every entry is accounted for: a tensor that is missing, unused or of another shape is
an error that names it; what isn't weights (the optimizer's state, counters) is left out and counted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from .checkpoint_reading import read_checkpoint
from .configuration_fashionvil import FashionViLConfig, FashionViLImageTokenizerConfig
from .heads_fashionvil import FashionViLForClassification, FashionViLForComposition, FashionViLForRetrieval
from .image_tokenizer_fashionvil import FashionViLImageTokenizer
from .modeling_fashionvil import FashionViLModel
from .outfits_fashionvil import FashionViLForOutfitRetrieval
from .pretraining_fashionvil import FashionViLForPreTraining

HEAD_DIM = 64
# What distributed training puts in front of every name.
PREFIX = "module."
TOKENIZER_PREFIX = "model.image_tokenizer."

# Kind of checkpoint -> the class that it becomes. "encoders" takes what fine-tuning starts from out of any other kind.
MODEL_CLASSES: dict[str, type[PreTrainedModel]] = {
    "pretraining": FashionViLForPreTraining,
    "retrieval": FashionViLForRetrieval,
    "composition": FashionViLForComposition,
    "classification": FashionViLForClassification,
    "outfits": FashionViLForOutfitRetrieval,
    "tokenizer": FashionViLImageTokenizer,
    "encoders": FashionViLModel,
}

StateDict = dict[str, torch.Tensor]


@dataclass
class OfficialCheckpoint:
    """What an official file holds.

    Args:
        state_dict: the weights in the original's names, without `module.`.
        kind: a key of `MODEL_CLASSES`; image-text and text-guided retrieval have the same weights, and "retrieval" stands
            for both.
        updates: finished updates, as a training checkpoint says.
        ignored: what was left out -> a word about it.
    """

    state_dict: StateDict
    kind: str
    updates: int | None = None
    ignored: dict[str, str] = field(default_factory=dict)


def read_official(path: str | Path) -> OfficialCheckpoint:
    """Read an official checkpoint without executing anything in it.

    Args:
        path: a bare state dict, or a training checkpoint with the state dict as `model`; names with or without `module.`.
            The image tokenizer's file is a bare state dict too.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is refused, isn't a FashionViL, or holds something that has no place here.
    """
    path = Path(path)
    content = read_checkpoint(path)
    found = OfficialCheckpoint({}, "")
    if isinstance(content.get("model"), dict):
        _read_entries(content, found, path)
        content = content["model"]
    other = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise ValueError(f"{path}: these entries of the state dict aren't tensors: {_some(other)}.")
    if any(name.startswith(PREFIX) for name in content):
        without = [name for name in content if not name.startswith(PREFIX)]
        if without:
            raise ValueError(
                f"{path}: some names begin with {PREFIX!r} and {len(without)} don't: {_some(without)}. They belong to "
                "different models; save one of them."
            )
    found.state_dict = {name.removeprefix(PREFIX): tensor for name, tensor in content.items()}
    found.kind = kind_of(found.state_dict, str(path))
    return found


def _read_entries(content: dict[str, Any], found: OfficialCheckpoint, path: Path) -> None:
    """What stands beside the weights of a training checkpoint."""
    # MMF's trainer writes these; none holds weights of the model.
    states = ("optimizer", "lr_scheduler", "scaler")
    for name, value in content.items():
        tensors = _count_tensors(value)
        if name == "num_updates" and isinstance(value, int) and not isinstance(value, bool):
            found.updates = value
        elif name in states:
            found.ignored[name] = f"{tensors} tensors of the training's state"
        elif name != "model" and tensors and not (isinstance(value, torch.Tensor) and value.numel() == 1):
            raise ValueError(
                f"{path} holds {tensors} tensors in {name!r} beside its 'model'; expected {', '.join(states)} and numbers. "
                "Save the weights that you mean as 'model'."
            )
        elif name != "model":
            found.ignored[str(name)] = f"{type(value).__name__} without weights"


def _count_tensors(value: Any) -> int:
    count, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            count += 1
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
    return count


def kind_of(state: StateDict, where: str = "The state dict") -> str:
    """The kind of model that the names of an official state dict belong to.

    Raises:
        ValueError: they belong to no kind.
    """
    signs = {
        "proj_layer.": "outfits",
        "model.classifier.": "classification",
        "model.heads.": "pretraining",
        "model.contrastive_norm.": "pretraining",
        "model.norm_layer.": "retrieval",
        "quantize.embedding.": "tokenizer",
        "model.bert.": "encoders",
    }
    for prefix, kind in signs.items():
        if any(name.startswith(prefix) for name in state):
            return kind
    hint = ""
    if any(name.startswith("model.image_encoder.") for name in state):
        hint = " These are the names of this project: load the model folder with from_pretrained."
    raise ValueError(
        f"{where} is no FashionViL in the original's layout: its first entries are {_some(state)}. Expected "
        f"'image_encoder.model.0.weight', 'model.bert.embeddings...', or the image tokenizer's names.{hint}"
    )


def config_from_official(
    state: StateDict,
    kind: str | None = None,
    text_heads: int | None = None,
    tokenizer: dict[str, Any] | None = None,
    **changes: Any,
) -> FashionViLConfig | FashionViLImageTokenizerConfig:
    """The configuration that the shapes of a state dict imply.

    Args:
        state: in the original's names.
        kind: as in [`model_from_official`].
        text_heads: attention heads of the transformer; None: width / 64, as in every published BERT.
        tokenizer: fields of the image tokenizer that no tensor tells: `image_size`, `group_norm_groups`.
        changes: fields of the configuration to set otherwise, `image_size` in pixels among them (default: 224).

    Raises:
        ValueError: a tensor that tells a size is missing.
    """
    kind = kind or kind_of(state)
    if kind == "tokenizer":
        return FashionViLImageTokenizerConfig(**{**_tokenizer_fields(state, **(tokenizer or {})), **changes})
    vision = _vision_fields(state)
    vision["image_size"] = changes.pop("image_size", 224)
    fields: dict[str, Any] = {"vision_config": vision, "vision_feature_dim": vision["hidden_sizes"][-1]}
    if kind == "outfits":
        dim, _ = _shape(state, "proj_layer.weight", 2)
        subspace_dim, pairs = _shape(state, "fusion_module.weight_classifier.0.weight", 2)
        fields |= {
            "outfit_embedding_dim": dim,
            "outfit_categories": pairs // 2,
            "outfit_conditions": _shape(state, "fusion_module.masks.weight", 2)[0],
            "outfit_subspace_dim": subspace_dim,
            # The original has no other way.
            "official_outfit_target": True,
            "outfit_frozen_stages": [len(vision["depths"])],
        }
        return FashionViLConfig(**{**fields, **changes})
    fields["text_config"] = _text_fields(state, text_heads)
    fields["share_encoders"] = not any(name.startswith("model.bert_2.") for name in state)
    if kind == "classification":
        fields["num_labels"] = _shape(state, "model.classifier.1.weight", 2)[0]
    if kind == "pretraining":
        fields["num_attributes"] = _shape(state, "model.heads.pac.projection", 2)[1]
        fields["num_codes"] = _shape(state, "model.heads.mpfc.1.weight", 2)[0]
        own = _tokenizer_state(state)
        if own:
            fields["tokenizer_config"] = _tokenizer_fields(own, **(tokenizer or {}))
    return FashionViLConfig(**{**fields, **changes})


def model_from_official(
    state: StateDict,
    kind: str | None = None,
    text_heads: int | None = None,
    tokenizer: dict[str, Any] | None = None,
    **changes: Any,
) -> PreTrainedModel:
    """A float32 model in evaluation mode from a state dict in the original's names.

    Args:
        state: in the original's names, without `module.`.
        kind: a key of `MODEL_CLASSES`; None: told by the names. "composition" must be asked for, since its weights are
            those of "retrieval". "encoders" takes the image encoder and the transformer alone, and leaves heads out.
        text_heads, tokenizer, changes: as in [`config_from_official`].

    Raises:
        ValueError: a tensor is missing, unused, of another shape than the model's, or not finite; the message names it.
    """
    told = kind_of(state)
    kind = kind or told
    if kind not in MODEL_CLASSES:
        raise ValueError(f"kind must be one of {', '.join(MODEL_CLASSES)}; got {kind!r}.")
    if kind not in (told, "encoders") and (told, kind) != ("retrieval", "composition"):
        raise ValueError(f"These are the weights of kind {told!r}; they can't become {kind!r}.")
    if kind == "encoders":
        if told in ("outfits", "tokenizer"):
            raise ValueError(f"Weights of kind {told!r} have no transformer; convert them as they are.")
        state = {name: value for name, value in state.items() if name.startswith(("image_encoder.", "model.bert"))}
    config = config_from_official(state, kind, text_heads, tokenizer, **changes)
    converted = to_model_keys(state, kind)
    with torch.device("meta"):
        wanted = MODEL_CLASSES[kind](config).state_dict()
    _check_keys(converted, wanted)
    _check_finite(converted)
    return MODEL_CLASSES[kind].from_pretrained(None, config=config, state_dict=converted, dtype=torch.float32)


def load_official(path: str | Path, kind: str | None = None, **options: Any) -> PreTrainedModel:
    """The model in a file that [`read_official`] understands; options as in [`model_from_official`]."""
    return model_from_official(read_official(path).state_dict, kind, **options)


def to_model_keys(state: StateDict, kind: str) -> StateDict:
    """A state dict in the original's names under those of the kind's class, in float32.

    A name that isn't the original's keeps its name, so that loading reports it as unused.

    Raises:
        ValueError: an entry that should be a copy of another one isn't.
    """
    renamed = {}
    for key, tensor in state.items():
        if key.endswith(".embeddings.position_ids"):
            # 0, 1, 2, ...: a buffer, not a weight.
            continue
        if key in COPIES:
            # Stored twice, since the original shares the tensor.
            if COPIES[key] in state and not torch.equal(tensor, state[COPIES[key]]):
                raise ValueError(f"{key!r} differs from {COPIES[key]!r}, with which the original shares it.")
            if COPIES[key] in state:
                continue
        renamed[model_key(key, kind)] = _as_float32(tensor)
    return renamed


# Entry -> the entry that it is a second copy of.
COPIES = {
    "model.heads.mlm.decoder.weight": "model.bert.embeddings.word_embeddings.weight",
    "model.heads.mlm.decoder.bias": "model.heads.mlm.bias",
}


def model_key(key: str, kind: str) -> str:
    """The name, in the kind's class, of an official entry."""
    if kind == "tokenizer":
        return key
    inner = "" if kind in ("outfits", "encoders") else "model."
    stem = re.fullmatch(r"image_encoder\.model\.([01])\.(\w+)", key)
    if stem:
        part = ("convolution", "normalization")[int(stem[1])]
        return f"{inner}image_encoder.embedder.embedder.{part}.{stem[2]}"
    block = re.fullmatch(r"image_encoder\.model\.([4-9])\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", key)
    if block:
        prefix = f"{inner}image_encoder.encoder.stages.{int(block[1]) - 4}.layers.{block[2]}"
        number = int(block[4])
        if block[3] == "downsample.":
            return f"{prefix}.shortcut.{('convolution', 'normalization')[number % 2]}.{block[5]}"
        part = "convolution" if block[3] == "conv" else "normalization"
        return f"{prefix}.layer.{number - 1}.{part}.{block[5]}"
    if key.startswith("model.bert"):
        return inner + key.removeprefix("model.")
    return key.removeprefix("model.")


def _vision_fields(state: StateDict) -> dict[str, Any]:
    """The residual network of torchvision's kind whose blocks the weights are."""
    sizes, depths = [], []
    basic = "image_encoder.model.4.0.conv3.weight" not in state
    last = 2 if basic else 3
    while (first := f"image_encoder.model.{len(sizes) + 4}.0.conv{last}.weight") in state:
        depths.append(_count(state, rf"image_encoder\.model\.{len(sizes) + 4}\.(\d+)\."))
        sizes.append(_shape(state, first, 4)[0])
    width, channels, _, _ = _shape(state, "image_encoder.model.0.weight", 4)
    if not sizes:
        raise ValueError("The weights have no residual stage ('image_encoder.model.4.0...'): another architecture.")
    return {
        "model_type": "resnet",
        "num_channels": channels,
        "embedding_size": width,
        "hidden_sizes": sizes,
        "depths": depths,
        "layer_type": "basic" if basic else "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }


def _text_fields(state: StateDict, text_heads: int | None) -> dict[str, Any]:
    vocab_size, width = _shape(state, "model.bert.embeddings.word_embeddings.weight", 2)
    heads = max(1, width // HEAD_DIM) if text_heads is None else text_heads
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(f"A transformer of width {width} can't be split into {heads!r} attention heads.")
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": _shape(state, "model.bert.encoder.layer.0.intermediate.dense.weight", 2)[0],
        "num_hidden_layers": _count(state, r"model\.bert\.encoder\.layer\.(\d+)\."),
        "num_attention_heads": heads,
        "max_position_embeddings": _shape(state, "model.bert.embeddings.position_embeddings.weight", 2)[0],
        "type_vocab_size": _shape(state, "model.bert.embeddings.token_type_embeddings.weight", 2)[0],
    }


def _tokenizer_state(state: StateDict) -> StateDict:
    return {
        key.removeprefix(TOKENIZER_PREFIX): value for key, value in state.items() if key.startswith(TOKENIZER_PREFIX)
    }


def _tokenizer_fields(state: StateDict, image_size: int = 224, group_norm_groups: int = 32) -> dict[str, Any]:
    """Sizes of the image tokenizer; its resolution and its groups stand in no tensor."""
    hidden_dim = _shape(state, "encoder.conv_in.weight", 4)[0]
    levels = _count(state, r"encoder\.down\.(\d+)\.")
    widths = [_shape(state, f"encoder.down.{n}.block.0.conv1.weight", 4)[0] for n in range(levels)]
    attends = [n for n in range(levels) if f"encoder.down.{n}.attn.0.q.weight" in state]
    num_codes, code_dim = _shape(state, "quantize.embedding.weight", 2)
    return {
        "image_size": image_size,
        "num_codes": num_codes,
        "code_dim": code_dim,
        "hidden_dim": hidden_dim,
        "channel_multipliers": [width // hidden_dim for width in widths],
        "num_res_blocks": _count(state, r"encoder\.down\.0\.block\.(\d+)\."),
        "attention_resolutions": [image_size // 2**n for n in attends],
        "latent_dim": _shape(state, "encoder.conv_out.weight", 4)[0],
        "group_norm_groups": group_norm_groups,
        "has_decoder": any(name.startswith("decoder.") for name in state),
    }


def backbone_name(config: FashionViLConfig) -> str | None:
    """The usual name of a configuration's image encoder, None for one without."""
    vision = config.vision_config
    known = {("bottleneck", 3, 4, 6, 3): "ResNet-50", ("bottleneck", 3, 4, 23, 3): "ResNet-101"}
    if vision.model_type != "resnet" or list(vision.hidden_sizes) != [256, 512, 1024, 2048]:
        return None
    return known.get((vision.layer_type, *vision.depths))


def _check_finite(state: StateDict) -> None:
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{len(broken)} tensors hold numbers that aren't finite: {_some(broken)}. The training broke down (the original's "
            "does when no word of a batch is masked); take an earlier checkpoint."
        )


def _check_keys(state: StateDict, wanted: StateDict) -> None:
    missing = sorted(wanted.keys() - state.keys())
    unused = sorted(state.keys() - wanted.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)} in the file and {tuple(wanted[name].shape)} in the model"
        for name in sorted(wanted.keys() & state.keys())
        if state[name].shape != wanted[name].shape
    ]
    problems = []
    for title, names in (("missing", missing), ("not used", unused), ("of another shape", shapes)):
        if names:
            problems.append(f"{len(names)} {title}: {_some(names)}")
    if problems:
        raise ValueError(
            "The weights don't fit the model that their sizes describe (names are the model's). " + "; ".join(problems)
        )


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, so that the model doesn't share memory with what was read; counters stay whole numbers."""
    return tensor.to(torch.int64 if tensor.dtype == torch.int64 else torch.float32, copy=True)


def _shape(state: StateDict, key: str, dims: int) -> tuple[int, ...]:
    if key not in state:
        raise ValueError(
            f"The weights have no {key!r}, from which a size is read: this is another architecture, or a part is "
            f"missing. There are: {_some(state)}."
        )
    shape = tuple(state[key].shape)
    if len(shape) != dims or 0 in shape:
        raise ValueError(f"{key!r} has shape {shape}; expected {dims} dimensions.")
    return shape


def _count(state: StateDict, pattern: str) -> int:
    """Number of blocks whose index stands in the first group of the pattern, which matches at the start of a name."""
    indices = {int(found[1]) for key in state if (found := re.match(pattern, key))}
    if not indices:
        raise ValueError(f"The weights have no entry like {pattern!r}: this is another architecture.")
    return max(indices) + 1


def _some(names: Iterable[Any], limit: int = 8) -> str:
    names = [str(name) for name in names]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
