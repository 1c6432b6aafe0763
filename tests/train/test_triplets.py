"""Training rows: caption draws, photos with their queries, titles from files."""

import json
from collections import Counter

import pytest

from train.engine.triplets import DataArguments, PhotoRows, TripletRows, Triplets, load_triplets, read_titles


@pytest.fixture
def triplets():
    ids = ["a", "b", "c", "d"]
    return Triplets(
        reference_ids=["a", "a", "c"],
        target_ids=["b", "c", "a"],
        captions=[("is red.", "has sleeves")] * 3,
        target_groups=["b", "c", "a"],
        images={i: i for i in ids},
        image_groups={i: i for i in ids},
        titles={"a": "Red dress", "b": "Red dress"},
    )


def test_caption_forms_are_drawn_evenly_and_by_seed_and_epoch(triplets):
    rows = TripletRows(triplets, seed=5)
    drawn = Counter()
    for epoch in range(400):
        rows.set_epoch(epoch)
        drawn.update(rows[i]["form"] for i in range(3))
    assert all(abs(count / 1200 - 0.25) < 0.05 for count in drawn.values()) and len(drawn) == 4
    again = TripletRows(triplets, seed=5)
    again.set_epoch(399)
    assert [again[i] for i in range(3)] == [rows[i] for i in range(3)]


def test_a_photo_brings_its_queries_and_its_links(triplets):
    photos = PhotoRows(triplets, seed=0)
    assert photos.ids == ["a", "c", "b"]  # d is in no triplet
    assert [q["target_id"] for q in photos[0]["queries"]] == ["b", "c"]
    assert sorted(photos.links[0]) == [1, 2] and photos.links[2] == [0]
    assert photos[0]["title_number"] == photos[2]["title_number"] == 0 and photos[1]["title_number"] == -1


def test_titles_come_from_files_with_the_usual_columns(tmp_path):
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"asin": i, "name": t}) for i, t in (("a", "X"), ("z", "Y")))
    )
    (tmp_path / "t.csv").write_text("product_id,title\nb,Blue shirt\n")
    files = [str(tmp_path / "t.jsonl"), str(tmp_path / "t.csv")]
    assert read_titles(files, {"a", "b", "c"}) == {"a": "X", "b": "Blue shirt"}


def test_title_files_that_do_not_fit_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("sku,label\nb,Blue shirt\n")
    with pytest.raises(ValueError, match="has the columns sku, label; expected one of id"):
        read_titles([str(tmp_path / "t.csv")], {"b"})
    with pytest.raises(FileNotFoundError, match="none.csv: no such file"):
        read_titles([str(tmp_path / "none.csv")], {"b"})
    (tmp_path / "u.csv").write_text("id,title\nq,Blue shirt\n")
    with pytest.raises(ValueError, match="none of the 1 images has a title"):
        read_titles([str(tmp_path / "u.csv")], {"b"})


def test_a_split_without_targets_cannot_be_trained_on(world):
    with pytest.raises(ValueError, match="has no targets"):
        load_triplets(DataArguments(dataset="fashioniq", data_dir=str(world)), "test")


def test_the_gallery_adds_the_pictures_that_no_triplet_uses(world):
    data = DataArguments(dataset="fashioniq", data_dir=str(world))
    alone, whole = load_triplets(data, "train"), load_triplets(data, "train", gallery=True)
    listed = set()
    for category in ("dress", "shirt", "toptee"):
        listed |= set(json.loads((world / f"fashionIQ_dataset/image_splits/split.{category}.train.json").read_text()))
    assert set(whole.images) == listed and set(alone.images) <= listed
