"""Extract image and text features into a store, JSONL files of FashionKLIP's format, or both.

    python train/extract_features.py --model runs/klip/model --data_dir data/fashionklip --output_dir runs/features
    python train/extract_features.py --model org/name --dataset catalogue --data_dir data/my_shop --split test \\
        --output_dir runs/features

The model is any of this project's or a plain CLIP. --data_dir is a FashionKLIP tree (its validation files, or those named
by --image_data and --text_data), an own catalogue or FashionGen. Features have length one. A killed extraction goes on where
it stopped when it is called again. With several processes the encoding is shared out. 50,000 pictures with ViT-B/32 take
minutes on a GPU and about three hours on one CPU core.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program


@dataclasses.dataclass
class ExtractArguments:
    """What to encode, with what, and where to."""

    model: str = argument(help="model folder or Hub id")
    data_dir: str = argument(help="FashionKLIP tree, catalogue, or FashionGen tree")
    output_dir: str = argument(help="folder of the feature files")
    dataset: Literal["fashionklip", "catalogue", "fashiongen"] = argument("fashionklip", "layout of --data_dir")
    split: str | None = argument(None, "split; default: validation, val or valid")
    parts: list[str] = argument(["images", "texts"], "what to extract: images, texts")
    caption: list[str] = argument([], "catalogue: columns whose texts, joined, are a caption; default: title")
    image_data: list[str] = argument([], "fashionklip: other archives than the tree's validation archives")
    text_data: str | None = argument(None, "fashionklip: other captions than the tree's validation captions")
    write: list[str] = argument(["store"], "file formats: store (safetensors), jsonl (the original's), arrow")
    dtype: Literal["float32", "float16"] = argument("float32", "numbers of the store")
    image_batch_size: int = argument(64, "pictures per forward pass", minimum=1)
    text_batch_size: int = argument(64, "texts per forward pass", minimum=1)
    rows_per_write: int = argument(1024, "features between two writes; a kill loses at most these", minimum=1)
    overwrite: bool = argument(False, "replace feature files that are there already")
    revision: str | None = argument(None, "revision of a Hub model")
    trust_remote_code: bool = argument(False, "run the code in the model's folder, for types of other projects")
    mixed_precision: Literal["no", "bf16", "fp16"] = argument("no", "autocast of the encoders")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")

    def __post_init__(self) -> None:
        for name, known in (("parts", ("images", "texts")), ("write", ("store", "jsonl", "arrow"))):
            wrong = [value for value in getattr(self, name) if value not in known]
            if wrong or not getattr(self, name):
                raise ValueError(f"--{name} {' '.join(wrong)}: expected one or more of {', '.join(known)}")


@dataclasses.dataclass
class Source:
    """What is to be encoded.

    Attributes:
        image_ids, text_ids: in their order. texts: one per text id.
        images: image id -> file or bytes, or an archive of finished arrays.
        image_name, text_name: stems of the feature files.
    """

    image_ids: list[str]
    images: Any
    text_ids: list[int | str]
    texts: list[str]
    image_name: str
    text_name: str


KINDS = {"images": "image", "texts": "text"}


def main() -> None:
    (arguments,) = parse_arguments(ExtractArguments, description=__doc__)
    report = extract(arguments)
    if report is not None:
        print(json.dumps(report))


def extract(arguments: ExtractArguments) -> dict[str, Any] | None:
    """Encode and write on all processes.

    Returns:
        On the main process the written files and counts; None on the others.

    Raises:
        FileExistsError: a feature file of another model or other data is there and --overwrite was not given.
        FileNotFoundError: model or data are missing.
        ValueError: unreadable data, a catalogue without the split.
    """
    from accelerate import Accelerator

    from train.engine.concept_pictures import load_encoders
    from train.engine.run import check_processes

    accelerator = Accelerator(cpu=arguments.cpu or None)
    check_processes(accelerator.num_processes)
    folder = Path(arguments.output_dir)
    with accelerator.main_process_first():
        source = load_source(arguments)
    files = {
        "images": folder / f"{source.image_name}.img_feat.safetensors",
        "texts": folder / f"{source.text_name}.txt_feat.safetensors",
    }
    # Without a store among the results the one that is written on the way has a name of its own.
    stores = files if "store" in arguments.write else {part: p.with_name("." + p.name) for part, p in files.items()}
    model, processor = load_encoders(
        arguments.model, arguments.revision, arguments.trust_remote_code, accelerator.device
    )
    keys = {part: _key(arguments, model, processor, source, part) for part in arguments.parts}
    done = {part: not arguments.overwrite and _holds(stores[part], keys[part], source, part) for part in keys}
    there = [p for part in keys if not done[part] for p in _outputs(arguments, files[part]) if p.exists()]
    if there and not arguments.overwrite:
        raise FileExistsError(f"{there[0]} is there already; pass --overwrite, or choose another --output_dir")
    accelerator.wait_for_everyone()  # everybody has looked before anybody writes
    report: dict[str, Any] = {"output_dir": str(folder), "files": []}
    for part in keys:
        if not done[part]:
            _write_store(arguments, accelerator, model, processor, source, part, stores[part], keys[part])
        if accelerator.is_main_process:
            _write_copies(stores[part], _outputs(arguments, files[part]), part)
        report[part] = len(_ids(source, part))
        report["files"] += [str(path) for path in _outputs(arguments, files[part])]
    if not accelerator.is_main_process:
        return None
    if stores is not files:  # only now: a part that is done need not be encoded again after a kill in the next
        for part in keys:
            stores[part].unlink()
    return report


def _outputs(arguments: ExtractArguments, store: Path) -> list[Path]:
    return [store.with_suffix({"store": ".safetensors"}.get(kind, f".{kind}")) for kind in arguments.write]


def _ids(source: Source, part: str) -> list[Any]:
    return source.image_ids if part == "images" else source.text_ids


def _key(arguments: ExtractArguments, model: Any, processor: Any, source: Source, part: str) -> list[Any]:
    """Of everything that decides the features."""
    from train.engine.feature_bank import encoder_digest

    weights = encoder_digest(model, frozen_part=lambda name: "logit_scale" not in name)
    content = content_digest(source, KINDS[part], processor)
    return [model.config.projection_dim, weights, arguments.mixed_precision, content, arguments.dtype]


def _holds(store: Path, key: list[Any], source: Source, part: str) -> bool:
    """Whether the store is there and complete, from the same model and data: written before a kill in what follows."""
    from train.engine.feature_store import FeatureStore, key_digest

    try:
        return FeatureStore(store).key == key_digest(key, KINDS[part], key[0], key[-1], _ids(source, part))
    except (FileNotFoundError, ValueError):
        return False


def _write_store(arguments, accelerator, model, processor, source, part: str, store: Path, key: list[Any]) -> None:
    from train.engine.feature_store import FeatureWriter
    from train.engine.run import from_main

    encode = encode_image_chunks if part == "images" else encode_text_chunks
    ids, count = _ids(source, part), arguments.rows_per_write
    writer = None
    if accelerator.is_main_process:
        writer = FeatureWriter(store, KINDS[part], ids, key[0], arguments.dtype, key)
    done = from_main(len(writer) if writer is not None else 0)
    # A kill may have cut a write short: its rows are encoded in the same batches again, to the same bits.
    for start in range(done // count * count, len(ids), count):
        features = encode(arguments, model, processor, source, range(start, min(start + count, len(ids))))
        if writer is not None:
            writer.add(features[max(0, done - start) :])
    if writer is not None:
        writer.close()


def _write_copies(store: Path, outputs: list[Path], part: str) -> None:
    """The other formats, from the store."""
    from train.engine.feature_store import FeatureStore, write_arrow, write_jsonl

    written = FeatureStore(store)
    for path in outputs:
        if path.suffix == ".jsonl":
            write_jsonl(path, KINDS[part], written.ids, written.features.float())
        elif path.suffix == ".arrow":
            write_arrow(written, path)


def content_digest(source: Source, kind: str, processor: Any) -> str:
    """Of what is encoded and how it is prepared, so that an extraction goes on only with the same."""
    import hashlib

    from train.engine.images import image_fingerprint, processor_settings

    digest = hashlib.sha256()
    if kind == "text":
        for text in source.texts:
            digest.update(text.encode() + b"\0")
        tokenizer = processor.tokenizer
        digest.update(json.dumps([sorted(tokenizer.get_vocab().items()), tokenizer.model_max_length]).encode())
        digest.update(str(getattr(processor, "official_truncation", "")).encode())
    elif isinstance(source.images, dict):
        digest.update(json.dumps(processor_settings(processor.image_processor), sort_keys=True, default=str).encode())
        for image_id, image in source.images.items():
            digest.update(image_id.encode() + image_fingerprint(image_id, image))
    else:
        for path in source.images.paths:
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def encode_image_chunks(arguments: ExtractArguments, model, processor, source: Source, rows: Sequence[int]) -> Any:
    """(len(rows), D) normalised image features of these rows, on every process."""
    import torch

    from train.engine.caption_pairs import ArchivePixels
    from train.retrieval.encode import encode_images, encode_pixels

    ids = [source.image_ids[row] for row in rows]
    options = {"batch_size": arguments.image_batch_size, "precision": arguments.mixed_precision, "progress": False}
    if isinstance(source.images, dict):
        features = encode_images(model, processor, ids, source.images, **options)[1]
    else:
        pixels = ArchivePixels(source.images, processor.image_processor.size)
        features = encode_pixels(model, pixels, ids, **options)
    return torch.nn.functional.normalize(features.float(), dim=-1)


def encode_text_chunks(arguments: ExtractArguments, model, processor, source: Source, rows: Sequence[int]) -> Any:
    """(len(rows), D) normalised text features of these rows, on every process."""
    import torch

    from train.retrieval.encode import encode_texts

    texts = [source.texts[row] for row in rows]
    options = {"batch_size": arguments.text_batch_size, "precision": arguments.mixed_precision, "progress": False}
    return torch.nn.functional.normalize(encode_texts(model, processor, texts, **options).float(), dim=-1)


def load_source(arguments: ExtractArguments) -> Source:
    """Ids, pictures and texts of the data."""
    if arguments.dataset == "fashionklip":
        return _klip_source(arguments)
    from train.engine.caption_pairs import load_pairs
    from train.engine.fashionklip_arguments import PairArguments

    pairs = load_pairs(
        PairArguments(
            data_dir=arguments.data_dir,
            dataset=arguments.dataset,
            caption=arguments.caption,
            validation_split=arguments.split,
        ),
        "validation",
    )
    texts = list(dict.fromkeys(pairs.texts))
    ids = list(dict.fromkeys(pairs.image_ids))
    name = arguments.split or "validation"
    return Source(ids, pairs.sources, list(range(len(texts))), texts, name, name)


def _klip_source(arguments: ExtractArguments) -> Source:
    from data_scripts.fashionklip_files import KlipLayout, NpzImages

    layout = KlipLayout.find(arguments.data_dir)
    archives = [Path(p) for p in arguments.image_data] or (
        layout.need("val_images") if "images" in arguments.parts else []
    )
    captions = Path(arguments.text_data) if arguments.text_data else layout.val_captions
    ids, texts = [], []
    if "texts" in arguments.parts:
        for query_id, text in _texts(captions or layout.need("val_captions")):
            ids.append(query_id)
            texts.append(text)
    images = NpzImages(archives) if archives else {}
    if archives and not len(images):
        raise ValueError(f"{images!r}: no pictures to extract")
    if "texts" in arguments.parts and not texts:
        raise ValueError(f"{captions}: no captions to extract")
    return Source(
        images.ids if archives else [],
        images,
        ids,
        texts,
        archives[0].stem if archives else "images",  # the original cuts the last four characters
        captions.stem if captions else "texts",
    )


def _texts(path: Path) -> Iterator[tuple[int | str, str]]:
    """Query ids with the types that they have in the file, and texts."""
    from data_scripts.fashionklip_files import read_lines

    seen = set()
    for number, row in read_lines(path, ("query_id", "query_text")):
        if isinstance(row["query_id"], bool) or not isinstance(row["query_id"], int | str):
            raise ValueError(
                f"{path}, line {number}: expected a number or a string in query_id, got {row['query_id']!r}"
            )
        if row["query_id"] in seen:
            raise ValueError(f"{path}, line {number}: query_id {row['query_id']!r} occurs twice; keep one line of it")
        if not isinstance(row["query_text"], str):
            raise ValueError(f"{path}, line {number}: expected a text in query_text, got {row['query_text']!r}")
        seen.add(row["query_id"])
        yield row["query_id"], row["query_text"]


if __name__ == "__main__":
    run_program(main)
