"""TensorFlow's checkpoints without TensorFlow: both formats read and written, every damage named, names sorted out."""

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest

from modeling.bilstm.crc32c import WIDTHS, crc32c, masked_crc32c
from modeling.bilstm.leveldb_table import FOOTER, MAGIC, read_table, write_table
from modeling.bilstm.names import (
    CELLS,
    canonical_names,
    inception_modules,
    model_variables,
    original_name,
    torch_layout,
    torch_name,
)
from modeling.bilstm.snappy_decoding import decompress
from modeling.bilstm.tensorflow_files import (
    checkpoint_files,
    read_checkpoint,
    write_v1_checkpoint,
    write_v2_checkpoint,
)
from modeling.bilstm.wire_format import field, packed, read_message, varint

WRITERS = {"v1": write_v1_checkpoint, "v2": write_v2_checkpoint}


def variables() -> dict[str, np.ndarray]:
    """All types, no dimension, no number, negative integers, a name that begins as another one does."""
    rng = np.random.default_rng(0)
    return {
        "lstm/FW/Bias": rng.standard_normal(40).astype(np.float32),
        "lstm/FW": rng.standard_normal((3, 4, 5, 6)).astype(np.float32),
        "global_step": np.int32(-34865),
        "many": np.array([0, -1, 2**62, -(2**40)]),
        "double": rng.standard_normal((2, 3)),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "é": np.float32([np.nan, -0.0, np.inf]),
    }


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == sorted(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (np.asarray(array).dtype, np.shape(array)), name
        assert found[name].tobytes() == np.asarray(array).tobytes(), name


# --- checksums -----------------------------------------------------------------------------------------------------


def slow_crc32c(data: bytes) -> int:
    """The definition, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    "data, checksum",
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # this and the following: RFC 3720, appendix B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_of_the_standard(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


def test_long_checksums_equal_the_definition_and_can_be_continued() -> None:
    wide, narrow = (4 * width for width in WIDTHS)
    lengths = [0, 1, 3, 4, 2 * narrow - 1, 2 * narrow, 5 * narrow + 7, 2 * wide - 1, 2 * wide, 2 * wide + narrow + 3]
    data = np.random.default_rng(0).integers(0, 256, max(lengths), dtype=np.uint8).tobytes()
    for length in lengths:
        expected = slow_crc32c(data[:length])
        assert crc32c(data[:length]) == expected, length
        cut = length // 3
        assert crc32c(data[cut:length], crc32c(data[:cut])) == expected, length


# --- snappy --------------------------------------------------------------------------------------------------------


def literal(data: bytes, extra: int) -> bytes:
    """A literal whose length is in the tag (extra 0) or in one to four bytes after it."""
    count = len(data) - 1
    tag = [count << 2] if not extra else [(59 + extra) << 2, *count.to_bytes(extra, "little")]
    return bytes(tag) + data


def copy(offset: int, count: int, kind: int) -> bytes:
    if kind == 1:
        return bytes([(offset >> 8) << 5 | (count - 4) << 2 | 1, offset & 0xFF])
    return bytes([(count - 1) << 2 | kind]) + offset.to_bytes(2 if kind == 2 else 4, "little")


def snappy(data: bytes) -> bytes:
    """A plain compressor: the next bytes are a copy where they were seen before; all kinds of tags take turns."""
    found, pending, position, turn = varint(len(data)), b"", 0, 0

    def flush() -> bytes:
        nonlocal pending
        extra = 0 if len(pending) <= 60 else 1 if len(pending) <= 256 else 2 + turn % 3
        pending, one = b"", literal(pending, extra) if pending else b""
        return one

    while position < len(data):
        seed = data[position : position + 4]
        start = data.rfind(seed, 0, position + 3) if len(seed) == 4 else -1
        count = 0
        while start >= 0 and position + count < len(data) and data[start + count] == data[position + count]:
            count += 1
            if count == 64:
                break
        offset = position - start
        if start < 0 or count < 4 or start >= position:
            pending += data[position : position + 1]
            position += 1
            continue
        turn += 1
        kind = turn % 3 + 1
        if kind == 1 and (offset >= 2048 or count > 11) or kind == 2 and offset >= 65536:
            kind = 3
        found += flush() + copy(offset, count, kind)
        position += count
    return found + flush()


def test_snappy_blocks_of_all_kinds_of_tags() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 70_000, dtype=np.uint8).tobytes()
    samples = [b"", b"a", b"abcd" * 100, b"a" * 1000, noise[:61], noise[:300], noise + b"between" + noise[:500]]
    samples += [rng.integers(0, 3, 5000, dtype=np.uint8).tobytes()]
    for data in samples:
        assert decompress(snappy(data)) == data
    by_hand = varint(20) + literal(b"ab", 0) + copy(2, 5, 1) + copy(7, 3, 2) + copy(1, 10, 3)
    assert decompress(by_hand) == b"ab" + b"ababa" + b"aba" + b"a" * 10
    for extra in range(1, 5):
        assert decompress(varint(200) + literal(noise[:200], extra)) == noise[:200]


@pytest.mark.parametrize(
    "data, message",
    [
        (varint(5) + literal(b"abcd", 0), "4 bytes came out .* announces 5"),
        (varint(3) + literal(b"abcd", 0), "4 bytes came out .* announces 3"),
        (varint(10) + literal(b"abcdefghij", 0)[:-1], "a literal of 10 bytes has 9"),
        (varint(8) + literal(b"abcd", 0) + copy(5, 4, 2), "a copy from 5 bytes back, where 4 are written"),
        (varint(8) + literal(b"abcd", 0) + copy(0, 4, 2), "a copy from 0 bytes back"),
        (varint(8) + literal(b"abcd", 0) + copy(4, 4, 3)[:-1], "ends inside a tag"),
        (b"\xff" * 11, "more than 64 bits"),
    ],
)
def test_damaged_snappy_blocks_are_errors(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decompress(data)


# --- tables --------------------------------------------------------------------------------------------------------


def entries_of(count: int) -> list[tuple[bytes, bytes]]:
    return [(f"key/{row:05d}".encode(), bytes([row % 251]) * (row % 90)) for row in range(count)]


def block(data: bytes, kind: int) -> bytes:
    """A block with its trailer."""
    return data + bytes([kind]) + masked_crc32c(data + bytes([kind])).to_bytes(4, "little")


def table_of(*blocks: bytes) -> bytes:
    """A table of finished blocks: index (one entry a block) and footer made here."""
    body, index = b"", b""
    for row, one in enumerate(blocks):
        place = varint(len(body)) + varint(len(one) - 5)
        index += bytes([0, 1, len(place), row]) + place
        body += one
    index += bytes(4) + (1).to_bytes(4, "little")
    empty = bytes(4) + (1).to_bytes(4, "little")
    handles = varint(len(body)) + varint(len(empty))
    body += block(empty, 0)
    handles += varint(len(body)) + varint(len(index))
    return body + block(index, 0) + handles.ljust(FOOTER - 8, b"\0") + MAGIC.to_bytes(8, "little")


def plain_block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Entries without shared keys, as a block's content."""
    content = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return content + bytes(4) + (1).to_bytes(4, "little")


@pytest.mark.parametrize("block_size", [1, 100, 4096, 1 << 18])
def test_tables_of_every_block_size_come_back(tmp_path: Path, block_size: int) -> None:
    entries = entries_of(500)
    write_table(tmp_path / "table", entries, block_size)
    assert [(key, bytes(value)) for key, value in read_table(tmp_path / "table")] == entries
    assert [file.name for file in tmp_path.iterdir()] == ["table"]


def test_snappy_and_raw_blocks_of_one_table(tmp_path: Path) -> None:
    entries = entries_of(300)
    blocks = [block(snappy(plain_block(entries[:150])), 1), block(plain_block(entries[150:]), 0)]
    (tmp_path / "table").write_bytes(table_of(*blocks))
    assert [(key, bytes(value)) for key, value in read_table(tmp_path / "table")] == entries


def test_unsorted_entries_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in order, each key once"):
        write_table(tmp_path / "table", [(b"b", b""), (b"a", b"")])
    assert not list(tmp_path.iterdir())


# --- checkpoints ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", WRITERS)
def test_what_is_written_is_read(tmp_path: Path, version: str) -> None:
    path = tmp_path / "new folder" / "model.ckpt-7"
    WRITERS[version](path, variables())
    assert_same(read_checkpoint(path), variables())


@pytest.mark.parametrize("version", WRITERS)
def test_other_layouts_in_memory_are_written_alike(tmp_path: Path, version: str) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    for name, other in {"swapped": array.astype(">f4"), "strided": np.asfortranarray(array)}.items():
        WRITERS[version](tmp_path / name, {"a": other})
        assert_same(read_checkpoint(tmp_path / name), {"a": array})
    with pytest.raises(ValueError, match="variable 'a': float16 can't be written"):
        WRITERS[version](tmp_path / "half", {"a": array.astype(np.float16)})


def test_keys_of_v1_files_are_tensorflows(tmp_path: Path) -> None:
    """As in the files that TensorFlow writes: the name, number of dimensions, and start 0 and length -1 of each."""
    tensors = {"w": np.zeros((2, 3), np.float32), "step": np.int32(300)}
    write_v1_checkpoint(tmp_path / "v1", tensors)
    listed, step, w = [(key, bytes(value)) for key, value in read_table(tmp_path / "v1")]
    assert (listed[0], step[0], w[0]) == (b"", b"\0step\0\1\0", b"\0w\0\1\1\2\x80\x7f\x80\x7f")
    assert step[1] == b"\x12\x0e" + b"\x0a\x04step" + b"\x12\x00" + b"\x1a\x04" + b"\x3a\x02\xac\x02"


def tensorflows_files(folder: Path) -> dict[str, np.ndarray]:
    """Checkpoints V1 and V2 that TensorFlow 2.21 wrote, two variables in slices; returns what it saved."""
    for name, content in WRITTEN_BY_TENSORFLOW.items():
        (folder / name).write_bytes(zlib.decompress(base64.b85decode("".join(content.split()))))
    return {
        "columns": np.arange(10, dtype=np.float32).reshape(2, 5),
        "double": np.array([[0.1, -2.5]]),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "global_step": np.int32(-7),
        "long": np.array([-(2**40), 5, 2**62]),
        "rows": np.arange(130, dtype=np.float32).reshape(130, 1),
    }


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_files_of_tensorflow_with_slices(tmp_path: Path, version: str) -> None:
    wanted = tensorflows_files(tmp_path)
    assert_same(read_checkpoint(tmp_path / version), wanted)


def test_every_way_to_name_a_checkpoint(tmp_path: Path) -> None:
    wanted = tensorflows_files(tmp_path)
    parts = [tmp_path / "V2.index", tmp_path / "V2.data-00000-of-00001"]
    for path in [tmp_path / "V2", *parts]:
        assert_same(read_checkpoint(path), wanted)
        assert checkpoint_files(path) == parts
    assert checkpoint_files(tmp_path / "V1") == [tmp_path / "V1"]
    for named in ("V1", "V2", "/elsewhere/run/V1", "/elsewhere/run/V2"):
        note = f'model_checkpoint_path: "{named}"\nall_model_checkpoint_paths: "old"\n'
        (tmp_path / "checkpoint").write_text(note)
        assert_same(read_checkpoint(tmp_path), wanted)
    (tmp_path / "V1").unlink()
    (tmp_path / "V2.meta").write_bytes(b"graph")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "V1"\n')
    with pytest.raises(FileNotFoundError, match="checkpoint names V1, which is neither"):
        read_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text("nothing\n")
    with pytest.raises(ValueError, match="has no line model_checkpoint_path"):
        read_checkpoint(tmp_path)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match="no file `checkpoint`.*give one of .*V2 itself"):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="No checkpoint at .*V3: expected that file"):
        read_checkpoint(tmp_path / "V3")
    with pytest.raises(ValueError, match="V2.meta is a graph, not its weights; give .*V2"):
        read_checkpoint(tmp_path / "V2.meta")


def refused(path: Path, *words: str) -> None:
    """The checkpoint is a ValueError that names the file and says these words."""
    with pytest.raises(ValueError) as caught:
        read_checkpoint(path)
    for word in (str(path), "again", *words):
        assert word in str(caught.value), f"{word!r} not in {caught.value}"


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda data: data[:20], "20 bytes, which is less than a table's footer"),
        (lambda data: data[:-1], "where a table has its magic number"),
        (lambda data: data[:-8] + bytes(8), "where a table has its magic number"),
        (lambda data: data[:100] + data[200:], "reaches beyond the file's"),
        (lambda data: data[: len(data) // 2] + data[-48:], "reaches beyond the file's"),
        (lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:], "has checksum"),
        (lambda data: data[: -FOOTER - 1] + bytes([data[-FOOTER - 1] ^ 1]) + data[-FOOTER:], "has checksum"),
        (lambda data: table_of(block(b"\0" * 8, 7)), "compressed in the unknown way 7"),
        (lambda data: table_of(block(b"\x05\x00\x04abcd", 1)), "snappy"),
        (lambda data: table_of(block(b"\1\2", 0)), "restart points"),
        (lambda data: table_of(block(bytes([3, 1, 0, 65]) + bytes(4) + b"\1\0\0\0", 0)), "reaches beyond its block"),
        (lambda data: table_of(block(plain_block([(b"", b""), (b"", b"")]), 0)), "a table is sorted"),
        (lambda data: table_of(block(plain_block([(b"", b"\x0b")]), 0)), "is of the unknown kind"),
        (lambda data: table_of(block(plain_block([]), 0)), "lists no variables"),
    ],
)
def test_damaged_tables_are_errors_that_name_the_file(tmp_path: Path, damage, words: str) -> None:
    path = tmp_path / "model.ckpt-1"
    write_v1_checkpoint(path, variables())
    path.write_bytes(damage(path.read_bytes()))
    refused(path, words)


def test_no_byte_of_a_checkpoint_can_change_unnoticed(tmp_path: Path) -> None:
    """Either an error that names the file, or (padding of the footer) the same variables."""
    wanted = tensorflows_files(tmp_path)
    rng = np.random.default_rng(0)
    for path, read in [(tmp_path / name, tmp_path / name.split(".")[0]) for name in WRITTEN_BY_TENSORFLOW]:
        data = path.read_bytes()
        noticed = 0
        for position in rng.permutation(len(data))[:150]:
            changed = bytearray(data)
            changed[position] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            try:
                assert_same(read_checkpoint(read), wanted)
            except ValueError as error:
                assert str(read) in str(error)
                noticed += 1
        assert noticed > 100, path
        path.write_bytes(data)


# A V1 checkpoint by hand: what the list says of a variable, and the slices that are stored of it.
def v1_file(path: Path, shape: list[int], slices: list[tuple[list[tuple[int, int]], list[float]]], kind: int = 1):
    def slice_message(extents):
        sizes = [(field(1, start) if start else b"", field(2, size) if size >= 0 else b"") for start, size in extents]
        return b"".join(field(1, start + size) for start, size in sizes)

    dims = b"".join(field(2, field(1, size)) for size in shape)
    listed = field(1, field(1, b"w") + field(2, dims) + field(3, kind))
    entries = [(b"", field(1, listed))]
    for row, (extents, numbers) in enumerate(slices):
        tensor = field(5, np.array(numbers, dtype="<f4").tobytes())
        saved = field(1, b"w") + field(2, slice_message(extents)) + field(3, tensor)
        entries.append((bytes([0, row]), field(2, saved)))
    write_table(path, entries)


WHOLE = (0, -1)


def test_slices_of_a_variable_are_joined(tmp_path: Path) -> None:
    v1_file(tmp_path / "w", [2, 3], [([WHOLE, (0, 1)], [1, 4]), ([(0, 1), (1, 2)], [2, 3]), ([(1, 1), (1, 2)], [5, 6])])
    assert read_checkpoint(tmp_path / "w")["w"].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "shape, slices, kind, words",
    [
        ([2, 3], [([WHOLE, WHOLE], [1, 2, 3])], 1, "has 3 numbers, not 6"),
        ([2, 3], [([(0, 1), WHOLE], [1, 2, 3])], 1, "it has shape (2, 3), 6 numbers, and 3 are there"),
        ([2, 3], [([(0, 1), WHOLE], [1, 2, 3])] * 2, 1, "covers numbers that another one covers"),
        ([2, 3], [([(1, 2), WHOLE], [1] * 6)], 1, "does not lie in shape (2, 3)"),
        ([2, 3], [([WHOLE], [1, 2, 3])], 1, "a slice of 1 dimensions belongs to shape (2, 3)"),
        ([2, 3], [], 1, "6 numbers, and 0 are there"),
        ([1 << 40, 1 << 40], [([WHOLE, WHOLE], [1])], 1, "has 1 numbers, not"),
        ([-1], [([WHOLE], [1])], 1, "impossible"),
        ([2], [([WHOLE], [1, 2])], 7, "is of type string (7)"),
        ([2], [([WHOLE], [1, 2])], 19, "is of type half (19)"),
        ([2], [([WHOLE], [1, 2])], 99, "is of type unknown (99)"),
        ([2], [([WHOLE], [1, 2])], 2, "has 0 numbers, not 2"),
    ],
)
def test_wrong_variables_are_errors_that_name_them(tmp_path: Path, shape, slices, kind, words) -> None:
    v1_file(tmp_path / "w.ckpt", shape, slices, kind)
    refused(tmp_path / "w.ckpt", "variable 'w'", words)


def test_a_variable_that_the_list_lacks_is_an_error(tmp_path: Path) -> None:
    write_v1_checkpoint(tmp_path / "whole", {"a": np.zeros(2, np.float32)})
    (_, listed), (key, saved) = ((key, bytes(value)) for key, value in read_table(tmp_path / "whole"))
    renamed = saved.replace(b"\n\1a", b"\n\1b")
    assert renamed != saved
    write_table(tmp_path / "w", [(b"", listed), (key, renamed)])
    refused(tmp_path / "w", "variable 'b'", "the file's list of variables lacks it")


def v2_change(folder: Path, key: bytes, change) -> None:
    """Rewrite the entry of a key in V2.index with right checksums; None removes it."""
    entries = {one: bytes(value) for one, value in read_table(folder / "V2.index")}
    entries[key] = change(entries[key])
    write_table(folder / "V2.index", [(one, value) for one, value in entries.items() if value is not None])


def test_damaged_bundles_are_errors(tmp_path: Path) -> None:
    tensorflows_files(tmp_path)
    index, data = tmp_path / "V2.index", tmp_path / "V2.data-00000-of-00001"
    whole_index, whole = index.read_bytes(), data.read_bytes()
    slice_key = next(key for key, _ in read_table(index) if key[:1] == b"\0")
    cases = [
        (b"", lambda value: None, "has no header"),
        (b"", lambda value: value + field(2, 1), "big-endian"),
        (b"long", lambda value: value.replace(b"\x08\x09", b"\x08\x07", 1), "'long', is of type string (7)"),
        (b"long", lambda value: value.replace(b"\x08\x03", b"\x08\x04", 1), "(4,)"),
        (b"long", lambda value: value + field(5, 16), "variable 'long'"),
        (b"long", lambda value: value + field(4, 1 << 40), "V2.data-00000-of-00001, which has"),
        (b"long", lambda value: value + field(5, 23), "are no numbers"),
        (b"long", lambda value: value[:-4] + bytes(4), "have checksum"),
        (b"rows", lambda value: None, "slices that no variable has"),
        (slice_key, lambda value: None, "are not in the index"),
    ]
    for key, change, words in cases:
        v2_change(tmp_path, key, change)
        refused(index, words)
        index.write_bytes(whole_index)
    data.write_bytes(whole[:-1])
    refused(index, "which has 603")
    data.unlink()
    with pytest.raises(FileNotFoundError, match="V2.data-00000-of-00001 is missing"):
        read_checkpoint(tmp_path / "V2")


def test_negative_integers_take_ten_bytes_and_come_back() -> None:
    message = read_message(field(7, packed([-7, 300])) + varint(8 << 3) + varint(-1))
    assert bytes(message[7][0]).endswith(b"\xac\x02") and len(message[7][0]) == 12
    assert message[8] == [2**64 - 1]


# --- names ---------------------------------------------------------------------------------------------------------


def retrained(name: str, version: str) -> str:
    """What TensorFlow 1.0 or 1.2 calls a variable of the original."""
    if not name.startswith("lstm/"):
        return name
    matrix, bias = {"1.0": ("weights", "biases"), "1.2": ("kernel", "bias")}[version]
    cells = {"BasicLSTMCell": "basic_lstm_cell", "GRUCell": "gru_cell", "BasicRNNCell": "basic_rnn_cell"}
    for camel, snake in cells.items():
        name = name.replace(camel, snake)
    name = name.replace("/Gates/", "/gates/").replace("/Candidate/", "/candidate/").replace("/Linear/", "/")
    return name.replace("/FW/", "/fw/").replace("/BW/", "/bw/").replace("Matrix", matrix).replace("Bias", bias)


@pytest.mark.parametrize("version", ["1.0", "1.2"])
@pytest.mark.parametrize("cell", CELLS)
def test_names_of_later_versions_become_the_originals(cell: str, version: str) -> None:
    original = model_variables("bilstm", cell)
    in_file = [retrained(name, version) for name in original]
    assert sum(a != b for a, b in zip(original, in_file, strict=True)) == (8 if cell == "gru" else 4)
    found = canonical_names(in_file)
    assert (found.model, found.cell, found.left_out) == ("bilstm", cell, {})
    assert found.variables == dict(zip(original, in_file, strict=True))


@pytest.mark.parametrize(
    "alias, original",
    [
        ("lstm/fw/basic_lstm_cell/kernel", "lstm/FW/BasicLSTMCell/Linear/Matrix"),
        ("lstm/bidirectional_rnn/bw/basic_lstm_cell/bias", "lstm/BW/BasicLSTMCell/Linear/Bias"),
        ("lstm/FW/BasicLSTMCell/Linear/Matrix", "lstm/FW/BasicLSTMCell/Linear/Matrix"),
        ("lstm/fw/gru_cell/gates/weights", "lstm/FW/GRUCell/Gates/Linear/Matrix"),
        ("lstm/bw/gru_cell/candidate/bias", "lstm/BW/GRUCell/Candidate/Linear/Bias"),
        ("lstm/bw/basic_rnn_cell/biases", "lstm/BW/BasicRNNCell/Linear/Bias"),
        ("f_logits/kernel", "f_logits/weights"),
        ("f_logits/bias", "f_logits/biases"),
        ("lstm/fw/gru_cell/kernel", None),  # a GRU has two matrices
        ("lstm/fw/basic_lstm_cell/gates/kernel", None),
        ("lstm/up/basic_lstm_cell/kernel", None),
        ("lstm/fw/lstm_cell/kernel", None),  # peepholes or projections: another cell
        ("seq_embedding/weights", None),
    ],
)
def test_single_names(alias: str, original: str | None) -> None:
    assert original_name(alias) == original


def test_models_are_told_apart_and_their_counter_may_be_missing() -> None:
    for model in ("bilstm", "vse", "siamese", "inception"):
        names = model_variables(model)
        found = canonical_names(reversed(names))
        assert (found.model, found.cell) == (model, "lstm" if model == "bilstm" else None)
        assert list(found.variables) == names
        names.remove("global_step")
        assert list(canonical_names(names).variables) == names


def test_state_of_training_is_reported_apart() -> None:
    names = model_variables("vse")
    extra = {
        "image_embedding/weights/Adam": "state of the optimizer",
        "image_embedding/weights/Adam_1": "state of the optimizer",
        "OptimizeLoss/seq_embedding/map/Momentum": "state of the optimizer",
        "seq_embedding/map/ExponentialMovingAverage": "a moving average of a variable",
        "InceptionV3/Conv2d_1a_3x3/BatchNorm/moving_mean/ExponentialMovingAverage": "a moving average of a variable",
        "InceptionV3/AuxLogits/Conv2d_2b_1x1/weights": "a classifier of ImageNet, which the original drops",
        "InceptionV3/Logits/Conv2d_1c_1x1/biases": "a classifier of ImageNet, which the original drops",
        "beta1_power": "a number of the optimizer",
        "OptimizeLoss/learning_rate": "a number of the optimizer",
    }
    found = canonical_names([*extra, *names])
    assert found.left_out == extra
    assert list(found.variables) == names


def test_unknown_missing_and_double_names_are_all_listed() -> None:
    names = model_variables("bilstm", "gru")
    names.remove("f_logits/biases")
    names.remove("lstm/BW/GRUCell/Gates/Linear/Bias")
    names += ["strange/Adam", "InceptionV3/Conv2d_1a_3x3/BatchNorm/gamma", "lstm/fw/gru_cell/gates/kernel"]
    with pytest.raises(ValueError) as caught:
        canonical_names(names)
    for words in (
        "bilstm model with gru cells",
        "2 variables that the model doesn't have: strange/Adam, InceptionV3/Conv2d_1a_3x3/BatchNorm/gamma",
        "2 variables that are missing: f_logits/biases, lstm/BW/GRUCell/Gates/Linear/Bias",
        "several names for one variable: lstm/FW/GRUCell/Gates/Linear/Matrix, lstm/fw/gru_cell/gates/kernel",
    ):
        assert words in str(caught.value), caught.value


def test_many_missing_names_are_counted_and_two_kinds_of_cells_refused() -> None:
    with pytest.raises(ValueError, match="376 variables that are missing: .* and 366 more"):
        canonical_names(["image_embedding/weights"])
    with pytest.raises(ValueError, match="cells of several kinds, lstm and rnn"):
        canonical_names([*model_variables("bilstm", "lstm"), "lstm/fw/basic_rnn_cell/kernel"])


def test_names_and_layout_in_torch() -> None:
    assert torch_name("InceptionV3/Mixed_5c/Branch_1/Conv_1_0c_5x5/weights") == "Mixed_5c.branch5x5_2.conv.weight"
    assert torch_name("InceptionV3/Conv2d_1a_3x3/BatchNorm/moving_variance") == "Conv2d_1a_3x3.bn.running_var"
    names = [name for name in model_variables("inception") if name != "global_step"]
    assert len({torch_name(name) for name in names}) == len(names) == 4 * len(inception_modules()) == 376
    with pytest.raises(KeyError, match="no variable of the image network"):
        torch_name("InceptionV3/Mixed_5c/Branch_1/Conv2d_0a_1x1/weights")  # 5b's name
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    turned = torch_layout("InceptionV3/Conv2d_1a_3x3/weights", kernel)
    assert turned.shape == (5, 4, 2, 3) and turned[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    assert torch_layout("image_embedding/weights", kernel) is kernel
    with pytest.raises(ValueError, match="kernel is .height, width, in, out."):
        torch_layout("InceptionV3/Conv2d_1a_3x3/weights", kernel[0])


# zlib and base 85. Variables of TensorFlow 2.21: `rows` in two slices of 65 rows, `columns` in slices of 3 and 2.
WRITTEN_BY_TENSORFLOW = {
    "V1": """
        c-n>1TSyd99LMo<W=9(*FY8Ha8H!}thtwd8h={;l4eFr>i=Z9?%M^Q9-6fR@0;g3<Dncs6#LA*VB0?g<q+*E(sR)S(>BbTf5)mR%cA@&t?8U8@
        {=?@myYoM1&iOGy+>z#}G%L(GyCUKC=9X4vD9zB2<CA{F)Vvxze$&0v4G*Jb<~Bsy>%)z1uXOr-nqM~s*8(%Au{qkdU*#&n1D!>Z59XP3o5GR$
        o#DFHw#KLuK966R%GAS=mL{ds>hb0IH5$uIeNSX>tIAUzBjzkFQyU3EvJu?~CGVYQ!n<6gb}ppU?3mrDmSr6#eE`cU_X)S`Du$pCgNP#$EYvDG
        W2$U+R@PxHRqmyoJ{uw=gf}D$1IhEdZ|tx;ls}V*dss`Y@b;f}>Q+_qrFvWz6uZG><`kuqN=^~7aB)^ZLJGC$pUABIHRiY9sglwRIN7nDba#+U
        k_4^!n@en`5>8u=ovNTLIHNhqx;u!6?1QRbOJ$vj*E+0~cWHkIl|KAzVCf))C`BcLsKpLMVWS&8=))j}FpLqzF@|wWAc09tVFsd_%wQlNUX;Lx
        g(yV;ORyA`Sc%nGiy+ov12&=-Td)n=u>%d*jWD8U!#*5<U7eSEPK$@!m<G}@Wqo_;pkg$4;SjoU1jle3Jvf0==tUp;F@Uoe#06Z$Wenj8uHqVo
        aUC~s6C)VKZQMm1_i!H%FouVCj3*e!Q#`|SOyC7x;SCaai+6aBNqoRZe8Lo_@flw*gYWo>Ul27y$QtKUk<PHH?ow~&M|}GHu#g@p9vPYcP8M(a
        I&K)RjUw^i+WNyj8faht@(()h?TY
    """,
    "V2.index": """
        c-muNVB=tvV&Y(A5D;ca&d({$%`0YLWMpb+YG~$Q6ygwK;$Q+|W(^6`ojr1|_?SeSn~=nr6eKhRO!XY~br^ZYit@`LdJi}@G(r_Q0x_dPh(-&O
        Y5c-PL7Z&j2OKe^Z!m%6O+JdYGq5W`9f4#Cs}%<qlK>MCGh1<iSu7mP0!$2SqAB^MNja%NMIfb&VE1SM-D7`T!HR)ZFg3TJq!K91Cd2@gVo|U#
        z45AP5d$}GdQN^)VorQ<NooNHvk-%Vg$9eMZ_?aa1{T4b{JeAyP9YYMpA~F?z77pOD8s;_4DuV$C{7_}jwX;rj9@o80x=`dO)MOa5H<r4fQiIg
        t<T_`1D_UdU|?h}X1LA-7jyf!Z1Wu^j+adQ3<N>=?}l!bQuo^c?LJDk
    """,
    "V2.data-00000-of-00001": """
        c-mFYKPbgv6b9f=Q3iv-U@#aA27|$1P=5Xl27|$1Fc=I5gTY`h+$2eoBq8Z0Ns=T9NjFK7BuSEVlO#!!gyedV;;rX9XE?omA$%oP?ukN(lORb%
        j8G9mcE$MESJukE&qI3RHI+(zuVzO0mni(}{O$SM{nHsjKE*`T(L@_DdKqMtII}FWN`hSuIVH&r54;d6{gF(v$R>we^2n!vLW(G+gi^|gsHTQm
        >ZqrIMw)1*g;v^Vr-M#nbkR)@z4Xz~0D}xM%m|~5Gr=TrrkG}iS>~8$fkl>BW`$MO*<h0dTWqt#E_>{Az#&H*bHXWSoO3~vORl))hFk8q=YdC_
        c;<yS-uWO@g^*VD36v0f`v
    """,
}
