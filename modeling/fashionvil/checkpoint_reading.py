"""Reads the tensors out of PyTorch files from strangers without executing anything in them.

Three kinds of files: the zip format of `torch.save`, TorchScript archives (OpenAI's CLIP files), and the old format of
`torch.save`. A zip's pickle is read here with a list of the few names that a state dict needs; everything else in it is
refused by name. TorchScript modules become empty containers that collect their attributes: no code in the archive
is compiled or run. The old format goes through `torch.load(weights_only=True)`.
"""

import math
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything that a checkpoint file holds, as plain containers and tensors on the CPU.

    Args:
        path: a file written by `torch.save` or `torch.jit.save`, or a `.safetensors` file.

    Returns:
        The saved dict; for a TorchScript archive its state dict (dotted names to tensors).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken, isn't a checkpoint, or asks for something that isn't a tensor. The message
            names the file and what was refused.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        is_zip = zipfile.is_zipfile(path)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error}") from error
    content = _read_zip(path) if is_zip else _read_old_format(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dict of tensors.")
    return content


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or is cut off: {error}") from error


def _read_old_format(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        raise ValueError(
            f"{path} starts as a PyTorch archive and has no end: the download was cut off. Fetch it again."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for files that aren't its own
        # Its advice for a refused name is to execute the file, so only the name is kept.
        name = re.search(r"GLOBAL (\S+)", str(error))
        reason = _asks_for(name[1]) if name else "it is no PyTorch checkpoint"
        raise ValueError(f"{path} was refused: {reason}.") from error


def _asks_for(name: str) -> str:
    return f"it asks for {name}, which a file of weights doesn't need (nothing in it was executed)"


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(names) != 1:
                raise ValueError(f"{path} is a zip file without the one data.pkl of a PyTorch checkpoint.")
            prefix = names[0].removesuffix("data.pkl")
            if prefix + "byteorder" in archive.namelist() and archive.read(prefix + "byteorder") != b"little":
                raise ValueError(f"{path} was written on a big-endian machine, which isn't supported.")
            with archive.open(names[0]) as file:
                content = _TensorUnpickler(file, _Storages(archive, prefix, path), path).load()
            if isinstance(content, ScriptObject):
                return _state_dict(content, _declared_tensors(archive, prefix))
            return content
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} was refused: {error}.") from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
        raise ValueError(f"{path} is broken: {error}. Fetch it again.") from error
    except (TypeError, AttributeError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        # What a pickle that isn't a state dict makes of the inert stand-ins.
        raise ValueError(f"{path} was refused: its pickle is not that of a checkpoint ({error}).") from error


class _Storages:
    """The binary records of an archive, read once each."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, path: Path) -> None:
        self.archive, self.prefix, self.path = archive, prefix, path
        self.loaded: dict[str, torch.Tensor] = {}

    def get(self, identifier: Any) -> torch.Tensor:
        """(elements,) tensor for `("storage", type, key, device, elements)`."""
        match identifier:
            case ("storage", _StorageType(dtype=dtype), str(key), str(), int(count)) if count >= 0:
                pass
            case _:
                raise ValueError(f"{self.path} was refused: unknown persistent object {str(identifier)[:100]}.")
        if key not in self.loaded:
            record = self.archive.getinfo(f"{self.prefix}data/{key}")
            if record.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{self.path} was refused: its tensors are compressed, which PyTorch never does.")
            data = bytearray(self.archive.read(record))
            if len(data) < count * dtype.itemsize:
                raise ValueError(f"{self.path} is broken: record {key} has {len(data)} bytes for {count} {dtype}.")
            numbers = torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
            self.loaded[key] = numbers
        return self.loaded[key]


class _Inert:
    """What the pickle may name; a pickle can call it where that makes sense, and can't change it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a pickle tried to change the reader itself")


class _StorageType(_Inert):
    __slots__ = ("dtype",)
    __match_args__ = ("dtype",)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Function(_Inert):
    __slots__ = ("function",)

    def __init__(self, function) -> None:
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


class ScriptObject:
    """A module of a TorchScript archive: its name and attributes, without its code."""

    _qualified_name = ""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("an object of the archive has a state that isn't a dict")
        self.attributes = state


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> torch.Tensor:
    """A view of a storage, after checking that it lies inside."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.Tensor) or len(size) != len(stride):
        raise ValueError("a tensor of the file is malformed")
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
        raise ValueError(f"a tensor of the file has an impossible shape {tuple(size)}, stride {tuple(stride)}")
    if 0 not in size and offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= len(storage):
        raise ValueError(f"a tensor of the file with shape {tuple(size)} reaches beyond its {len(storage)} numbers")
    if math.prod(size) > len(storage):
        raise ValueError(f"a tensor of the file with shape {tuple(size)} has only {len(storage)} numbers")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _rebuild_parameter(data: torch.Tensor, *_rest: Any) -> torch.Tensor:
    return data


def _first(value: Any, *_rest: Any) -> Any:
    return value


ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_rebuild_parameter),
    # Typed lists of TorchScript attributes.
    ("torch.jit._pickle", "build_intlist"): _Function(_first),
    ("torch.jit._pickle", "build_doublelist"): _Function(_first),
    ("torch.jit._pickle", "build_boollist"): _Function(_first),
    ("torch.jit._pickle", "build_tensorlist"): _Function(_first),
    ("torch.jit._pickle", "restore_type_tag"): _Function(_first),
    **{("torch", name): _StorageType(dtype) for name, dtype in STORAGE_TYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    """Knows the names in `ALLOWED` and TorchScript's own classes; any other name ends the reading."""

    def __init__(self, file, storages: _Storages, path: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages, self.path = storages, path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module == "__torch__" or module.startswith("__torch__."):
            return type("ScriptObject", (ScriptObject,), {"_qualified_name": f"{module}.{name}"})
        raise ValueError(f"{self.path} was refused: {_asks_for(f'{module}.{name}')}.")

    def persistent_load(self, identifier: Any) -> torch.Tensor:
        return self.storages.get(identifier)


def _declared_tensors(archive: zipfile.ZipFile, prefix: str) -> dict[str, set[str]]:
    """Class name -> its parameters and buffers, as the archive's source text lists them (read, not compiled)."""
    declared: dict[str, set[str]] = {}
    for entry in archive.infolist():
        if not (entry.filename.startswith(prefix + "code/") and entry.filename.endswith(".py")):
            continue
        if entry.file_size > 50_000_000:
            raise ValueError(f"the source {entry.filename} in the archive is too large to be a model's")
        module = entry.filename.removeprefix(prefix + "code/").removesuffix(".py").replace("/", ".")
        text = archive.read(entry).decode("utf-8", errors="replace")
        for part in re.split(r"^class ", text, flags=re.MULTILINE)[1:]:
            name = part.split("(")[0].strip()
            lists = re.findall(r"^  __(?:parameters|buffers)__ = \[(.*?)\]", part, flags=re.MULTILINE | re.DOTALL)
            declared[f"{module}.{name}"] = set(re.findall(r'"([^"]+)"', " ".join(lists)))
    return declared


def _state_dict(root: ScriptObject, declared: dict[str, set[str]]) -> dict[str, torch.Tensor]:
    """Dotted names -> parameters and buffers of a TorchScript module tree."""
    state: dict[str, torch.Tensor] = {}
    waiting, visited = [("", root)], 0
    while waiting:
        visited += 1
        if visited > 100_000:
            raise ValueError("its modules contain one another")
        prefix, module = waiting.pop()
        tensors = declared.get(module._qualified_name)
        for name, value in getattr(module, "attributes", {}).items():
            if isinstance(value, ScriptObject):
                waiting.append((f"{prefix}{name}.", value))
            elif isinstance(value, torch.Tensor) and (tensors is None or name in tensors):
                state[prefix + name] = value
    return state
