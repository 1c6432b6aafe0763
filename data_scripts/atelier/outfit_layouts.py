"""What a world writes of one capsule of outfits in the layouts of Polyvore (Maryland) and of Polyvore Outfits.

    polyvore/label/{train,valid,test}_no_dup.json                     outfits with names, prices and categories
    polyvore/label/fill_in_blank_{valid,test}.json                    official questions: easy wrong answers
    polyvore/label/fashion_compatibility_prediction.txt               of test; of valid with _valid
    polyvore/label/fill_in_blank_{valid,test}_typed.json  compatibility_{valid,test}_typed.txt      hard ones
    polyvore/label/category_id.txt      polyvore/images/<set_id>/<index>.jpg
    polyvore_outfits/{disjoint,nondisjoint}/{train,valid,test}.json   fill_in_blank_*.json  compatibility_*.txt
    polyvore_outfits/{train,val,test}_info.json                       products of FashionViL's pre-training, one picture each
    polyvore_outfits/polyvore_item_metadata.json  polyvore_outfit_titles.json  categories.csv  images/<item_id>.jpg
    atelier/outfits.jsonl  atelier/outfit_garments.jsonl              the truth: season, formality, scheme, attributes

Splits share no garment, but those of `nondisjoint` do; the info files list the garments by `disjoint`. Polyvore Outfits
asks typed questions, with the right answer anywhere; Polyvore has it first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_scripts.polyvore_ocir import CATEGORY_IDS as POLYVORE_IDS

from .designs import generator
from .fashiongen_layout import attribute_ids
from .garment import Garment
from .outfit_questions import KINDS, Asker, Question
from .outfits import COUNTER_STREAM, Outfit, split_of
from .titles import description, title
from .vocabulary import CATEGORIES, PATTERNS

POLYVORE_ROOT, POLYVORE_OUTFITS_ROOT = "polyvore", "polyvore_outfits"
OUTFITS_FILE, GARMENTS_FILE = "atelier/outfits.jsonl", "atelier/outfit_garments.jsonl"
#: Atelier split -> official name.
SPLIT_NAMES = {"train": "train", "val": "valid", "test": "test"}
VERSIONS = ("disjoint", "nondisjoint")
PRODUCT_FILES = {split: f"{POLYVORE_OUTFITS_ROOT}/{split}_info.json" for split in SPLIT_NAMES}
#: Ids that Polyvore Outfits has too, because FashionViL's reader knows no others.
CATEGORY_IDS = dict(zip(CATEGORIES, POLYVORE_IDS, strict=False))
#: Place on the body -> semantic category of Polyvore Outfits.
SEMANTIC = {
    "head": "hats", "neck": "scarves", "outer": "outerwear", "top": "tops", "one-piece": "all-body",
    "bottom": "bottoms", "bag": "bags", "shoes": "shoes",
}  # fmt: skip
_METADATA_FILE = f"{POLYVORE_OUTFITS_ROOT}/polyvore_item_metadata.json"
_TITLES_FILE = f"{POLYVORE_OUTFITS_ROOT}/polyvore_outfit_titles.json"
_CATEGORY_ID_FILE = f"{POLYVORE_ROOT}/label/category_id.txt"
_CATEGORIES_FILE = f"{POLYVORE_OUTFITS_ROOT}/categories.csv"


def outfit_annotation_files(layouts: tuple[str, ...]) -> dict[str, str]:
    """Relative path of every file that grows with the outfits -> its kind: "list", "object" or "lines"."""
    files = {OUTFITS_FILE: "lines", GARMENTS_FILE: "lines"}
    if "polyvore" in layouts:
        for split in SPLIT_NAMES.values():
            files[_outfit_file(split)] = "list"
            for kind in KINDS if split != "train" else ():
                blanks, lines = _question_files(split, kind)
                files |= {blanks: "list", lines: "lines"}
    if "polyvore_outfits" in layouts:
        for version in VERSIONS:
            for split in SPLIT_NAMES.values():
                folder = f"{POLYVORE_OUTFITS_ROOT}/{version}"
                files |= {f"{folder}/{split}.json": "list", f"{folder}/fill_in_blank_{split}.json": "list"}
                files[f"{folder}/compatibility_{split}.txt"] = "lines"
        files |= {_METADATA_FILE: "object", _TITLES_FILE: "object"} | dict.fromkeys(PRODUCT_FILES.values(), "list")
    return files


def category_files(layouts: tuple[str, ...]) -> dict[str, str]:
    """Relative path of the tables of categories -> their content."""
    files = {}
    if "polyvore" in layouts:
        files[_CATEGORY_ID_FILE] = "".join(f"{number} {name}\n" for name, number in CATEGORY_IDS.items())
    if "polyvore_outfits" in layouts:
        rows = (f"{number},{name},{SEMANTIC[CATEGORIES[name].slot]}\n" for name, number in CATEGORY_IDS.items())
        files[_CATEGORIES_FILE] = "".join(rows)
    return files


def outfit_picture_folders(layouts: tuple[str, ...], set_ids: Iterable[str]) -> list[str]:
    """Every folder that holds pictures of outfits."""
    folders = [f"{POLYVORE_ROOT}/images/{set_id}" for set_id in set_ids] if "polyvore" in layouts else []
    return folders + ([f"{POLYVORE_OUTFITS_ROOT}/images"] if "polyvore_outfits" in layouts else [])


def outfit_pictures(layouts: tuple[str, ...], outfits: list[Outfit]) -> Iterator[tuple[Path, Garment]]:
    """Path and garment of every picture of some outfits; a garment's pictures are all the same."""
    if "polyvore" in layouts:
        for outfit in outfits:
            for place, garment in enumerate(outfit.garments):
                yield Path(POLYVORE_ROOT, "images", outfit.set_id, f"{place + 1}.jpg"), garment
    if "polyvore_outfits" in layouts:
        for garment in garments_of(outfits):
            yield Path(POLYVORE_OUTFITS_ROOT, "images", f"{garment.id}.jpg"), garment


def garments_of(outfits: list[Outfit]) -> list[Garment]:
    """All garments of some outfits, each once."""
    return list({garment.index: garment for outfit in outfits for garment in outfit.garments}.values())


def item_name(garment: Garment) -> str:
    """A name in lower case, as Polyvore's are."""
    pattern = [] if garment.pattern == "solid" else [PATTERNS[garment.pattern][0]]
    return " ".join([garment.colour, *pattern, garment.fabric, garment.subcategory])


def outfit_rows(seed: int, count: int, layouts: tuple[str, ...], outfits: list[Outfit]) -> Iterator[tuple[str, str]]:
    """(path of the annotation file, row as text) for everything about the outfits of one capsule.

    Args:
        seed: the world's seed. count: how many outfits it has.
        layouts: the layouts that are written.
        outfits: those of the capsule.
    """
    for garment in garments_of(outfits):
        yield GARMENTS_FILE, json.dumps(garment.as_row())
    for outfit in outfits:
        row = {"set_id": outfit.set_id, "season": outfit.season, "formality": outfit.formality, "scheme": outfit.scheme}
        row["splits"] = {version: split_of(outfit.number, version == "disjoint") for version in VERSIONS}
        yield OUTFITS_FILE, json.dumps(row | {"garments": [garment.id for garment in outfit.garments]})
    if "polyvore" in layouts:
        for outfit in outfits:
            yield from _polyvore_rows(seed, count, outfit)
    if "polyvore_outfits" in layouts:
        for garment in garments_of(outfits):
            yield _METADATA_FILE, f"{json.dumps(garment.id)}: {json.dumps(_metadata(garment))}"
            yield PRODUCT_FILES[garment.split], json.dumps(_product(garment))
        for outfit in outfits:
            named = {"title": "", "url_name": f"look {outfit.number + 1}"}
            yield _TITLES_FILE, f"{json.dumps(outfit.set_id)}: {json.dumps(named)}"
            for version in VERSIONS:
                yield from _version_rows(seed, count, outfit, version)


def _outfit_file(split: str) -> str:
    return f"{POLYVORE_ROOT}/label/{split}_no_dup.json"


def _question_files(split: str, kind: str) -> tuple[str, str]:
    """Files of the blanks and of the compatibility lines, named as the builder of Polyvore knows them."""
    label = f"{POLYVORE_ROOT}/label"
    if kind == "typed":
        return f"{label}/fill_in_blank_{split}_typed.json", f"{label}/compatibility_{split}_typed.txt"
    suffix = "" if split == "test" else f"_{split}"
    return f"{label}/fill_in_blank_{split}.json", f"{label}/fashion_compatibility_prediction{suffix}.txt"


def _polyvore_rows(seed: int, count: int, outfit: Outfit) -> Iterator[tuple[str, str]]:
    split = SPLIT_NAMES[split_of(outfit.number)]
    rng = generator(seed, COUNTER_STREAM, outfit.number)
    items = [
        {
            "index": place + 1,
            "name": item_name(garment),
            "price": round(10 + 90 * float(rng.random()), 2),
            "likes": int(rng.integers(500)),
            "categoryid": CATEGORY_IDS[garment.category],
        }
        for place, garment in enumerate(outfit.garments)
    ]
    row = {"name": f"look {outfit.number + 1}", "views": int(rng.integers(5000)), "items": items}
    yield _outfit_file(split), json.dumps(row | {"likes": int(rng.integers(500)), "set_id": outfit.set_id})
    for kind in KINDS if split != "train" else ():
        blanks, lines = _question_files(split, kind)
        asker = Asker(seed, count, outfit.number, kind)
        yield blanks, json.dumps(_blank_row(asker.blank()))
        yield lines, " ".join(("1", *outfit.keys()))
        yield lines, " ".join(("0", *asker.clash()))


def _version_rows(seed: int, count: int, outfit: Outfit, version: str) -> Iterator[tuple[str, str]]:
    disjoint = version == "disjoint"
    split = SPLIT_NAMES[split_of(outfit.number, disjoint)]
    folder = f"{POLYVORE_OUTFITS_ROOT}/{version}"
    items = [{"item_id": garment.id, "index": place + 1} for place, garment in enumerate(outfit.garments)]
    yield f"{folder}/{split}.json", json.dumps({"set_id": outfit.set_id, "items": items})
    asker = Asker(seed, count, outfit.number, "typed", disjoint)
    question = asker.blank()
    row = _blank_row(question) | {"answers": [question.answers[int(k)] for k in asker.rng.permutation(4)]}
    yield f"{folder}/fill_in_blank_{split}.json", json.dumps(row)
    lines = f"{folder}/compatibility_{split}.txt"
    yield lines, " ".join(("1", *outfit.keys()))
    yield lines, " ".join(("0", *asker.clash()))


def _blank_row(question: Question) -> dict:
    return {
        "question": list(question.question),
        "blank_position": question.blank_position,
        "answers": list(question.answers),
    }


def _metadata(garment: Garment) -> dict:
    return {
        "title": title(garment),
        "url_name": item_name(garment),
        "description": description(garment),
        "category_id": str(CATEGORY_IDS[garment.category]),
        "semantic_category": SEMANTIC[garment.slot],
        "catgeories": [garment.category],
        "related": [],
    }


def _product(garment: Garment) -> dict:
    """A garment as FashionViL's pre-training reads it: its picture is a name, not a list."""
    texts = {"title": title(garment), "description": description(garment)}
    return {"id": garment.id, "images": f"{garment.id}.jpg"} | texts | {"attributes_id": attribute_ids(garment)}
