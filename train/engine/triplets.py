"""Training rows of composed retrieval: reference image, relative caption, target image, whatever the data set.

`load_triplets` reads any of the builders into one plain form; `TripletRows` draws captions by (seed, epoch, row), so that
every run, resumed or not, on one process or many, sees the same texts.
"""

import dataclasses
from typing import Any, Literal

from train.engine.arguments import argument

ImageSource = str | bytes


@dataclasses.dataclass
class DataArguments:
    """Which data to train and validate on."""

    dataset: Literal["fashioniq", "cirr", "catalogue"] = argument(help="layout of --data_dir")
    data_dir: str = argument(help="folder with the data set's official tree (see data_scripts/<dataset>.py)")
    train_split: str = argument("train", "split to train on")
    validation_split: str | None = argument(None, "split to validate on; default: the data set's own (val or valid)")
    protocol: str | None = argument(
        None, "protocol of the validation; default: fashioniq/original-split, cirr/val or composed/pooled-noref"
    )
    missing_images: Literal["error", "skip"] = argument("error", "stop at missing images, or skip and count their rows")
    pixel_cache: str | None = argument(
        None, "folder for decoded pictures, shared by runs of one data set; default: inside --output_dir"
    )


@dataclasses.dataclass
class Triplets:
    """Rows of one split.

    Attributes:
        reference_ids, target_ids: image ids, one per row.
        captions: one or two relative captions per row.
        target_groups: images of one group are equally right answers (the id itself, or the title of a product).
        images: where each image is, by id: a path or the encoded bytes.
        image_groups: group of each image, by id.
    """

    reference_ids: list[str]
    target_ids: list[str]
    captions: list[tuple[str, ...]]
    target_groups: list[str]
    images: dict[str, ImageSource]
    image_groups: dict[str, str]

    def __len__(self) -> int:
        return len(self.target_ids)


def caption_texts(captions: tuple[str, ...]) -> tuple[str, ...]:
    """Every text that a row's captions can be shown as: FashionIQ's four forms, or the one caption untouched."""
    from modeling.clip4cir.processing_clip4cir import caption_forms

    return caption_forms(*captions) if len(captions) == 2 else captions


class TripletRows:
    """Map-style data set: each row's ids with the caption form of the current epoch.

    Args:
        triplets: the rows.
        seed: seed of the caption draw.
    """

    def __init__(self, triplets: Triplets, seed: int) -> None:
        self.triplets, self.seed, self.epoch = triplets, seed, 0
        groups = {g: i for i, g in enumerate(dict.fromkeys(triplets.image_groups.values()))}
        self.group_number = {image: groups[g] for image, g in triplets.image_groups.items()}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Ids, caption form and text of one row in the current epoch."""
        import torch

        from modeling.clip4cir.processing_clip4cir import choose_form
        from train.engine.batches import row_generator

        texts = caption_texts(self.triplets.captions[row])
        form = 0
        if len(texts) > 1:
            # Deviation: the original draws from Python's global generator in batch order; here each row has its own
            # draw, which makes resuming and sharing out over processes exact. The distribution is the same.
            form = choose_form(torch.rand((), generator=row_generator(self.seed, self.epoch, row)).item())
        target = self.triplets.target_ids[row]
        return {
            "row": row,
            "epoch": self.epoch,
            "form": form,
            "text": texts[form],
            "reference_id": self.triplets.reference_ids[row],
            "target_id": target,
            "group": self.group_number[target],
        }


def load_triplets(arguments: DataArguments, split: str) -> Triplets:
    """Read one split of any supported data set; errors are those of its builder."""
    from data_scripts.prepare import prepare

    kept = {"missing": arguments.missing_images}
    if arguments.dataset == "catalogue":
        return _catalogue_triplets(arguments.data_dir, split, kept)
    if arguments.dataset == "fashioniq":
        from data_scripts.fashioniq import FashionIQ

        rows = prepare(FashionIQ, "all", arguments.data_dir, **kept)[split]
    else:
        from data_scripts.cirr import Cirr

        rows = prepare(Cirr, "triplets", arguments.data_dir, **kept)[split]
    references, targets = rows["reference_id"][:], rows["target_id"][:]
    if arguments.dataset == "fashioniq":
        captions = [tuple(c) for c in rows["captions"][:]]
    else:
        captions = [(c,) for c in rows["caption"][:]]
    images: dict[str, ImageSource] = {}
    for ids, column in ((references, "reference_image"), (targets, "target_image")):
        for image_id, picture in zip(ids, encoded_images(rows, column), strict=True):
            images[image_id] = picture
    return Triplets(references, targets, captions, list(targets), images, {i: i for i in images})


def encoded_images(rows: Any, column: str) -> list[ImageSource]:
    """Path or bytes of every picture of a column, undecoded."""
    import datasets

    pictures = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))[column][:]
    return [picture["bytes"] if picture["bytes"] is not None else picture["path"] for picture in pictures]


def _catalogue_triplets(data_dir: str, split: str, kept: dict[str, str]) -> Triplets:
    from data_scripts.catalogue import Catalogue
    from data_scripts.prepare import prepare

    products = prepare(Catalogue, "products", data_dir, **kept)[split]
    queries = prepare(Catalogue, "composed", data_dir, **kept)[split]
    ids, titles = products["product_id"][:], products["title"][:]
    images = dict(zip(ids, encoded_images(products, "image"), strict=True))
    title_of = dict(zip(ids, titles, strict=True))
    targets = queries["target_id"][:]
    return Triplets(
        queries["reference_id"][:],
        targets,
        [(c,) for c in queries["caption"][:]],
        [title_of[t] for t in targets],
        images,
        title_of,
    )
