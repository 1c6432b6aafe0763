"""FACAD: fashion products with several photos and captions by their shops (Yang et al., ECCV 2020).

Source: https://github.com/xuewyang/Fashion_Captioning (research only). FashionViL reads two forms of it:

    BigFACAD/train_info.json, val_info.json     [{"id", "images": [names], "color", "title", "description",
                                                  "attributes_id"}, ...]: one object per product
    BigFACAD/images/<name>                      a name may have folders in it
    FACAD/train_info.json, val_info.json, test_info.json     [{"image": name, "color", "title"}, ...] (legacy form)
    FACAD/images/<name>

    builder = BigFACAD(config_name="products", data_dir="data/datasets")

Columns: product_id, color, title, description (BigFACAD), caption, attributes, attribute_ids, image_ids, images. The
caption joins as the original does: color.title.description in BigFACAD, `color title` in the legacy form, in which an
image is a product of its own, has no attributes, and its number in the file is its id.

Published count: 164,555 training products in BigFACAD. `*_codes.json` of the legacy form (image tokens of another model)
are not read.
"""

from __future__ import annotations

from pathlib import Path

from data_scripts.info_files import (
    InfoBuilder,
    InfoSet,
    PhotoFinder,
    Product,
    annotation_file,
    photos_of,
    text_of,
)
from data_scripts.source_files import read_json

REMEDY = "Get FACAD at https://github.com/xuewyang/Fashion_Captioning; see data_scripts/facad.py for the tree."


class BigFACAD(InfoBuilder):
    """Builder of BigFACAD's products; see `InfoBuilder` for the errors."""

    SOURCE = __file__
    SET = InfoSet(
        name="BigFACAD",
        files={"train": "train_info.json", "validation": "val_info.json"},
        photos=dict.fromkeys(("train", "validation"), "images"),
        texts=("color", "title", "description"),
        counts={"train": 164_555},
        remedy=REMEDY,
    )


class FACAD(InfoBuilder):
    """Builder of the legacy form; see `InfoBuilder` for the errors."""

    SOURCE = __file__
    SET = InfoSet(
        name="FACAD",
        files={"train": "train_info.json", "validation": "val_info.json", "test": "test_info.json"},
        photos=dict.fromkeys(("train", "validation", "test"), "images"),
        texts=("color", "title"),
        joint=" ",
        remedy=REMEDY,
    )

    def read_products(self, root: Path, split: str) -> list[Product]:
        path = annotation_file(root, self.SET.files[split])
        content = read_json(path, REMEDY)
        if not isinstance(content, list):
            raise ValueError(f"{path}: expected a list of products, got {type(content).__name__}. {REMEDY}")
        finder = PhotoFinder(root / self.SET.photos[split])
        products = []
        for number, entry in enumerate(content):
            where = f"{path}, product {number} (from 0)"
            if not isinstance(entry, dict) or not {"image", *self.SET.texts} <= entry.keys():
                raise ValueError(
                    f'{where}: expected {{"image", "color", "title"}}, got {str(entry)[:80]}; correct this row'
                )
            texts = {name: text_of(entry, name, where) for name in self.SET.texts}
            row = {"product_id": str(number)} | texts | {"caption": self.SET.joint.join(texts.values())}
            products.append(row | {"attribute_ids": [], "images": photos_of(entry["image"], finder, where)})
        return products
