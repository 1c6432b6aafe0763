"""The FashionIQ builder: rows, galleries, counts, and what it says about files that are wrong."""

import json
import logging
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from data_scripts.fashioniq import CATEGORIES, PUBLISHED, SPLITS, FashionIQ, read_split_file, read_triplets
from data_scripts.prepare import prepare

REAL = Path(os.environ.get("LOOKBOOK_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fashioniq"
GALLERY = 7  # images per category and split in the made-up tree
ODD = "caf\u00e9 \u2014 \U0001f457\u200d \u00a0“longer”\n"


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def tree(tmp_path):
    """A made-up tree in the official layout: 3 triplets and 7 images per category and split; test hides targets."""
    root = tmp_path / "data" / "fashionIQ_dataset"
    for folder in ("captions", "image_splits", "images"):
        (root / folder).mkdir(parents=True)
    for category in CATEGORIES:
        for split in SPLITS:
            ids = [f"{category}-{split}-{k}" for k in range(GALLERY)]
            rows = [{"target": ids[k + 2], "candidate": ids[k], "captions": [f"is {k}", ODD]} for k in (3, 0, 1)]
            if split == "test":
                rows = [{k: v for k, v in row.items() if k != "target"} for row in rows]
            write(root, f"captions/cap.{category}.{split}.json", rows)
            write(root, f"image_splits/split.{category}.{split}.json", ids[::-1])
            for k, name in enumerate(ids):
                Image.fromarray(np.full((4, 3, 3), 9 * k, np.uint8)).save(root / "images" / f"{name}.jpg")
    return root


def write(root, name, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (root / name).write_text(text, encoding="utf-8")


def change(root, name, edit):
    content = json.loads((root / name).read_text())
    edit(content)
    write(root, name, content)


def build(root, config="dress", **options):
    return prepare(FashionIQ, config, root, cache_dir=root.parent.parent / "cache", **options)


def test_triplets_keep_file_order_untouched_captions_and_decoded_images(tree):
    dress = build(tree, decode_images=True)
    assert {split: len(rows) for split, rows in dress.items()} == dict.fromkeys(SPLITS, 3)
    row = dress["val"][0]
    assert {k: v for k, v in row.items() if not k.endswith("image")} == {
        "row": 0,
        "category": "dress",
        "reference_id": "dress-val-3",
        "target_id": "dress-val-5",
        "captions": ["is 3", ODD],
    }
    assert row["reference_image"].getpixel((0, 0)) == (27, 27, 27)
    assert row["target_image"].getpixel((0, 0)) == (45, 45, 45)
    assert dress["test"]["target_id"][:] == [None] * 3 and dress["test"][1]["target_image"] is None
    assert build(tree)["val"][0]["reference_image"] == {"bytes": None, "path": str(tree / "images/dress-val-3.jpg")}


def test_all_joins_the_categories_in_order(tree):
    rows = build(tree, "all")["train"]
    assert rows["category"][:] == ["dress"] * 3 + ["shirt"] * 3 + ["toptee"] * 3
    assert rows["row"][:] == [0, 1, 2] * 3
    assert build(tree, "all", categories=("toptee", "dress"))["train"]["category"][:] == ["toptee"] * 3 + ["dress"] * 3


def test_both_gallery_definitions(tree):
    everything, used = build(tree, "shirt-gallery"), build(tree, "shirt-gallery-val-split")
    assert everything["val"]["image_id"][:] == [f"shirt-val-{k}" for k in range(GALLERY)][::-1]
    assert used["val"]["image_id"][:] == [f"shirt-val-{k}" for k in (5, 3, 2, 1, 0)]  # 6 and 4 are in no triplet
    assert list(everything) == list(SPLITS) and list(used) == ["train", "val"]  # test has no targets to add
    assert len(build(tree, "all-gallery")["val"]) == 3 * GALLERY


def test_parent_folder_streaming_and_two_processes_give_the_same_rows(tree, monkeypatch):
    monkeypatch.setattr("data_scripts.source_files.ROWS_PER_SHARD", 2)
    expected = build(tree, "all").remove_columns(["reference_image", "target_image"])["train"][:]
    two = build(tree, "all", num_proc=2, splits=("train",))
    parent = FashionIQ(config_name="all", data_dir=tree.parent, cache_dir=str(tree.parent / "other"))
    streamed = parent.as_streaming_dataset(split="train")
    assert streamed.num_shards == 5  # 9 rows by two
    assert two.remove_columns(["reference_image", "target_image"])["train"][:] == expected
    assert [row["reference_id"] for row in streamed] == expected["reference_id"]
    assert next(iter(streamed))["reference_image"].size == (3, 4)


def test_corrected_caption_file_is_seen_and_unchanged_files_are_not_prepared_again(tree):
    before = build(tree)
    assert build(tree)["train"].cache_files == before["train"].cache_files
    change(tree, "captions/cap.dress.train.json", lambda rows: rows[0].update(captions=["now", "different"]))
    assert build(tree)["train"][0]["captions"] == ["now", "different"]


def test_image_that_arrives_later_is_seen(tree):
    (tree / "images/dress-val-0.jpg").rename(tree / "kept.jpg")
    assert len(build(tree, missing="skip")["val"]) == 2
    (tree / "kept.jpg").rename(tree / "images/dress-val-0.jpg")
    assert len(build(tree, missing="skip")["val"]) == 3


def test_missing_images_are_one_list(tree):
    for k in range(GALLERY):
        (tree / f"images/dress-train-{k}.jpg").unlink()
    (tree / "images/dress-val-6.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="8 of 21 images are missing") as error:
        build(tree, "dress-gallery")
    report = Path(str(error.value).split("Full list: ")[1].split(".txt")[0] + ".txt").read_text().splitlines()
    assert len(report) == 8 and str(tree / "images/dress-val-6.jpg") in report
    assert 'missing="skip"' in str(error.value) and 'images="absent"' in str(error.value)


def test_rows_without_image_are_skipped_only_on_request_and_counted_every_time(tree, caplog):
    (tree / "images/dress-val-3.jpg").unlink()  # in two of three val triplets
    for _ in range(2):  # prepared, then found prepared
        caplog.clear()
        rows = build(tree, missing="skip")
        assert rows["val"]["row"][:] == [1] and len(rows["train"]) == 3
        assert "val 2 of 3" in caplog.text and "train 0 of 3" in caplog.text


def test_split_that_loses_every_row_is_announced(tree, caplog):
    for k in range(GALLERY):
        (tree / f"images/dress-val-{k}.jpg").unlink()
    assert list(build(tree, missing="skip")) == ["train", "test"]
    assert "val 3 of 3" in caplog.text and "split val has no rows" in caplog.text
    with pytest.raises(ValueError, match="no rows are left in any split"):
        build(tree, missing="skip", splits=("val",))


def test_annotations_alone_and_single_splits(tree):
    for file in (tree / "images").iterdir():
        file.unlink()
    assert build(tree, images="absent")["train"][0]["reference_image"] is None
    for category in CATEGORIES:
        (tree / f"captions/cap.{category}.test.json").unlink()
    assert list(build(tree, images="absent")) == ["train", "val"]
    assert list(build(tree, images="absent", splits=("val",))) == ["val"]
    with pytest.raises(FileNotFoundError, match=r"cap\.dress\.test\.json.*github\.com/XiaoxiaoGuo"):
        build(tree, images="absent", splits=("test",))


def test_png_photos_are_found(tree):
    Image.open(tree / "images/dress-val-3.jpg").save(tree / "images/dress-val-3.png")
    (tree / "images/dress-val-3.jpg").unlink()
    assert build(tree)["val"][0]["reference_image"]["path"].endswith("dress-val-3.png")


@pytest.mark.parametrize("where", ["captions/cap.shirt.val.json", "image_splits/split.shirt.val.json"])
def test_missing_annotation_file_is_named(tree, where):
    (tree / where).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected .*{Path(where).name}.*github"):
        build(tree, "all")


def test_missing_folder_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folders captions and image_splits"):
        FashionIQ(config_name="dress", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="needs data_dir"):
        FashionIQ(config_name="dress")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "captions/cap.dress.val.json",
            '[{"target": "a",\n "candidate" "b"}]',
            r"cap\.dress\.val\.json.*line 2, column 14",
        ),
        ("captions/cap.dress.val.json", "", r"cap\.dress\.val\.json: the file is empty"),
        ("captions/cap.dress.val.json", {"rows": []}, "expected a list of triplets, got dict"),
        ("captions/cap.dress.val.json", [], "expected a list of triplets, got an empty list"),
        ("captions/cap.dress.val.json", [3], r"val\.json, row 0 .*expected .*candidate"),
        ("captions/cap.dress.val.json", [{"target": "dress-val-0", "candidate": "dress-val-1"}], "row 0 .*captions"),
        ("image_splits/split.dress.val.json", ["x", "y", "x"], r"split\.dress\.val\.json: 1 ids are listed twice: x"),
        ("image_splits/split.dress.val.json", ["x", None], "row 1 .*expected an id"),
        ("image_splits/split.dress.val.json", ["../../etc/passwd"], "row 0 .*path separator"),
    ],
)
def test_malformed_files_are_named_with_line_or_row(tree, file, content, message):
    write(tree, file, content)
    with pytest.raises(ValueError, match=message):
        build(tree)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[2].update(captions=["one"]), "row 2 .*exactly two captions"),
        (lambda rows: rows[1].update(captions=["one", None]), "row 1 .*exactly two captions"),
        (lambda rows: rows[1].pop("target"), 'row 1 .*no "target"'),
        (lambda rows: rows[1].pop("candidate"), "row 1 .*candidate"),
        (lambda rows: rows[2].update(target="B0STRANGER"), "1 of 3 rows.*row 2, B0STRANGER"),
    ],
)
def test_unusable_row_is_named(tree, edit, message):
    change(tree, "captions/cap.dress.val.json", edit)
    with pytest.raises(ValueError, match=r"cap\.dress\.val\.json.*" + message):
        build(tree)


def test_caption_file_of_another_split_is_recognised(tree):
    (tree / "captions/cap.dress.val.json").write_bytes((tree / "captions/cap.shirt.train.json").read_bytes())
    with pytest.raises(ValueError, match=r"3 of 3 rows.*split\.dress\.val\.json.*in split\.shirt\.train\.json"):
        build(tree)


def test_numeric_ids_become_strings(tree):
    write(tree, "image_splits/split.dress.val.json", [101, 102])
    write(tree, "captions/cap.dress.val.json", [{"target": 101, "candidate": 102, "captions": ["a", "b"]}])
    row = build(tree, splits=("val",), images="absent")["val"][0]
    assert (row["reference_id"], row["target_id"]) == ("102", "101")


def test_options_with_other_values_are_refused(tree):
    for options in ({"images": "maybe"}, {"missing": "ignore"}, {"splits": ("valid",)}, {"categories": ("hats",)}):
        with pytest.raises(ValueError, match="must be|not a FashionIQ"):
            build(tree, **options)


def test_other_data_in_the_layout_get_one_line_for_all_configurations(tree, caplog):
    for config in ("dress", "shirt", "dress-gallery", "all-gallery-val-split"):
        build(tree, config)
    lines = [r.getMessage() for r in caplog.records if "FashionIQ layout" in r.getMessage()]
    assert len(lines) == 1 and "63 distinct ids" in lines[0] and "74,381" in lines[0]
    assert "published" not in caplog.text


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real FashionIQ annotations are not at {REAL} (set LOOKBOOK_DATA)")
class TestRealAnnotations:
    def test_every_file_has_the_published_counts(self):
        for (category, split), (triplets, images, _) in PUBLISHED.items():
            ids = read_split_file(REAL, category, split)
            assert (len(read_triplets(REAL, category, split, ids)), len(ids)) == (triplets, images)

    def test_both_galleries_have_the_published_sizes_without_a_warning(self, tmp_path, caplog):
        for category, original, val_split in zip(CATEGORIES, (3817, 6346, 5373), (2628, 3089, 2902), strict=True):
            sizes = []
            for config in (f"{category}-gallery", f"{category}-gallery-val-split"):
                options = {"cache_dir": tmp_path, "images": "absent", "splits": ("val",)}
                sizes.append(len(prepare(FashionIQ, config, REAL, **options)["val"]))
            assert sizes == [original, val_split]
        assert not caplog.records

    def test_all_nine_files_hold_74381_products(self):
        ids = [i for category, split in PUBLISHED for i in read_split_file(REAL, category, split)]
        assert (len(ids), len(set(ids))) == (77683, 74381)

    def test_incomplete_copy_is_warned_about_with_the_74381_explained(self, tmp_path, caplog):
        root = tmp_path / "fashionIQ_dataset"
        for folder in ("captions", "image_splits"):
            (root / folder).mkdir(parents=True)
            for file in (REAL / folder).iterdir():
                (root / folder / file.name).write_bytes(file.read_bytes())
        change(root, "captions/cap.dress.val.json", lambda rows: rows.pop())
        with caplog.at_level(logging.WARNING):
            build(root, images="absent", splits=("val",))
        message = "\n".join(r.getMessage() for r in caplog.records)
        assert "2,016 found, 2,017 published" in message
        assert "77,683 entries" in message and "74,381 distinct ids" in message and "about 77.7k" in message
