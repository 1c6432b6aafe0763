"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), which guards every block of TensorFlow's files.

A byte at a time in Python manages a few megabytes a second; a checkpoint has 120. The checksum is linear, so a long
buffer is read as rows of `WIDTH` words, and each row is added to the running row after that was moved on by the
length of a row, which is two table look-ups per word for numpy. What is left is a row, whose checksum the whole has.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78
WIDTHS = (8192, 64)  # words per row, a power of two


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Checksum of a buffer; `crc` is that of what went before it.

    crc32c(b"123456789") == 0xE3069283
    """
    register = crc ^ 0xFFFFFFFF
    rest = memoryview(data).cast("B")
    for width in WIDTHS:
        rows = len(rest) // (4 * width)
        if rows < 2:
            continue
        words = np.frombuffer(rest, dtype="<u4", count=rows * width).reshape(rows, width)
        row = words[0].astype("<u4")
        row[0] ^= register
        register = 0
        low, high = _move_tables(width)
        for following in words[1:]:
            halves = row.view("<u2")
            row = low.take(halves[0::2])
            row ^= high.take(halves[1::2])
            row ^= following
        rest = memoryview(row.tobytes() + bytes(rest[rows * width * 4 :]))
    table = _byte_table()
    for byte in rest:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """What TensorFlow and LevelDB store: rotated, plus a constant, so that a checksum of checksums stays useful."""
    crc = crc32c(data, crc)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _byte_table() -> list[int]:
    """Register after one byte, for each low byte of a register."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


@cache
def _move_tables(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Two tables of 65536: the lower and the upper half of a register, moved on by `width` words of zeros."""
    table = _byte_table()
    moved = [table[(1 << bit) & 0xFF] ^ (1 << bit) >> 8 for bit in range(32)]  # each bit after one zero byte
    length = 1
    while length < 4 * width:
        moved = [_sum_of_bits(moved, value) for value in moved]
        length *= 2
    return _sums(moved[:16]), _sums(moved[16:])


def _sum_of_bits(moved: list[int], value: int) -> int:
    total = 0
    for bit in range(32):
        if value >> bit & 1:
            total ^= moved[bit]
    return total


def _sums(moved: list[int]) -> np.ndarray:
    table = np.zeros(1, dtype="<u4")
    for value in moved:
        table = np.concatenate([table, table ^ np.uint32(value)])
    return table
