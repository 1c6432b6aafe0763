"""What a world writes for one part of it: rows in the official annotation files and pictures.

The parts are the designs, after them the capsules of outfits, and last the designs of the pre-training sets. Everything
is a function of the settings and the part's number, so any process can write any part in any order. Sources of the
layouts: the FashionIQ repository (captions, image_splits, images), CIRR's annotation version rc2, and for FashionGen,
FashionKLIP's files, the outfits and the pre-training sets the modules of those names.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .captions import cirr_caption, relative_captions
from .designs import (
    DESIGN_SIZE,
    GROUP_SIZE,
    GROUP_STREAM,
    PAIR_STREAM,
    garment_id,
    generator,
    lane_and_split,
    make_design,
)
from .fashiongen_layout import (
    CONCEPTS_FILE,
    FASHIONGEN_ROOT,
    INFO_FILES,
    LABELS_FILE,
    MENTIONS_FILE,
    PHOTO_TAKE,
    PHOTO_VIEWS,
    concept_truth,
    labels,
    photo_path,
    product_rows,
    read_mentions,
)
from .garment import Garment, differences
from .klip_layout import klip_files, write_klip_files
from .ocir_layout import ocir_files, write_ocir_files
from .outfit_layouts import (
    category_files,
    outfit_annotation_files,
    outfit_picture_folders,
    outfit_pictures,
    outfit_rows,
)
from .outfit_questions import blocks_of
from .outfits import OUTFITS_PER_CAPSULE, Outfit, make_capsule, set_id_of
from .pretraining_layouts import (
    ATTRIBUTES_FILE,
    PRETRAINING_SETS,
    attribute_table,
    pretraining_annotation_files,
    pretraining_picture_folders,
    pretraining_pictures,
    pretraining_rows,
    sets_of,
)
from .render import VIEWS
from .titles import description, title
from .wording import WORDINGS

OUTFIT_LAYOUTS = ("polyvore", "polyvore_outfits")
LAYOUTS = ("fashioniq", "cirr", "fashiongen", "fashionklip", *OUTFIT_LAYOUTS, *PRETRAINING_SETS)
DEFAULT_LAYOUTS = ("fashioniq", "cirr")
FASHIONIQ_CATEGORIES = ("dress", "shirt", "toptee")
SPLITS = ("train", "val", "test")
#: Atelier split -> (CIRR split, picture folder and name prefix).
CIRR_SPLITS = {"train": ("train", "train"), "val": ("val", "dev"), "test": ("test1", "test1")}
FASHIONIQ_ROOT, CIRR_ROOT, OWN_ROOT = "fashionIQ_dataset", "cirr_dataset", "atelier"


@dataclass(frozen=True)
class WorldSettings:
    """Everything that decides what a world contains; two worlds with equal settings are equal.

    Attributes:
        garments: how many products, 200 to 1,000,000; each of the pre-training sets has as many more.
        seed: 0 or larger.
        image_size: side of every picture in pixels, 32 to 1024.
        layouts: which official trees are written, of `LAYOUTS`.
        views: extra pictures per garment under ``atelier/views``, of `render.VIEWS`.
        train_pairs, val_pairs: FashionIQ triplets per design of 18 garments; test designs use `val_pairs`.
        group_pairs: CIRR queries per group of six.
        figure_share: share of the main pictures that show the garment on a figure.
        picture_format: of the CIRR pictures, "png" as in the original or "jpg"; all others are JPEG.
        wording: the words of FashionGen's texts, "shop" or "exotic" (see wording.py).
        outfits: how many outfits the two Polyvore layouts have, of garments of their own; 200 to 1,000,000.

    Raises:
        ValueError: a value is out of range; the message names it and the range.
    """

    garments: int = 3000
    seed: int = 7
    image_size: int = 128
    layouts: tuple[str, ...] = DEFAULT_LAYOUTS
    views: tuple[str, ...] = ()
    train_pairs: int = 30
    val_pairs: int = 16
    group_pairs: int = 9
    figure_share: float = 0.15
    picture_format: str = "png"
    wording: str = "shop"
    outfits: int = 2000

    def __post_init__(self) -> None:
        ranges = {
            "garments": (200, 1_000_000), "seed": (0, 2**31 - 1), "image_size": (32, 1024), "figure_share": (0.0, 1.0),
            "train_pairs": (1, DESIGN_SIZE * (DESIGN_SIZE - 1)), "val_pairs": (1, DESIGN_SIZE * (DESIGN_SIZE - 1)),
            "group_pairs": (1, GROUP_SIZE * (GROUP_SIZE - 1)), "outfits": (200, 1_000_000),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be between {low:,} and {high:,}")
        for name, allowed in (("layouts", LAYOUTS), ("views", VIEWS)):
            chosen = getattr(self, name)
            wrong = [v for v in chosen if v not in allowed]
            if wrong or len(set(chosen)) != len(chosen):
                raise ValueError(f"{name} is {list(chosen)}; choose different ones of {', '.join(allowed)}")
        if not self.layouts and not self.views:
            raise ValueError(f"layouts and views are both empty; choose layouts of {', '.join(LAYOUTS)}")
        if self.picture_format not in ("png", "jpg"):
            raise ValueError(f"picture_format is {self.picture_format!r}; choose png or jpg")
        if "fashionklip" in self.layouts and "fashiongen" not in self.layouts:
            raise ValueError("layout fashionklip is made of the FashionGen tree; choose fashiongen and fashionklip")
        if self.wording not in WORDINGS:
            raise ValueError(f"wording is {self.wording!r}; choose one of {', '.join(WORDINGS)}")

    @property
    def designs(self) -> int:
        """Number of designs; the last one may be cut short."""
        return -(-self.garments // DESIGN_SIZE)

    @property
    def has_outfits(self) -> bool:
        """Whether a layout of outfits is written."""
        return any(layout in self.layouts for layout in OUTFIT_LAYOUTS)

    @property
    def capsules(self) -> int:
        """Number of capsules of outfits; the last one may be cut short."""
        return -(-self.outfits // OUTFITS_PER_CAPSULE) if self.has_outfits else 0

    @property
    def pretraining_sets(self) -> tuple[str, ...]:
        """Names of the pre-training sets with designs of their own that are written."""
        return sets_of(self.layouts)

    @property
    def parts(self) -> int:
        """Number of all parts."""
        return self.designs * (1 + len(self.pretraining_sets)) + self.capsules

    def tasks(self, designs: int) -> list[range]:
        """The numbers of all parts, the designs before the capsules and those of the pre-training sets, in portions for one
        process.

        Args:
            designs: how many of them are a portion; of capsules it is all that share their wrong answers.
        """

        def portions(start: int, stop: int) -> list[range]:
            return [range(first, min(first + designs, stop)) for first in range(start, stop, designs)]

        blocks = blocks_of(self.capsules) if self.capsules else []
        of_outfits = [range(self.designs + block.start, self.designs + block.stop) for block in blocks]
        return portions(0, self.designs) + of_outfits + portions(self.designs + self.capsules, self.parts)

    def as_dict(self) -> dict:
        """JSON-able form, as stored in ``world.json``; without the wording where it is the usual one, and without the
        number of outfits where there are none."""
        stored = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if self.wording == "shop":  # as in worlds that were made before there was another
            del stored["wording"]
        if not self.has_outfits:
            del stored["outfits"]
        return stored


@dataclass(frozen=True)
class Picture:
    """One picture file to be: `view` None means the garment's main view."""

    path: Path
    index: int
    view: str | None
    take: int


def annotation_files(settings: WorldSettings) -> dict[str, str]:
    """Relative path of every annotation file -> its kind: "list", "object" or "lines"."""
    files = {f"{OWN_ROOT}/garments.jsonl": "lines", f"{OWN_ROOT}/queries.jsonl": "lines"}
    if "fashioniq" in settings.layouts:
        for category in FASHIONIQ_CATEGORIES:
            for split in SPLITS:
                files[f"{FASHIONIQ_ROOT}/captions/cap.{category}.{split}.json"] = "list"
                files[f"{FASHIONIQ_ROOT}/image_splits/split.{category}.{split}.json"] = "list"
        files[f"{OWN_ROOT}/test_answers_fashioniq.json"] = "list"
    if "cirr" in settings.layouts:
        for split, _ in CIRR_SPLITS.values():
            files[f"{CIRR_ROOT}/cirr/captions/cap.rc2.{split}.json"] = "list"
            files[f"{CIRR_ROOT}/cirr/image_splits/split.rc2.{split}.json"] = "object"
        files[f"{OWN_ROOT}/test_answers_cirr.json"] = "list"
    if "fashiongen" in settings.layouts:
        files |= dict.fromkeys(INFO_FILES.values(), "list") | {MENTIONS_FILE: "lines"}
    if settings.has_outfits:
        files |= outfit_annotation_files(settings.layouts)
    return files | pretraining_annotation_files(settings.layouts)


def derived_files(settings: WorldSettings) -> list[str]:
    """Relative path of every file that is made after the others, of all parts together or of none."""
    files = [LABELS_FILE, CONCEPTS_FILE] if "fashiongen" in settings.layouts else []
    files += list(category_files(settings.layouts))
    if "polyvore_outfits" in settings.layouts:
        files += ocir_files()
    if "polyvore_outfits" in settings.layouts or settings.pretraining_sets:
        files.append(ATTRIBUTES_FILE)
    return files + (klip_files(settings.image_size) if "fashionklip" in settings.layouts else [])


def write_derived(root: Path, settings: WorldSettings) -> None:
    """Write `derived_files`; the other files and the pictures are in their places."""
    if "fashiongen" in settings.layouts:
        truth = concept_truth(read_mentions(root))
        concepts = [{"concept": c, "father": f, "texts": truth.texts[c]} for c, f in truth.fathers.items()]
        (root / LABELS_FILE).write_text(json.dumps(labels(), indent=1) + "\n", encoding="utf-8")
        (root / CONCEPTS_FILE).write_text("".join(json.dumps(row) + "\n" for row in concepts), encoding="utf-8")
    if "fashionklip" in settings.layouts:
        write_klip_files(root, settings.image_size)
    for path, content in category_files(settings.layouts).items():
        (root / path).write_text(content, encoding="utf-8")
    if "polyvore_outfits" in settings.layouts:
        write_ocir_files(root, settings.outfits, settings.seed)
    if ATTRIBUTES_FILE in derived_files(settings):
        (root / ATTRIBUTES_FILE).write_text(attribute_table(), encoding="utf-8")


def picture_folders(settings: WorldSettings) -> list[str]:
    """Every folder that holds pictures, relative to the world."""
    folders = []
    if "fashioniq" in settings.layouts:
        folders.append(f"{FASHIONIQ_ROOT}/images")
    if "cirr" in settings.layouts:
        folders += [f"{CIRR_ROOT}/train/{k}" for k in range(100)] + [f"{CIRR_ROOT}/dev", f"{CIRR_ROOT}/test1"]
    if "fashiongen" in settings.layouts:
        folders += [f"{FASHIONGEN_ROOT}/{split}" for split in SPLITS]
    for view in settings.views:
        folders += [f"{OWN_ROOT}/views/{view}/{k:02d}" for k in range(100)]
    if settings.has_outfits:
        folders += outfit_picture_folders(settings.layouts, map(set_id_of, range(settings.outfits)))
    return folders + pretraining_picture_folders(settings.layouts)


def _indices(settings: WorldSettings, number: int) -> range:
    start = number * DESIGN_SIZE
    return range(start, min(start + DESIGN_SIZE, settings.garments))


def _pretraining_part(settings: WorldSettings, number: int) -> tuple[str, int, range]:
    """Pre-training set of a part behind the capsules, number of its design, and indices of that design's garments."""
    place, design = divmod(number - settings.designs - settings.capsules, settings.designs)
    name = settings.pretraining_sets[place]
    one = PRETRAINING_SETS[name]
    indices = _indices(settings, design)
    return name, one.first_design + design, range(one.first_index + indices.start, one.first_index + indices.stop)


def _cirr_name(index: int, split: str, suffix: str) -> tuple[str, str]:
    """Name of a CIRR picture and its path relative to the picture root, as the split files give it."""
    group, member = divmod(index, GROUP_SIZE)
    folder = CIRR_SPLITS[split][1]
    name = f"{folder}-{group}-{member // 2}-img{member % 2}"
    return name, f"./{folder}/{group % 100}/{name}.{suffix}" if split == "train" else f"./{folder}/{name}.{suffix}"


def _outfits(settings: WorldSettings, number: int) -> list[Outfit]:
    """The outfits of the capsule that is a part of the world."""
    capsule = make_capsule(settings.seed, number - settings.designs)
    return [outfit for outfit in capsule if outfit.number < settings.outfits]


def pictures(settings: WorldSettings, number: int) -> Iterator[Picture]:
    """The picture files of one part; of a design without making its garments, so that checking a world is fast."""
    if number >= settings.designs + settings.capsules:
        name, _, indices = _pretraining_part(settings, number)
        for path, index, view in pretraining_pictures(settings.seed, name, indices):
            yield Picture(path, index, view, PHOTO_TAKE)
        return
    if number >= settings.designs:
        for path, garment in outfit_pictures(settings.layouts, _outfits(settings, number)):
            yield Picture(path, garment.index, "front", 0)
        return
    category, split = lane_and_split(number)
    indices = _indices(settings, number)
    for index in indices:
        name = garment_id(settings.seed, index)
        if "fashioniq" in settings.layouts and category is not None:
            yield Picture(Path(FASHIONIQ_ROOT, "images", f"{name}.jpg"), index, None, 0)
        if "cirr" in settings.layouts and index // GROUP_SIZE * GROUP_SIZE + GROUP_SIZE <= indices.stop:
            yield Picture(Path(CIRR_ROOT, _cirr_name(index, split, settings.picture_format)[1]), index, None, 1)
        if "fashiongen" in settings.layouts:
            for view in PHOTO_VIEWS:
                yield Picture(photo_path(name, split, view), index, view, PHOTO_TAKE)
        for view in settings.views:
            yield Picture(Path(OWN_ROOT, "views", view, f"{index % 100:02d}", f"{name}.jpg"), index, view, 2)


def _pairs(rng, count: int, members: int) -> list[tuple[int, int]]:
    """Different ordered pairs of different members."""
    everything = [(a, b) for a in range(members) for b in range(members) if a != b]
    return [everything[int(i)] for i in rng.permutation(len(everything))[:count]]


def _query_row(layout: str, query: str, reference: Garment, target: Garment, captions: list) -> str:
    row = {
        "layout": layout,
        "query": query,
        "split": reference.split,
        "reference": reference.id,
        "target": target.id,
        "differences": list(differences(reference, target)),
        "captions": [c.text for c in captions],
        "statements": [[[s.attribute, s.operation, s.value] for s in c.statements] for c in captions],
    }
    return json.dumps(row)


def rows(settings: WorldSettings, number: int) -> dict[str, list[str]]:
    """What one part adds to each annotation file, by the file's relative path; each row is its text."""
    added: dict[str, list[str]] = {}

    def add(path: str, row: str) -> None:
        added.setdefault(path, []).append(row)

    if number >= settings.designs + settings.capsules:
        name, of_set, indices = _pretraining_part(settings, number)
        design = make_design(settings.seed, of_set)[: len(indices)]
        for path, row in pretraining_rows(settings.seed, name, design, settings.wording):
            add(path, row)
        return added
    if number >= settings.designs:
        outfits = _outfits(settings, number)
        for path, row in outfit_rows(settings.seed, settings.outfits, settings.layouts, outfits):
            add(path, row)
        return added
    design = make_design(settings.seed, number)[: len(_indices(settings, number))]
    category, split = lane_and_split(number)

    for garment in design:
        row = garment.as_row() | {"title": title(garment), "description": description(garment)}
        add(f"{OWN_ROOT}/garments.jsonl", json.dumps(row))
    if "fashioniq" in settings.layouts and category is not None:
        for garment in design:
            add(f"{FASHIONIQ_ROOT}/image_splits/split.{category}.{split}.json", json.dumps(garment.id))
        rng = generator(settings.seed, PAIR_STREAM, number)
        count = settings.train_pairs if split == "train" else settings.val_pairs
        for k, (a, b) in enumerate(_pairs(rng, count, len(design))):
            reference, target = design[a], design[b]
            captions = list(relative_captions(rng, reference, target, design))
            row = {"target": target.id, "candidate": reference.id, "captions": [c.text for c in captions]}
            if split == "test":
                add(f"{OWN_ROOT}/test_answers_fashioniq.json", json.dumps(row | {"category": category}))
                del row["target"]
            add(f"{FASHIONIQ_ROOT}/captions/cap.{category}.{split}.json", json.dumps(row))
            query = f"{category}-{number}-{k}"
            add(f"{OWN_ROOT}/queries.jsonl", _query_row("fashioniq", query, reference, target, captions))
    if "cirr" in settings.layouts:
        for start in range(0, len(design) - GROUP_SIZE + 1, GROUP_SIZE):
            _add_group(settings, design[start : start + GROUP_SIZE], add)
    if "fashiongen" in settings.layouts:
        for path, row in product_rows(settings.seed, design, settings.wording):
            add(path, row)
    return added


def _add_group(settings: WorldSettings, group: tuple[Garment, ...], add) -> None:
    """The rows of one CIRR group of six."""
    split = group[0].split
    official = CIRR_SPLITS[split][0]
    number = group[0].index // GROUP_SIZE
    names = []
    for garment in group:
        name, path = _cirr_name(garment.index, split, settings.picture_format)
        names.append(name)
        add(f"{CIRR_ROOT}/cirr/image_splits/split.rc2.{official}.json", f"{json.dumps(name)}: {json.dumps(path)}")
    rng = generator(settings.seed, GROUP_STREAM, number)
    for k, (a, b) in enumerate(_pairs(rng, settings.group_pairs, GROUP_SIZE)):
        caption = cirr_caption(rng, group[a], group[b], group)
        pair = number * settings.group_pairs + k
        row = {
            "pairid": pair,
            "reference": names[a],
            "target_hard": names[b],
            "target_soft": {names[b]: 1.0},
            "caption": caption.text,
            "img_set": {"id": number, "members": names, "reference_rank": a, "target_rank": b},
        }
        add(f"{OWN_ROOT}/queries.jsonl", _query_row("cirr", str(pair), group[a], group[b], [caption]))
        if split == "test":
            add(f"{OWN_ROOT}/test_answers_cirr.json", json.dumps({"pairid": pair, "target_hard": names[b]}))
            del row["target_hard"], row["target_soft"]
            row["img_set"] = {key: value for key, value in row["img_set"].items() if key != "target_rank"}
        add(f"{CIRR_ROOT}/cirr/captions/cap.rc2.{official}.json", json.dumps(row))
