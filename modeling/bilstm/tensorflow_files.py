"""TensorFlow checkpoints read and written without TensorFlow; nothing in a file is executed.

Two formats, both of named arrays (variables):

- V1, all that TensorFlow before 0.12 wrote, the released Bi-LSTM models included: one file, a LevelDB table of
  SavedTensorSlices messages. The first lists all variables, each of the others holds numbers of one variable.
- V2, the later default: `<prefix>.index`, a LevelDB table of BundleEntryProto messages, which say where in
  `<prefix>.data-00000-of-00001` (or more such files) the bytes of a variable are, and their checksum.

Formats: tensorflow/core/util/saved_tensor_slice*, tensorflow/core/util/tensor_bundle, tensorflow/core/protobuf.
The writers are for going back to TensorFlow, whose Saver restores both.

    variables = read_checkpoint("model_final/model.ckpt-34865")
    write_v2_checkpoint("restored/model.ckpt", variables)
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .crc32c import masked_crc32c
from .leveldb_table import new_file, read_table, write_table
from .wire_format import (
    Buffer,
    Message,
    field,
    integer,
    integers,
    packed,
    payload,
    payloads,
    read_message,
    text,
    varint,
)

# TensorFlow's number of a type -> numpy's name, field of TensorProto with such numbers.
TYPES = {1: ("<f4", 5), 2: ("<f8", 6), 3: ("<i4", 7), 9: ("<i8", 10)}
TYPE_NAMES = {4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64", 10: "bool", 14: "bfloat16", 19: "half"}
DATA_FILE = re.compile(r"\.data-\d{5}-of-\d{5}$")

Extents = list[tuple[int, int]]  # of a slice: start and length of each dimension, length -1 for all of it


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every variable of a checkpoint by its name in the file, sorted by name.

    Args:
        path: a V1 file; or the prefix, the .index or a data file of a V2 checkpoint; or a folder with the file
            `checkpoint` in which TensorFlow notes its last one.

    Returns:
        Arrays of float32, float64, int32 or int64.

    Raises:
        FileNotFoundError: there is no such checkpoint, or a part of it is missing.
        ValueError: a file is cut off, damaged or of another format, or a variable is no array of those types. The
            message names the file, and the variable where it is known.
    """
    place, is_v2 = _locate(Path(path))
    return dict(sorted((_read_v2 if is_v2 else _read_v1)(place).items()))


def checkpoint_files(path: str | os.PathLike) -> list[Path]:
    """The files that `read_checkpoint` reads for this path.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    place, is_v2 = _locate(Path(path))
    if not is_v2:
        return [place]
    found = sorted(file for file in place.parent.iterdir() if file.name.startswith(place.name + ".data-"))
    return [_index(place), *(file for file in found if DATA_FILE.search(file.name))]


def write_v1_checkpoint(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """One file, as TensorFlow before 0.12 wrote it; `Saver.restore` of any version reads it.

    Raises:
        ValueError: an array is of another type than float32, float64, int32 and int64.
    """
    names = sorted(tensors, key=str.encode)
    arrays = {name: _array_for_writing(path, name, tensors[name]) for name in names}

    def entries() -> Iterator[tuple[bytes, bytes]]:
        listed = []
        for name, (number, array) in arrays.items():
            shape = field(2, _shape_message(array.shape))
            listed.append(
                field(1, field(1, name.encode()) + shape + field(3, number) + field(4, _full_slice(array.ndim)))
            )
        version = field(2, field(1, 1))  # producer 1
        yield b"", field(1, b"".join(listed) + version)
        for name, (number, array) in arrays.items():
            kind, numbers_field = TYPES[number]
            numbers = array.tobytes() if kind[1] == "f" else packed(array.ravel().tolist())
            tensor = field(numbers_field, numbers) if array.size else b""
            content = field(1, name.encode()) + field(2, _full_slice(array.ndim)) + field(3, tensor)
            yield _slice_key(name, [(0, -1)] * array.ndim), field(2, content)

    write_table(path, entries())


def write_v2_checkpoint(prefix: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """`<prefix>.index` and `<prefix>.data-00000-of-00001`, as TensorFlow's Saver writes them since 0.12.

    Raises:
        ValueError: an array is of another type than float32, float64, int32 and int64.
    """
    prefix = Path(prefix)
    names = sorted(tensors, key=str.encode)
    arrays = {name: _array_for_writing(prefix, name, tensors[name]) for name in names}
    entries = [(b"", field(1, 1) + field(3, field(1, 1)))]  # one data file, little-endian, producer 1
    with new_file(_data_file(prefix, 0, 1)) as file:
        for name, (number, array) in arrays.items():
            offset, content = file.tell(), array.tobytes()
            file.write(content)
            entry = field(1, number) + field(2, _shape_message(array.shape))
            entry += field(4, offset) if offset else b""
            entry += field(5, len(content)) if content else b""
            # Field 6 is a fixed32, whose tag is 6 << 3 | 5.
            entries.append((name.encode(), entry + varint(53) + masked_crc32c(content).to_bytes(4, "little")))
    write_table(_index(prefix), entries)


# --- where a checkpoint is -----------------------------------------------------------------------------------------


def _locate(path: Path) -> tuple[Path, bool]:
    """(V1 file, False) or (prefix of a V2 checkpoint, True)."""
    if path.is_dir():
        path = _latest(path)
    if path.name.endswith(".index") or DATA_FILE.search(path.name):
        path = path.with_name(DATA_FILE.sub("", path.name.removesuffix(".index")))
    if path.name.endswith(".meta") and _index(path.with_suffix("")).is_file():
        raise ValueError(f"{path} is a graph, not its weights; give {path.with_suffix('')}.")
    if _index(path).is_file():
        return path, True
    if path.is_file():
        return path, False
    raise FileNotFoundError(
        f"No checkpoint at {path}: expected that file (V1), or {_index(path).name} and {path.name}.data-00000-of-00001 "
        "beside each other (V2)."
    )


def _latest(folder: Path) -> Path:
    """What the folder's file `checkpoint` (a CheckpointState in text form) names; by its base name if it was moved."""
    note = folder / "checkpoint"
    if not note.is_file():
        inside = sorted(file.name.removesuffix(".index") for file in folder.glob("*.index"))
        hint = f"give one of {', '.join(str(folder / name) for name in inside)}" if inside else "give the checkpoint"
        raise FileNotFoundError(f"{folder} has no file `checkpoint` that says which one to read; {hint} itself.")
    content = note.read_bytes().decode("utf-8", errors="replace")
    named = re.search(r'^\s*model_checkpoint_path\s*:\s*"((?:[^"\\\n]|\\.)*)"', content, flags=re.MULTILINE)
    if not named:
        raise ValueError(f'{note} has no line model_checkpoint_path: "..."; give the checkpoint itself.')
    path = Path(re.sub(r"\\(.)", r"\1", named[1]))
    for found in (folder / path, folder / path.name):
        if found.is_file() or _index(found).is_file():
            return found
    raise FileNotFoundError(f"{note} names {path}, which is neither there nor in {folder}; give the checkpoint itself.")


def _index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _data_file(prefix: Path, number: int, of: int) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{of:05d}")


# --- reading -------------------------------------------------------------------------------------------------------


class _Tensor:
    """A variable while it is read: TensorFlow's number of its type, its shape, and its slices so far."""

    def __init__(self, number: int, shape: tuple[int, ...]) -> None:
        self.number, self.shape = number, shape
        self.parts: list[tuple[Extents, np.ndarray]] = []

    def joined(self) -> np.ndarray:
        """The whole array, after checking that the slices cover it once."""
        total, given = math.prod(self.shape), sum(part.size for _, part in self.parts)
        if given != total:
            raise ValueError(f"it has shape {self.shape}, {total} numbers, and {given} are there")
        if len(self.parts) == 1:
            return self.parts[0][1].reshape(self.shape)
        whole = np.zeros(self.shape, dtype=TYPES[self.number][0])
        seen = np.zeros(self.shape, dtype=bool)
        for extents, part in self.parts:
            box = tuple(slice(start, start + size) for start, size in self.resolved(extents))
            if seen[box].any():
                raise ValueError(f"its slice {extents} covers numbers that another one covers")
            seen[box] = True
            whole[box] = part.reshape(whole[box].shape)
        return whole

    def add(self, extents: Extents, numbers: np.ndarray) -> None:
        size = math.prod(size for _, size in self.resolved(extents))
        if size != len(numbers):
            raise ValueError(f"its slice {extents} of shape {self.shape} has {len(numbers)} numbers, not {size}")
        self.parts.append((extents, numbers))

    def resolved(self, extents: Extents) -> Extents:
        """Start and true length of each dimension."""
        if len(extents) != len(self.shape):
            raise ValueError(f"a slice of {len(extents)} dimensions belongs to shape {self.shape}")
        found = []
        for (start, size), dim in zip(extents, self.shape, strict=True):
            size = dim - start if size == -1 else size
            if start < 0 or size < 0 or start + size > dim:
                raise ValueError(f"a slice {extents} does not lie in shape {self.shape}")
            found.append((start, size))
        return found


def _read_v1(path: Path) -> dict[str, np.ndarray]:
    tensors: dict[str, _Tensor] = {}
    with _damage(path):
        for key, value in read_table(path):
            record = read_message(value)
            if not key:
                tensors = _v1_list(read_message(payload(record, 1)), path)
                continue
            saved = read_message(payload(record, 2))
            name = text(saved, 1)
            with _damage(path, name):
                tensor = tensors.get(name)
                if tensor is None:
                    raise ValueError("its numbers are there, and the file's list of variables lacks it")
                tensor.add(_extents(read_message(payload(saved, 2))), _numbers(payload(saved, 3), tensor.number))
    return _all_joined(tensors, path)


def _v1_list(meta: Message, path: Path) -> dict[str, _Tensor]:
    found = {}
    for entry in map(read_message, payloads(meta, 1)):
        name = text(entry, 1)
        with _damage(path, name):
            if name in found:
                raise ValueError("the file lists it twice")
            found[name] = _Tensor(_known_type(integer(entry, 3), path, name), _shape(payload(entry, 2)))
    return found


def _numbers(tensor: Buffer, number: int) -> np.ndarray:
    """(n,) numbers of a TensorProto; V1 files keep them in the field of their type."""
    kind, numbers_field = TYPES[number]
    message = read_message(tensor)
    if kind[1] == "i":
        return np.array(integers(message, numbers_field), dtype=np.int64).astype(kind)
    content = payload(message, numbers_field)
    if len(content) % np.dtype(kind).itemsize:
        raise ValueError(f"{len(content)} bytes are no whole numbers of type {kind}")
    return np.frombuffer(content, dtype=kind).copy()


def _read_v2(prefix: Path) -> dict[str, np.ndarray]:
    index = _index(prefix)
    with _damage(index):
        entries = {key: bytes(value) for key, value in read_table(index)}
        if b"" not in entries:
            raise ValueError("it has no header; a V1 checkpoint is one file, without .index")
        header = read_message(entries.pop(b""))
        shards = integer(header, 1)
        if integer(header, 2):
            raise ValueError("it was written on a big-endian machine, which isn't supported")
    tensors, stored = {}, set()
    for key, value in entries.items():
        if key[:1] == b"\0":  # a slice of a variable, whose own entry names it
            continue
        with _damage(index):
            name = key.decode("utf-8")
        with _damage(index, name):
            entry = read_message(value)
            announced = [_extents(read_message(one)) for one in payloads(entry, 7)] or None
            number = _known_type(integer(entry, 1), index, name)
            tensor = tensors[name] = _Tensor(number, _shape(payload(entry, 2)))
            for extents in announced or [[(0, -1)] * len(tensor.shape)]:
                if announced is not None:
                    slice_key = _slice_key(name, extents)
                    if slice_key not in entries:
                        raise ValueError(f"the numbers of its slice {extents} are not in the index")
                    stored.add(slice_key)
                    entry = read_message(entries[slice_key])
                tensor.add(extents, _stored_numbers(prefix, shards, entry, number))
    lost = [key for key in entries if key[:1] == b"\0" and key not in stored]
    if lost:
        raise ValueError(f"{index} holds {len(lost)} slices that no variable has, first {lost[0]!r}; write it again.")
    return _all_joined(tensors, index)


def _stored_numbers(prefix: Path, shards: int, entry: Message, number: int) -> np.ndarray:
    """(n,) numbers that an entry of the index describes."""
    shard, offset, size = (integer(entry, field_number) for field_number in (3, 4, 5))
    path = _data_file(prefix, shard, shards)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: all data files of a checkpoint belong beside {_index(prefix)}.")
    kind = np.dtype(TYPES[number][0])
    if integer(entry, 1) != number or offset < 0 or size < 0 or size % kind.itemsize:
        raise ValueError(f"{size} bytes of type {integer(entry, 1)} at byte {offset} are no numbers of type {number}")
    available = path.stat().st_size
    if offset + size > available:
        raise ValueError(f"it is at bytes {offset} to {offset + size} of {path.name}, which has {available}")
    numbers = np.fromfile(path, dtype=kind, count=size // kind.itemsize, offset=offset)
    expected, found = int.from_bytes(payload(entry, 6), "little"), masked_crc32c(numbers.view(np.uint8).data)
    if found != expected:
        raise ValueError(f"its bytes in {path.name} have checksum {found:#010x} and the index says {expected:#010x}")
    return numbers


def _all_joined(tensors: dict[str, _Tensor], path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for name, tensor in tensors.items():
        with _damage(path, name):
            arrays[name] = tensor.joined()
    if not arrays:
        raise ValueError(f"{path} lists no variables: it is no checkpoint of a model. Save it again.")
    return arrays


class CheckpointError(ValueError):
    """An error that names its file already."""


@contextmanager
def _damage(path: Path, name: str | None = None) -> Iterator[None]:
    """Says in which file, and with which variable, a format's error occurred."""
    try:
        yield
    except CheckpointError:
        raise
    except ValueError as error:
        variable = "" if name is None else f", variable {name!r}"
        raise CheckpointError(
            f"{path}{variable}: {error}. The file is cut off, damaged or no TensorFlow checkpoint that can be read "
            "here: fetch it again, or save it again with TensorFlow."
        ) from error


def _known_type(number: int, path: Path, name: str) -> int:
    if number not in TYPES:
        raise CheckpointError(
            f"{path}, variable {name!r}, is of type {TYPE_NAMES.get(number, 'unknown')} ({number}); float32, float64, "
            "int32 and int64 can be read. Save the checkpoint again without it."
        )
    return number


def _shape(data: Buffer) -> tuple[int, ...]:
    message = read_message(data)
    shape = tuple(integer(read_message(dim), 1) for dim in payloads(message, 2))
    if integer(message, 3) or any(not 0 <= size < 1 << 48 for size in shape):
        raise ValueError(f"its shape {shape} is unknown or impossible")
    return shape


def _extents(slice_message: Message) -> Extents:
    found = []
    for extent in map(read_message, payloads(slice_message, 1)):
        found.append((integer(extent, 1), integer(extent, 2, default=-1)))
    return found


# --- writing -------------------------------------------------------------------------------------------------------


def _array_for_writing(path: str | os.PathLike, name: str, array: np.ndarray) -> tuple[int, np.ndarray]:
    """(TensorFlow's number of the type, contiguous little-endian array)."""
    array = np.asarray(array)
    for number, (kind, _) in TYPES.items():
        if array.dtype.newbyteorder("<") == np.dtype(kind):
            return number, np.asarray(array, dtype=kind, order="C")
    raise ValueError(
        f"{path}, variable {name!r}: {array.dtype} can't be written; make it float32, float64, int32 or int64."
    )


def _shape_message(shape: tuple[int, ...]) -> bytes:
    return b"".join(field(2, field(1, size) if size else b"") for size in shape)


def _full_slice(dimensions: int) -> bytes:
    return field(1, b"") * dimensions


def _slice_key(name: str, extents: Extents) -> bytes:
    """Key of a slice in a table: numbers and text in an encoding that sorts as they do (TensorFlow's OrderedCode)."""
    escaped = name.encode().replace(b"\xff", b"\xff\x00").replace(b"\0", b"\0\xff")
    key = b"\0" + escaped + b"\0\1"
    key += bytes([1, len(extents)]) if extents else b"\0"
    return key + b"".join(_ordered(number) for extent in extents for number in extent)


def _ordered(number: int) -> bytes:
    """A signed number that sorts as bytes: its length in leading ones, then its bits, all inverted below zero."""
    size = 1
    while not -(1 << (7 * size - 1)) <= number < 1 << (7 * size - 1):
        size += 1
    # One leading bit per byte beyond the first and one for the sign; for 64-bit numbers they fill up to ten bits.
    header = ((1 << size) - 1) << (8 * size - size)
    bits = number & ((1 << 8 * size) - 1)
    return (bits ^ header).to_bytes(size, "big")
