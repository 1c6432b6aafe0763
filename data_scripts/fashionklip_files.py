"""FashionKLIP's own files: captions with their phrases, concepts, image references, and archives of pictures.

Source: https://github.com/alibaba/EasyNLP, examples/fashionklip (Apache-2.0). Only a sample of the knowledge base was
released; the files of FashionGen have to be made from it (train/fashionklip_graph.py makes the concepts of any
catalogue). All text files hold one JSON object per line, UTF-8.

    fashiongen/train/*_queries_phrases.jsonl   {"query_id": 7, "query_text": "Olive cotton coat", "item_ids": ["12"],
                                                "phrases": ["olive coat", ...], "match_phrases": [...]}
    fashiongen/train/*_concepts_queries.jsonl  {"query_id": 104, "query_text": "a photo of olive coat", "phrase": ...}
    fashiongen/train/*_concepts_fathers.jsonl  {"query_id": 104, "phrase": "olive coat", "phrase_father": "coat"}
    fashiongen/train/*.npz                     pictures (see data_scripts/klip_archives.py)
    fashiongen/val/*_queries.jsonl             captions without phrases
    fashiongen/val/*_images.jsonl              {"image_id": "12", "item_ids": [7]}: the captions of a picture, or a
                                               single one in "text"
    fashiongen/val/*.npz
    fashion_kb/*_concepts_queries.jsonl, *_concepts_fathers.jsonl, *.npz     the knowledge base

`data_dir` is the folder above these two, or one above a `tmp` that holds them. The released sample's names
(`concepts_queries.jsonl`, `concepts_fathers.jsonl`, `concepts_images_sample.224.npz`) are found too.

    builder = FashionKLIPFiles(config_name="pairs", data_dir="data/fashionklip")

Configurations
    pairs      query_id, query_text, image_id, phrases, match_phrases: one row per caption and picture
    queries    query_id, query_text, item_ids: one row per caption
    images     image_id, pixels (3, side, side) of the training and validation archives
    concepts   query_id, query_text, phrase, father, source ("data" or "kb"); one split
    pool       image_id, pixels of the knowledge base's archives; one split

Quirks: ids may be numbers or strings in the files and are strings here. An empty caption is a caption. Of a phrase with
several fathers the last line counts. The original prints and skips lines that it cannot read; here they are an error,
or counted with `lines="skip"`. An id that comes twice is always an error.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from data_scripts import klip_archives
from data_scripts.klip_archives import NpzImages, write_npz
from data_scripts.source_files import check_image_options, content_hash, first_few, shards_of, split_generators

__all__ = [
    "Caption",
    "Concept",
    "FashionKLIPFiles",
    "KlipLayout",
    "NpzImages",
    "read_captions",
    "read_concepts",
    "read_fathers",
    "read_image_reference",
    "read_lines",
    "write_captions",
    "write_concepts",
    "write_fathers",
    "write_image_reference",
    "write_lines",
    "write_npz",
]

logger = logging.getLogger(__name__)
REMEDY = "See data_scripts/fashionklip_files.py for the tree."
Row = dict[str, Any]


@dataclass(frozen=True)
class Caption:
    """One caption: its id, text, pictures, and the phrases in it (None where the file has none)."""

    query_id: str
    query_text: str
    item_ids: list[str]
    phrases: list[str] | None = None
    match_phrases: list[str] | None = None


@dataclass(frozen=True)
class Concept:
    """One concept: its id, the text that is encoded for it, and its phrase."""

    query_id: str
    query_text: str
    phrase: str


# Lines


def read_lines(
    path: str | os.PathLike, fields: Iterable[str], lines: str = "error", dropped: list[str] | None = None
) -> Iterator[tuple[int, Row]]:
    """Line number (from 1) and object of every line that is not blank.

    Args:
        path: the file.
        fields: keys that every object needs.
        lines: "error" for unreadable lines, or "skip", which counts them and logs the first ones.
        dropped: takes what was wrong with the lines left out, instead of the log.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not a JSON object with these fields, or not UTF-8, or holds half a surrogate pair.
    """
    if lines not in ("error", "skip"):
        raise ValueError(f'lines must be "error" or "skip", got {lines!r}')
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}. {REMEDY}")
    report = dropped is None
    dropped = [] if dropped is None else dropped
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            problem = None
            try:
                row = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
                if b"\\ud" in raw.lower():  # such an escape can stand for half a character, which no file can hold
                    json.dumps(row, ensure_ascii=False).encode()
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 text at byte {error.start}"
            except UnicodeEncodeError:
                problem = "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
            except json.JSONDecodeError as error:
                problem = f"not valid JSON ({error.msg} at column {error.colno})"
            else:
                if not isinstance(row, dict):
                    problem = f"expected an object, got {str(row)[:60]!r}"
                elif missing := [name for name in fields if name not in row]:
                    problem = f"lacks {', '.join(missing)}"
            if problem is None:
                yield number, row
            elif lines == "error":
                raise ValueError(f'{path}, line {number}: {problem}. Correct it, or leave such lines out: lines="skip"')
            else:
                dropped.append(f"line {number}: {problem}")
    if dropped and report:
        logger.warning("%s: %d lines left out: %s", path, len(dropped), first_few(dropped, 5))


def _text_id(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{where}: expected an id, a number or a string, got {value!r}")
    return str(value)


def _strings(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{where}: expected a list of strings, got {str(value)[:80]}")
    return value


def _ids(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list of ids, got {str(value)[:80]}")
    return [_text_id(entry, where) for entry in value]


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected a text, got {value!r}")
    return value


def _rows(
    path: str | os.PathLike,
    fields: tuple[str, ...],
    lines: str,
    make: Callable[[Row, str], Any],
    left_out: list[str] | None = None,
) -> list[Any]:
    """What `make` gets out of each line; what it refuses is one more unreadable line. `left_out` takes their list."""
    found, dropped = [], []
    for number, row in read_lines(path, fields, lines, dropped):
        where = f"{path}, line {number}"
        try:
            found.append(make(row, where))
        except ValueError as error:
            if lines == "error":
                raise
            dropped.append(str(error).removeprefix(f"{path}, "))
    if dropped:
        logger.warning("%s: %d lines left out: %s", path, len(dropped), first_few(dropped, 5))
    if left_out is not None:
        left_out += dropped
    return found


def read_captions(path: str | os.PathLike, lines: str = "error", left_out: list[str] | None = None) -> list[Caption]:
    """Captions of a `*_queries.jsonl` or `*_queries_phrases.jsonl` file. An empty text is a caption like any other.

    Args:
        path: the file.
        lines: "error" or "skip", what becomes of unreadable lines; skipped ones are logged with their number.
        left_out: takes what was wrong with the skipped ones. All readers of this file have these arguments.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable line, or a query id twice.
    """

    def make(row: Row, where: str) -> Caption:
        phrases = [
            _strings(row[name], f"{where}, {name}") if name in row else None for name in ("phrases", "match_phrases")
        ]
        return Caption(
            _text_id(row["query_id"], f"{where}, query_id"),
            _string(row["query_text"], f"{where}, query_text"),
            _ids(row["item_ids"], f"{where}, item_ids"),
            *phrases,
        )

    captions = _rows(path, ("query_id", "query_text", "item_ids"), lines, make, left_out)
    _refuse_twice(path, "query_id", [caption.query_id for caption in captions])
    return captions


def read_image_reference(
    path: str | os.PathLike, lines: str = "error", left_out: list[str] | None = None
) -> dict[str, list[str]]:
    """Image id -> ids of its captions, from a `*_images.jsonl` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable line, or an image twice.
    """

    def make(row: Row, where: str) -> tuple[str, list[str]]:
        if "item_ids" not in row and "text" not in row:
            raise ValueError(f"{where}: lacks item_ids, and text in its place")
        captions = row["item_ids"] if "item_ids" in row else [row["text"]]
        return _text_id(row["image_id"], f"{where}, image_id"), _ids(captions, f"{where}, item_ids")

    rows = _rows(path, ("image_id",), lines, make, left_out)
    _refuse_twice(path, "image_id", [image_id for image_id, _ in rows])
    return dict(rows)


def read_concepts(path: str | os.PathLike, lines: str = "error", left_out: list[str] | None = None) -> list[Concept]:
    """Concepts of a `*_concepts_queries.jsonl` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable line, or an id twice.
    """

    def make(row: Row, where: str) -> Concept:
        names = ("query_text", "phrase")
        return Concept(
            _text_id(row["query_id"], f"{where}, query_id"), *(_string(row[n], f"{where}, {n}") for n in names)
        )

    concepts = _rows(path, ("query_id", "query_text", "phrase"), lines, make, left_out)
    _refuse_twice(path, "query_id", [concept.query_id for concept in concepts])
    return concepts


def read_fathers(path: str | os.PathLike, lines: str = "error", left_out: list[str] | None = None) -> dict[str, str]:
    """Phrase -> what it is a kind of ("" for nothing), from a `*_concepts_fathers.jsonl` file; the last line counts."""

    def make(row: Row, where: str) -> tuple[str, str]:
        return tuple(_string(row[name], f"{where}, {name}") for name in ("phrase", "phrase_father"))

    return dict(_rows(path, ("phrase", "phrase_father"), lines, make, left_out))


def _refuse_twice(path: str | os.PathLike, name: str, ids: list[str]) -> None:
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = [i for i in ids if i in seen or seen.add(i)]
        raise ValueError(
            f"{path}: {len(twice)} {name} occur twice, first: {first_few(twice, 5)}; keep one line of each"
        )


def write_lines(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """One JSON object per line, written beside and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _as_number(identity: str) -> int | str:
    """Ids that read as whole numbers are written as such: the original's caption and concept ids are."""
    return int(identity) if identity.isascii() and identity.isdigit() and str(int(identity)) == identity else identity


def write_captions(path: str | os.PathLike, captions: Iterable[Caption]) -> None:
    """The inverse of `read_captions`; image ids stay strings, as the original's extraction needs them."""

    def row(caption: Caption) -> Row:
        base = {
            "query_id": _as_number(caption.query_id),
            "query_text": caption.query_text,
            "item_ids": caption.item_ids,
        }
        lists = {"phrases": caption.phrases, "match_phrases": caption.match_phrases}
        return base | {name: value for name, value in lists.items() if value is not None}

    write_lines(path, map(row, captions))


def write_image_reference(path: str | os.PathLike, reference: dict[str, list[str]]) -> None:
    """The inverse of `read_image_reference`."""
    rows = ({"image_id": i, "item_ids": [_as_number(c) for c in captions]} for i, captions in reference.items())
    write_lines(path, rows)


def write_concepts(path: str | os.PathLike, concepts: Iterable[Concept]) -> None:
    """The inverse of `read_concepts`."""
    rows = ({"query_id": _as_number(c.query_id), "query_text": c.query_text, "phrase": c.phrase} for c in concepts)
    write_lines(path, rows)


def write_fathers(path: str | os.PathLike, concepts: Iterable[Concept], fathers: dict[str, str]) -> None:
    """A line for each concept with its father."""
    rows = (
        {"query_id": _as_number(c.query_id), "phrase": c.phrase, "phrase_father": fathers.get(c.phrase, "")}
        for c in concepts
    )
    write_lines(path, rows)


# The tree


@dataclass
class KlipLayout:
    """Where the files of a tree are; None or empty where there is none.

    `find` looks for them by the ends of their names.
    """

    root: Path
    train_captions: Path | None = None
    train_images: list[Path] = field(default_factory=list)
    concepts: Path | None = None
    concept_fathers: Path | None = None
    val_captions: Path | None = None
    val_images: list[Path] = field(default_factory=list)
    val_image_reference: Path | None = None
    kb_concepts: Path | None = None
    kb_fathers: Path | None = None
    kb_images: list[Path] = field(default_factory=list)

    @classmethod
    def find(cls, data_dir: str | os.PathLike) -> KlipLayout:
        """The files below `data_dir`.

        Raises:
            FileNotFoundError: no such folder, or none of the tree's folders is in it.
            ValueError: two files could be meant.
        """
        if not os.path.isdir(data_dir):
            raise FileNotFoundError(f"folder not found: {data_dir}. {REMEDY}")
        root = Path(data_dir)
        if not (root / "fashiongen").is_dir() and not (root / "fashion_kb").is_dir():
            if not (root / "tmp").is_dir():
                raise FileNotFoundError(f"{root} holds neither fashiongen nor fashion_kb. {REMEDY}")
            root = root / "tmp"
        train, val, kb = root / "fashiongen" / "train", root / "fashiongen" / "val", root / "fashion_kb"
        return cls(
            root,
            _one(train, "queries_phrases.jsonl"),
            sorted(train.glob("*.npz")),
            _one(train, "concepts_queries.jsonl"),
            _one(train, "concepts_fathers.jsonl"),
            _one(val, "_queries.jsonl", without="concepts_queries.jsonl"),
            sorted(val.glob("*.npz")),
            _one(val, "_images.jsonl"),
            _one(kb, "concepts_queries.jsonl"),
            _one(kb, "concepts_fathers.jsonl"),
            sorted(kb.glob("*.npz")),
        )

    def need(self, name: str) -> Any:
        """A file or list of files that must be there.

        Raises:
            FileNotFoundError: it is not; the message says what was looked for.
        """
        value = getattr(self, name)
        if not value:
            raise FileNotFoundError(f"{self.root}: no {name.replace('_', ' ')} found. {REMEDY}")
        return value


def _one(folder: Path, end: str, without: str | None = None) -> Path | None:
    found = [p for p in sorted(folder.glob(f"*{end}")) if without is None or not p.name.endswith(without)]
    if len(found) > 1:
        raise ValueError(f"{folder}: {', '.join(p.name for p in found)} all end with {end}; keep one")
    return found[0] if found else None


# The builder


@dataclass
class FashionKLIPConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare; None takes those that are present.
        images: "required", or "absent" for ids without pixels; then no archive of captions is asked for.
        missing: "error" for captions without a picture or with one that is in no archive, or "skip", which leaves those
            pairs out and counts them.
        lines: "error" or "skip", what becomes of unreadable lines.
    """

    splits: tuple[str, ...] | None = None
    images: str = "required"
    missing: str = "error"
    lines: str = "error"


class FashionKLIPFiles(datasets.GeneratorBasedBuilder):
    """Builder of captions, pictures and concepts; rows keep the order of the files.

    Raises:
        FileNotFoundError: the folder, or a file that the configuration needs, is missing.
        ValueError: an unreadable line, a damaged archive, a picture that no archive holds.
    """

    BUILDER_CONFIG_CLASS = FashionKLIPConfig
    BUILDER_CONFIGS = [
        FashionKLIPConfig(name=n, version=datasets.Version("1.0.0"))
        for n in ("pairs", "queries", "images", "concepts", "pool")
    ]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        layout = KlipLayout.find(data_dir or "")
        if hash is None:
            files = [p for p in layout.root.rglob("*") if p.suffix in (".jsonl", ".npz")]
            hash = content_hash(files, [], [__file__, klip_archives.__file__])
        super().__init__(data_dir=str(Path(data_dir).resolve()), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        text, texts = datasets.Value("string"), datasets.List(datasets.Value("string"))
        name = self.config.name
        if name in ("images", "pool"):
            side = self._side()
            pixels = datasets.Array3D((3, side, side), "float32")
            features = {"image_id": text} | ({"pixels": pixels} if self.config.images == "required" else {})
        else:
            features = {
                "pairs": {
                    "query_id": text,
                    "query_text": text,
                    "image_id": text,
                    "phrases": texts,
                    "match_phrases": texts,
                },
                "queries": {"query_id": text, "query_text": text, "item_ids": texts},
                "concepts": {"query_id": text, "query_text": text, "phrase": text, "father": text, "source": text},
            }[name]
        return datasets.DatasetInfo(
            description=f"FashionKLIP files, {name}.",
            features=datasets.Features(features),
            homepage="https://github.com/alibaba/EasyNLP",
        )

    def _archives(self) -> dict[str, list[Path]]:
        layout = KlipLayout.find(self.config.data_dir)
        if self.config.name == "pool":
            return {"train": layout.need("kb_images")}
        found = {"train": layout.train_images, "validation": layout.val_images}
        return {split: files for split, files in found.items() if files}

    def _side(self) -> int:
        """Height and width of the pictures, which a column of `datasets` fixes."""
        sides = {}
        for files in self._archives().values():
            images = NpzImages(files)
            for image_id in images.ids[:1]:
                sides[first_few(list(map(str, files)), 3)] = images[image_id].shape[-1]
        if not sides:
            raise FileNotFoundError(f"{self.config.data_dir}: no archive with pictures. {REMEDY}")
        if len(set(sides.values())) > 1:
            found = "; ".join(f"{files}: {side}" for files, side in sides.items())
            raise ValueError(f"pictures of several sizes, {found}; keep one size, or move the other archives away")
        return next(iter(sides.values()))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        layout, config = KlipLayout.find(self.config.data_dir), self.config
        check_image_options(config.images, config.missing)
        asked = (config.splits,) if isinstance(config.splits, str) else config.splits
        unread: list[str] = []
        if config.name in ("images", "pool"):
            shards = {
                split: [(list(map(str, files)), part) for part in shards_of(NpzImages(files).ids)]
                for split, files in self._archives().items()
            }
        elif config.name == "concepts":
            rows = []
            if layout.kb_concepts is None:
                layout.need("concepts")
            for source, concepts, fathers in (
                ("data", layout.concepts, layout.concept_fathers),
                ("kb", layout.kb_concepts, layout.kb_fathers),
            ):
                known = read_fathers(fathers, config.lines, unread) if fathers else {}
                for c in read_concepts(concepts, config.lines, unread) if concepts else []:
                    rows.append(vars(c) | {"father": known.get(c.phrase, ""), "source": source})
            shards = {"train": shards_of(rows)}
        else:
            files = {"train": ("train_captions", "train_images"), "validation": ("val_captions", "val_images")}
            there = {split: names for split, names in files.items() if getattr(layout, names[0]) is not None}
            if not there:
                layout.need("train_captions")
            # What is not asked for need not be readable.
            shards = {
                split: shards_of(self._caption_rows(layout, *names, unread)) if split in (asked or there) else []
                for split, names in there.items()
            }
        if unread:
            self._note(f"Rows left out because lines are unreadable: {len(unread)}.")
        asked = asked or tuple(shards)
        if unknown := [split for split in asked if split not in shards]:
            raise FileNotFoundError(
                f"{layout.root}: nothing for {first_few(unknown)} (there: {list(shards)}). {REMEDY}"
            )
        return split_generators({split: shards[split] for split in asked}, layout.root)

    def _note(self, sentence: str) -> None:
        """A prepared copy keeps what was left out in its description."""
        self.info.description = f"{self.info.description} {sentence}"

    def _caption_rows(self, layout: KlipLayout, captions_name: str, archives_name: str, unread: list[str]) -> list[Row]:
        captions_file = layout.need(captions_name)
        captions = read_captions(captions_file, self.config.lines, unread)
        if self.config.name == "queries":
            return [{"query_id": c.query_id, "query_text": c.query_text, "item_ids": c.item_ids} for c in captions]
        known = NpzImages(layout.need(archives_name)) if self.config.images == "required" else None
        rows, lost = [], []
        for c in captions:
            if not c.item_ids:
                lost.append(f"query {c.query_id}: no image")
            for image_id in c.item_ids:
                if known is not None and image_id not in known:
                    lost.append(f"query {c.query_id}: image {image_id}")
                    continue
                rows.append(
                    {"query_id": c.query_id, "query_text": c.query_text, "image_id": image_id}
                    | {"phrases": c.phrases or [], "match_phrases": c.match_phrases or []}
                )
        if lost:
            found = f"{captions_file}: {len(lost):,} captions' pictures are missing: {first_few(lost, 5)}"
            if self.config.missing == "error":
                raise ValueError(f'{found}. Add them, or leave those pairs out: missing="skip"')
            logger.warning("%s; left out", found)
            self._note(f"Rows left out because images are missing: {len(lost)} of {captions_file.name}.")
        return rows

    def _generate_examples(self, shards: list[Any]) -> Iterator[tuple[tuple[int, int], Row]]:
        paths: list[str] = []
        images: Any = {}
        for number, shard in enumerate(shards):
            if not isinstance(shard, tuple):
                for position, row in enumerate(shard):
                    yield (number, position), row
                continue
            if shard[0] != paths:  # opening reads the archive's directory
                paths, images = shard[0], NpzImages(shard[0])
            for position, image_id in enumerate(shard[1]):
                row = {"image_id": image_id}
                if self.config.images == "required":
                    row["pixels"] = images[image_id]
                yield (number, position), row
