"""Opening product photos, with errors that name the file.

Rows of the builders hold an image as a path or as bytes. `open_image` decodes it completely and keeps its own mode:
CMYK, palette, 16-bit, alpha and EXIF orientation are the image processor's business. A damaged file is an error, not a
grey area: Pillow's LOAD_TRUNCATED_IMAGES stays off.

    image = open_image(row["reference_image"])        # a path, bytes, {"path", "bytes"} or a PIL image
    problems = check_images(paths)                    # [(path, "truncated ..."), ...]
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

# What Pillow's decoders raise on damaged data, beside OSError.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

ImageSource = str | os.PathLike | bytes | dict[str, Any] | Image.Image


def open_image(source: ImageSource, name: str | None = None) -> Image.Image:
    """Open and decode one image; the first frame of an animation.

    Args:
        source: a path, the bytes of an image file, `{"path", "bytes"}` as `datasets.Image(decode=False)` gives, or a
            PIL image.
        name: what messages call it; the path when left out.

    Returns:
        The decoded image in its own mode; no file stays open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no image, zero bytes, truncated, damaged, or not an image file.
    """
    if isinstance(source, Image.Image):
        return _decode(source, name or getattr(source, "filename", "") or "image")
    if isinstance(source, dict):
        name = name or source.get("path")
        source = source.get("bytes") if source.get("bytes") is not None else source.get("path")
    if source is None:
        raise ValueError(f'{name or "this row"} has no image; was the data set prepared with images="absent"?')
    if isinstance(source, bytes):
        return _open(io.BytesIO(source), len(source), name or f"image of {len(source):,} bytes")

    path = os.fspath(source)
    name = name or path
    if not os.path.exists(path):
        raise FileNotFoundError(f"image not found: {name}; put it there, or check data_dir")
    if not os.path.isfile(path):
        raise ValueError(f"{name}: expected an image file, this is a folder")
    with open(path, "rb") as file:
        return _open(file, os.path.getsize(path), name)


def _open(file: Any, size: int, name: str) -> Image.Image:
    if size == 0:
        raise ValueError(f"{name}: the image file has zero bytes; copy it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large photo; twice that is an error
            image = Image.open(file)
    except UnidentifiedImageError as error:
        raise ValueError(f"{name}: not an image file that Pillow can read ({size:,} bytes); replace it") from error
    except _DAMAGE as error:
        raise ValueError(f"{name}: damaged image ({error}); copy it again") from error
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except _DAMAGE as error:
        raise ValueError(f"{name}: truncated or damaged image ({error}); copy it again") from error
    return image


def check_images(sources: Iterable[ImageSource], workers: int = 8) -> list[tuple[str, str]]:
    """Decode every image and list those that cannot be used, in the order given.

    Args:
        sources: paths, or `{"path", "bytes"}`; each is decoded once per mention.
        workers: threads. Pillow decodes outside the interpreter lock, so they run side by side.

    Returns:
        (path, problem) for each bad one; empty when all is well. A progress bar is shown from 1,000 images on.
    """
    sources = list(sources)
    problems: list[tuple[str, str]] = []
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(sources), unit=" images", disable=len(sources) < 1000) as bar,
    ):
        rest = iter(sources)
        while block := list(islice(rest, 4096)):  # so that a million files do not queue at once
            for source, problem in zip(block, pool.map(_problem, block), strict=True):
                if problem:
                    problems.append((str(source.get("path") if isinstance(source, dict) else source), problem))
                bar.update()
    return problems


def _problem(source: ImageSource) -> str | None:
    try:
        open_image(source).close()
    except (ValueError, OSError) as error:
        return str(error)
    return None
