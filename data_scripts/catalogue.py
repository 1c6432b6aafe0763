"""Catalogue: your own products, and relative captions between them, from plain files.

The data, their licence and their counts are yours. `data_dir` holds the products in one of two forms:

    train-00000-of-00002.parquet, valid-*.parquet, ...    a column of ids and one of photos (bytes embedded); the split
                                                          is the file name up to the shard number
    products.jsonl | products_<split>.jsonl | .csv        one product per row, photos in images/<id>.jpg, or at the path
    images/<id>.jpg                                       in a column "image" (relative to data_dir or to images/)

and, optionally, relative captions:

    composed_<split>.jsonl    {"reference": id, "target": id, "caption": text, "reference_title": ..., ...} per line

Files whose name carries no split ("products") make up the split "train". The id column is `product_id`, `id` or
`item_id`, the title column `title` or `name`; other columns are kept as strings (numbers and lists as JSON).

    builder = Catalogue(config_name="products", data_dir="data/my_shop")

Configurations
    products   product_id, title, image, and every other column. Embedded photos stay bytes.
    composed   reference_id, target_id, caption, reference_title, target_title, and every other key of the line.
               Ids only: photos are those of "products", stored once.

Quirks: ids are unique inside a split; titles need not be. A caption whose products are not in the catalogue is an error.
Parquet files without photos are left out with a warning.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_scripts.source_files import as_id, content_hash, first_few, repeated, settle_images, shards_of

logger = logging.getLogger(__name__)

ID_COLUMNS = ("product_id", "id", "item_id")
TITLE_COLUMNS = ("title", "name")
COMPOSED_COLUMNS = ("reference_id", "target_id", "caption", "reference_title", "target_title")
REMEDY = "See data_scripts/catalogue.py for the files that a catalogue consists of."
IMAGE_REMEDY = "Put the photos at images/<id>.jpg, or name each one in a column image."


@dataclass
class CatalogueConfig(datasets.BuilderConfig):
    """Options of one configuration.

    Args:
        splits: the splits to prepare, an absent one being an error; None takes those that are present.
        images: "required", or "absent" for texts alone (the image column holds None).
        missing: "error" lists every missing photo at once; "skip" leaves out those products and says how many.
    """

    splits: tuple[str, ...] | None = None
    images: str = "required"
    missing: str = "error"


class Catalogue(datasets.GeneratorBasedBuilder):
    """Builder of products and of relative captions from plain files; rows keep the order of the files.

    Raises:
        FileNotFoundError: `data_dir`, a split or photos are missing (photos as one list).
        ValueError: a row is malformed, an id occurs twice, or a caption names an unknown product.
    """

    BUILDER_CONFIG_CLASS = CatalogueConfig
    BUILDER_CONFIGS = [CatalogueConfig(name=n, version=datasets.Version("1.0.0")) for n in ("products", "composed")]

    def __init__(self, *, data_dir: str | os.PathLike | None = None, hash: str | None = None, **kwargs: Any):
        if data_dir is None or not os.path.isdir(data_dir):
            raise FileNotFoundError(f"catalogue folder not found: {data_dir}. {REMEDY}")
        root = Path(data_dir).resolve()
        if hash is None:
            files = [file for pattern in ("*.parquet", "products*", "composed_*") for file in root.glob(pattern)]
            hash = content_hash(files, [root / "images"], [__file__])
        super().__init__(data_dir=str(root), hash=hash, **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        root, text = Path(self.config.data_dir), datasets.Value("string")
        if self.config.name == "composed":
            files = splits_asked(composed_files(root), self.config.splits, "composed_<split>.jsonl", root)
            keys = (key for file in files.values() for _, line in read_lines(file) for key in line)
            features = dict.fromkeys((*COMPOSED_COLUMNS, *other_keys(keys)), text)
        else:
            files = splits_asked(product_files(root), self.config.splits, "products", root)
            names = dict.fromkeys(name for paths in files.values() for path in paths for name in columns_of(path))
            others = [n for n in names if n not in (*special_columns(list(names)), "image", "split")]
            features = {"product_id": text, "title": text, "image": datasets.Image()} | dict.fromkeys(others, text)
        return datasets.DatasetInfo(
            description=f"Catalogue {root.name}, {self.config.name}.", features=datasets.Features(features)
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        root, config = Path(self.config.data_dir), self.config
        if config.name == "composed":
            files = splits_asked(composed_files(root), config.splits, "composed_<split>.jsonl", root)
            shards = {split: shards_of(read_composed(root, split, file)) for split, file in files.items()}
            return [datasets.SplitGenerator(split, gen_kwargs={"shards": s}) for split, s in shards.items()]

        files = splits_asked(product_files(root), config.splits, "products", root)
        for split, paths in files.items():
            if twice := repeated(i for path in paths for i in product_ids(path)):
                raise ValueError(
                    f"{first_few(paths)}: ids that occur twice in split {split}: {first_few(twice)}; keep one row of each"
                )
        report = os.path.join(self._cache_dir_root, f"missing-images-catalogue-{self.hash}.txt")
        if any(path.suffix == ".parquet" for paths in files.values() for path in paths):
            # Each photo is one unit: only its address is settled here, the bytes are read where rows are made.
            rows = {split: [a for path in paths for a in photo_addresses(path)] for split, paths in files.items()}
        else:
            rows = {split: [r for path in paths for r in read_products(root, path)] for split, paths in files.items()}
        rows, left_out = settle_images(rows, ("image",), config.images, config.missing, report, IMAGE_REMEDY)
        if left_out:
            logger.warning("%s: %s", root, left_out)
            self.info.description += " " + left_out  # kept with the prepared copy, so that it can be said again
        return [datasets.SplitGenerator(split, gen_kwargs={"shards": shards_of(r)}) for split, r in rows.items()]
