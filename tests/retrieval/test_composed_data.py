"""Composed sets as the evaluation reads them from data in the official layouts, real annotations included."""

import json
import shutil
from pathlib import Path

import pytest

from data_scripts.images import open_image
from train.retrieval.composed_data import (
    default_split,
    detect_layout,
    load_cirr_queries,
    load_composed_set,
    protocols_named,
)

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_fashioniq_serves_three_protocols_from_one_list_of_images(fashioniq_dir):
    data = load_composed_set("fashioniq", fashioniq_dir)
    assert len(data.query_ids) == 24
    assert len(data.gallery_ids) == 40  # 3 x 14, two shared by shirt and toptee
    sizes = {p: {c: len(r) for c, r in g.items()} for p, g in data.galleries.items()}
    assert sizes["fashioniq/original-split"] == {"dress": 14, "shirt": 14, "toptee": 14}
    assert sizes["composed/pooled-noref"] == {"all": 40}
    for category in ("dress", "shirt", "toptee"):
        split = json.loads((fashioniq_dir / "image_splits" / f"split.{category}.val.json").read_text())
        rows = data.galleries["fashioniq/original-split"][category]
        assert [data.gallery_ids[row] for row in rows] == split
        triplets = json.loads((fashioniq_dir / "captions" / f"cap.{category}.val.json").read_text())
        used = {t[k] for t in triplets for k in ("candidate", "target")}
        rows = data.galleries["fashioniq/val-split"][category]
        assert [data.gallery_ids[row] for row in rows] == [name for name in split if name in used]
        first = data.query_ids.index(f"{category}/0")
        assert data.gallery_ids[data.reference[first]] == triplets[0]["candidate"]
        assert data.gallery_ids[data.positives["fashioniq/val-split"][first][0]] == triplets[0]["target"]
    assert data.captions[0] == "Is red and is more red"
    opened = [open_image(picture) for picture in data.images]
    assert len(opened) == 40 and all(picture.size == (40, 48) for picture in opened)
    shared = data.gallery_ids.index("S000000006")
    assert open_image(data.images[shared]).tobytes() == open_image(fashioniq_dir / "images/S000000006.jpg").tobytes()


def test_cirr_groups_are_rows_of_the_gallery(cirr_dir):
    data = load_composed_set("cirr", cirr_dir)
    rows = json.loads((cirr_dir / "cirr/captions/cap.rc2.val.json").read_text())
    assert data.query_ids == [str(row["pairid"]) for row in rows]
    assert [[data.gallery_ids[m] for m in group] for group in data.members] == [r["img_set"]["members"] for r in rows]
    assert data.captions[0] == "show 0 of them."  # passed on untouched
    assert set(data.galleries) == {"cirr/val", "composed/pooled-noref"}


def test_a_catalogue_accepts_every_photo_with_the_title(catalogue_dir):
    data = load_composed_set("catalogue", catalogue_dir)
    assert data.positives["composed/pooled-noref"][0] == [1]
    assert data.positives["catalogue/same-title"][0] == [1, 5, 9]


def test_a_split_without_targets_cannot_be_scored(cirr_dir):
    with pytest.raises(ValueError, match="no targets.*train/cirr_submission.py"):
        load_composed_set("cirr", cirr_dir, "test1")
    asked = load_cirr_queries(cirr_dir)
    assert len(asked.pair_ids) == 33 and len(asked.gallery_names) == 60
    assert asked.annotations()[0]["pairid"] == "995"


def test_the_fingerprint_follows_the_content_not_the_folder(fashioniq_dir, tmp_path):
    first = load_composed_set("fashioniq", fashioniq_dir).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(fashioniq_dir, copy)
    assert load_composed_set("fashioniq", copy).fingerprint == first
    file = copy / "captions" / "cap.shirt.val.json"
    file.write_text(file.read_text().replace("is red", "is pink"))
    changed = load_composed_set("fashioniq", copy).fingerprint
    assert changed["digest"] != first["digest"]
    assert changed["queries"] == first["queries"] == 24


def test_layouts_are_told_apart(fashioniq_dir, cirr_dir, catalogue_dir, tmp_path):
    pooled = "composed/pooled-noref"
    found = [detect_layout(folder, pooled) for folder in (fashioniq_dir, cirr_dir, catalogue_dir)]
    assert found == ["fashioniq", "cirr", "catalogue"]
    assert detect_layout(tmp_path, "cirr/val") == "cirr"
    with pytest.raises(FileNotFoundError, match="no composed queries found.*--dataset"):
        detect_layout(tmp_path, pooled)
    assert [default_split(p, layout) for p, layout in ((pooled, "catalogue"), ("cirr/val", "cirr"))] == ["valid", "val"]


def test_names_of_protocols():
    assert protocols_named("fashioniq") == ("fashioniq/original-split", "fashioniq/val-split")
    assert protocols_named("cirr/val") == ("cirr/val",)
    with pytest.raises(ValueError, match="unknown protocol 'cirr'; one of fashioniq, polyvore, "):
        protocols_named("cirr")
    assert protocols_named("polyvore") == ("polyvore/fitb", "polyvore/compatibility")
    assert protocols_named("polyvore-outfits/disjoint-fitb") == ("polyvore-outfits/disjoint-fitb",)
    with pytest.raises(ValueError, match="unknown protocol 'polyvore/blank'"):
        protocols_named("polyvore/blank")
    with pytest.raises(ValueError, match="unknown layout 'imagenet'"):
        load_composed_set("imagenet", ".")


@pytest.mark.skipif(not (REAL / "fashioniq").is_dir(), reason=f"real FashionIQ annotations not at {REAL}/fashioniq")
def test_both_real_fashioniq_galleries_have_the_published_sizes():
    data = load_composed_set("fashioniq", REAL / "fashioniq", images="absent")
    sizes = {p: tuple(len(r) for r in g.values()) for p, g in data.galleries.items()}
    assert sizes["fashioniq/original-split"] == (3817, 6346, 5373)
    assert sizes["fashioniq/val-split"] == (2628, 3089, 2902)
    assert sizes["composed/pooled-noref"] == (15415,)  # 15,536 entries, 121 shared by shirt and toptee
    assert [data.categories.count(c) for c in ("dress", "shirt", "toptee")] == [2017, 2038, 1961]


@pytest.mark.skipif(not (REAL / "cirr").is_dir(), reason=f"real CIRR annotations not at {REAL}/cirr")
def test_the_real_cirr_validation_set_has_the_published_size():
    data = load_composed_set("cirr", REAL / "cirr", images="absent")
    assert (len(data.query_ids), len(data.gallery_ids)) == (4181, 2297)
    assert tuple(data.members.shape) == (4181, 6)
    assert bool((data.members == data.reference[:, None]).any(dim=1).all())
