"""Polyvore Outfits: 68,306 outfits of polyvore.com with typed items (Vasileva et al., ECCV 2018), in two versions.

Source: https://huggingface.co/datasets/mvasil/polyvore-outfits, on request (academic and non-profit research; its
authors do not own the photos). Code: https://github.com/mvasil/fashion-compatibility. Not to be confused with the
Maryland Polyvore data (Han et al., 2017), which is data_scripts/polyvore.py.

    polyvore_outfits/{nondisjoint,disjoint}/{train,valid,test}.json     [{"set_id", "items": [{"item_id", "index"}]}]
    polyvore_outfits/<version>/fill_in_blank_{train,valid,test}.json    [{"question", "blank_position", "answers"}]
    polyvore_outfits/<version>/compatibility_{train,valid,test}.txt     one outfit a line: 1 or 0, then keys
    polyvore_outfits/polyvore_item_metadata.json    {item_id: {"title", "url_name", "description", "category_id",
                                                               "semantic_category", "catgeories", "related"}}
    polyvore_outfits/polyvore_outfit_titles.json    {set_id: {"title", "url_name"}}
    polyvore_outfits/categories.csv                 category id, fine-grained category, semantic category
    polyvore_outfits/images/<item_id>.jpg

`data_dir` is that folder or the one that holds it. In `nondisjoint` outfits are split at random, so training and test
share items; in `disjoint` test and validation share no item with training. A key is "<set_id>_<index>"; here questions
come with item ids in its place. typespaces.p (a pickle) and the text features are not read.

    builder = PolyvoreOutfits(config_name="nondisjoint-fill_in_blank", data_dir="data/polyvore_outfits")

Configurations, each with nondisjoint- or disjoint- before it
    outfits        set_id, name, item_ids, item_indices, item_names, category_ids, categories, semantic_categories, images
    items          item_id, name, title, url_name, description, category_id, category, semantic_category, image: one row
                   per item of a split, in the order of its first outfit
    fill_in_blank  row, question, blank_position, answers, right_answers: item ids; `blank_position` counts from 1 in
                   the completed outfit; `right_answers` are positions in `answers`
    compatibility  row, label (1: an outfit that somebody made), item_ids

and of the files that FashionViL reads, beside images/ in that folder or in one named PolyvoreOutfits (the info files also
in a folder annotations there):

    train_info.json, val_info.json, test_info.json     [{"id", "images": name, "title", "description", "attributes_id"}]
    ocir_<disjoint|nondisjoint>_<train|test>.json      see data_scripts/polyvore_ocir.py

    products            product_id, title, description, caption (title.description), attributes, attribute_ids, image_ids,
                        images: one row per item (71,967 for training)
    ocir_disjoint, ocir_nondisjoint     row, question_ids, blank_id, question_categories, blank_category (0 .. 152),
                        fake_data, question_images, blank_image

The right answer may be anywhere in `answers`. As in the official code it is the one whose key has the set id of the
question's first item; the blank's position plays no part in it. Where several answers are of that set, each counts as
right there, so `right_answers` lists all of them; a question with none is an error. `row` is the position in the file,
from 0.

Published counts: 53,306 / 5,000 / 10,000 training, validation and test outfits in nondisjoint, 16,995 / 3,000 / 15,145
in disjoint, with up to 19 and 16 items. A name is the title, or the url_name where that is empty, as in the official
training; an outfit without an entry in the titles has an empty one. categories.csv has several rows for some ids, also
with other names: the first one holds. The semantic category is that of the item's metadata, or else that of
categories.csv. An item may occur twice in an outfit. Questions with items that the split's outfits do not have, at which
the official code stops, and rows that need a missing photo are errors, or are left out and counted with missing="skip".
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from data_scripts import info_files, polyvore, polyvore_ocir
from data_scripts.info_files import InfoSet, annotation_file, product_features, read_products, row_of, settle_views
from data_scripts.polyvore import (
    CONFIGURATIONS,
    READERS,
    SPLITS,
    Row,
    compare_counts,
    items_of,
    leave_out_incomplete,
    leave_out_unknown,
    outfit_entries,
    question_features,
    require,
    splits_to_prepare,
    text_in,
    text_lines,
)
from data_scripts.source_files import (
    as_id,
    check_image_options,
    content_hash,
    first_few,
    read_json,
    shards_of,
    split_generators,
)

logger = logging.getLogger(__name__)

VERSIONS = ("nondisjoint", "disjoint")
PUBLISHED = {  # outfits
    "nondisjoint": {"train": 53_306, "valid": 5_000, "test": 10_000},
    "disjoint": {"train": 16_995, "valid": 3_000, "test": 15_145},
}
FILE_NAMES = {
    "outfits": "{split}.json",
    "items": "{split}.json",
    "fill_in_blank": "fill_in_blank_{split}.json",
    "compatibility": "compatibility_{split}.txt",
}
REMEDY = (
    "Get Polyvore Outfits at https://huggingface.co/datasets/mvasil/polyvore-outfits; see "
    "data_scripts/polyvore_outfits.py for the tree."
)
IMAGE_REMEDY = "Put the photos where listed: images/<item_id>.jpg."
INFO = InfoSet(
    name="PolyvoreOutfits",
    files={"train": "train_info.json", "valid": "val_info.json", "test": "test_info.json"},
    photos=dict.fromkeys(SPLITS, "images"),
    texts=("title", "description"),
    counts={"train": 71_967},
    remedy=REMEDY,
)
OCIR = tuple(f"ocir_{version}" for version in polyvore_ocir.VERSIONS)


@dataclass
class PolyvoreOutfitsConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        images: "required", or "absent" for labels alone.
        missing: "error" lists every missing photo or every question with unknown items at once; "skip" leaves out the
            outfits, items and questions that need them and says how many.
        num_attributes: of `products`: how many pseudo-attributes there are; a larger id is an error. None accepts all.
        check: of `products`: open every photo; damaged ones count as missing.
    """

    splits: tuple[str, ...] | None = None
    images: str = "required"
    missing: str = "error"
    num_attributes: int | None = None
    check: bool = False


class PolyvoreOutfits(datasets.GeneratorBasedBuilder):
    """Builder of outfits, of their items and of both kinds of questions; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, a file or photos are missing (photos as one list).
        ValueError: a malformed file, a set id or index twice, items without metadata, a question without a right
            answer, or questions with unknown items (as one list).
    """

    BUILDER_CONFIG_CLASS = PolyvoreOutfitsConfig
    BUILDER_CONFIGS = [
        PolyvoreOutfitsConfig(name=f"{version}-{content}", version=datasets.Version("1.0.0"))
        for version in VERSIONS
        for content in CONFIGURATIONS
    ] + [PolyvoreOutfitsConfig(name=name, version=datasets.Version("1.0.0")) for name in ("products", *OCIR)]
    DERIVED = ("products", *OCIR)  # of files that not every copy has

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        root = find_root(data_dir, kwargs.get("config_name"))
        if hash is None:
            folders = [root, root / "annotations", *(root / version for version in VERSIONS)]
            files = [f for folder in folders for kind in ("*.json", "*.txt", "*.csv") for f in folder.glob(kind)]
            sources = [module.__file__ for module in (polyvore, info_files, polyvore_ocir)]
            hash = content_hash(files, [root / "images"], [__file__, *sources], photo_times=kwargs.get("check", False))
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"Polyvore Outfits, {self.config.name}.",
            features=features_of(self.config.name.partition("-")[2] or self.config.name),
            homepage="https://huggingface.co/datasets/mvasil/polyvore-outfits",
            license="academic and non-profit research only, see the data set's own terms",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root, config = Path(self.config.data_dir), self.config
        check_image_options(config.images, config.missing)
        if config.name in self.DERIVED:
            return self._derived_generators(root)
        version, _, content = config.name.partition("-")
        folder = root / version
        lists = {split: folder / f"{split}.json" for split in SPLITS}
        files = {split: folder / FILE_NAMES[content].format(split=split) for split in SPLITS}
        splits = splits_to_prepare(config.splits, [split for split in SPLITS if files[split].is_file()])
        if lost := [str(files[split]) for split in splits or SPLITS if not files[split].is_file()]:
            raise FileNotFoundError(f"{config.name}: expected {first_few(lost)}. {REMEDY}")
        outfits = {split: read_outfits(lists[split]) for split in splits}
        counts = {split: (len(outfits[split]), PUBLISHED[version][split]) for split in splits}
        compare_counts(folder, counts)
        notes = []
        if content in READERS:
            known = {s: {key: item for o in outfits[s] for key, item in o["items"].items()} for s in splits}
            rows = {split: READERS[content](files[split], REMEDY) for split in splits}
            rows, note = leave_out_unknown(rows, known, files, lists, config.missing)
            notes.append(note)
            rows = {s: [question_row(row, known[s], files[s], str(root)) for row in rows[s]] for s in splits}
        else:
            rows = described_rows(root, content, outfits)
        report = os.path.join(self._cache_dir_root, f"missing-images-polyvore-outfits-{config.name}-{self.hash}.txt")
        rows, note = leave_out_incomplete(rows, config.images, config.missing, report, IMAGE_REMEDY)
        notes.append(note)
        if left_out := " ".join(filter(None, notes)):
            logger.warning("%s: %s", folder, left_out)
            self.info.description = f"{self._info().description} {left_out}"
        return split_generators({split: shards_of(r) for split, r in rows.items()}, folder)

    def _derived_generators(self, root: Path) -> list[datasets.SplitGenerator]:
        """The splits of FashionViL's files."""
        config = self.config
        report = os.path.join(self._cache_dir_root, f"missing-images-polyvore-outfits-{config.name}-{self.hash}.txt")
        if config.name == "products":
            splits = info_files.splits_to_prepare(root, INFO, config.splits)
            products = {s: read_products(root, INFO, s, config.num_attributes) for s in splits}
            info_files.compare_counts(root, INFO, {split: len(listed) for split, listed in products.items()})
            products, note = settle_views(products, config.images, config.missing, config.check, report, IMAGE_REMEDY)
            rows = {s: [row_of(product) for product in products[s]] for s in splits}
        else:
            version = config.name.removeprefix("ocir_")
            files = {s: polyvore_ocir.question_file(root, version, s) for s in polyvore_ocir.SPLITS}
            splits = splits_to_prepare(config.splits, [s for s, file in files.items() if file.is_file()])
            if lost := [str(files.get(s, s)) for s in splits or files if s not in files or not files[s].is_file()]:
                raise FileNotFoundError(f"{config.name}: expected {first_few(lost)}. {polyvore_ocir.REMEDY}")
            finder = info_files.PhotoFinder(root / "images")
            rows = {s: polyvore_ocir.read_questions(root, version, s) for s in splits}
            rows = {s: [with_photos(row, finder) for row in rows[s]] for s in splits}
            rows, note = leave_out_incomplete(rows, config.images, config.missing, report, IMAGE_REMEDY)
            if config.images == "absent":
                none = dict.fromkeys(("question_images", "blank_image"))
                rows = {s: [row | none for row in rows[s]] for s in splits}
        if note:
            logger.warning("%s: %s", root, note)
            self.info.description = f"{self._info().description} {note}"
        return split_generators({split: shards_of(r) for split, r in rows.items()}, root)

    def _generate_examples(self, shards: list[list[Row]]) -> Iterator[tuple[tuple[int, int], Row]]:
        for number, shard in enumerate(shards):
            for position, row in enumerate(shard):
                yield (number, position), {name: row[name] for name in self.info.features}


def features_of(content: str) -> datasets.Features:
    text, number = datasets.Value("string"), datasets.Value("int64")
    if content == "outfits":
        columns = {"set_id": text, "name": text, "item_ids": datasets.List(text), "item_indices": datasets.List(number)}
        names = ("item_names", "category_ids", "categories", "semantic_categories")
        columns |= dict.fromkeys(names, datasets.List(text)) | {"images": datasets.List(datasets.Image())}
    elif content == "products":
        return product_features(INFO.texts)
    elif content in OCIR:
        columns = {"row": number, "question_ids": datasets.List(text), "blank_id": text}
        columns |= {"question_categories": datasets.List(number), "blank_category": number}
        columns |= {"fake_data": datasets.Value("bool"), "question_images": datasets.List(datasets.Image())}
        columns |= {"blank_image": datasets.Image()}
    elif content == "items":
        names = ("item_id", "name", "title", "url_name", "description", "category_id", "category", "semantic_category")
        columns = dict.fromkeys(names, text) | {"image": datasets.Image()}
    else:
        columns = question_features(content)
    return datasets.Features(columns)


def find_root(data_dir: str | os.PathLike | None, config: str | None = None) -> Path:
    """The folder with a configuration's files: `data_dir`, or a folder polyvore_outfits or PolyvoreOutfits in it.

    Where the files of `config` are nowhere it is the official folder, or else one with any file that FashionViL reads:
    what is missing there is for its reader to say.

    Raises:
        FileNotFoundError: there is none.
    """
    if data_dir is None or not os.path.isdir(data_dir):
        raise FileNotFoundError(f"Polyvore Outfits folder not found: {data_dir}. {REMEDY}")
    names = (".", INFO.name, f"datasets/{INFO.name}", "polyvore_outfits")
    derived = {Path(data_dir, name).resolve(): derived_files(Path(data_dir, name)) for name in names}
    own = [root for root, files in derived.items() if config in files]
    official = official_root(data_dir)
    found = [*own, *([official] if official else []), *(root for root, files in derived.items() if files)]
    if not found:
        raise FileNotFoundError(
            f"{data_dir}: expected a folder {' or '.join(VERSIONS)} in it or in its folder polyvore_outfits. {REMEDY}"
        )
    return found[0]


def official_root(data_dir: str | os.PathLike) -> Path | None:
    """The folder with `nondisjoint` or `disjoint`: `data_dir`, or a folder polyvore_outfits in it."""
    for root in (Path(data_dir), Path(data_dir) / "polyvore_outfits"):
        if any((root / version).is_dir() for version in VERSIONS):
            return root.resolve()
    return None


def derived_files(root: Path) -> list[str]:
    """The configurations of FashionViL's files of which a folder holds some."""
    infos = any(annotation_file(root, name).is_file() for name in INFO.files.values())
    asked = [version for version in polyvore_ocir.VERSIONS if any(root.glob(f"ocir_{version}_*.json"))]
    return [*(["products"] if infos else []), *(f"ocir_{version}" for version in asked)]


def with_photos(row: Row, finder: info_files.PhotoFinder) -> Row:
    """An OCIR row with the photos that it needs."""
    question, blank = [finder(f"{item}.jpg") for item in row["question_ids"]], finder(f"{row['blank_id']}.jpg")
    return row | {"question_images": question, "blank_image": blank, "photos": [*question, blank]}


def read_outfits(path: Path) -> list[Row]:
    """Outfits of one file: set_id and items, a key -> item id for every item.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: as `outfit_entries`, an item id that is none, or an index twice in an outfit.
    """
    outfits = []
    for _, set_id, _, listed in outfit_entries(path, ("item_id",), REMEDY):
        items: dict[str, str] = {}
        for at, index, item in listed:
            if f"{set_id}_{index}" in items:
                raise ValueError(f"{at}: index {index} is there already; questions could mean either, correct one")
            items[f"{set_id}_{index}"] = as_id(item["item_id"], f"{at}, item_id")
        outfits.append({"set_id": set_id, "items": items})
    return outfits


def set_of(key: str) -> str:
    return key.rpartition("_")[0]


def question_row(row: Row, known: dict[str, str], path: Path, root: str) -> Row:
    """A question of either kind with item ids for keys, its right answers and the photos that it needs.

    Raises:
        ValueError: no answer is of the question's set.
    """
    if "item_ids" in row:
        row = row | {"item_ids": [known[key] for key in row["item_ids"]]}
    else:
        own = set_of(row["question"][0])
        right = [place for place, key in enumerate(row["answers"]) if set_of(key) == own]
        if not right:
            raise ValueError(
                f"{path}, {row['place']}: no answer is of set {own}, so none is right: "
                f"{', '.join(row['answers'])}; correct or delete this row"
            )
        ids = {name: [known[key] for key in row[name]] for name in ("question", "answers")}
        row = row | ids | {"right_answers": right}
    return row | {"photos": [photo_of(root, item) for item in items_of(row)]}


def photo_of(root: str, item_id: str) -> str:
    return f"{root}/images/{item_id}.jpg"  # joined as text: `datasets` makes joining paths slow in builders


def described_rows(root: Path, content: str, outfits: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Rows of `outfits` or of `items` with what the metadata says of their items.

    Raises:
        FileNotFoundError: the metadata, the titles or categories.csv are missing.
        ValueError: a malformed one, or items that the metadata lacks (as one list).
    """
    used = dict.fromkeys(item for some in outfits.values() for outfit in some for item in outfit["items"].values())
    items = read_items(root, used)
    if content == "items":
        rows = {}
        for split, some in outfits.items():
            ids = dict.fromkeys(item for outfit in some for item in outfit["items"].values())
            paths = {item: photo_of(str(root), item) for item in ids}
            rows[split] = [items[item] | {"image": path, "photos": [path]} for item, path in paths.items()]
        return rows
    names = read_titles(root / "polyvore_outfit_titles.json")
    return {split: [outfit_row(str(root), outfit, items, names) for outfit in some] for split, some in outfits.items()}


def outfit_row(root: str, outfit: Row, items: dict[str, Row], names: dict[str, str]) -> Row:
    described = [items[item] for item in outfit["items"].values()]
    columns = {"item_ids": "item_id", "item_names": "name", "category_ids": "category_id", "categories": "category"}
    columns |= {"semantic_categories": "semantic_category"}
    row = {column: [item[field] for item in described] for column, field in columns.items()}
    row |= {"set_id": outfit["set_id"], "name": names.get(outfit["set_id"], "")}
    row["item_indices"] = [int(key.rpartition("_")[2]) for key in outfit["items"]]
    row["images"] = row["photos"] = [photo_of(root, item["item_id"]) for item in described]
    return row


def read_items(root: Path, used: Iterable[str]) -> dict[str, Row]:
    """What the metadata says of items: item id -> item_id, name, title, ..., semantic_category.

    Raises:
        FileNotFoundError: the metadata or categories.csv are missing.
        ValueError: a malformed file, or items without an entry (as one list).
    """
    path = root / "polyvore_item_metadata.json"
    metadata, categories = read_object(path), read_categories(root / "categories.csv")
    used = list(used)
    if lacking := [item for item in used if item not in metadata]:
        raise ValueError(
            f"{path}: no entry for {len(lacking):,} of {len(used):,} items: {first_few(lacking)}; fetch the whole file, "
            f"or enter {{}} for items of which nothing is known. {REMEDY}"
        )
    items = {}
    for item_id in used:
        entry, where = metadata[item_id], f"{path}, item {item_id}"
        require(entry, (), where)
        texts = {name: text_in(entry, name, where) for name in ("title", "url_name", "description")}
        category = entry.get("category_id")
        category = None if category in (None, "") else as_id(category, f"{where}, category_id")
        fine, semantic = categories.get(category, (category, ""))
        items[item_id] = texts | {
            "item_id": item_id,
            "name": texts["title"] or texts["url_name"],
            "category_id": category,
            "category": fine,
            "semantic_category": text_in(entry, "semantic_category", where).strip() or semantic or None,
        }
    return items


def read_titles(path: Path) -> dict[str, str]:
    """Set id -> the outfit's title, or its url_name where that is empty."""
    names = {}
    for set_id, entry in read_object(path).items():
        require(entry, (), f"{path}, set {set_id}")
        title, url_name = (text_in(entry, name, f"{path}, set {set_id}") for name in ("title", "url_name"))
        names[set_id] = title or url_name
    return names


def read_object(path: Path) -> dict[str, Any]:
    content = read_json(path, REMEDY)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object with ids for keys, got {type(content).__name__}")
    return content


def read_categories(path: Path) -> dict[str, tuple[str, str]]:
    """Category id -> (fine-grained category, semantic category); the first row of an id holds.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a row without three cells.
    """
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: expected {path}. {REMEDY}")
    categories: dict[str, tuple[str, str]] = {}
    for number, cells in enumerate(csv.reader(text_lines(path)), 1):
        if cells and len(cells) != 3:
            raise ValueError(f"{path}, line {number}: expected category id, category, semantic category, got {cells}")
        if cells:
            category, fine, semantic = (cell.strip() for cell in cells)
            categories.setdefault(category, (fine, semantic))
    return categories
