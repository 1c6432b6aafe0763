"""Polyvore (Maryland): 21,889 outfits that people put together on polyvore.com (Han et al., ACM MM 2017).

Source: https://github.com/xthan/polyvore-dataset (labels, category names) and https://github.com/xthan/polyvore (word
list). No licence is stated; the photos are those of polyvore.com's users and shops. Not to be confused with Polyvore
Outfits (Vasileva et al., 2018), which is data_scripts/polyvore_outfits.py.

    label/{train,valid,test}_no_dup.json         [{"set_id", "name", "views", "likes", "items": [{"index", "name",
                                                   "price", "likes", "categoryid"}, ...]}, ...]
    label/fill_in_blank_test.json                [{"question": [keys], "blank_position": n, "answers": [four keys]}]
    label/fashion_compatibility_prediction.txt   one outfit a line: 1 or 0, then keys
    label/category_id.txt                        <id> <name> (optional; it is not in the archive but beside it)
    images/<set_id>/<index>.jpg
    final_word_dict.txt                          <word> <count>, for `read_vocabulary`

`data_dir` is the folder with `label` and `images`, or one with a folder polyvore like that; without a folder `label`
(the unpacked archive) the files may lie beside `images`. A key is "<set_id>_<index>", the id of an item. The README's
spellings fill_in_the_blank_test.json and fashion-compatibility-prediction.txt are read too. Questions of another split
are read where they lie: fill_in_blank_<split>.json, fashion_compatibility_prediction_<split>.txt or
compatibility_<split>.txt.

    builder = Polyvore(config_name="outfits", data_dir="data/polyvore")

Configurations
    outfits        set_id, name, views, likes, item_ids, item_names, category_ids, categories, prices, item_likes, images
    items          item_id, set_id, index, name, category_id, category, price, likes, image: one row per item of a split
    fill_in_blank  row, question, blank_position, answers, right_answers: item ids; `blank_position` counts from 1 in
                   the completed outfit; `right_answers` are positions in `answers`, here always [0]: the first is right
    compatibility  row, label (1: an outfit that somebody made), item_ids

`row` is the position in the file, from 0. With `questions="typed"` the questions are those of
fill_in_blank_<split>_typed.json and compatibility_<split>_typed.txt (or fashion_compatibility_prediction_typed.txt), or
those of a folder `typed` with the official names: so the harder negatives that come with Polyvore Outfits are
`questions="maryland_polyvore_hardneg"` once that folder is copied here.

Published counts: 17,316 training, 1,497 validation, 3,076 test outfits. The outfits were cut to 8 items by their
authors; here outfits of one item or of more than eight stay as they are, and so do an item that occurs twice in an
outfit, gaps in the index (items that are no fashion were removed), empty names (1 %) and the price -1 (not known).
Category names are those of category_id.txt, or else the ids. The original leaves out questions with items that its
features lack and stops at such a compatibility line; here both are errors that name the rows, or are left out and
counted with missing="skip". That also leaves out whole outfits, items and questions that need a missing photo.
"""

from __future__ import annotations

import filecmp
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from data_scripts.source_files import (
    as_id,
    check_image_options,
    content_hash,
    find_missing,
    first_few,
    read_json,
    repeated,
    report_missing,
    rows_left_out,
    shards_of,
    split_generators,
)

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
PUBLISHED = {"train": 17_316, "valid": 1_497, "test": 3_076}  # outfits
REMEDY = "Get Polyvore at https://github.com/xthan/polyvore-dataset; see data_scripts/polyvore.py for the tree."
IMAGE_REMEDY = "Put the photos of polyvore-images.tar.gz where listed: images/<set_id>/<index>.jpg."
CONFIGURATIONS = ("outfits", "items", "fill_in_blank", "compatibility")

Row = dict[str, Any]


@dataclass
class PolyvoreConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        questions: None for the official files of questions, or which other ones (see the top of this file).
        images: "required", or "absent" for labels alone.
        missing: "error" lists every missing photo or every question with unknown items at once; "skip" leaves out the
            outfits, items and questions that need them and says how many.
    """

    splits: tuple[str, ...] | None = None
    questions: str | None = None
    images: str = "required"
    missing: str = "error"


class Polyvore(datasets.GeneratorBasedBuilder):
    """Builder of outfits, of their items and of both kinds of questions; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, a file or photos are missing (photos as one list).
        ValueError: a malformed outfit, question or line, a set id twice, or questions with unknown items (as one list).
    """

    BUILDER_CONFIG_CLASS = PolyvoreConfig
    BUILDER_CONFIGS = [PolyvoreConfig(name=name, version=datasets.Version("1.0.0")) for name in CONFIGURATIONS]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        root = find_root(data_dir)
        if hash is None:
            images = root / "images"
            parents = {root, label_folder(root)}
            folders = parents | {folder for parent in parents for folder in parent.iterdir() if folder.is_dir()}
            files = [
                file for folder in folders - {images} for kind in ("*.json", "*.txt") for file in folder.glob(kind)
            ]
            hash = content_hash(files, [images], [__file__])
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"Polyvore (Maryland), {self.config.name}.",
            features=features_of(self.config.name),
            homepage="https://github.com/xthan/polyvore-dataset",
            license="none stated",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root, config = Path(self.config.data_dir), self.config
        check_image_options(config.images, config.missing)
        questions: dict[str, Path] = {}
        if config.name in ("outfits", "items"):
            splits = splits_to_prepare(config.splits, [s for s in SPLITS if outfit_file(root, s).is_file()])
        else:
            questions = question_files(root, config.name, config.questions)
            splits = splits_to_prepare(config.splits, list(questions))
            for split in splits or ("test",):
                if split not in questions:
                    names = question_names(config.name, split, config.questions)
                    raise FileNotFoundError(
                        f"no questions of {split} in {label_folder(root)}: expected {' or '.join(names)} "
                        f"(of other splits: {first_few([str(file) for file in questions.values()]) or 'none'}). {REMEDY}"
                    )
        outfits = {split: read_outfits(root, split) for split in splits}
        counts = {split: (len(outfits[split]), PUBLISHED[split]) for split in splits}
        compare_counts(root, counts)
        if config.name == "outfits":
            rows = {split: [outfit_row(outfit) for outfit in outfits[split]] for split in splits}
        elif config.name == "items":
            rows = {split: item_rows(outfits[split], outfit_file(root, split)) for split in splits}
        else:
            rows = {split: READERS[config.name](questions[split], REMEDY) for split in splits}
        notes = []
        if questions:
            paths = {s: {item["item_id"]: item["photo"] for o in outfits[s] for item in o["items"]} for s in splits}
            lists = {split: outfit_file(root, split) for split in splits}
            rows, note = leave_out_unknown(rows, paths, questions, lists, config.missing)
            notes.append(note)
            rows = {
                s: [row | {"photos": [paths[s][item] for item in items_of(row)]} for row in rows[s]] for s in splits
            }
        report = os.path.join(self._cache_dir_root, f"missing-images-polyvore-{config.name}-{self.hash}.txt")
        rows, note = leave_out_incomplete(rows, config.images, config.missing, report, IMAGE_REMEDY)
        notes.append(note)
        if left_out := " ".join(filter(None, notes)):
            logger.warning("%s: %s", root, left_out)
            self.info.description = f"{self._info().description} {left_out}"
        return split_generators({split: shards_of(r) for split, r in rows.items()}, root)

    def _generate_examples(self, shards: list[list[Row]]) -> Iterator[tuple[tuple[int, int], Row]]:
        for number, shard in enumerate(shards):
            for position, row in enumerate(shard):
                yield (number, position), {name: row[name] for name in self.info.features}


def features_of(content: str) -> datasets.Features:
    text, number, price = datasets.Value("string"), datasets.Value("int64"), datasets.Value("float64")
    if content == "outfits":
        columns = {"set_id": text, "name": text, "views": number, "likes": number}
        columns |= dict.fromkeys(("item_ids", "item_names", "category_ids", "categories"), datasets.List(text))
        columns |= {"prices": datasets.List(price), "item_likes": datasets.List(number)}
        columns |= {"images": datasets.List(datasets.Image())}
    elif content == "items":
        columns = {"item_id": text, "set_id": text, "index": number, "name": text, "category_id": text}
        columns |= {"category": text, "price": price, "likes": number, "image": datasets.Image()}
    else:
        columns = question_features(content)
    return datasets.Features(columns)


def question_features(content: str) -> dict[str, Any]:
    """Columns of fill_in_blank or compatibility, the same for every data set that has them."""
    texts, number = datasets.List(datasets.Value("string")), datasets.Value("int64")
    if content == "fill_in_blank":
        answers = {"answers": texts, "right_answers": datasets.List(number)}
        return {"row": number, "question": texts, "blank_position": number} | answers
    return {"row": number, "label": number, "item_ids": texts}


# Where the files are


def find_root(data_dir: str | os.PathLike | None) -> Path:
    """The folder with `label` (or the label files themselves) and `images`: `data_dir`, or a folder polyvore in it.

    Raises:
        FileNotFoundError: neither holds outfits.
    """
    if data_dir is None or not os.path.isdir(data_dir):
        raise FileNotFoundError(f"Polyvore folder not found: {data_dir}. {REMEDY}")
    for root in (Path(data_dir), Path(data_dir) / "polyvore"):
        if any(outfit_file(root, split).is_file() for split in SPLITS):
            return root.resolve()
    raise FileNotFoundError(
        f"{data_dir}: none of {', '.join(f'{split}_no_dup.json' for split in SPLITS)} is there, in label or in "
        f"polyvore/label. {REMEDY}"
    )


def label_folder(root: Path) -> Path:
    folder = root / "label"
    return folder if any((folder / f"{split}_no_dup.json").is_file() for split in SPLITS) else root


def outfit_file(root: Path, split: str) -> Path:
    return label_folder(root) / f"{split}_no_dup.json"


def question_names(content: str, split: str, questions: str | None) -> list[str]:
    """File names that questions of a split may have, the official ones first."""
    suffix = f"_{questions}" if questions else ""
    if content == "fill_in_blank":
        return [f"{stem}_{split}{suffix}.json" for stem in ("fill_in_blank", "fill_in_the_blank")]
    stems = ["fashion_compatibility_prediction", "fashion-compatibility-prediction"]
    official = stems if split == "test" else []
    return [f"{stem}{suffix}.txt" for stem in (*official, *(f"{s}_{split}" for s in (*stems, "compatibility")))]


def question_files(root: Path, content: str, questions: str | None) -> dict[str, Path]:
    """Split -> its file of questions.

    Raises:
        ValueError: two different files are of one split, or `questions` is no name of a kind of questions.
    """
    if questions is not None and (questions in SPLITS or not questions.strip() or set(questions) & set("/\\")):
        raise ValueError(f"questions must name a kind of questions, e.g. typed, got {questions!r}; splits are `splits`")
    labels, found = label_folder(root), {}
    for split in SPLITS:
        places = [labels / name for name in question_names(content, split, questions)]
        if questions:
            plain = question_names(content, split, None)
            places += [folder / questions / name for folder in dict.fromkeys((labels, root)) for name in plain]
        there = [path for path in places if path.is_file()]
        for other in there[1:]:
            if not filecmp.cmp(there[0], other, shallow=False):
                raise ValueError(f"{there[0]} and {other} are both questions of {split} and differ; keep one")
        if there:
            found[split] = there[0]
    return found


def splits_to_prepare(asked: tuple[str, ...] | str | None, present: list[str]) -> list[str]:
    """The splits asked for, or those that are present.

    Raises:
        ValueError: no such split.
    """
    splits = [asked] if isinstance(asked, str) else list(asked or present)
    if unknown := [split for split in splits if split not in SPLITS]:
        raise ValueError(f"splits: {first_few(unknown)} not among {', '.join(SPLITS)}")
    return splits


# Reading


def read_outfits(root: Path, split: str) -> list[Row]:
    """Outfits of one split: set_id, name, views, likes, items (each with item_id, index, ..., photo: its path).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: as `outfit_entries`, or a field of another type.
    """
    path = outfit_file(root, split)
    categories = read_categories(label_folder(root) / "category_id.txt")
    photos = str(root / "images")  # joined as text: `datasets` makes joining paths slow in builders
    outfits = []
    for where, set_id, entry, listed in outfit_entries(path, ("name",), REMEDY):
        items = []
        for at, index, item in listed:
            category = number_in(item, "categoryid", at, int)
            items.append(
                {
                    "item_id": f"{set_id}_{index}",
                    "set_id": set_id,
                    "index": index,
                    "name": text_in(item, "name", at),
                    "category_id": None if category is None else str(category),
                    "category": None if category is None else categories.get(str(category), str(category)),
                    "price": number_in(item, "price", at, int | float),
                    "likes": number_in(item, "likes", at, int),
                    "photo": f"{photos}/{set_id}/{index}.jpg",
                }
            )
        counters = {name: number_in(entry, name, where, int) for name in ("views", "likes")}
        outfits.append({"set_id": set_id, "name": text_in(entry, "name", where), "items": items} | counters)
    if categories:
        used = dict.fromkeys(item["category_id"] for outfit in outfits for item in outfit["items"])
        if unnamed := [c for c in used if c is not None and c not in categories]:
            logger.warning("%s: category_id.txt has no name for %s; the ids stand for them", path, first_few(unnamed))
    return outfits


def outfit_entries(
    path: Path, fields: tuple[str, ...], remedy: str
) -> list[tuple[str, str, Row, list[tuple[str, int, Row]]]]:
    """Outfits of a file: where it stands, set id, the object, and for every item where it stands, index, the object.

    Args:
        path: the file.
        fields: what items must have besides the index.
        remedy: what to do when the file is missing.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: not a list of outfits, a field is missing, an index that is no number, no items, a set id twice.
    """
    outfits = []
    for number, entry in enumerate(read_list(path, "outfits", remedy)):
        where, items = f"{path}, outfit {number} (from 0)", []
        require(entry, ("set_id", "items"), where)
        set_id = as_id(entry["set_id"], f"{where}, set_id")
        if not isinstance(entry["items"], list) or not entry["items"]:
            raise ValueError(f"{where}: expected a list of at least one item in items, got {str(entry['items'])[:60]}")
        for place, item in enumerate(entry["items"]):
            at = f"{where}, item {place} (from 0)"
            require(item, ("index", *fields), at)
            index = number_in(item, "index", at, int)
            if index is None or index < 0:
                raise ValueError(f"{at}: expected a whole number from 0 in index, got {index}")
            items.append((at, index, item))
        outfits.append((where, set_id, entry, items))
    if twice := repeated(set_id for _, set_id, _, _ in outfits):
        raise ValueError(f"{path}: sets twice: {first_few(twice)}; keep one of each")
    return outfits


def read_categories(path: Path) -> dict[str, str]:
    """Category id -> name; empty where the file is not there.

    Raises:
        ValueError: a line is no id and name, or an id occurs twice.
    """
    if not path.is_file():
        return {}
    names: dict[str, str] = {}
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        category, _, name = line.strip().partition(" ")
        if not category.lstrip("-").isdigit() or not name.strip():
            raise ValueError(f"{path}, line {number}: expected <id> <name>, e.g. 3 Dresses, got {line!r}")
        if category in names:
            raise ValueError(f"{path}, line {number}: id {category} has a name already; keep one")
        names[category] = name.strip()
    return names


def read_fill_in_blank(path: Path, remedy: str) -> list[Row]:
    """Questions of a file as they are there; `right_answers` is the first.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: not a list of questions, no items in one, fewer than two answers, a position outside the outfit.
    """
    rows = []
    for number, entry in enumerate(read_list(path, "questions", remedy)):
        where = f"{path}, row {number} (from 0)"
        require(entry, ("question", "answers", "blank_position"), where)
        for name, least in (("question", 1), ("answers", 2)):
            keys = entry[name]
            if not isinstance(keys, list) or len(keys) < least or not all(isinstance(k, str) and k for k in keys):
                raise ValueError(
                    f"{where}: expected a list of at least {least} item keys in {name}, got {str(keys)[:80]}"
                )
        position, last = number_in(entry, "blank_position", where, int), len(entry["question"]) + 1
        if position is None or not 1 <= position <= last:
            raise ValueError(
                f"{where}: blank_position counts from 1 in the completed outfit, here up to {last}; "
                f"got {entry['blank_position']!r}; correct or delete this row"
            )
        rows.append(
            {
                "row": number,
                "place": f"row {number} (from 0)",
                "question": entry["question"],
                "blank_position": position,
                "answers": entry["answers"],
                "right_answers": [0],
            }
        )
    return rows


def read_compatibility(path: Path, remedy: str) -> list[Row]:
    """Labelled outfits of a file, one a line; empty lines are passed over.

    Raises:
        ValueError: a label that is neither 0 nor 1, a line without items, or a file without lines.
    """
    rows = []
    for number, line in enumerate(text_lines(path)):
        label, *keys = line.split() or [""]
        if not label:
            continue
        if label not in ("0", "1") or not keys:
            raise ValueError(f"{path}, line {number + 1}: expected 1 or 0 and item keys, got {line[:80]!r}; correct it")
        rows.append({"row": number, "place": f"line {number + 1}", "label": int(label), "item_ids": keys})
    if not rows:
        raise ValueError(f"{path}: no outfits in it; copy it again. {remedy}")
    return rows


READERS: dict[str, Callable[[Path, str], list[Row]]] = {
    "fill_in_blank": read_fill_in_blank,
    "compatibility": read_compatibility,
}


def read_word_counts(path: str | os.PathLike) -> dict[str, int | None]:
    """Words of final_word_dict.txt in its order, each with its count (None where the file has none).

    A word is the first token of its line, tokens being separated by ASCII blanks as Python 2 splits bytes.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: an empty line between others, a count that is no number, a word twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such word list; the official one is data/ of github.com/xthan/polyvore")
    counts: dict[str, int | None] = {}
    lines = text_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        word, count, *_ = (*re.findall(r"[^ \t\r\f\v]+", line), None, None)
        if word is None:
            raise ValueError(f"{path}, line {number}: no word; words are numbered by line, so delete this line")
        if count is not None and not count.isdigit():
            raise ValueError(f"{path}, line {number}: expected <word> <count>, got {line!r}")
        if word in counts:
            raise ValueError(f"{path}, line {number}: {word!r} is there already; words are numbered by line, keep one")
        counts[word] = None if count is None else int(count)
    if not counts:
        raise ValueError(f"{path}: no words in it; copy it again")
    return counts


def read_vocabulary(path: str | os.PathLike) -> dict[str, int]:
    """Word -> id: the number of its line from 1, as 0 is padding. Raises as `read_word_counts`."""
    return {word: number for number, word in enumerate(read_word_counts(path), 1)}


def read_list(path: Path, what: str, remedy: str) -> list[Any]:
    content = read_json(path, remedy)
    if not isinstance(content, list) or not content:
        got = "an empty list" if content == [] else type(content).__name__
        raise ValueError(f"{path}: expected a list of {what}, got {got}. {remedy}")
    return content


def text_lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text at byte {error.start}; save the file as UTF-8") from error


def require(entry: Any, names: Iterable[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, got {str(entry)[:60]}; correct it")
    if lacking := [name for name in names if name not in entry]:
        raise ValueError(f"{where}: lacks {', '.join(lacking)}; add it")


def number_in(entry: Row, name: str, where: str, kind: Any) -> Any:
    value = entry.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise ValueError(
            f"{where}: expected a {'whole ' if kind is int else ''}number in {name}, got {str(value)[:60]!r}"
        )
    return value


def text_in(entry: Row, name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"{where}: expected a text in {name}, got {str(value)[:60]}")
    return value or ""


# Rows


def outfit_row(outfit: Row) -> Row:
    columns = {"item_ids": "item_id", "item_names": "name", "category_ids": "category_id", "categories": "category"}
    columns |= {"prices": "price", "item_likes": "likes", "images": "photo"}
    row = {column: [item[field] for item in outfit["items"]] for column, field in columns.items()}
    return row | {name: outfit[name] for name in ("set_id", "name", "views", "likes")} | {"photos": row["images"]}


def item_rows(outfits: Iterable[Row], path: Path) -> list[Row]:
    """One row per item. An index that occurs twice in an outfit is one item.

    Raises:
        ValueError: the two differ.
    """
    rows: dict[str, Row] = {}
    for item in (item for outfit in outfits for item in outfit["items"]):
        if rows.setdefault(item["item_id"], item) != item:
            raise ValueError(f"{path}: item {item['item_id']} is there twice with other names or numbers; correct one")
    return [item | {"image": item["photo"], "photos": [item["photo"]]} for item in rows.values()]


def items_of(row: Row) -> list[str]:
    """The items that a question of either kind names."""
    return row["item_ids"] if "item_ids" in row else [*row["question"], *row["answers"]]


def leave_out_unknown(
    rows: dict[str, list[Row]],
    known: dict[str, Mapping[str, Any]],
    files: dict[str, Path],
    lists: dict[str, Path],
    missing: str,
) -> tuple[dict[str, list[Row]], str]:
    """Decide what becomes of questions with items that the split's outfits do not have.

    Args:
        rows: per split, questions of either kind with `place`.
        known: per split, something with the items that are known as its keys.
        files: per split, the file of the questions.
        lists: per split, the file of the outfits.
        missing: "error", or "skip" to leave the questions out.

    Returns:
        The questions to use, and a sentence for the description ("" when every item is known).

    Raises:
        ValueError: items are unknown and `missing` is "error"; all of them in one message.
    """
    kept, found = {}, []
    for split, questions in rows.items():
        strange = {q["row"]: [i for i in items_of(q) if i not in known[split]] for q in questions}
        kept[split] = [q for q in questions if not strange[q["row"]]]
        listed = [f"{q['place']} ({', '.join(strange[q['row']])})" for q in questions if strange[q["row"]]]
        if listed:
            found.append(
                f"{files[split]}: {len(listed):,} of {len(questions):,} questions name items that {lists[split].name} "
                f"does not have: {first_few(listed)}"
            )
    if not found:
        return rows, ""
    if missing == "error":
        raise ValueError(
            f"{'; '.join(found)}. Put the outfits and questions of one release there, or leave out those questions "
            'with missing="skip" (in train/: --missing_images skip).'
        )
    logger.warning("%s", "; ".join(found))
    counts = (f"{s} {len(rows[s]) - len(kept[s]):,} of {len(rows[s]):,}" for s in rows)
    return kept, f"Rows left out because they name unknown items: {', '.join(counts)}."


def leave_out_incomplete(
    rows: dict[str, list[Row]], images: str, missing: str, report_file: str, remedy: str
) -> tuple[dict[str, list[Row]], str]:
    """Decide what becomes of rows that need a missing photo, whole outfits included.

    Args:
        rows: per split, rows whose `photos` are paths; `image` or `images` become None when `images` is "absent".
        images: "required" or "absent".
        missing: "error", or "skip" to leave the rows out.
        report_file: where the full list of missing photos is written.
        remedy: what to do; part of the message.

    Returns:
        The rows to use, and a sentence for the description ("" when nothing is missing).

    Raises:
        FileNotFoundError: photos are missing and `missing` is "error".
    """
    if images == "absent":
        none = dict.fromkeys(("image", "images"))
        return {split: [row | none for row in some] for split, some in rows.items()}, ""
    wanted = dict.fromkeys(path for some in rows.values() for row in some for path in row["photos"])
    gone = find_missing(wanted)
    if not gone:
        return rows, ""
    report_missing(gone, len(wanted), missing, report_file, remedy)
    lost = set(gone)
    kept = {split: [r for r in some if lost.isdisjoint(r["photos"])] for split, some in rows.items()}
    return kept, rows_left_out({split: (len(rows[split]) - len(kept[split]), len(rows[split])) for split in rows})


def compare_counts(root: Path, counts: Mapping[str, tuple[int, int]]) -> None:
    """Warn with both numbers where a count of outfits is not the published one; `counts` is split -> (found, published)."""
    unlike = [f"{split} has {a:,} outfits, {b:,} are published" for split, (a, b) in counts.items() if a != b]
    if unlike:
        logger.warning("%s: %s. Figures are not comparable with published ones", root, "; ".join(unlike))
