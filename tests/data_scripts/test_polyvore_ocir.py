"""Questions of complementary item retrieval: reading them, and making them from outfits."""

import json
import random

import datasets
import pytest
from PIL import Image

from data_scripts.images import open_image
from data_scripts.ocir_questions import ocir_questions
from data_scripts.polyvore_ocir import CATEGORY_IDS, CATEGORY_NUMBERS
from data_scripts.polyvore_outfits import PolyvoreOutfits
from data_scripts.prepare import prepare


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def build(root, config="ocir_disjoint", **options):
    return prepare(PolyvoreOutfits, config, root, cache_dir=root / "cache", **options)


CATEGORIES = {"10": 3, "20": 11, "30": 27, "40": 4518, "50": 1605}
TEST = [
    {"question": ["10", "20"], "blank": "40", "fake_data": False},
    {"question": ["30"], "blank": "30", "fake_data": True},
]


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "PolyvoreOutfits"
    save(root / "ocir_disjoint_train.json", [{"question": ["10", 20], "blank": "50"}])
    save(root / "ocir_disjoint_test.json", TEST)
    save(root / "polyvore_item_metadata.json", {i: {"category_id": str(c), "title": ""} for i, c in CATEGORIES.items()})
    (root / "images").mkdir()
    for item in CATEGORIES:
        Image.new("RGB", (6, 5), (int(item),) * 3).save(root / "images" / f"{item}.png")
    return root


def test_there_are_153_categories_in_the_published_order():
    assert len(CATEGORY_IDS) == len(CATEGORY_NUMBERS) == 153
    assert [CATEGORY_NUMBERS[c] for c in ("3", "11", "27", "41", "62", "35", "1605", "4518")] == [
        0,
        8,
        18,
        29,
        46,
        23,
        53,
        152,
    ]


def test_rows_have_items_categories_and_photos(tree):
    rows = build(tree.parent)
    assert list(rows) == ["train", "test"]
    first, second = rows["test"]
    photos = [*first.pop("question_images"), first.pop("blank_image")]
    assert [open_image(p).getpixel((0, 0))[0] for p in photos] == [10, 20, 40]
    assert first == {
        "row": 0,
        "question_ids": ["10", "20"],
        "blank_id": "40",
        "question_categories": [0, 8],
        "blank_category": 152,
        "fake_data": False,
    }
    assert second["fake_data"] and second["question_ids"] == ["30"]
    assert rows["train"]["question_ids"][:] == [["10", "20"]] and rows["train"]["fake_data"][:] == [False]


def test_missing_photos_are_an_error_or_their_rows_left_out_and_counted(tree, caplog):
    (tree / "images/20.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images are missing: .*20\.jpg"):
        build(tree)
    rows = build(tree, missing="skip")
    assert list(rows) == ["test"] and rows["test"]["row"][:] == [1]
    assert "train 1 of 1, test 1 of 2" in caplog.text
    absent = build(tree, images="absent")["test"]
    assert absent["question_images"][:] == [None, None] and absent["blank_image"][:] == [None, None]


def test_other_versions_and_splits_are_said_to_be_missing(tree):
    with pytest.raises(
        FileNotFoundError, match=r"ocir_nondisjoint: expected .*ocir_nondisjoint_train\.json.*derive ocir"
    ):
        build(tree, "ocir_nondisjoint")
    with pytest.raises(FileNotFoundError, match="ocir_disjoint: expected valid"):
        build(tree, splits="valid")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": []}, "expected at least one item in question"),
        ({"question": [[1]]}, "question: expected an id"),
        ({"blank": None}, "blank: expected an id"),
        ({"fake_data": 1}, "expected true or false in fake_data, got 1"),
    ],
)
def test_wrong_rows_are_named(tree, change, message):
    save(tree / "ocir_disjoint_test.json", [TEST[0], TEST[1] | change])
    with pytest.raises(ValueError, match=rf"ocir_disjoint_test\.json, row 1 \(from 0\).*{message}"):
        build(tree)


def test_a_category_outside_of_the_map_and_items_without_an_entry_are_errors(tree):
    metadata = {i: {"category_id": str(c)} for i, c in CATEGORIES.items()}
    save(tree / "polyvore_item_metadata.json", metadata | {"20": {"category_id": "33"}})
    with pytest.raises(ValueError, match=r"item 20: category_id 33 is none of the 153 fine-grained categories"):
        build(tree)
    del metadata["30"]
    save(tree / "polyvore_item_metadata.json", metadata)
    with pytest.raises(ValueError, match=r"polyvore_item_metadata\.json: no entry for 1 of 4 items: 30"):
        build(tree, splits="test")


# Making them


def world(seed, outfits=60):
    """Outfits of four kinds of items, one kind being none of the 153; test items are in no training outfit."""
    draw = random.Random(seed)
    categories, made = {}, {}
    for split, count in (("train", outfits), ("valid", 10), ("test", 30)):
        made[split] = []
        for number in range(count):
            items = []
            for kind, category in (("top", "11"), ("shoe", "41"), ("bag", "37"), ("odd", "12345")):
                if draw.random() < 0.9:
                    item = f"{split}-{number}-{kind}"
                    categories[item] = category
                    items.append(item)
            made[split].append(items)
    return made, categories


@pytest.mark.parametrize("seed", range(3))
def test_every_gallery_has_its_candidates_and_every_question_its_blank(seed):
    outfits, categories = world(seed)
    rows, counts = ocir_questions(outfits, categories, candidates=40, seed=seed)
    questions = [row for row in rows["test"] if not row["fake_data"]]
    assert counts["test_questions"] == len(questions) > 20
    members = {frozenset(outfit) for outfit in outfits["test"]}
    for row in questions:
        assert row["blank"] not in row["question"] and row["question"]
        whole = {*row["question"], row["blank"]}
        assert any(whole == {i for i in outfit if categories[i] != "12345"} for outfit in members)
    gallery = {}
    for row in rows["test"]:
        gallery.setdefault(categories[row["blank"]], set()).add(row["blank"])
        assert not row["fake_data"] or row["question"] == [row["blank"]]
    asked = {categories[row["blank"]] for row in questions}
    assert set(gallery) == asked and all(len(items) == 40 for items in gallery.values())
    # Items of test outfits come before those that training has seen.
    for category, items in gallery.items():
        own = {i for outfit in outfits["test"] for i in outfit if categories[i] == category}
        assert own <= items
    lost = sum(len([i for i in o if categories[i] != "12345"]) < 2 for o in outfits["train"])
    assert counts["train_outfits_left_out"] == lost and counts["train_outfits"] == len(rows["train"]) == 60 - lost
    assert counts["items_of_other_categories"] == sum(c == "12345" for c in categories.values())
    assert ocir_questions(outfits, categories, 40, seed)[0] == rows
    assert ocir_questions(outfits, categories, 40, seed + 9)[0] != rows


def test_a_gallery_that_cannot_be_filled_is_an_error_with_the_largest_size():
    outfits, categories = world(0, outfits=5)
    sizes = [sum(categories[i] == c for i in categories) for c in ("11", "41", "37")]
    with pytest.raises(ValueError, match=f"no category has 1000 items, the largest has {max(sizes)}"):
        ocir_questions(outfits, categories, 1000)
    with pytest.raises(ValueError, match="candidates is 1, expected at least 2"):
        ocir_questions(outfits, categories, 1)
    with pytest.raises(ValueError, match="no test outfit has another item and one of the 3 categories"):
        ocir_questions(outfits | {"test": [["test-0-odd"]]}, categories, 5)


def test_in_disjoint_no_question_asks_for_an_item_of_training():
    outfits, categories = world(0)
    seen = outfits["train"][0]
    outfits["test"] = [[*outfit[1:], *seen[:1]] for outfit in outfits["test"]]
    for disjoint in (False, True):
        rows, counts = ocir_questions(outfits, categories, 40, disjoint=disjoint)
        questions = [row for row in rows["test"] if not row["fake_data"]]
        assert counts["test_items_in_training"] == 1 and any(seen[0] in row["question"] for row in questions)
        assert any(row["blank"] == seen[0] for row in questions) != disjoint
    outfits["test"] = outfits["train"]
    with pytest.raises(ValueError, match="40 items that no training outfit has; .* or write the version nondisjoint"):
        ocir_questions(outfits, categories, 40, disjoint=True)
