"""What a world writes for FashionViL's pre-training sets BigFACAD and Fashion200k, which have designs of their own.

    BigFACAD/train_info.json  val_info.json        id, images, color, title, description, attributes_id
    BigFACAD/images/<00..99>/<id>_<view>.jpg       front, figure, back and detail
    Fashion200k/train_info.json  test_info.json    id, images, title (in lower case), attributes_id
    Fashion200k/images/<00..99>/<id>_<view>.jpeg   front and figure
    atelier/big_facad_garments.jsonl  atelier/fashion200k_garments.jsonl      every attribute of their products
    atelier/pseudo_attributes.json                 name -> id, one numbering for all sets, FashionGen's too

Each set is as large as the world's other trees of single garments. Its designs are numbered far behind theirs, so it shares
no product with them, nor with the other set: a model that was pre-trained on it has seen no design it is tested on.
Either official set has two splits, so validation and test designs share the second one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .designs import DESIGN_SIZE, garment_id
from .fashiongen_layout import attribute_ids, labels
from .garment import Garment
from .product_texts import product_texts
from .wording import WORDINGS

ATTRIBUTES_FILE = "atelier/pseudo_attributes.json"
_FOLDERS = 100


@dataclass(frozen=True)
class PretrainingSet:
    """Where a set's files are and which designs it has.

    Attributes:
        root: its folder. info_files: Atelier split -> name of its info file. garments_file: the truth about its products.
        views: of a product, in the order of its `images`. suffix: of its pictures.
        first_design: a multiple of 70, after which the cycles of departments and splits begin anew, so that the set is
            divided like the others.
    """

    root: str
    info_files: dict[str, str]
    garments_file: str
    views: tuple[str, ...]
    suffix: str
    first_design: int

    @property
    def first_index(self) -> int:
        """Index of its first garment."""
        return self.first_design * DESIGN_SIZE


#: Behind all indices of the largest world's garments and outfits, and 1,000,000 garments apart.
PRETRAINING_SETS = {
    "big_facad": PretrainingSet(
        root="BigFACAD",
        info_files={"train": "train_info.json", "val": "val_info.json", "test": "val_info.json"},
        garments_file="atelier/big_facad_garments.jsonl",
        views=("front", "figure", "back", "detail"),
        suffix=".jpg",
        first_design=420_000,
    ),
    "fashion200k": PretrainingSet(
        root="Fashion200k",
        info_files={"train": "train_info.json", "val": "test_info.json", "test": "test_info.json"},
        garments_file="atelier/fashion200k_garments.jsonl",
        views=("front", "figure"),
        suffix=".jpeg",
        first_design=490_000,
    ),
}


def sets_of(layouts: Iterable[str]) -> tuple[str, ...]:
    """Those of `PRETRAINING_SETS` that are among the layouts, in their own order."""
    return tuple(name for name in PRETRAINING_SETS if name in layouts)


def pretraining_annotation_files(layouts: Iterable[str]) -> dict[str, str]:
    """Relative path of every file that grows with the products -> its kind: "list" or "lines"."""
    files = {}
    for name in sets_of(layouts):
        one = PRETRAINING_SETS[name]
        files |= {f"{one.root}/{file}": "list" for file in one.info_files.values()} | {one.garments_file: "lines"}
    return files


def pretraining_picture_folders(layouts: Iterable[str]) -> list[str]:
    """Every folder that holds their pictures, relative to the world."""
    roots = [PRETRAINING_SETS[name].root for name in sets_of(layouts)]
    return [f"{root}/images/{number:02d}" for root in roots for number in range(_FOLDERS)]


def attribute_table() -> str:
    """Content of ``pseudo_attributes.json``."""
    return json.dumps(labels()["attributes"], indent=1) + "\n"


def pretraining_pictures(seed: int, name: str, indices: Iterable[int]) -> Iterator[tuple[Path, int, str]]:
    """(path, garment's index, view) of every picture of some products of a set."""
    one = PRETRAINING_SETS[name]
    for index in indices:
        for view in one.views:
            yield Path(one.root, "images", _picture_name(one, garment_id(seed, index), index, view)), index, view


def pretraining_rows(seed: int, name: str, garments: Iterable[Garment], wording: str) -> Iterator[tuple[str, str]]:
    """(path of the annotation file, row as JSON text) for every product of a design of a set.

    Args:
        seed: the world's seed. name: of `PRETRAINING_SETS`. garments: those of the design. wording: of the texts.
    """
    one = PRETRAINING_SETS[name]
    for garment in garments:
        yield one.garments_file, json.dumps(garment.as_row())
        images = [_picture_name(one, garment.id, garment.index, view) for view in one.views]
        row = {"id": garment.index, "images": images} | _texts(seed, name, garment, wording)
        row["attributes_id"] = attribute_ids(garment)
        yield f"{one.root}/{one.info_files[garment.split]}", json.dumps(row)


def _picture_name(one: PretrainingSet, product: str, index: int, view: str) -> str:
    """Name of a picture as the info files give it."""
    return f"{index % _FOLDERS:02d}/{product}_{view}{one.suffix}"


def _texts(seed: int, name: str, garment: Garment, wording: str) -> dict[str, str]:
    texts = product_texts(seed, garment, wording)
    if name == "fashion200k":
        return {"title": texts.title_text.text()}
    names = WORDINGS[wording].colours
    colours = [names[colour] for colour in (garment.colour, garment.second_colour) if colour]
    return {"color": "/".join(colours), "title": texts.title, "description": texts.description}
