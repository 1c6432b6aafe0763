"""Reading annotation files with errors that name file, row and remedy; finding missing images; a hash for the cache.

Shared by the builders of this folder. Nothing here knows a particular data set.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets

logger = logging.getLogger(__name__)

ROWS_PER_SHARD = 128  # small enough that several processes share the work


def read_json(path: str | os.PathLike, remedy: str, unique_keys: bool = False) -> Any:
    """Read one JSON annotation file.

    Args:
        path: the file.
        remedy: what to do when it is missing; ends the message.
        unique_keys: refuse an object that names a key twice (`json` itself would keep the last one in silence).

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is empty, not UTF-8, not JSON (with line and column), or repeats a key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: expected {path}. {remedy}")
    data = path.read_bytes()
    if not data.strip():
        raise ValueError(f"{path}: the file is empty; copy it again. {remedy}")

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"{path}: listed twice: {first_few(repeated(keys))}; keep one of each")
        return result

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text at byte {error.start}; save the file as UTF-8") from error
    try:
        return json.loads(text, object_pairs_hook=without_repeats if unique_keys else None)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno} ({error.msg}); "
            f"the copy may be cut short, copy it again. {remedy}"
        ) from error


def as_id(value: Any, where: str) -> str:
    """An id as a string; whole numbers are accepted. Ids become file names, so separators are refused."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: expected an id (a non-empty string), got {value!r}; correct this row")
    if any(c in value for c in "/\\\0"):
        raise ValueError(f"{where}: an id may not hold a path separator, got {value!r}; correct this row")
    return value


def repeated(values: Iterable[str]) -> list[str]:
    """The values that occur more than once, in order of their second occurrence."""
    seen: set[str] = set()
    again: dict[str, None] = {}
    for value in values:
        if value in seen:
            again[value] = None
        seen.add(value)
    return list(again)


def first_few(values: Sequence[Any], count: int = 10) -> str:
    """`a, b, c (and 12 more)` for messages."""
    rest = f" (and {len(values) - count:,} more)" if len(values) > count else ""
    return ", ".join(str(v) for v in values[:count]) + rest


def shards_of(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Consecutive slices of `rows`: the list that `num_proc` and streaming split."""
    return [rows[i : i + ROWS_PER_SHARD] for i in range(0, len(rows), ROWS_PER_SHARD)]


def split_generators(shards: dict[str, list[Any]], where: str | os.PathLike) -> list[datasets.SplitGenerator]:
    """One generator per split. A split that lost every row goes, since `datasets` cannot hold an empty one.

    Raises:
        ValueError: no split has rows.
    """
    if not any(shards.values()):
        raise ValueError(
            f"{where}: no rows are left in any split ({', '.join(shards)}); check that their files list some, and that "
            "the photos and items named there exist"
        )
    for split in (split for split, pieces in shards.items() if not pieces):
        logger.warning("%s: split %s has no rows and is left out", where, split)
    return [datasets.SplitGenerator(split, gen_kwargs={"shards": s}) for split, s in shards.items() if s]


def content_hash(
    files: Iterable[Path],
    image_folders: Iterable[Path],
    sources: Iterable[str],
    nested: bool = True,
    photo_times: bool = False,
) -> str:
    """Digest that changes with the annotation files, with the images that are there, and with the builder's code.

    `datasets` finds a prepared copy again by configuration, `data_dir` and this hash; without it, rows prepared before
    a file was corrected would come back. The content of images is left out: rows hold their paths. Which of them can be
    opened depends on it, so `check` needs `photo_times`.

    Args:
        files: annotation files; name, size and modification time count, and whether they exist.
        image_folders: folders whose file names count.
        sources: Python files of the builder; their content counts.
        nested: the names in folders below them count too.
        photo_times: size and modification time of the images count too.
    """
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        status = file.stat() if file.is_file() else None
        digest.update(f"{file}|{status and (status.st_size, status.st_mtime_ns)}\n".encode())
    for top in sorted(set(image_folders)):
        for folder, entries in folders_below(str(top)) if nested else [(str(top), entries_of(top))]:
            names = sorted(entries)
            if photo_times:
                states = (entries[name].stat() for name in names)
                names = [f"{n}|{s.st_size}|{s.st_mtime_ns}" for n, s in zip(names, states, strict=True)]
            digest.update(f"{folder}|{len(names)}\n".encode("utf-8", "surrogateescape"))
            digest.update("\n".join(names).encode("utf-8", "surrogateescape"))
    for source in (*sources, __file__):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:32]


def entries_of(folder: str | os.PathLike) -> dict[str, os.DirEntry]:
    """What is in a folder by its name, without links that lead nowhere; empty where there is no folder.

    Only links are looked up one by one, so that a folder of many photos stays quick.
    """
    if not os.path.isdir(folder):
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry for entry in entries if entry.is_file() or entry.is_dir()}


def folders_below(top: str) -> Iterator[tuple[str, dict[str, os.DirEntry]]]:
    """A folder and all folders below it, with `entries_of` each; of several links to one folder the first is followed."""
    waiting, followed = [top], {os.path.realpath(top)}
    while waiting:
        folder = waiting.pop()
        entries = entries_of(folder)
        yield folder, entries
        for name in sorted(name for name, entry in entries.items() if entry.is_dir()):
            if entries[name].is_symlink():  # it may lead to a folder above
                target = os.path.realpath(entries[name].path)
                if target in followed:
                    continue
                followed.add(target)
            waiting.append(entries[name].path)


def find_missing(paths: Iterable[str]) -> list[str]:
    """The distinct paths that do not exist, in order of appearance; each folder is listed once, not probed per file."""
    present: dict[str, dict[str, os.DirEntry]] = {}
    missing = []
    for path in dict.fromkeys(paths):
        folder, name = os.path.split(path)
        if folder not in present:
            present[folder] = entries_of(folder)
        if name not in present[folder]:
            missing.append(path)
    return missing


def settle_images(
    rows: dict[str, list[dict[str, Any]]],
    columns: Sequence[str],
    images: str,
    missing: str,
    report_file: str,
    remedy: str,
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Decide what becomes of rows whose images are missing.

    Args:
        rows: per split, rows whose image columns hold a path or None.
        columns: the names of the image columns.
        images: "required", or "absent" for annotations alone (image columns become None).
        missing: "error", or "skip" to leave out the rows that need a missing image.
        report_file: where the full list of missing images is written.
        remedy: what to do; part of the message.

    Returns:
        The rows to use, and `rows_left_out` ("" when nothing is missing).

    Raises:
        FileNotFoundError: images are missing and `missing` is "error".
        ValueError: an option has another value.
    """
    check_image_options(images, missing)
    if images == "absent":
        return {split: [row | dict.fromkeys(columns) for row in kept] for split, kept in rows.items()}, ""
    wanted = dict.fromkeys(row[c] for kept in rows.values() for row in kept for c in columns if row[c] is not None)
    gone = find_missing(wanted)
    if not gone:
        return rows, ""
    report_missing(gone, len(wanted), missing, report_file, remedy)
    lost = set(gone)
    kept = {split: [r for r in all_rows if not any(r[c] in lost for c in columns)] for split, all_rows in rows.items()}
    return kept, rows_left_out({split: (len(rows[split]) - len(kept[split]), len(rows[split])) for split in rows})


def check_image_options(images: str, missing: str) -> None:
    """Raise ValueError for a value that the options `images` and `missing` do not know."""
    if images not in ("required", "absent"):
        raise ValueError(f'images must be "required" or "absent", got {images!r}')
    if missing not in ("error", "skip"):
        raise ValueError(f'missing must be "error" or "skip", got {missing!r}')


def report_missing(
    gone: Sequence[str], total: int, missing: str, report_file: str, remedy: str, what: str = "are missing"
) -> None:
    """Write the full list of missing images and raise it as one error, or log it when `missing` is "skip"."""
    os.makedirs(os.path.dirname(report_file), exist_ok=True)
    Path(report_file).write_text("\n".join(gone) + "\n", encoding="utf-8")
    found = f"{len(gone):,} of {total:,} images {what}: {first_few(gone)}. Full list: {report_file}."
    if missing == "error":
        raise FileNotFoundError(
            f'{found} {remedy} To leave out the rows that need them, pass missing="skip" '
            '(in train/: --missing_images skip); to use the annotations alone, images="absent".'
        )
    logger.warning("%s", found)


def rows_left_out(counts: dict[str, tuple[int, int]]) -> str:
    """The sentence that a prepared copy keeps in its description; counts are split -> (left out, all)."""
    listed = ", ".join(f"{split} {lost:,} of {total:,}" for split, (lost, total) in counts.items())
    return f"Rows left out because images are missing: {listed}."
