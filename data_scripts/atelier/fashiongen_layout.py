"""What a world writes of one design in FashionGen's derived layout, and the truth about its concepts.

    FashionGen/train_info.json  val_info.json  test_info.json    products: texts, labels, names of their photos
    FashionGen/train/<id>_<view>.jpg  val/  test/                three views of each product
    FashionGen/labels.json                                       names of the labels' ids
    atelier/concept_mentions.jsonl                               the concepts in each product's texts
    atelier/concepts.jsonl                                       all concepts of the training products, with their fathers

The real FashionGen has no test split with photos; here it is the designs that no training uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .concepts import ALWAYS_PLURAL, Vocabulary, plural
from .garment import Garment
from .product_texts import product_texts
from .vocabulary import CATEGORIES, COLOURS, FABRICS, PATTERNS, SUBCATEGORIES

FASHIONGEN_ROOT = "FashionGen"
INFO_FILES = {split: f"{FASHIONGEN_ROOT}/{split}_info.json" for split in ("train", "val", "test")}
MENTIONS_FILE = "atelier/concept_mentions.jsonl"
CONCEPTS_FILE = "atelier/concepts.jsonl"
LABELS_FILE = f"{FASHIONGEN_ROOT}/labels.json"
#: Views of a product in the order of its `images`.
PHOTO_VIEWS = ("front", "figure", "back")
#: The `take` of its pictures: other photographs than those of the other trees.
PHOTO_TAKE = 3
#: Training texts that a concept must be in to count: what `train/fashionklip_graph.py` asks for by default.
LEAST_TEXTS = 5

_CATEGORY_NAMES = {
    name: (name if name in ALWAYS_PLURAL or name == "shoes" else plural(name)).upper() for name in CATEGORIES
}
_ATTRIBUTES = {
    name: number
    for number, name in enumerate(dict.fromkeys((*COLOURS, *(p for p in PATTERNS if p != "solid"), *FABRICS)))
}


def labels() -> dict[str, dict[str, int]]:
    """Content of ``labels.json``: kind of label -> name -> id."""
    return {
        "categories": {_CATEGORY_NAMES[name]: number for number, name in enumerate(CATEGORIES)},
        "subcategories": {name.upper(): number for number, name in enumerate(SUBCATEGORIES)},
        "attributes": dict(_ATTRIBUTES),
    }


def attribute_ids(garment: Garment) -> list[int]:
    """Ids of a garment's pseudo-attributes: its colour, pattern and fabric, numbered alike in all layouts."""
    return [_ATTRIBUTES[v] for v in (garment.colour, garment.pattern, garment.fabric) if v in _ATTRIBUTES]


def photo_name(garment_id: str, view: str) -> str:
    """File name of one photo."""
    return f"{garment_id}_{view}.jpg"


def photo_path(garment_id: str, split: str, view: str) -> Path:
    """Where it lies, relative to the world."""
    return Path(FASHIONGEN_ROOT, split, photo_name(garment_id, view))


def product_rows(seed: int, garments: Iterable[Garment], wording: str) -> Iterator[tuple[str, str]]:
    """(path of the annotation file, row as JSON text) for every product of a design."""
    subcategories = {name: number for number, name in enumerate(SUBCATEGORIES)}
    categories = {name: number for number, name in enumerate(CATEGORIES)}
    for garment in garments:
        texts = product_texts(seed, garment, wording)
        row = {
            "id": garment.index,
            "images": [photo_name(garment.id, view) for view in PHOTO_VIEWS],
            "title": texts.title,
            "description": texts.description,
            "category_id": categories[garment.category],
            "subcategory_id": subcategories[garment.subcategory],
            "attributes_id": attribute_ids(garment),
            "gender": garment.wearer.capitalize(),
        }
        yield INFO_FILES[garment.split], json.dumps(row)
        mention = {"product": garment.index, "garment": garment.id, "split": garment.split}
        yield MENTIONS_FILE, json.dumps(mention | {"fathers": texts.fathers()})


@dataclass(frozen=True)
class ConceptTruth:
    """The concepts of some products' texts.

    Attributes:
        fathers: concept -> what it is a kind of, "" for nothing; the most frequent first.
        texts: concept -> number of products whose texts have it.
    """

    fathers: dict[str, str]
    texts: dict[str, int]

    def edges(self) -> set[tuple[str, str]]:
        """(concept, father) pairs."""
        return {(concept, father) for concept, father in self.fathers.items() if father}


def read_mentions(world: str | Path) -> list[dict]:
    """The rows of ``concept_mentions.jsonl``, in the order of the products.

    Raises:
        FileNotFoundError: the world was made without the layout.
    """
    path = Path(world) / MENTIONS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; make the world with --layouts fashiongen")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def concept_truth(mentions: Iterable[dict], split: str = "train", least: int = LEAST_TEXTS) -> ConceptTruth:
    """The concepts that at least `least` products of a split have, and their is-a tree among themselves."""
    vocabulary = Vocabulary()
    for row in mentions:
        if row["split"] == split:
            vocabulary.add(row["fathers"].keys(), row["fathers"])
    fathers = vocabulary.fathers(least)
    return ConceptTruth(fathers, {concept: vocabulary.counts[concept] for concept in fathers})
