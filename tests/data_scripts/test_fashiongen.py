"""FashionGen in its HDF5 files and in the layout derived from them: several views, one text, one product."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
from PIL import Image

from data_scripts import fashiongen
from data_scripts.fashiongen import FashionGen, find_root, main, read_hdf5, write_hdf5, write_json_layout
from data_scripts.images import open_image
from data_scripts.prepare import main as prepare_main
from data_scripts.prepare import prepare, write_parquet

SHARED = Path(__file__).parents[3] / "shared"
REAL = Path(os.environ.get("LOOKBOOK_DATA", SHARED / "data")) / "myntra_products"
LAY_OUT = SHARED / "tools" / "lay_out_data.py"


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def build(root, config="pairs", **options):
    return prepare(FashionGen, config, root, cache_dir=root.parent / "cache", **options)


def pixels(shade):
    return np.full((6, 6, 3), shade, np.uint8)


def shades(rows):
    return [open_image(row["image"]).getpixel((0, 0))[0] for row in rows]


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


ENTRIES = [
    {
        "id": 11,
        "images": ["11_a.png", "11_b.png"],
        "title": "Caf\u00e9 Dress.",
        "description": "Silk dress in white. Hidden zip.",
        "category_id": 0,
        "subcategory_id": 4,
        "attributes_id": [2, 1],
    },
    {"id": 12, "images": ["12.png"], "title": "", "description": "", "gender": "Women"},
]


@pytest.fixture
def tree(tmp_path):
    """Two training products with three photos, one for validation, labels for some ids."""
    root = tmp_path / "data" / "FashionGen"
    save(root / "train_info.json", ENTRIES)
    save(root / "val_info.json", [{"id": 90, "images": ["90.png"], "title": "Hat", "description": "Red hat."}])
    labels = {"categories": {"DRESSES": 0}, "subcategories": {"GOWNS": 4}, "attributes": {"silk": 1}}
    save(root / "labels.json", labels)
    for split, names in (("train", ("11_a", "11_b", "12")), ("val", ("90",))):
        (root / split).mkdir()
        for number, name in enumerate(names):
            Image.fromarray(pixels(10 * (number + 1))).save(root / split / f"{name}.png")
    return root


def row(product_id, shade, **texts):
    return {"product_id": product_id, "image": pixels(shade)} | texts


DRESS = {"name": "Caf\u00e9 Dress", "description": "Silk, 50 \u00b0C.", "category": "DRESSES", "subcategory": "GOWNS"}
ROWS = [
    row(300, 10, **DRESS, gender="Women", pose="id_gridfs_1"),
    row(20, 20, name="Hat", description="Red hat.", category="HATS", subcategory="CAPS", gender="Men"),
    row(300, 30, **DRESS | {"description": "other words"}, gender="Women", pose="id_gridfs_2"),
]


@pytest.fixture
def official(tmp_path):
    """The official files: views of product 300 apart from each other, one product for validation."""
    root = tmp_path / "official"
    write_hdf5(root / "fashiongen_256_256_train.h5", ROWS)
    write_hdf5(root / "fashiongen_256_256_validation.h5", [row(7, 40, name="Coat", category="COATS", subcategory="X")])
    return root


def change(path, name, content):
    with h5py.File(path, "a") as file:
        del file[name]
        if content is not None:
            file.create_dataset(name, data=content)


# The derived layout


def test_products_keep_their_views_and_labels(tree):
    rows = build(tree.parent, "products")
    first, second = rows["train"]
    assert [open_image(photo).getpixel((0, 0))[0] for photo in first.pop("images")] == [10, 20]
    assert first == {
        "product_id": "11",
        "title": "Caf\u00e9 Dress.",
        "description": "Silk dress in white. Hidden zip.",
        "category": "DRESSES",
        "subcategory": "GOWNS",
        "gender": None,
        "caption": "Caf\u00e9 Dress. Silk dress in white. Hidden zip.",
        "category_id": 0,
        "subcategory_id": 4,
        "attributes": ["2", "silk"],  # an id without a name stays an id
        "attribute_ids": [2, 1],
        "image_ids": ["11_a", "11_b"],
    }
    assert second["gender"] == "Women" and second["category"] is None and second["attributes"] == []
    assert rows["validation"]["product_id"][:] == ["90"] and list(rows) == ["train", "validation"]


def test_pairs_hold_one_row_per_photo_with_the_caption_asked_for(tree):
    rows = build(tree)["train"]
    assert rows["image_id"][:] == ["11_a", "11_b", "12"] and rows["product_id"][:] == ["11", "11", "12"]
    assert shades(rows) == [10, 20, 30]
    both = "Caf\u00e9 Dress. Silk dress in white. Hidden zip."
    assert rows["caption"][:] == [both, both, ""]
    assert build(tree, caption="title")["train"]["caption"][0] == "Caf\u00e9 Dress."
    assert build(tree, caption="description")["train"]["caption"][0] == "Silk dress in white. Hidden zip."
    assert build(tree)["validation"]["caption"][:] == ["Hat. Red hat."]
    with pytest.raises(ValueError, match=r"caption must be one of \('both', .*got 'name'"):
        build(tree, caption="name")


@pytest.mark.parametrize(
    ("title", "description", "caption"),
    [
        (" Hat ", "\tRed\u00a0hat\n", "Hat. Red\u00a0hat"),
        ("Hat...", "Red hat...", "Hat. Red hat..."),
        ("Hat", None, "Hat"),
        (None, "Red hat", "Red hat"),
        (" ", "", ""),
        ("\U0001f457", "\u65e5\u672c\u3002", "\U0001f457. \u65e5\u672c\u3002"),
    ],
)
def test_both_texts_are_joined_by_one_full_stop(tree, title, description, caption):
    save(tree / "val_info.json", [{"id": 90, "images": ["90.png"], "title": title, "description": description}])
    assert build(tree, splits="validation")["validation"]["caption"][:] == [caption]


def test_fashionvils_caption_joins_the_texts_as_they_are(tree):
    rows = build(tree, "products", caption="fashionvil")["train"]
    assert rows["caption"][:] == ["Caf\u00e9 Dress..Silk dress in white. Hidden zip.", "."]


def test_labels_beyond_their_number_are_an_error_that_names_the_product(tree):
    assert build(tree, "products", num_attributes=3, num_subcategories=5)["train"]["subcategory_id"][:] == [4, None]
    for option, key, value in (("num_attributes", "attributes_id", 2), ("num_subcategories", "subcategory_id", 4)):
        message = rf"train_info\.json, product 0 \(from 0\), {key}: {value} is out of range, expected 0 to {value - 1}"
        with pytest.raises(ValueError, match=message):
            build(tree, "products", **{option: value})


def test_a_damaged_view_is_named_and_counted_and_its_product_keeps_the_others(tree, caplog):
    (tree / "train/11_b.png").write_bytes(b"no picture")
    assert build(tree, "products")["train"]["image_ids"][:] == [["11_a", "11_b"], ["12"]]  # not opened
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images cannot be used: .*11_b\.png: not an image file"):
        build(tree, "products", check=True)
    rows = build(tree, "products", check=True, missing="skip")["train"]
    assert rows["image_ids"][:] == [["11_a"], ["12"]]
    assert "train 0 of 2" in caplog.text and "Images left out: 1 of 4" in caplog.text and "11_b.png" in caplog.text


def test_a_product_without_images_is_an_error_or_left_out_and_counted(tree, caplog):
    save(tree / "train_info.json", [*ENTRIES, {"id": 13, "images": [], "title": "Belt", "description": ""}])
    with pytest.raises(ValueError, match=r"1 products have no image: train product 13"):
        build(tree, "products")
    assert build(tree, "products", missing="skip")["train"]["product_id"][:] == ["11", "12"]
    assert "train 1 of 3" in caplog.text
    rows = build(tree, "products", images="absent")["train"]
    assert rows["product_id"][2] == "13" and rows["image_ids"][2] == [] and rows["images"][2] is None


def test_a_single_image_may_stand_in_place_of_a_list(tree):
    save(tree / "train_info.json", [ENTRIES[0], ENTRIES[1] | {"images": "12.png"}])
    assert build(tree, "products")["train"]["image_ids"][:] == [["11_a", "11_b"], ["12"]]


def test_annotations_may_lie_in_their_own_folder(tree):
    before = build(tree, "products")["train"].to_list()
    (tree / "annotations").mkdir()
    for name in ("train_info.json", "val_info.json", "labels.json"):
        (tree / name).rename(tree / "annotations" / name)
    rows = build(tree.parent, "products")
    assert rows["train"].to_list() == before and rows["train"]["category"][0] == "DRESSES"
    save(tree / "annotations/val_info.json", [{"id": 90, "images": "90.png", "title": "Cap", "description": ""}])
    assert build(tree.parent, "products")["validation"]["title"][:] == ["Cap"]


def test_photos_are_found_under_another_ending(tree):
    (tree / "train/12.png").rename(tree / "train/12.jpeg")
    assert shades(build(tree)["train"]) == [10, 20, 30]


def test_without_labels_the_ids_stand_for_the_names(tree):
    (tree / "labels.json").unlink()
    first = build(tree, "products", images="absent")["train"][0]
    assert (first["category"], first["subcategory"], first["attributes"]) == ("0", "4", ["2", "1"])
    assert first["images"] is None and first["image_ids"] == ["11_a", "11_b"]


def test_missing_photos_are_one_list_and_counted_on_request(tree, caplog):
    (tree / "train/11_a.png").unlink()
    (tree / "train/12.png").unlink()
    for config in ("pairs", "products"):
        with pytest.raises(FileNotFoundError, match=r"2 of 4 images are missing: .*11_a\.png, .*12\.png"):
            build(tree, config)
    for _ in range(2):
        caplog.clear()
        assert build(tree, "products", missing="skip")["train"]["image_ids"][:] == [["11_b"]]
        assert "train 1 of 2" in caplog.text and "Images left out: 2 of 4" in caplog.text
    assert build(tree, missing="skip")["train"]["image_id"][:] == ["11_b"]
    assert build(tree, images="absent")["train"]["image_id"][:] == ["11_a", "11_b", "12"]


def test_counts_unlike_the_published_ones_are_a_warning_with_both(tree, caplog, monkeypatch):
    build(tree)
    assert "train has 3 photos, FashionGen's own has 260,480" in caplog.text
    assert "validation has 1 photos, FashionGen's own has 32,528 or 35,528" in caplog.text
    caplog.clear()
    monkeypatch.setattr(fashiongen, "PUBLISHED", {"train": (3,), "validation": (5, 1)})
    build(tree, caption="title")
    assert "photos" not in caplog.text


def wrong(**changes):
    entry = {"id": 1, "images": ["1.png"], "title": "t", "description": "d"} | changes
    return {name: value for name, value in entry.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "expected a list of products, got dict"),
        ([wrong(), "x"], r"product 1 \(from 0\): expected an object, got x"),
        (
            [wrong(title=..., images=...)],
            r"product 0 \(from 0\): lacks images, title; add it to this row\. Get FashionGen",
        ),
        ([wrong(images=[" "])], "expected file names in images"),
        ([wrong(title="\ud83d")], r"title holds '\\ud83d' at 0, half of a character"),
        ([wrong(images=["../1.png"])], r"photos lie under .*train, got \.\./1\.png"),
        ([wrong(images=["1.png", "1.png"])], "a photo is listed twice"),
        ([wrong(id="a/b")], "may not hold a path separator"),
        ([wrong(id=None)], "expected an id"),
        ([wrong(title=["t"])], "expected a text in title"),
        ([wrong(description=3)], "expected a text in description"),
        ([wrong(category_id="SHOES")], "category_id: expected a whole number, got 'SHOES'"),
        ([wrong(attributes_id=5)], "attributes_id: expected a list of ids, got 5"),
        ([wrong(attributes_id=[[1]])], "attributes_id: expected a whole number"),
        ([wrong(subcategory_id=-1)], "subcategory_id: -1 is out of range, expected 0 or more"),
        ([wrong(), wrong(id="1", images=["2.png"])], "ids twice: 1"),
        ([wrong(), wrong(id=2)], "photos of two products: 1; leave each to one product"),
    ],
)
def test_wrong_products_are_named(tree, content, message):
    save(tree / "train_info.json", content)
    with pytest.raises(ValueError, match=rf"train_info\.json.*{message}"):
        build(tree)


def test_a_category_without_a_name_is_no_class_of_its_own(tree):
    save(tree / "train_info.json", [ENTRIES[0] | {"category_id": 99}])
    with pytest.raises(
        ValueError, match=r"product 0 \(from 0\): labels.json has no name for 99 among its 1 categories"
    ):
        build(tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["a"], "expected {kind: {name: id}}"),
        ({"categories": ["a"]}, "expected {kind: {name: id}}"),
        ({"categories": {"a": "x"}}, "expected {kind: {name: id}}"),
        ({"categories": {"a": 1, "b": 1}}, "two categories have one id"),
    ],
)
def test_wrong_labels_are_named(tree, content, message):
    save(tree / "labels.json", content)
    with pytest.raises(ValueError, match=rf"labels\.json: {message}"):
        build(tree)


def test_broken_json_and_absent_files_are_explained(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="FashionGen folder not found: None"):
        FashionGen(config_name="pairs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"neither \*_info\.json nor fashiongen_\*\.h5 is there"):
        build(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no file for test \(there: \['train', 'validation'\]\)"):
        build(tree, splits=("test",))
    (tree / "train_info.json").write_text('[{"id": 1,\n')
    with pytest.raises(ValueError, match=r"train_info\.json: not valid JSON at line 2"):
        build(tree)
    assert len(build(tree, splits=("validation",))["validation"]) == 1
    write_hdf5(tree / "fashiongen_256_256_train.h5", ROWS)
    with pytest.raises(ValueError, match="holds both info files and HDF5 files"):
        build(tree)


def test_changed_files_are_seen(tree):
    assert build(tree)["validation"]["title"][:] == ["Hat"]
    save(tree / "val_info.json", [{"id": 90, "images": ["90.png"], "title": "Cap", "description": ""}])
    assert build(tree)["validation"]["title"][:] == ["Cap"]


# The official files


def test_views_of_a_product_come_together_with_the_texts_of_its_first_row(official):
    rows = build(official)["train"]
    assert rows["image_id"][:] == ["300_0", "300_1", "20_0"] and rows["product_id"][:] == ["300", "300", "20"]
    assert shades(rows) == [10, 30, 20]
    assert rows["caption"][:2] == ["Caf\u00e9 Dress. Silk, 50 \u00b0C."] * 2
    assert rows["subcategory"][:] == ["GOWNS", "GOWNS", "CAPS"] and rows["gender"][2] == "Men"
    products = build(official, "products")
    assert products["train"]["image_ids"][:] == [["300_0", "300_1"], ["20_0"]]
    assert [open_image(photo).size for photo in products["train"][0]["images"]] == [(6, 6)] * 2
    assert products["validation"][0]["title"] == "Coat" and products["validation"][0]["gender"] is None
    assert build(official, images="absent")["train"][0]["image"] is None


def test_empty_cells_of_labels_are_none(official, tmp_path):
    path = official / "fashiongen_256_256_validation.h5"
    write_hdf5(path, [row(7, 40, name="Coat", category="", subcategory="X", gender="")])
    first = build(official, splits="validation")["validation"][0]
    assert (first["category"], first["subcategory"], first["gender"]) == (None, "X", None)
    write_json_layout(official, tmp_path / "json")
    assert "" not in json.loads((tmp_path / "json/labels.json").read_text())["categories"]


def test_pieces_are_cut_between_products(tmp_path, monkeypatch):
    ids = [int(i) for i in np.random.default_rng(0).integers(0, 40, 150)]
    write_hdf5(tmp_path / "o/fashiongen_256_256_train.h5", (row(i, i) for i in ids))
    whole = [dict(r) for r in build(tmp_path / "o", images="absent")["train"]]
    pieces = fashiongen.hdf5_shards(tmp_path / "o/fashiongen_256_256_train.h5")
    assert len(pieces) == 1 and pieces[0][1:] == (0, 150)
    monkeypatch.setattr(fashiongen, "ROWS_PER_PIECE", 10)
    pieces = fashiongen.hdf5_shards(tmp_path / "o/fashiongen_256_256_train.h5")
    assert len(pieces) > 5
    rows = [r for piece in pieces for r in read_hdf5(*piece)]
    assert [r["image_id"] for r in rows] == [r["image_id"] for r in whole] and len({r["image_id"] for r in rows}) == 150
    assert [r["product_id"] for r in rows] == [str(i) for i in sorted(ids, key=ids.index)]
    assert all(Image.open(io.BytesIO(r["image"]["bytes"])).getpixel((0, 0))[0] == int(r["product_id"]) for r in rows)


def test_texts_are_latin1_padded_with_zeros_or_blanks_alone_or_in_arrays(official):
    path = official / "fashiongen_256_256_train.h5"
    for name, content in (
        ("input_name", np.array([["Caf\u00e9".encode("latin-1")], [b"Hat\0\0"], [b"x  "]], dtype="S8")),
        ("input_description", np.array(["d\u00e9j\u00e0".encode("latin-1"), b" red hat ", b""], dtype="S12")),
        ("input_category", ["DRESSES", "HATS", "DRESSES"]),  # text of variable length
        ("input_productID", np.array([300, 20, 300], dtype="int32")),
        ("input_gender", None),
    ):
        change(path, name, content)
    rows = build(official)["train"]
    assert rows["title"][:] == ["Caf\u00e9", "Caf\u00e9", "Hat"]
    assert rows["description"][:] == ["d\u00e9j\u00e0", "d\u00e9j\u00e0", "red hat"]
    assert rows["category"][2] == "HATS" and rows["gender"][0] is None


def test_wrong_hdf5_files_are_named(official):
    path = official / "fashiongen_256_256_train.h5"
    good = path.read_bytes()
    for name, content, message in (
        ("input_image", None, "lacks input_image; it has input_category, "),
        ("input_productID", None, "lacks input_productID"),
        ("input_name", np.zeros((2, 1), "S5"), "columns of different lengths, .*'input_name': 2"),
        ("input_image", np.zeros((3, 6, 6), np.uint8), r"input_image has shape \(3, 6, 6\) of uint8; expected"),
        (
            "input_image",
            np.zeros((3, 6, 6, 3), np.float32),
            r"input_image has shape \(3, 6, 6, 3\) of float32; expected",
        ),
    ):
        change(path, name, content)
        with pytest.raises(ValueError, match=rf"fashiongen_256_256_train\.h5: .*{message}"):
            build(official)
        path.write_bytes(good)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"train\.h5: not a readable HDF5 file .*fetch it again"):
        build(official)
    path.write_bytes(good)
    (official / "fashiongen_512_train.h5").write_bytes(good)
    with pytest.raises(
        ValueError, match=r"fashiongen_256_256_train\.h5 and fashiongen_512_train\.h5 are both of train"
    ):
        build(official)


def test_without_h5py_the_extra_is_named(official, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"need h5py: pip install 'lookbook\[fashiongen\]'"):
        build(official)
    with pytest.raises(ImportError, match=r"pip install 'lookbook\[fashiongen\]'"):
        write_hdf5(official / "x.h5", ROWS)
    with pytest.raises(SystemExit) as stop:
        main(["--data_dir", str(official), "--output_dir", str(official.parent / "json")])
    assert stop.value.code == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows to write"),
        ([row(1, 0, name="smart \u2019quote")], "row 0, name: '\u2019' is no latin-1 character"),
        ([row(1, 0), row(2, 0, description="x" * 1001)], "row 1, description: 1,001 bytes, the file holds 1,000"),
        ([row(1, 0) | {"image": np.zeros((6, 6, 3))}], r"row 0: photo of shape \(6, 6, 3\) and float64"),
        ([row(1, 0) | {"image": np.zeros((6, 6), np.uint8)}], r"row 0: photo of shape \(6, 6\)"),
        (
            [row(1, 0), row(1, 0) | {"image": np.zeros((1, 6, 3), np.uint8)}],
            r"row 1: photo of shape \(1, 6, 3\), others",
        ),
    ],
)
def test_rows_that_the_official_layout_cannot_hold_are_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_hdf5(tmp_path / "x.h5", rows)
    assert not list(tmp_path.iterdir())


# From one to the other


def test_derived_layout_gives_the_same_rows(official, tmp_path):
    out = tmp_path / "json"
    assert write_json_layout(official, out) == {"train": 2, "validation": 1}
    assert sorted(p.name for p in (out / "train").iterdir()) == ["20_0.png", "300_0.png", "300_1.png"]
    assert json.loads((out / "train_info.json").read_text())[0]["images"] == ["300_0.png", "300_1.png"]
    for config in ("pairs", "products"):
        first, second = build(official, config), build(out, config)
        for split in ("train", "validation"):
            assert len(first[split]) == len(second[split])
            column = {"pairs": "image", "products": "images"}[config]
            for a, b in zip(first[split], second[split], strict=True):
                for name in ("category_id", "subcategory_id"):  # the official files have names alone
                    assert a.pop(name) is None and isinstance(b.pop(name), int)
                photos = [value if isinstance(value, list) else [value] for value in (a.pop(column), b.pop(column))]
                assert a == b
                for one, other in zip(*photos, strict=True):
                    assert np.array_equal(open_image(one), open_image(other))


def test_damaged_photo_of_an_hdf5_file_is_named(official):
    path = official / "fashiongen_256_256_train.h5"
    with h5py.File(path, "a") as file:
        photos = file["input_image"][:]
        del file["input_image"]
        file.create_dataset("input_image", data=photos, chunks=(1, 6, 6, 3), fletcher32=True)
        where = file["input_image"].id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    data[where] ^= 0xFF
    path.write_bytes(data)
    rows = read_hdf5(str(path), 0, 3)
    assert [next(rows)["image_id"], next(rows)["image_id"]] == ["300_0", "300_1"]
    with pytest.raises(ValueError, match=r"fashiongen_256_256_train\.h5: the photo of row 1 is damaged"):
        next(rows)


def test_interrupted_writing_continues_and_reads_only_what_is_missing(official, tmp_path, monkeypatch):
    out, original, encoded = tmp_path / "json", fashiongen.png, []

    def second_fails(photo):
        encoded.append(photo)
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return original(photo)

    monkeypatch.setattr(fashiongen, "png", second_fails)
    with pytest.raises(KeyboardInterrupt):
        write_json_layout(official, out)
    assert not (out / "train_info.json").exists() and len(list((out / "train").iterdir())) == 1
    write_json_layout(official, out)
    assert len(encoded) == 2 + 3  # two training photos and one for validation were still missing
    once = tmp_path / "once"
    write_json_layout(official, once)
    names = sorted(p.relative_to(out) for p in out.rglob("*.*"))
    assert names == sorted(p.relative_to(once) for p in once.rglob("*.*"))
    assert all((out / name).read_bytes() == (once / name).read_bytes() for name in names)


def test_second_split_keeps_the_label_numbers_of_the_first(official, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_json_layout(official, whole)
    later = tmp_path / "later"
    later.mkdir()
    (official / "fashiongen_256_256_validation.h5").rename(later / "fashiongen_256_256_validation.h5")
    write_json_layout(official, parts)
    write_json_layout(later, parts)
    for name in ("labels.json", "train_info.json", "val_info.json"):
        assert (parts / name).read_text() == (whole / name).read_text()


def test_program_writes_the_layout_and_explains_what_it_cannot_do(official, tree, tmp_path, capsys):
    main(["--data_dir", str(official), "--output_dir", str(tmp_path / "json")])
    assert json.loads(capsys.readouterr().out) == {"train": 2, "validation": 1}
    for data_dir, output, message in (
        (tree, tmp_path / "again", "no fashiongen_*.h5"),
        (official, official, "choose another --output_dir"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["--data_dir", str(data_dir), "--output_dir", str(output)])
        assert stop.value.code == 1 and message in capsys.readouterr().err


# Parquet


def test_parquet_folder_holds_products_with_their_photos(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "parquet"
    command = [
        "--dataset",
        "fashiongen",
        "--data_dir",
        str(tree),
        "--output_dir",
        str(out),
        "--option",
        "caption",
        "title",
    ]
    prepare_main(command)
    for file in (tree / "train").iterdir():
        file.unlink()  # the photos are inside
    rows = datasets.load_dataset(str(out), "products", split="train", cache_dir=tmp_path / "read")
    assert [photo.getpixel((0, 0))[0] for photo in rows[0]["images"]] == [10, 20]
    pairs = datasets.load_dataset(str(out), "pairs", split="train", cache_dir=tmp_path / "read")
    assert pairs["caption"][:] == ["Caf\u00e9 Dress."] * 2 + [""] and pairs[2]["image"].getpixel((0, 0))[0] == 30


def test_damaged_view_of_a_product_is_refused_in_parquet(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    photo = tree / "train/11_b.png"
    photo.write_bytes(photo.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"1 images cannot be decoded, replace them: product_id 11, 11_b\.png"):
        write_parquet("fashiongen", tree, tmp_path / "out", ["products"])


def test_views_of_a_product_stay_undecoded_so_that_errors_name_the_file(tree):
    (tree / "train/11_b.png").write_bytes(b"no photo")
    first = build(tree, "products")["train"][0]
    with pytest.raises(ValueError, match=r"11_b\.png: not an image file"):
        [open_image(photo) for photo in first["images"]]


@pytest.mark.skipif(
    not (REAL.is_dir() and LAY_OUT.is_file()), reason=f"needs the Myntra products at {REAL} and the program {LAY_OUT}"
)
def test_real_products_in_the_derived_layout(tmp_path):
    command = [sys.executable, str(LAY_OUT), "--data", str(REAL.parent), "--output_dir", str(tmp_path / "tree")]
    # Small splits in the place of the large ones.
    command += ["--sets", "myntra_fashiongen", "--split", "valid=train"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    root = tmp_path / "tree" / "myntra_fashiongen"
    infos = {s: json.loads((find_root(root) / f"{s}_info.json").read_text()) for s in ("train", "val")}
    products = prepare(FashionGen, "products", root, cache_dir=tmp_path / "cache")
    pairs = prepare(FashionGen, "pairs", root, cache_dir=tmp_path / "cache")
    labels = json.loads((find_root(root) / "labels.json").read_text())
    for split, name in (("train", "train"), ("validation", "val")):
        assert products[split]["product_id"][:] == [str(entry["id"]) for entry in infos[name]]
        assert len(pairs[split]) == sum(len(entry["images"]) for entry in infos[name]) > 1000
        assert set(products[split]["subcategory"]) <= labels["subcategories"].keys()
        assert {a for row in products[split]["attributes"] for a in row} <= labels["attributes"].keys()
    many = max(range(len(infos["val"])), key=lambda n: len(infos["val"][n]["images"]))
    row = products["validation"][many]
    assert len(row["images"]) == len(infos["val"][many]["images"]) > 1
    assert row["image_ids"] == [Path(photo).stem for photo in infos["val"][many]["images"]]
    assert open_image(row["images"][-1]).size == (120, 160)
