"""Outfits, their items and questions in memory, and the features of the items' pictures.

Equal pictures are one product: Mango's and Polyvore's items occur in many outfits under different keys. They are encoded
once, and have one number in `identities`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from train.engine.bilstm_arguments import OutfitData
from train.retrieval.outfit_scores import Question, first_few

logger = logging.getLogger(__name__)


@dataclass
class Outfits:
    """The outfits of one split.

    Attributes:
        split: its name.
        ids: of all items, each once. texts, categories: of each item; pictures: path or bytes (those of shards are read
            when they are asked for), None without photos.
        outfits: places of each outfit's items, in order. set_ids: of each outfit.
    """

    split: str
    ids: list[str]
    texts: list[str]
    categories: list[str]
    pictures: Sequence[Any] | None
    outfits: list[list[int]]
    set_ids: list[str]
    identities: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.outfits)


@dataclass
class OutfitQuestions:
    """The questions of one split: blanks with the places of the right answers, and labelled outfits."""

    blanks: list[Question]
    right: list[list[int]]
    lines: list[tuple[str, ...]]
    labels: list[int]

    def right_mask(self) -> np.ndarray:
        """(questions, A) bool, A the most answers of a question: which of them are right."""
        mask = np.zeros((len(self.blanks), max((len(blank.answers) for blank in self.blanks), default=0)), dtype=bool)
        for row, places in enumerate(self.right):
            mask[row, places] = True
        return mask


def load_outfits(arguments: OutfitData, split: str, photos: bool) -> Outfits:
    """Outfits of a split.

    Args:
        arguments: data set and folder. photos: whether pictures are needed.

    Raises:
        FileNotFoundError: a file, photo or shard is missing.
        ValueError: no such split, no outfits in it, or a damaged shard.
    """
    from train.engine.triplets import encoded_images

    if arguments.records:
        return _from_shards(arguments, split, photos)
    options = {"splits": (split,), "images": "required" if photos else "absent", "missing": arguments.missing}
    outfits = _prepare(arguments, "outfits", **options)[split]
    rows = _prepare(arguments, "items", **options)[split]
    ids = rows["item_id"][:]
    place = {item: number for number, item in enumerate(ids)}
    category = "category" if arguments.dataset == "polyvore" else "semantic_category"
    name = "name" if "name" in rows.column_names else "title"
    found = Outfits(
        split,
        ids,
        [text or "" for text in rows[name][:]],
        [text or "" for text in rows[category][:]],
        encoded_images(rows, "image") if photos else None,
        [[place[item] for item in items] for items in outfits["item_ids"][:]],
        outfits["set_id"][:],
    )
    if not found.outfits:
        raise ValueError(f"{arguments.data_dir}: no outfits in the {split} split")
    found.identities = identities_of(found)
    return found


def _from_shards(arguments: OutfitData, split: str, photos: bool) -> Outfits:
    from data_scripts.polyvore import read_vocabulary
    from data_scripts.polyvore_shards import read_split

    path = vocabulary_file(arguments)
    read = read_split(arguments.records, split, read_vocabulary(path) if path else None)
    if not read.outfits:
        raise ValueError(f"{arguments.records}: no outfits in the shards of {split}")
    pictures = read.pictures if photos else None
    found = Outfits(split, read.item_ids, read.names, [""] * len(read.item_ids), pictures, read.outfits, read.set_ids)
    found.identities = identities_of(found)
    return found


def load_questions(
    arguments: OutfitData,
    split: str,
    questions: str | None,
    photos: bool = False,
    outfits: Outfits | None = None,
    kinds: Sequence[str] = ("fill_in_blank", "compatibility"),
) -> OutfitQuestions:
    """Blanks and labelled outfits of a split.

    Args:
        outfits: those of the split, for shards, which may lack outfits that the label files have.
        kinds: which of the two to read; the other stays empty.

    Raises:
        FileNotFoundError: it has none.
        ValueError: questions name items that are not there, and `missing` is "error".
    """
    options: dict[str, Any] = {"splits": (split,), "missing": arguments.missing}
    options["images"] = "required" if photos and not arguments.records else "absent"
    if arguments.dataset == "polyvore":
        options["questions"] = questions
    found = OutfitQuestions([], [], [], [])
    if "fill_in_blank" in kinds:
        blanks = _prepare(arguments, "fill_in_blank", **options)[split]
        found.blanks, found.right = [Question.of(row) for row in blanks], blanks["right_answers"][:]
    if "compatibility" in kinds:
        lines = _prepare(arguments, "compatibility", **options)[split]
        found.lines, found.labels = [tuple(items) for items in lines["item_ids"][:]], lines["label"][:]
    return _askable(arguments, found, set(outfits.ids)) if arguments.records and outfits else found


def _askable(arguments: OutfitData, questions: OutfitQuestions, known: set[str]) -> OutfitQuestions:
    """The questions whose items are known.

    Raises:
        ValueError: there are others and `missing` is "error", or none is left.
    """
    blanks = [known.issuperset((*blank.items, *blank.answers)) for blank in questions.blanks]
    lines = [known.issuperset(line) for line in questions.lines]
    lost = blanks.count(False) + lines.count(False)
    if not lost:
        return questions
    named = [(*q.items, *q.answers) for q in questions.blanks] + questions.lines
    absent = list(dict.fromkeys(item for items in named for item in items if item not in known))
    message = (
        f"{lost:,} of {len(named):,} questions of {arguments.data_dir} name items that the shards of "
        f"{arguments.records} lack: {first_few(absent, 3)}"
    )
    if arguments.missing == "error" or (blanks and not any(blanks)) or (lines and not any(lines)):
        raise ValueError(f"{message}. Write the shards again from the same label files, or pass --missing skip")
    logger.warning("%s; they are left out", message)
    return OutfitQuestions(
        list(compress(questions.blanks, blanks)),
        list(compress(questions.right, blanks)),
        list(compress(questions.lines, lines)),
        list(compress(questions.labels, lines)),
    )


def _prepare(arguments: OutfitData, content: str, **options: Any) -> Any:
    from data_scripts.polyvore import Polyvore
    from data_scripts.polyvore_outfits import PolyvoreOutfits
    from data_scripts.prepare import prepare

    if arguments.dataset == "polyvore":
        return prepare(Polyvore, content, arguments.data_dir, **options)
    variant = "disjoint" if arguments.disjoint else "nondisjoint"
    return prepare(PolyvoreOutfits, f"{variant}-{content}", arguments.data_dir, **options)


def identities_of(outfits: Outfits) -> list[int]:
    """A number for every item, equal for equal pictures; without photos, for equal names of one category."""
    if outfits.pictures is None:
        keys: list[Any] = [
            (text, category) if text else item
            for item, text, category in zip(outfits.ids, outfits.texts, outfits.categories, strict=True)
        ]
    else:
        keys = [picture_digest(picture) for picture in outfits.pictures]
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def picture_digest(picture: str | bytes | os.PathLike) -> bytes:
    """Equal for equal files."""
    content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    return hashlib.sha256(content).digest()[:16]


def own_vocabulary(texts: Sequence[str], least: int) -> list[str]:
    """Lower-case words of at least `least` texts, the most frequent first, then by letters.

    Words are what stands between ASCII blanks, as in the original: a no-break space is a part of its word.

    Raises:
        ValueError: no word is frequent enough.
    """
    from modeling.bilstm.processing_bilstm import WORD

    counts = Counter(word for text in texts for word in set(re.findall(WORD, text.lower())))
    words = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    if not words and any(texts):
        raise ValueError(f"no word is in {least} of {len(texts)} names; lower --min_word_count")
    return words


def vocabulary_of(arguments: OutfitData, train: Outfits) -> list[str]:
    """The word list that was asked for, that of the data set, or the training names' own."""
    from data_scripts.polyvore import read_vocabulary

    path = vocabulary_file(arguments)
    return list(read_vocabulary(path)) if path else own_vocabulary(train.texts, arguments.min_word_count)


def vocabulary_file(arguments: OutfitData) -> Path | None:
    """The word list that was asked for, or that of the data set; None where neither is there."""
    if arguments.vocabulary:
        return Path(arguments.vocabulary)
    path = Path(arguments.data_dir) / "final_word_dict.txt"
    return path if path.is_file() else None


@torch.no_grad()
def pooled_features(model: Any, processor: Any, outfits: Outfits, cache: Path, batch_size: int) -> torch.Tensor:
    """(items, F) features of the image network, in evaluation mode, each picture encoded once.

    Args:
        cache: folder that keeps them, by network and pictures; a second run reads them.
    """
    from safetensors.torch import load_file, save_file

    from train.engine.feature_bank import encoder_digest
    from train.engine.images import bad_images_error, prepared_images, processor_settings, settings_digest

    first: dict[int, int] = {}
    for place, identity in enumerate(outfits.identities):
        first.setdefault(identity, place)
    digest = hashlib.sha256(encoder_digest(model, frozen_part=lambda name: name.startswith("vision_")).encode())
    digest.update(settings_digest(processor_settings(processor.image_processor)))
    for place in first.values():
        digest.update(picture_digest(outfits.pictures[place]))
    file = cache / f"{outfits.split}-{digest.hexdigest()[:16]}.safetensors"
    if file.is_file():
        features = load_file(file)["features"]
    else:
        model.eval()
        problems: list[str] = []
        rows: list[torch.Tensor] = []
        waiting: list[np.ndarray] = []
        device = next(model.parameters()).device

        def flush() -> None:
            if waiting:
                pixels = processor.image_processor.normalize(np.stack(waiting)).to(device)
                rows.append(model.get_pooled_features(pixels).float().cpu())
                waiting.clear()

        bar = tqdm(total=len(first), unit="picture", desc=f"{outfits.split} features", mininterval=1)
        for _, pixels in prepared_images(list(first.values()), outfits.pictures, processor.image_processor, problems):
            if pixels is not None:
                waiting.append(pixels)
            if len(waiting) == batch_size:
                flush()
            bar.update()
        bar.close()
        if problems:
            named = [f"{outfits.ids[int(p.split(':')[0])]}:{p.partition(':')[2]}" for p in problems]
            raise bad_images_error(named, len(first))
        flush()
        features = torch.cat(rows)
        cache.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.partial")
        save_file({"features": features}, partial)
        partial.replace(file)
    order = {identity: row for row, identity in enumerate(first)}
    return features[torch.tensor([order[identity] for identity in outfits.identities])]


class OutfitRows:
    """Map-style data set of outfits for the training loop: (number of the outfit, epoch)."""

    def __init__(self, outfits: Outfits) -> None:
        self.outfits, self.epoch = outfits, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.outfits)

    def __getitem__(self, row: int) -> tuple[int, int]:
        return row, self.epoch


class OutfitCollate:
    """From outfits to a batch of (B, N, ...), N the configuration's `max_items`, short outfits filled with their last item.

    Args:
        outfits: of the split. processor: for texts and pictures.
        features: (items, F) of the frozen image network; None: pictures are prepared here, in every step.
        max_items: N. texts: whether the batch has words. flip: probability of mirroring a picture. seed: of the run.
    """

    def __init__(
        self,
        outfits: Outfits,
        processor: Any,
        features: torch.Tensor | None,
        max_items: int,
        texts: bool,
        flip: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.outfits, self.processor, self.features = outfits, processor, features
        self.max_items, self.flip, self.seed = max_items, flip, seed
        self.words = processor(text=outfits.texts, return_tensors="pt")["input_ids"] if texts else None  # (items, W)
        self.identities = torch.tensor(outfits.identities)

    def __call__(self, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        places = torch.zeros(len(rows), self.max_items, dtype=torch.long)
        mask = torch.zeros(len(rows), self.max_items, dtype=torch.bool)
        for number, (row, _) in enumerate(rows):
            items = self.outfits.outfits[row][: self.max_items]
            places[number] = torch.tensor(items + items[-1:] * (self.max_items - len(items)))
            mask[number, : len(items)] = True
        batch = {"item_mask": mask, "identities": self.identities[places]}
        if self.features is not None:
            batch["image_features"] = self.features[places]
        elif self.outfits.pictures is not None:
            batch["pixel_values"] = self._pixels(rows, places)
        if self.words is not None:
            ids = self.words[places] * mask[..., None]
            batch |= {"input_ids": ids, "attention_mask": (ids != 0).long()}
        return batch

    def _pixels(self, rows: list[tuple[int, int]], places: torch.Tensor) -> torch.Tensor:
        from data_scripts.images import open_image
        from train.engine.batches import row_generator

        pictures = []
        for (row, epoch), outfit in zip(rows, places.tolist(), strict=True):
            mirrored = torch.rand(len(outfit), generator=row_generator(self.seed, epoch, row)) < self.flip
            for place, flipped in zip(outfit, mirrored.tolist(), strict=True):
                source = self.outfits.pictures[place]
                name = self.outfits.ids[place] if isinstance(source, bytes) else None
                picture = self.processor.image_processor.prepare(open_image(source, name))
                pictures.append(picture[:, ::-1] if flipped else picture)
        pixels = self.processor.image_processor.normalize(np.ascontiguousarray(np.stack(pictures)))
        return pixels.unflatten(0, places.shape)


def unknown_word_note(processor: Any, texts: Sequence[str]) -> str:
    """How many words of the texts the vocabulary lacks, and the first of them."""
    lost = Counter(word for text in texts for word in processor.unknown_words(text))
    if not lost:
        return ""
    names = first_few([word for word, _ in lost.most_common()], 5)
    return (
        f"{sum(lost.values())} of {sum(len(text.split()) for text in texts)} words are not in the vocabulary ({names})"
    )
