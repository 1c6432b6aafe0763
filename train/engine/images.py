"""Preprocessed pictures, decoded once: a memory-mapped uint8 store, and the augmentations applied to its rows.

Decoding and resizing a photo costs more than everything else a small model does with it, and gives the same pixels
in every epoch. `PixelStore` does it once. Normalisation stays outside, for it is cheap and quadruples the size.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from PIL import Image
from tqdm import tqdm

from data_scripts.images import open_image

FORMAT = 1  # raised when stored bytes of equal settings would change
Source = str | os.PathLike | bytes | Mapping[str, Any]


def as_path_or_bytes(source: Source) -> str | os.PathLike | bytes:
    """A path or the file's content; also from the {"bytes", "path"} rows of `datasets.Image(decode=False)`."""
    if isinstance(source, Mapping):
        return source["bytes"] if source.get("bytes") is not None else source["path"]
    return source


def image_fingerprint(image_id: str, source: Source) -> bytes:
    """16 bytes that change with the picture: of its content, or of id, name, size and time of change for a path."""
    source = as_path_or_bytes(source)
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).digest()
    # The id is part of it because folders of numbered files may agree in everything else; the folder is not, because a
    # data set that was moved is still the same.
    identity = f"{image_id}\0{Path(source).name}"
    try:
        stat = os.stat(source)
        identity += f"\0{stat.st_size}\0{stat.st_mtime_ns}"
    except OSError:
        identity += "\0missing"  # reported with all other bad files when it is opened
    return hashlib.blake2b(identity.encode(), digest_size=16).digest()


def processor_settings(image_processor: Any) -> dict[str, Any]:
    """What decides the pixels: the processor's saved settings and the code version of what is stored."""
    settings = image_processor.to_dict()
    ignored = ("processor_class", "auto_map", "_processor_class")
    return {"format": FORMAT, **{name: value for name, value in settings.items() if name not in ignored}}


def settings_digest(settings: Any) -> bytes:
    """16 bytes of a JSON-able object, independent of the order of its keys."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def default_workers() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bad_images_error(problems: Sequence[str], total: int) -> ValueError:
    """One error for all pictures that cannot be read."""
    listed = "\n".join(f"  {problem}" for problem in problems)
    return ValueError(
        f"{len(problems)} of {total} images cannot be used:\n{listed}\n"
        "Replace these files or remove their rows from the data set, then start again; what is done is kept"
    )


def prepared_images(
    ids: Sequence[str],
    sources: Mapping[str, Source],
    image_processor: Any,
    problems: list[str],
    workers: int | None = None,
) -> Iterator[tuple[str, np.ndarray | None]]:
    """Yields (id, uint8 (d, d, 3)) in order, decoded ahead by threads; None for a picture whose problem was noted.

    Pillow releases the interpreter while it decodes and resizes, so threads are enough. At most four pictures per
    thread wait, whatever the number of ids.
    """
    workers = workers or default_workers()

    def prepare(image_id: str) -> np.ndarray:
        return image_processor.prepare(open_image(as_path_or_bytes(sources[image_id])))

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        upcoming = iter(ids)
        try:
            while True:
                while len(waiting) < 4 * workers and (image_id := next(upcoming, None)) is not None:
                    waiting.append((image_id, pool.submit(prepare, image_id)))
                if not waiting:
                    return
                image_id, result = waiting.popleft()
                try:
                    pixels = result.result()
                except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError) as error:
                    # Pillow reports damaged files by all of these.
                    reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
                    problems.append(f"{image_id}: {reason}")
                    pixels = None
                yield image_id, pixels
        finally:
            for _, result in waiting:
                result.cancel()


@dataclass(frozen=True)
class Augmentation:
    """Random views of a stored picture, drawn from (seed, epoch, index, role) and nothing else.

    The global generators are not touched, so a resumed run sees the same views, and prefetching changes nothing.

    Attributes:
        flip: probability of a horizontal mirror image. Captions that speak of left and right become wrong with it.
        shift: largest move per axis as a part of the side; border pixels are repeated.
        min_area: a random crop covers between this part and all of the area, is cut where it would leave the
            picture, and is resized to the side by bicubic interpolation.
        max_ratio: width to height of the crop lies between 1 / max_ratio and max_ratio.
        seed: of the run.
    """

    flip: float = 0.5
    shift: float = 0.0
    min_area: float = 1.0
    max_ratio: float = 1.0
    seed: int = 0

    def __post_init__(self):
        for name, low, high in (("flip", 0, 1), ("shift", 0, 0.5), ("min_area", 0.01, 1), ("max_ratio", 1, 4)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"augmentation {name} is {getattr(self, name)}, expected {low} <= {name} <= {high}")
        if self.seed < 0:
            raise ValueError(f"augmentation seed is {self.seed}, expected 0 or more")

    def __call__(self, pixels: np.ndarray, epoch: int, index: int, role: int = 0) -> np.ndarray:
        """One view of `pixels` (d, d, 3) uint8; `role` tells one sample's pictures apart (reference 0, target 1)."""
        rng = np.random.default_rng((self.seed, epoch, index, role))
        draws = rng.random(7)  # always the same number: turning one option on leaves the others' draws alone
        side = pixels.shape[0]
        if self.min_area < 1 or self.max_ratio > 1:
            area = self.min_area + (1 - self.min_area) * draws[0]
            ratio = self.max_ratio ** (2 * draws[1] - 1)
            width, height = (min(side * (area * r) ** 0.5, side) for r in (ratio, 1 / ratio))
            left, top = (side - width) * draws[2], (side - height) * draws[3]
            box = (left, top, left + width, top + height)
            pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box=box))
        if self.shift:
            reach = int(self.shift * side)
            x, y = (int(round((2 * draw - 1) * reach)) for draw in draws[4:6])
            padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
            pixels = padded[reach + y : reach + y + side, reach + x : reach + x + side]
        if draws[6] < self.flip:
            pixels = pixels[:, ::-1]
        return pixels


class PixelStore:
    """Pixels of `image_processor.prepare` by image id: `batch(ids)` equals calling the image processor, bit for bit.

    store = PixelStore.build("cache/pixels", {"B001": "images/B001.jpg"}, processor.image_processor)
    pixel_values = store.batch(["B001"])  # (1, 3, d, d) float32, normalised
    """

    def __init__(self, ids: Sequence[str], pixels: np.ndarray, image_processor: Any):
        self.ids = list(ids)
        self.image_processor = image_processor
        self._pixels = pixels
        self._rows = {image_id: row for row, image_id in enumerate(self.ids)}

    @classmethod
    def build(
        cls,
        folder: str | os.PathLike | None,
        sources: Mapping[str, Source],
        image_processor: Any,
        *,
        name: str = "pixels",
        workers: int | None = None,
        progress: bool = True,
    ) -> PixelStore:
        """Opens the store in `folder`, building it first when it is absent or stale.

        It is stale when ids, processor settings, or size, name or time of a file (content, for bytes) differ.
        Building writes beside and renames; the one process of a machine that builds should do it under
        `main_process_first()`.

        Args:
            folder: place of `<name>-<key>.npy` and `<name>.json`; None keeps the pixels in memory (3 d^2 bytes per
                picture).
            sources: path, bytes, or {"bytes", "path"} row by image id.
            image_processor: with `prepare`, `normalize`, `to_dict`.
            name: two stores of one folder need two names.
            workers: decoding threads, None for one per core.
        Raises:
            ValueError: pictures that cannot be read, all of them in one list.
        """
        ids = list(sources)
        if not ids:
            raise ValueError("a pixel store needs at least one image, the mapping of sources is empty")
        shape = (len(ids), *image_processor.prepare(Image.new("RGB", (8, 8))).shape)
        if folder is None:
            pixels = np.empty(shape, dtype=np.uint8)
            cls._fill(pixels, ids, sources, image_processor, workers, progress)
            return cls(ids, pixels, image_processor)

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.blake2b(settings_digest(processor_settings(image_processor)), digest_size=16)
        for image_id in ids:
            digest.update(image_id.encode() + b"\0" + image_fingerprint(image_id, sources[image_id]))
        key = digest.hexdigest()
        index, data = folder / f"{name}.json", folder / f"{name}-{key[:16]}.npy"
        known = cls._read_index(index)
        if known is None or known.get("key") != key or not data.is_file():
            partial = data.with_suffix(f".{os.getpid()}.partial")
            try:
                pixels = open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
                cls._fill(pixels, ids, sources, image_processor, workers, progress)
                pixels.flush()
                del pixels
                os.replace(partial, data)
            finally:
                partial.unlink(missing_ok=True)
            written = index.with_suffix(f".{os.getpid()}.partial")
            written.write_text(json.dumps({"key": key, "file": data.name, "ids": ids}))
            os.replace(written, index)  # the moment at which the new store replaces the old one
            if known and known.get("file") not in (None, data.name):
                (folder / known["file"]).unlink(missing_ok=True)  # processes that have it mapped keep reading it
        return cls(ids, np.load(data, mmap_mode="r"), image_processor)

    @staticmethod
    def _read_index(index: Path) -> dict | None:
        try:
            return json.loads(index.read_text())
        except (OSError, ValueError):
            return None

    @staticmethod
    def _fill(pixels, ids, sources, image_processor, workers, progress) -> None:
        problems: list[str] = []
        stream = prepared_images(ids, sources, image_processor, problems, workers)
        for row, (_, prepared) in enumerate(tqdm(stream, "images", len(ids), unit="image", disable=not progress)):
            if prepared is not None and not problems:
                pixels[row] = prepared
        if problems:
            raise bad_images_error(problems, len(ids))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._rows

    def __getstate__(self) -> dict:
        state = dict(self.__dict__)
        if isinstance(self._pixels, np.memmap):  # a loader's worker opens the file instead of receiving gigabytes
            state["_pixels"] = Path(self._pixels.filename)
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if isinstance(self._pixels, Path):
            self._pixels = np.load(self._pixels, mmap_mode="r")

    def uint8(self, ids: Sequence[str]) -> np.ndarray:
        """(n, d, d, 3) stored pixels, a copy.

        Raises:
            ValueError: ids that the store does not hold.
        """
        missing = [image_id for image_id in ids if image_id not in self._rows]
        if missing:
            raise ValueError(
                f"{len(missing)} images are not in the store, the first are {missing[:5]}; build it with them"
            )
        return np.array(self._pixels[[self._rows[image_id] for image_id in ids]])

    def batch(
        self,
        ids: Sequence[str],
        *,
        augmentation: Augmentation | None = None,
        epoch: int = 0,
        indices: Sequence[int] | None = None,
        role: int = 0,
    ) -> torch.Tensor:
        """(n, 3, d, d) float32, normalised as the image processor does.

        Args:
            ids: n image ids.
            augmentation: random views instead of the stored pixels; then `indices` are needed.
            epoch: of the training loop, part of the seed.
            indices: n positions in the data set, part of the seed.
            role: 0 for reference images, 1 for target images, part of the seed.
        """
        pixels = self.uint8(ids)
        if augmentation is not None:
            if indices is None or len(indices) != len(ids):
                raise ValueError(
                    "augmented views are seeded by the position in the data set: give one index per image id"
                )
            pixels = np.stack(
                [augmentation(own, epoch, int(index), role) for own, index in zip(pixels, indices, strict=True)]
            )
        return self.image_processor.normalize(pixels)
