"""Catalogue index: the features of every picture of a catalogue, with ids and small pictures, in one folder.

    index.json                   format, model, counts, and the pictures that were left out
    items.jsonl                  {"id", "path"} of each row; the path is relative to the catalogue, null when embedded
    features.safetensors         "features" (n, D) float32, rows of length one
    thumbnails/part-00000...     JPEG pictures of consecutive rows: "bytes" (total,) uint8 and "ends" (m,) int64

Building goes part by part into `<folder>.partial`; a part that is on the disk and whose pictures are unchanged is not
encoded again, so a build that was killed goes on where it stopped. The finished folder is renamed into its place.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from train.retrieval.ranking import top_k

logger = logging.getLogger(__name__)

FORMAT = 1
# (queries (Q, D), k, exclude (Q,) or None) -> scores (Q, k), rows (Q, k)
Searcher = Callable[[Tensor, int, Tensor | None], tuple[Tensor, Tensor]]


@dataclass
class CatalogueIndex:
    """Searchable features of a catalogue.

    Attributes:
        ids: (n) name of each picture.
        paths: (n) file of each picture, relative to `root`; None for a picture embedded in a table.
        features: (n, D) float32 on the CPU, rows of length one.
        model: identity of the model that made them, see :func:`model_identity`.
        root: the catalogue's folder when it was indexed.
        skipped: pictures that could not be read, with the reason.
        folder: where the index lies, for its thumbnails.
        part_sizes: rows in each file of thumbnails; empty when there are none.
    """

    ids: list[str]
    paths: list[str | None]
    features: Tensor
    model: dict[str, Any]
    root: str = ""
    skipped: list[str] = field(default_factory=list)
    folder: Path | None = None
    part_sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.row_of = {image_id: row for row, image_id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> CatalogueIndex:
        """Open an index folder.

        Raises:
            FileNotFoundError: there is no index in the folder.
            ValueError: its files do not fit together, or another version of this program wrote them.
        """
        folder = Path(folder)
        if not (folder / "index.json").is_file():
            unfinished = " (its build was interrupted: run the same command again)" if _partial(folder).is_dir() else ""
            raise FileNotFoundError(f"no index at {folder}{unfinished}; make one with `train/search.py index`")
        try:
            about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            if about.get("format") != FORMAT:
                raise ValueError(f"format {about.get('format')}, this program reads {FORMAT}")
            items = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
            with safe_open(folder / "features.safetensors", "pt") as file:
                features = file.get_tensor("features")
            if not len(items) == len(features) == about["count"]:
                raise ValueError(f"{about['count']} rows announced, {len(items)} items, {len(features)} features")
        except (OSError, KeyError, SafetensorError, ValueError) as error:
            raise ValueError(f"{folder} is not a usable index ({error}); build it again with --overwrite") from error
        return cls(
            [item["id"] for item in items],
            [item["path"] for item in items],
            features,
            about["model"],
            about["root"],
            about["skipped"],
            folder,
            about["thumbnail_parts"],
        )

    def check_model(self, identity: Mapping[str, Any]) -> None:
        """Refuse queries of another model: its features live in another space and every answer would be noise.

        Raises:
            ValueError: names both models and what differs.
        """
        wrong = [name for name in ("weights", "preprocessing") if identity[name] != self.model[name]]
        if wrong:
            parts = ", ".join(
                f"{name} {str(self.model[name])[:12]} against {str(identity[name])[:12]}" for name in wrong
            )
            raise ValueError(
                f"the index was made with {self.model['name']}, the query with {identity['name']}; they differ "
                f"({parts}). Query with the index's model, or index the catalogue again with this one"
            )

    def image(self, row: int) -> Image.Image | None:
        """A small picture of a row: its thumbnail, else its file if that is still there."""
        part = 0
        first = row
        while part < len(self.part_sizes) and first >= self.part_sizes[part]:
            first -= self.part_sizes[part]
            part += 1
        if self.folder is not None and part < len(self.part_sizes):
            with safe_open(self.folder / "thumbnails" / _part_name(part), "np") as file:
                ends = file.get_tensor("ends")
                start = int(ends[first - 1]) if first else 0
                content = file.get_slice("bytes")[start : int(ends[first])]
            return Image.open(io.BytesIO(content.tobytes())).convert("RGB")
        path = None if self.paths[row] is None else Path(self.root, self.paths[row])
        if path is None or not path.is_file():
            return None
        return thumbnail(Image.open(path), 512)

    def find(self, reference: str) -> int | None:
        """Row of an id, or of a file of the catalogue; None for a picture that is not in the index."""
        if reference in self.row_of:
            return self.row_of[reference]
        root, path = Path(self.root).resolve(), Path(reference).resolve()
        if not path.is_relative_to(root):
            return None
        inside = path.relative_to(root).as_posix()
        return next((row for row, known in enumerate(self.paths) if known == inside), None)

    def searcher(self, backend: str = "exact") -> Searcher:
        """The function that finds the best rows.

        Args:
            backend: "exact", or "faiss" for an approximate graph search (HNSW), which is kept in the index's folder.

        Raises:
            ImportError: faiss is not installed.
            ValueError: an unknown backend.
        """
        if backend == "exact":
            return lambda queries, k, exclude=None: top_k(queries, self.features, k, exclude)
        if backend != "faiss":
            raise ValueError(f"unknown search backend {backend!r}; one of exact, faiss")
        return _faiss_searcher(self)


def _faiss_searcher(index: CatalogueIndex) -> Searcher:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "the faiss search needs a package that is not installed: pip install 'lookbook[faiss]'"
        ) from error
    graph = _faiss_graph(faiss, index)
    graph.hnsw.efSearch = 128

    def search(queries: Tensor, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # One row more than asked for, which makes up for the excluded one.
        wanted = min(k + (exclude is not None), len(index))
        scores, rows = (torch.from_numpy(found) for found in graph.search(queries.float().numpy(), wanted))
        if exclude is not None:
            scores = scores.masked_fill(rows == torch.as_tensor(exclude)[:, None], -torch.inf)
            scores, order = scores.sort(dim=1, descending=True, stable=True)
            rows = rows.gather(1, order)
        return scores[:, :k], rows[:, :k]

    return search


def _faiss_graph(faiss: Any, index: CatalogueIndex) -> Any:
    """The stored graph, or a new one. Its name carries the features' digest, so it never serves other features."""
    digest = hashlib.sha256(index.features.numpy()).hexdigest()[:16]
    stored = index.folder / f"hnsw-{digest}.faiss" if index.folder is not None else None
    if stored is not None and stored.is_file():
        return faiss.read_index(str(stored))
    graph = faiss.IndexHNSWFlat(index.features.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 200
    graph.add(index.features.numpy())
    if stored is not None:
        beside = stored.with_suffix(".tmp")
        faiss.write_index(graph, str(beside))
        os.replace(beside, stored)
    return graph


def model_identity(name: str, model: Any, processor: Any) -> dict[str, str]:
    """What decides a feature: the weights as they are in memory, and the settings of the image processor.

    The digest is of names, types and values of the tensors, so the same model from a folder and from the Hub is one.
    """
    from train.engine.images import processor_settings, settings_digest

    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    images = getattr(processor, "image_processor", processor)
    return {
        "name": name,
        "model_type": model.config.model_type,
        "weights": digest.hexdigest(),
        "preprocessing": settings_digest(processor_settings(images)).hex(),
    }


def build_index(
    folder: str | os.PathLike,
    model: Any,
    processor: Any,
    model_name: str,
    items: Mapping[str, Any],
    *,
    root: str = "",
    batch_size: int = 32,
    part_size: int = 1024,
    thumbnail_size: int = 256,
    num_workers: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> CatalogueIndex:
    """Encode a catalogue and write its index.

    Args:
        folder: place of the index.
        model, processor: as :func:`train.retrieval.loading.load_model` gives them. model_name: folder or Hub id.
        items: id -> path, or {"bytes", "path"} row of an embedded picture.
        root: folder that stored paths are relative to.
        batch_size: pictures per forward pass. part_size: pictures between two writes to the disk.
        thumbnail_size: long side of the small pictures in pixels; 0 keeps none.
        num_workers: decoding threads. strict: bad pictures are an error instead of being left out.
        overwrite: replace an index that is there. progress: show a bar.

    Raises:
        FileExistsError: there is an index in the folder and `overwrite` is False.
        ValueError: no pictures, none that can be read, or bad ones with `strict`; all bad ones are named.
    """
    from train.engine.checkpoint import swap

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise FileExistsError(f"{folder} is not empty; use --overwrite to replace it, or another folder")
    if not items:
        raise ValueError("the catalogue holds no pictures")
    partial = _partial(folder)
    identity = model_identity(model_name, model, processor)
    settings = json.dumps({"format": FORMAT, "model": identity | {"name": ""}, "thumbnails": thumbnail_size})
    ids = list(items)
    parts = [ids[start : start + part_size] for start in range(0, len(ids), part_size)]
    (partial / "thumbnails").mkdir(parents=True, exist_ok=True)
    features, kept, paths, problems, sizes = [], [], [], [], []
    from tqdm import tqdm

    with tqdm(total=len(ids), desc="index", unit="image", disable=not progress) as bar:
        for number, part in enumerate(parts):
            part_items = {image_id: items[image_id] for image_id in part}
            file = partial / _part_name(number)
            digest = _part_digest(settings, part_items)
            if _digest_of(file) != digest:
                made = _encode_part(model, processor, part_items, batch_size, thumbnail_size, num_workers)
                _write_part(file, made, digest)
            with safe_open(file, "pt") as stored:
                features.append(stored.get_tensor("features"))
                readable = [part[row] for row in stored.get_tensor("rows").tolist()]
                kept += readable
                paths += [_relative(part_items[image_id], root) for image_id in readable]
                problems += json.loads(stored.metadata()["problems"])
                if thumbnail_size:
                    pictures = {name: stored.get_tensor(name) for name in ("bytes", "ends")}
                    save_file(pictures, partial / "thumbnails" / _part_name(number))
            sizes.append(len(features[-1]))
            bar.update(len(part))
    if problems and (strict or not kept):
        from train.engine.images import bad_images_error

        raise bad_images_error(problems, len(ids))
    index = CatalogueIndex(
        ids=kept,
        paths=paths,
        features=torch.cat(features),
        model=identity,
        root=str(Path(root).resolve()) if root else "",
        skipped=problems,
        folder=folder,
        part_sizes=sizes if thumbnail_size else [],
    )
    finished = partial / "index"
    shutil.rmtree(finished, ignore_errors=True)
    finished.mkdir()
    if thumbnail_size:
        (partial / "thumbnails").rename(finished / "thumbnails")
    _write_index(finished, index)
    folder.parent.mkdir(parents=True, exist_ok=True)
    swap(finished, folder)
    shutil.rmtree(partial, ignore_errors=True)
    return index


def _write_index(folder: Path, index: CatalogueIndex) -> None:
    save_file({"features": index.features}, folder / "features.safetensors", metadata={"format": "pt"})
    lines = (json.dumps({"id": i, "path": p}, ensure_ascii=False) for i, p in zip(index.ids, index.paths, strict=True))
    (folder / "items.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    about = {
        "format": FORMAT,
        "count": len(index),
        "dimension": index.features.shape[1],
        "model": index.model,
        "root": index.root,
        "thumbnail_parts": index.part_sizes,
        "skipped": index.skipped,
    }
    (folder / "index.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _FeatureAndThumbnail:
    """Prepares a picture for the model and keeps a small copy, in the thread that decoded it."""

    def __init__(self, image_processor: Any, thumbnail_size: int) -> None:
        self.image_processor, self.thumbnail_size = image_processor, thumbnail_size

    def prepare(self, image: Image.Image) -> tuple[np.ndarray, bytes]:
        pixels = self.image_processor.prepare(image)
        return pixels, jpeg(image, self.thumbnail_size) if self.thumbnail_size else b""


def _encode_part(
    model: Any, processor: Any, items: Mapping[str, Any], batch_size: int, thumbnail_size: int, workers: int | None
) -> dict[str, Any]:
    """Features (m, D) of the readable pictures of a part, their rows in it, JPEG bytes; problems of the rest."""
    from train.engine.images import prepared_images

    images = processor.image_processor
    problems: list[str] = []
    made: dict[str, Any] = {"features": [], "rows": [], "pictures": [], "problems": problems}
    waiting: list[np.ndarray] = []

    def flush() -> None:
        if waiting:
            with torch.no_grad():
                features = model.get_image_features(images.normalize(np.stack(waiting)).to(model.device))
            made["features"].append(normalize(features.float(), dim=-1).cpu())
            waiting.clear()

    stream = prepared_images(list(items), items, _FeatureAndThumbnail(images, thumbnail_size), problems, workers)
    for row, (_, prepared) in enumerate(stream):
        if prepared is not None:
            made["rows"].append(row)
            waiting.append(prepared[0])
            made["pictures"].append(prepared[1])
        if len(waiting) == batch_size:
            flush()
    flush()
    dimension = model.config.projection_dim if hasattr(model.config, "projection_dim") else 0
    made["features"] = torch.cat(made["features"]) if made["features"] else torch.zeros(0, dimension)
    return made


def _write_part(file: Path, made: dict[str, Any], digest: str) -> None:
    joined = b"".join(made["pictures"])
    tensors = {
        "features": made["features"],
        "rows": torch.tensor(made["rows"], dtype=torch.int64),
        "bytes": torch.frombuffer(bytearray(joined), dtype=torch.uint8)
        if joined
        else torch.zeros(0, dtype=torch.uint8),
        "ends": torch.tensor([len(picture) for picture in made["pictures"]], dtype=torch.int64).cumsum(0),
    }
    beside = file.with_suffix(".tmp")
    save_file(tensors, beside, metadata={"digest": digest, "problems": json.dumps(made["problems"])})
    os.replace(beside, file)


def _part_digest(settings: str, items: Mapping[str, Any]) -> str:
    from train.engine.images import image_fingerprint

    digest = hashlib.sha256(settings.encode())
    for image_id, source in items.items():
        digest.update(image_id.encode() + b"\0" + image_fingerprint(image_id, source))
    return digest.hexdigest()


def _digest_of(file: Path) -> str | None:
    try:
        with safe_open(file, "pt") as stored:
            return stored.metadata().get("digest")
    except (OSError, SafetensorError):  # not there, or cut off by a full disk
        return None


def _part_name(number: int) -> str:
    return f"part-{number:05d}.safetensors"


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")


def _relative(source: Any, root: str) -> str | None:
    path = source.get("path") if isinstance(source, Mapping) else source
    if path is None or (isinstance(source, Mapping) and source.get("bytes") is not None):
        return None
    path, base = Path(path).resolve(), Path(root).resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def as_shown(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it: upright, 16 bits scaled to 8, transparency on white, RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # convert() would clip what is above 255
        values = np.asarray(image, dtype=np.float64)
        most = 65535 if image.mode.startswith("I;16") else max(values.max(), 1)
        image = Image.fromarray((255 * values / most).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def thumbnail(image: Image.Image, size: int) -> Image.Image:
    """A copy of at most `size` pixels on its long side, as a viewer shows it."""
    image = as_shown(image)
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    return image


def jpeg(image: Image.Image, size: int) -> bytes:
    """JPEG bytes of a thumbnail."""
    buffer = io.BytesIO()
    thumbnail(image, size).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def pictures_in(folder: Path) -> dict[str, Path]:
    """Every picture file under a folder, sorted: path without its suffix -> file.

    Where two files differ only in the suffix, their ids keep it.
    """
    kinds = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds and p.is_file())
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    twice = {name for name, count in _counts(names).items() if count > 1}
    return {
        path.relative_to(folder).as_posix() if name in twice else name: path
        for name, path in zip(names, files, strict=True)
    }


def _counts(names: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def catalogue_items(source: str, split: str | None = None) -> tuple[Mapping[str, Any], str]:
    """The pictures of a folder of pictures, or of a catalogue (products.jsonl, products.csv or Parquet files).

    Returns:
        items: id -> path or {"bytes", "path"}. root: folder that the paths are relative to.

    Raises:
        FileNotFoundError: no such folder, or nothing in it.
        ValueError: from the catalogue's builder, for rows that cannot be used.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"--images {source}: no such folder")
    if any(next(folder.glob(pattern), None) for pattern in ("*.parquet", "products*.jsonl", "products*.csv")):
        return _catalogue_items(folder, split), str(folder)
    if split is not None:
        raise ValueError(f"--split {split}: {source} is a folder of pictures and has no splits")
    items = pictures_in(folder)
    if not items:
        raise FileNotFoundError(
            f"--images {source}: no picture files under this folder (jpg, png, webp, bmp, gif, tif)"
        )
    return items, str(folder)


def _catalogue_items(folder: Path, split: str | None) -> Mapping[str, Any]:
    from data_scripts.catalogue import Catalogue
    from data_scripts.prepare import prepare
    from train.retrieval.composed_data import Pictures

    # Missing photos are left out by the builder with a warning; damaged ones are named when they are opened.
    options = {} if split is None else {"splits": (split,)}
    splits = prepare(Catalogue, "products", folder, missing="skip", **options)
    places: dict[str, tuple[Pictures, int]] = {}
    for name, rows in splits.items():
        pictures = Pictures(rows)
        for row, product_id in enumerate(rows["product_id"][:]):
            # Ids are unique in a split only.
            places[product_id if product_id not in places else f"{name}/{product_id}"] = (pictures, row)
    return _LazyItems(places)


class _LazyItems(Mapping):
    """id -> {"bytes", "path"}, read from the prepared table when asked for, so that photos stay on the disk."""

    def __init__(self, places: dict[str, tuple[Sequence[Any], int]]) -> None:
        self.places = places

    def __getitem__(self, image_id: str) -> dict[str, Any]:
        pictures, row = self.places[image_id]
        return pictures[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
