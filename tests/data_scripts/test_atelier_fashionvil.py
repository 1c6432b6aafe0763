"""Atelier's layouts of FashionViL: four pre-training sets that share nothing, one numbering of attributes, OCIR."""

import hashlib
import json
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from data_scripts.atelier import WorldSettings, build_world
from data_scripts.atelier.build import estimated_bytes
from data_scripts.atelier.designs import DESIGN_SIZE, lane_and_split
from data_scripts.atelier.garment import Garment
from data_scripts.atelier.layouts import pictures, rows
from data_scripts.atelier.ocir_layout import candidates_of
from data_scripts.atelier.outfits import END_INDEX
from data_scripts.atelier.pretraining_layouts import PRETRAINING_SETS
from data_scripts.ocir_questions import ocir_questions
from data_scripts.polyvore_ocir import CATEGORY_IDS
from data_scripts.prepare import BUILDERS, prepare
from tests.train.conftest import run_here
from train import fashionvil_pretrain
from train.engine.products import load_products

SEED, GARMENTS, OUTFITS = 5, 200, 200
NAMES = ("fashiongen", "big_facad", "fashion200k", "polyvore_outfits")
SETTINGS = WorldSettings(garments=GARMENTS, outfits=OUTFITS, seed=SEED, image_size=32, layouts=NAMES)
#: Layout -> the file with the truth about its products, and the folder of its tree.
TRUTH = {
    "fashiongen": ("garments.jsonl", "FashionGen"),
    "big_facad": ("big_facad_garments.jsonl", "BigFACAD"),
    "fashion200k": ("fashion200k_garments.jsonl", "Fashion200k"),
    "polyvore_outfits": ("outfit_garments.jsonl", "polyvore_outfits"),
}
VIEWS = {"fashiongen": 3, "big_facad": 4, "fashion200k": 2, "polyvore_outfits": 1}
ARCHITECTURE = """
vision_config: {model_type: resnet, embedding_size: 4, hidden_sizes: [8, 8, 16, 16], depths: [1, 1, 1, 1], image_size: 32}
text_config: {vocab_size: 300, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 1, num_attention_heads: 2,
              max_position_embeddings: 80}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("atelier") / "world"
    build_world(root, SETTINGS, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def garments(world) -> dict[str, dict[str, Garment]]:
    """Layout -> product id as its builder gives it -> the garment."""
    found = {}
    for name, (file, _) in TRUTH.items():
        listed = [Garment.from_row(json.loads(line)) for line in (world / "atelier" / file).read_text().splitlines()]
        found[name] = {g.id if name == "polyvore_outfits" else str(g.index): g for g in listed}
    return found


@pytest.fixture(scope="module")
def products(world, tmp_path_factory) -> dict[str, dict[str, list[dict]]]:
    """Layout -> split -> rows of its builder."""
    cache = tmp_path_factory.mktemp("cache")
    made = {name: prepare(BUILDERS[name], "products", world, cache) for name in NAMES}
    return {name: {split: list(some) for split, some in one.items()} for name, one in made.items()}


# Products


def test_every_set_has_its_own_texts_and_views(products, garments):
    for name, splits in products.items():
        found = {row["product_id"]: row for some in splits.values() for row in some}
        assert found.keys() <= garments[name].keys() and len(found) == sum(map(len, splits.values()))
        for product, row in found.items():
            garment = garments[name][product]
            assert garment.colour in row["title"].lower() and len(row["images"]) == VIEWS[name]
            assert all(garment.id in image for image in row["image_ids"])
    facad = products["big_facad"]["train"]
    assert all(row["caption"] == f"{row['color']}.{row['title']}.{row['description']}" for row in facad)
    for row in facad:
        garment = garments["big_facad"][row["product_id"]]
        assert row["color"] == "/".join(c for c in (garment.colour, garment.second_colour) if c)
    assert any("/" in row["color"] for row in facad) and any("/" not in row["color"] for row in facad)
    assert all(row["caption"] == row["title"].lower() for row in products["fashion200k"]["train"])
    outfits = products["polyvore_outfits"]["train"]
    assert all(row["caption"] == f"{row['title']}.{row['description']}" and row["description"] for row in outfits)


def test_splits_are_the_official_ones_and_every_garment_is_in_one(products, garments):
    official = {"big_facad": {"val": "validation", "test": "validation"}, "fashion200k": {"val": "test"}}
    for name in ("big_facad", "fashion200k", "polyvore_outfits"):
        names = official.get(name, {"val": "valid"})
        expected = {product: names.get(g.split, g.split) for product, g in garments[name].items()}
        assert {row["product_id"]: split for split, some in products[name].items() for row in some} == expected
        designs = defaultdict(set)
        for product, split in expected.items():
            designs[split].add(garments[name][product].design_id)
        assert not any(one & other for one, other in combinations(designs.values(), 2))


def test_one_numbering_of_attributes_for_all_sets(world, products, garments):
    names = json.loads((world / "FashionGen/labels.json").read_text())["attributes"]
    assert json.loads((world / "atelier/pseudo_attributes.json").read_text()) == names
    for name in NAMES[1:]:
        for row in (row for some in products[name].values() for row in some):
            garment = garments[name][row["product_id"]]
            said = [value for value in (garment.colour, garment.pattern, garment.fabric) if value in names]
            assert row["attribute_ids"] == [names[value] for value in said] and len(said) >= 2
    entries = json.loads((world / "FashionGen/train_info.json").read_text())
    for entry in entries:
        garment = garments["fashiongen"][str(entry["id"])]
        assert names[garment.colour] in entry["attributes_id"] and names[garment.fabric] in entry["attributes_id"]


def test_no_product_design_or_picture_is_in_two_sets(world, garments):
    for field in ("id", "index", "design_id"):
        values = {name: {getattr(g, field) for g in some.values()} for name, some in garments.items()}
        assert not any(one & other for one, other in combinations(values.values(), 2))
    owners = defaultdict(set)
    for name, (_, folder) in TRUTH.items():
        for path in (world / folder).rglob("*.jp*g"):
            with Image.open(path) as picture:
                assert picture.format == "JPEG" and picture.size == (32, 32)
                owners[hashlib.sha256(picture.tobytes()).digest()].add(name)
    assert len(owners) > 2000 and all(len(names) == 1 for names in owners.values())


def test_the_largest_worlds_keep_apart_and_are_divided_alike():
    firsts = [one.first_index for one in PRETRAINING_SETS.values()]
    assert firsts[0] >= END_INDEX and firsts[1] >= firsts[0] + 1_000_000 + DESIGN_SIZE
    for one in PRETRAINING_SETS.values():
        assert [lane_and_split(one.first_design + n) for n in range(140)] == [lane_and_split(n) for n in range(140)]


def test_products_of_all_sets_are_read_together(world):
    joined = load_products(["big_facad", "fashion200k", "fashiongen", "polyvore_outfits"], world, "train")
    counts = Counter(product.partition("/")[0] for product in joined.ids)
    assert counts.keys() == set(NAMES) and counts["big_facad"] == counts["fashion200k"] == counts["fashiongen"]
    assert len(set(joined.ids)) == len(joined) and all(joined.attributes)
    assert all(attribute.isdecimal() for own in joined.attributes for attribute in own)


def test_pre_training_runs_on_all_sets(world, tmp_path):
    (tmp_path / "tiny.yaml").write_text(ARCHITECTURE)
    flags = ["--datasets", "big_facad", "fashion200k", "fashiongen", "polyvore_outfits", "--data_dir", str(world)]
    flags += ["--architecture", tmp_path / "tiny.yaml", "--tasks", "itm", "pac", "itc", "mvc", "mlm", "--steps", "2"]
    flags += ["--validation_steps", "2", "--batch_size", "4", "--max_length", "32", "--save", "none", "--cpu"]
    run = run_here(fashionvil_pretrain, *flags, "--output_dir", tmp_path / "run")
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2]
    assert any("validation/mean_recall" in entry for entry in entries)


# Complementary items


@pytest.mark.parametrize("version", ["disjoint", "nondisjoint"])
def test_questions_are_outfits_without_one_item(world, garments, version):
    known = garments["polyvore_outfits"]
    root = world / "polyvore_outfits"
    for split in ("train", "test"):
        outfits = json.loads((root / version / f"{split}.json").read_text())
        made = {frozenset(item["item_id"] for item in outfit["items"]) for outfit in outfits}
        asked = [r for r in json.loads((root / f"ocir_{version}_{split}.json").read_text()) if not r.get("fake_data")]
        assert len(asked) == len(outfits)
        assert {frozenset([*row["question"], row["blank"]]) for row in asked} == made
    galleries, blanks = defaultdict(list), set()
    for row in json.loads((root / f"ocir_{version}_test.json").read_text()):
        galleries[known[row["blank"]].category].append(row["blank"])
        if row["fake_data"]:
            assert row["question"] == [row["blank"]]
        else:
            blanks.add(known[row["blank"]].category)
    assert blanks == galleries.keys() and len(blanks) >= 5
    assert all(len(set(items)) == candidates_of(OUTFITS) for items in galleries.values())


@pytest.mark.parametrize("version", ["disjoint", "nondisjoint"])
def test_questions_follow_the_rule_of_the_real_ones(world, tmp_path, version):
    root = world / "polyvore_outfits"
    listed = {s: json.loads((root / version / f"{s}.json").read_text()) for s in ("train", "valid", "test")}
    outfits = {s: [[item["item_id"] for item in one["items"]] for one in some] for s, some in listed.items()}
    metadata = json.loads((root / "polyvore_item_metadata.json").read_text())
    categories = {item: entry["category_id"] for item, entry in metadata.items()}
    expected, _ = ocir_questions(outfits, categories, OUTFITS // 10, SEED)
    found = prepare(BUILDERS["polyvore_outfits"], f"ocir_{version}", world, tmp_path)
    for split, some in expected.items():
        assert found[split]["question_ids"][:] == [row["question"] for row in some]
        assert found[split]["blank_id"][:] == [row["blank"] for row in some]
        assert found[split]["fake_data"][:] == [row.get("fake_data", False) for row in some]
        numbers = [CATEGORY_IDS.index(int(categories[row["blank"]])) for row in some]
        assert found[split]["blank_category"][:] == numbers


def test_candidates_grow_with_the_world_up_to_the_published_number():
    assert [candidates_of(n) for n in (200, 1500, 2000, 30_000, 1_000_000)] == [20, 150, 200, 3000, 3000]


# The world


def _annotations(settings: WorldSettings, parts: range) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in parts:
        for path, lines in rows(settings, part).items():
            found.setdefault(path, []).extend(lines)
    return found


def test_other_layouts_do_not_notice():
    small = {"garments": GARMENTS, "outfits": OUTFITS, "seed": SEED, "image_size": 32}
    before = WorldSettings(layouts=("fashiongen", "polyvore"), **small)
    after = WorldSettings(layouts=("fashiongen", "polyvore", "big_facad", "fashion200k"), **small)
    assert after.parts == before.parts + 2 * before.designs and after.parts == after.tasks(8)[-1].stop
    assert [n for numbers in after.tasks(8) for n in numbers] == list(range(after.parts))
    assert _annotations(before, range(before.parts)) == _annotations(after, range(before.parts))
    assert [list(pictures(before, n)) for n in range(before.parts)] == [
        list(pictures(after, n)) for n in range(before.parts)
    ]
    further = range(before.parts, after.parts)
    assert {path.partition("/")[0] for path in _annotations(after, further)} == {"BigFACAD", "Fashion200k", "atelier"}
    assert before.as_dict() == after.as_dict() | {"layouts": ["fashiongen", "polyvore"]}


def test_a_set_does_not_depend_on_the_others():
    small = {"garments": GARMENTS, "seed": SEED, "image_size": 32}
    alone = WorldSettings(layouts=("fashion200k",), **small)
    beside = WorldSettings(layouts=("fashion200k", "big_facad"), **small)
    own = _annotations(alone, range(alone.designs, alone.parts))
    other = _annotations(beside, range(beside.designs, beside.parts))
    assert own == {path: other[path] for path in own} and sum(map(len, own.values())) == 2 * GARMENTS


def test_a_finished_world_is_mended_and_an_earlier_ones_gets_what_it_lacks(world):
    record = world / "atelier/world.json"
    before = json.loads(record.read_text())
    files = [world / name for name in ("polyvore_outfits/ocir_disjoint_test.json", "polyvore_outfits/train_info.json")]
    files += [next((world / "BigFACAD/images/00").iterdir()), next((world / "Fashion200k/images/07").iterdir())]
    content = [file.read_bytes() for file in files]
    for file in files[1:]:
        file.unlink()
    assert build_world(world, SETTINGS, workers=1, progress=False)["drawn"] == 2
    assert [file.read_bytes() for file in files] == content and json.loads(record.read_text()) == before
    files[0].unlink()
    lacking = {path: digest for path, digest in before["annotations"].items() if "ocir" not in path}
    record.write_text(json.dumps(before | {"annotations": lacking}))
    assert build_world(world, SETTINGS, workers=1, progress=False)["drawn"] == 0
    assert files[0].read_bytes() == content[0] and json.loads(record.read_text()) == before


def test_several_processes_write_the_same_world(tmp_path):
    settings = WorldSettings(garments=GARMENTS, seed=SEED, image_size=32, layouts=("fashion200k",))
    for workers in (1, 2):
        build_world(tmp_path / str(workers), settings, workers=workers, progress=False)
    names = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*.*") if p.is_file())
    assert len([name for name in names if name.suffix == ".jpeg"]) == 2 * GARMENTS
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in names)


def test_the_disk_it_takes_is_foreseen(world):
    size = sum(path.stat().st_size for path in world.rglob("*") if path.is_file())
    assert size < estimated_bytes(SETTINGS) < 3 * size


@pytest.mark.parametrize("folder", ["BigFACAD", "Fashion200k"])
def test_folders_of_others_are_refused(tmp_path, folder):
    (tmp_path / folder / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"{folder} exists but .* not an Atelier world"):
        build_world(tmp_path, SETTINGS, workers=1, progress=False)
