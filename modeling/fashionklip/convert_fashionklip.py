"""Official weights to [`FashionKLIPModel`] and back: the original's four file layouts, and transformers' `CLIPModel`.

Every dimension is read off the tensors, and every entry is accounted for: a tensor that is missing, unused or of
another shape is an error that names it; what isn't weights (the optimizer's state) is left out and counted.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from .checkpoint_reading import read_checkpoint
from .configuration_fashionklip import FashionKLIPConfig
from .modeling_fashionklip import FashionKLIPModel

# Scalars that OpenAI's archives hold beside the weights.
ARCHIVE_SCALARS = ("input_resolution", "context_length", "vocab_size")
HEAD_DIM = 64
# What distributed training and EasyNLP put in front of every name.
PREFIXES = ("module.", "open_clip.")
# Files of an EasyNLP folder, the first that exists counts.
FOLDER_WEIGHTS = ("pytorch_model.bin", "model.safetensors")

# Name -> (D, image size, width, patch, layers). The original offers the first two.
BACKBONES = {
    "ViT-B/32": (512, 224, 768, 32, 12),
    "ViT-L/14": (768, 224, 1024, 14, 24),
    "ViT-B/16": (512, 224, 768, 16, 12),
    "ViT-L/14@336px": (768, 336, 1024, 14, 24),
}

StateDict = dict[str, torch.Tensor]


@dataclass
class OfficialCheckpoint:
    """What a file of the original, of OpenAI or of EasyNLP holds.

    Args:
        state_dict: the weights in OpenAI's names, without a prefix.
        layout: "openai" (an archive, or its plain state dict with the three scalars), "training", "easynlp" or "flat".
        epoch: number of finished epochs, as a training checkpoint says.
        name: the run's name, as a training checkpoint says.
        text_heads: attention heads of the text tower, where a configuration states them; None: width / 64.
        ignored: what was left out -> a word about it.
    """

    state_dict: StateDict
    layout: str
    epoch: int | None = None
    name: str | None = None
    text_heads: int | None = None
    ignored: dict[str, str] = field(default_factory=dict)


def read_official(path: str | Path) -> OfficialCheckpoint:
    """Read a checkpoint of any of the four layouts without executing anything in it.

    Args:
        path: OpenAI's archive, a training checkpoint (`epoch`, `name`, `state_dict`, `optimizer`, names with or without
            `module.`), a plain state dict, or EasyNLP's model folder (or the weights file in it).

    Raises:
        FileNotFoundError: there is no such file, or the folder lacks one.
        ValueError: the file is refused, isn't a CLIP, or holds something that has no place here.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    content = read_checkpoint(path)
    found = OfficialCheckpoint({}, "flat")
    if isinstance(content.get("state_dict"), dict):
        found.layout = "training"
        _read_entries(content, found, path)
        content = content["state_dict"]
    elif isinstance(content.get("CLIP"), dict) or isinstance(content.get("Combiner"), dict):
        raise ValueError(f"{path} is a checkpoint of CLIP4Cir, not of FashionKLIP; convert it as that.")
    state = _tensors(content, str(path))
    state, prefixes = _without_prefixes(state, path)
    if "open_clip." in prefixes:
        found.layout = "easynlp"
    scalars = [name for name in ARCHIVE_SCALARS if name in state]
    if len(scalars) == len(ARCHIVE_SCALARS) and found.layout == "flat":
        found.layout = "openai"
    for name in scalars:
        found.ignored[name] = "a size, which the weights tell as well"
    found.state_dict = {name: tensor for name, tensor in state.items() if name not in ARCHIVE_SCALARS}
    _check_is_clip(found.state_dict, path)
    return found


def _read_folder(folder: Path) -> OfficialCheckpoint:
    """EasyNLP's folder: `config.json` with the sizes, and the weights beside it."""
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} has no config.json: expected a model folder of EasyNLP, or give a file.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "open_clip":
        raise ValueError(
            f"{file} says model_type {kind!r}; a folder of EasyNLP's CLIP says 'open_clip'. Folders in the layout of "
            "transformers are loaded with from_pretrained, see `from_clip`."
        )
    weights = next((folder / name for name in FOLDER_WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise FileNotFoundError(f"{folder} has no weights; expected {' or '.join(FOLDER_WEIGHTS)}.")
    found = read_official(weights)
    found.layout = "easynlp"
    found.text_heads = config.get("transformer_heads")
    derived = official_sizes(config_from_official(found.state_dict, text_heads=found.text_heads))
    wrong = [
        f"{name} is {config[name]!r} there and {value!r} in the weights"
        for name, value in derived.items()
        if name in config and config[name] != value
    ]
    if wrong:
        raise ValueError(f"{file} does not describe {weights.name} beside it: {'; '.join(wrong)}.")
    return found


def _read_entries(content: dict[str, Any], found: OfficialCheckpoint, path: Path) -> None:
    """What stands beside the weights of a training checkpoint."""
    for name, value in content.items():
        tensors = _count_tensors(value)
        if name == "epoch" and isinstance(value, int) and not isinstance(value, bool):
            found.epoch = value
        elif name == "name" and isinstance(value, str):
            found.name = value
        elif name == "optimizer":
            found.ignored[name] = f"{tensors} tensors of the optimizer's state, which the original doesn't restore"
        elif name != "state_dict" and tensors:
            raise ValueError(
                f"{path} holds {tensors} tensors in {name!r} beside its 'state_dict'; expected 'epoch', 'name', "
                "'state_dict' and 'optimizer'. Save the weights that you mean as 'state_dict'."
            )
        elif name != "state_dict":
            found.ignored[str(name)] = f"{type(value).__name__} without tensors"


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


def _without_prefixes(state: StateDict, path: Path) -> tuple[StateDict, list[str]]:
    """The state dict without what stands in front of every name, and what that was."""
    found: list[str] = []
    while state:
        prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        without = [name for name in state if not name.startswith(prefix)]
        if without:
            raise ValueError(
                f"{path}: some names begin with {prefix!r} and {len(without)} don't: {_some(without)}. They belong to "
                "different models; save one of them."
            )
        found.append(prefix)
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state, found


def _check_is_clip(state: StateDict, path: Path) -> None:
    if "text_projection" in state and "token_embedding.weight" in state:
        return
    hint = ""
    if any(name.startswith(("text_model.", "vision_model.")) for name in state):
        hint = " These are the names of transformers: give the model folder, not the file."
    raise ValueError(
        f"{path} is no CLIP in OpenAI's layout: its first entries are {_some(state)}. Expected 'text_projection', "
        f"'token_embedding.weight', 'visual.conv1.weight', ...{hint}"
    )


def config_from_official(clip: StateDict, text_heads: int | None = None, **changes: Any) -> FashionKLIPConfig:
    """The configuration that the shapes of a state dict imply.

    Args:
        clip: state dict in OpenAI's names.
        text_heads: attention heads of the text tower; None: width / 64, as in every model that OpenAI published.
        changes: fields of the configuration to set otherwise.

    Raises:
        ValueError: a tensor that tells a size is missing, or the image tower is a ResNet.
    """
    if any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in clip):
        raise ValueError(
            "The image tower of these weights is CLIP's ResNet (RN50, RN101, RN50x4, ...), which FashionKLIP never "
            "used. Take a ViT: the archive of ViT-B/32, ViT-B/16 or ViT-L/14, or its copy on the Hub "
            "(openai/clip-vit-base-patch32, ...). CLIP4Cir's converter reads the ResNets."
        )
    text_width, dim = _shape(clip, "text_projection", 2)
    vocab_size, _ = _shape(clip, "token_embedding.weight", 2)
    width, channels, _, patch = _shape(clip, "visual.conv1.weight", 4)
    heads = max(1, text_width // HEAD_DIM) if text_heads is None else text_heads
    vision_heads = max(1, width // HEAD_DIM)
    for size, count in ((text_width, heads), (width, vision_heads)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1 or size % count:
            raise ValueError(f"A tower of width {size} can't be split into {count!r} attention heads.")
    fields: dict[str, Any] = {
        "projection_dim": dim,
        "vision_feature_dim": width,
        "text_config": {
            "vocab_size": vocab_size,
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "projection_dim": dim,
            "num_hidden_layers": _count(clip, r"transformer\.resblocks\.(\d+)\."),
            "num_attention_heads": heads,
            "max_position_embeddings": _shape(clip, "positional_embedding", 2)[0],
            "hidden_act": "quick_gelu",
            # CLIP's start and end of text are the last two entries, and it pads with the end.
            "bos_token_id": vocab_size - 2,
            "eos_token_id": vocab_size - 1,
            "pad_token_id": vocab_size - 1,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "projection_dim": dim,
            "num_hidden_layers": _count(clip, r"visual\.transformer\.resblocks\.(\d+)\."),
            "num_attention_heads": vision_heads,
            "num_channels": channels,
            "image_size": patch * _grid(clip, "visual.positional_embedding"),
            "patch_size": patch,
            "hidden_act": "quick_gelu",
        },
    }
    return FashionKLIPConfig(**{**fields, **changes})


def official_sizes(config: FashionKLIPConfig) -> dict[str, int]:
    """The sizes that the original's configuration files name, of a model with CLIP's image tower."""
    text, vision = config.text_config, config.vision_config
    return {
        "embed_dim": config.projection_dim,
        "image_resolution": config.image_size,
        "vision_layers": vision.num_hidden_layers,
        "vision_width": vision.hidden_size,
        "vision_patch_size": vision.patch_size,
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "transformer_width": text.hidden_size,
        "transformer_heads": text.num_attention_heads,
        "transformer_layers": text.num_hidden_layers,
    }


def to_model_keys(clip: StateDict) -> StateDict:
    """A state dict in OpenAI's names under those of [`FashionKLIPModel`], in float32.

    A name that isn't OpenAI's keeps its name, so that loading reports it as unused.
    """
    return {
        name: _as_float32(value)
        for key, tensor in clip.items()
        if key not in ARCHIVE_SCALARS
        for name, value in _renamed(key, tensor)
    }


def model_from_official(clip: StateDict, text_heads: int | None = None, **changes: Any) -> FashionKLIPModel:
    """A float32 model in evaluation mode from a state dict in OpenAI's names; arguments as in [`config_from_official`].

    Deviation: the weights are taken as stored. The original rounds most of them to half precision when it starts from
    OpenAI's file; [`round_to_half`] and the converter's `official_half_precision_weights` do that.

    Raises:
        ValueError: a tensor is missing, unused, of another shape than the model's, or not finite; the message names it.
    """
    config = config_from_official(clip, text_heads, **changes)
    state = to_model_keys(clip)
    with torch.device("meta"):
        wanted = FashionKLIPModel(config).state_dict()
    _check_keys(state, wanted)
    _check_finite(state)
    return FashionKLIPModel.from_pretrained(None, config=config, state_dict=state, dtype=torch.float32)


def load_official(path: str | Path, **changes: Any) -> FashionKLIPModel:
    """The model in a file or folder that [`read_official`] understands; `changes` as above."""
    found = read_official(path)
    return model_from_official(found.state_dict, found.text_heads, **changes)


def from_clip(clip: CLIPModel, **changes: Any) -> FashionKLIPModel:
    """A float32 model from a CLIP of transformers; `changes` are fields of the configuration.

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
        "logit_scale_init_value": clip.config.logit_scale_init_value,
        "vision_feature_dim": vision_config["hidden_size"],
    }
    model = FashionKLIPModel(FashionKLIPConfig(**{**fields, **changes}))
    state = {name: tensor.float() for name, tensor in clip.state_dict().items() if not name.endswith("position_ids")}
    _check_keys(state, model.state_dict())
    model.load_state_dict(state)
    return model.eval()


def to_clip_model(model: FashionKLIPModel, eos_token_id: int | None = None) -> CLIPModel:
    """A plain `CLIPModel` of transformers with a copy of the weights, in evaluation mode, of the same type.

    Args:
        model: a model with CLIP's image tower.
        eos_token_id: the tokenizer's end of text, at whose first place a `CLIPModel` pools; None takes the
            configuration's. The features are those of the model for every text that has an end.

    Raises:
        ValueError: the image tower isn't CLIP's vision transformer.
    """
    _check_clip_vision(model, "a CLIPModel")
    config = model.config
    text_config, vision_config = config.text_config.to_dict(), config.vision_config.to_dict()
    for tower in (text_config, vision_config):
        tower["projection_dim"] = config.projection_dim
    if eos_token_id is not None:
        text_config["eos_token_id"] = eos_token_id
    clip = CLIPModel(
        CLIPConfig(
            text_config=text_config,
            vision_config=vision_config,
            projection_dim=config.projection_dim,
            logit_scale_init_value=config.logit_scale_init_value,
        )
    ).to(model.dtype)
    state = model.state_dict()
    _check_keys(state, clip.state_dict())
    clip.load_state_dict(state)
    return clip.eval()


def to_official_state_dict(model: FashionKLIPModel) -> StateDict:
    """The weights in OpenAI's names, in float32, as copies on the CPU; what [`model_from_official`] reads back.

    Raises:
        ValueError: the image tower isn't CLIP's vision transformer, or a setting differs from what the original derives
            from the sizes (heads of width 64, four-fold middle layers, quick GELU).
    """
    _check_clip_vision(model, "the original's layout")
    state: StateDict = {}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict().items():
        key = _official_name(name)
        tensor = _as_float32(tensor.detach().cpu())
        letter = re.search(r"self_attn\.([qkv])_proj\.", name)
        if letter:
            parts.setdefault(key, {})[letter[1]] = tensor
        else:
            state[key] = tensor.T.contiguous() if key in ("text_projection", "visual.proj") else tensor
    for key, letters in parts.items():
        state[key] = torch.cat([letters[letter] for letter in "qkv"])
    _check_describes(model.config, config_from_official(state))
    return state


def training_checkpoint(model: FashionKLIPModel, epoch: int = 0, name: str = "fashionklip") -> dict[str, Any]:
    """The content of a training checkpoint of the original, for `torch.save`: its programs resume and extract from it.

    Args:
        model: a model with CLIP's image tower.
        epoch: finished epochs; the original goes on after them, and trains nothing if they reach its `--epochs`.
        name: the run's name.
    """
    state = {f"module.{key}": tensor for key, tensor in to_official_state_dict(model).items()}
    # The original never restores the optimizer's state, so there is none; the entry is part of the layout.
    return {"epoch": epoch, "name": name, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}


def rounded_parameters(model: FashionKLIPModel) -> dict[str, nn.Parameter]:
    """What the original holds in half precision while it loads OpenAI's weights, by the model's names.

    Those are the weights and biases of convolutions and linear layers (attention and projections included) of both
    towers; norms, embeddings, positions and the logit scale keep their float32 values.
    """
    return {
        f"{name}.{kind}": parameter
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        for kind, parameter in module.named_parameters(recurse=False)
    }


@torch.no_grad()
def round_to_half(model: FashionKLIPModel) -> FashionKLIPModel:
    """Round [`rounded_parameters`] to half precision in place, as the original does when it starts from OpenAI's file."""
    for parameter in rounded_parameters(model).values():
        parameter.copy_(parameter.half().to(parameter.dtype))
    return model


def backbone_name(config: FashionKLIPConfig) -> str | None:
    """The published name of a configuration's backbone, None for one that OpenAI didn't publish."""
    if not config.has_clip_vision:
        return None
    vision = config.vision_config
    sizes = (config.projection_dim, config.image_size, vision.hidden_size, vision.patch_size, vision.num_hidden_layers)
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
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}


def _renamed(key: str, tensor: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
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
    return [(key, tensor)]


def _official_name(name: str) -> str:
    """The official entry that an entry of the model belongs to; query, key and value belong to one."""
    whole = {ours: theirs for theirs, ours in WHOLE_NAMES.items()}
    whole |= {
        "text_projection.weight": "text_projection",
        "visual_projection.weight": "visual.proj",
        "logit_scale": "logit_scale",
    }
    if name in whole:
        return whole[name]
    block = re.fullmatch(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if block is None:
        raise ValueError(f"The original's layout has no place for {name!r} (an adapter? merge it first).")
    prefix = f"{'visual.' if block[1] == 'vision' else ''}transformer.resblocks.{block[2]}"
    if re.fullmatch(r"self_attn\.[qkv]_proj", block[3]):
        return f"{prefix}.attn.in_proj_{block[4]}"
    inside = {ours: theirs for theirs, ours in BLOCK_NAMES.items()}.get(block[3])
    if inside is None:
        raise ValueError(f"The original's layout has no place for {name!r} (an adapter? merge it first).")
    return f"{prefix}.{inside}.{block[4]}"


def _check_clip_vision(model: FashionKLIPModel, what: str) -> None:
    if not model.config.has_clip_vision:
        raise ValueError(
            f"The image tower is a {model.config.vision_config.model_type}; {what} holds CLIP's vision transformer only."
        )


def _check_describes(config: FashionKLIPConfig, derived: FashionKLIPConfig) -> None:
    """The settings that no tensor tells must be those that a reader of the official layout will assume."""
    different = []
    for tower in ("text_config", "vision_config"):
        ours, theirs = getattr(config, tower), getattr(derived, tower)
        for name in ("num_attention_heads", "hidden_act", "layer_norm_eps"):
            if getattr(ours, name) != getattr(theirs, name):
                different.append(f"{tower}.{name} is {getattr(ours, name)}, assumed is {getattr(theirs, name)}")
        if ours.intermediate_size != 4 * ours.hidden_size:
            different.append(f"{tower}.intermediate_size is {ours.intermediate_size}, not 4 x {ours.hidden_size}")
    if different:
        raise ValueError(f"The original can't load a model like this: {'; '.join(different)}.")


def _check_finite(state: StateDict) -> None:
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{len(broken)} tensors hold numbers that aren't finite: {_some(broken)}. The original's training in float32 "
            "breaks for good when a concept slot is empty in a whole batch; take an earlier checkpoint."
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
