"""The CIRR builder: rows, gallery, and what it says about files that are wrong."""

import json
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from data_scripts.cirr import PUBLISHED, SPLITS, Cirr, read_split_file
from data_scripts.prepare import prepare

REAL = Path(os.environ.get("LOOKBOOK_DATA", Path(__file__).parents[3] / "shared" / "data")) / "cirr"
ODD = "Show three dogs , n\u00e9ar a “blue” door \U0001f436"
FOLDERS = {"train": "train/34", "val": "dev", "test1": "test1"}


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def tree(tmp_path):
    """A made-up tree in the official layout: 2 queries and 7 images per split; test1 hides targets."""
    root = tmp_path / "data" / "cirr_dataset"
    for folder in ("cirr/captions", "cirr/image_splits", *FOLDERS.values()):
        (root / folder).mkdir(parents=True)
    for split, folder in FOLDERS.items():
        names = [f"{split}-scene-{k}" for k in (4, 0, 6, 1, 5, 2, 3)]
        for k, name in enumerate(names):
            Image.fromarray(np.full((3, 5, 3), 20 * k, np.uint8)).save(root / folder / f"{name}.png")
        rows = []
        for number in (12, 7):
            members = names[:6] if number == 12 else names[1:]
            rows.append(
                {"pairid": number, "reference": members[0], "caption": ODD, "img_set": {"id": 3, "members": members}}
            )
            if split != "test1":
                rows[-1] |= {
                    "target_hard": members[2],
                    "target_soft": {members[2]: 1.0, members[4]: 0.2, members[5]: -1},
                }
        write(root, f"captions/cap.rc2.{split}.json", rows)
        write(root, f"image_splits/split.rc2.{split}.json", {name: f"./{folder}/{name}.png" for name in names})
    return root


def write(root, name, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "cirr" / name).write_text(text, encoding="utf-8")


def change(root, name, edit):
    content = json.loads((root / "cirr" / name).read_text())
    edit(content)
    write(root, name, content)


def build(root, config="triplets", **options):
    return prepare(Cirr, config, root, cache_dir=root.parent.parent / "cache", **options)


def test_triplets_hold_members_soft_targets_and_images(tree):
    rows = build(tree, decode_images=True)
    assert {split: part["pairid"][:] for split, part in rows.items()} == dict.fromkeys(SPLITS, ["12", "7"])
    row = rows["val"][0]
    assert {k: v for k, v in row.items() if not k.endswith("_image")} == {
        "pairid": "12",
        "reference_id": "val-scene-4",
        "target_id": "val-scene-6",
        "caption": ODD,
        "members": [f"val-scene-{k}" for k in (4, 0, 6, 1, 5, 2)],
        "target_soft": [
            {"image_id": "val-scene-6", "score": 1.0},
            {"image_id": "val-scene-5", "score": 0.2},
            {"image_id": "val-scene-2", "score": -1.0},
        ],
    }
    assert row["reference_image"].getpixel((0, 0)) == (0, 0, 0)
    assert row["target_image"].getpixel((0, 0)) == (40, 40, 40)
    hidden = rows["test1"][1]
    assert hidden["target_id"] is None and hidden["target_image"] is None and hidden["target_soft"] == []
    assert len(hidden["members"]) == 6


def test_gallery_keeps_the_key_order_of_the_split_file(tree):
    gallery = build(tree, "gallery")
    assert gallery["val"]["image_id"][:] == [f"val-scene-{k}" for k in (4, 0, 6, 1, 5, 2, 3)]
    assert gallery["train"][0]["image"]["path"] == str(tree / "train/34/train-scene-4.png")


def test_parent_folder_annotation_folder_and_streaming_agree(tree, tmp_path):
    expected = build(tree)["val"]["pairid"][:]
    assert build(tree.parent)["val"]["pairid"][:] == build(tree / "cirr")["val"]["pairid"][:] == expected
    streamed = Cirr(config_name="triplets", data_dir=tree, cache_dir=str(tmp_path)).as_streaming_dataset(split="val")
    assert [row["pairid"] for row in streamed] == expected
    assert build(tree, num_proc=2, splits=("val",))["val"]["pairid"][:] == expected


def test_split_without_caption_file_is_left_out_with_a_warning_unless_asked_for(tree, caplog):
    (tree / "cirr/captions/cap.rc2.train.json").unlink()
    assert list(build(tree)) == ["val", "test1"] and list(build(tree, "gallery")) == list(SPLITS)
    assert "cap.rc2.train.json is not there: split train is left out" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"expected .*cap\.rc2\.train\.json.*Cuberick-Orion"):
        build(tree, splits=("train",))


def test_changed_split_file_is_seen(tree):
    assert len(build(tree, "gallery")["val"]) == 7
    change(tree, "image_splits/split.rc2.val.json", lambda images: images.pop("val-scene-3"))
    assert len(build(tree, "gallery")["val"]) == 6


def test_missing_images_are_one_list_over_all_folders(tree, caplog):
    (tree / "dev/val-scene-3.png").unlink()
    (tree / "train/34/train-scene-0.png").unlink()
    with pytest.raises(FileNotFoundError, match="2 of 21 images are missing.*lil.nlp.cornell.edu"):
        build(tree, "gallery")
    assert len(build(tree, splits=("val",))["val"]) == 2  # the missing one is a mere member; members need no photo here
    rows = build(tree, missing="skip", splits=("train",))
    assert rows["train"]["pairid"][:] == ["12"] and "train 1 of 2" in caplog.text
    for folder in FOLDERS.values():
        for file in (tree / folder).iterdir():
            file.unlink()
    assert build(tree, images="absent")["val"][0]["target_image"] is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[1].pop("target_hard"), 'row 1 .*no "target_hard"'),
        (lambda rows: rows[1].pop("img_set"), "row 1 .*expected .*img_set"),
        (lambda rows: rows[0]["img_set"]["members"].pop(), "row 0 .*six names"),
        (lambda rows: rows[0].update(caption=["a", "b"]), "row 0 .*one caption"),
        (lambda rows: rows[0].update(reference="val-scene-3"), "row 0 .*val-scene-3 is not among img_set.members"),
        (lambda rows: rows[0].update(target_soft=[1]), "row 0 .*target_soft"),
        (lambda rows: rows[1].update(pairid=12), "pairids occur twice: 12"),
        (lambda rows: rows[1].update(target_hard="stranger"), "1 of 2 rows.*row 1, stranger"),
    ],
)
def test_unusable_row_is_named(tree, edit, message):
    change(tree, "captions/cap.rc2.val.json", edit)
    with pytest.raises(ValueError, match=r"cap\.rc2\.val\.json.*" + message):
        build(tree)


def test_caption_file_of_another_split_is_recognised(tree):
    (tree / "cirr/captions/cap.rc2.val.json").write_bytes((tree / "cirr/captions/cap.rc2.train.json").read_bytes())
    with pytest.raises(ValueError, match=r"2 of 2 rows.*split\.rc2\.val\.json.*in split\.rc2\.train\.json"):
        build(tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": "./dev/a.png", "a": "./dev/b.png"}', "listed twice: a"),
        ('{"a": "./dev/a.png"', "line 1, column 20"),
        ('{"a": "../../secret.png"}', "entry 0 .*inside the data folder"),
        ('{"a": 3}', "entry 0 .*inside the data folder"),
        ('["a"]', "expected an object of image name -> path, got list"),
    ],
)
def test_malformed_split_file_is_named(tree, content, message):
    write(tree, "image_splits/split.rc2.val.json", content)
    with pytest.raises(ValueError, match=r"split\.rc2\.val\.json.*" + message):
        build(tree)


def test_missing_folder_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folders captions and image_splits"):
        Cirr(config_name="gallery", data_dir=tmp_path)


def test_other_data_in_the_layout_get_one_line(tree, caplog):
    build(tree)
    build(tree, "gallery")
    lines = [r.getMessage() for r in caplog.records if "CIRR layout" in r.getMessage()]
    assert len(lines) == 1 and "21 images" in lines[0] and "21,551" in lines[0]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real CIRR annotations are not at {REAL} (set LOOKBOOK_DATA)")
def test_real_annotations_have_the_published_counts(tmp_path, caplog):
    options = {"cache_dir": tmp_path, "images": "absent"}
    triplets = prepare(Cirr, "triplets", REAL, splits=("val", "test1"), **options)
    gallery = prepare(Cirr, "gallery", REAL, splits=("val", "test1"), **options)
    for split in ("val", "test1"):
        assert (len(triplets[split]), len(gallery[split])) == PUBLISHED[split]
    assert len(read_split_file(REAL, "train")) == PUBLISHED["train"][1] == 16939
    assert not caplog.records
