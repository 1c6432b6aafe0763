"""Write the files that FashionViL reads and nobody published, from the raw data sets.

    python -m data_scripts.derive attributes --data_dir data/datasets --sets FashionGen BigFACAD
    python -m data_scripts.derive fashioniq  --data_dir data/fashionIQ_dataset --output_dir data/datasets/FashionIQ
    python -m data_scripts.derive ocir       --data_dir data/polyvore_outfits --version disjoint --candidates 3000

attributes    pseudo-attributes of the training texts, written into every *_info.json as attributes_id, with their list in
              pseudo_attributes.json (data_scripts/pseudo_attributes.py has the rule). FashionGen's labels.json learns
              their names.
fashioniq     caption files with rows for the images that no query looks for (data_scripts/fashioniq_gallery.py)
ocir          questions of complementary item retrieval (data_scripts/ocir_questions.py), from Polyvore Outfits or from the
              Maryland outfits, whose items are named <set>_<index>. There a product has a name in each of its outfits:
              items with the same photo, byte for byte, become the first of them (in the order train, valid, test), so
              that a gallery holds a product once. In the version disjoint no test question asks for an item, or such a
              photo, of training. Questions that are written outside of the folder of Polyvore Outfits get the metadata
              and, as links, images/<item>.jpg

Files are written beside and renamed. The last line on standard output is one JSON object with counts.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from data_scripts import fashiongen, fashioniq, info_files, polyvore, polyvore_outfits
from data_scripts.facad import BigFACAD
from data_scripts.fashion200k import Fashion200k
from data_scripts.fashioniq_gallery import as_written
from data_scripts.info_files import InfoSet, annotation_file
from data_scripts.ocir_questions import Outfits, ocir_questions
from data_scripts.polyvore import SPLITS
from data_scripts.polyvore_ocir import VERSIONS, question_file
from data_scripts.pseudo_attributes import PUBLISHED_NUMBER, AttributeWords, attribute_ids, vocabulary
from data_scripts.source_files import read_json

FASHIONGEN = InfoSet(
    name="FashionGen",
    files=fashiongen.INFO_NAMES,
    photos=fashiongen.PHOTO_FOLDERS,
    texts=("title", "description"),
    remedy=fashiongen.REMEDY,
)
SETS = {info.name: info for info in (FASHIONGEN, BigFACAD.SET, Fashion200k.SET, polyvore_outfits.INFO)}


def derive_attributes(
    data_dir: str | os.PathLike, sets: list[str], min_count: int, most: int, overwrite: bool = False
) -> dict[str, int]:
    """Write attributes_id into the info files of some sets, one vocabulary for all of them.

    Raises:
        FileNotFoundError: a set, or the training file of one that has none of the others.
        ValueError: products have attributes already and `overwrite` is off, no word is frequent enough, or a malformed file;
            nothing is written then.
    """
    roots = {name: info_files.find_root(data_dir, SETS[name]) for name in sets}
    contents: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, root in roots.items():
        info = SETS[name]
        if name == "FashionGen":
            fashiongen.read_labels(root)
        for split in info_files.splits_to_prepare(root, info, None):
            info_files.read_products(root, info, split)  # says what is wrong with the file, before any is written
            contents[name, split] = read_json(annotation_file(root, info.files[split]), info.remedy)
    if not any(split == "train" for _, split in contents):
        raise FileNotFoundError(
            f"{data_dir}: no training products in {', '.join(sets)}; their texts make the vocabulary"
        )
    had = sum(bool(entry.get("attributes_id")) for entries in contents.values() for entry in entries)
    if had and not overwrite:
        raise ValueError(
            f"{had:,} products have attributes_id already; they would be lost. Pass --overwrite to replace them"
        )
    texts = {key: [[e[n] for n in SETS[key[0]].texts] for e in entries] for key, entries in contents.items()}
    train = [text for (_, split), some in texts.items() if split == "train" for text in some]
    words_of = AttributeWords(train)
    names = vocabulary((words_of(text) for text in train), min_count, most)
    ids = {word: number for number, (word, _) in enumerate(names)}
    bare = 0
    for (name, split), entries in contents.items():
        for entry, text in zip(entries, texts[name, split], strict=True):
            entry["attributes_id"] = attribute_ids(words_of(text), ids)
            bare += not entry["attributes_id"]
        write_json(annotation_file(roots[name], SETS[name].files[split]), entries)
    for name, root in roots.items():
        listed = [{"id": number, "name": word, "products": count} for number, (word, count) in enumerate(names)]
        write_json(root / "pseudo_attributes.json", listed)
        labels = annotation_file(root, "labels.json")
        if name == "FashionGen" and labels.is_file():
            write_json(labels, read_json(labels, FASHIONGEN.remedy) | {"attributes": ids})
    return {"attributes": len(names), "products": sum(map(len, contents.values())), "products_without": bare}


def derive_fashioniq(data_dir: str | os.PathLike, output_dir: str | os.PathLike) -> dict[str, int]:
    """Write the validation files of all categories with rows for the rest of the gallery.

    Raises:
        FileNotFoundError, ValueError: as the reading of the official files; the folder of these as `output_dir`.
    """
    root, output = fashioniq.find_root(data_dir), Path(output_dir)
    if output.resolve() == root:
        raise ValueError(f"{output} holds the official caption files; choose another --output_dir")
    counts = {"queries": 0, "gallery_rows": 0}
    for category in fashioniq.CATEGORIES:
        rows = fashioniq.fashionvil_rows(root, category, "val")
        counts["gallery_rows"] += sum(row["fake_data"] for row in rows)
        counts["queries"] += sum(not row["fake_data"] for row in rows)
        write_json(fashioniq.caption_file(output, category, "val"), as_written(rows))
    return counts


def derive_ocir(
    data_dir: str | os.PathLike, output_dir: str | os.PathLike | None, version: str, candidates: int, seed: int
) -> dict[str, int]:
    """Write the two question files of a version, outside of the folder of Polyvore Outfits the metadata and photos too.

    Raises:
        FileNotFoundError, ValueError: as the reading of the outfits and `ocir_questions`; Maryland's outfits without
            `output_dir`.
    """
    official = polyvore_outfits.official_root(data_dir)
    root = official or polyvore.find_root(data_dir)
    if official:
        outfits, metadata, photos = polyvore_outfits_of(root, version)
    elif output_dir is None:
        raise ValueError("Maryland's outfits need --output_dir, where photos can be linked under their items' ids")
    else:
        outfits, metadata, photos, merged = maryland_outfits(root)
    categories = {item: str((entry or {}).get("category_id")) for item, entry in metadata.items()}
    rows, counts = ocir_questions(outfits, categories, candidates, seed, version == "disjoint")
    if not official:
        counts["items_merged"] = merged
    output = Path(output_dir or root)
    if output.resolve() != official:
        used = dict.fromkeys(i for some in rows.values() for row in some for i in (*row["question"], row["blank"]))
        write_json(output / "polyvore_item_metadata.json", {item: metadata[item] for item in used})
        counts["photos_missing"] = link_photos({item: photos[item] for item in used}, output / "images")
    for split, some in rows.items():
        write_json(question_file(output, version, split), some)
    return counts


def maryland_outfits(root: Path) -> tuple[Outfits, dict[str, Any], dict[str, str], int]:
    """Item ids of the outfits per split, every item's entry of the metadata and photo, and how many items were merged."""
    listed = {split: polyvore.read_outfits(root, split) for split in SPLITS}
    items = {item["item_id"]: item for some in listed.values() for outfit in some for item in outfit["items"]}
    photos = {item_id: item["photo"] for item_id, item in items.items()}
    first = first_with_photo(photos)
    outfits = {
        split: [list(dict.fromkeys(first[item["item_id"]] for item in outfit["items"])) for outfit in some]
        for split, some in listed.items()
    }
    metadata = {item_id: {"category_id": item["category_id"]} for item_id, item in items.items()}
    return outfits, metadata, photos, sum(own != item for item, own in first.items())


def polyvore_outfits_of(root: Path, version: str) -> tuple[Outfits, dict[str, Any], dict[str, str]]:
    """Item ids of a version's outfits per split, and every item's entry of the metadata and photo."""
    found = {split: polyvore_outfits.read_outfits(root / version / f"{split}.json") for split in SPLITS}
    outfits = {split: [list(outfit["items"].values()) for outfit in some] for split, some in found.items()}
    path, finder = root / "polyvore_item_metadata.json", info_files.PhotoFinder(root / "images")
    metadata = polyvore_outfits.read_object(path)
    for item, entry in metadata.items():
        polyvore.require({} if entry is None else entry, (), f"{path}, item {item}")
    return outfits, metadata, {item: finder(f"{item}.jpg") for item in metadata}


def first_with_photo(photos: dict[str, str]) -> dict[str, str]:
    """Item -> the first item whose photo has the same bytes; an item without a photo is its own."""
    owners: dict[bytes, str] = {}
    first = {item: item for item in photos}
    for item, path in photos.items():
        if os.path.isfile(path):
            first[item] = owners.setdefault(hashlib.sha256(Path(path).read_bytes()).digest(), item)
    return first


def link_photos(photos: dict[str, str], folder: Path) -> int:
    """Put photos at <folder>/<item>.jpg (or their own ending), as links where the file system allows.

    A photo with other content there is replaced. Returns how many are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = 0
    for item, source in photos.items():
        target = folder / f"{item}{os.path.splitext(source)[1]}"
        if not os.path.isfile(source):
            missing += 1
        elif not (target.exists() and (os.path.samefile(source, target) or filecmp.cmp(source, target, shallow=False))):
            partial = target.with_name(f".{target.name}.partial")
            partial.unlink(missing_ok=True)  # what an interrupted call left
            try:
                os.link(source, partial)
            except OSError:
                shutil.copyfile(source, partial)
            os.replace(partial, target)
    return missing


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fashiongen.write_json(path, content)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("attributes", help="pseudo-attributes of *_info.json files")
    one.add_argument("--data_dir", required=True, help="folder of the sets, or of the one set")
    one.add_argument(
        "--sets", nargs="+", required=True, choices=list(SETS), help="whose training texts are read together"
    )
    one.add_argument("--min_count", type=int, default=20, help="least number of products that use a word")
    one.add_argument("--most", type=int, default=PUBLISHED_NUMBER, help="words that are kept")
    one.add_argument("--overwrite", action="store_true", help="replace attributes_id that are there")
    two = commands.add_parser("fashioniq", help="caption files with rows for the gallery")
    two.add_argument("--data_dir", required=True, help="folder with captions and image_splits")
    two.add_argument("--output_dir", required=True, help="gets captions/cap.<category>.val.json")
    three = commands.add_parser("ocir", help="questions of complementary item retrieval")
    three.add_argument("--data_dir", required=True, help="folder of Polyvore Outfits, or of the Maryland outfits")
    three.add_argument(
        "--output_dir", help="gets questions, metadata and photos; default: the folder of Polyvore Outfits itself"
    )
    three.add_argument(
        "--version",
        choices=VERSIONS,
        default="disjoint",
        help="of Polyvore Outfits; names the files. disjoint: no test question asks for an item of training",
    )
    three.add_argument("--candidates", type=int, default=3000, help="items of a category's gallery")
    three.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if arguments.command == "attributes":
            limits = arguments.min_count, arguments.most
            counts = derive_attributes(arguments.data_dir, arguments.sets, *limits, arguments.overwrite)
        elif arguments.command == "fashioniq":
            counts = derive_fashioniq(arguments.data_dir, arguments.output_dir)
        else:
            choice = arguments.version, arguments.candidates, arguments.seed
            counts = derive_ocir(arguments.data_dir, arguments.output_dir, *choice)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
