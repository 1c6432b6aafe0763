"""Snappy decompression, which some tables of TensorFlow are written with.

Format: https://github.com/google/snappy/blob/main/format_description.txt
"""

from .wire_format import Buffer, read_varint


def decompress(data: Buffer) -> bytes:
    """The uncompressed bytes.

    Raises:
        ValueError: the data end early, copy from before their start, or make another length than they announce.
    """
    data = memoryview(data)
    length, position = read_varint(data, 0)
    found = bytearray()
    while position < len(data):
        tag = data[position]
        position += 1
        kind = tag & 3
        if kind == 0:
            count = tag >> 2
            if count >= 60:  # the length itself follows, in one to four bytes
                count, position = _number(data, position, count - 59)
            count += 1
            if position + count > len(data):
                raise ValueError(f"snappy: a literal of {count} bytes has {len(data) - position}")
            found += data[position : position + count]
            position += count
        else:
            if kind == 1:
                count = (tag >> 2 & 7) + 4
                offset, position = _number(data, position, 1)
                offset |= tag >> 5 << 8
            else:
                count = (tag >> 2) + 1
                offset, position = _number(data, position, 2 if kind == 2 else 4)
            if not 0 < offset <= len(found):
                raise ValueError(f"snappy: a copy from {offset} bytes back, where {len(found)} are written")
            start = len(found) - offset
            if offset >= count:
                found += found[start : start + count]
            else:  # the copy reads what it writes: a repeated pattern
                found += (found[start:] * (count // offset + 1))[:count]
        if len(found) > length:
            break
    if len(found) != length:
        raise ValueError(f"snappy: {len(found)} bytes came out of a block that announces {length}")
    return bytes(found)


def _number(data: memoryview, position: int, size: int) -> tuple[int, int]:
    if position + size > len(data):
        raise ValueError("snappy: the block ends inside a tag")
    return int.from_bytes(data[position : position + size], "little"), position + size
