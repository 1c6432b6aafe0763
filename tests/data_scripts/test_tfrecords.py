"""TFRecord files, SequenceExamples and the outfit shards of the 2017 project, without TensorFlow."""

import io
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from data_scripts.crc32c import crc32c, masked_crc32c
from data_scripts.polyvore_records import (
    OutfitRecord,
    decode_outfit,
    encode_outfit,
    outfit_record,
    python2_shuffle,
    read_outfit_records,
    shard_ranges,
    write_outfit_records,
)
from data_scripts.tfrecords import (
    Feature,
    SequenceExample,
    decode_sequence_example,
    encode_sequence_example,
    read_records,
    write_records,
)

REPOSITORY = Path(__file__).resolve().parents[2]
WORDS = {"black": 1, "top": 2, "céline": 3}


@pytest.mark.parametrize("file", ["crc32c.py", "wire_format.py"])
def test_the_models_folder_has_the_same_code(file: str) -> None:
    assert (REPOSITORY / "data_scripts" / file).read_bytes() == (REPOSITORY / "modeling" / "bilstm" / file).read_bytes()


# --- records -------------------------------------------------------------------------------------------------------


def framed(data: bytes) -> bytes:
    """A record, from the format's definition."""

    def masked(part: bytes) -> bytes:
        crc = crc32c(part)
        return (((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32).to_bytes(4, "little")

    length = len(data).to_bytes(8, "little")
    return length + masked(length) + data + masked(data)


def test_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    # Of the eight bytes of the length 24, from a file that TensorFlow wrote: its first record's header.
    assert framed(bytes(24))[:12].hex() == "1800000000000000a37f4b22"
    assert masked_crc32c(b"") == 0xA282EAD8


def test_records_are_written_and_read(tmp_path: Path) -> None:
    records = [b"", b"a", bytes(range(256)) * 1000]
    assert write_records(tmp_path / "shard", records) == 3
    assert (tmp_path / "shard").read_bytes() == b"".join(map(framed, records))
    assert list(read_records(tmp_path / "shard")) == [(0, b""), (16, b"a"), (33, records[2])]
    assert write_records(tmp_path / "empty", []) == 0
    assert list(read_records(tmp_path / "empty")) == []


def test_a_record_that_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    def records():
        yield b"first"
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        write_records(tmp_path / "shard", records())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: data[:-1], "record 1 at byte 21 has 6 bytes and the file ends at 42"),
        (lambda data: data[:30], "record 1 at byte 21 is cut off after 9 bytes"),
        (lambda data: data[:21] + b"\7" + data[22:], "record 1 at byte 21 fails the checksum of its length"),
        (lambda data: data[:35] + b"X" + data[36:], "record 1 at byte 21 fails the checksum of its 6 bytes"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "record 1 at byte 21 fails the checksum of its 6 bytes"),
        (lambda data: b"\x1f\x8b" + data[2:], "compressed with gzip, unpack it"),
        (lambda data: framed(b"")[:8] + data, "record 0 at byte 0 fails the checksum of its length"),
    ],
)
def test_damaged_records_are_named_by_file_and_byte(tmp_path: Path, damage, message: str) -> None:
    path = tmp_path / "train-no-dup-00000-of-00128"
    path.write_bytes(damage(framed(b"first") + framed(b"second")))
    with pytest.raises(ValueError, match=f"train-no-dup-00000-of-00128: .*{message}"):
        list(read_records(path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(read_records(tmp_path / "nowhere"))


# --- messages ------------------------------------------------------------------------------------------------------


def test_a_message_by_hand() -> None:
    """context: n = [300, -1]; lists: words = [[b"a", b"bc"], []]; field numbers of tensorflow/core/example."""
    numbers = b"\x1a\x0e\x0a\x0c" + b"\xac\x02" + b"\xff" * 9 + b"\x01"
    context = b"\x0a\x15" + b"\x0a\x01n" + b"\x12\x10" + numbers
    two = b"\x0a\x07" + b"\x0a\x01a" + b"\x0a\x02bc"
    lists = b"\x0a\x18" + b"\x0a\x05words" + b"\x12\x0f" + b"\x0a\x09" + two + b"\x0a\x02" + b"\x0a\x00"
    message = b"\x0a\x17" + context + b"\x12\x1a" + lists
    example = SequenceExample(
        {"n": Feature("int64", [300, -1])}, {"words": [Feature("bytes", [b"a", b"bc"]), Feature("bytes", [])]}
    )
    assert encode_sequence_example(example) == message
    assert decode_sequence_example(message) == example


def test_messages_come_back_and_single_numbers_are_read() -> None:
    example = SequenceExample(
        {
            "f": Feature("float", [0.5, -1.25]),
            "none": Feature("", []),
            "no numbers": Feature("int64", []),
            "é": Feature("int64", [-(2**63), 2**63 - 1, 0]),
        },
        {"empty": [], "f": [Feature("float", []), Feature("float", [2.0])]},
    )
    assert decode_sequence_example(encode_sequence_example(example)) == example
    # Writers may give each number a field of its own (field 1: varint 5, varint 6; fixed32 1.0).
    unpacked = b"\x0a\x0f" + b"\x0a\x0d\x0a\x01n\x12\x08\x1a\x06\x08\x05\x08\x06\x08\x07"
    assert decode_sequence_example(unpacked).context == {"n": Feature("int64", [5, 6, 7])}
    unpacked = b"\x0a\x0e" + b"\x0a\x0c\x0a\x01x\x12\x07\x12\x05\x0d\x00\x00\x80\x3f"
    assert decode_sequence_example(unpacked).context == {"x": Feature("float", [1.0])}


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x0b", b"\x08\x01", b"\x0a\x02\x0a\xff", b"\xff" * 12])
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_sequence_example(data)


# --- outfits -------------------------------------------------------------------------------------------------------


def jpeg(shade: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (9, 7), shade if mode == "L" else (shade,) * len(mode)).save(file, kind)
    return file.getvalue()


def outfits(folder: Path, sizes: list[int]) -> list[dict]:
    """Made-up outfits as the official JSON has them, with pictures."""
    found = []
    for row, size in enumerate(sizes):
        set_id = str(1000 + row)
        items = [{"index": 2 * n + 1, "name": f"black céline top{n % 2}"} for n in range(size)]
        (folder / set_id).mkdir(parents=True)
        for n, item in enumerate(items):
            (folder / set_id / f"{item['index']}.jpg").write_bytes(jpeg(10 * n, "L" if n % 3 == 2 else "RGB"))
        found.append({"set_id": set_id, "set_url": f"http://x/{row}", "likes": row, "views": 9 - row, "items": items})
    return found


def test_outfits_have_eight_pictures_and_their_words_numbers(tmp_path: Path) -> None:
    short, long = outfits(tmp_path, [3, 10])
    unknown: Counter[str] = Counter()
    record = outfit_record(short, tmp_path, WORDS, unknown_words=unknown)
    files = [(tmp_path / "1000" / f"{index}.jpg").read_bytes() for index in (1, 3, 5)]
    assert record == OutfitRecord(
        set_id="1000",
        images=[*files, *[files[2]] * 5],
        caption_ids=[[1, 3]] * 3,
        image_index=[1, 3, 5],
        captions=["black céline top0", "black céline top1", "black céline top0"],
        set_url="http://x/0",
        likes=0,
        views=9,
    )
    assert unknown == {"top0": 2, "top1": 1}
    record = outfit_record(long, tmp_path, WORDS, unknown=4)
    assert len(record.images) == 8 and record.image_index == list(range(1, 20, 2))
    assert record.caption_ids == [[1, 3, 4]] * 10
    assert record.images[-1] == (tmp_path / "1001" / "15.jpg").read_bytes()


def test_words_are_separated_at_ascii_blanks_alone(tmp_path: Path) -> None:
    (outfit,) = outfits(tmp_path, [1])
    outfit["items"][0]["name"] = "black\u00a0top  top\tblack\n"
    assert outfit_record(outfit, tmp_path, WORDS, unknown=9).caption_ids == [[9, 2, 1]]
    outfit["items"][0]["name"] = ""
    assert outfit_record(outfit, tmp_path, WORDS, unknown=9).caption_ids == [[]]


def test_shards_are_written_in_the_shuffled_order_and_read(tmp_path: Path) -> None:
    made = outfits(tmp_path / "images", [1 + row % 9 for row in range(21)])
    report = write_outfit_records(made, tmp_path / "images", WORDS, tmp_path / "records", "valid")
    assert [file.name for file in report.files] == [f"valid-no-dup-{n:05d}-of-00008" for n in range(8)]
    assert (report.written, report.left_out) == (21, {})
    assert report.unknown_words.total() == sum(len(outfit["items"]) for outfit in made)
    found = list(read_outfit_records(report.files))
    assert found == [outfit_record(made[row], tmp_path / "images", WORDS) for row in python2_shuffle(21)]
    counts = [len(list(read_records(file))) for file in report.files]
    assert counts == [2, 3, 2, 3, 3, 2, 3, 3]  # the cuts of 0 .. 21 in eight, rounded down

    report = write_outfit_records(
        made[:2], tmp_path / "images", WORDS, tmp_path / "few", "test", shards=16, official_unknown_words=True
    )
    assert [ids for outfit in read_outfit_records(report.files) for ids in outfit.caption_ids] == [[1, 3, 4]] * 3
    assert len(list((tmp_path / "few").iterdir())) == 16


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "image not found: .*1001/3.jpg"),
        (b"", "1001/3.jpg: the image file has zero bytes"),
        (jpeg(7)[:200], "1001/3.jpg: .*image"),
        (jpeg(7, kind="PNG"), "1001/3.jpg: expected a JPEG in colour or grey"),
        (jpeg(7, "CMYK"), "1001/3.jpg: expected a JPEG in colour or grey"),
    ],
)
def test_outfits_with_bad_pictures_are_errors_or_reported(tmp_path: Path, content: bytes | None, message: str) -> None:
    made = outfits(tmp_path / "images", [2, 2, 2])
    bad = tmp_path / "images" / "1001" / "3.jpg"
    bad.write_bytes(content) if content is not None else bad.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_outfit_records(made, tmp_path / "images", WORDS, tmp_path / "records", "valid")
    report = write_outfit_records(made, tmp_path / "images", WORDS, tmp_path / "records", "valid", invalid="skip")
    assert report.written == 2 and list(report.left_out) == ["1001"]
    assert sorted(outfit.set_id for outfit in read_outfit_records(report.files)) == ["1000", "1002"]
    assert not list((tmp_path / "records").glob("*.partial"))


def test_impossible_options_and_outfits_are_errors(tmp_path: Path) -> None:
    made = outfits(tmp_path, [1])
    for split, options in {"train": {"shards": 12}, "other": {}, "test": {"invalid": "ignore"}}.items():
        with pytest.raises(ValueError, match="shards a multiple of 8"):
            write_outfit_records(made, tmp_path, WORDS, tmp_path / "records", split, **options)
    for change in ({"items": []}, {"items": [{"index": 1}]}, {"set_id": ""}):
        with pytest.raises(ValueError, match="needs a set_id and items"):
            outfit_record(made[0] | change, tmp_path, WORDS)


def test_the_shuffle_is_the_one_of_python_2() -> None:
    assert python2_shuffle(10) == [1, 3, 9, 5, 8, 7, 2, 6, 0, 4]  # from the golden case data_prep
    assert python2_shuffle(0) == [] and python2_shuffle(1) == [0]
    generator, ours = random.Random(12345), list(range(10))
    generator.shuffle(ours)
    assert ours != python2_shuffle(10), "Python 3's own shuffle would do"


def test_shards_are_cut_as_the_originals_eight_threads_cut_them() -> None:
    for count, shards in [(17316, 128), (3076, 16), (1497, 8), (5, 16), (0, 8)]:
        ranges = shard_ranges(count, shards)
        assert len(ranges) == shards and ranges[0][0] == 0 and ranges[-1][1] == count
        assert all(a[1] == b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    # 3076 / 8 = 384.5: the second thread has 384 .. 769, whose half is 576.5; one cut of all would be at 576.75.
    assert shard_ranges(3076, 16)[1:4] == [(192, 384), (384, 576), (576, 769)]


def test_what_is_no_outfit_is_named_by_file_and_byte(tmp_path: Path) -> None:
    whole = OutfitRecord("7", [b"jpeg"] * 8, [[1], []], [1, 4], ["black", ""], "url", 3, 4)
    assert decode_outfit(encode_outfit(whole)) == whole
    example = decode_sequence_example(encode_outfit(whole))
    # What the original's reader doesn't need may be missing.
    bare = SequenceExample(
        {
            name: feature
            for name, feature in example.context.items()
            if name[:3] in ("ima", "set") and name != "set_url"
        },
        {name: steps for name, steps in example.feature_lists.items() if name != "caption"},
    )
    assert decode_outfit(encode_sequence_example(bare)) == OutfitRecord("7", whole.images, [[1], []], [1, 4])
    changes = [
        ({"images/3": None}, {}, "it has the pictures"),
        ({"set_id": None}, {}, "set_id is missing"),
        ({"set_id": Feature("int64", [7])}, {}, "set_id is int64; expected bytes"),
        ({"likes": Feature("int64", [1, 2])}, {}, "likes has 2 values"),
        ({}, {"caption_ids": None}, "expected a list of caption_ids"),
        ({}, {"image_index": [Feature("int64", [1])]}, "an image_index per item"),
        ({}, {"image_index": [Feature("bytes", [b"1"])] * 2}, "image_index is bytes"),
    ]
    for context, lists, message in changes:
        changed = SequenceExample(
            {name: value for name, value in (example.context | context).items() if value is not None},
            {name: value for name, value in (example.feature_lists | lists).items() if value is not None},
        )
        write_records(tmp_path / "shard", [encode_outfit(whole), encode_sequence_example(changed)])
        with pytest.raises(ValueError, match=f"shard: the record at byte [1-9].* is no outfit: .*{message}"):
            list(read_outfit_records([tmp_path / "shard"]))
