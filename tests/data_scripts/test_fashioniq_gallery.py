"""FashionIQ as FashionViL reads it: rows that only fill the gallery, made from official files or read from modified ones."""

import json

import datasets
import pytest

from data_scripts.fashioniq import FashionIQ
from data_scripts.prepare import prepare


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def triplet(candidate, target, *captions, **more):
    return {"candidate": candidate, "target": target, "captions": list(captions or ("is red", "is long"))} | more


def build(root, config="dress-fashionvil", **options):
    return prepare(FashionIQ, config, root, cache_dir=root / "cache", images="absent", **options)


@pytest.fixture
def official(tmp_path):
    root = tmp_path / "fashionIQ_dataset"
    for category in ("dress", "shirt", "toptee"):
        save(root / f"image_splits/split.{category}.train.json", ["t1", "t2", "t3"])
        save(root / f"captions/cap.{category}.train.json", [triplet("t1", "t3")])
        save(root / f"image_splits/split.{category}.val.json", ["a", "b", "c", "d"])
        save(root / f"captions/cap.{category}.val.json", [triplet("a", "c"), triplet("b", "c"), triplet("c", "b")])
    return root


def modified(number=4, fake=False, kind=0):
    return {"target_id": number, "fake_data": fake, "garment_class": kind}


def test_images_that_no_query_looks_for_get_a_row(official):
    rows = build(official)
    columns = ("reference_id", "target_id", "target_number", "fake_data", "garment_class")
    assert [tuple(row[c] for c in columns) for row in rows["val"]] == [
        ("a", "c", 2, False, 0),
        ("b", "c", 2, False, 0),
        ("c", "b", 1, False, 0),
        ("a", "a", 0, True, 0),
        ("d", "d", 3, True, 0),
    ]
    assert rows["val"]["captions"][:] == [["is red", "is long"]] * 3 + [["", ""]] * 2
    assert [(row["target_id"], row["fake_data"]) for row in rows["train"]] == [("t3", False)]  # no gallery there
    everything = build(official, "all-fashionvil", splits="val")["val"]
    assert everything["garment_class"][:] == [1] * 5 + [0] * 5 + [2] * 5  # shirt, dress, toptee


def test_a_modified_file_is_read_as_it_is_and_needs_no_split_files(tmp_path):
    root = tmp_path / "FashionIQ"
    rows = [triplet("x", "y", **modified()), triplet("z", "z", "", "", **modified(9, True))]
    save(root / "captions/cap.dress.val.json", rows)
    found = build(tmp_path)["val"]
    assert found["target_number"][:] == [4, 9] and found["fake_data"][:] == [False, True]


def test_rows_of_a_modified_file_that_ask_nothing_are_no_triplets(official, caplog):
    rows = [triplet("a", "c", **modified(2)), triplet("d", "d", "", "", **modified(3, True))]
    save(official / "captions/cap.dress.val.json", rows)
    assert build(official, "dress", splits="val")["val"]["reference_id"][:] == ["a"]
    assert "1 rows with fake_data are no triplets" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_id": "4"}, "expected a whole number in target_id"),
        ({"fake_data": 0}, "true or false in fake_data"),
        ({"garment_class": 1}, "garment_class of dress is 0, got 1"),
        ({"captions": "is red"}, "expected a list of captions"),
        ({"target": "w"}, "target_id 4 is of y already, not of w"),
    ],
)
def test_wrong_rows_of_a_modified_file_are_named(tmp_path, change, message):
    rows = [triplet("x", "y", **modified()), triplet("x", "y", **modified()) | change]
    save(tmp_path / "captions/cap.dress.val.json", rows)
    with pytest.raises(ValueError, match=rf"cap\.dress\.val\.json, row 1 \(from 0\): .*{message}"):
        build(tmp_path)


def test_keys_in_some_rows_only_and_files_without_targets_are_errors(tmp_path, official):
    other = tmp_path / "other"
    save(other / "captions/cap.dress.val.json", [triplet("x", "y", **modified()), triplet("x", "y")])
    with pytest.raises(
        ValueError, match=r"row 1 \(from 0\): expected candidate, target, captions, target_id, fake_data"
    ):
        build(other)
    save(official / "image_splits/split.dress.test.json", ["a"])
    save(official / "captions/cap.dress.test.json", [{"candidate": "a", "captions": ["is red", "is long"]}])
    assert list(build(official)) == ["train", "val"]
    with pytest.raises(ValueError, match=r"cap\.dress\.test\.json: no targets, which FashionViL's rows need"):
        build(official, splits="test")


@pytest.mark.parametrize(
    ("split", "content", "message"),
    [
        ("val", [], "expected a list of triplets, got an empty list"),
        ("train", [{"candidate": "t1", "captions": ["is red", "is long"]}], r'row 0 \(from 0\): no "target"'),
        ("train", {"rows": []}, "expected a list of triplets, got dict"),
        ("test", {"rows": []}, "expected a list of triplets, got dict"),
    ],
)
@pytest.mark.parametrize("config", ["dress-fashionvil", "dress-gallery-val-split"])
def test_a_wrong_caption_file_is_an_error_and_no_split_that_is_not_there(official, config, split, content, message):
    save(official / f"captions/cap.dress.{split}.json", content)
    with pytest.raises(ValueError, match=rf"cap\.dress\.{split}\.json.*{message}"):
        build(official, config)
