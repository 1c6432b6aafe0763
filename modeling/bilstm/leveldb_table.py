"""LevelDB's table files, in which TensorFlow keeps names and tensors: sorted strings with a value each.

Blocks of prefix-compressed entries, each block followed by its kind (raw or snappy) and a masked CRC-32C; an index
block with the place of every block; a footer of 48 bytes with the place of the index, and a magic number. Format:
https://github.com/google/leveldb/blob/main/doc/table_format.md (TensorFlow: tensorflow/core/lib/io/table*).
"""

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .crc32c import crc32c, masked_crc32c
from .snappy_decoding import decompress
from .wire_format import Buffer, read_varint, varint

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5
RAW, SNAPPY = 0, 1
BLOCK_SIZE, RESTART_INTERVAL = 262144, 16  # TensorFlow's; a block is closed when it has reached the size


def read_table(path: str | os.PathLike) -> Iterator[tuple[bytes, memoryview]]:
    """Every (key, value), in order, one block in memory at a time.

    Raises:
        ValueError: the file is cut off, damaged, or no such table. The message says what is wrong, without the path.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < FOOTER:
            raise ValueError(f"it has {size} bytes, which is less than a table's footer")
        file.seek(size - FOOTER)
        footer = file.read(FOOTER)
        magic = int.from_bytes(footer[-8:], "little")
        if magic != MAGIC:
            raise ValueError(f"it ends in {magic:#018x} where a table has its magic number {MAGIC:#018x}")
        _, position = _read_handle(footer, 0)  # of the metaindex, which TensorFlow leaves empty
        index, _ = _read_handle(footer, position)
        previous = None
        for _, place in _entries(_read_block(file, index, size)):
            handle, _ = _read_handle(place, 0)
            for key, value in _entries(_read_block(file, handle, size)):
                if previous is not None and key <= previous:
                    raise ValueError(f"key {key!r} follows {previous!r}, and a table is sorted")
                previous = key
                yield key, value


def _read_handle(data: Buffer, position: int) -> tuple[tuple[int, int], int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _read_block(file: BinaryIO, handle: tuple[int, int], file_size: int) -> Buffer:
    offset, size = handle
    if offset + size + TRAILER > file_size - FOOTER:
        raise ValueError(f"a block of {size} bytes at byte {offset} reaches beyond the file's {file_size}")
    file.seek(offset)
    data = memoryview(file.read(size + TRAILER))
    content, kind = data[:size], data[size]
    stored = int.from_bytes(data[size + 1 :], "little")
    found = masked_crc32c(data[: size + 1])
    if stored != found:
        raise ValueError(f"the block at byte {offset} has checksum {found:#010x} and says {stored:#010x}")
    if kind == RAW:
        return content
    if kind == SNAPPY:
        return memoryview(decompress(content))
    raise ValueError(f"the block at byte {offset} is compressed in the unknown way {kind}")


def _entries(block: Buffer) -> Iterator[tuple[bytes, memoryview]]:
    """(key, value) of a block. It ends in the positions of whole keys, for searching; their number is last."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise ValueError(f"a block of {len(block)} bytes can't have {restarts} restart points")
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        own, position = read_varint(block, position)
        size, position = read_varint(block, position)
        if shared > len(key) or position + own + size > end:
            raise ValueError(f"the entry after key {key!r} reaches beyond its block")
        key = key[:shared] + bytes(block[position : position + own])
        position += own
        yield key, block[position : position + size]
        position += size


def write_table(path: str | os.PathLike, entries: Iterable[tuple[bytes, Buffer]], block_size: int = BLOCK_SIZE) -> None:
    """Write sorted entries in raw blocks, cut where TensorFlow's writer cuts them.

    Raises:
        ValueError: the keys are not in strict order.
    """
    with new_file(path) as file:
        index, block = _BlockWriter(restart_interval=1), _BlockWriter()
        last, waiting = b"", None  # waiting: the place of a finished block whose key isn't settled yet
        started = False
        for key, value in entries:
            if started and key <= last:
                raise ValueError(f"{path}: key {key!r} after {last!r}; give the entries in order, each key once")
            if block.count and len(key) + len(value) >= 2 * block_size:  # a large entry gets a block of its own
                waiting, block = _write_block(file, block), _BlockWriter()
            if waiting is not None:
                index.add(_separator(last, key), waiting)
                waiting = None
            block.add(key, value)
            last, started = key, True
            if block.size >= block_size:
                waiting, block = _write_block(file, block), _BlockWriter()
        if block.count:
            waiting = _write_block(file, block)
        metaindex = _write_block(file, _BlockWriter())
        if waiting is not None:
            index.add(_successor(last), waiting)
        places = metaindex + _write_block(file, index)
        file.write(places.ljust(FOOTER - 8, b"\0") + MAGIC.to_bytes(8, "little"))


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file for writing that gets its name when it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class _BlockWriter:
    """Collects the entries of one block; `size` is what it will take."""

    def __init__(self, restart_interval: int = RESTART_INTERVAL) -> None:
        self.interval = restart_interval
        self.parts: list[Buffer] = []
        self.length = self.count = 0
        self.restarts, self.last = [0], b""

    @property
    def size(self) -> int:
        return self.length + 4 * (len(self.restarts) + 1)

    def add(self, key: bytes, value: Buffer) -> None:
        shared = 0
        if self.count and self.count % self.interval == 0:
            self.restarts.append(self.length)
        elif self.count:
            shared = len(os.path.commonprefix([self.last, key]))
        for part in (varint(shared) + varint(len(key) - shared) + varint(len(value)), key[shared:], value):
            self.parts.append(part)
            self.length += len(part)
        self.count += 1
        self.last = key


def _write_block(file: BinaryIO, block: _BlockWriter) -> bytes:
    """Write a block and its trailer; returns its handle."""
    handle = varint(file.tell()) + varint(block.size)
    ending = struct.pack(f"<{len(block.restarts) + 1}I", *block.restarts, len(block.restarts)) + bytes([RAW])
    crc = 0
    for part in block.parts:
        crc = crc32c(part, crc)
        file.write(part)
    file.write(ending + masked_crc32c(ending, crc).to_bytes(4, "little"))
    return handle


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key between the last of a block and the first of the next one."""
    shared = len(os.path.commonprefix([last, following]))
    if shared < min(len(last), len(following)) and last[shared] + 1 < following[shared]:
        return last[:shared] + bytes([last[shared] + 1])
    return last


def _successor(key: bytes) -> bytes:
    """A short key that is not before the last one."""
    for position, byte in enumerate(key):
        if byte != 0xFF:
            return key[:position] + bytes([byte + 1])
    return key
