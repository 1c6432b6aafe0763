"""A data set's items in a Bi-LSTM's spaces, with the user's own photos beside them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from train.retrieval.outfit_scores import ItemBank
from train.retrieval.outfit_search import distinct


def load_catalogue(data_dir: str, split: str | None, category_column: str, missing: str) -> Any:
    """The products of an own catalogue as Outfits without outfits; ids that two splits share get the split's name.

    Raises:
        FileNotFoundError, ValueError: from the catalogue's builder.
        ValueError: no products, or there is no such column.
    """
    from data_scripts.catalogue import Catalogue
    from data_scripts.prepare import prepare
    from train.engine.outfits import Outfits, identities_of
    from train.engine.triplets import encoded_images

    options = {"missing": missing} | ({} if split is None else {"splits": (split,)})
    found = Outfits(split or "whole", [], [], [], [], [], [])
    for name, rows in prepare(Catalogue, "products", data_dir, **options).items():
        if category_column not in rows.column_names:
            raise ValueError(
                f"{data_dir}: no column {category_column!r} among {', '.join(rows.column_names)}; name the column of "
                "the products' kinds with --category_column"
            )
        known = set(found.ids)
        found.ids += [one if one not in known else f"{name}/{one}" for one in rows["product_id"][:]]
        found.texts += [text or "" for text in rows["title"][:]]
        found.categories += [text or "" for text in rows[category_column][:]]
        found.pictures += encoded_images(rows, "image")
    if not found.ids:
        raise ValueError(f"{data_dir}: no products in the {found.split} split")
    found.identities = identities_of(found)
    return found


@dataclass
class OutfitBank:
    """Items by place: those of the data first, own photos behind them, which are never chosen for an outfit.

    Attributes:
        model, processor: a Bi-LSTM in evaluation mode.
        data: Outfits of the data, own photos appended to its ids, texts, categories and pictures.
        count: items of the data.
        features: of all items. bank: places of the data's distinct products, over which probabilities are taken.
    """

    model: Any
    processor: Any
    data: Any
    cache: Path
    batch_size: int = 64
    count: int = 0
    features: ItemBank = field(init=False)
    bank: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.count = len(self.data.ids)
        self.features = self._encoded(self.data)
        self.bank = distinct(self.data.identities)

    def _encoded(self, data: Any) -> ItemBank:
        from train.engine.bilstm import bank_of
        from train.engine.outfits import pooled_features

        features = None
        if self.model.config.has_images:
            features = pooled_features(self.model, self.processor, data, self.cache, self.batch_size)
        return bank_of(self.model, self.processor, data, features)

    def place(self, name: str, flag: str) -> int:
        """Place of an item of the data.

        Raises:
            ValueError: no such item; names the nearest.
        """
        place = self.features.places.get(name)
        if place is None or place >= self.count:
            nearest = difflib.get_close_matches(name, self.data.ids[: self.count], n=1, cutoff=0.0)
            raise ValueError(
                f"{flag} {name}: the {self.data.split} split has no such item among its {self.count:,}; "
                f"the nearest id is {nearest[0]}"
            )
        return place

    def add_photos(self, files: Sequence[str]) -> list[int]:
        """Places of photo files, each encoded once.

        Raises:
            FileNotFoundError, ValueError: a file is missing or no picture, or the model reads no pictures.
        """
        from data_scripts.images import open_image
        from train.engine.outfits import Outfits, identities_of

        if files and not self.model.config.has_images:
            raise ValueError("this model reads the items' names, not pictures; own photos need another model")
        if both := [file for file in files if self.features.places.get(file, self.count) < self.count]:
            raise ValueError(f"{both[0]} is a photo file and the id of an item; give the photo's whole path")
        fresh = [file for file in dict.fromkeys(files) if file not in self.features.places]
        for file in fresh:
            open_image(file).close()
        if fresh:
            data, blank = self.data, [""] * len(fresh)
            own = Outfits("photos", fresh, blank, blank, [Path(file) for file in fresh], [], [])
            own.identities = identities_of(own)
            encoded = self._encoded(own)
            data.ids, data.texts, data.categories = data.ids + fresh, data.texts + blank, data.categories + blank
            data.pictures = [*data.pictures, *own.pictures]
            data.identities = identities_of(data)
            joined = [
                None if old is None else torch.cat([old, new])
                for old, new in (
                    (self.features.items, encoded.items),
                    (self.features.images, encoded.images),
                )
            ]
            self.features = ItemBank(data.ids, *joined)
        return [self.features.places[file] for file in files]

    def find(self, name: str, flag: str) -> int:
        """Place of a photo file or of an item of the data, whichever the name is."""
        place = self.features.places.get(name)
        if place is not None:
            return place
        if Path(name).is_file():
            return self.add_photos([name])[0]
        if Path(name).suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"):
            raise FileNotFoundError(f"{flag} {name}: no such photo")
        return self.place(name, flag)

    def slots(self, groups: dict[str, list[str]] | None = None) -> list[int]:
        """A number for each item's slot: its category, or the group that its category is in; -1 without category.

        Raises:
            ValueError: two groups name one category.
        """
        known = dict.fromkeys(category for category in self.data.categories if category)
        slot_of: dict[str, str] = {}
        for slot, categories in (groups or {}).items():
            for category in categories:
                if slot_of.setdefault(category, slot) != slot:
                    raise ValueError(f"--slots: {category!r} is in {slot_of[category]!r} and in {slot!r}; keep one")
        numbers: dict[tuple[bool, str], int] = {}
        names = {c: (c in slot_of, slot_of.get(c, c)) for c in known}
        return [numbers.setdefault(names[c], len(numbers)) if c else -1 for c in self.data.categories]

    def check_category(self, category: str, flag: str) -> None:
        """Raise ValueError for a category that no item has; names the nearest."""
        known = list(dict.fromkeys(c for c in self.data.categories if c))
        if category not in known:
            nearest = difflib.get_close_matches(category, known, n=1, cutoff=0.0)
            remedy = f"the nearest is {nearest[0]!r}" if nearest else "the data have no categories"
            raise ValueError(f"{flag} {category!r}: no item has this category; {remedy}")

    def scores(self, outfits: Sequence[Sequence[int]], block: int) -> list[tuple[float, float]]:
        """Forward and backward compatibility of outfits, among the distinct products of the data."""
        items, found = self.features.items, []
        bank = items[torch.tensor(self.bank, device=items.device)]
        for outfit in outfits:
            lengths = torch.tensor([len(outfit)], device=items.device)
            scores = self.model.score_outfits(items[list(outfit)][None], lengths, bank, block)
            found.append((float(scores["forward"]), float(scores["backward"])))
        return found
