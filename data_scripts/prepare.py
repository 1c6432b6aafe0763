"""Prepare a data set for this machine, or write it as Parquet that a plain `load_dataset` reads.

    from data_scripts.fashioniq import FashionIQ
    from data_scripts.prepare import prepare
    dress = prepare(FashionIQ, "dress", "data/fashionIQ_dataset", splits=("train", "val"))
    open_image(dress["val"][0]["reference_image"])     # images stay undecoded; see data_scripts/images.py

    python -m data_scripts.prepare --dataset fashioniq --data_dir data/fashionIQ_dataset --output_dir data/parquet
    datasets.load_dataset("data/parquet", "dress")

The Parquet files hold the photos themselves. With --push_to_hub they become a (private) data set repository: check
first that you may publish the photos; --images absent publishes the annotations alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from huggingface_hub import HfApi

from data_scripts.catalogue import Catalogue
from data_scripts.cirr import Cirr
from data_scripts.facad import FACAD, BigFACAD
from data_scripts.fashion200k import Fashion200k
from data_scripts.fashiongen import FashionGen
from data_scripts.fashioniq import FashionIQ
from data_scripts.fashionklip_files import FashionKLIPFiles
from data_scripts.images import check_images
from data_scripts.polyvore import Polyvore
from data_scripts.polyvore_outfits import PolyvoreOutfits

logger = logging.getLogger(__name__)

BUILDERS = {
    "fashioniq": FashionIQ,
    "cirr": Cirr,
    "catalogue": Catalogue,
    "fashiongen": FashionGen,
    "big_facad": BigFACAD,
    "facad": FACAD,
    "fashion200k": Fashion200k,
    "fashionklip": FashionKLIPFiles,
    "polyvore": Polyvore,
    "polyvore_outfits": PolyvoreOutfits,
}


def prepare(
    builder_class: type[datasets.DatasetBuilder],
    config_name: str,
    data_dir: str | os.PathLike,
    cache_dir: str | os.PathLike | None = None,
    num_proc: int | None = None,
    decode_images: bool = False,
    **options: Any,
) -> datasets.DatasetDict:
    """Prepare one configuration, or find it prepared, and open it.

    A changed annotation file, image folder or builder makes a new copy: the builders put them into the cache key.

    Args:
        builder_class: one of BUILDERS.
        config_name: one of its configurations.
        data_dir: where the original files are.
        cache_dir: where prepared rows go; the cache of `datasets` when None.
        num_proc: processes that write rows.
        decode_images: False leaves images as {"path", "bytes"} for `open_image`, whose errors name the file.
        options: fields of the builder's configuration (splits, images, missing, ...).

    Returns:
        The splits, in the builder's order.
    """
    builder = builder_class(
        config_name=config_name, data_dir=data_dir, cache_dir=cache_dir and str(cache_dir), **options
    )
    found = os.path.isdir(builder.cache_dir)
    builder.download_and_prepare(num_proc=num_proc)
    if found and "Rows left out" in (builder.info.description or ""):
        logger.warning("%s: %s", data_dir, builder.info.description)  # the builder itself said so only the first time
    splits = builder.as_dataset()
    if not decode_images:
        for column, feature in builder.info.features.items():
            if isinstance(feature, datasets.Image):
                splits = splits.cast_column(column, datasets.Image(decode=False))
            elif isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.Image):
                splits = splits.cast_column(column, datasets.List(datasets.Image(decode=False)))
    return splits


def write_parquet(
    dataset: str,
    data_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    configs: list[str] | None = None,
    num_proc: int | None = None,
    check: bool = True,
    **options: Any,
) -> Path:
    """Write configurations of a data set as Parquet, photos included, with a card that `load_dataset` understands.

    Args:
        dataset: a key of BUILDERS.
        data_dir: where the original files are.
        output_dir: a folder that does not exist yet or is empty; it appears when everything is written.
        configs: configuration names; when None all but those of files that not every copy has (the builder's DERIVED).
        num_proc: processes that write rows.
        check: decode every image that was embedded, and refuse damaged ones.
        options: fields of the builder's configuration (splits, images, missing, ...).

    Returns:
        `output_dir`.

    Raises:
        FileExistsError: `output_dir` holds files.
        ValueError: images are damaged; the message names the first ones.
    """
    output = Path(output_dir)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} is not an empty folder; choose another --output_dir or empty it first")
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted call left
    partial.mkdir(parents=True)
    builder_class, described, checked = BUILDERS[dataset], [], set()
    derived = getattr(builder_class, "DERIVED", ())
    for config in configs or [name for name in builder_class.builder_configs if name not in derived]:
        builder = builder_class(config_name=config, data_dir=data_dir, **options)
        builder.download_and_prepare(str(partial / config), file_format="parquet", num_proc=num_proc)
        files = sorted((partial / config).glob("*.parquet"))
        if check:
            refuse_damaged(files, checked)
        described.append((config, builder.info, [file.name for file in files]))
    for lock in partial.glob("*.lock"):  # left behind by `datasets`
        lock.unlink()
    (partial / "README.md").write_text(card(dataset, described), encoding="utf-8")
    if output.exists():
        output.rmdir()
    partial.rename(output)
    return output


def refuse_damaged(files: list[Path], checked: set[bytes]) -> None:
    """Decode the photos of Parquet files; `checked` (digests) remembers those that other rows hold too.

    Raises:
        ValueError: some cannot be decoded; named by the first column of their row, an id or a number, and by file.
    """
    problems = []
    for file in files:
        fields = pq.read_schema(file)
        columns = [field.name for field in fields if _holds_photos(field.type)]
        for batch in pq.ParquetFile(file).iter_batches(512, columns=[fields.names[0], *columns]):
            photos = named_photos(batch.to_pylist(), fields.names[0], columns)
            digests = ((hashlib.sha256(photo["bytes"]).digest(), photo) for photo in photos)
            fresh = {digest: photo for digest, photo in digests if digest not in checked}
            checked |= fresh.keys()
            problems += [problem for _, problem in check_images(fresh.values())]
    if problems:
        raise ValueError(f"{len(problems):,} images cannot be decoded, replace them: {'; '.join(problems[:10])}")


def named_photos(rows: list[dict[str, Any]], key: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The photos of rows, as {"path", "bytes"}; the path tells the value of `key` too."""
    for row, column in ((row, column) for row in rows for column in columns):
        for photo in row[column] if isinstance(row[column], list) else [row[column]]:
            if photo is not None:
                yield {"path": f"{key} {row[key]}, {photo['path'] or column}", "bytes": photo["bytes"]}


def _holds_photos(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        kind = kind.value_type
    return pa.types.is_struct(kind) and "bytes" in kind.names


def card(dataset: str, described: list[tuple[str, datasets.DatasetInfo, list[str]]]) -> str:
    """The README.md of a Parquet folder: front matter that maps configurations and splits to files, and the counts."""
    front: dict[str, Any] = {"pretty_name": dataset, "configs": []}
    table = ["| configuration | split | rows |", "| --- | --- | --- |"]
    for config, info, files in described:
        data_files = []
        for split, details in info.splits.items():
            stem = f"{info.dataset_name}-{split}"
            names = [f for f in files if f == f"{stem}.parquet" or f.startswith(f"{stem}-")]
            data_files.append({"split": str(split), "path": [f"{config}/{name}" for name in names]})
            table.append(f"| {config} | {split} | {details.num_examples:,} |")
        front["configs"].append({"config_name": config, "data_files": data_files})
    front["configs"][0]["default"] = True
    info = described[0][1]
    notes = [i.description for _, i, _ in described if "Rows left out" in i.description]
    parts = [
        "---\n" + yaml.safe_dump(front, sort_keys=False) + "---",
        f"# {dataset}",
        f"Written by `python -m data_scripts.prepare --dataset {dataset}`.",
        f"Source: {info.homepage}. Licence: {info.license}" if info.homepage else "Licence: see the owner of the data.",
        "\n".join(table),
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def push(folder: Path, repo_id: str, public: bool) -> str:
    """Upload a Parquet folder as a data set repository; returns its address."""
    api = HfApi()
    url = api.create_repo(repo_id, repo_type="dataset", private=not public, exist_ok=True)
    api.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, commit_message="Add the data set")
    return str(url)


def option_value(name: str, value: str, kind: str) -> str | int | bool:
    """The value of --option NAME VALUE as a field of that type takes it.

    Raises:
        ValueError: no whole number, or neither true nor false.
    """
    if kind == "bool":
        if value.lower() not in ("true", "false"):
            raise ValueError(f"--option {name} {value}: expected true or false")
        return value.lower() == "true"
    if kind.startswith("int"):
        if not value.isdecimal():
            raise ValueError(f"--option {name} {value}: expected a whole number")
        return int(value)
    return value


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=list(BUILDERS), required=True)
    parser.add_argument("--data_dir", required=True, help="where the original files are")
    parser.add_argument("--output_dir", required=True, help="new folder for the Parquet files and their card")
    parser.add_argument("--configs", nargs="+", help="configurations to write (default: all of the official files)")
    parser.add_argument("--splits", nargs="+", help="splits to write (default: those that are present)")
    parser.add_argument("--images", choices=("required", "absent"), default="required")
    parser.add_argument("--missing", choices=("error", "skip"), default="error")
    parser.add_argument(
        "--option",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="an option of this data set's own, e.g. --option caption title; may be repeated",
    )
    parser.add_argument("--num_proc", type=int, help="processes that write rows")
    parser.add_argument("--no_image_check", action="store_true", help="do not decode every photo that is written")
    parser.add_argument("--push_to_hub", metavar="OWNER/NAME", help="upload the folder as a data set repository")
    parser.add_argument("--public", action="store_true", help="with --push_to_hub: not private")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    known = BUILDERS[args.dataset].builder_configs
    if unknown := [c for c in args.configs or () if c not in known]:
        parser.error(f"--configs: {', '.join(unknown)} not among {', '.join(known)}")
    options = {"images": args.images, "missing": args.missing, "splits": args.splits and tuple(args.splits)}
    fields = dataclasses.fields(BUILDERS[args.dataset].BUILDER_CONFIG_CLASS)
    own = {f.name for f in fields} - {f.name for f in dataclasses.fields(datasets.BuilderConfig)} - options.keys()
    # What configurations differ in is chosen with --configs.
    own = {name for name in own if len({getattr(config, name) for config in known.values()}) == 1}
    if unknown := [name for name, _ in args.option if name not in own]:
        parser.error(f"--option {unknown[0]}: {args.dataset} has {', '.join(sorted(own)) or 'none'}")
    kinds = {field.name: str(field.type) for field in fields}
    try:
        options |= {name: option_value(name, value, kinds[name]) for name, value in args.option}
        folder = write_parquet(
            args.dataset,
            args.data_dir,
            args.output_dir,
            args.configs,
            args.num_proc,
            not args.no_image_check,
            **options,
        )
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f'{folder}: open with datasets.load_dataset("{folder}", "<configuration>")')
    if args.push_to_hub:
        print(push(folder, args.push_to_hub, args.public))


if __name__ == "__main__":
    main()
