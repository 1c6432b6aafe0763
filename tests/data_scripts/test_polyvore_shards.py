"""A split read from TFRecord shards: the tree's outfits in the tree's order, pictures on demand, incomplete sets named."""

import dataclasses
import pickle

import pytest

from data_scripts.polyvore_records import OutfitRecord, encode_outfit, shard_files, write_outfit_records
from data_scripts.polyvore_shards import read_split
from data_scripts.tfrecords import write_records

from .test_tfrecords import WORDS, outfits

WHOLE = OutfitRecord("7", [b"one", b"two", *[b"two"] * 6], [[1, 3], [4, 2]], [1, 4], ["black céline", "new top"])


@pytest.fixture
def made(tmp_path):
    """Outfits of 1 to 9 items as the JSON has them, and their shards."""
    entries = outfits(tmp_path / "images", [1 + row % 9 for row in range(21)])
    write_outfit_records(entries, tmp_path / "images", WORDS, tmp_path / "tf_records", "valid")
    return entries


def test_a_split_is_that_of_the_json_file(made, tmp_path, caplog) -> None:
    split = read_split(tmp_path, "valid")
    assert split.set_ids == [entry["set_id"] for entry in made]
    wanted = [f"{e['set_id']}_{item['index']}" for e in made for item in e["items"][:8]]
    assert split.item_ids == wanted
    assert split.names == [item["name"] for e in made for item in e["items"][:8]]
    assert [len(items) for items in split.outfits] == [min(8, len(entry["items"])) for entry in made]
    assert [place for items in split.outfits for place in items] == list(range(len(wanted)))
    photos = [tmp_path / "images" / e["set_id"] / f"{item['index']}.jpg" for e in made for item in e["items"][:8]]
    assert list(split.pictures) == [photo.read_bytes() for photo in photos]
    assert "2 outfits have more items than pictures" in caplog.text  # rows 8 and 17, of nine items
    # Workers that load data get the places, not the pictures.
    assert len(pickle.dumps(split.pictures)) < sum(map(len, split.pictures)) / 2


def test_shards_without_names_take_those_of_the_numbers(tmp_path) -> None:
    write_records(tmp_path / "train-00000-of-00001", [encode_outfit(WHOLE)])
    assert read_split(tmp_path, "train").names == ["black céline", "new top"]
    bare = dataclasses.replace(WHOLE, captions=[])
    write_records(tmp_path / "train-00000-of-00001", [encode_outfit(bare)])
    assert read_split(tmp_path, "train", WORDS).names == ["black céline", "top"]  # 4 is the writer's unknown word
    with pytest.raises(ValueError, match="set 7 has no captions.*--vocabulary"):
        read_split(tmp_path, "train")
    with pytest.raises(ValueError, match="word of number 4, and the word list has 2"):
        read_split(tmp_path, "train", {"black": 1, "céline": 3})


def test_one_item_twice_in_an_outfit_is_one(tmp_path) -> None:
    twice = OutfitRecord("7", [b"one", b"two", b"one"], [[1]] * 3, [1, 4, 1], ["black"] * 3)
    write_records(tmp_path / "train-00000-of-00001", [encode_outfit(twice)])
    split = read_split(tmp_path, "train")
    assert split.item_ids == ["7_1", "7_4"] and split.outfits == [[0, 1, 0]] and len(split.pictures) == 2


def test_sets_that_are_not_whole_are_named(made, tmp_path) -> None:
    folder = tmp_path / "tf_records"
    with pytest.raises(FileNotFoundError, match="no shards of test in .*expected test-no-dup-00000-of-00128"):
        shard_files(tmp_path, "test")
    (folder / "valid-no-dup-00003-of-00008").rename(folder / "aside")
    with pytest.raises(FileNotFoundError, match="1 of 8 shards are missing: valid-no-dup-00003-of-00008"):
        read_split(tmp_path, "valid")
    (folder / "aside").rename(folder / "valid-no-dup-00003-of-00008")
    (folder / "valid-no-dup-00000-of-00016").write_bytes(b"")
    with pytest.raises(ValueError, match=r"two sets are there, valid-no-dup-\*-of-00008 and valid-no-dup-\*-of-00016"):
        read_split(tmp_path, "valid")


def test_damaged_shards_are_named_by_file_and_byte(made, tmp_path) -> None:
    shard = tmp_path / "tf_records" / "valid-no-dup-00002-of-00008"
    content = shard.read_bytes()
    shard.write_bytes(content[:-20])
    with pytest.raises(ValueError, match="valid-no-dup-00002-of-00008: record 1 at byte .* and the file ends at"):
        read_split(tmp_path, "valid")
    shard.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with pytest.raises(ValueError, match="valid-no-dup-00002-of-00008: record 0 at byte 0 fails the checksum"):
        read_split(tmp_path, "valid")
    write_records(shard, [encode_outfit(WHOLE), b"\x0a\x02\x0a\xff"])
    with pytest.raises(ValueError, match="valid-no-dup-00002-of-00008: the record at byte [1-9].* is no outfit"):
        read_split(tmp_path, "valid")
    write_records(shard, [encode_outfit(WHOLE)] * 2)
    with pytest.raises(ValueError, match="sets twice: 7"):
        read_split(tmp_path, "valid")
