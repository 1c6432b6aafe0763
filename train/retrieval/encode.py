"""Features of galleries and texts for evaluation and search: each picture and each text encoded once, in batches.

With several processes, whole batches are dealt out in turn and the features gathered. The batches are those that one
process would form, so every process ends with the same features, and they are the features of a one-process run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.engine.gather import gather_rows_no_grad, process_count, process_rank

AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def encode_images(
    model: Any,
    processor: Any,
    ids: Sequence[str],
    sources: Mapping[str, Any],
    *,
    batch_size: int = 32,
    num_workers: int | None = None,
    precision: str = "no",
    progress: bool = True,
) -> tuple[list[str], Tensor]:
    """Raw image features, one row per distinct id.

    Args:
        model: has `get_image_features(pixel_values) -> (batch, D)`; its device is used, its mode restored.
        processor: processor of the model, or its image processor.
        ids: image ids; a repeated id is encoded once.
        sources: id -> path, encoded bytes, or a {"bytes", "path"} row.
        batch_size: pictures per forward pass. num_workers: decoding threads, None for one per core.
        precision: "no" (float32), "bf16" or "fp16" autocast. progress: show a bar on the main process.

    Returns:
        ids: the distinct ids in order of first appearance. features: (n, D) float32 on the CPU.

    Raises:
        ValueError: pictures that cannot be read, all of them named; a bad argument.
    """
    from train.engine.images import bad_images_error, prepared_images

    ids = list(dict.fromkeys(ids))
    unknown = [image_id for image_id in ids if image_id not in sources]
    if unknown:
        raise ValueError(f"{len(unknown)} images have no file, first: {', '.join(unknown[:3])}")
    images = _image_processor(processor)
    batches = _batches(range(len(ids)), batch_size)
    mine = _own_share(batches)
    problems: list[str] = []

    def pixel_batches() -> Iterator[Tensor | None]:
        prepared = prepared_images([ids[i] for batch in mine for i in batch], sources, images, problems, num_workers)
        for batch in mine:
            arrays = [next(prepared)[1] for _ in batch]
            # After the first bad picture nothing is encoded any more, but the rest is read: all bad ones are named.
            yield None if problems else images.normalize(np.stack(arrays))

    def encode(pixels: Tensor | None) -> Tensor | None:
        return None if pixels is None else model.get_image_features(pixels.to(model.device))

    features = _encode(model, encode, pixel_batches(), mine, len(batches), precision, progress, "images", problems)
    if problems:
        raise bad_images_error(problems, len(ids))
    return ids, _in_order(features, mine, batches)


def encode_pixels(
    model: Any,
    pixels: Any,
    ids: Sequence[str],
    *,
    batch_size: int = 32,
    precision: str = "no",
    progress: bool = False,
) -> Tensor:
    """Raw image features of pictures that are already decoded.

    Args:
        model: as in :func:`encode_images`.
        pixels: a :class:`train.engine.images.PixelStore`: `batch(ids)` gives (n, 3, d, d).
        ids: image ids, each encoded where it stands. Other arguments: as :func:`encode_images`.

    Returns:
        (len(ids), D) float32 on the CPU.
    """
    batches = _batches(range(len(ids)), batch_size)
    mine = _own_share(batches)
    inputs = (pixels.batch([ids[i] for i in batch]) for batch in mine)

    def encode(values: Tensor) -> Tensor:
        return model.get_image_features(values.to(model.device))

    features = _encode(model, encode, inputs, mine, len(batches), precision, progress, "images", [])
    return _in_order(features, mine, batches)


def encode_texts(
    model: Any,
    processor: Any,
    texts: Sequence[str],
    *,
    batch_size: int = 128,
    precision: str = "no",
    progress: bool = True,
) -> Tensor:
    """Raw text features, one row per text; equal texts are encoded once.

    Texts are sorted by length and each batch is padded to its own longest, which changes nothing but the time.

    Args:
        model: has `get_text_features(input_ids, attention_mask) -> (batch, D)`.
        processor: called as `processor(text=[...], return_tensors="pt")`, pads on the right.
        texts: any strings. Other arguments: as :func:`encode_images`.

    Returns:
        (len(texts), D) float32 on the CPU.
    """
    if not len(texts):
        raise ValueError("no texts to encode")
    distinct = list(dict.fromkeys(texts))
    lengths = [len(ids) for ids in processor(text=distinct, padding=False)["input_ids"]]
    by_length = sorted(range(len(distinct)), key=lengths.__getitem__)
    batches = _batches(by_length, batch_size)
    mine = _own_share(batches)

    def token_batches() -> Iterator[dict[str, Tensor]]:
        for batch in mine:
            yield dict(processor(text=[distinct[i] for i in batch], return_tensors="pt"))

    def encode(tokens: dict[str, Tensor]) -> Tensor:
        return model.get_text_features(**{name: tensor.to(model.device) for name, tensor in tokens.items()})

    features = _encode(model, encode, token_batches(), mine, len(batches), precision, progress, "texts", [])
    row = {text: i for i, text in enumerate(distinct)}
    return _in_order(features, mine, batches)[torch.tensor([row[text] for text in texts])]


def encode_pairs(
    model: Any,
    processor: Any,
    pixels: Any,
    ids: Sequence[str],
    texts: Sequence[str],
    function: Callable[..., Tensor],
    *,
    batch_size: int = 32,
    precision: str = "no",
) -> Tensor:
    """Whatever a model makes of a picture and a text together, one row per pair.

    Args:
        pixels, ids: as in :func:`encode_pixels`, or :class:`PicturesOnDemand`; ids and texts stand in pairs.
        processor: tokenises the texts, padding on the right.
        function: called as `function(model, pixel_values=, input_ids=, attention_mask=)`, gives (batch, ...).
        Other arguments: as :func:`encode_images`.

    Returns:
        (pairs, ...) float32 on the CPU.
    """
    batches = _batches(range(len(ids)), batch_size)
    mine = _own_share(batches)

    def inputs() -> Iterator[dict[str, Tensor]]:
        for batch in mine:
            tokens = dict(processor(text=[texts[i] for i in batch], return_tensors="pt"))
            yield {"pixel_values": pixels.batch([ids[i] for i in batch]), **tokens}

    def encode(values: dict[str, Tensor]) -> Tensor:
        return function(model, **{name: tensor.to(model.device) for name, tensor in values.items()})

    features = _encode(model, encode, inputs(), mine, len(batches), precision, False, "pairs", [])
    return _in_order(features, mine, batches)


class PicturesOnDemand:
    """Decodes pictures when a batch of them is asked for: `batch(ids)` of a catalogue that nothing is stored of.

    Args:
        processor: processor of the model, or its image processor.
        sources: id -> path, encoded bytes, or a {"bytes", "path"} row.
        num_workers: decoding threads, None for one per core.
    """

    def __init__(self, processor: Any, sources: Mapping[str, Any], num_workers: int | None = None) -> None:
        self.images, self.sources, self.num_workers = _image_processor(processor), sources, num_workers

    def batch(self, ids: Sequence[str]) -> Tensor:
        """(n, 3, d, d) normalised.

        Raises:
            ValueError: pictures of the batch that cannot be read, all of them named.
        """
        from train.engine.images import bad_images_error, prepared_images

        problems: list[str] = []
        distinct = list(dict.fromkeys(ids))
        prepared = dict(prepared_images(distinct, self.sources, self.images, problems, self.num_workers))
        if problems:
            raise bad_images_error(problems, len(distinct))
        return self.images.normalize(np.stack([prepared[image_id] for image_id in ids]))


def composer(model: Any, batch_size: int = 1024, precision: str = "no") -> Callable[[Tensor, Tensor], Tensor]:
    """The model's `compose` over any number of rows: raw (Q, D), (Q, D) on the CPU -> normalised (Q, D) float32.

    Batches are small enough for the hidden layer of a large Combiner.
    """

    def compose(image_features: Tensor, text_features: Tensor) -> Tensor:
        parts = []
        with _inference(model, precision):
            for rows in torch.arange(len(image_features)).split(batch_size):
                images = image_features[rows].to(model.device, model.dtype)
                texts = text_features[rows].to(model.device, model.dtype)
                parts.append(model.compose(images, texts).float().cpu())
        # A half-precision query is not of length one to float32's last digits.
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    return compose


def _encode(
    model: Any,
    encode: Callable[[Any], Tensor | None],
    inputs: Iterable[Any],
    mine: list[list[int]],
    total: int,
    precision: str,
    progress: bool,
    noun: str,
    problems: list[str],
) -> Tensor:
    """Features of this process's batches, gathered from all processes: (rows, D) in order of processes."""
    from tqdm import tqdm

    parts = []
    bar = tqdm(total=total, desc=f"encode {noun}", unit="batch", disable=not progress or process_rank() > 0)
    with _inference(model, precision), bar:
        for batch in inputs:
            features = encode(batch)
            if features is not None:
                parts.append(features.detach().float().cpu())
            # Batches are dealt out in turn, so the other processes are about as far.
            bar.update(min(process_count() if len(mine) < total else 1, total - bar.n))
    problems[:] = _from_all(problems)
    if problems:
        return torch.empty(0)
    own = torch.cat(parts)
    if len(mine) == total:
        return own
    return gather_rows_no_grad(own.to(model.device)).cpu()


def _in_order(features: Tensor, mine: list[list[int]], batches: list[list[int]]) -> Tensor:
    """Undo the dealing out and the sorting: row i is input i."""
    processes = 1 if len(mine) == len(batches) else process_count()
    dealt = [i for rank in range(processes) for batch in batches[rank::processes] for i in batch]
    ordered = torch.empty_like(features)
    ordered[torch.tensor(dealt)] = features
    return ordered


def _batches(indices: Sequence[int], size: int) -> list[list[int]]:
    if size < 1:
        raise ValueError(f"batch size must be at least 1, got {size}")
    if len(indices) == 0:
        raise ValueError("nothing to encode")
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def _own_share(batches: list[list[int]]) -> list[list[int]]:
    """This process's batches. Fewer batches than processes: everybody encodes everything, nothing is gathered."""
    if len(batches) < process_count():
        return batches
    return batches[process_rank() :: process_count()]


def _from_all(problems: list[str]) -> list[str]:
    """Problems of all processes, so that all of them stop with the same message."""
    if process_count() == 1:
        return problems
    lists: list[list[str]] = [[] for _ in range(process_count())]
    torch.distributed.all_gather_object(lists, problems)
    return list(dict.fromkeys(problem for part in lists for problem in part))


@contextmanager
def _inference(model: Any, precision: str) -> Iterator[None]:
    if precision not in AUTOCAST:
        raise ValueError(f"precision must be one of {', '.join(AUTOCAST)}, got {precision!r}")
    was_training = model.training
    model.eval()
    kind = AUTOCAST[precision]
    try:
        with torch.no_grad(), torch.autocast(model.device.type, dtype=kind, enabled=kind is not None):
            yield
    finally:
        model.train(was_training)


class _PixelsOnce:
    """Gives any image processor the two steps of the project's own: decode and size in a thread, normalise in bulk."""

    def __init__(self, image_processor: Any) -> None:
        self.image_processor = image_processor

    def prepare(self, image: Any) -> np.ndarray:
        return np.asarray(self.image_processor(images=[image.convert("RGB")], return_tensors="np")["pixel_values"][0])

    def normalize(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels)


def _image_processor(processor: Any) -> Any:
    images = getattr(processor, "image_processor", processor)
    return images if hasattr(images, "prepare") and hasattr(images, "normalize") else _PixelsOnce(images)
