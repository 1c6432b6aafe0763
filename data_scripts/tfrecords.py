"""TensorFlow's TFRecord files and the SequenceExample messages in them, without TensorFlow.

A record is the length of its data (8 bytes), the masked CRC-32C of those bytes, the data, and their masked CRC-32C.
Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord, tensorflow/core/example/{example,feature}.proto.

    for offset, data in read_records("train-no-dup-00000-of-00128"):
        example = decode_sequence_example(data)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_scripts.crc32c import masked_crc32c
from data_scripts.wire_format import (
    Buffer,
    Message,
    integers,
    packed,
    payload,
    payloads,
    read_message,
    text,
)
from data_scripts.wire_format import field as wire_field

# Field of the message Feature -> the type of its values.
BYTES, FLOAT, INT64 = "bytes", "float", "int64"
TYPES = {1: BYTES, 2: FLOAT, 3: INT64}
NUMBERS = {kind: number for number, kind in TYPES.items()}
DATA_OFFSET = 12  # bytes of a record before its data


@dataclass
class Feature:
    """A list of values of one type: "bytes", "float" or "int64"; "" for a feature that was never set."""

    type: str
    values: list[bytes] | list[float] | list[int]


@dataclass
class SequenceExample:
    """Features of the whole, and lists of features with one per step."""

    context: dict[str, Feature] = field(default_factory=dict)
    feature_lists: dict[str, list[Feature]] = field(default_factory=dict)


def read_records(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Every record of a file and the byte at which it starts, one in memory at a time.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a record is cut off or fails its checksum; the message names file, record and byte.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"TFRecord file not found: expected {path}")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        offset = count = 0
        while offset < size:
            where, advice = f"{path}: record {count} at byte {offset:,}", "the file is damaged, copy it again"
            header = file.read(DATA_OFFSET)
            if len(header) < DATA_OFFSET:
                raise ValueError(f"{where} is cut off after {len(header)} bytes; {advice}")
            if masked_crc32c(header[:8]) != int.from_bytes(header[8:], "little"):
                hint = "the file is compressed with gzip, unpack it" if header[:2] == b"\x1f\x8b" else advice
                raise ValueError(f"{where} fails the checksum of its length; {hint}")
            length = int.from_bytes(header[:8], "little")
            if offset + 16 + length > size:
                raise ValueError(f"{where} has {length:,} bytes and the file ends at {size:,}; {advice}")
            data = file.read(length)
            if masked_crc32c(data) != int.from_bytes(file.read(4), "little"):
                raise ValueError(f"{where} fails the checksum of its {length:,} bytes; {advice}")
            yield offset, data
            offset += 16 + length
            count += 1


def write_records(path: str | os.PathLike, records: Iterable[bytes]) -> int:
    """Write a file and return the number of records; the file gets its name when it is complete."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        with partial.open("wb") as file:
            for data in records:
                length = len(data).to_bytes(8, "little")
                file.write(length + masked_crc32c(length).to_bytes(4, "little"))
                file.write(data)
                file.write(masked_crc32c(data).to_bytes(4, "little"))
                count += 1
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def decode_sequence_example(data: Buffer) -> SequenceExample:
    """A message read.

    Raises:
        ValueError: the bytes are no SequenceExample.
    """
    message = read_message(data)
    context, lists = read_message(payload(message, 1)), read_message(payload(message, 2))
    return SequenceExample(
        context={name: _decode_feature(value) for name, value in _map_entries(context)},
        feature_lists={
            name: [_decode_feature(one) for one in payloads(read_message(value), 1)]
            for name, value in _map_entries(lists)
        },
    )


def encode_sequence_example(example: SequenceExample) -> bytes:
    """The message as bytes, its features in the order of the dicts. Maps of a message have no order of their own."""
    context = b"".join(_map_entry(name, _encode_feature(value)) for name, value in example.context.items())
    lists = b"".join(
        _map_entry(name, b"".join(wire_field(1, _encode_feature(one)) for one in values))
        for name, values in example.feature_lists.items()
    )
    return wire_field(1, context) + wire_field(2, lists)


def _map_entries(message: Message) -> Iterator[tuple[str, Buffer]]:
    for entry in map(read_message, payloads(message, 1)):
        yield text(entry, 1), payload(entry, 2)


def _map_entry(name: str, value: bytes) -> bytes:
    return wire_field(1, wire_field(1, name.encode()) + wire_field(2, value))


def _decode_feature(data: Buffer) -> Feature:
    message = read_message(data)
    kinds = [number for number in message if number in TYPES]
    if not kinds:
        return Feature("", [])
    kind = TYPES[kinds[-1]]
    content = read_message(payload(message, kinds[-1]))
    if kind == BYTES:
        return Feature(BYTES, [bytes(value) for value in payloads(content, 1)])
    if kind == INT64:
        return Feature(INT64, integers(content, 1))
    numbers = payload(content, 1)
    if len(numbers) % 4:
        raise ValueError(f"{len(numbers)} bytes are no whole float32 numbers")
    return Feature(FLOAT, np.frombuffer(numbers, dtype="<f4").tolist())


def _encode_feature(feature: Feature) -> bytes:
    if not feature.type:
        return b""
    if feature.type == BYTES:
        content = b"".join(wire_field(1, value) for value in feature.values)
    elif not feature.values:
        content = b""
    elif feature.type == INT64:
        content = wire_field(1, packed(feature.values))
    else:
        content = wire_field(1, np.asarray(feature.values, dtype="<f4").tobytes())
    return wire_field(NUMBERS[feature.type], content)
