"""Polyvore (Maryland): outfits, items and both kinds of questions from the official tree, quirks kept, errors named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from data_scripts import polyvore
from data_scripts.images import open_image
from data_scripts.polyvore import Polyvore, find_root, read_vocabulary, read_word_counts
from data_scripts.prepare import main as prepare_main
from data_scripts.prepare import prepare

SHARED = Path(__file__).parents[3] / "shared"
REAL = Path(os.environ.get("LOOKBOOK_DATA", SHARED / "data"))
LAY_OUT = SHARED / "tools" / "lay_out_data.py"


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def build(root, config="outfits", **options):
    return prepare(Polyvore, config, root, cache_dir=root.parent / "cache", **options)


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def item(index, name, **fields):
    return {"index": index, "name": name} | fields


OUTFITS = {
    "train": [
        {
            "set_id": "100",
            "name": "Caf\u00e9",
            "views": 9,
            "likes": 2,
            "items": [
                item(1, "silk dress", price=15.5, likes=7, categoryid=3),
                item(4, "", price=-1, likes=0, categoryid=77),  # a gap, an empty name, a category without name
            ],
        },
        {"set_id": "101", "name": "", "items": [item(n, f"thing {n}") for n in range(1, 11)]},  # ten items
    ],
    "valid": [{"set_id": "200", "name": "one", "items": [item(2, "hat", categoryid=41)]}],  # one item
    "test": [
        {"set_id": "300", "name": "a", "items": [item(n, f"a {n}") for n in (1, 2, 3)]},
        {"set_id": "301", "name": "b", "items": [item(n, f"b {n}") for n in (1, 3)]},
    ],
}
QUESTION = {"question": ["300_1", "300_3"], "answers": ["300_2", "301_1", "301_3", "301_1"], "blank_position": 2}
LINES = "1 300_1 300_2 300_3\n0 301_1\t300_2 300_2\n\n1 301_3\n"


@pytest.fixture
def tree(tmp_path):
    """The official tree with questions for the test split; a photo's shade is 10 * index."""
    root = tmp_path / "data"
    for split, outfits in OUTFITS.items():
        save(root / f"label/{split}_no_dup.json", outfits)
        for outfit in outfits:
            (root / "images" / outfit["set_id"]).mkdir(parents=True)
            for entry in outfit["items"]:
                photo = root / "images" / outfit["set_id"] / f"{entry['index']}.jpg"
                Image.new("RGB", (6, 5), (10 * entry["index"],) * 3).save(photo, quality=100)
    save(root / "label/category_id.txt", "3 Day Dresses & more\n41 Hats")
    save(root / "label/fill_in_blank_test.json", [QUESTION])
    save(root / "label/fashion_compatibility_prediction.txt", LINES)
    return root


def shades(photos):
    return [open_image(photo).getpixel((0, 0))[0] for photo in photos]


# Outfits and items


def test_outfits_keep_their_items_in_order_with_all_that_is_known_of_them(tree, caplog):
    rows = build(tree)
    assert list(rows) == ["train", "valid", "test"] and len(rows["test"]) == 2
    first = rows["train"][0]
    assert shades(first.pop("images")) == [10, 40]
    assert first == {
        "set_id": "100",
        "name": "Caf\u00e9",
        "views": 9,
        "likes": 2,
        "item_ids": ["100_1", "100_4"],
        "item_names": ["silk dress", ""],
        "category_ids": ["3", "77"],
        "categories": ["Day Dresses & more", "77"],
        "prices": [15.5, -1.0],
        "item_likes": [7, 0],
    }
    assert "category_id.txt has no name for 77; the ids stand for them" in caplog.text


def test_outfits_of_one_and_of_ten_items_stay_as_they_are(tree):
    rows = build(tree)
    assert rows["train"][1]["item_ids"] == [f"101_{n}" for n in range(1, 11)] and len(rows["train"][1]["images"]) == 10
    assert rows["valid"]["item_ids"][:] == [["200_2"]]
    assert rows["train"][1]["prices"] == [None] * 10 and rows["train"][1]["views"] is None


def test_items_are_one_row_each(tree):
    rows = build(tree, "items")
    assert rows["test"]["item_id"][:] == ["300_1", "300_2", "300_3", "301_1", "301_3"]
    last = rows["train"][1]
    assert shades([last.pop("image")]) == [40]
    assert last == {
        "item_id": "100_4",
        "set_id": "100",
        "index": 4,
        "name": "",
        "category_id": "77",
        "category": "77",
        "price": -1.0,
        "likes": 0,
    }


def test_item_that_occurs_twice_stays_twice_in_the_outfit_and_once_among_items(tree):
    twice = [item(5, "sock"), item(6, "shoe"), item(5, "sock")]
    save(tree / "label/valid_no_dup.json", [{"set_id": 200, "items": twice}])
    assert build(tree, images="absent")["valid"]["item_ids"][:] == [["200_5", "200_6", "200_5"]]
    assert build(tree, "items", images="absent")["valid"]["item_id"][:] == ["200_5", "200_6"]
    twice[2]["name"] = "other"
    save(tree / "label/valid_no_dup.json", [{"set_id": 200, "items": twice}])
    with pytest.raises(ValueError, match=r"valid_no_dup\.json: item 200_5 is there twice with other names or numbers"):
        build(tree, "items", images="absent")


def test_without_category_names_the_ids_stand_for_them(tree, caplog):
    (tree / "label/category_id.txt").unlink()
    assert build(tree)["train"][0]["categories"] == ["3", "77"] and "has no name" not in caplog.text


def test_unpacked_archive_and_the_folder_above_are_found(tree, tmp_path):
    for file in (tree / "label").iterdir():
        file.rename(tree / file.name)
    (tree / "label").rmdir()
    tree.rename(tmp_path / "polyvore")
    assert find_root(tmp_path) == tmp_path / "polyvore"
    rows = prepare(Polyvore, "items", tmp_path, cache_dir=tmp_path / "cache")
    assert shades(rows["valid"]["image"][:]) == [20]
    questions = prepare(Polyvore, "fill_in_blank", tmp_path, cache_dir=tmp_path / "cache")
    assert questions["test"]["blank_position"][:] == [2]
    for index in (5, 6):  # a change is seen
        save(tmp_path / "polyvore/valid_no_dup.json", [{"set_id": "200", "items": [item(index, "hat")]}])
        rows = prepare(Polyvore, "items", tmp_path, cache_dir=tmp_path / "cache", images="absent")
        assert rows["valid"]["item_id"][:] == [f"200_{index}"]


def test_counts_unlike_the_published_ones_are_a_warning_with_both(tree, caplog, monkeypatch):
    build(tree)
    assert "train has 2 outfits, 17,316 are published; valid has 1 outfits, 1,497 are published; " in caplog.text
    assert "test has 2 outfits, 3,076 are published. Figures are not comparable" in caplog.text
    caplog.clear()
    monkeypatch.setattr(polyvore, "PUBLISHED", {"train": 2, "valid": 1, "test": 3_076})
    build(tree, "items")
    assert "test has 2" in caplog.text and "train has" not in caplog.text


# Questions


def test_questions_count_the_blank_from_one_and_put_the_right_answer_first(tree):
    rows = build(tree, "fill_in_blank")
    assert list(rows) == ["test"] and list(rows["test"]) == [QUESTION | {"row": 0, "right_answers": [0]}]


def test_compatibility_lines_keep_repeated_items_and_single_ones(tree):
    rows = build(tree, "compatibility")
    assert list(rows) == ["test"]
    assert list(rows["test"]) == [
        {"row": 0, "label": 1, "item_ids": ["300_1", "300_2", "300_3"]},
        {"row": 1, "label": 0, "item_ids": ["301_1", "300_2", "300_2"]},
        {"row": 3, "label": 1, "item_ids": ["301_3"]},  # an empty line before it
    ]


@pytest.mark.parametrize(
    ("config", "official", "other"),
    [
        ("fill_in_blank", "fill_in_blank_test.json", "fill_in_the_blank_test.json"),
        ("compatibility", "fashion_compatibility_prediction.txt", "fashion-compatibility-prediction.txt"),
        ("compatibility", "fashion_compatibility_prediction.txt", "compatibility_test.txt"),
    ],
)
def test_other_spellings_are_read_and_two_that_differ_refused(tree, config, official, other):
    rows = list(build(tree, config)["test"])
    shutil.copy(tree / "label" / official, tree / "label" / other)
    assert list(build(tree, config)["test"]) == rows  # the same file twice
    (tree / "label" / official).unlink()
    assert list(build(tree, config)["test"]) == rows
    changed = (tree / "label" / other).read_text().replace("2", "3", 1)  # of the same size and time
    save(tree / "label" / official, changed)
    for name in (official, other):
        os.utime(tree / "label" / name, (0, 0))
    with pytest.raises(ValueError, match=rf"{official} and .*{other} are both questions of test and differ; keep one"):
        build(tree, config)


def test_questions_of_other_splits_are_read_where_they_lie(tree):
    save(tree / "label/fashion_compatibility_prediction_valid.txt", "0 200_2\n")
    save(tree / "label/compatibility_train.txt", "1 100_1\n0 100_4\n")
    rows = build(tree, "compatibility")
    assert {split: len(rows[split]) for split in rows} == {"train": 2, "valid": 1, "test": 3}
    assert rows["valid"]["item_ids"][:] == [["200_2"]]
    assert list(build(tree, "compatibility", splits="valid")) == ["valid"]
    save(
        tree / "label/fill_in_blank_train.json",
        [{"question": ["100_1"], "answers": ["100_4", "101_1"], "blank_position": 1}],
    )
    assert build(tree, "fill_in_blank")["train"]["answers"][:] == [["100_4", "101_1"]]


def test_questions_option_chooses_other_files_or_a_folder(tree):
    other = QUESTION | {"blank_position": 3}
    save(tree / "label/fill_in_blank_test_typed.json", [other])
    save(tree / "label/fashion_compatibility_prediction_typed.txt", "0 300_1\n")
    save(tree / "label/compatibility_valid_typed.txt", "1 200_2\n")
    assert build(tree, "fill_in_blank", questions="typed")["test"]["blank_position"][:] == [3]
    rows = build(tree, "compatibility", questions="typed")
    assert rows["test"]["label"][:] == [0] and rows["valid"]["label"][:] == [1]
    assert list(build(tree, "compatibility")) == ["test"]
    for folder in (tree / "hard", tree / "label/harder"):
        save(folder / "fill_in_blank_test.json", [QUESTION | {"blank_position": 1}])
        save(folder / "compatibility_test.txt", "1 301_1\n")
        rows = build(tree, "fill_in_blank", questions=folder.name)
        assert rows["test"]["blank_position"][:] == [1]
        assert build(tree, "compatibility", questions=folder.name)["test"]["item_ids"][:] == [["301_1"]]
        save(folder / "compatibility_test.txt", "1 301_3\n")  # a change in the folder is seen
        assert build(tree, "compatibility", questions=folder.name)["test"]["item_ids"][:] == [["301_3"]]
    with pytest.raises(
        FileNotFoundError, match=r"no questions of test .* fill_in_blank_test_random\.json or fill_in_the"
    ):
        build(tree, "fill_in_blank", questions="random")
    for wrong in ("valid", " ", "a/b"):
        with pytest.raises(ValueError, match="questions must name a kind of questions, e.g. typed"):
            build(tree, "fill_in_blank", questions=wrong)


def test_questions_with_unknown_items_are_one_list_and_counted_on_request(tree, caplog):
    save(tree / "label/fill_in_blank_valid.json", [QUESTION | dict.fromkeys(("question", "answers"), ["200_2"] * 2)])
    strange = [QUESTION | {"question": ["300_9", "nope"]}, QUESTION | {"answers": ["300_2", "200_2"]}]
    save(tree / "label/fill_in_blank_test.json", [QUESTION, *strange])
    with pytest.raises(
        ValueError, match=r"fill_in_blank_test\.json: 2 of 3 questions name items that test_no_dup\.json"
    ):
        build(tree, "fill_in_blank")
    with pytest.raises(ValueError, match=r"row 1 \(from 0\) \(300_9, nope\), row 2 \(from 0\) \(200_2\)\. Put"):
        build(tree, "fill_in_blank")  # an item of another split is unknown, too
    for _ in range(2):
        caplog.clear()
        assert build(tree, "fill_in_blank", missing="skip")["test"]["row"][:] == [0]
        assert "Rows left out because they name unknown items: valid 0 of 1, test 2 of 3." in caplog.text
    save(tree / "label/fashion_compatibility_prediction.txt", LINES + "0 300_1 300_7\n")
    with pytest.raises(ValueError, match=r"fashion_compatibility_prediction\.txt: 1 of 4 .*: line 5 \(300_7\)"):
        build(tree, "compatibility")
    assert build(tree, "compatibility", missing="skip")["test"]["row"][:] == [0, 1, 3]


# Photos


def test_missing_photos_are_one_list_and_leave_out_whole_outfits_on_request(tree, caplog):
    (tree / "images/300/2.jpg").unlink()
    (tree / "images/101/10.jpg").unlink()
    for config in ("outfits", "items"):
        with pytest.raises(FileNotFoundError, match=r"2 of 18 images are missing: .*101/10\.jpg, .*300/2\.jpg\."):
            build(tree, config)
    for _ in range(2):
        caplog.clear()
        rows = build(tree, missing="skip")
        assert rows["train"]["set_id"][:] == ["100"] and rows["test"]["set_id"][:] == ["301"]
        assert "images are missing: train 1 of 2, valid 0 of 1, test 1 of 2." in caplog.text
    assert len(build(tree, "items", missing="skip")["train"]) == 11
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images are missing: .*300/2\.jpg"):
        build(tree, "fill_in_blank")
    assert build(tree, "compatibility", missing="skip")["test"]["row"][:] == [3]
    assert build(tree, images="absent")["train"]["images"][:] == [None, None]
    assert build(tree, "items", images="absent")["test"][1]["image"] is None
    assert len(build(tree, "fill_in_blank", images="absent")["test"]) == 1


def test_photo_that_came_later_is_seen(tree):
    photo = tree / "images/200/2.jpg"
    content = photo.read_bytes()
    photo.unlink()
    assert "valid" not in build(tree, missing="skip")
    photo.write_bytes(content)
    assert build(tree, missing="skip")["valid"]["set_id"][:] == ["200"]


def test_both_reasons_for_leaving_out_are_told(tree, caplog):
    (tree / "images/301/3.jpg").unlink()
    save(tree / "label/fashion_compatibility_prediction.txt", LINES + "0 300_7\n")
    assert build(tree, "compatibility", missing="skip")["test"]["row"][:] == [0, 1]
    assert "unknown items: test 1 of 4. Rows left out because images are missing: test 1 of 3." in caplog.text


def test_nothing_left_is_an_error(tree):
    shutil.rmtree(tree / "images")
    with pytest.raises(ValueError, match=r"no rows are left in any split \(train, valid, test\)"):
        build(tree, missing="skip")


def test_damaged_photo_is_named(tree):
    (tree / "images/100/4.jpg").write_bytes(b"no photo")
    with pytest.raises(ValueError, match=r"100/4\.jpg: not an image file"):
        shades(build(tree)["train"][0]["images"])


# Wrong files


def outfit(**fields):
    entry = {"set_id": "1", "name": "", "items": [item(1, "hat")]} | fields
    return {name: value for name, value in entry.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "expected a list of outfits, got dict"),
        ([], "expected a list of outfits, got an empty list"),
        ([outfit(), "x"], r"outfit 1 \(from 0\): expected an object, got x"),
        ([outfit(set_id=..., items=...)], r"outfit 0 \(from 0\): lacks set_id, items; add it"),
        ([outfit(set_id="a/b")], "set_id: an id may not hold a path separator"),
        ([outfit(items=[])], "expected a list of at least one item in items"),
        ([outfit(items={"index": 1})], "expected a list of at least one item in items"),
        ([outfit(items=[item(1, "hat"), 3])], r"item 1 \(from 0\): expected an object, got 3"),
        ([outfit(items=[{"index": 1}])], r"item 0 \(from 0\): lacks name"),
        ([outfit(items=[{"name": "hat"}])], "lacks index"),
        ([outfit(items=[item("1", "hat")])], "expected a whole number in index, got '1'"),
        ([outfit(items=[item(-1, "hat")])], "expected a whole number from 0 in index, got -1"),
        ([outfit(items=[item(None, "hat")])], "expected a whole number from 0 in index, got None"),
        ([outfit(items=[item(1, ["hat"])])], "expected a text in name"),
        ([outfit(items=[item(1, "hat", price="3")])], "expected a number in price, got '3'"),
        ([outfit(items=[item(1, "hat", likes=1.5)])], "expected a whole number in likes, got '1.5'"),
        ([outfit(items=[item(1, "hat", categoryid=True)])], "expected a whole number in categoryid, got 'True'"),
        ([outfit(name=3)], "expected a text in name"),
        ([outfit(views="many")], "expected a whole number in views"),
        ([outfit(), outfit(set_id=1)], "sets twice: 1; keep one of each"),
        ('[{"set_id": 1,\n', "not valid JSON at line 2"),
    ],
)
def test_wrong_outfits_are_named(tree, content, message):
    save(tree / "label/valid_no_dup.json", content)
    with pytest.raises(ValueError, match=rf"valid_no_dup\.json.*{message}"):
        build(tree)


def question(**fields):
    entry = QUESTION | fields
    return {name: value for name, value in entry.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a list of questions, got dict"),
        ([], "expected a list of questions, got an empty list"),
        ([question(), 5], r"row 1 \(from 0\): expected an object, got 5"),
        ([question(answers=..., blank_position=...)], "lacks answers, blank_position"),
        ([question(question=[])], "expected a list of at least 1 item keys in question"),
        ([question(question="300_1")], "expected a list of at least 1 item keys in question"),
        ([question(answers=["300_2"])], "expected a list of at least 2 item keys in answers"),
        ([question(answers=["300_2", 3])], "expected a list of at least 2 item keys in answers"),
        ([question(blank_position=0)], "blank_position counts from 1 in the completed outfit, here up to 3; got 0"),
        ([question(blank_position=4)], "here up to 3; got 4; correct or delete this row"),
        ([question(blank_position=None)], "here up to 3; got None"),
        ([question(blank_position="2")], "expected a whole number in blank_position"),
    ],
)
def test_wrong_questions_are_named(tree, content, message):
    save(tree / "label/fill_in_blank_test.json", content)
    with pytest.raises(ValueError, match=rf"fill_in_blank_test\.json.*{message}"):
        build(tree, "fill_in_blank")


@pytest.mark.parametrize("position", [1, 3])
def test_blank_may_be_the_first_and_the_last(tree, position):
    save(tree / "label/fill_in_blank_test.json", [question(blank_position=position)])
    assert build(tree, "fill_in_blank")["test"]["blank_position"][:] == [position]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no outfits in it"),
        ("\n\n", "no outfits in it"),
        ("1 300_1\n2 300_1\n", "line 2: expected 1 or 0 and item keys, got '2 300_1'"),
        ("1\n", "line 1: expected 1 or 0 and item keys, got '1'"),
        ("300_1 300_2\n", "line 1: expected 1 or 0"),
    ],
)
def test_wrong_compatibility_lines_are_named(tree, content, message):
    save(tree / "label/fashion_compatibility_prediction.txt", content)
    with pytest.raises(ValueError, match=rf"fashion_compatibility_prediction\.txt.*{message}"):
        build(tree, "compatibility")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3 Dresses\nHats\n", "line 2: expected <id> <name>, e.g. 3 Dresses, got 'Hats'"),
        ("3\n", "line 1: expected <id> <name>"),
        ("Straw Hats\n", "line 1: expected <id> <name>"),
        ("3 Dresses\n\n3 Gowns\n", "line 3: id 3 has a name already; keep one"),
    ],
)
def test_wrong_category_names_are_named(tree, content, message):
    save(tree / "label/category_id.txt", content)
    with pytest.raises(ValueError, match=rf"category_id\.txt, {message}"):
        build(tree)
    (tree / "label/category_id.txt").write_bytes(b"3 Caf\xe9")
    with pytest.raises(ValueError, match=r"category_id\.txt: not UTF-8 text at byte 5"):
        build(tree)


def test_absent_files_and_wrong_options_are_explained(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Polyvore folder not found: None\. .*polyvore-dataset"):
        Polyvore(config_name="outfits")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: none of train_no_dup\.json, .* is there, in label"):
        build(tmp_path / "empty")
    with pytest.raises(ValueError, match="splits: val not among train, valid, test"):
        build(tree, splits=("val",))
    with pytest.raises(
        FileNotFoundError, match=r"no questions of valid .*expected fill_in_blank_valid\.json .*test\.json"
    ):
        build(tree, "fill_in_blank", splits="valid")
    for option in ({"images": "some"}, {"missing": "ignore"}):
        with pytest.raises(ValueError, match=rf"{next(iter(option))} must be"):
            build(tree, "compatibility", **option)
    (tree / "label/test_no_dup.json").unlink()
    assert list(build(tree)) == ["train", "valid"]
    for config in ("outfits", "compatibility"):
        with pytest.raises(FileNotFoundError, match=r"annotation file not found: expected .*label/test_no_dup\.json"):
            build(tree, config, splits="test")


def test_changed_files_are_seen(tree):
    assert build(tree)["valid"]["name"][:] == ["one"]
    save(tree / "label/valid_no_dup.json", [OUTFITS["valid"][0] | {"name": "another"}])
    assert build(tree)["valid"]["name"][:] == ["another"]
    save(tree / "label/category_id.txt", "41 Caps")
    assert build(tree)["valid"]["categories"][:] == [["Caps"]]
    build(tree, "compatibility")
    save(tree / "label/fashion_compatibility_prediction.txt", "0 300_1\n")
    assert build(tree, "compatibility")["test"]["label"][:] == [0]


# Word list


def test_word_is_the_first_token_of_its_line_and_its_id_the_line_from_one(tmp_path):
    file = tmp_path / "final_word_dict.txt"
    file.write_bytes("black   9909\nwomen\u2019s\t109 x\r\nm\u00a0c\nblue 3\n\n".encode())
    assert read_word_counts(file) == {"black": 9909, "women\u2019s": 109, "m\u00a0c": None, "blue": 3}
    assert read_vocabulary(file) == {"black": 1, "women\u2019s": 2, "m\u00a0c": 3, "blue": 4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"black 2\n\nblue 1\n", "line 2: no word; words are numbered by line"),
        (b"black 2\nblack 1\n", "line 2: 'black' is there already"),
        (b"black dress\n", "line 1: expected <word> <count>, got 'black dress'"),
        (b"caf\xe9 3\n", "not UTF-8 text at byte 3"),
        (b"\n", "no words in it"),
    ],
)
def test_wrong_word_lists_are_named(tmp_path, content, message):
    file = tmp_path / "words.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"words\.txt.*{message}"):
        read_vocabulary(file)
    with pytest.raises(FileNotFoundError, match=r"absent\.txt: no such word list; the official one"):
        read_vocabulary(tmp_path / "absent.txt")


# Parquet


def test_parquet_folder_holds_outfits_with_their_photos(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    save(tree / "label/fill_in_blank_test_typed.json", [question(blank_position=3)])
    save(tree / "label/compatibility_test_typed.txt", "0 300_1\n")
    out = tmp_path / "parquet"
    options = ["--dataset", "polyvore", "--data_dir", str(tree), "--output_dir", str(out)]
    prepare_main([*options, "--option", "questions", "typed"])
    shutil.rmtree(tree / "images")  # the photos are inside
    rows = datasets.load_dataset(str(out), "outfits", split="train", cache_dir=tmp_path / "read")
    assert [photo.getpixel((0, 0))[0] for photo in rows[0]["images"]] == [10, 40]
    rows = datasets.load_dataset(str(out), "fill_in_blank", split="test", cache_dir=tmp_path / "read")
    assert rows["blank_position"][:] == [3]


# Real data


needs_mango = pytest.mark.skipif(
    not ((REAL / "mango_outfits").is_dir() and LAY_OUT.is_file()),
    reason=f"needs the Mango outfits at {REAL / 'mango_outfits'} and the program {LAY_OUT}",
)
needs_polyvore = pytest.mark.skipif(
    not (REAL / "polyvore").is_dir(), reason=f"needs the Polyvore labels at {REAL / 'polyvore'}"
)


@needs_mango
def test_real_outfits_with_photos_in_the_official_tree(tmp_path):
    command = [sys.executable, str(LAY_OUT), "--data", str(REAL), "--output_dir", str(tmp_path)]
    # A small split in the place of the large one.
    subprocess.run(
        [*command, "--sets", "mango_polyvore", "--split", "valid=train"], check=True, capture_output=True, timeout=300
    )
    root = tmp_path / "mango_polyvore"
    listed = {s: json.loads((root / f"label/{s}_no_dup.json").read_text()) for s in ("train", "valid", "test")}
    outfits, items = build(root), build(root, "items")
    names = dict(line.split(" ", 1) for line in (root / "label/category_id.txt").read_text().splitlines())
    for split, entries in listed.items():
        assert outfits[split]["set_id"][:] == [entry["set_id"] for entry in entries]
        assert len(items[split]) == sum(len(entry["items"]) for entry in entries) > 3000
        assert set(items[split]["category"]) <= set(names.values())
    longest = max(range(len(listed["test"])), key=lambda n: len(listed["test"][n]["items"]))
    row = outfits["test"][longest]
    assert len(row["images"]) == len(listed["test"][longest]["items"]) > 8
    assert open_image(row["images"][-1]).size == (128, 179)
    known = {split: set(items[split]["item_id"]) for split in items}
    blanks, lines = build(root, "fill_in_blank"), build(root, "compatibility")
    assert {split: len(blanks[split]) for split in blanks} == {"train": 733, "valid": 733, "test": 701}
    assert {split: len(lines[split]) for split in lines} == {"train": 1470, "valid": 1470, "test": 1410}
    assert all(known["test"] >= set(row["question"]) | set(row["answers"]) for row in blanks["test"])
    assert all(row["answers"][0].split("_")[0] == row["question"][0].split("_")[0] for row in blanks["test"])
    assert sum(lines["test"]["label"]) == 705


@needs_polyvore
def test_real_outfits_with_titles_and_both_kinds_of_negatives(tmp_path):
    label = tmp_path / "data/label"
    label.mkdir(parents=True)
    for file in (REAL / "polyvore").glob("named_*"):
        shutil.copy(file, label / file.name.removeprefix("named_"))
    shutil.copy(REAL / "polyvore/category_id.txt", label)
    rows = build(tmp_path / "data", images="absent")
    assert {split: len(rows[split]) for split in rows} == {"train": 2865, "valid": 466, "test": 460}
    first = rows["train"][0]
    assert first["item_ids"][:2] == ["100002074_6", "100002074_1"] and first["item_names"][0] == "miranda coat"
    assert first["categories"][:2] == ["Coats", "Day Dresses"]
    answers = {}
    for kind in ("typed", "random"):
        blanks = build(tmp_path / "data", "fill_in_blank", images="absent", questions=kind)
        lines = build(tmp_path / "data", "compatibility", images="absent", questions=kind)
        assert (len(blanks["test"]), len(lines["test"]), len(lines["valid"])) == (460, 920, 932)
        answers[kind] = blanks["test"]["answers"][:]
    assert answers["typed"] != answers["random"]


@needs_polyvore
def test_real_sample_with_prices_likes_and_photos_of_which_three_are_missing(tmp_path):
    root = tmp_path / "data"
    shutil.copytree(REAL / "polyvore/sample_with_images/label", root / "label")
    photos = datasets.Dataset.from_parquet(
        str(REAL / "polyvore/sample_with_images/items.parquet"), cache_dir=str(tmp_path)
    )
    for row in photos.cast_column("image", datasets.Image(decode=False)):
        path = root / "images" / row["set_id"] / f"{row['index']}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image"]["bytes"])
    with pytest.raises(FileNotFoundError, match="3 of 133 images are missing: .*100164421/6.jpg"):
        build(root)
    assert len(build(root, missing="skip")["train"]) == 8
    items = build(root, "items", missing="skip")["train"]
    assert len(items) == 63 and items[0]["price"] == 15.0 and items[0]["likes"] == 3062
    assert open_image(items[0]["image"]).size == (159, 300)


@needs_polyvore
def test_real_word_list():
    words = read_vocabulary(REAL / "polyvore/final_word_dict.txt")
    assert len(words) == 2756 and words["black"] == 1 and words["blue"] == 24 and max(words.values()) == 2756
    assert read_word_counts(REAL / "polyvore/final_word_dict.txt")["black"] == 9909
