"""Image archives of FashionKLIP: `.npz` files that hold one preprocessed picture per member.

A member is named by the image's id and holds float32 (3, side, side), resized, cropped and normalised already. The
released pool of 50,000 pictures would take 30 GB as one array, so members are read when they are asked for. Other
floating types become float32; whole numbers are refused, since they can only be pixels that nobody normalised.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_scripts.source_files import first_few

SUFFIX = ".npy"


class NpzImages:
    """Pictures of one or several archives by id, in the order of the archives and their members.

    images = NpzImages("val.224.npz")
    images["12"]                    # (3, 224, 224) float32
    images.batch(["12", "13"])      # (2, 3, 224, 224) float32

    Attributes:
        ids: strings, as the members are named.

    Raises:
        FileNotFoundError: an archive does not exist.
        ValueError: it is not an npz file or cut off, or an id is in it twice.
    """

    def __init__(self, paths: str | os.PathLike | Sequence[str | os.PathLike]) -> None:
        paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        if not paths:
            raise ValueError("no archive of images was given; expected one or more .npz files")
        self.paths = [Path(path) for path in paths]
        self._where: dict[str, int] = {}
        self._open: dict[int, zipfile.ZipFile] = {}
        self._lock, self._process = threading.Lock(), os.getpid()
        self._shape: tuple[int, ...] | None = None
        for number, path in enumerate(self.paths):
            if not path.is_file():
                raise FileNotFoundError(
                    f"no image archive at {path}; put it there (layout: data_scripts/fashionklip_files.py)"
                )
            for name in self._archive(number).namelist():
                image_id = name.removesuffix(SUFFIX)
                if image_id in self._where:
                    other = self.paths[self._where[image_id]]
                    raise ValueError(f"{path}: image {image_id!r} is there twice, also in {other}; keep one of them")
                self._where[image_id] = number

    @property
    def ids(self) -> list[str]:
        return list(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._where

    def __repr__(self) -> str:
        return f"{first_few([str(path) for path in self.paths], 3)} ({len(self):,} images)"

    def __getitem__(self, image_id: str) -> np.ndarray:
        """(3, side, side) float32.

        Raises:
            KeyError: no such id.
            ValueError: a damaged member, or one of another type or shape than the rest.
        """
        if image_id not in self._where:
            raise KeyError(f"image {image_id!r} is in no archive; archives: {self!r}")
        number = self._where[image_id]
        path = self.paths[number]
        if self._process != os.getpid():  # a forked process would share the place in the file with its parent
            self._open, self._lock, self._process = {}, threading.Lock(), os.getpid()
        try:
            with self._lock:
                data = self._archive(number).read(image_id + SUFFIX)
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise ValueError(f"{path}: image {image_id!r} is damaged ({error}); write the archive again") from error
        self._shape = _check(array, f"{path}: image {image_id!r}", self._shape)
        return np.ascontiguousarray(array, dtype=np.float32)

    def batch(self, ids: Sequence[str]) -> np.ndarray:
        """(n, 3, side, side) float32.

        Raises:
            KeyError: ids that no archive holds; the message lists them.
            ValueError: a damaged member.
        """
        unknown = [image_id for image_id in ids if image_id not in self._where]
        if unknown:
            raise KeyError(
                f"{len(unknown)} images are in no archive, first: {first_few(unknown, 5)}; archives: {self!r}"
            )
        return np.stack([self[image_id] for image_id in ids])

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files itself."""
        return {"paths": self.paths, "_where": self._where, "_shape": self._shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open, self._lock, self._process = {}, threading.Lock(), os.getpid()

    def _archive(self, number: int) -> zipfile.ZipFile:
        if number not in self._open:
            path = self.paths[number]
            try:
                self._open[number] = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError) as error:
                raise ValueError(
                    f"{path}: not an npz archive, or cut off ({error}); fetch or write it again"
                ) from error
            wrong = [name for name in self._open[number].namelist() if not name.endswith(SUFFIX)]
            if wrong:
                raise ValueError(f"{path}: holds {first_few(wrong, 3)}; expected one .npy member per image")
        return self._open[number]


def _check(array: np.ndarray, where: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Raise ValueError unless the array is a picture of the shape that the others have (None: the first one)."""
    if array.ndim != 3 or array.shape[0] != 3 or array.shape[1] != array.shape[2]:
        raise ValueError(f"{where} has shape {array.shape}; expected (3, side, side)")
    if array.dtype.kind != "f":
        raise ValueError(f"{where} holds {array.dtype}; expected preprocessed float32 numbers, not pixels")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{where} has shape {array.shape}, others have {shape}")
    return array.shape


def write_npz(path: str | os.PathLike, images: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write an archive member by member; it gets its name when it is complete.

    Args:
        path: the file.
        images: (id, (3, side, side) array) pairs, taken one at a time.

    Returns:
        How many images were written.

    Raises:
        ValueError: an id twice or one that a zip file can't hold, or an array of another type or shape.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    seen: set[str] = set()
    shape = None
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for image_id, array in images:
                if str(image_id) in seen:
                    raise ValueError(f"{path}: image {image_id!r} comes twice")
                if str(image_id) == "" or "\0" in str(image_id):  # zipfile would cut the name there
                    raise ValueError(f"{path}: expected an id with no zero byte, got {image_id!r}")
                shape = _check(array, f"{path}: image {image_id!r}", shape)
                seen.add(str(image_id))
                # A date of its own would make two archives of one content differ.
                member = zipfile.ZipInfo(str(image_id) + SUFFIX, date_time=(1980, 1, 1, 0, 0, 0))
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)
                archive.writestr(member, buffer.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return len(seen)
