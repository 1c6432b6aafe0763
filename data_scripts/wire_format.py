"""Protocol buffers' wire format, as far as TensorFlow's files need it, without the protobuf library.

A message is read into a dict: field number -> its values in their order, ints for varints, memoryviews for everything
else. The accessors below say what a field is; one of another kind is a ValueError. Format:
https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterable

Buffer = bytes | bytearray | memoryview
Message = dict[int, list[int | memoryview]]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}


def read_varint(data: Buffer, position: int) -> tuple[int, int]:
    """(number of up to 64 bits, position after it)."""
    value = shift = 0
    while True:
        if position >= len(data):
            raise ValueError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def read_message(data: Buffer) -> Message:
    """All fields of a message, unread messages inside it included."""
    data, position = memoryview(data), 0
    message: Message = {}
    while position < len(data):
        tag, position = read_varint(data, position)
        kind = tag & 7
        if kind == VARINT:
            value, position = read_varint(data, position)
        elif kind == BYTES or kind in _SIZES:
            size = _SIZES.get(kind)
            if size is None:
                size, position = read_varint(data, position)
            if position + size > len(data):
                raise ValueError(f"field {tag >> 3} has {size} bytes and {len(data) - position} are left")
            value = data[position : position + size]
            position += size
        else:
            raise ValueError(f"field {tag >> 3} is of the unknown kind {kind}")
        message.setdefault(tag >> 3, []).append(value)
    return message


def integer(message: Message, number: int, default: int = 0) -> int:
    """A signed number; the default where the field is absent."""
    if number not in message:
        return default
    value = message[number][-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} holds bytes where a number is expected")
    return signed(value)


def integers(message: Message, number: int) -> list[int]:
    """A repeated signed number, packed or not."""
    found = []
    for value in message.get(number, []):
        if isinstance(value, int):
            found.append(signed(value))
            continue
        position = 0
        while position < len(value):
            one, position = read_varint(value, position)
            found.append(signed(one))
    return found


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def payloads(message: Message, number: int) -> list[memoryview]:
    """A repeated field of bytes, text, messages or numbers of fixed size."""
    values = message.get(number, [])
    if any(isinstance(value, int) for value in values):
        raise ValueError(f"field {number} holds a number where bytes are expected")
    return values


def payload(message: Message, number: int) -> Buffer:
    """The bytes of a field, joined: a message in several parts is their sum, so are packed and single numbers."""
    values = payloads(message, number)
    return values[0] if len(values) == 1 else b"".join(values)


def text(message: Message, number: int) -> str:
    try:
        return str((payloads(message, number) or [b""])[-1], "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"field {number} is not UTF-8 text") from error


def varint(value: int) -> bytes:
    """A number as bytes; negative ones take ten."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def packed(values: Iterable[int]) -> bytes:
    return b"".join(map(varint, values))


def field(number: int, value: int | Buffer) -> bytes:
    """A varint field for an int, a field with a length for bytes."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | BYTES) + varint(len(value)) + value
