"""The 2017 variables of the outfit models to [`BiLSTMModel`] and back.

Sizes, variant and cell are read off the tensors, and every variable is accounted for: one that is missing, unused or of
another shape is an error that names it. Matrices of TensorFlow multiply on the right, [in, out]; here they are [out, in].
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch

from .configuration_bilstm import BiLSTMConfig, BiLSTMInceptionConfig
from .inception_bilstm import InceptionV3
from .modeling_bilstm import BiLSTMModel
from .names import IN_TORCH, INCEPTION, STEP, inception_modules

CELL_NAMES = {"lstm": "BasicLSTMCell/Linear", "gru": "GRUCell", "rnn": "BasicRNNCell/Linear"}
SCOPES = {"forward": ("FW", "f"), "backward": ("BW", "b")}
Variables = Mapping[str, np.ndarray]
StateDict = dict[str, torch.Tensor]


def model_from_official(variables: Variables, **options) -> BiLSTMModel:
    """A model with the given variables.

    Args:
        variables: original names -> arrays. Without Inception the model reads precomputed features.
        options: further fields of the configuration.

    Raises:
        ValueError: variables that are missing, left over or don't fit.
    """
    config = official_config(variables, **options)
    state_dict = to_model_keys(variables, config)
    model = BiLSTMModel(config).eval()
    expected = model.state_dict()
    missing, unused = sorted(expected.keys() - state_dict.keys()), sorted(state_dict.keys() - expected.keys())
    if missing or unused:
        raise ValueError(f"the checkpoint lacks {missing[:5] or 'nothing'} and has {unused[:5] or 'nothing'} too much")
    for name, value in state_dict.items():
        if value.shape != expected[name].shape:
            raise ValueError(f"{name} is {tuple(value.shape)}, the model's is {tuple(expected[name].shape)}")
    model.load_state_dict(state_dict)
    return model


def official_config(variables: Variables, **options) -> BiLSTMConfig:
    """Sizes, variant and cell, as the variables tell."""
    sizes: dict = {}
    if "image_embedding/weights" in variables:
        sizes["vision_feature_dim"], sizes["embedding_dim"] = variables["image_embedding/weights"].shape
    elif "rnn_image_embedding/weights" in variables:
        sizes["vision_feature_dim"], sizes["embedding_dim"] = variables["rnn_image_embedding/weights"].shape
    else:
        raise ValueError("neither image_embedding/weights nor rnn_image_embedding/weights is there: no outfit model")
    if "f_logits/weights" in variables:
        sizes |= {
            "variant": "bilstm",
            "cell": _cell_of(variables),
            "hidden_size": variables["f_logits/weights"].shape[0],
        }
    else:
        sizes["variant"] = "vse" if "seq_embedding/map" in variables else "siamese"
    if "seq_embedding/map" in variables:
        sizes["vocab_size"] = variables["seq_embedding/map"].shape[0]
    stem = f"{INCEPTION}Conv2d_1a_3x3/weights"
    if stem in variables:
        sizes["vision_config"] = _inception_config(variables)
    sizes = {name: int(value) if isinstance(value, np.integer) else value for name, value in sizes.items()}
    return BiLSTMConfig(**(sizes | options))


def _cell_of(variables: Variables) -> str:
    for cell, name in CELL_NAMES.items():
        if any(variable.startswith(f"lstm/FW/{name}/") for variable in variables):
            return cell
    raise ValueError(f"no recurrent cell is there; expected lstm/FW/ and one of {', '.join(CELL_NAMES.values())}")


def _inception_config(variables: Variables) -> BiLSTMInceptionConfig:
    """The depth multiplier and least depth that give the layers' channels."""
    full = _full_channels()
    found = {layer: variables[name].shape[-1] for layer in full if (name := f"{INCEPTION}{layer}/weights") in variables}
    least = min(found.values())
    # A multiplier m gives int(m c) of c channels: it lies in [found / c, (found + 1) / c) wherever there are more than the
    # least, and below (least + 1) / c elsewhere. Of what is left, a round number is likelier the one that was written.
    low = max((count / full[layer] for layer, count in found.items() if count > least), default=0.0)
    high = min((count + 1) / full[layer] for layer, count in found.items())
    round_ones = {*(1 / k for k in range(1, 65)), *(k / 64 for k in range(1, 129)), *(k / 100 for k in range(1, 201))}
    for multiplier in (*sorted(round_ones), (low + high) / 2):
        bare = {layer: int(full[layer] * multiplier) for layer in found}
        if {layer: max(count, least) for layer, count in bare.items()} == found:
            floor = least if min(bare.values()) < least else min(least, 16)
            return BiLSTMInceptionConfig(depth_multiplier=multiplier, min_depth=floor)
    raise ValueError(f"no depth multiplier gives Inception layers of {found} channels")


@cache
def _full_channels() -> dict[str, int]:
    """TF-slim's name of each convolution -> its channels at full width."""
    with torch.device("meta"):
        network = InceptionV3(BiLSTMInceptionConfig())
    return {layer: network.get_submodule(module).conv.out_channels for layer, module in inception_modules().items()}


def inception_from_official(variables: Variables) -> tuple[BiLSTMInceptionConfig, StateDict]:
    """Configuration and weights of the image network alone, from TF-slim's `inception_v3` checkpoint or a whole model's.

    Raises:
        ValueError: a variable of the network is missing.
    """
    kept = {name: value for name, value in variables.items() if name.startswith(INCEPTION)}
    if f"{INCEPTION}Conv2d_1a_3x3/weights" not in kept:
        raise ValueError(f"no variable {INCEPTION}Conv2d_1a_3x3/weights: this is no checkpoint of Inception v3")
    return _inception_config(kept), _inception_keys(lambda name: _tensor(kept, name))


def _tensor(variables: dict, name: str) -> torch.Tensor:
    """The variable, taken out of those that are left."""
    if name not in variables:
        raise ValueError(f"the checkpoint lacks {name}")
    return torch.tensor(np.asarray(variables.pop(name)), dtype=torch.float32)


def _inception_keys(take) -> StateDict:
    state = {}
    for layer, module in inception_modules().items():
        for part, ours in IN_TORCH.items():
            value = take(f"{INCEPTION}{layer}/{part}")
            state[f"{module}.{ours}"] = value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else value
    return state


def to_model_keys(variables: Variables, config: BiLSTMConfig) -> StateDict:
    """Original names and layouts -> ours.

    Raises:
        ValueError: a variable that no part of the model takes.
    """
    left = dict(variables)
    left.pop(STEP, None)
    state: StateDict = {}

    def take(name: str) -> torch.Tensor:
        return _tensor(left, name)

    for name, ours in {"image_embedding": "image_embedding", "rnn_image_embedding": "item_embedding"}.items():
        if f"{name}/weights" in left:
            state[f"{ours}.weight"] = take(f"{name}/weights").T.contiguous()
    if "seq_embedding/map" in left:
        state["word_embedding.weight"] = take("seq_embedding/map")
    if config.has_recurrent:
        for direction, (scope, letter) in SCOPES.items():
            cell = _cell_from_official(
                config.cell, lambda part, s=scope: take(f"lstm/{s}/{part}"), config.embedding_dim
            )
            state |= {f"{direction}_cell.{name}": value for name, value in cell.items()}
            state[f"{direction}_head.weight"] = take(f"{letter}_logits/weights").T.contiguous()
            state[f"{direction}_head.bias"] = take(f"{letter}_logits/biases")
    if config.has_inception:
        state |= {f"vision_model.{name}": value for name, value in _inception_keys(take).items()}
    heads = [name for name in left if name.startswith((f"{INCEPTION}AuxLogits/", f"{INCEPTION}Logits/"))]
    unused = sorted(left.keys() - set(heads))
    if unused:
        raise ValueError(f"{len(unused)} variables have no place in the model, first: {', '.join(unused[:5])}")
    return state


def _cell_from_official(cell: str, take, inputs: int) -> StateDict:
    name = CELL_NAMES[cell]
    if cell == "gru":
        gates, candidate = (take(f"{name}/{part}/Linear/Matrix") for part in ("Gates", "Candidate"))
        matrix = torch.cat([gates, candidate], 1)
        bias = torch.cat([take(f"{name}/{part}/Linear/Bias") for part in ("Gates", "Candidate")])
    else:
        matrix, bias = take(f"{name}/Matrix"), take(f"{name}/Bias")
        if cell == "lstm":  # i, j, f, o -> i, f, j, o
            matrix, bias = _swap_middle(matrix), _swap_middle(bias)
    return {
        "weight_ih": matrix[:inputs].T.contiguous(),
        "weight_hh": matrix[inputs:].T.contiguous(),
        "bias": bias.contiguous(),
    }


def _swap_middle(x: torch.Tensor) -> torch.Tensor:
    first, second, third, fourth = x.chunk(4, dim=-1)
    return torch.cat([first, third, second, fourth], -1)


def to_official_variables(model: BiLSTMModel) -> dict[str, np.ndarray]:
    """The inverse of `to_model_keys`, without the step counter.

    Raises:
        ValueError: an image network, or items read from their texts, which the original doesn't have.
    """
    config, state = model.config, {name: value.detach().float().cpu() for name, value in model.state_dict().items()}
    if config.vision_config is not None and not config.has_inception:
        raise ValueError(f"the original has no image network of type {config.vision_config.model_type}")
    if config.item_inputs != "image":
        raise ValueError(f'the original reads items from their pictures alone; item_inputs is "{config.item_inputs}"')
    found: dict[str, torch.Tensor] = {}
    for name, ours in {"image_embedding": "image_embedding", "rnn_image_embedding": "item_embedding"}.items():
        if f"{ours}.weight" in state:
            found[f"{name}/weights"] = state[f"{ours}.weight"].T
    if "word_embedding.weight" in state:
        found["seq_embedding/map"] = state["word_embedding.weight"]
    for direction, (scope, letter) in SCOPES.items() if config.has_recurrent else ():
        part = {name: state[f"{direction}_cell.{name}"] for name in ("weight_ih", "weight_hh", "bias")}
        matrix, bias = torch.cat([part["weight_ih"].T, part["weight_hh"].T]), part["bias"]
        prefix = f"lstm/{scope}/{CELL_NAMES[config.cell]}"
        if config.cell == "gru":
            size = 2 * config.hidden_size
            for name, rows in (("Gates", slice(0, size)), ("Candidate", slice(size, None))):
                found[f"{prefix}/{name}/Linear/Matrix"] = matrix[:, rows]
                found[f"{prefix}/{name}/Linear/Bias"] = bias[rows]
        else:
            if config.cell == "lstm":
                matrix, bias = _swap_middle(matrix), _swap_middle(bias)
            found |= {f"{prefix}/Matrix": matrix, f"{prefix}/Bias": bias}
        found[f"{letter}_logits/weights"] = state[f"{direction}_head.weight"].T
        found[f"{letter}_logits/biases"] = state[f"{direction}_head.bias"]
    if config.has_inception:
        for layer, module in inception_modules().items():
            for part, ours in IN_TORCH.items():
                value = state[f"vision_model.{module}.{ours}"]
                found[f"{INCEPTION}{layer}/{part}"] = value.permute(2, 3, 1, 0) if value.ndim == 4 else value
    return {name: np.ascontiguousarray(value.numpy()) for name, value in found.items()}


__all__ = [
    "inception_from_official",
    "inception_modules",
    "model_from_official",
    "official_config",
    "to_model_keys",
    "to_official_variables",
]
