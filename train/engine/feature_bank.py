"""Stage 2 from stored features: frozen encoders run once per picture and text, not once per triplet and epoch.

CLIP4Cir's Combiner training (arXiv 2308.11485, section 3.2) encodes both pictures of every triplet again in every step,
although CLIP is frozen. Its randomness lies in the choice among four forms of a FashionIQ caption, so all forms are
encoded and the training loop still draws one per triplet and epoch.

A bank is two tables, images and texts, each one safetensors file: `keys` (rows, 16) uint8, a fingerprint of what was
encoded, and `features` (rows, dim) float32. A text's fingerprint is of its token ids, so vocabulary and cleaning
rules are in it. File names hold a digest of everything else that decides a feature: encoder weights and
configuration, image processor settings, precision. So a row is right or absent, whatever changed:

- equal texts are encoded once, however many triplets have them;
- a build that was killed continues with the shards it had written, on any number of processes;
- ten new products cost ten encodings, a changed photo one, another encoder all.

Features equal those of encoding on the fly up to rounding: matrix products of another batch size or padding sum in
another order, which moves last bits (1e-6 relative in float32). The pixels and token ids encoded are the same bits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from train.engine.gather import process_count, process_rank
from train.engine.images import (
    PixelStore,
    Source,
    bad_images_error,
    image_fingerprint,
    prepared_images,
    processor_settings,
    settings_digest,
)

FORMAT = 1
logger = logging.getLogger(__name__)


def encoder_digest(model: torch.nn.Module, *, frozen_part: Callable[[str], bool] | None = None) -> str:
    """Hex digest of the weights and configuration that features depend on.

    Args:
        model: with `config`.
        frozen_part: says for a state-dict or configuration name whether features depend on it. None: everything but the
            Combiner and the logit scale, which no feature of CLIP4Cir passes through.
    """
    frozen_part = frozen_part or (lambda name: not name.startswith(("combiner", "logit_scale")))
    digest = hashlib.blake2b(digest_size=16)
    incidental = (
        "transformers_version",
        "auto_map",
        "architectures",
        "dtype",
        "initializer_range",
        "id2label",
        "label2id",
    )

    def content(config: Any) -> Any:
        if isinstance(config, dict):
            kept = {k: v for k, v in config.items() if k not in incidental and k[:1] != "_" and v is not None}
            return {name: content(value) for name, value in kept.items()}
        return config

    config = {name: value for name, value in content(model.config.to_dict()).items() if frozen_part(name)}
    digest.update(settings_digest(config))
    for name, tensor in sorted(model.state_dict().items()):
        if frozen_part(name):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


class _Table:
    """Rows found by fingerprint; the main file and the shards of an unfinished build have one format."""

    def __init__(self, folder: Path, name: str):
        self.path = folder / f"{name}.safetensors"
        self.parts = folder / f"{name}.parts"

    def _files(self) -> list[Path]:
        parts = sorted(self.parts.glob("*.safetensors")) if self.parts.is_dir() else []
        return [self.path] * self.path.is_file() + parts

    @staticmethod
    def _keys(path: Path) -> list[bytes]:
        with safe_open(path, framework="np") as file:
            return [key.tobytes() for key in file.get_tensor("keys")]

    def known(self) -> set[bytes]:
        return {key for path in self._files() for key in self._keys(path)}

    def add_part(self, keys: Sequence[bytes], features: torch.Tensor) -> None:
        """Writes one shard; its name is its content's, so that two processes never write one file."""
        self.parts.mkdir(parents=True, exist_ok=True)
        path = self.parts / f"{hashlib.blake2b(b''.join(keys), digest_size=8).hexdigest()}.safetensors"
        partial = path.with_suffix(f".{os.getpid()}.partial")
        rows = torch.from_numpy(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16).copy())
        save_file({"keys": rows, "features": features.contiguous()}, partial)
        os.replace(partial, path)

    def merge(self) -> None:
        """Joins the shards to the main file, existing rows first and in place, with one shard in memory at a time."""
        files = self._files()
        if files in ([], [self.path]):
            return
        taken: set[bytes] = set()
        chosen: list[tuple[Path, list[int]]] = []
        keys = bytearray()
        for path in files:
            fresh = []
            for row, key in enumerate(self._keys(path)):
                if key not in taken:
                    taken.add(key)
                    fresh.append(row)
                    keys += key
            chosen.append((path, fresh))
        with safe_open(files[0], framework="np") as file:
            dim = file.get_slice("features").get_shape()[1]
        count = len(taken)
        # The format is eight bytes of header length, a JSON header, and the tensors one after the other: written by
        # hand, because the library's writer wants the whole table in memory.
        boundary = 4 * count * dim
        header = {
            "features": {"dtype": "F32", "shape": [count, dim], "data_offsets": [0, boundary]},
            "keys": {"dtype": "U8", "shape": [count, 16], "data_offsets": [boundary, boundary + 16 * count]},
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        try:
            with open(partial, "wb") as out:
                out.write(struct.pack("<Q", len(text)) + text)
                for path, fresh in chosen:
                    with safe_open(path, framework="np") as file:
                        rows = file.get_slice("features")
                        for first in range(0, len(fresh), 4096):
                            part = fresh[first : first + 4096]
                            block = rows[part[0] : part[-1] + 1]  # fresh rows ascend
                            out.write(np.ascontiguousarray(block[np.asarray(part) - part[0]], dtype="<f4").tobytes())
                out.write(keys)
            os.replace(partial, self.path)
        finally:
            partial.unlink(missing_ok=True)
        for path in files:
            if path != self.path:
                path.unlink()
        shutil.rmtree(self.parts, ignore_errors=True)

    def rows(self, keys: Sequence[bytes]) -> list[int]:
        """Row of each fingerprint in the main file."""
        position = {key: row for row, key in enumerate(self._keys(self.path))} if keys else {}
        return [position[key] for key in keys]

    def fingerprints(self, rows: Sequence[int]) -> list[bytes]:
        """The inverse of `rows`."""
        keys = self._keys(self.path) if rows else []
        return [keys[row] for row in rows]

    def features(self) -> torch.Tensor:
        """(rows, dim) float32, mapped from the file: pages are read when they are looked up."""
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor("features")


class _Encoder:
    """The frozen model in evaluation mode, and what it does with one batch of pictures or texts."""

    def __init__(self, model, processor, autocast: torch.dtype | None):
        self.model, self.processor, self.autocast = model, processor, autocast
        self.device = next(model.parameters()).device

    def images(self, pixels: np.ndarray) -> torch.Tensor:
        """(n, d, d, 3) uint8 -> (n, dim)."""
        pixel_values = self.processor.image_processor.normalize(pixels).to(self.device)
        with torch.no_grad(), torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            return self.model.get_image_features(pixel_values).float().cpu()

    def texts(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """n texts as ids -> (n, dim), padded to the longest of them as the processor pads."""
        width = max(map(len, token_ids))
        input_ids = torch.full((len(token_ids), width), self.processor.tokenizer.pad_token_id or 0)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(token_ids):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            attention_mask[row, : len(ids)] = 1
        with torch.no_grad(), torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            features = self.model.get_text_features(input_ids.to(self.device), attention_mask.to(self.device))
        return features.float().cpu()


class FeatureBank:
    """Features of images by id, and of texts by triplet and caption form.

        bank = FeatureBank.build("cache/bank", model, processor, {"B001": "images/B001.jpg"}, [caption_forms(c1, c2)])
        output = model(image_features=bank.images(["B001"]), text_features=bank.texts([0], [2]), target_features=...)

    Attributes:
        image_ids: ids in the order given to `build`.
        key: hex digest of all that decides the bank's content: encoder, settings, pictures, texts.
        encoded: how many pictures and texts this process's build encoded, {"images": 0, "texts": 0} when all were
            there.
    """

    def __init__(
        self,
        image_features: torch.Tensor,
        image_rows: Mapping[str, int],
        text_features: torch.Tensor,
        text_rows: torch.Tensor,
        key: str,
        encoded: Mapping[str, int],
    ):
        self._image_features, self._image_rows = image_features, dict(image_rows)
        self._text_features, self._text_rows = text_features, text_rows
        self.image_ids, self.key, self.encoded = list(image_rows), key, dict(encoded)

    @property
    def dim(self) -> int:
        """Size of a feature."""
        return (self._image_features if len(self._image_features) else self._text_features).shape[1]

    @property
    def forms(self) -> int:
        """Forms per caption: 4 for FashionIQ, 1 for CIRR."""
        return self._text_rows.shape[1]

    @classmethod
    def build(
        cls,
        folder: str | os.PathLike,
        model: torch.nn.Module,
        processor: Any,
        image_sources: Mapping[str, Source],
        captions: Sequence[Sequence[str]],
        *,
        name: str = "bank",
        pixel_store: PixelStore | None = None,
        batch_size: int = 32,
        rows_per_shard: int = 1024,
        workers: int | None = None,
        autocast: torch.dtype | None = None,
        progress: bool = True,
    ) -> FeatureBank:
        """Encodes what `folder` does not hold yet and opens the bank. All processes call it; each encodes a part.

        Args:
            folder: on a disk that all processes see. May be deleted at any time, it is a cache.
            model: CLIP4CirModel (or another with `config`, `get_image_features`, `get_text_features`), not wrapped
                by DDP.
            processor: turns texts into ids, and holds `image_processor` (`prepare`, `normalize`).
            image_sources: path, bytes or {"bytes", "path"} row by image id.
            captions: per triplet the forms of its caption, the same number for all: 4 for FashionIQ, 1 for CIRR.
            name: of the index that `load` opens; banks of several splits share one folder and its tables.
            pixel_store: decoded pictures of the same image processor, instead of decoding them here.
            batch_size: pictures per forward pass; texts take four times as many.
            rows_per_shard: features per file of an unfinished build, which is what a kill can cost each process.
            workers: decoding threads, None for one per core.
            autocast: encode in that type (the original: float16 on a GPU); stored as float32. None: the model's own.
            progress: bars on the main process.
        Raises:
            ValueError: unreadable pictures (all in one list, what was encoded is kept), captions with different
                numbers of forms, a pixel store of another image processor, sizes out of range. On every process.
        """
        counts = {len(forms) for forms in captions}
        if len(counts) > 1 or 0 in counts:
            raise ValueError(
                f"every triplet needs the same number of caption forms, at least one; found {sorted(counts)}"
            )
        for option, value in (("batch_size", batch_size), ("rows_per_shard", rows_per_shard)):
            if value < 1:
                raise ValueError(f"{option} is {value}, expected at least 1")
        settings = processor_settings(processor.image_processor)
        if pixel_store is not None and processor_settings(pixel_store.image_processor) != settings:
            raise ValueError(
                "the pixel store was made by an image processor with other settings: build it with this one"
            )

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        forms = counts.pop() if counts else 1
        encoder = [FORMAT, encoder_digest(model), str(autocast)]
        text_key = settings_digest(encoder).hex()[:16]
        image_key = settings_digest([*encoder, settings]).hex()[:16]
        images, texts = _Table(folder, f"images-{image_key}"), _Table(folder, f"texts-{text_key}")
        image_keys = {image_id: image_fingerprint(image_id, source) for image_id, source in image_sources.items()}
        token_ids = _token_ids(processor, captions)
        text_keys = {text: _fingerprint_of_ids(ids) for text, ids in token_ids.items()}

        # Listed by every process before any writes: what is missing, and so who encodes what, has to be agreed upon.
        missing_images = _without_repeats(image_keys, images.known())
        missing_texts = _without_repeats(text_keys, texts.known())
        missing_texts.sort(key=lambda text: len(token_ids[text]))  # neighbours of one length: next to no padding
        _wait_for_all_processes()

        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        stage = _Encoder(model, processor, autocast)
        encoded = {"images": 0, "texts": 0}
        problems: list[str] = []
        crash: Exception | None = None
        try:
            own = _part_of_this_process(missing_images, rows_per_shard)
            stream = _pixel_batches(own, image_sources, processor, pixel_store, problems, batch_size, workers)
            encode = lambda batch: (batch[0], stage.images(batch[1]))  # noqa: E731
            encoded["images"] = _fill(
                images, image_keys, map(encode, stream), len(own), rows_per_shard, "image features", progress
            )
            own = _part_of_this_process(missing_texts, rows_per_shard)
            size = 4 * batch_size
            batches = (own[first : first + size] for first in range(0, len(own), size))
            pairs = ((batch, stage.texts([token_ids[text] for text in batch])) for batch in batches)
            encoded["texts"] = _fill(texts, text_keys, pairs, len(own), rows_per_shard, "text features", progress)
        except Exception as error:  # raised below, after the other processes know: they would wait forever
            crash = error
        finally:
            for module, training in modes:
                module.training = training
        _raise_together(crash, problems, len(image_sources))

        index = folder / f"{name}.json"
        if process_rank() == 0:
            images.merge()
            texts.merge()
            logger.info("%d new image and %d new text features in %s", len(missing_images), len(missing_texts), folder)
            partial = index.with_suffix(f".{os.getpid()}.partial")
            caption_keys = [text_keys[text] for caption in captions for text in caption]
            description = {
                "format": FORMAT,
                "images": images.path.stem,
                "texts": texts.path.stem,
                "image_ids": list(image_keys),
                "image_rows": images.rows(list(image_keys.values())),
                "forms": forms,
                "text_rows": texts.rows(caption_keys),
            }
            description["key"] = _content_key(description, list(image_keys.values()), caption_keys)
            partial.write_text(json.dumps(description))
            os.replace(partial, index)
        _wait_for_all_processes()
        bank = cls.load(folder, name=name)
        bank.encoded = encoded
        return bank

    @classmethod
    def load(cls, folder: str | os.PathLike, *, name: str = "bank") -> FeatureBank:
        """Opens a finished bank as it is, without a model: nothing is checked against pictures, texts or weights.

        Raises:
            FileNotFoundError: no finished bank of that name.
            ValueError: files that are damaged or of another format.
        """
        folder = Path(folder)
        index = folder / f"{name}.json"
        if not index.is_file():
            raise FileNotFoundError(f"no feature bank {index}; FeatureBank.build makes one")
        try:
            description = json.loads(index.read_text())
            if description["format"] != FORMAT:
                raise ValueError(f"its format is {description['format']}, expected {FORMAT}")
            tables, keys = {}, {}
            for kind, rows in (("images", description["image_rows"]), ("texts", description["text_rows"])):
                table = _Table(folder, description[kind])
                tables[kind] = table.features() if rows else torch.empty(0, 0)
                keys[kind] = table.fingerprints(rows)
            if _content_key(description, keys["images"], keys["texts"]) != description["key"]:
                raise ValueError("its rows hold other pictures or texts than its index says")
        except Exception as error:
            raise ValueError(
                f"feature bank {index} cannot be read ({error}); delete {folder} and build it again"
            ) from error
        text_rows = torch.tensor(description["text_rows"], dtype=torch.int64).view(-1, description["forms"])
        image_rows = dict(zip(description["image_ids"], description["image_rows"], strict=True))
        encoded = {"images": 0, "texts": 0}
        return cls(tables["images"], image_rows, tables["texts"], text_rows, description["key"], encoded)

    def to(self, device: torch.device | str) -> FeatureBank:
        """The bank with both tables copied to a device: lookups then happen there. 2.5 KB per feature at D = 640."""
        tables = (self._image_features.to(device), self._text_features.to(device))
        return FeatureBank(tables[0], self._image_rows, tables[1], self._text_rows, self.key, self.encoded)

    def __len__(self) -> int:
        """Number of triplets."""
        return len(self._text_rows)

    def images(self, ids: Sequence[str]) -> torch.Tensor:
        """(n, dim) raw float32 features of n images.

        Raises:
            ValueError: ids that the bank does not hold.
        """
        missing = [image_id for image_id in ids if image_id not in self._image_rows]
        if missing:
            raise ValueError(
                f"{len(missing)} images are not in the bank, the first are {missing[:5]}; build it with them"
            )
        rows = torch.tensor([self._image_rows[image_id] for image_id in ids], dtype=torch.int64)
        return self._image_features[rows.to(self._image_features.device)]

    def texts(self, rows: Sequence[int] | torch.Tensor, forms: Sequence[int] | torch.Tensor | int = 0) -> torch.Tensor:
        """(n, dim) raw float32 features of n captions.

        Args:
            rows: n positions in the `captions` given to `build`.
            forms: n form numbers, or one for all.
        Raises:
            ValueError: positions or forms that do not exist.
        """
        rows = torch.as_tensor(rows, dtype=torch.int64).cpu()
        forms = torch.as_tensor(forms, dtype=torch.int64).cpu().expand_as(rows)
        for what, values, count in (("triplet", rows, len(self)), ("caption form", forms, self.forms)):
            if values.numel() and not (0 <= int(values.min()) and int(values.max()) < count):
                raise ValueError(
                    f"{what} numbers from {int(values.min())} to {int(values.max())}, the bank has {count}"
                )
        return self._text_features[self._text_rows[rows, forms].to(self._text_features.device)]


def _token_ids(processor: Any, captions: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Ids of every distinct text, exactly those that the processor gives, without padding."""
    distinct = list(dict.fromkeys(text for caption in captions for text in caption))
    ids: dict[str, list[int]] = {}
    for first in range(0, len(distinct), 1024):
        part = distinct[first : first + 1024]
        tokens = processor(text=part)
        for text, row, mask in zip(part, tokens["input_ids"], tokens["attention_mask"], strict=True):
            ids[text] = list(row[: sum(mask)])
    return ids


def _fingerprint_of_ids(ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(np.asarray(ids, dtype="<i8").tobytes(), digest_size=16).digest()


def _content_key(description: Mapping[str, Any], image_keys: Sequence[bytes], caption_keys: Sequence[bytes]) -> str:
    """Digest of everything the bank says, from the fingerprints that stand in its rows."""
    identity = [description[name] for name in ("format", "images", "texts", "image_ids", "forms")]
    content = hashlib.blake2b(settings_digest(identity), digest_size=16)
    content.update(b"".join(image_keys) + b"".join(caption_keys))
    return content.hexdigest()


def _without_repeats(keys: Mapping[str, bytes], known: set[bytes]) -> list[str]:
    """Names whose fingerprint is not known, one per fingerprint, in order."""
    first: dict[bytes, str] = {}
    for name, key in keys.items():
        if key not in known:
            first.setdefault(key, name)
    return list(first.values())


def _part_of_this_process(names: list[str], rows_per_shard: int) -> list[str]:
    """Every process-count-th run of names; runs are at most a shard long, and short enough that all have work."""
    run = max(1, min(rows_per_shard, -(-len(names) // process_count())))
    mine = range(process_rank() * run, len(names), process_count() * run)
    return [name for first in mine for name in names[first : first + run]]


def _pixel_batches(
    ids: list[str],
    sources: Mapping[str, Source],
    processor: Any,
    pixel_store: PixelStore | None,
    problems: list[str],
    batch_size: int,
    workers: int | None,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """(ids, uint8 (n, d, d, 3)) batches, decoded ahead; unreadable pictures are noted and left out."""
    if pixel_store is not None:
        for first in range(0, len(ids), batch_size):
            part = ids[first : first + batch_size]
            yield part, pixel_store.uint8(part)
        return
    part, pixels = [], []
    for image_id, prepared in prepared_images(ids, sources, processor.image_processor, problems, workers):
        if prepared is None:
            continue
        part.append(image_id)
        pixels.append(prepared)
        if len(part) == batch_size:
            yield part, np.stack(pixels)
            part, pixels = [], []
    if part:
        yield part, np.stack(pixels)


def _fill(
    table: _Table,
    keys: Mapping[str, bytes],
    encoded: Iterator[tuple[list[str], torch.Tensor]],
    total: int,
    rows_per_shard: int,
    title: str,
    progress: bool,
) -> int:
    """Collects encoded batches into shards and writes each when it is full."""
    count, names, features = 0, [], []

    def write() -> None:
        table.add_part([keys[name] for name in names], torch.cat(features))
        names.clear()
        features.clear()

    with tqdm(total=total, desc=title, disable=not progress or process_rank() != 0 or not total) as bar:
        for batch, rows in encoded:
            if not torch.isfinite(rows).all():
                raise ValueError(
                    f"{title} of {batch[:3]}... are not finite: the encoder's weights or precision are broken"
                )
            names += batch
            features.append(rows)
            count += len(batch)
            bar.update(len(batch))
            if len(names) >= rows_per_shard:
                write()
    if names:
        write()
    return count


def _wait_for_all_processes() -> None:
    if process_count() > 1:
        dist.barrier()


def _raise_together(crash: Exception | None, problems: list[str], total: int) -> None:
    """Raises on all processes what happened on any; a process that left alone would let the others wait forever."""
    reports = [(None if crash is None else f"{type(crash).__name__}: {crash}", problems)]
    if process_count() > 1:
        reports = [None] * process_count()
        dist.all_gather_object(reports, (None if crash is None else f"{type(crash).__name__}: {crash}", problems))
    if crash is not None:
        raise crash
    listed = [problem for _, found in reports for problem in found]
    if listed:
        raise bad_images_error(listed, total)
    for rank, (text, _) in enumerate(reports):
        if text is not None:
            raise RuntimeError(f"building the feature bank failed on process {rank}: {text}")
