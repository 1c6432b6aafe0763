"""The original's feature files (`test_features.pkl`), read without executing anything in them, and a safe format.

The original writes, with Python 2, a pickle of `{"<set_id>_<index>": {"image_feat": float32[512], "image_rnn_feat":
float32[512]}}`; the VSE-only and Siamese models have `image_feat` alone. A pickle is a program: here it may build
dicts, texts, numbers and numpy arrays of floats, out of inert stand-ins, and any other name in it ends the reading.

    features = read_features("test_features.pkl")
    write_features("test_features.safetensors", features)
"""

import json
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

# Of an item: in the space of images and words, and in the space of the recurrent networks.
KINDS = ("image_feat", "image_rnn_feat")
Features = dict[str, dict[str, np.ndarray]]


def read_features(path: str | os.PathLike) -> Features:
    """Features by item key, in the order of the file.

    Args:
        path: a pickle of the original, or a `.safetensors` file of [`write_features`].

    Returns:
        Item key -> {"image_feat": (E,) float32, and where the model has it "image_rnn_feat": (E,) float32}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, asks for something that no feature file needs, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No feature file at {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with path.open("rb") as file:
        try:
            content = _Unpickler(file, encoding="latin1").load()
        except _Refused as error:
            raise ValueError(f"{path} was refused: {error} (nothing in it was executed).") from error
        except Exception as error:  # damaged pickles raise a dozen types
            raise ValueError(
                f"{path} is cut off, damaged or no pickle of features: {error}. Fetch it again, or extract the "
                "features again."
            ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds {_described(content)}; expected a dict of item keys.")
    features = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, dict) or not all(isinstance(kind, str) for kind in value):
            raise ValueError(f"{path}: {_described(key)} has {_described(value)}; expected a dict of {list(KINDS)}.")
        features[_text(key)] = {kind: _vector(value[kind], f"{path}: {kind} of {key}") for kind in value}
    _check(features, path)
    return features


def write_features(path: str | os.PathLike, features: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write features as safetensors: `keys`, UTF-8 JSON of the item keys as bytes, and a float32 (n, E) per kind.

    Raises:
        ValueError: the items differ in their kinds or sizes.
    """
    path = Path(path)
    _check(features, path)
    tensors = {"keys": np.frombuffer(json.dumps(list(features)).encode(), dtype=np.uint8)}
    for kind in next(iter(features.values())):
        tensors[kind] = np.stack([np.asarray(item[kind], dtype=np.float32) for item in features.values()])
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"format": "np", "kind": "bilstm_features"})
    os.replace(partial, path)


def _read_safetensors(path: Path) -> Features:
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            keys = json.loads(bytes(file.get_tensor("keys")))
            banks = {kind: file.get_tensor(kind) for kind in KINDS if kind in names}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no file of features, or is cut off: {error}. Extract them again.") from error
    if len(set(keys)) != len(keys) or any(bank.ndim != 2 or len(bank) != len(keys) for bank in banks.values()):
        shapes = {kind: bank.shape for kind, bank in banks.items()}
        raise ValueError(f"{path} has {len(set(keys))} different keys and features of {shapes}; extract them again.")
    features = {key: {kind: bank[row] for kind, bank in banks.items()} for row, key in enumerate(keys)}
    _check(features, path)
    return features


def _check(features: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """All items have the kinds and sizes of the first one."""
    if not features:
        raise ValueError(f"{path}: no features.")
    first = next(iter(features))
    wanted = {kind: np.shape(vector) for kind, vector in features[first].items()}
    if not {KINDS[0]} <= wanted.keys() <= set(KINDS) or any(len(shape) != 1 for shape in wanted.values()):
        raise ValueError(f"{path}: {first} has features {wanted}; expected vectors {KINDS[0]} and perhaps {KINDS[1]}.")
    for key, item in features.items():
        found = {kind: np.shape(vector) for kind, vector in item.items()}
        if found != wanted:
            raise ValueError(f"{path}: {key} has features {found} and {first} has {wanted}; they belong to two models.")


# --- the pickle ----------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """A pickle asked for what no feature file needs."""


class _Inert:
    """What a pickle may name. It can be called where that makes sense, and changes nothing."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it changes the state of the reader itself")


class _Function(_Inert):
    __slots__ = ("function",)

    def __init__(self, function) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


class _Class(_Inert):
    """The name of numpy.ndarray, which is only handed over."""


class _Type:
    """A numpy type: its code, and the byte order that its state brings."""

    def __init__(self, code: Any = None, *_rest: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        match state:
            case (_, "<" | ">" | "=" | "|" as order, *_):
                self.order = order
            case _:
                raise _Refused(f"it has a numpy type with the state {state!r:.100}")


class _Array:
    """A numpy array: (version, shape, type, Fortran order, bytes) as its pickle states them."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct(kind: Any, *_rest: Any) -> _Array:
    if not isinstance(kind, _Class):
        raise _Refused(f"it builds an array of {kind!r:.100}")
    return _Array()


def _encode(content: Any, encoding: Any = None) -> bytes:
    """Python 3 writes bytes in old protocols as text that is encoded again."""
    if not isinstance(content, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused(f"it encodes {content!r:.40} as {encoding!r:.40}")
    return content.encode("latin1")


ALLOWED = {
    ("numpy", "ndarray"): _Class(),
    ("numpy", "dtype"): _Function(_Type),
    ("numpy.core.multiarray", "_reconstruct"): _Function(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _Function(_reconstruct),
    ("_codecs", "encode"): _Function(_encode),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _Refused(f"it asks for {module}.{name}, which a file of features doesn't need")
        return ALLOWED[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        raise _Refused("it asks for an object outside the file")


def _vector(value: Any, where: str) -> np.ndarray:
    """A float32 vector of an array or a list of floats in the pickle."""
    match value:
        case _Array(state=(_, tuple(shape), _Type(code="f4" | "f8" as code, order=order), _, str() | bytes() as data)):
            try:
                content = data.encode("latin1") if isinstance(data, str) else data
            except UnicodeEncodeError as error:
                raise ValueError(f"{where}: its data are text, not bytes; extract the features again.") from error
            kind = np.dtype(code).newbyteorder(order)
            if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape) or (
                math.prod(shape) * kind.itemsize != len(content)
            ):
                raise ValueError(f"{where} has shape {shape!r:.100} of {kind} and {len(content)} bytes of data.")
            return np.frombuffer(content, dtype=kind).reshape(shape).astype(np.float32)
        case list() if value and all(isinstance(number, float) for number in value):
            return np.array(value, dtype=np.float32)
    raise ValueError(f"{where} is {_described(value)}; expected a numpy vector of float32.")


def _text(key: str) -> str:
    """A key as text: in Python 2 it may have been bytes of UTF-8, which were read as latin1."""
    try:
        return key.encode("latin1").decode("utf-8")
    except UnicodeError:
        return key


def _described(value: Any) -> str:
    if isinstance(value, _Array | _Type | _Inert):
        state = getattr(value, "state", None)
        kind = (
            state[2].code if isinstance(state, tuple) and len(state) > 2 and isinstance(state[2], _Type) else "unknown"
        )
        return f"a numpy array of type {kind}"
    return f"{type(value).__name__} {value!r:.60}"
