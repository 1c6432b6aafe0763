"""Per-query ranks on disk: one `.npz` per evaluation, enough to compare two runs with a paired test later."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from train.retrieval.composed import ProtocolResult, RankRecord, find_protocol

_VERSION = 1


def write_ranks(path: str | Path, results: Iterable[ProtocolResult]) -> None:
    """Write the ranks of every protocol and system of one evaluation; a reader sees the old file or the new one."""
    path = Path(path)
    arrays: dict[str, np.ndarray] = {"version": np.asarray(_VERSION)}
    for result in results:
        for system, record in result.records.items():
            key = f"{record.protocol}|{system}"
            arrays[f"{key}|ranks"] = record.ranks
            if record.group_ranks is not None:
                arrays[f"{key}|group_ranks"] = record.group_ranks
        name = result.protocol.name
        arrays[f"{name}||query_ids"] = np.asarray(record.query_ids)
        arrays[f"{name}||categories"] = np.asarray(record.categories)
        arrays[f"{name}||data"] = np.asarray(record.data)
    beside = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez_compressed(beside, **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_ranks(path: str | Path) -> dict[str, dict[str, RankRecord]]:
    """Protocol name -> system name -> ranks, as `write_ranks` wrote them. Nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of ranks, or of a protocol that this version does not know.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "ranks.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: give the ranks.npz that train/evaluation.py wrote to --output_dir")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a file of ranks: {error}") from error
    if int(arrays.get("version", -1)) != _VERSION:
        raise ValueError(f"{path} is not a file of ranks of version {_VERSION}; evaluate the model again")
    records: dict[str, dict[str, RankRecord]] = {}
    for key, ranks in arrays.items():
        protocol, _, rest = key.partition("|")
        system, _, kind = rest.partition("|")
        if kind != "ranks" or not system:
            continue
        find_protocol(protocol)
        query_ids, categories, data = (arrays[f"{protocol}||{name}"] for name in ("query_ids", "categories", "data"))
        groups = arrays.get(f"{protocol}|{system}|group_ranks")
        records.setdefault(protocol, {})[system] = RankRecord(protocol, str(data), query_ids, categories, ranks, groups)
    return records
