"""Official weights to [`CLIP4CirModel`]: OpenAI's archives, fine-tuned CLIP files, Combiner files, transformers' CLIP.

Every dimension is read off the tensors, and every tensor is accounted for: one that is missing, unused or of another
shape is an error that names it.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPModel

from .checkpoint_reading import read_checkpoint
from .configuration_clip4cir import CLIP4CirConfig, CLIP4CirResNetConfig
from .modeling_clip4cir import CLIP4CirModel

# Scalars that OpenAI's archives hold beside the weights.
ARCHIVE_SCALARS = ("input_resolution", "context_length", "vocab_size")
HEAD_DIM = 64

# Name -> (D, image size, ViT: width, patch, layers; ResNet: width, blocks). Published by OpenAI.
BACKBONES = {
    "RN50": (1024, 224, 64, (3, 4, 6, 3)),
    "RN101": (512, 224, 64, (3, 4, 23, 3)),
    "RN50x4": (640, 288, 80, (4, 6, 10, 6)),
    "RN50x16": (768, 384, 96, (6, 8, 18, 8)),
    "RN50x64": (1024, 448, 128, (3, 15, 36, 10)),
    "ViT-B/32": (512, 224, 768, 32, 12),
    "ViT-B/16": (512, 224, 768, 16, 12),
    "ViT-L/14": (768, 224, 1024, 14, 24),
    "ViT-L/14@336px": (768, 336, 1024, 14, 24),
}

StateDict = dict[str, torch.Tensor]


def read_official(paths: Iterable[str | Path]) -> tuple[StateDict | None, StateDict | None]:
    """The CLIP and the Combiner state dict out of one or more official files.

    Args:
        paths: any of OpenAI's archives, their plain state dicts, `{"epoch", "CLIP"}` and `{"epoch", "Combiner"}` files.
            Of several with CLIP weights the fine-tuned one counts, as in the original, which loads it over OpenAI's.

    Returns:
        (CLIP, Combiner), None for what no file holds.

    Raises:
        ValueError: a file holds neither, or two files hold the same thing.
    """
    archives: dict[str, StateDict] = {}
    tuned: dict[str, StateDict] = {}
    combiners: dict[str, StateDict] = {}
    for path in map(str, paths):
        content = read_checkpoint(path)
        found = False
        for name, into in (("CLIP", tuned), ("Combiner", combiners)):
            if isinstance(content.get(name), dict):
                into[path] = _tensors(content[name], path)
                found = True
                extra = sorted(str(key) for key in content if key not in ("epoch", "CLIP", "Combiner"))
                if extra:
                    raise ValueError(f"{path} holds {extra} beside its weights; expected 'epoch', 'CLIP', 'Combiner'.")
        if not found and "combiner_layer.weight" in content:
            combiners[path] = _tensors(content, path)
        elif not found and ("text_projection" in content or "token_embedding.weight" in content):
            archives[path] = _tensors(content, path)
        elif not found:
            raise ValueError(
                f"{path} is neither a CLIP in OpenAI's layout nor a CLIP4Cir checkpoint: its first entries are "
                f"{_some(content)}. A CLIP has 'text_projection' and 'visual.conv1.weight', a checkpoint of CLIP4Cir "
                "has 'CLIP' or 'Combiner'."
            )
    for kind, files in (("fine-tuned CLIP", tuned), ("Combiner", combiners), ("OpenAI CLIP", archives)):
        if len(files) > 1:
            raise ValueError(f"More than one file holds a {kind}: {', '.join(files)}. Give one of them.")
    clip = next(iter((tuned or archives).values()), None)
    return clip, next(iter(combiners.values()), None)


def config_from_official(clip: StateDict, combiner: StateDict | None = None, **changes: Any) -> CLIP4CirConfig:
    """The configuration that the shapes of official state dicts imply.

    Args:
        clip: state dict in OpenAI's names.
        combiner: state dict of a Combiner, if there is one.
        changes: fields of the configuration to set otherwise.

    Raises:
        ValueError: a tensor that tells a size is missing, or the two don't fit each other.
    """
    text_width, dim = _shape(clip, "text_projection", 2)
    vocab_size, _ = _shape(clip, "token_embedding.weight", 2)
    text_config = {
        "vocab_size": vocab_size,
        "hidden_size": text_width,
        "intermediate_size": 4 * text_width,
        "projection_dim": dim,
        "num_hidden_layers": _count(clip, r"transformer\.resblocks\.(\d+)\."),
        "num_attention_heads": max(1, text_width // HEAD_DIM),
        "max_position_embeddings": _shape(clip, "positional_embedding", 2)[0],
        "hidden_act": "quick_gelu",
        # CLIP's start and end of text are the last two entries, and it pads with the end.
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": vocab_size - 1,
    }
    fields: dict[str, Any] = {"projection_dim": dim, "text_config": text_config}
    if "visual.proj" in clip:
        width, channels, _, patch = _shape(clip, "visual.conv1.weight", 4)
        grid = _grid(clip, "visual.positional_embedding")
        fields["vision_config"] = {
            "model_type": "clip_vision_model",
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "projection_dim": dim,
            "num_hidden_layers": _count(clip, r"visual\.transformer\.resblocks\.(\d+)\."),
            "num_attention_heads": max(1, width // HEAD_DIM),
            "num_channels": channels,
            "image_size": patch * grid,
            "patch_size": patch,
            "hidden_act": "quick_gelu",
        }
        fields["vision_feature_dim"] = width
    else:
        fields["vision_config"] = CLIP4CirResNetConfig(
            layers=tuple(_count(clip, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
            width=_shape(clip, "visual.layer1.0.conv1.weight", 4)[0],
            image_size=32 * _grid(clip, "visual.attnpool.positional_embedding"),
            output_dim=dim,
        )
    if combiner is not None:
        projection_dim, combiner_dim = _shape(combiner, "text_projection_layer.weight", 2)
        if combiner_dim != dim:
            raise ValueError(
                f"The Combiner was trained on features of size {combiner_dim} and the CLIP gives {dim}: they belong to "
                f"different backbones ({', '.join(n for n, sizes in BACKBONES.items() if sizes[0] == combiner_dim)} "
                f"have {combiner_dim})."
            )
        fields["combiner_type"] = "combiner"
        fields["combiner_projection_dim"] = projection_dim
        fields["combiner_hidden_dim"] = _shape(combiner, "combiner_layer.weight", 2)[0]
    return CLIP4CirConfig(**{**fields, **changes})


def to_model_keys(clip: StateDict, combiner: StateDict | None = None) -> StateDict:
    """Official state dicts under the names of [`CLIP4CirModel`], in float32.

    A name that isn't OpenAI's keeps its name, so that loading reports it as unused.
    """
    is_vit = "visual.proj" in clip
    state: StateDict = {}
    for key, tensor in clip.items():
        if key in ARCHIVE_SCALARS:
            continue
        for name, value in _renamed(key, tensor, is_vit):
            state[name] = _as_float32(value)
    for key, tensor in (combiner or {}).items():
        state[f"combiner.{key}"] = _as_float32(tensor)
    return state


def model_from_official(clip: StateDict, combiner: StateDict | None = None, **changes: Any) -> CLIP4CirModel:
    """A float32 model in evaluation mode from official state dicts; arguments as in [`config_from_official`].

    Deviation: the weights keep float32. The original's loader rounds most of them to half precision when it evaluates
    on a GPU (on a CPU it doesn't); [`round_to_half`] and the converter's `official_half_precision_weights` do that.

    Raises:
        ValueError: a tensor is missing, unused or of another shape than the model's; the message names them.
    """
    config = config_from_official(clip, combiner, **changes)
    state = to_model_keys(clip, combiner)
    with torch.device("meta"):
        skeleton = CLIP4CirModel(config)
    wanted = skeleton.state_dict()
    # Files written before 2018's PyTorch, and OpenAI's archives, may lack the counters, which nothing here reads.
    for name in wanted.keys() - state.keys():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
    _check_keys(state, wanted)
    return CLIP4CirModel.from_pretrained(None, config=config, state_dict=state, dtype=torch.float32)


def load_clip(path: str | Path, **changes: Any) -> CLIP4CirModel:
    """The model of stage 1 (sum) from an OpenAI archive or a fine-tuned CLIP file; `changes` as above."""
    clip, _ = read_official([path])
    if clip is None:
        raise ValueError(f"{path} holds a Combiner only; give the file with the CLIP weights.")
    return model_from_official(clip, **changes)


def from_clip(clip: CLIPModel, **changes: Any) -> CLIP4CirModel:
    """The model of stage 1 from a CLIP of transformers; `changes` are fields of the configuration.

    Raises:
        ValueError: a tensor of one of the two has no place in the other.
    """
    text_config, vision_config = clip.config.text_config.to_dict(), clip.config.vision_config.to_dict()
    # Early exports say 2, which was never CLIP's end of text; the pooling here doesn't read it.
    text_config["eos_token_id"] = text_config["vocab_size"] - 1
    fields = {
        "text_config": text_config,
        "vision_config": vision_config,
        "projection_dim": clip.config.projection_dim,
        "vision_feature_dim": vision_config["hidden_size"],
    }
    model = CLIP4CirModel(CLIP4CirConfig(**{**fields, **changes}))
    state = {name: tensor.float() for name, tensor in clip.state_dict().items() if not name.endswith("position_ids")}
    _check_keys(state, {n: t for n, t in model.state_dict().items() if not n.startswith("combiner.")})
    model.load_state_dict(state, strict=False)
    return model.eval()


def rounded_parameters(model: CLIP4CirModel) -> dict[str, nn.Parameter]:
    """What the original's loader keeps in half precision, by the model's names.

    Those are the weights and biases of convolutions and linear layers (attention and projections included) of both
    towers; norms, embeddings, positions, the logit scale and the Combiner keep their float32 values.
    """
    return {
        f"{name}.{kind}": parameter
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and not name.startswith("combiner.")
        for kind, parameter in module.named_parameters(recurse=False)
    }


@torch.no_grad()
def round_to_half(model: CLIP4CirModel) -> CLIP4CirModel:
    """Round [`rounded_parameters`] to half precision in place, as the original does when it evaluates on a GPU."""
    for parameter in rounded_parameters(model).values():
        parameter.copy_(parameter.half().to(parameter.dtype))
    return model


def backbone_name(config: CLIP4CirConfig) -> str | None:
    """The published name of a configuration's backbone, None for one that OpenAI didn't publish."""
    vision = config.vision_config
    if config.has_resnet:
        sizes = (config.projection_dim, vision.image_size, vision.width, tuple(vision.layers))
    elif vision.model_type == "clip_vision_model":
        sizes = (
            config.projection_dim,
            config.image_size,
            vision.hidden_size,
            vision.patch_size,
            vision.num_hidden_layers,
        )
    else:
        return None
    return next((name for name, known in BACKBONES.items() if known == sizes), None)


# OpenAI's names inside a transformer block -> transformers' names.
BLOCK_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
WHOLE_NAMES = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}


def _renamed(key: str, tensor: torch.Tensor, is_vit: bool) -> list[tuple[str, torch.Tensor]]:
    """The entries of the model that one official entry becomes."""
    if key in WHOLE_NAMES:
        return [(WHOLE_NAMES[key], tensor)]
    # OpenAI multiplies by these from the right; a linear layer stores the transpose.
    if key == "text_projection":
        return [("text_projection.weight", tensor.T.contiguous())]
    if key == "visual.proj":
        return [("visual_projection.weight", tensor.T.contiguous())]
    block = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)", key)
    if block:
        tower = "vision_model" if block[1] else "text_model"
        prefix = f"{tower}.encoder.layers.{block[2]}"
        inside = block[3]
        if inside in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = inside.removeprefix("attn.in_proj_")
            parts = zip("qkv", tensor.chunk(3), strict=True)
            return [(f"{prefix}.self_attn.{letter}_proj.{kind}", part.contiguous()) for letter, part in parts]
        module, _, kind = inside.rpartition(".")
        return [(f"{prefix}.{BLOCK_NAMES.get(module, module)}.{kind}", tensor)]
    if key == "visual.conv1.weight" and is_vit:
        return [("vision_model.embeddings.patch_embedding.weight", tensor)]
    if key.startswith("visual."):
        return [(key.replace("visual.", "vision_model.", 1), tensor)]
    return [(key, tensor)]


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


def _tensors(state: dict[str, Any], path: str) -> StateDict:
    other = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise ValueError(f"{path}: these entries of the state dict aren't tensors: {_some(other)}.")
    return state


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


def _grid(state: StateDict, key: str) -> int:
    positions = _shape(state, key, 2)[0] - 1
    grid = math.isqrt(max(positions, 0))
    if grid < 1 or grid * grid != positions:
        raise ValueError(f"{key!r} has {positions + 1} positions; expected a square number and one.")
    return grid


def _some(names: Iterable[Any], limit: int = 8) -> str:
    names = [str(name) for name in names]
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
