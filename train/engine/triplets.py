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
    titles: list[str] = argument(
        [], "Parquet, CSV or JSON-lines files with a title for each image id, for data whose layout has no titles"
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
        titles: what is shown, by id, where the data set says so.
    """

    reference_ids: list[str]
    target_ids: list[str]
    captions: list[tuple[str, ...]]
    target_groups: list[str]
    images: dict[str, ImageSource]
    image_groups: dict[str, str]
    titles: dict[str, str] = dataclasses.field(default_factory=dict)

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


class PhotoRows:
    """Map-style data set of photos: each with the queries that start from it, in the current epoch's caption forms.

    A batch of photos (drawn by `links`, so that the photos of a triplet mostly come together) is a small catalogue:
    every triplet inside it is a query, and every other photo a wrong answer that costs no further encoding.

    Args:
        triplets: the rows.
        seed: seed of the caption draw.
    """

    def __init__(self, triplets: Triplets, seed: int) -> None:
        self.by_row, self.triplets = TripletRows(triplets, seed), triplets
        self.group_number = self.by_row.group_number
        self.ids = list(dict.fromkeys([*triplets.reference_ids, *triplets.target_ids]))
        numbers = {title: i for i, title in enumerate(dict.fromkeys(triplets.titles.values()))}
        self.title_number = {image: numbers[title] for image, title in triplets.titles.items()}
        place = {image: i for i, image in enumerate(self.ids)}
        self.queries: list[list[int]] = [[] for _ in self.ids]
        linked: list[dict[int, None]] = [{} for _ in self.ids]
        for row, (reference, target) in enumerate(zip(triplets.reference_ids, triplets.target_ids, strict=True)):
            self.queries[place[reference]].append(row)
            linked[place[reference]][place[target]] = None
            linked[place[target]][place[reference]] = None
        self.links = [list(others) for others in linked]

    def set_epoch(self, epoch: int) -> None:
        self.by_row.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, photo: int) -> dict[str, Any]:
        """One photo and its queries."""
        image_id = self.ids[photo]
        return {
            "row": photo,
            "epoch": self.by_row.epoch,
            "image_id": image_id,
            "group": self.group_number[image_id],
            "title": self.triplets.titles.get(image_id),
            "title_number": self.title_number.get(image_id, -1),
            "queries": [self.by_row[row] for row in self.queries[photo]],
        }


def load_triplets(arguments: DataArguments, split: str, gallery: bool = False) -> Triplets:
    """Read one split of any supported data set; errors are those of its builder.

    Args:
        arguments: which data.
        split: its name.
        gallery: also list the pictures of the split that no triplet uses.

    Raises:
        ValueError: no such split, or a split without targets.
    """
    if arguments.dataset == "catalogue":
        return _catalogue_triplets(arguments, split)
    if arguments.dataset == "fashioniq":
        from data_scripts.fashioniq import FashionIQ

        rows = _rows(FashionIQ, "all", arguments, split)
        captions = [tuple(c) for c in rows["captions"][:]]
        listed = _rows(FashionIQ, "all-gallery", arguments, split) if gallery else None
    else:
        from data_scripts.cirr import Cirr

        rows = _rows(Cirr, "triplets", arguments, split)
        captions = [(c,) for c in rows["caption"][:]]
        listed = _rows(Cirr, "gallery", arguments, split) if gallery else None
    references, targets = rows["reference_id"][:], rows["target_id"][:]
    if None in targets:
        raise ValueError(f"split {split!r} of {arguments.data_dir} has no targets to train on")
    images: dict[str, ImageSource] = {}
    for ids, column in ((references, "reference_image"), (targets, "target_image")):
        images.update(zip(ids, encoded_images(rows, column), strict=True))
    if listed is not None:
        images.update(zip(listed["image_id"][:], encoded_images(listed, "image"), strict=True))
    titles = read_titles(arguments.titles, images)
    return Triplets(references, targets, captions, list(targets), images, {i: i for i in images}, titles)


ID_COLUMNS = ("id", "image_id", "product_id", "asin")
TITLE_COLUMNS = ("title", "name")


def read_titles(files: list[str], ids: Any) -> dict[str, str]:
    """Titles of the given ids from files with an id column and a title column; ids without one are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without such columns, of an unknown kind, or files that know none of the ids.
    """
    from pathlib import Path

    import datasets

    kinds = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json"}
    titles: dict[str, str] = {}
    for file in files:
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(f"--titles {path}: no such file")
        if path.suffix not in kinds:
            raise ValueError(f"--titles {path}: expected a file that ends with {', '.join(kinds)}")
        rows = datasets.load_dataset(kinds[path.suffix], data_files=str(path), split="train")
        found = [next((c for c in names if c in rows.column_names), None) for names in (ID_COLUMNS, TITLE_COLUMNS)]
        if None in found:
            raise ValueError(
                f"--titles {path} has the columns {', '.join(rows.column_names)}; expected one of {', '.join(ID_COLUMNS)} "
                f"and one of {', '.join(TITLE_COLUMNS)}"
            )
        pairs = zip(rows[found[0]][:], rows[found[1]][:], strict=True)
        titles.update((str(i), title) for i, title in pairs if title and str(i) in ids)
    if files and not titles:
        raise ValueError(f"--titles: none of the {len(ids)} images has a title in {', '.join(files)}")
    return titles


def _rows(builder: type, config: str, arguments: DataArguments, split: str) -> Any:
    from data_scripts.prepare import prepare

    splits = prepare(builder, config, arguments.data_dir, missing=arguments.missing_images)
    if split not in splits:
        raise ValueError(f"{arguments.data_dir} has no split {split!r}; it has {', '.join(splits)}")
    return splits[split]


def encoded_images(rows: Any, column: str) -> list[ImageSource]:
    """Path or bytes of every picture of a column, undecoded."""
    import datasets

    pictures = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))[column][:]
    return [picture["bytes"] if picture["bytes"] is not None else picture["path"] for picture in pictures]


def _catalogue_triplets(arguments: DataArguments, split: str) -> Triplets:
    from data_scripts.catalogue import Catalogue

    products, queries = (_rows(Catalogue, config, arguments, split) for config in ("products", "composed"))
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
        dict(title_of),
    )
