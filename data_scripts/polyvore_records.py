"""The 2017 Bi-LSTM project's training files: outfits with their pictures as TFRecord shards, read and written.

An outfit is one SequenceExample. Context: `images/0` .. `images/7` (JPEG files; the last picture is repeated where an
outfit has fewer items, pictures beyond the eighth are left out), `set_id`, `set_url`, `likes`, `views`. Lists with one
entry per item: `caption`, `caption_ids` (numbers of its words), `image_index`. Shards are named
`train-no-dup-00000-of-00128`, in an order shuffled with Python 2's `random.seed(12345)`.
Original: https://github.com/xthan/polyvore, data/build_polyvore_data.py (Apache-2.0).

    words = polyvore.read_vocabulary("final_word_dict.txt")
    write_outfit_records(outfits, "images", words, "tf_records", "train")
    for outfit in read_outfit_records(shard_files("tf_records", "train")):
        outfit.set_id, outfit.images, outfit.caption_ids

data_scripts/polyvore_shards.py reads a whole split for training, without keeping its pictures in memory.
"""

from __future__ import annotations

import logging
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.images import open_image
from data_scripts.source_files import first_few
from data_scripts.tfrecords import (
    BYTES,
    INT64,
    Feature,
    SequenceExample,
    decode_sequence_example,
    encode_sequence_example,
    read_records,
    write_records,
)

logger = logging.getLogger(__name__)

IMAGES = 8
SEED = 12345
SHARDS = {"train": 128, "test": 16, "valid": 8}
GROUPS = 8  # the original's threads; each writes shards / GROUPS files of its share of the outfits


@dataclass
class OutfitRecord:
    """One outfit of the files.

    Args:
        set_id, set_url, likes, views: as in the outfit's JSON.
        images: JPEG files, eight in the original's shards.
        captions, caption_ids, image_index: one per item, of which there may be more or fewer than images.
    """

    set_id: str
    images: list[bytes]
    caption_ids: list[list[int]]
    image_index: list[int]
    captions: list[str] = field(default_factory=list)
    set_url: str = ""
    likes: int = 0
    views: int = 0


@dataclass
class WrittenRecords:
    """What became of the outfits: files, number written, set_id -> why one was left out, unknown words and how often."""

    files: list[Path]
    written: int
    left_out: dict[str, str]
    unknown_words: Counter[str]


def shard_files(folder: str | os.PathLike, split: str) -> list[Path]:
    """The shards of a split, `<split>-no-dup-00000-of-00128` or `<split>-00000-of-00128`, by number.

    Args:
        folder: where they are, or a folder with them in `tf_records`.

    Raises:
        FileNotFoundError: no shards of the split, or one of their set is missing.
        ValueError: shards of two sets, of which one is older.
    """
    folders = [Path(folder), Path(folder) / "tf_records"]
    pattern = re.compile(rf"({re.escape(split)}(?:-no-dup)?)-(\d{{5}})-of-(\d{{5}})")
    for place in folders:
        found = {p: m.groups() for p in sorted(place.glob(f"{split}-*")) if (m := pattern.fullmatch(p.name))}
        if found:
            break
    else:
        raise FileNotFoundError(
            f"no shards of {split} in {' or '.join(map(str, folders))}: expected {split}-no-dup-00000-of-00128 and so on; "
            "write them with write_outfit_records"
        )
    sets = sorted({(stem, int(count)) for stem, _, count in found.values()})
    if len(sets) > 1:
        names = " and ".join(f"{stem}-*-of-{count:05d}" for stem, count in sets)
        raise ValueError(f"{place}: shards of two sets are there, {names}; remove one of them")
    ((stem, count),) = sets
    names = [f"{stem}-{number:05d}-of-{count:05d}" for number in range(count)]
    if lost := [name for name in names if not (place / name).is_file()]:
        raise FileNotFoundError(
            f"{place}: {len(lost)} of {count} shards are missing: {first_few(lost)}; copy them, or write all again"
        )
    return [place / name for name in names]


def read_outfit_records(paths: Iterable[str | os.PathLike]) -> Iterator[OutfitRecord]:
    """Outfits of the shards, in their order.

    Raises:
        FileNotFoundError: a shard doesn't exist.
        ValueError: a shard is damaged, or holds other messages; file, byte and outfit are named.
    """
    for path in paths:
        for offset, data in read_records(path):
            yield whole_outfit(data, path, offset)


def whole_outfit(data: bytes, path: str | os.PathLike, offset: int) -> OutfitRecord:
    """`decode_outfit`, whose error names the file and the byte."""
    try:
        return decode_outfit(data)
    except ValueError as error:
        raise ValueError(
            f"{path}: the record at byte {offset:,} is no outfit: {error}; write the shards again with "
            "write_outfit_records"
        ) from error


def write_outfit_records(
    outfits: Sequence[Mapping[str, Any]],
    image_dir: str | os.PathLike,
    words: Mapping[str, int],
    output_dir: str | os.PathLike,
    split: str,
    *,
    shards: int | None = None,
    invalid: str = "error",
    official_unknown_words: bool = False,
) -> WrittenRecords:
    """Write the shards of a split as the original's script does.

    Args:
        outfits: content of `<split>_no_dup.json`, in its order.
        image_dir: folder with `<set_id>/<index>.jpg`.
        words: word -> number, from `polyvore.read_vocabulary`.
        output_dir: folder of the shards; made where it is missing.
        split: "train", "test" or "valid".
        shards: a multiple of 8; None: 128, 16 and 8.
        invalid: "error", or "skip" to leave out outfits with a picture that is missing or no whole JPEG; the original
            skips outfits with a damaged picture and stops at a missing one.
        official_unknown_words: give unknown words the number after the last word, as the original does. Its word
            table has no such row. Default: leave them out.

    Raises:
        FileNotFoundError, ValueError: an outfit can't be written and `invalid` is "error"; or an option is impossible.
    """
    shards = SHARDS.get(split, 0) if shards is None else shards
    if split not in SHARDS or shards < 1 or shards % GROUPS or invalid not in ("error", "skip"):
        raise ValueError(
            f"split is one of {list(SHARDS)}, shards a multiple of {GROUPS}, invalid 'error' or 'skip'; got {split!r}, "
            f"{shards!r}, {invalid!r}"
        )
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    report = WrittenRecords([], 0, {}, Counter())
    # Deviation: words outside the list have no row in the released models' table, so they are left out by default.
    unknown = len(words) + 1 if official_unknown_words else None
    shuffled = [outfits[row] for row in python2_shuffle(len(outfits))]

    def records(part: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
        for outfit in part:
            try:
                record = outfit_record(outfit, image_dir, words, unknown, report.unknown_words)
            except (ValueError, FileNotFoundError) as error:
                if invalid == "error":
                    raise
                report.left_out[str(outfit.get("set_id"))] = str(error)
                continue
            yield encode_outfit(record)

    for number, (first, last) in enumerate(shard_ranges(len(shuffled), shards)):
        file = output_dir / f"{split}-no-dup-{number:05d}-of-{shards:05d}"
        report.written += write_records(file, records(shuffled[first:last]))
        report.files.append(file)
    if report.left_out:
        reasons = first_few([f"{set_id} ({reason})" for set_id, reason in report.left_out.items()], 3)
        logger.warning("%s: %d of %d outfits left out: %s", output_dir, len(report.left_out), len(outfits), reasons)
    if report.unknown_words:
        treated = f"numbered {unknown}" if unknown else "left out"
        names = first_few([word for word, _ in report.unknown_words.most_common()])
        logger.warning("%s: %d unknown words %s: %s", output_dir, report.unknown_words.total(), treated, names)
    return report


def outfit_record(
    outfit: Mapping[str, Any],
    image_dir: str | os.PathLike,
    words: Mapping[str, int],
    unknown: int | None = None,
    unknown_words: Counter[str] | None = None,
) -> OutfitRecord:
    """One outfit of the JSON files with its pictures.

    Args:
        outfit: `set_id`, `items` (each with `index` and `name`), and where they are there `set_url`, `likes`, `views`.
        image_dir, words: see [`write_outfit_records`].
        unknown: number of words that are not in the list; None leaves them out.
        unknown_words: counts them.

    Raises:
        FileNotFoundError: a picture is missing.
        ValueError: a picture is no whole JPEG, or the outfit lacks a field or has no items.
    """
    set_id = str(outfit.get("set_id", ""))
    items = outfit.get("items")
    if not set_id or not items or any("index" not in item or "name" not in item for item in items):
        raise ValueError(f"outfit {set_id!r} needs a set_id and items, each with an index and a name; correct the JSON")
    pictures = [_jpeg(Path(image_dir) / set_id / f"{item['index']}.jpg") for item in items]
    caption_ids = []
    for item in items:
        ids = []
        for word in map(bytes.decode, item["name"].encode().split()):  # at ASCII blanks alone, as Python 2 splits
            if word in words:
                ids.append(words[word])
                continue
            if unknown is not None:
                ids.append(unknown)
            if unknown_words is not None:
                unknown_words[word] += 1
        caption_ids.append(ids)
    return OutfitRecord(
        set_id=set_id,
        images=[pictures[min(index, len(pictures) - 1)] for index in range(IMAGES)],
        caption_ids=caption_ids,
        image_index=[int(item["index"]) for item in items],
        captions=[item["name"] for item in items],
        set_url=outfit.get("set_url", ""),
        likes=int(outfit.get("likes", 0)),
        views=int(outfit.get("views", 0)),
    )


def _jpeg(path: Path) -> bytes:
    """A JPEG file's bytes, after decoding it once; grey ones are right, they become three equal channels."""
    if not path.is_file():
        raise FileNotFoundError(f"image not found: {path}; put it there, or leave its outfit out")
    data = path.read_bytes()
    image = open_image(data, str(path))
    if not data.startswith(b"\xff\xd8") or image.mode not in ("RGB", "L"):
        raise ValueError(f"{path}: expected a JPEG in colour or grey, got {image.format} {image.mode}; save it as one")
    return data


def python2_shuffle(count: int, seed: int = SEED) -> list[int]:
    """`random.seed(seed); random.shuffle(range(count))` of Python 2, whose draws Python 3's shuffle doesn't make."""
    draw = random.Random(seed).random
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(draw() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def shard_ranges(count: int, shards: int) -> list[tuple[int, int]]:
    """First and last (exclusive) outfit of each shard: eight even shares, each cut into even files, rounded down."""
    shares = np.linspace(0, count, GROUPS + 1).astype(int)
    ranges = []
    for first, last in zip(shares[:-1], shares[1:], strict=True):
        cuts = np.linspace(first, last, shards // GROUPS + 1).astype(int).tolist()
        ranges += list(zip(cuts[:-1], cuts[1:], strict=True))
    return ranges


def encode_outfit(outfit: OutfitRecord) -> bytes:
    """The outfit as a SequenceExample."""
    context = {f"images/{index}": Feature(BYTES, [image]) for index, image in enumerate(outfit.images)}
    context |= {
        "set_id": Feature(BYTES, [outfit.set_id.encode()]),
        "set_url": Feature(BYTES, [outfit.set_url.encode()]),
        "likes": Feature(INT64, [outfit.likes]),
        "views": Feature(INT64, [outfit.views]),
    }
    lists = {
        "caption": [Feature(BYTES, [caption.encode()]) for caption in outfit.captions],
        "caption_ids": [Feature(INT64, ids) for ids in outfit.caption_ids],
        "image_index": [Feature(INT64, [index]) for index in outfit.image_index],
    }
    return encode_sequence_example(SequenceExample(context, lists))


def decode_outfit(data: bytes) -> OutfitRecord:
    """An outfit of a SequenceExample; without the fields that the original's reader doesn't need it is whole too.

    Raises:
        ValueError: the bytes are no such message, or a field is missing or of another type.
    """
    example = decode_sequence_example(data)
    numbers = sorted(int(name[7:]) for name in example.context if re.fullmatch(r"images/\d{1,4}", name))
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError(f"it has the pictures {numbers}; expected images/0, images/1 and so on")
    lists = {name: example.feature_lists.get(name) for name in ("caption_ids", "image_index", "caption")}
    ids, indices = lists["caption_ids"], lists["image_index"]
    if ids is None or indices is None or len(ids) != len(indices):
        counts = {name: "none" if values is None else len(values) for name, values in lists.items()}
        raise ValueError(f"it has {counts}; expected a list of caption_ids and an image_index per item")
    return OutfitRecord(
        set_id=_one(example.context.get("set_id"), BYTES, "set_id").decode(),
        images=[_one(example.context[f"images/{number}"], BYTES, f"images/{number}") for number in numbers],
        caption_ids=[_values(feature, INT64, "caption_ids") for feature in ids],
        image_index=[_one(feature, INT64, "image_index") for feature in indices],
        captions=[_one(feature, BYTES, "caption").decode() for feature in lists["caption"] or []],
        set_url=_one(example.context.get("set_url", Feature(BYTES, [b""])), BYTES, "set_url").decode(),
        likes=_one(example.context.get("likes", Feature(INT64, [0])), INT64, "likes"),
        views=_one(example.context.get("views", Feature(INT64, [0])), INT64, "views"),
    )


def _values(feature: Feature | None, kind: str, name: str) -> list[Any]:
    if feature is None or feature.type not in (kind, ""):
        raise ValueError(f"{name} is {feature.type if feature else 'missing'}; expected {kind}")
    return list(feature.values)


def _one(feature: Feature | None, kind: str, name: str) -> Any:
    values = _values(feature, kind, name)
    if len(values) != 1:
        raise ValueError(f"{name} has {len(values)} values; expected one")
    return values[0]
