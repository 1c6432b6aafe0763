"""Features by id on disk: one safetensors file that is mapped, not read, and FashionKLIP's JSONL files.

A store holds `features` (n, D) float32 or float16, the ids as JSON (numbers and strings, in their order), and what they
are ids of. Any program that reads safetensors can read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

# The kind of thing that has features -> the name of its id in the original's files.
ID_FIELDS = {"image": "image_id", "text": "query_id"}
TYPES = {"float32": ("F32", np.dtype("<f4")), "float16": ("F16", np.dtype("<f2"))}
# Room for the header, which is written last; it holds three entries.
_HEADER = 1024

Id = int | str


class FeatureStore:
    """A store opened for reading; features stay in the file until they are looked at.

    store = FeatureStore("val.img_feat.safetensors")
    store.features[10:20], store.rows(["12", "13"])

    Attributes:
        ids: as they were given, in their order. kind: "image" or "text". features: (n, D) tensor, mapped from the file.
        key: digest of the writer's key, "" where it had none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a feature store, or cut off.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no feature store at {path}; train/extract_features.py writes one")
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                self.kind, self.key = metadata.get("kind", ""), metadata.get("key", "")
                self.features = file.get_tensor("features")
                self.ids: list[Id] = json.loads(bytes(file.get_tensor("ids").numpy()))
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path} is not a feature store, or is cut off ({error}); extract the features again"
            ) from error
        if len(self.ids) != len(self.features):
            raise ValueError(f"{path} holds {len(self.ids)} ids and {len(self.features)} features; extract them again")
        self._row: dict[Id, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[Id]) -> torch.Tensor:
        """(len(ids), D) features.

        Raises:
            KeyError: ids that the store doesn't hold; the message lists them.
        """
        if not self._row:
            self._row = {identity: row for row, identity in enumerate(self.ids)}
        missing = [identity for identity in ids if identity not in self._row]
        if missing:
            raise KeyError(f"{self.path}: no features for {len(missing)} ids, first: {missing[:5]}")
        return self.features[[self._row[identity] for identity in ids]]


class FeatureWriter:
    """Writes a store row by row with one batch in memory; the file gets its name when it is complete.

    What an interrupted writer left is continued when the new one has the same `key`: `len(writer)` says how many rows
    are there already.

        with FeatureWriter("a.safetensors", "image", ids, dim=512) as writer:
            writer.add(features)  # (n, 512), the next n ids

    Args:
        path: the file.
        kind: "image" or "text".
        ids: of all rows, in order.
        dim: D.
        dtype: "float32" or "float16".
        key: of everything that decides the features; None never continues.

    Raises:
        ValueError: an unknown kind or type, an id twice.
    """

    def __init__(
        self, path: str | os.PathLike, kind: str, ids: Sequence[Id], dim: int, dtype: str = "float32", key: Any = None
    ) -> None:
        if kind not in ID_FIELDS or dtype not in TYPES:
            raise ValueError(
                f"kind is one of {list(ID_FIELDS)} and dtype one of {list(TYPES)}; got {kind!r}, {dtype!r}"
            )
        if len(set(ids)) < len(ids):
            raise ValueError(f"{path}: {len(ids) - len(set(ids))} ids occur twice; features are found by their ids")
        self.path, self.kind, self.ids, self.dim = Path(path), kind, list(ids), dim
        self._code, self._type = TYPES[dtype]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._note = self.path.with_name(self.path.name + ".partial.key")
        row_bytes = dim * self._type.itemsize
        self._key = "" if key is None else key_digest(key, kind, dim, dtype, self.ids)
        self._written = 0
        if self._key and self._partial.is_file() and _read_text(self._note) == self._key:
            self._written = min(len(self.ids), max(0, self._partial.stat().st_size - _HEADER) // row_bytes)
            self._file = open(self._partial, "r+b")
        else:
            self._file = open(self._partial, "wb")
            self._file.write(b" " * _HEADER)
            self._note.write_text(self._key)
        self._file.seek(_HEADER + self._written * row_bytes)
        self._file.truncate()

    def __len__(self) -> int:
        return self._written

    def add(self, features: torch.Tensor) -> None:
        """The features of the next rows, (n, D)."""
        if features.ndim != 2 or features.shape[1] != self.dim or self._written + len(features) > len(self.ids):
            raise ValueError(
                f"{self.path}: {tuple(features.shape)} features after {self._written} of ({len(self.ids)}, {self.dim})"
            )
        self._file.write(np.ascontiguousarray(features.cpu().numpy(), dtype=self._type).tobytes())
        self._file.flush()
        self._written += len(features)

    def close(self) -> None:
        """Write ids and header and put the file in its place.

        Raises:
            ValueError: rows are missing.
        """
        if self._written < len(self.ids):
            raise ValueError(f"{self.path}: only {self._written} of {len(self.ids)} features were written")
        names = json.dumps(self.ids, ensure_ascii=False).encode()
        end = self._written * self.dim * self._type.itemsize
        header = {
            "__metadata__": {"kind": self.kind, "key": self._key},
            "features": {"dtype": self._code, "shape": [self._written, self.dim], "data_offsets": [0, end]},
            "ids": {"dtype": "U8", "shape": [len(names)], "data_offsets": [end, end + len(names)]},
        }
        text = json.dumps(header).encode()
        self._file.write(names)
        self._file.seek(0)
        self._file.write(struct.pack("<Q", _HEADER - 8) + text.ljust(_HEADER - 8))
        self._file.close()
        os.replace(self._partial, self.path)
        self._note.unlink(missing_ok=True)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()  # what was written stays, to be continued


def key_digest(key: Any, kind: str, dim: int, dtype: str, ids: Sequence[Id]) -> str:
    """What a store of these features, written with this key, bears as `key`."""
    content = json.dumps([key, kind, dim, dtype, list(ids)], default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def write_jsonl(path: str | os.PathLike, kind: str, ids: Iterable[Id], features: torch.Tensor) -> None:
    """The original's feature file: `{"image_id": "12", "feature": [...]}` or `{"query_id": 7, "feature": [...]}`."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for identity, feature in zip(ids, features, strict=True):
                file.write(json.dumps({ID_FIELDS[kind]: identity, "feature": feature.tolist()}) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_jsonl(path: str | os.PathLike, kind: str) -> tuple[list[Id], torch.Tensor]:
    """Ids with their types, and (n, D) float32 features.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable line, features of different lengths, or no features.
    """
    ids, rows, width = [], [], None
    for number, row in _lines(Path(path), ID_FIELDS[kind]):
        feature = row["feature"]
        try:
            array = np.asarray(feature)
        except ValueError:  # lists of different lengths inside
            array = np.asarray(None)
        if not isinstance(feature, list) or not feature or array.dtype.kind not in "fiu":
            raise ValueError(f"{path}, line {number}: feature is not a list of numbers")
        with np.errstate(over="ignore"):  # a number beyond float32 is the error below
            array = array.astype(np.float32)
        width = width or array.size
        if array.ndim != 1 or array.size != width or not np.isfinite(array).all():
            raise ValueError(f"{path}, line {number}: expected {width} finite numbers in feature, as in the first line")
        identity = row[ID_FIELDS[kind]]
        if isinstance(identity, bool) or not isinstance(identity, int | str):
            raise ValueError(
                f"{path}, line {number}: expected a number or a string in {ID_FIELDS[kind]}, got {identity!r}"
            )
        ids.append(identity)
        rows.append(array)
    if not rows:
        raise ValueError(f"{path} holds no features")
    return ids, torch.from_numpy(np.stack(rows))


def _lines(path: Path, field: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from data_scripts.fashionklip_files import read_lines

    yield from read_lines(path, (field, "feature"))


def read_features(path: str | os.PathLike, kind: str) -> tuple[list[Id], torch.Tensor]:
    """Ids and (n, D) features of a store or of a JSONL file, told apart by the ending.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or features of the other kind.
    """
    if Path(path).suffix != ".safetensors":
        return read_jsonl(path, kind)
    store = FeatureStore(path)
    if store.kind != kind:
        raise ValueError(f"{path} holds {store.kind} features, expected {kind} features")
    return store.ids, store.features


def write_arrow(store: FeatureStore, path: str | os.PathLike) -> None:
    """The store as an Arrow file with the columns `id` and `feature`, which `datasets` and data frames open."""
    import pyarrow as pa

    values = store.features.float().contiguous().numpy().reshape(-1)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), store.features.shape[1])
    numbers = all(isinstance(identity, int) for identity in store.ids)
    ids = pa.array(store.ids if numbers else list(map(str, store.ids)))
    table = pa.table({"id": ids, "feature": column})
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
