"""Atelier's outfits: the style rule, questions that only it answers, both Polyvore trees, pictures that show it."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts.atelier import WorldSettings, build_world
from data_scripts.atelier.garment import Garment
from data_scripts.atelier.oracle import answer_scores, outfit_score
from data_scripts.atelier.outfit_questions import BLOCK, Asker, blocks_of
from data_scripts.atelier.outfit_rule import (
    NEUTRALS,
    SLOT_ORDER,
    WHEEL,
    broken_parts,
    colour_scheme,
    colours_of,
    hues_of,
    is_compatible,
    worn_in,
)
from data_scripts.atelier.outfits import make_capsule, make_outfit, outfit_garment, split_of
from data_scripts.atelier.render import render
from data_scripts.atelier.vocabulary import COLOURS
from data_scripts.polyvore import Polyvore
from data_scripts.polyvore_outfits import PolyvoreOutfits

SEED, OUTFITS = 5, 240
LAYOUTS = ("polyvore", "polyvore_outfits")
SETTINGS = WorldSettings(garments=200, outfits=OUTFITS, seed=SEED, image_size=32, layouts=LAYOUTS)
KINDS = {None: "random", "typed": "typed"}
Rows = list[dict]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("atelier") / "world"
    build_world(root, SETTINGS, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def garments(world) -> dict[str, Garment]:
    rows = [json.loads(line) for line in (world / "atelier/outfit_garments.jsonl").read_text().splitlines()]
    return {row["id"]: Garment.from_row(row) for row in rows}


@pytest.fixture(scope="module")
def worn(world, garments) -> dict[str, Garment]:
    """Key of Polyvore -> the garment."""
    rows = [json.loads(line) for line in (world / "atelier/outfits.jsonl").read_text().splitlines()]
    return {f"{r['set_id']}_{n}": garments[g] for r in rows for n, g in enumerate(r["garments"], 1)}


@pytest.fixture(scope="module")
def load(world, tmp_path_factory):
    """Rows of a builder's configuration, by split."""

    def read(builder, name: str, **options) -> dict[str, Rows]:
        made = builder(
            config_name=name, data_dir=str(world), cache_dir=str(tmp_path_factory.mktemp("cache")), **options
        )
        made.download_and_prepare()
        return {split: list(rows) for split, rows in made.as_dataset().items()}

    return read


# The rule


def _dressed(*changes: dict) -> list[Garment]:
    """Garments with given values, of no other importance."""
    plain = make_outfit(SEED, 0).garments[0].as_row() | {"second_colour": None, "formality": 1}
    return [Garment.from_row(plain | {"seasons": ["spring", "summer"]} | change) for change in changes]


@pytest.mark.parametrize(
    ("hues", "scheme"),
    [
        ((), "accent"), ((4,), "accent"), ((3, 4, 5), "analogous"), ((11, 0, 1), "analogous"), ((10, 0), "analogous"),
        ((2, 8), "complementary"), ((0, 6), "complementary"), ((0, 3), None), ((0, 1, 6), None), ((0, 4, 8), None),
        ((0, 1, 2, 3), None),
    ],
)  # fmt: skip
def test_schemes_of_hues(hues, scheme):
    assert colour_scheme(hues) == scheme
    assert colour_scheme([(hue + 7) % 12 for hue in hues]) == scheme  # the wheel has no beginning


def test_every_colour_is_neutral_or_on_the_wheel_and_faces_another():
    assert set(NEUTRALS) | set(WHEEL) == set(COLOURS) and not set(NEUTRALS) & set(WHEEL)
    assert set(WHEEL.values()) == set(range(12))


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (({"category": "top"}, {"category": "skirt"}, {"category": "shoes"}), ()),
        (({"category": "skirt"}, {"category": "top"}), ("slots",)),
        (({"category": "shoes"}, {"category": "shoes"}), ("slots",)),
        (({"category": "top"}, {"category": "dress"}), ("slots",)),
        (({"category": "dress"}, {"category": "skirt"}), ("slots",)),
        (({"category": "top"}, {"category": "bag", "formality": 2}), ()),
        (({"category": "top"}, {"category": "bag", "formality": 3}), ("formality",)),
        (({"category": "top"}, {"category": "skirt", "seasons": ["autumn", "winter"]}), ("season",)),
        (({"category": "top"}, {"category": "bag", "seasons": ["winter"]}), ()),
        (
            ({"category": "top", "seasons": ["winter"]}, {"category": "shoes", "seasons": ["spring", "autumn"]}), (),
        ),
        (({"category": "top", "colour": "red"}, {"category": "skirt", "colour": "blue"}), ("colours",)),
        (({"category": "top", "colour": "red"}, {"category": "skirt", "colour": "green"}), ()),
        (
            (
                {"category": "top", "colour": "red"},
                {"category": "skirt", "colour": "navy", "second_colour": "yellow"},
            ),
            ("colours",),
        ),
    ],
)  # fmt: skip
def test_what_breaks_the_rule(changes, broken):
    items = _dressed(*({"colour": "black"} | change for change in changes))
    assert broken_parts(items) == broken
    assert is_compatible(items) == (not broken)
    assert outfit_score(items) == 1 - len(broken) / 4


# Outfits


def test_outfits_keep_the_rule_and_say_what_they_are(world, garments):
    rows = [json.loads(line) for line in (world / "atelier/outfits.jsonl").read_text().splitlines()]
    assert len(rows) == OUTFITS == len({tuple(row["garments"]) for row in rows})
    for row in rows:
        items = [garments[name] for name in row["garments"]]
        assert is_compatible(items) and 4 <= len(items) <= 7 and items[-1].slot == "shoes"
        slots = [item.slot for item in items]
        assert slots == sorted(slots, key=SLOT_ORDER.index) and ("one-piece" in slots) != ("top" in slots)
        assert all(row["season"] in worn_in(item) for item in items)
        assert min(item.formality for item in items) == row["formality"]
        assert colour_scheme(hues_of(items)) == row["scheme"] and hues_of(items)
    for field, least in (("season", 4), ("scheme", 3), ("formality", 4)):
        assert len(Counter(row[field] for row in rows)) >= least


def test_an_outfit_depends_on_seed_and_number_alone():
    early = [make_outfit(SEED, n) for n in range(12)]
    make_capsule.cache_clear()
    late = [make_outfit(SEED, n) for n in reversed(range(12))][::-1]
    assert early == late and early != [make_outfit(SEED + 1, n) for n in range(12)]
    garment = early[5].garments[1]
    assert outfit_garment(SEED, garment.index) == garment


def test_capsules_share_blocks_of_wrong_answers():
    assert blocks_of(10) == [range(10)] and blocks_of(2 * BLOCK - 1) == [range(2 * BLOCK - 1)]
    parts = blocks_of(3 * BLOCK + 7)
    assert [n for part in parts for n in part] == list(range(3 * BLOCK + 7))
    assert all(len(part) >= BLOCK for part in parts)
    asker = Asker(SEED, 4 * (2 * BLOCK), 4 * BLOCK + 1, "typed")  # an outfit of the second block
    keys = [key for question in (asker.blank() for _ in range(5)) for key in question.answers]
    assert all(int(key.split("_")[0]) >= 200_000_000 + 4 * BLOCK for key in keys)


def test_splits_share_no_design_and_the_other_version_does(world, garments):
    rows = [json.loads(line) for line in (world / "atelier/outfits.jsonl").read_text().splitlines()]
    for version in ("disjoint", "nondisjoint"):
        designs = defaultdict(set)
        for row in rows:
            designs[row["splits"][version]] |= {garments[name].design_id for name in row["garments"]}
        assert set(designs) == {"train", "val", "test"}
        shared = (
            designs["train"] & designs["test"] | designs["train"] & designs["val"] | designs["val"] & designs["test"]
        )
        assert bool(shared) == (version == "nondisjoint")
    shares = Counter(split_of(n) for n in range(400))
    assert shares == {"train": 240, "val": 80, "test": 80}


# Questions


def _picked(scores: list[float], right: int) -> float:
    """1 for the right answer, the usual share where several are best."""
    best = [place for place, score in enumerate(scores) if score == max(scores)]
    return (right in best) / len(best)


@pytest.mark.parametrize("questions", list(KINDS))
def test_blanks_of_polyvore(load, worn, questions):
    blanks = load(Polyvore, "fill_in_blank", questions=questions)
    assert set(blanks) == {"valid", "test"}
    whole, by_category = [], []
    for split, rows in blanks.items():
        assert len(rows) == OUTFITS // 5
        for row in rows:
            own = {key.split("_")[0] for key in (*row["question"], row["answers"][0])}
            assert len(own) == 1 and own.isdisjoint(key.split("_")[0] for key in row["answers"][1:])
            others, answers = [worn[k] for k in row["question"]], [worn[k] for k in row["answers"]]
            assert len({a.index for a in answers}) == 4
            assert {a.split for a in (*others, *answers)} == {{"valid": "val"}.get(split, split)}
            scores = answer_scores(others, row["blank_position"], answers)
            assert scores[0] == 1 and max(scores[1:]) < 1
            whole.append(_picked(scores, 0))
            by_category.append(_picked(answer_scores(others, row["blank_position"], answers, ["slots"]), 0))
            if questions:
                assert {a.category for a in answers} == {answers[0].category}
    assert np.mean(whole) == 1
    if questions:
        assert np.mean(by_category) == 0.25
    else:
        assert 0.6 < np.mean(by_category) < 1


@pytest.mark.parametrize("questions", list(KINDS))
def test_compatibility_of_polyvore(load, worn, questions):
    for rows in load(Polyvore, "compatibility", questions=questions).values():
        assert Counter(row["label"] for row in rows) == {1: OUTFITS // 5, 0: OUTFITS // 5}
        patterns = {0: [], 1: []}
        for row in rows:
            items = [worn[key] for key in row["item_ids"]]
            assert is_compatible(items) == bool(row["label"]) and len(set(items)) == len(items)
            patterns[row["label"]].append(tuple(item.category for item in items))
        assert (sorted(patterns[0]) == sorted(patterns[1])) == (questions == "typed")


@pytest.mark.parametrize("version", ["disjoint", "nondisjoint"])
def test_questions_of_polyvore_outfits(load, garments, version):
    blanks, lines = (load(PolyvoreOutfits, f"{version}-{name}") for name in ("fill_in_blank", "compatibility"))
    outfits = load(PolyvoreOutfits, f"{version}-outfits", images="absent")
    assert sum(map(len, blanks.values())) == OUTFITS == sum(map(len, lines.values())) / 2
    rights = Counter()
    for split, rows in blanks.items():
        known = {item for outfit in outfits[split] for item in outfit["item_ids"]}
        for row in rows:
            (right,) = row["right_answers"]
            rights[right] += 1
            answers = [garments[i] for i in row["answers"]]
            assert {a.category for a in answers} == {answers[0].category} and set(row["answers"]) <= known
            scores = answer_scores([garments[i] for i in row["question"]], row["blank_position"], answers)
            assert [score == 1 for score in scores] == [place == right for place in range(4)]
        for row in lines[split]:
            assert is_compatible([garments[i] for i in row["item_ids"]]) == bool(row["label"])
    assert set(rights) == {0, 1, 2, 3}


def test_items_are_described_alike_in_both_trees(load, worn, garments):
    semantic = {}
    for outfits, others in zip(
        load(Polyvore, "outfits").values(), load(PolyvoreOutfits, "disjoint-outfits").values(), strict=True
    ):
        for one, other in zip(outfits, others, strict=True):
            assert one["set_id"] == other["set_id"] and other["name"]
            assert one["categories"] == other["categories"] == [worn[key].category for key in one["item_ids"]]
            assert [worn[key].id for key in one["item_ids"]] == other["item_ids"]
            assert [np.asarray(i).tolist() for i in one["images"]] == [np.asarray(i).tolist() for i in other["images"]]
            for name, item in zip(one["item_names"], other["item_ids"], strict=True):
                assert name == name.lower() and garments[item].colour in name and garments[item].subcategory in name
            semantic |= dict(
                zip((garments[i].slot for i in other["item_ids"]), other["semantic_categories"], strict=True)
            )
    assert len(set(semantic.values())) == len(SLOT_ORDER)


def test_two_workers_and_a_mended_world_are_the_same(world, tmp_path):
    build_world(tmp_path / "other", SETTINGS, workers=2, progress=False)
    names = sorted(p.relative_to(world) for p in world.rglob("*.*") if p.is_file() and ".partial" not in p.parts)
    assert len(names) > 5 * OUTFITS
    assert all((world / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in names)
    victims = [next((world / "polyvore_outfits/images").iterdir()), world / "polyvore/images/200000000/1.jpg"]
    before = [path.read_bytes() for path in victims]
    for path in victims:
        path.unlink()
    (world / "polyvore/label/category_id.txt").unlink()
    assert build_world(world, SETTINGS, workers=1, progress=False)["drawn"] == 2
    assert [path.read_bytes() for path in victims] == before
    assert (world / "polyvore/label/category_id.txt").is_file()


def test_worlds_without_outfits_do_not_know_them():
    assert "outfits" not in WorldSettings(outfits=300).as_dict() and WorldSettings().capsules == 0
    assert SETTINGS.as_dict()["outfits"] == OUTFITS
    with pytest.raises(ValueError, match="outfits is 199; it must be between 200 and 1,000,000"):
        WorldSettings(outfits=199)


def test_too_few_outfits_for_wrong_answers_is_said():
    with pytest.raises(ValueError, match="too few other outfits.*more --outfits"):
        Asker(SEED, 12, 0, "typed").blank()


# Pictures


def test_the_colours_of_the_rule_are_in_the_picture():
    """Whoever knows only the pixels reads the hues of plain garments, whatever the light and the dye."""
    plain = {}
    for number in range(60):
        for outfit in make_capsule(SEED, number):
            plain |= {g.index: g for g in outfit.garments if g.pattern == "solid" and len(colours_of(g)) == 1}
    names = list(COLOURS)
    palette = np.array([COLOURS[name] for name in names], dtype=np.float32)
    read = []
    for garment in plain.values():
        pixels = np.asarray(render(garment, SEED, "front", 64), dtype=np.float32)[20:44, 20:44].reshape(-1, 3)
        counted = Counter(((pixels[:, None] - palette) ** 2).sum(-1).argmin(-1).tolist())
        found = names[counted.most_common(1)[0][0]]
        read.append(WHEEL.get(found) == WHEEL.get(garment.colour))
    assert len(read) > 60 and np.mean(read) > 0.75


def test_an_outfits_photos_are_square_and_its_own(world):
    folder = world / "polyvore/images"
    assert len(list(folder.iterdir())) == OUTFITS
    with Image.open(folder / "200000000/1.jpg") as picture:
        assert picture.size == (32, 32) and picture.mode == "RGB"
