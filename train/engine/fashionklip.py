"""FashionKLIP's training: where it starts from, what stands in a batch, and the prototypes of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from train.engine.arguments import nearest
from train.engine.clip4cir import DEFAULT_TOKENIZER, HUB_BACKBONES, fast_layout, fitting_tokenizer, from_scratch
from train.engine.clip4cir import normalisation as normalisation_of
from train.engine.fashionklip_arguments import StartArguments
from train.engine.prototypes import select_prototypes, select_sharded
from train.engine.weights import whole_model
from train.retrieval.image_text import right_rows


def starting_model(arguments: StartArguments, captions: list[str]) -> tuple[Any, Any]:
    """Model and processor to train from.

    Args:
        arguments: the program's arguments.
        captions: training captions, from which a tokenizer is made when there is none to start from.

    Returns:
        (FashionKLIPModel, FashionKLIPProcessor)

    Raises:
        ValueError: none or several starting points; an unknown backbone.
        FileNotFoundError: a file that does not exist.
    """
    from modeling.fashionklip import (
        FashionKLIPConfig,
        FashionKLIPImageProcessor,
        FashionKLIPModel,
        FashionKLIPProcessor,
    )

    names = ("model", "backbone", "clip_checkpoint", "architecture")
    chosen = [name for name in names if getattr(arguments, name)]
    if len(chosen) != 1:
        raise ValueError(
            f"give exactly one starting point, --{', --'.join(names)}; got {', '.join('--' + n for n in chosen) or 'none'}"
        )
    transform = {"transform": arguments.transform} if arguments.transform else {}
    if arguments.model:
        model = whole_model(FashionKLIPModel, arguments.model)
        processor = FashionKLIPProcessor.from_pretrained(arguments.model)
        settings = {**processor.image_processor.to_dict(), **transform}
        processor.image_processor = FashionKLIPImageProcessor.from_dict(settings)
        processor.official_truncation |= arguments.official_truncation
        return fast_layout(model), processor
    if arguments.architecture:
        model, tokenizer = from_scratch(arguments, captions, FashionKLIPConfig, FashionKLIPModel)
    else:
        model = _from_clip(arguments)
        name = arguments.tokenizer or _own_tokenizer(arguments) or DEFAULT_TOKENIZER
        tokenizer = fitting_tokenizer(name, model.config.text_config)
    image_processor = FashionKLIPImageProcessor(
        size=model.config.image_size, **transform, **normalisation_of(arguments.vision_weights)
    )
    processor = FashionKLIPProcessor(image_processor, tokenizer, official_truncation=arguments.official_truncation)
    return fast_layout(model), processor


def _from_clip(arguments: StartArguments) -> Any:
    from modeling.fashionklip import FashionKLIPModel
    from modeling.fashionklip.convert_fashionklip import from_clip, load_official

    if arguments.clip_checkpoint:
        if not Path(arguments.clip_checkpoint).exists():
            raise FileNotFoundError(f"--clip_checkpoint {arguments.clip_checkpoint}: no such file or folder")
        return load_official(arguments.clip_checkpoint)
    from transformers import AutoConfig, CLIPModel

    name = arguments.backbone
    if name not in HUB_BACKBONES and "/" not in name and not Path(name).is_dir():
        known = list(HUB_BACKBONES)
        raise ValueError(f"--backbone {name}: neither {', '.join(known)} nor a folder{nearest(name, known)}")
    source = HUB_BACKBONES.get(name, name)
    kind = AutoConfig.from_pretrained(source).model_type
    if kind == "fashionklip":
        return whole_model(FashionKLIPModel, source)
    if kind != "clip":
        raise ValueError(f"--backbone {name} is a {kind} model; expected a clip model")
    return from_clip(whole_model(CLIPModel, source))


def _own_tokenizer(arguments: StartArguments) -> str | None:
    """Where the tokenizer lies that came with the weights; None where none did."""
    folder = arguments.clip_checkpoint
    if folder:
        return folder if (Path(folder) / "tokenizer_config.json").is_file() else None
    return arguments.backbone if arguments.backbone not in HUB_BACKBONES else None


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate before step `step` (from 0): a line up to 1, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for the optimizer: without decay the norms, the biases and the logit scale, with decay all else.

    The original finds them by "bn", "ln", "bias" and "logit_scale" in OpenAI's names; by kind of module it is the same
    parameters, under any names.
    """
    norms = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.modules.batchnorm._BatchNorm)
    kept = {id(p) for m in model.modules() if isinstance(m, norms) for p in m.parameters(recurse=False)}
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]

    def without(name: str, parameter: torch.nn.Parameter) -> bool:
        return id(parameter) in kept or name.endswith(("bias", "logit_scale"))

    return [
        {"params": [p for n, p in trained if without(n, p)], "weight_decay": 0.0},
        {"params": [p for n, p in trained if not without(n, p)], "weight_decay": weight_decay},
    ]


class PairCollate:
    """From rows to a batch; captions padded to the longest of the batch, equal prompts of concepts encoded once.

    Args:
        processor: of the model.
        pixels: serves `batch(ids, augmentation=, epoch=, indices=)`.
        augmentation: random views, or None.
        slots: concepts per pair; 0 for captions alone.
    """

    def __init__(self, processor: Any, pixels: Any, augmentation: Any, slots: int) -> None:
        self.processor, self.pixels, self.augmentation, self.slots = processor, pixels, augmentation, slots

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = dict(self.processor(text=[row["text"] for row in rows], return_tensors="pt"))
        seeds = {"epoch": rows[0]["epoch"], "indices": [row["row"] for row in rows], "augmentation": self.augmentation}
        batch["pixel_values"] = self.pixels.batch([row["image_id"] for row in rows], **seeds)
        batch["group"] = torch.tensor([row["group"] for row in rows])
        if self.slots:
            batch |= self._concepts(rows)
        return batch

    def _concepts(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        place: dict[tuple[str, int], int] = {}
        places = torch.full((len(rows), self.slots), 0)
        numbers = torch.full((len(rows), self.slots), -1)
        for i, row in enumerate(rows):
            for slot, (phrase, number) in enumerate(zip(row["phrases"], row["numbers"], strict=True)):
                places[i, slot] = place.setdefault((phrase, number), len(place))
                numbers[i, slot] = number
        prompts = [phrase for phrase, _ in place] or [""]  # a share without concepts still takes part
        return {
            **self.processor(concepts=prompts, return_tensors="pt"),
            "prompt_number": torch.tensor([number for _, number in place] or [-1]),
            "concept_place": places,
            "concept_number": numbers,
        }


class Slots:
    """Phrases and numbers of a pair's slots: the data's concepts, then those of the knowledge base.

    Args:
        pairs: the training pairs.
        data, kb: the two tables; numbers of the second follow those of the first.
        width: slots of each list.
        use_kb: whether the second list is used.
        depth: generations of fathers that fill up short lists.
        official: the original's slots, see `concept_slots.OfficialSlots`.
    """

    def __init__(self, pairs: Any, data: Any, kb: Any, width: int, use_kb: bool, depth: int, official: bool) -> None:
        from train.engine import concept_slots as rules

        number_of: dict[int, int] = {}
        lists: list[tuple[list[str], list[str]]] = []
        self.list_of: list[int] = []  # pair -> its caption's lists
        for phrases, match in zip(pairs.phrases, pairs.match_phrases, strict=True):
            if id(phrases) not in number_of:
                number_of[id(phrases)] = len(lists)
                kept = rules.data_phrases(phrases, match, data.numbers)
                lists.append((kept, rules.kb_phrases(match, kb.numbers)))
            self.list_of.append(number_of[id(phrases)])
        self.lists = lists
        self.width, self.use_kb, self.offset = width, use_kb, len(data.prompts)
        if official:
            firsts, seconds = ([own[k] for own in lists] for k in (0, 1))
            self.readers = [
                rules.OfficialSlots(firsts, kb.fathers, data.numbers),
                rules.OfficialSlots(seconds, data.fathers, kb.numbers),
            ]
        else:
            # What one file doesn't know of, the other may.
            fathers = (kb.fathers | data.fathers, data.fathers | kb.fathers)
            self.chosen = [
                [
                    rules.concept_slots(part, above, table.numbers, width, depth)
                    for part, above, table in zip(own, fathers, (data, kb), strict=True)
                ]
                for own in lists
            ]
        self.tables, self.official = (data, kb), official

    def __call__(self, row: int) -> tuple[list[str], list[int]]:
        phrases: list[str] = []
        numbers: list[int] = []
        for k in range(2 if self.use_kb else 1):
            if self.official:
                mine, found = self.readers[k].read(self.list_of[row])
                found = [n if n < 0 else n + k * self.offset for n in found]
            else:
                mine = self.chosen[self.list_of[row]][k]
                found = [self.tables[k].numbers[p] + k * self.offset for p in mine]
                padding = self.width - len(mine)
                mine, found = mine + [""] * padding, found + [-1] * padding
            phrases += mine
            numbers += found
        return phrases, numbers

    def coverage(self) -> dict[str, float]:
        """Share of pairs with at least one concept, and mean number of concepts of a pair."""
        lists = [self.lists[n][0] + (self.lists[n][1] if self.use_kb else []) for n in self.list_of]
        return {
            "with_concepts": sum(map(bool, lists)) / max(1, len(lists)),
            "concepts_per_pair": sum(map(len, lists)) / max(1, len(lists)),
        }


class EpochPrototypes:
    """The prototypes that an epoch trains with; saved with every checkpoint, so that a resumed epoch keeps them.

    Args:
        choose: from nothing to (features of the pool (N, D), indices (C, P) into them).
    """

    def __init__(self, choose: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.choose, self.epoch = choose, -1
        self.features, self.indices = torch.empty(0, 0), torch.empty(0, 0, dtype=torch.int64)

    def refresh(self, epoch: int) -> None:
        """Choose anew, unless this epoch's are there already."""
        if epoch == self.epoch:
            return
        features, indices = self.choose()
        used, self.indices = indices.clamp(min=0).unique(return_inverse=True)
        self.indices = self.indices.masked_fill(indices < 0, -1)
        self.features, self.epoch = features[used].clone(), epoch

    def lookup(self, numbers: torch.Tensor) -> torch.Tensor:
        """(n, K) concept numbers -> (n, K, P, D), zeros for the number -1."""
        rows = self.indices[numbers.clamp(min=0).cpu()]  # (n, K, P)
        absent = (rows < 0) | (numbers.cpu() < 0)[..., None]
        return self.features[rows.clamp(min=0)].masked_fill(absent[..., None], 0.0).to(numbers.device)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "features": self.features, "indices": self.indices}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.features, self.indices = state["epoch"], state["features"], state["indices"]


@torch.no_grad()
def choose_prototypes(
    model: Any,
    processor: Any,
    prompts: Sequence[str],
    pixels: Any,
    pool_ids: Sequence[str],
    batch_size: int,
    shards: int = 1,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode pool and prompts with the model as it is, on all processes, and choose.

    Args:
        model: not wrapped by DDP.
        processor: of the model.
        prompts: one per concept.
        pixels, pool_ids: the pool.
        batch_size: pictures per forward pass.
        shards: above 1, search as the original does with so many processes.
        options: of `select_prototypes`.

    Returns:
        features: (N, D) float32, length one, on the CPU. indices: (C, P).
    """
    from train.retrieval.encode import encode_pixels, encode_texts

    normalise = torch.nn.functional.normalize
    images = normalise(encode_pixels(model, pixels, pool_ids, batch_size=batch_size), dim=-1)
    concepts = normalise(encode_texts(model, processor, prompts, batch_size=batch_size, progress=False), dim=-1)
    if shards == 1:
        return images, select_prototypes(concepts, images, **options).indices
    parts = [[_sampler_shard(n, shards, k) for k in range(shards)] for n in (len(concepts), len(images))]
    return images, select_sharded(concepts, images, *parts, **options).indices


def _sampler_shard(rows: int, shards: int, shard: int) -> list[int]:
    """Rows that PyTorch's distributed sampler with seed 0 gives to one process, as in the original."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0)).tolist()
    missing = -rows % shards
    order += (order * -(-missing // max(1, rows)))[:missing]  # a few rows may be needed several times
    return order[shard::shards]


class PairValidation:
    """Recall of a validation split in both directions, and the original's validation loss.

    A picture is a right answer to a caption when one of its own captions has the same text (`retrieval/same-title`).

    Args:
        pairs: the split, with open pixels.
        processor: of the model.
        batch_size: pairs of a batch of the validation loss.
    """

    def __init__(self, pairs: Any, processor: Any, batch_size: int) -> None:
        self.pairs, self.processor, self.batch_size = pairs, processor, batch_size
        self.ids = list(dict.fromkeys(pairs.image_ids))
        self.texts = list(dict.fromkeys(pairs.texts))
        row_of = {image_id: row for row, image_id in enumerate(self.ids)}
        number = {text: row for row, text in enumerate(self.texts)}
        self.image_of = [row_of[i] for i in pairs.image_ids]
        self.text_of = [number[t] for t in pairs.texts]
        owners: dict[str, list[str]] = {}
        for image_id, text in zip(pairs.image_ids, pairs.texts, strict=True):
            owners.setdefault(image_id, []).append(text)
        image_owner = [tuple(owners[image_id]) for image_id in self.ids]
        self.right_images = right_rows(pairs.texts, image_owner)
        self.right_texts = right_rows(image_owner, pairs.texts)

    @torch.no_grad()
    def figures(self, model: Any) -> dict[str, float]:
        """Recalls at 1, 5, 10 in percent, their mean, and the loss; every process gets the same."""
        from train.retrieval.encode import encode_pixels, encode_texts
        from train.retrieval.ranking import ranks_of_targets

        normalise = torch.nn.functional.normalize
        images = normalise(encode_pixels(model, self.pairs.pixels, self.ids), dim=-1)
        texts = normalise(encode_texts(model, self.processor, self.texts, progress=False), dim=-1)
        figures = {}
        every_text = texts[self.text_of]  # a caption that stands at several pairs is there as often
        to_image = ranks_of_targets(every_text, images, self.right_images)
        to_text = ranks_of_targets(images, every_text, self.right_texts)
        for name, ranks in (("text_to_image", to_image), ("image_to_text", to_text)):
            figures |= {f"{name}_recall_at{k}": 100 * (ranks < k).double().mean().item() for k in (1, 5, 10)}
        figures["mean_recall"] = sum(figures.values()) / len(figures)
        figures["loss"] = self._loss(images, texts, model.logit_scale.detach().float().exp().cpu())
        return figures

    def _loss(self, images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> float:
        """Contrastive loss of consecutive batches, averaged by their sizes (the last one may be short)."""
        total = 0.0
        pairs = list(zip(self.image_of, self.text_of, strict=True))
        for start in range(0, len(pairs), self.batch_size):
            image_rows, text_rows = map(list, zip(*pairs[start : start + self.batch_size], strict=True))
            # Every process has all features, so nothing is gathered: the rows go in as one block.
            logits = scale * images[image_rows] @ texts[text_rows].T
            labels = torch.arange(len(logits))
            both = torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(
                logits.T, labels
            )
            total += both.item() / 2 * len(logits)
        return total / len(pairs)
