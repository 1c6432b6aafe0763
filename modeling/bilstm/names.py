"""Names of the original's variables: those of retrained models in the original's form, and Inception's in torch's.

The released files come from TensorFlow before 0.12. A model that was trained with a later one has its recurrent cells
under other names: `lstm/fw/basic_lstm_cell/weights` since 1.0, `.../kernel` since 1.2, where the original has
`lstm/FW/BasicLSTMCell/Linear/Matrix`.

    names = canonical_names(variables)
    originals = {name: variables[in_file] for name, in_file in names.variables.items()}
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

# Inception's modules as TF-slim and torchvision name them: "torch's name of a branch: convolutions of TF-slim". Several
# convolutions are numbered in torch; where a branch ends in two that stand side by side, they are 2a and 2b (or 3a, 3b).
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
_FIVE = ("1x1: 0a_1x1", "5x5: 0a_1x1 0b_5x5", "3x3dbl: 0a_1x1 0b_3x3 0c_3x3", "_pool: 0b_1x1")
_SIX = ("1x1: 0a_1x1", "7x7: 0a_1x1 0b_1x7 0c_7x1", "7x7dbl: 0a_1x1 0b_7x1 0c_1x7 0d_7x1 0e_1x7", "_pool: 0b_1x1")
_SEVEN = ("1x1: 0a_1x1", "3x3: 0a_1x1 0b_1x3+0b_3x1", "3x3dbl: 0a_1x1 0b_3x3 0c_1x3+0d_3x1", "_pool: 0b_1x1")
BLOCKS = {
    "Mixed_5b": _FIVE,
    # Slim's own slips: the second branch of 5c, the stride-2 convolutions of 6a, 0b instead of 0c in 7b.
    "Mixed_5c": (_FIVE[0], "5x5: 0b_1x1 Conv_1_0c_5x5", *_FIVE[2:]),
    "Mixed_5d": _FIVE,
    "Mixed_6a": ("3x3: 1a_1x1", "3x3dbl: 0a_1x1 0b_3x3 1a_1x1"),
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _SIX),
    "Mixed_7a": ("3x3: 0a_1x1 1a_3x3", "7x7x3: 0a_1x1 0b_1x7 0c_7x1 1a_3x3"),
    "Mixed_7b": _SEVEN,
    "Mixed_7c": (_SEVEN[0], "3x3: 0a_1x1 0b_1x3+0c_3x1", *_SEVEN[2:]),
}
INCEPTION = "InceptionV3/"
# A convolution's variables -> what they are in torch's module of a convolution and a batch norm.
IN_TORCH = {
    "weights": "conv.weight",
    "BatchNorm/beta": "bn.bias",
    "BatchNorm/moving_mean": "bn.running_mean",
    "BatchNorm/moving_variance": "bn.running_var",
}

# The cells by the original's names, each with its matrices.
CELLS = {"lstm": ("BasicLSTMCell",), "gru": ("GRUCell/Gates", "GRUCell/Candidate"), "rnn": ("BasicRNNCell",)}
STEP = "global_step"
# Variables of each model beside Inception's and its cells'.
MODELS = {
    "bilstm": [
        *("image_embedding/weights", "rnn_image_embedding/weights", "seq_embedding/map"),
        *("f_logits/weights", "f_logits/biases", "b_logits/weights", "b_logits/biases"),
    ],
    "vse": ["image_embedding/weights", "seq_embedding/map"],
    "siamese": ["image_embedding/weights"],
    "inception": [],
}

# What optimizers and moving averages add to a variable's name, and what they keep beside the variables.
SLOTS = r"Momentum|Adam|Adam_1|AdamW|AdamW_1|Adagrad|Adadelta|Adadelta_1|RMSProp|RMSProp_1|RMSProp_2|Ftrl|Ftrl_1"
_SLOT = re.compile(rf"(?:.*?OptimizeLoss/|train/)?(?P<variable>.+)/(?:{SLOTS})")
_SHADOW = re.compile(r"(?P<variable>.+)/(?:ExponentialMovingAverage|biased|local_step)")
_OPTIMIZER = re.compile(r"(?:.*/)?(?:beta1_power|beta2_power|learning_rate)(?:_\d+)?")
_HEADS = re.compile(r"InceptionV3/(?:AuxLogits|Logits)/.+")
_CELL = re.compile(
    r"lstm/(?:bidirectional_rnn/|BiRNN/)?(?P<direction>fw|bw)/(?P<cell>basic_?lstm_?cell|gru_?cell|basic_?rnn_?cell)/"
    r"(?:(?P<part>gates|candidate)/)?(?:linear/)?(?P<kind>matrix|weights|kernel|bias|biases)",
    flags=re.IGNORECASE,
)


@dataclass
class CheckpointNames:
    """What the variables of a file are.

    Args:
        model: "bilstm", "vse", "siamese", or "inception" for a file with the image network alone.
        cell: "lstm", "gru" or "rnn" of a "bilstm".
        variables: the original's name -> name in the file; all that the model has, and `global_step` where it is there.
        left_out: name in the file -> why it is no part of the model.
    """

    model: str
    cell: str | None
    variables: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)


def canonical_names(names: Iterable[str]) -> CheckpointNames:
    """Sort out the variables of a checkpoint, whichever TensorFlow wrote it.

    Raises:
        ValueError: a variable is unknown or missing, or two are the same one. All of them are listed.
    """
    found: dict[str, list[str]] = {}
    left_out, unknown = {}, []
    for name in names:
        original = original_name(name)
        reason = None if original else _why_left_out(name)
        if original:
            found.setdefault(original, []).append(name)
        elif reason:
            left_out[name] = reason
        else:
            unknown.append(name)
    cells = [cell for cell, parts in CELLS.items() if any(f"/{part}/" in name for name in found for part in parts)]
    if len(cells) > 1:
        raise ValueError(
            f"The checkpoint has cells of several kinds, {' and '.join(cells)}; give one model's variables."
        )
    model = _model_of(found)
    cell = (cells or ["lstm"])[0] if model == "bilstm" else None
    wanted = model_variables(model, cell)
    problems = {
        "variables that the model doesn't have": unknown + [found[name][0] for name in found if name not in wanted],
        "variables that are missing": [name for name in wanted if name not in found and name != STEP],
        "several names for one variable": [", ".join(same) for same in found.values() if len(same) > 1],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(some)} {what}: {_first(some)}" for what, some in problems.items() if some)
        raise ValueError(
            f"As a checkpoint of a {model} model{f' with {cell} cells' if cell else ''} it has {listed}. Rename or remove "
            "them in the file, or save it again with the original's names."
        )
    return CheckpointNames(model, cell, {name: found[name][0] for name in wanted if name in found}, left_out)


def model_variables(model: str, cell: str | None = None) -> list[str]:
    """The original's names of all variables of a model, sorted; `cell` for a "bilstm"."""
    cells = [
        f"lstm/{direction}/{part}/Linear/{kind}"
        for direction in ("FW", "BW")
        for part in (CELLS[cell or "lstm"] if model == "bilstm" else ())
        for kind in ("Matrix", "Bias")
    ]
    inception = [f"{INCEPTION}{module}/{kind}" for module in inception_modules() for kind in IN_TORCH]
    return sorted([*inception, *MODELS[model], *cells, STEP])


def original_name(name: str) -> str | None:
    """The original's name of a variable that may have a later TensorFlow's; None for one that no model has."""
    cell = _CELL.fullmatch(name)
    if cell:
        kind = "Bias" if cell["kind"].lower().startswith("bias") else "Matrix"
        (parts,) = (parts for parts in CELLS.values() if _same(parts[0].split("/")[0], cell["cell"]))
        part = parts[0].split("/")[0] + (f"/{cell['part'].capitalize()}" if cell["part"] else "")
        return f"lstm/{cell['direction'].upper()}/{part}/Linear/{kind}" if part in parts else None
    name = re.sub(r"/kernel$", "/weights", re.sub(r"/bias$", "/biases", name))
    return name if name in _known() else None


def torch_name(name: str) -> str:
    """Name of an InceptionV3 variable in a torchvision-style Inception: Mixed_5b.branch1x1.conv.weight.

    Raises:
        KeyError: no such variable.
    """
    for ending, in_torch in IN_TORCH.items():
        module = name.removeprefix(INCEPTION).removesuffix("/" + ending)
        if name == f"{INCEPTION}{module}/{ending}" and module in inception_modules():
            return f"{inception_modules()[module]}.{in_torch}"
    raise KeyError(f"{name} is no variable of the image network")


def torch_layout(name: str, array: np.ndarray) -> np.ndarray:
    """The array as torch lays it out: Inception's kernels [height, width, in, out] become [out, in, height, width].

    All else stays as it is, matrices [in, out] included.

    Raises:
        ValueError: a kernel of Inception hasn't four dimensions.
    """
    if not (name.startswith(INCEPTION) and name.endswith("/weights")):
        return array
    if array.ndim != 4:
        raise ValueError(f"{name} has shape {array.shape}; a kernel is [height, width, in, out].")
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1))


@cache
def inception_modules() -> dict[str, str]:
    """TF-slim's name of each of the 94 convolutions -> torch's."""
    modules = {name: name for name in STEM}
    for block, branches in BLOCKS.items():
        for number, branch in enumerate(branches):
            in_torch, convolutions = branch.split(": ")
            steps = convolutions.split()
            for step, beside in enumerate(steps, start=1):
                pair = beside.split("+")
                for letter, convolution in zip("ab", pair, strict=False):
                    slim = convolution if convolution.startswith("Conv") else f"Conv2d_{convolution}"
                    suffix = f"_{step}" + letter * (len(pair) > 1) if len(steps) > 1 else ""
                    modules[f"{block}/Branch_{number}/{slim}"] = f"{block}.branch{in_torch}{suffix}"
    return modules


@cache
def _known() -> frozenset[str]:
    names = [name for cell in CELLS for name in model_variables("bilstm", cell)]
    return frozenset(names)


def _same(camel: str, other: str) -> bool:
    return camel.lower() == other.lower().replace("_", "")


def _model_of(found: Iterable[str]) -> str:
    own = {name for name in found if not name.startswith(INCEPTION)}
    if any(name.startswith(("lstm/", "f_logits/", "b_logits/", "rnn_image_embedding/")) for name in own):
        return "bilstm"
    return "vse" if "seq_embedding/map" in own else "siamese" if "image_embedding/weights" in own else "inception"


def _why_left_out(name: str) -> str | None:
    """Why a file may hold a variable that no model has; None where nothing explains it."""
    if _HEADS.fullmatch(name):
        return "a classifier of ImageNet, which the original drops"
    if _OPTIMIZER.fullmatch(name):
        return "a number of the optimizer"
    for pattern, reason in ((_SLOT, "state of the optimizer"), (_SHADOW, "a moving average of a variable")):
        match = pattern.fullmatch(name)
        if match and (original_name(match["variable"]) or _HEADS.fullmatch(match["variable"])):
            return reason
    return None


def _first(names: list[str], count: int = 10) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
