"""Polyvore Outfits: both versions, questions whose right answer may lie anywhere, item metadata."""

import json
import os
import shutil
from pathlib import Path

import datasets
import pytest
from PIL import Image

from data_scripts import polyvore_outfits
from data_scripts.images import open_image
from data_scripts.polyvore_outfits import PolyvoreOutfits, find_root, read_categories
from data_scripts.prepare import main as prepare_main
from data_scripts.prepare import prepare

SHARED = Path(__file__).parents[3] / "shared"
REAL = Path(os.environ.get("LOOKBOOK_DATA", SHARED / "data")) / "polyvore" / "polyvore_outfits"


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def build(root, config="nondisjoint-outfits", **options):
    return prepare(PolyvoreOutfits, config, root, cache_dir=root.parent / "cache", **options)


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def outfit(set_id, *items):
    return {"set_id": set_id, "items": [{"item_id": i, "index": n} for n, i in enumerate(items, 1)]}


TRAIN = [outfit("1", "11", "12"), outfit("2", "13", "11", "13")]  # an item in two outfits, and one twice in an outfit
TEST = [outfit("30", "21", "22", "23"), outfit("31", "24", "25"), outfit("32", "26")]
METADATA = {
    "11": {"title": "Silk Dress", "url_name": "silk", "description": "A dress.", "category_id": "3"}
    | {"semantic_category": "all-body", "catgeories": ["Women's Fashion"], "related": []},
    "12": {"title": "", "url_name": "red hat", "category_id": "41", "semantic_category": ""},
    "13": {"title": None, "category_id": "", "semantic_category": "shoes "},
} | {str(n): {"category_id": 9} for n in range(21, 27)}
QUESTION = {"question": ["30_1", "30_3"], "answers": ["31_1", "32_1", "30_2", "31_2"], "blank_position": 2}


@pytest.fixture
def tree(tmp_path):
    """Training and test outfits of nondisjoint, one training outfit of disjoint; a photo's shade is its item's id."""
    root = tmp_path / "data" / "polyvore_outfits"
    save(root / "nondisjoint/train.json", TRAIN)
    save(root / "nondisjoint/test.json", TEST)
    save(root / "disjoint/train.json", TRAIN[:1])
    save(root / "nondisjoint/fill_in_blank_test.json", [QUESTION])
    save(root / "nondisjoint/compatibility_test.txt", "1 30_1 30_2 30_3\n0 31_1 30_2 31_1\n1 32_1\n")
    save(root / "polyvore_item_metadata.json", METADATA)
    save(
        root / "polyvore_outfit_titles.json", {"1": {"title": "Caf\u00e9", "url_name": "x"}, "2": {"url_name": "walk"}}
    )
    save(root / "categories.csv", '3,dress,all-body\n3,gown,bottoms\n41,hat,hats \n9,"skirt, long",\n')
    (root / "images").mkdir()
    for item_id in METADATA:
        Image.new("RGB", (6, 5), (int(item_id),) * 3).save(root / "images" / f"{item_id}.jpg", quality=100)
    return root


def shades(photos):
    return [open_image(photo).getpixel((0, 0))[0] for photo in photos]


# FashionViL's files beside the official ones


PRODUCT = {"id": 1, "images": "1.jpg", "title": "old", "description": "d"}


def test_its_products_are_found_beside_an_official_folder(tree):
    save(tree.parent / "PolyvoreOutfits/train_info.json", [PRODUCT])
    rows = build(tree.parent, "products", images="absent")
    assert rows["train"]["product_id"][:] == ["1"]
    assert len(build(tree.parent)["train"]) == 2  # the official ones, as before


def test_an_official_folder_without_its_files_names_them(tree):
    with pytest.raises(
        FileNotFoundError, match=r"expected .*train_info\.json, .*val_info\.json, .*Get Polyvore Outfits"
    ):
        build(tree, "products")


def test_a_changed_file_in_the_folder_annotations_is_seen(tree):
    file = tree.parent / "PolyvoreOutfits/annotations/train_info.json"
    for title in ("old", "brand new"):
        save(file, [PRODUCT | {"title": title}])
        assert build(tree.parent, "products", images="absent")["train"]["title"][:] == [title]


# Outfits and items


def test_outfits_hold_item_ids_and_what_the_metadata_says_of_them(tree):
    rows = build(tree.parent)
    assert list(rows) == ["train", "test"] and rows["test"]["set_id"][:] == ["30", "31", "32"]
    first, second = rows["train"]
    assert shades(first.pop("images")) == [11, 12] and shades(second["images"]) == [13, 11, 13]
    assert first == {
        "set_id": "1",
        "name": "Caf\u00e9",
        "item_ids": ["11", "12"],
        "item_indices": [1, 2],
        "item_names": ["Silk Dress", "red hat"],  # no title: the url_name
        "category_ids": ["3", "41"],
        "categories": ["dress", "hat"],  # the first of two rows
        "semantic_categories": ["all-body", "hats"],  # of the metadata, or else of categories.csv
    }
    assert second["name"] == "walk" and second["item_ids"] == ["13", "11", "13"] and second["item_indices"] == [1, 2, 3]
    assert rows["test"]["name"][:] == ["", "", ""]
    assert second["categories"] == [None, "dress", None] and second["semantic_categories"] == [
        "shoes",
        "all-body",
        "shoes",
    ]


def test_items_are_one_row_each_however_many_outfits_have_them(tree):
    rows = build(tree, "nondisjoint-items")
    assert rows["train"]["item_id"][:] == ["11", "12", "13"] and shades(rows["train"]["image"][:]) == [11, 12, 13]
    first = rows["train"][0]
    del first["image"]
    assert first == {
        "item_id": "11",
        "name": "Silk Dress",
        "title": "Silk Dress",
        "url_name": "silk",
        "description": "A dress.",
        "category_id": "3",
        "category": "dress",
        "semantic_category": "all-body",
    }
    last = rows["test"][5]
    assert (last["item_id"], last["category_id"], last["category"]) == ("26", "9", "skirt, long")
    assert last["semantic_category"] is None and last["name"] == last["description"] == ""


def test_versions_are_apart(tree):
    assert build(tree, "disjoint-outfits")["train"]["set_id"][:] == ["1"]
    assert list(build(tree, "disjoint-items", images="absent")["train"]["item_id"]) == ["11", "12"]
    with pytest.raises(
        FileNotFoundError, match=r"expected .*disjoint/fill_in_blank_train\.json, .*Get Polyvore Outfits"
    ):
        build(tree, "disjoint-fill_in_blank")
    shutil.rmtree(tree / "disjoint")
    with pytest.raises(FileNotFoundError, match=r"disjoint-outfits: expected .*disjoint/train\.json"):
        build(tree, "disjoint-outfits")
    assert find_root(tree.parent) == find_root(tree) == tree


def test_category_without_a_row_is_named_by_its_id(tree):
    save(tree / "categories.csv", "3,dress,all-body\n\n")
    row = build(tree)["train"][0]
    assert row["categories"] == ["dress", "41"] and row["semantic_categories"] == ["all-body", None]


def test_counts_unlike_the_published_ones_are_a_warning_with_both(tree, caplog, monkeypatch):
    build(tree)
    listed = "nondisjoint: train has 2 outfits, 53,306 are published; test has 3 outfits, 10,000 are published. Figures"
    assert listed in caplog.text
    build(tree, "disjoint-outfits")
    assert "/disjoint: train has 1 outfits, 16,995 are published." in caplog.text
    caplog.clear()
    monkeypatch.setitem(polyvore_outfits.PUBLISHED, "nondisjoint", {"train": 2, "test": 3})
    build(tree, "nondisjoint-items")
    assert "published" not in caplog.text


# Questions


def test_right_answer_is_the_one_of_the_questions_set_wherever_it_lies(tree):
    rows = build(tree, "nondisjoint-fill_in_blank")
    assert list(rows) == ["test"]
    assert list(rows["test"]) == [
        {
            "row": 0,
            "question": ["21", "23"],
            "blank_position": 2,
            "answers": ["24", "26", "22", "25"],
            "right_answers": [2],
        }
    ]


def test_every_answer_of_the_questions_set_is_right_as_in_the_official_code(tree):
    questions = [
        QUESTION | {"question": ["31_1"], "answers": ["31_2", "30_1", "31_1", "32_1"]},
        QUESTION | {"question": ["31_2", "30_1"], "answers": ["30_2", "31_1"], "blank_position": 3},  # the first item's
    ]
    save(tree / "nondisjoint/fill_in_blank_test.json", questions)
    assert build(tree, "nondisjoint-fill_in_blank")["test"]["right_answers"][:] == [[0, 2], [1]]


def test_set_ids_may_hold_underscores(tree):
    save(tree / "nondisjoint/test.json", [outfit("3_0", "21", "22"), outfit("3_1", "23", "24")])
    questions = [{"question": ["3_0_1"], "answers": ["3_1_1", "3_0_2"], "blank_position": 2}]
    save(tree / "nondisjoint/fill_in_blank_test.json", questions)
    row = build(tree, "nondisjoint-fill_in_blank")["test"][0]
    assert row["answers"] == ["23", "22"] and row["right_answers"] == [1]


def test_question_without_a_right_answer_is_named(tree):
    wrong = QUESTION | {"answers": ["31_1", "32_1"]}
    save(tree / "nondisjoint/fill_in_blank_test.json", [QUESTION, wrong])
    message = (
        r"fill_in_blank_test\.json, row 1 \(from 0\): no answer is of set 30, so none is right: 31_1, 32_1; correct"
    )
    with pytest.raises(ValueError, match=message):
        build(tree, "nondisjoint-fill_in_blank")


def test_compatibility_lines_come_with_item_ids(tree):
    assert list(build(tree, "nondisjoint-compatibility")["test"]) == [
        {"row": 0, "label": 1, "item_ids": ["21", "22", "23"]},
        {"row": 1, "label": 0, "item_ids": ["24", "22", "24"]},
        {"row": 2, "label": 1, "item_ids": ["26"]},
    ]


def test_questions_need_neither_metadata_nor_titles(tree):
    for name in ("polyvore_item_metadata.json", "polyvore_outfit_titles.json", "categories.csv"):
        (tree / name).unlink()
    assert len(build(tree, "nondisjoint-fill_in_blank")["test"]) == 1
    assert len(build(tree, "nondisjoint-compatibility")["test"]) == 3


def test_questions_with_unknown_items_are_one_list_and_counted_on_request(tree, caplog):
    save(
        tree / "nondisjoint/fill_in_blank_train.json", [QUESTION | dict.fromkeys(("question", "answers"), ["1_1"] * 2)]
    )
    strange = [QUESTION | {"answers": ["30_2", "1_1"]}, QUESTION | {"question": ["30_1", "30_4"]}]
    save(tree / "nondisjoint/fill_in_blank_test.json", [*strange, QUESTION])
    message = (
        r"fill_in_blank_test\.json: 2 of 3 .* test\.json does not have: row 0 \(from 0\) \(1_1\), row 1 .*\(30_4\)"
    )
    with pytest.raises(ValueError, match=message):
        build(tree, "nondisjoint-fill_in_blank")  # an item of the training outfits is unknown, too
    for _ in range(2):
        caplog.clear()
        assert build(tree, "nondisjoint-fill_in_blank", missing="skip")["test"]["row"][:] == [2]
        assert "Rows left out because they name unknown items: train 0 of 1, test 2 of 3." in caplog.text
    save(tree / "nondisjoint/compatibility_test.txt", "1 30_1\n0 21 22\n")
    with pytest.raises(ValueError, match=r"compatibility_test\.txt: 1 of 2 .*: line 2 \(21, 22\)"):
        build(tree, "nondisjoint-compatibility")


# Photos


def test_missing_photos_are_one_list_and_leave_out_whole_outfits_on_request(tree, caplog):
    (tree / "images/12.jpg").unlink()
    (tree / "images/22.jpg").unlink()
    for config in ("outfits", "items"):
        with pytest.raises(FileNotFoundError, match=r"2 of 9 images are missing: .*images/12\.jpg, .*images/22\.jpg\."):
            build(tree, f"nondisjoint-{config}")
    for _ in range(2):
        caplog.clear()
        rows = build(tree, missing="skip")
        assert rows["train"]["set_id"][:] == ["2"] and rows["test"]["set_id"][:] == ["31", "32"]
        assert "images are missing: train 1 of 2, test 1 of 3." in caplog.text
    assert build(tree, "nondisjoint-items", missing="skip")["train"]["item_id"][:] == ["11", "13"]
    with pytest.raises(FileNotFoundError, match=r"1 of 6 images are missing: .*images/22\.jpg"):
        build(tree, "nondisjoint-fill_in_blank")
    assert build(tree, "nondisjoint-compatibility", missing="skip")["test"]["row"][:] == [2]
    assert build(tree, images="absent")["train"]["images"][:] == [None, None]
    assert build(tree, "nondisjoint-items", images="absent")["train"]["image"][:] == [None] * 3
    assert build(tree, "nondisjoint-fill_in_blank", images="absent")["test"]["right_answers"][:] == [[2]]
    Image.new("RGB", (6, 5)).save(tree / "images/12.jpg")
    assert build(tree, missing="skip")["train"]["set_id"][:] == ["1", "2"]  # a photo that came later is seen


# Wrong files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"1": []}, "expected a list of outfits, got dict"),
        ([{"set_id": "1"}], r"outfit 0 \(from 0\): lacks items"),
        ([outfit("1", "11"), outfit("2")], r"outfit 1 \(from 0\): expected a list of at least one item in items"),
        ([{"set_id": "1", "items": [{"index": 1}]}], r"item 0 \(from 0\): lacks item_id"),
        ([outfit("1", "a/b")], "item_id: an id may not hold a path separator"),
        ([outfit("1", None)], "item_id: expected an id"),
        ([{"set_id": "1", "items": [{"index": "1", "item_id": "11"}]}], "expected a whole number in index"),
        ([{"set_id": "1", "items": [{"index": 2, "item_id": i} for i in "12"]}], "index 2 is there already; questions"),
        ([outfit("1", "11"), outfit(1, "12")], "sets twice: 1"),
    ],
)
def test_wrong_outfits_are_named(tree, content, message):
    save(tree / "nondisjoint/train.json", content)
    with pytest.raises(ValueError, match=rf"nondisjoint/train\.json.*{message}"):
        build(tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with ids for keys, got list"),
        ({"11": {}}, "no entry for 8 of 9 items: 12, 13, 21, .*Get Polyvore Outfits"),
        (METADATA | {"12": None}, "item 12: expected an object, got None"),
        (METADATA | {"12": {"title": 3}}, "item 12: expected a text in title, got 3"),
        (METADATA | {"12": {"description": ["a"]}}, "item 12: expected a text in description"),
        (METADATA | {"12": {"semantic_category": 3}}, "item 12: expected a text in semantic_category"),
        (METADATA | {"12": {"category_id": 1.5}}, "item 12, category_id: expected an id"),
    ],
)
def test_wrong_metadata_is_named(tree, content, message):
    save(tree / "polyvore_item_metadata.json", content)
    with pytest.raises(ValueError, match=rf"polyvore_item_metadata\.json.*{message}"):
        build(tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with ids for keys, got list"),
        ({"1": "Walk"}, "set 1: expected an object, got Walk"),
        ({"1": {"title": 3}}, "set 1: expected a text in title"),
        ({"1": {"url_name": 3}}, "set 1: expected a text in url_name"),
    ],
)
def test_wrong_titles_are_named(tree, content, message):
    save(tree / "polyvore_outfit_titles.json", content)
    with pytest.raises(ValueError, match=rf"polyvore_outfit_titles\.json.*{message}"):
        build(tree)
    assert len(build(tree, "nondisjoint-items")["train"]) == 3  # items need no titles of outfits


def test_wrong_categories_are_named(tree):
    save(tree / "categories.csv", "3,dress,all-body\n4,gown\n")
    with pytest.raises(ValueError, match=r"categories\.csv, line 2: expected category id, .*got \['4', 'gown'\]"):
        build(tree)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fill_in_blank_test.json", [QUESTION | {"blank_position": 4}], "here up to 3; got 4"),
        ("fill_in_blank_test.json", "[", "not valid JSON at line 1, .*Get Polyvore Outfits"),
        ("compatibility_test.txt", "1\n", "line 1: expected 1 or 0 and item keys"),
        ("compatibility_test.txt", "", "no outfits in it; .*Get Polyvore Outfits"),
    ],
)
def test_wrong_questions_are_named(tree, name, content, message):
    save(tree / "nondisjoint" / name, content)
    with pytest.raises(ValueError, match=rf"nondisjoint/{name}.*{message}"):
        build(tree, f"nondisjoint-{name.rpartition('_')[0]}")


def test_absent_files_and_wrong_options_are_explained(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="Polyvore Outfits folder not found: None"):
        PolyvoreOutfits(config_name="disjoint-items")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: expected a folder nondisjoint or disjoint in it"):
        build(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"expected .*nondisjoint/valid\.json\. Get"):
        build(tree, splits="valid")
    with pytest.raises(ValueError, match="splits: val not among train, valid, test"):
        build(tree, splits=("train", "val"))
    for option in ({"images": "some"}, {"missing": "ignore"}):
        with pytest.raises(ValueError, match=rf"{next(iter(option))} must be"):
            build(tree, "nondisjoint-compatibility", **option)
    assert list(build(tree, splits=("test",))) == ["test"]
    needed = ("polyvore_outfit_titles.json", "categories.csv", "polyvore_item_metadata.json")
    for name in needed:
        (tree / name).rename(tree / "away")
        with pytest.raises(FileNotFoundError, match=rf"annotation file not found: expected .*{name}\. Get Polyvore"):
            build(tree)
        (tree / "away").rename(tree / name)
    (tree / "nondisjoint/test.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotation file not found: expected .*nondisjoint/test\.json"):
        build(tree, "nondisjoint-fill_in_blank")


def test_changed_files_are_seen(tree):
    assert build(tree)["train"]["name"][:] == ["Caf\u00e9", "walk"]
    save(tree / "polyvore_outfit_titles.json", {"1": {"title": "other"}})
    assert build(tree)["train"]["name"][:] == ["other", ""]
    save(tree / "categories.csv", "3,robe,all-body\n")
    assert build(tree)["train"]["categories"][0] == ["robe", "41"]
    build(tree, "nondisjoint-compatibility")
    save(tree / "nondisjoint/compatibility_test.txt", "0 31_1\n")
    assert build(tree, "nondisjoint-compatibility")["test"]["label"][:] == [0]


# Parquet


def test_parquet_folder_holds_both_versions_with_their_photos(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "parquet"
    configs = ["nondisjoint-outfits", "nondisjoint-fill_in_blank", "disjoint-items"]
    options = ["--dataset", "polyvore_outfits", "--data_dir", str(tree), "--output_dir", str(out)]
    prepare_main([*options, "--configs", *configs])
    shutil.rmtree(tree / "images")  # the photos are inside
    rows = datasets.load_dataset(str(out), "nondisjoint-outfits", split="train", cache_dir=tmp_path / "read")
    assert [photo.getpixel((0, 0))[0] for photo in rows[1]["images"]] == [13, 11, 13]
    rows = datasets.load_dataset(str(out), "disjoint-items", split="train", cache_dir=tmp_path / "read")
    assert rows["item_id"][:] == ["11", "12"]
    rows = datasets.load_dataset(str(out), "nondisjoint-fill_in_blank", split="test", cache_dir=tmp_path / "read")
    assert rows["right_answers"][:] == [[2]]


# Real data


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the Polyvore Outfits labels at {REAL}")
def test_real_validation_outfits(tmp_path, caplog):
    root = tmp_path / "data"
    (root / "nondisjoint").mkdir(parents=True)
    for name in ("valid.json", "compatibility_valid.txt"):
        shutil.copy(REAL / name, root / "nondisjoint")
    shutil.copy(REAL / "categories.csv", root)
    outfits = json.loads((REAL / "valid.json").read_text())
    known = json.loads((REAL / "item_category_id.json").read_text())
    used = {item["item_id"] for entry in outfits for item in entry["items"]}
    # The official metadata are not public; category ids of most items are.
    metadata = {item: {"category_id": str(known[item])} if item in known else {} for item in used}
    save(root / "polyvore_item_metadata.json", metadata)
    save(root / "polyvore_outfit_titles.json", {})
    rows = build(root, images="absent")["valid"]
    assert len(rows) == 5000 and "published" not in caplog.text
    assert rows["item_ids"][0] == ["213343990", "206270853", "202059322", "53908391"]
    items = build(root, "nondisjoint-items", images="absent")["valid"]
    assert len(items) == len(used) == 25_132 and items[0]["category"] == "closed shoes"
    semantic = {name for name in items["semantic_category"] if name}
    assert semantic == {name for _, name in read_categories(root / "categories.csv").values() if name}
    assert len(semantic) == 11 and "jewellery" in semantic
    lines = build(root, "nondisjoint-compatibility", images="absent")["valid"]
    assert len(lines) == 10_000 and sum(lines["label"]) == 5_000
    assert lines["item_ids"][0] == rows["item_ids"][0] and set().union(*lines["item_ids"]) <= used
