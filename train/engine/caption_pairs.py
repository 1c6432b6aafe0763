"""Captions with their images and concepts, from any of the data sets that FashionKLIP trains on."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from train.engine.batches import row_generator
from train.engine.fashionklip_arguments import PairArguments


@dataclasses.dataclass
class ConceptTable:
    """Concepts of one list: the data's own, or the knowledge base's.

    Attributes:
        numbers: phrase -> row of `prompts`, in the order of the file.
        prompts: what is encoded to look for prototypes.
        fathers: phrase -> phrase that it is a kind of, "" for none.
    """

    numbers: dict[str, int] = dataclasses.field(default_factory=dict)
    prompts: list[str] = dataclasses.field(default_factory=list)
    fathers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class CaptionPairs:
    """Pairs of a caption and an image; a caption may have several images and an image several captions.

    Attributes:
        texts, image_ids: one of each per pair.
        phrases, match_phrases: one list per pair; pairs of one caption share the list.
        sources: image id -> file, bytes, or an archive that serves pixels.
        pixels: serves `batch(ids)`, (n, 3, d, d) float32; set by `open_pixels`.
    """

    texts: list[str]
    image_ids: list[str]
    phrases: list[list[str]]
    match_phrases: list[list[str]]
    sources: Any
    pixels: Any = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def groups(self) -> list[int]:
        """Number of each pair's caption; equal texts have equal numbers."""
        number: dict[str, int] = {}
        return [number.setdefault(text, len(number)) for text in self.texts]

    def open_pixels(self, cache: Path, image_processor: Any, name: str) -> None:
        """Decode the pictures into a store, or check that an archive fits the model."""
        self.pixels = open_pixels(self.sources, cache, image_processor, name)


class ArchivePixels:
    """Images of the original's archives, which are preprocessed already: what they hold is what the model gets."""

    def __init__(self, archive: Any, size: int) -> None:
        first = next(iter(archive.ids), None)
        side = archive[first].shape[-1] if first is not None else size
        if side != size:
            raise ValueError(
                f"{archive} holds images of {side} pixels and the model takes {size}; make the archive anew at {size}, "
                "or train a model for its size"
            )
        self.archive, self.ids = archive, list(archive.ids)

    def batch(self, ids: Sequence[str], *, augmentation: Any = None, **_seed: Any) -> torch.Tensor:
        """(n, 3, d, d) float32.

        Raises:
            ValueError: augmentation, which the stored numbers don't allow.
        """
        if augmentation is not None:
            raise ValueError("archives hold finished arrays: leave out --flip, --shift and --min_crop_area")
        return torch.from_numpy(self.archive.batch(ids))


def open_pixels(sources: Any, cache: Path, image_processor: Any, name: str) -> Any:
    """Something with `batch(ids)` for a mapping of files or an archive."""
    from train.engine.images import PixelStore

    if not isinstance(sources, dict):
        return ArchivePixels(sources, image_processor.size)
    return PixelStore.build(cache, sources, image_processor, name=name)


class PairRows:
    """Training rows: pair number, text, image and the phrases of the pair's slots.

    Args:
        pairs: the pairs.
        slots: from the pair's number to (phrases, concept numbers) of its slots; None for captions alone.
        word_dropout: probability that a word of a caption is left out, drawn anew for every (seed, epoch, pair).
        seed: of the draws.
    """

    def __init__(self, pairs: CaptionPairs, slots: Any = None, word_dropout: float = 0.0, seed: int = 0) -> None:
        self.pairs, self.slots, self.epoch = pairs, slots, 0
        self.groups, self.word_dropout, self.seed = pairs.groups, word_dropout, seed

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> dict[str, Any]:
        phrases, numbers = self.slots(row) if self.slots else ([], [])
        return {
            "row": row,
            "epoch": self.epoch,
            "text": self._text(row),
            "image_id": self.pairs.image_ids[row],
            "group": self.groups[row],
            "phrases": phrases,
            "numbers": numbers,
        }

    def _text(self, row: int) -> str:
        text = self.pairs.texts[row]
        if not self.word_dropout:
            return text
        words = text.split()
        kept = torch.rand(len(words), generator=row_generator(self.seed, self.epoch, row)) >= self.word_dropout
        return " ".join(word for word, stays in zip(words, kept.tolist(), strict=True) if stays) or text


@dataclasses.dataclass
class ConceptData:
    """The two tables of concepts, and the pool of images that can stand for them."""

    data: ConceptTable
    kb: ConceptTable
    pool_ids: list[str]
    pool_sources: Any
    pool_is_train: bool
    pool_pixels: Any = None


def load_pairs(arguments: PairArguments, split: str) -> CaptionPairs:
    """One split: "train" or "validation".

    Raises:
        FileNotFoundError: a file or folder is missing.
        ValueError: no such split, no captions, or a graph that was made from other captions.
    """
    load = {"fashionklip": _klip_pairs, "catalogue": _catalogue_pairs, "fashiongen": _fashiongen_pairs}
    pairs = load[arguments.dataset](arguments, split)
    if not len(pairs):
        raise ValueError(f"{arguments.data_dir}: no pairs of a caption and an image in the {split} split")
    return pairs


def load_concepts(arguments: PairArguments, train: CaptionPairs) -> ConceptData:
    """The concept tables and the pool of prototype images.

    Raises:
        FileNotFoundError: there is no graph.
        ValueError: a pool that the data doesn't have.
    """
    from data_scripts.fashionklip_files import NpzImages, read_concepts, read_fathers

    files = _concept_files(arguments)
    tables = []
    for concepts_file, fathers_file in (files[:2], files[2:4]):
        table = ConceptTable()
        if concepts_file is not None:
            if fathers_file is None or not fathers_file.is_file():
                raise FileNotFoundError(
                    f"{concepts_file} has no file of fathers beside it (*_concepts_fathers.jsonl): add it, or name it with "
                    "--concept_fathers or --kb_concept_fathers"
                )
            for concept in read_concepts(concepts_file):
                if concept.phrase not in table.numbers:
                    table.numbers[concept.phrase] = len(table.prompts)
                    table.prompts.append(concept.query_text)
            table.fathers = read_fathers(fathers_file)
        tables.append(table)
    archives = files[4]
    use_kb = arguments.pool == "kb" or (arguments.pool == "auto" and archives)
    if use_kb and not archives:
        raise ValueError("--pool kb: there are no archives of the knowledge base; name them with --img_data_sets")
    sources = NpzImages(archives) if use_kb else train.sources
    ids = list(sources.ids) if use_kb else list(dict.fromkeys(train.image_ids))
    return ConceptData(*tables, ids, sources, not use_kb, None if use_kb else train.pixels)


def _concept_files(arguments: PairArguments) -> tuple[Path | None, Path | None, Path | None, Path | None, list[Path]]:
    """Concepts and fathers of the data, of the knowledge base, and the archives of the pool."""
    if arguments.graph:
        folder = Path(arguments.graph)
        names = ["concepts_queries", "concepts_fathers", "kb_concepts_queries", "kb_concepts_fathers"]
        found: list[Path | None] = [folder / f"{name}.jsonl" for name in names]
        if not folder.is_dir() or not found[0].is_file():
            raise FileNotFoundError(
                f"--graph {folder}: no concept graph there; make one with train/fashionklip_graph.py"
            )
        archives: list[Path] = []
    elif arguments.dataset == "fashionklip":
        layout = _layout(arguments)
        found = [layout.concepts, layout.concept_fathers, layout.kb_concepts, layout.kb_fathers]
        archives = list(layout.kb_images)
    else:
        raise FileNotFoundError(
            f"--dataset {arguments.dataset} has no concepts of its own: give --graph (train/fashionklip_graph.py makes "
            "one from any catalogue), or train without (--concepts none)"
        )
    own = [getattr(arguments, n) for n in ("concept_data", "concept_fathers", "kb_concept_data", "kb_concept_fathers")]
    found = [Path(mine) if mine else there for mine, there in zip(own, found, strict=True)]
    return (*found, [Path(p) for p in arguments.img_data_sets] or archives)


def _layout(arguments: PairArguments) -> Any:
    from data_scripts.fashionklip_files import KlipLayout

    return KlipLayout.find(arguments.data_dir)


def _klip_pairs(arguments: PairArguments, split: str) -> CaptionPairs:
    from data_scripts.fashionklip_files import NpzImages, read_captions

    part = {"train": "train", "validation": "val"}[split]
    captions_file, archives = getattr(arguments, f"{part}_data"), getattr(arguments, f"{part}_img")
    # The tree is asked for only what was not named.
    captions_file = captions_file or _layout(arguments).need(f"{part}_captions")
    archives = archives or _layout(arguments).need(f"{part}_images")
    images = NpzImages(archives)
    pairs = CaptionPairs([], [], [], [], images)
    lost = []
    captions = read_captions(captions_file)
    known = _graph_phrases(arguments, [c.query_text for c in captions]) if split == "train" else None
    for caption in captions:
        own = (caption.phrases, caption.match_phrases) if known is None else known[caption.query_text]
        phrases, match = (list(part or ()) for part in own)
        if not caption.item_ids:
            lost.append(f"query {caption.query_id}: no image")
        for image_id in caption.item_ids:
            if image_id not in images:
                lost.append(f"query {caption.query_id}: image {image_id}")
                continue
            pairs.texts.append(caption.query_text)
            pairs.image_ids.append(image_id)
            pairs.phrases.append(phrases)
            pairs.match_phrases.append(match)
    if lost and arguments.missing_images == "error":
        raise ValueError(
            f"{captions_file} names {len(lost)} images that {archives} does not hold, first: {'; '.join(lost[:5])}. "
            "Add them, or leave those pairs out with --missing_images skip"
        )
    if lost:
        print(f"{captions_file}: {len(lost)} pairs left out, their images are not in the archive", flush=True)
    return pairs


def _catalogue_pairs(arguments: PairArguments, split: str) -> CaptionPairs:
    from data_scripts.catalogue import Catalogue
    from data_scripts.prepare import prepare
    from train.engine.triplets import encoded_images

    splits = prepare(Catalogue, "products", arguments.data_dir, missing=arguments.missing_images)
    asked = arguments.train_split if split == "train" else arguments.validation_split
    names = [asked] if asked else {"train": ["train"]}.get(split, ["valid", "val", "validation"])
    name = next((n for n in names if n in splits), None)
    if name is None:
        raise ValueError(f"{arguments.data_dir} has no split {' or '.join(names)}; it has {', '.join(splits)}")
    rows = splits[name]
    caption = arguments.caption or ["title"]
    unknown = [column for column in caption if column not in rows.column_names]
    if unknown:
        raise ValueError(f"--caption {unknown[0]}: {arguments.data_dir} has the columns {', '.join(rows.column_names)}")
    columns = [rows[column][:] for column in caption]
    texts = [" ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]
    ids = rows["product_id"][:]
    sources = dict(zip(ids, encoded_images(rows, "image"), strict=True))
    return _with_phrases(arguments, split, texts, ids, sources)


def _fashiongen_pairs(arguments: PairArguments, split: str) -> CaptionPairs:
    from data_scripts.fashiongen import FashionGen, caption_form
    from data_scripts.prepare import prepare
    from train.engine.triplets import encoded_images

    form = caption_form(arguments.caption)
    name = (arguments.train_split if split == "train" else arguments.validation_split) or split
    splits = prepare(FashionGen, "pairs", arguments.data_dir, caption=form, missing=arguments.missing_images)
    if name not in splits:
        raise ValueError(f"{arguments.data_dir} has no split {name!r}; it has {', '.join(splits)}")
    rows = splits[name]
    ids = rows["image_id"][:]
    sources = dict(zip(ids, encoded_images(rows, "image"), strict=True))
    return _with_phrases(arguments, split, rows["caption"][:], ids, sources)


def _with_phrases(
    arguments: PairArguments, split: str, texts: list[str], image_ids: list[str], sources: dict[str, Any]
) -> CaptionPairs:
    """Pairs with the phrases that the graph's captions file holds for their texts."""
    known = _graph_phrases(arguments, texts) if split == "train" else None
    if known is None:
        return CaptionPairs(texts, image_ids, [[] for _ in texts], [[] for _ in texts], sources)
    return CaptionPairs(texts, image_ids, [known[t][0] for t in texts], [known[t][1] for t in texts], sources)


def _graph_phrases(arguments: PairArguments, texts: list[str]) -> dict[str, tuple[list[str], list[str]]] | None:
    """Text -> its phrases and those of the knowledge base, from the graph's captions; None without a graph.

    Raises:
        FileNotFoundError: the graph has no file of captions.
        ValueError: it doesn't know all the texts.
    """
    if not arguments.graph:
        return None
    from data_scripts.fashionklip_files import read_captions

    file = Path(arguments.graph) / "train_queries_phrases.jsonl"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; make the graph again with train/fashionklip_graph.py")
    known = {c.query_text: (c.phrases or [], c.match_phrases or []) for c in read_captions(file)}
    lost = Counter(text for text in texts if text not in known)
    if lost:
        raise ValueError(
            f"{file} does not know {len(lost)} of the training captions, first: {next(iter(lost))!r}. The graph was made "
            "from other captions: make it from these (same --caption), or match them with its match mode"
        )
    return known
