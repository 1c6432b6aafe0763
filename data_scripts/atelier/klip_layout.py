"""FashionKLIP's files of a finished FashionGen tree: archives of pictures, captions with their true phrases, concepts.

    fashionklip/fashiongen/train/   atelier_queries_phrases.jsonl, atelier_concepts_queries.jsonl,
                                    atelier_concepts_fathers.jsonl, atelier.<side>.npz
    fashionklip/fashiongen/val/     atelier_queries.jsonl, atelier_images.jsonl, atelier.<side>.npz
    fashionklip/fashion_kb/         atelier_kb_concepts_queries.jsonl, atelier_kb_concepts_fathers.jsonl, atelier_kb.<side>.npz

The phrases are the truth, not what a program mined. As in a graph mined from one set of texts, the data's concepts are
those of several words, the knowledge base's those of one word and the frequent ones; its pictures are the front views of
the training products. Pictures are normalised with CLIP's mean and deviation; an archive takes 12 bytes a pixel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .fashiongen_layout import (
    FASHIONGEN_ROOT,
    INFO_FILES,
    LEAST_TEXTS,
    PHOTO_VIEWS,
    ConceptTruth,
    concept_truth,
    read_mentions,
)

KLIP_ROOT = "fashionklip"
KB_FACTOR = 4  # the knowledge base's concepts of several words are in so many times more texts
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


def klip_files(side: int) -> list[str]:
    """Relative paths of everything that is written, for pictures of `side` pixels."""
    train, val, kb = (f"{KLIP_ROOT}/{folder}" for folder in ("fashiongen/train", "fashiongen/val", "fashion_kb"))
    return [
        f"{train}/atelier_queries_phrases.jsonl",
        f"{train}/atelier_concepts_queries.jsonl",
        f"{train}/atelier_concepts_fathers.jsonl",
        f"{train}/atelier.{side}.npz",
        f"{val}/atelier_queries.jsonl",
        f"{val}/atelier_images.jsonl",
        f"{val}/atelier.{side}.npz",
        f"{kb}/atelier_kb_concepts_queries.jsonl",
        f"{kb}/atelier_kb_concepts_fathers.jsonl",
        f"{kb}/atelier_kb.{side}.npz",
    ]


def write_klip_files(world: Path, side: int) -> None:
    """Write all of `klip_files` from the world's FashionGen tree; every file gets its name when it is complete.

    Raises:
        FileNotFoundError: the tree is not there.
        OSError: a file cannot be written.
    """
    # Loaded here: these bring the whole data set library, which drawing does not need.
    from data_scripts.fashionklip_files import (
        Caption,
        write_captions,
        write_concepts,
        write_fathers,
        write_image_reference,
    )
    from data_scripts.klip_archives import write_npz

    paths = [world / path for path in klip_files(side)]
    for folder in {path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    captions, concepts, fathers, archive, val_captions, val_images, val_archive, *kb_files = paths
    mentions = {row["product"]: row for row in read_mentions(world)}
    truth = concept_truth(mentions.values())
    data, kb = _vocabularies(truth)
    kb_phrases = {concept.phrase for concept in kb}
    products = {split: json.loads((world / INFO_FILES[split]).read_text(encoding="utf-8")) for split in INFO_FILES}

    def caption(product: dict, phrases: bool) -> Caption:
        text = f"{product['title']}. {product['description']}"
        photos = [Path(name).stem for name in product["images"]]
        if not phrases:
            return Caption(str(product["id"]), text, photos)
        known = [one for one in mentions[product["id"]]["fathers"] if one in truth.fathers]
        return Caption(str(product["id"]), text, photos, known, [one for one in known if one in kb_phrases])

    write_captions(captions, (caption(product, True) for product in products["train"]))
    write_concepts(concepts, data)
    write_fathers(fathers, data, truth.fathers)
    write_npz(archive, _pictures(world, "train", products["train"]))
    write_captions(val_captions, (caption(product, False) for product in products["val"]))
    reference = {Path(name).stem: [str(one["id"])] for one in products["val"] for name in one["images"]}
    write_image_reference(val_images, reference)
    write_npz(val_archive, _pictures(world, "val", products["val"]))
    write_concepts(kb_files[0], kb)
    write_fathers(kb_files[1], kb, truth.fathers)
    write_npz(kb_files[2], _pictures(world, "train", products["train"], views=1))


def _vocabularies(truth: ConceptTruth):
    """The data's concepts and the knowledge base's, numbered one after the other."""
    from data_scripts.fashionklip_files import Concept

    data = [name for name in truth.fathers if " " in name]
    kb = [name for name in truth.fathers if " " not in name or truth.texts[name] >= KB_FACTOR * LEAST_TEXTS]
    made = [Concept(str(number), f"a photo of {name}", name) for number, name in enumerate((*data, *kb))]
    return made[: len(data)], made[len(data) :]


def _pictures(
    world: Path, split: str, products: list[dict], views: int = len(PHOTO_VIEWS)
) -> Iterator[tuple[str, np.ndarray]]:
    """(photo id, normalised (3, side, side) picture), one at a time."""
    for product in products:
        for name in product["images"][:views]:
            with Image.open(world / FASHIONGEN_ROOT / split / name) as picture:
                values = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
            yield Path(name).stem, ((values - _MEAN) / _DEVIATION).transpose(2, 0, 1)
