"""Prototype pictures of concepts: by a model's features, or, without a model, by the captions that name the concept."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from data_scripts.concepts.building import Record
from data_scripts.concepts.graph import Caption, Prototype

Select = Callable[..., Any]


def load_encoders(name: str, revision: str | None, trust_remote_code: bool, device: str) -> tuple[Any, Any]:
    """Model with `get_image_features` and `get_text_features`, and its processor; a plain CLIP becomes a FashionKLIP.

    Raises:
        FileNotFoundError: no such model. ValueError: a model that encodes no texts, incomplete weights, or a tokenizer
            without words.
    """
    from transformers import CLIPModel, CLIPTokenizer, PreTrainedConfig

    from train.engine.weights import whole_model
    from train.retrieval.loading import load_model

    try:
        settings, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except OSError:
        settings = {}  # load_model says what is wrong
    if settings.get("model_type") != "clip":
        model, processor = load_model(name, revision, trust_remote_code, device)
        if not hasattr(model, "get_text_features"):
            raise ValueError(
                f"{name}: a {type(model).__name__} has no get_text_features; give FashionKLIP, CLIP4Cir or CLIP"
            )
        return model, processor
    from modeling.fashionklip import FashionKLIPImageProcessor, FashionKLIPProcessor
    from modeling.fashionklip.convert_fashionklip import from_clip

    model = from_clip(whole_model(CLIPModel, name, revision=revision)).to(device).eval()
    tokenizer = CLIPTokenizer.from_pretrained(name, revision=revision)
    return model, FashionKLIPProcessor(FashionKLIPImageProcessor(size=model.config.image_size), tokenizer)


def pictures_by_model(
    phrases: Sequence[str],
    image_ids: Sequence[str],
    concept_features: Tensor,
    image_features: Tensor,
    candidates: int = 20,
    prototypes: int = 10,
    diversity: float = 0.8,
    min_score: float | None = None,
    concept_categories: Mapping[str, str] | None = None,
    image_categories: Mapping[str, str] | None = None,
    select: Select | None = None,
) -> dict[str, list[Prototype]]:
    """The most similar and yet diverse pictures of every concept.

    Args:
        phrases: C concepts. image_ids: N pictures. concept_features: (C, D). image_features: (N, D); any length.
        candidates, prototypes, diversity: of the selection (see train/engine/prototypes.py).
        min_score: pictures below this cosine are left out.
        concept_categories, image_categories: with both, a concept only gets pictures of its own category, where it has
            one that pictures have.
        select: `select_prototypes`, or what stands in for it.

    Returns:
        Phrase -> pictures in order of choice, each with its cosine to the concept.
    """
    if select is None:
        from train.engine.prototypes import select_prototypes as select
    concepts = torch.nn.functional.normalize(concept_features.float(), dim=-1)
    images = torch.nn.functional.normalize(image_features.float(), dim=-1)
    found: dict[str, list[Prototype]] = {phrase: [] for phrase in phrases}
    for own, pool in _groups(phrases, image_ids, concept_categories, image_categories):
        chosen = select(
            concepts[own],
            images[pool],
            candidates=min(candidates, len(pool)),
            prototypes=min(prototypes, len(pool)),
            diversity=diversity,
        )
        for concept, places in zip(own.tolist(), chosen.indices.tolist(), strict=True):
            rows = [int(pool[place]) for place in places if place >= 0]
            cosines = (images[rows] @ concepts[concept]).tolist()
            found[phrases[concept]] = [
                Prototype(image_ids[row], cosine)
                for row, cosine in zip(rows, cosines, strict=True)
                if min_score is None or cosine >= min_score
            ]
    return found


def _groups(
    phrases: Sequence[str],
    image_ids: Sequence[str],
    concept_categories: Mapping[str, str] | None,
    image_categories: Mapping[str, str] | None,
) -> Iterable[tuple[Tensor, Tensor]]:
    """(rows of concepts, rows of the pictures that they may get), together all concepts once."""
    everything = torch.arange(len(image_ids))
    if not concept_categories or not image_categories:
        yield torch.arange(len(phrases)), everything
        return
    pools: dict[str, list[int]] = {}
    for row, image_id in enumerate(image_ids):
        pools.setdefault(image_categories.get(image_id, ""), []).append(row)
    groups: dict[str, list[int]] = {}
    for row, phrase in enumerate(phrases):
        category = concept_categories.get(phrase, "")
        groups.setdefault(category if category in pools else "", []).append(row)
    for category, rows in groups.items():
        yield torch.tensor(rows), torch.tensor(pools[category]) if category else everything


def pictures_by_caption(
    phrases: Iterable[str], captions: Iterable[Caption], images: Iterable[str], prototypes: int = 10
) -> dict[str, list[Prototype]]:
    """Pictures whose caption holds the concept, those first whose caption says little else.

    The score is the concept's part of the caption's words. A caption gives one picture, so that many photos of one
    product don't fill the list.
    """
    there = frozenset(images)
    best: dict[str, list[tuple[float, int, str]]] = {phrase: [] for phrase in phrases}
    seen: set[tuple[str, str]] = set()
    for number, caption in enumerate(captions):
        picture = next((item for item in caption.item_ids if item in there), None)
        if picture is None:
            continue
        length = max(1, len(caption.text.split()))
        for phrase in caption.phrases:
            if phrase not in best or (phrase, caption.text) in seen:
                continue
            seen.add((phrase, caption.text))
            one = (min(1.0, (phrase.count(" ") + 1) / length), -number, picture)
            push = heapq.heappush if len(best[phrase]) < prototypes else heapq.heappushpop
            push(best[phrase], one)
    return {
        phrase: [Prototype(item, score) for score, _, item in sorted(rows, reverse=True)]
        for phrase, rows in best.items()
    }


def categories_of_images(records: Iterable[Record]) -> dict[str, str]:
    """Image id -> category of its product."""
    return {item: record.category for record in records for item in record.item_ids if record.category}
