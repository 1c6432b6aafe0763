"""Composed retrieval sets for evaluation, read through the builders in `data_scripts` from data in their layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from train.retrieval.classification_protocols import CLASSIFICATION_PROTOCOLS
from train.retrieval.composed import PROTOCOLS, ComposedSet
from train.retrieval.image_text_protocols import IMAGE_TEXT_PROTOCOLS
from train.retrieval.ocir_protocols import OCIR_PROTOCOLS
from train.retrieval.outfit_protocols import GROUPS as OUTFIT_GROUPS
from train.retrieval.outfit_protocols import PROTOCOLS as OUTFIT_PROTOCOLS

CATEGORIES = ("dress", "shirt", "toptee")
DEFAULT_SPLITS = {"fashioniq": "val", "cirr": "val", "catalogue": "valid"}
# How a model type was trained to read FashionIQ's two captions, where not as CLIP4Cir.
CAPTION_JOINERS = {"fashionvil": ", "}
# A protocol's layout follows from its name, except for the pooled one, which every layout can serve.
GROUPS = {"fashioniq": ("fashioniq/original-split", "fashioniq/val-split"), **OUTFIT_GROUPS}


def protocols_named(name: str) -> tuple[str, ...]:
    """`fashioniq` -> both FashionIQ protocols, `polyvore` -> both of its questions, any other name -> itself.

    Raises:
        ValueError: no such protocol.
    """
    if name in GROUPS:
        return GROUPS[name]
    known = [*GROUPS, *PROTOCOLS, *IMAGE_TEXT_PROTOCOLS, *CLASSIFICATION_PROTOCOLS, *OUTFIT_PROTOCOLS, *OCIR_PROTOCOLS]
    if name not in known:
        raise ValueError(f"unknown protocol {name!r}; one of {', '.join(known)}")
    return (name,)


def detect_layout(data_dir: str | Path, protocol: str) -> str:
    """The data set layout to read for a protocol: "fashioniq", "cirr" or "catalogue".

    Raises:
        FileNotFoundError: a protocol that any layout can serve, and no known layout in the folder.
    """
    layout = protocol.partition("/")[0]
    if layout in DEFAULT_SPLITS:
        return layout
    root = Path(data_dir)
    folders = [root, *(root / name for name in ("fashionIQ_dataset", "cirr_dataset", "cirr_dataset/cirr", "cirr"))]
    patterns = {"cirr": "captions/cap.rc2.*.json", "fashioniq": "captions/cap.*.json", "catalogue": "composed_*.jsonl"}
    for layout, pattern in patterns.items():
        if any(next(folder.glob(pattern), None) for folder in folders):
            return layout
    raise FileNotFoundError(
        f"no composed queries found under {root}: expected captions/cap.<category>.<split>.json (FashionIQ), "
        "captions/cap.rc2.<split>.json (CIRR) or composed_<split>.jsonl (own catalogue); give the layout with --dataset"
    )


def default_split(protocol: str, layout: str) -> str:
    """The split that a protocol is evaluated on unless another is named: val, and valid for a catalogue."""
    return DEFAULT_SPLITS.get(protocol.partition("/")[0]) or DEFAULT_SPLITS[layout]


def load_composed_set(
    layout: str,
    data_dir: str | Path,
    split: str | None = None,
    missing_images: str = "error",
    images: str = "required",
    joiner: str | None = None,
) -> ComposedSet:
    """Read one split of a data set with all protocols it can serve.

    Args:
        layout: "fashioniq", "cirr" or "catalogue".
        data_dir: folder of the data set, see the builder's file.
        split: default val (FashionIQ, CIRR) or valid (catalogue).
        missing_images: "error" stops at missing pictures, "skip" leaves their rows out and counts them.
        images: "absent" reads the annotations alone, for features that come from elsewhere.
        joiner: between FashionIQ's two captions, e.g. FashionViL's ", "; None joins them as CLIP4Cir.

    Raises:
        ValueError: an unknown layout or split, a split without targets, ids that don't fit.
        FileNotFoundError: from the builder, with the file it expected.
    """
    readers: dict[str, Callable[[str, str, dict[str, str]], ComposedSet]] = {
        "fashioniq": _fashioniq,
        "cirr": _cirr,
        "catalogue": _catalogue,
    }
    if layout not in readers:
        raise ValueError(f"unknown layout {layout!r}; one of {', '.join(readers)}")
    split = split or DEFAULT_SPLITS[layout]
    options = {"missing": missing_images, "images": images}
    if layout == "fashioniq":
        data = _fashioniq(str(data_dir), split, options, joiner)
        data.caption_rule = joiner and f"caption1 and caption2 as annotated, joined by {joiner!r}"
    else:
        data = readers[layout](str(data_dir), split, options)
    data.fingerprint = fingerprint(data) | {"layout": layout, "split": split}
    return data


def fingerprint(data: ComposedSet) -> dict:
    """Digest of everything in the annotations that decides a rank, whatever folder it was read from, with counts."""
    content = {
        "gallery_ids": data.gallery_ids,
        "galleries": {p: {c: rows.tolist() for c, rows in g.items()} for p, g in data.galleries.items()},
        "query_ids": data.query_ids,
        # Models that join two captions in other ways still answer the same queries.
        "captions": data.annotated or data.captions,
        "reference": data.reference.tolist(),
        "positives": data.positives,
        "members": None if data.members is None else data.members.tolist(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"digest": digest, "queries": len(data.query_ids), "images": len(data.gallery_ids)}


@dataclass
class CirrQueries:
    """Queries of a CIRR split whose targets may be hidden, in the order of the caption file."""

    gallery_names: list[str]
    images: Sequence[Any]
    pair_ids: list[str]
    references: list[str]
    captions: list[str]
    groups: list[list[str]]

    def annotations(self) -> list[dict[str, Any]]:
        """The rows as the caption file has them, for the check of a submission."""
        rows = zip(self.pair_ids, self.references, self.groups, strict=True)
        return [{"pairid": p, "reference": r, "img_set": {"members": g}} for p, r, g in rows]


def load_cirr_queries(data_dir: str | Path, split: str = "test1") -> CirrQueries:
    """Read what the test server's files are made from; errors are the builder's."""
    from data_scripts.cirr import Cirr

    gallery = _split(Cirr, "gallery", str(data_dir), split, {})
    rows = _without_images(_split(Cirr, "triplets", str(data_dir), split, {}))
    return CirrQueries(
        gallery_names=_distinct(gallery["image_id"][:]),
        images=Pictures(gallery),
        pair_ids=[str(pair_id) for pair_id in rows["pairid"][:]],
        references=rows["reference_id"][:],
        captions=rows["caption"][:],
        groups=rows["members"][:],
    )


def _fashioniq(data_dir: str, split: str, options: dict[str, str], joiner: str | None = None) -> ComposedSet:
    from data_scripts.fashioniq import FashionIQ
    from modeling.clip4cir.processing_clip4cir import join_captions

    galleries: dict[str, dict[str, list[str]]] = {"fashioniq/original-split": {}, "fashioniq/val-split": {}}
    queries: dict[str, list] = {"query": [], "reference": [], "target": [], "caption": [], "category": []}
    annotated: list[str] = []
    pictures: dict[str, tuple[Pictures, int]] = {}
    for category in CATEGORIES:
        gallery = _split(FashionIQ, f"{category}-gallery", data_dir, split, options)
        ids = galleries["fashioniq/original-split"][category] = _distinct(gallery["image_id"][:])
        of_category = Pictures(gallery)
        # shirt and toptee share images: the first place where one is found counts.
        for row, image_id in enumerate(ids):
            pictures.setdefault(image_id, (of_category, row))
        used = _split(FashionIQ, f"{category}-gallery-val-split", data_dir, split, options)
        galleries["fashioniq/val-split"][category] = _distinct(used["image_id"][:])
        rows = _without_images(_split(FashionIQ, category, data_dir, split, options))
        queries["query"] += [f"{category}/{row}" for row in rows["row"][:]]
        queries["reference"] += rows["reference_id"][:]
        queries["target"] += rows["target_id"][:]
        pairs = rows["captions"][:]
        joined = [join_captions(*pair) for pair in pairs]
        annotated += joined
        queries["caption"] += [joiner.join(pair) for pair in pairs] if joiner else joined
        queries["category"] += [category] * len(rows)
    _need_targets(queries["target"], "FashionIQ", split)
    row_of = {image_id: row for row, image_id in enumerate(pictures)}
    targets = [[row] for row in _rows(row_of, queries["target"], queries["query"], "target")]
    by_rows = {p: {c: _rows(row_of, ids, ids, "gallery") for c, ids in g.items()} for p, g in galleries.items()}
    by_rows["composed/pooled-noref"] = {"all": list(range(len(pictures)))}
    data = _composed_set(
        by_rows, row_of, JoinedPictures(list(pictures.values())), queries, dict.fromkeys(by_rows, targets)
    )
    data.annotated = annotated
    return data


def _cirr(data_dir: str, split: str, options: dict[str, str]) -> ComposedSet:
    from data_scripts.cirr import Cirr

    gallery = _split(Cirr, "gallery", data_dir, split, options)
    ids = _distinct(gallery["image_id"][:])
    rows = _without_images(_split(Cirr, "triplets", data_dir, split, options))
    queries = {
        "query": rows["pairid"][:],
        "reference": rows["reference_id"][:],
        "target": rows["target_id"][:],
        "caption": rows["caption"][:],
        "category": ["all"] * len(rows),
    }
    _need_targets(queries["target"], "CIRR", split)
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    targets = [[row] for row in _rows(row_of, queries["target"], queries["query"], "target")]
    by_rows = dict.fromkeys(("cirr/val", "composed/pooled-noref"), {"all": list(range(len(ids)))})
    data = _composed_set(by_rows, row_of, Pictures(gallery), queries, dict.fromkeys(by_rows, targets))
    data.members = member_rows(row_of, rows["members"][:], data.query_ids)
    return data


def _catalogue(data_dir: str, split: str, options: dict[str, str]) -> ComposedSet:
    from data_scripts.catalogue import Catalogue

    products = _split(Catalogue, "products", data_dir, split, options)
    ids = _distinct(products["product_id"][:])
    rows = _without_images(_split(Catalogue, "composed", data_dir, split, options))
    queries = {
        "query": [str(number) for number in range(len(rows))],
        "reference": rows["reference_id"][:],
        "target": rows["target_id"][:],
        "caption": rows["caption"][:],
    }
    queries["category"] = ["all"] * len(rows)
    _need_targets(queries["target"], "the catalogue", split)
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    targets = _rows(row_of, queries["target"], queries["query"], "target")
    titles = products["title"][:]
    same_title: dict[str, list[int]] = {}
    for row, title in enumerate(titles):
        same_title.setdefault(title, []).append(row)
    positives = {
        "composed/pooled-noref": [[row] for row in targets],
        "catalogue/same-title": [same_title[titles[row]] for row in targets],
    }
    by_rows = dict.fromkeys(positives, {"all": list(range(len(ids)))})
    return _composed_set(by_rows, row_of, Pictures(products), queries, positives)


def member_rows(row_of: Mapping[str, int], groups: Sequence[Sequence[str]], queries: Sequence[str]) -> torch.Tensor:
    """Gallery rows of every query's group as (Q, widest group) int64, padded by -1."""
    asked = [query for query, group in zip(queries, groups, strict=True) for _ in group]
    flat = iter(_rows(row_of, [member for group in groups for member in group], asked, "group"))
    members = torch.full((len(groups), max(map(len, groups))), -1, dtype=torch.int64)
    for query, group in enumerate(groups):
        members[query, : len(group)] = torch.tensor([next(flat) for _ in group])
    return members


def _composed_set(
    galleries: Mapping[str, Mapping[str, Sequence[int]]],
    row_of: Mapping[str, int],
    images: Sequence[Any],
    queries: Mapping[str, list],
    positives: dict[str, list[list[int]]],
) -> ComposedSet:
    return ComposedSet(
        gallery_ids=list(row_of),
        images=images,
        galleries={p: {c: torch.tensor(rows) for c, rows in g.items()} for p, g in galleries.items()},
        query_ids=[str(name) for name in queries["query"]],
        captions=list(queries["caption"]),
        reference=torch.tensor(_rows(row_of, queries["reference"], queries["query"], "reference")),
        positives=positives,
        categories=queries["category"],
    )


def _split(builder: type, config: str, data_dir: str, split: str, options: dict[str, str]) -> Any:
    from data_scripts.prepare import prepare

    splits = prepare(builder, config, data_dir, splits=(split,), **options)
    if split not in splits:
        raise ValueError(
            f"{data_dir} has no split {split!r} of {builder.__name__} ({config}); it has {', '.join(splits)}"
        )
    return splits[split]


def _without_images(rows: Any) -> Any:
    """Rows without their pictures: reading a column must not open them."""
    import datasets

    return rows.remove_columns([n for n, f in rows.features.items() if isinstance(f, datasets.Image)])


class Pictures(Sequence):
    """Undecoded pictures of a gallery, as {"bytes", "path"}; read when asked for, so a catalogue stays on the disk."""

    def __init__(self, gallery: Any) -> None:
        import datasets

        self.rows = gallery.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))

    def __getitem__(self, row: int) -> dict:
        return self.rows[row]["image"]

    def __len__(self) -> int:
        return len(self.rows)


class JoinedPictures(Sequence):
    """Pictures of several galleries in one order."""

    def __init__(self, places: list[tuple[Pictures, int]]) -> None:
        self.places = places

    def __getitem__(self, row: int) -> dict:
        pictures, place = self.places[row]
        return pictures[place]

    def __len__(self) -> int:
        return len(self.places)


def _distinct(ids: list[str]) -> list[str]:
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        repeated = next(image_id for image_id in ids if image_id in seen or seen.add(image_id))
        raise ValueError(f"image id {repeated!r} occurs twice in the gallery: a rank in it would be ambiguous")
    return ids


def _need_targets(targets: Sequence[str | None], name: str, split: str) -> None:
    if any(target is None for target in targets):
        raise ValueError(
            f"split {split!r} of {name} has no targets, so nothing can be scored; "
            "for CIRR test1 write submission files with train/cirr_submission.py"
        )


def _rows(row_of: Mapping[str, int], ids: Sequence[str], queries: Sequence[str], role: str) -> list[int]:
    lost = [(query, image_id) for query, image_id in zip(queries, ids, strict=True) if image_id not in row_of]
    if lost:
        named = ", ".join(f"{image_id} (query {query})" for query, image_id in lost[:3])
        raise ValueError(
            f"{len(lost)} {role} images are not in the gallery, first: {named}; "
            "captions and image split must be of the same split and complete"
        )
    return [row_of[image_id] for image_id in ids]
