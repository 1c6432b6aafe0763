"""Fashion200k: women's clothing with titles (Han et al., ICCV 2017), in the form that FashionViL reads.

Source: https://github.com/xthan/fashion-200k (research only).

    Fashion200k/train_info.json, test_info.json     [{"id", "images": [names], "title", "attributes_id"}, ...]
    Fashion200k/images/women/<category>/<kind>/<id>/<id>_<view>.jpeg

    builder = Fashion200k(config_name="products", data_dir="data/datasets")

Columns: product_id, title, caption (the title), attributes, attribute_ids, image_ids, images. There is no validation split.

Published count: 76,856 training products. FashionViL's issue 19 reports annotations that do not fit their images; look at
some before training on them.
"""

from __future__ import annotations

from data_scripts.info_files import InfoBuilder, InfoSet


class Fashion200k(InfoBuilder):
    """Builder of Fashion200k's products; see `InfoBuilder` for the errors."""

    SOURCE = __file__
    SET = InfoSet(
        name="Fashion200k",
        files={"train": "train_info.json", "test": "test_info.json"},
        photos=dict.fromkeys(("train", "test"), "images"),
        texts=("title",),
        counts={"train": 76_856},
        remedy="Get Fashion200k at https://github.com/xthan/fashion-200k; see data_scripts/fashion200k.py for the tree.",
    )
