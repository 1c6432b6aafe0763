"""A split of Polyvore (Maryland) from the 2017 project's TFRecord shards, its pictures left in the files until they are asked.

    split = read_split("tf_records", "train", words)
    split.item_ids, split.names, split.outfits     # "<set_id>_<index>", the item's name, places of each outfit's items
    split.pictures[0]                              # bytes of a JPEG file

Shards hold no categories, and no more than eight pictures of an outfit: what the original trains on. See
data_scripts/polyvore_records.py for the format.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_scripts.polyvore_records import OutfitRecord, python2_shuffle, shard_files, whole_outfit
from data_scripts.source_files import first_few, repeated
from data_scripts.tfrecords import DATA_OFFSET, read_records

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardPicture:
    """A JPEG file inside a shard."""

    shard: Path
    offset: int
    length: int

    def read(self) -> bytes:
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


class ShardPictures(Sequence):
    """Pictures that are read when they are asked for, as the bytes of their files."""

    def __init__(self, places: Sequence[ShardPicture]) -> None:
        self.places = list(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> bytes:
        return self.places[place].read()


@dataclass
class ShardSplit:
    """Outfits of a split.

    Attributes:
        item_ids, names, pictures: of each item, each once.
        outfits: places of each outfit's items, in order. set_ids: of each outfit.
    """

    item_ids: list[str]
    names: list[str]
    pictures: ShardPictures
    outfits: list[list[int]]
    set_ids: list[str]


def read_split(folder: str | os.PathLike, split: str, words: Mapping[str, int] | None = None) -> ShardSplit:
    """The outfits of a split in the order of the JSON file that they were written from, where none was left out.

    Args:
        folder: the shards, or a folder with them in `tf_records`.
        words: word -> number, for shards without the items' names: there a name is the words of its numbers.

    Raises:
        FileNotFoundError: no shards, or one of them is missing.
        ValueError: a shard is damaged or holds other messages, an outfit twice, names are missing and there are no
            `words`, or these have other numbers.
    """
    found: list[tuple[OutfitRecord, list[ShardPicture]]] = []
    cut = []
    for record, pictures in _records(shard_files(folder, split)):
        found.append((record, pictures))
        if len(record.image_index) > len(pictures):
            cut.append(record.set_id)
    if cut:
        logger.warning(
            "%s: %d outfits have more items than pictures, and lose those: %s", folder, len(cut), first_few(cut)
        )
    if twice := repeated(record.set_id for record, _ in found):
        raise ValueError(f"{folder}: sets twice: {first_few(twice)}; keep the shards of one writing")
    # The writer shuffles. Turned back, so that a run from shards has the batches of a run from the tree.
    outfits = [found[0]] * len(found) if found else []
    for place, row in enumerate(python2_shuffle(len(found))):
        outfits[row] = found[place]
    by_number = {number: word for word, number in (words or {}).items()}
    split_of = ShardSplit([], [], ShardPictures([]), [], [])
    places: dict[str, int] = {}
    for record, pictures in outfits:
        items = []
        for item, (index, picture) in enumerate(zip(record.image_index, pictures, strict=False)):
            key = f"{record.set_id}_{index}"
            if key not in places:
                places[key] = len(places)
                split_of.item_ids.append(key)
                split_of.names.append(_name(record, item, by_number))
                split_of.pictures.places.append(picture)
            items.append(places[key])
        split_of.outfits.append(items)
        split_of.set_ids.append(record.set_id)
    return split_of


def _records(files: Sequence[Path]) -> Iterator[tuple[OutfitRecord, list[ShardPicture]]]:
    """Every outfit without its pictures' bytes, and where these are."""
    for file in files:
        for offset, data in read_records(file):
            record = whole_outfit(data, file, offset)
            begin = offset + DATA_OFFSET
            pictures = [ShardPicture(file, begin + data.index(image), len(image)) for image in record.images]
            record.images = []
            yield record, pictures


def _name(record: OutfitRecord, item: int, by_number: Mapping[int, str]) -> str:
    """Of an item, or the words of its numbers. The number after the last is the writer's for words it did not know."""
    if len(record.captions) == len(record.image_index):
        return record.captions[item]
    if not by_number:
        raise ValueError(
            f"set {record.set_id} has no captions, only numbers of words: give the word list that the shards were written "
            "with (--vocabulary, or final_word_dict.txt in --data_dir)"
        )
    numbers = [number for number in record.caption_ids[item] if number != len(by_number) + 1]
    if strange := [number for number in numbers if number not in by_number]:
        raise ValueError(
            f"set {record.set_id} has a word of number {strange[0]}, and the word list has {len(by_number)}: give the one "
            "that the shards were written with (--vocabulary)"
        )
    return " ".join(by_number[number] for number in numbers)
