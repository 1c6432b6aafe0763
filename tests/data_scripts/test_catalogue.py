"""The catalogue builder: a shop's own files, in Parquet or as rows with a folder of photos."""

import io
import json
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_scripts.catalogue import Catalogue
from data_scripts.images import open_image
from data_scripts.prepare import prepare

REAL = Path(os.environ.get("LOOKBOOK_DATA", Path(__file__).parents[3] / "shared" / "data")) / "myntra_products"


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def photo(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 3, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def build(root, config="products", **options):
    return prepare(Catalogue, config, root, cache_dir=root.parent / "cache", **options)


def lines(file, *rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def shop(tmp_path):
    """products.jsonl with three products and their photos, and two relative captions."""
    root = tmp_path / "shop"
    (root / "images").mkdir(parents=True)
    lines(
        root / "products.jsonl",
        {"id": 7, "title": "red dress", "price": 12.5, "tags": ["new", "caf\u00e9"]},
        {"id": "b", "title": "blue dress", "image": "views/b-front.png"},
        {"id": "c", "title": None, "image": "c-odd-name.png", "in_stock": True},
    )
    (root / "views").mkdir()
    for name, shade in (("images/7.jpg", 10), ("views/b-front.png", 20), ("images/c-odd-name.png", 30)):
        (root / name).write_bytes(photo(shade))
    lines(
        root / "composed_train.jsonl",
        {"reference": 7, "target": "b", "caption": "in blue", "target_title": "blue dress", "removed": "red"},
        {"reference_id": "b", "target_id": "c", "caption": "  plainer \u2014 "},
    )
    return root


@pytest.fixture
def parquet(tmp_path):
    """Parquet files of two splits with embedded photos, row groups of two."""
    root = tmp_path / "parquet_shop"
    root.mkdir()
    for name, ids in (
        ("train-00000-of-00002", "abcde"),
        ("train-00001-of-00002", "fg"),
        ("valid-00000-of-00001", "xy"),
    ):
        columns = {
            "id": list(ids),
            "title": [f"title {i}" for i in ids],
            "rank": list(range(len(ids))),
            "image": [{"bytes": photo(ord(i)), "path": f"{i}.png"} for i in ids],
        }
        pq.write_table(pa.table(columns), root / f"{name}.parquet", row_group_size=2)
    pq.write_table(pa.table({"id": ["z"], "title": ["no photo"]}), root / "texts_only.parquet")
    return root


def test_rows_with_photos_in_a_folder(shop):
    rows = build(shop)["train"]
    assert rows.column_names[:3] == ["product_id", "title", "image"]
    assert rows["product_id"][:] == ["7", "b", "c"] and rows["title"][:] == ["red dress", "blue dress", None]
    assert rows[0]["price"] == "12.5" and json.loads(rows[0]["tags"]) == ["new", "caf\u00e9"]
    assert rows["in_stock"][:] == [None, None, "true"]
    assert [open_image(row["image"]).getpixel((0, 0))[0] for row in rows] == [10, 20, 30]


def test_composed_rows_hold_ids_and_untouched_captions(shop):
    rows = build(shop, "composed")["train"]
    assert rows[0] == {
        "reference_id": "7",
        "target_id": "b",
        "caption": "in blue",
        "reference_title": None,
        "target_title": "blue dress",
        "removed": "red",
    }
    assert rows[1]["caption"] == "  plainer \u2014 " and rows[1]["target_id"] == "c"


def test_csv_products_and_one_file_per_split(tmp_path):
    root = tmp_path / "shop"
    (root / "images").mkdir(parents=True)
    (root / "products_train.csv").write_text(
        '\ufeffproduct_id,name,colour\n01,"dress, long",red\n02,hat,blue\n', "utf-8"
    )
    (root / "products_test.csv").write_text("product_id,name,colour\n03,coat,black\n", "utf-8")
    for name in ("01.png", "02.jpg", "03.jpg"):
        (root / "images" / name).write_bytes(photo(1))
    rows = build(root)
    assert set(rows) == {"train", "test"} and rows["train"]["product_id"][:] == ["01", "02"]
    assert rows["train"]["title"][0] == "dress, long" and rows["train"]["colour"][:] == ["red", "blue"]
    (root / "products_test.csv").write_text("product_id,name,colour\n03,coat\n", "utf-8")
    with pytest.raises(ValueError, match=r"products_test\.csv, line 2: expected 3 fields"):
        build(root)


def test_parquet_photos_stay_bytes_in_file_order(parquet, caplog):
    with caplog.at_level("INFO"):
        rows = build(parquet, num_proc=2)
    assert rows["train"]["product_id"][:] == list("abcdefg") and rows["valid"]["product_id"][:] == ["x", "y"]
    assert "texts_only" not in rows and "texts_only.parquet" in caplog.text
    assert rows["train"][4]["image"] == {"bytes": photo(ord("e")), "path": "e.png"}
    assert rows["train"]["rank"][:] == [str(k) for k in (0, 1, 2, 3, 4, 0, 1)]
    streamed = Catalogue(config_name="products", data_dir=parquet, cache_dir=str(parquet.parent / "other"))
    assert [row["product_id"] for row in streamed.as_streaming_dataset(split="train")] == list("abcdefg")


def test_parquet_rows_without_photo_are_one_list_and_skipped_on_request(parquet, caplog):
    images = [None, {"bytes": b"", "path": "y.png"}, {"bytes": photo(3), "path": "w.png"}]
    pq.write_table(pa.table({"id": ["x", "y", "w"], "image": images}), parquet / "valid-00000-of-00001.parquet")
    with pytest.raises(FileNotFoundError, match=r"2 of 10 images are missing: .*valid-0.*row 0 \(from 0\), x, .*row 1"):
        build(parquet)
    for _ in range(2):
        caplog.clear()
        assert build(parquet, missing="skip")["valid"]["product_id"][:] == ["w"]
        assert "valid 2 of 3" in caplog.text
    assert build(parquet, images="absent")["valid"]["image"][:] == [None] * 3


def test_missing_photo_of_a_row_is_listed(shop, caplog):
    (shop / "images/7.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing: .*images/7\.jpg"):
        build(shop)
    assert build(shop, missing="skip")["train"]["product_id"][:] == ["b", "c"] and "train 1 of 3" in caplog.text


def test_changed_products_are_seen(shop):
    build(shop)
    lines(shop / "products.jsonl", {"id": "b", "title": "renamed", "image": "views/b-front.png"})
    assert build(shop)["train"]["title"][:] == ["renamed"]


def test_changed_captions_are_seen_and_their_file_needs_no_split(shop):
    (shop / "composed_train.jsonl").rename(shop / "composed.jsonl")
    assert len(build(shop, "composed")["train"]) == 2
    lines(shop / "composed.jsonl", {"reference": "c", "target": "b", "caption": "in blue, and longer"})
    assert build(shop, "composed")["train"]["caption"][:] == ["in blue, and longer"]


def test_a_photo_that_comes_into_an_inner_folder_is_seen(shop):
    lines(shop / "products.jsonl", {"id": 7}, {"id": "d", "image": "d/front/0.png"})
    (shop / "images/d/front").mkdir(parents=True)
    assert build(shop, missing="skip")["train"]["product_id"][:] == ["7"]
    (shop / "images/d/front/0.png").write_bytes(photo(40))
    assert build(shop, missing="skip")["train"]["product_id"][:] == ["7", "d"]


def test_only_files_that_end_as_photos_do_are_photos_of_an_id(shop):
    (shop / "images/7.jpg").rename(shop / "images/7.PNG")
    (shop / "images/7.txt").write_text("a note")
    (shop / "images/7.webp").write_bytes(b"")
    lines(shop / "products.jsonl", {"id": 7})
    assert build(shop)["train"][0]["image"]["path"].endswith("7.PNG")
    (shop / "images/7.jpeg").write_bytes(photo(1))
    assert build(shop)["train"][0]["image"]["path"].endswith("7.jpeg")


def test_further_photos_of_parquet_are_left_out_with_a_warning(tmp_path, caplog):
    root, cell = tmp_path / "shop", {"bytes": photo(1), "path": "1.png"}
    root.mkdir()
    columns = {"id": ["1"], "image": [cell], "back": [cell], "images": [[cell]], "raw": [b"x"], "tags": [["new"]]}
    pq.write_table(pa.table(columns), root / "train.parquet")
    rows = build(root)["train"]
    assert rows.column_names == ["product_id", "title", "image", "tags"] and rows["tags"][:] == ['["new"]']
    assert "train.parquet: columns of bytes are left out: back, images, raw" in caplog.text
    pq.write_table(pa.table({"id": ["1"], "image": [cell], "images": [["1.png"]]}), root / "train.parquet")
    assert build(root)["train"]["images"][:] == ['["1.png"]']


def test_csv_with_column_names_alone_is_a_split_without_rows(shop, caplog):
    (shop / "products_test.csv").write_text("id,title\n")
    assert list(build(shop)) == ["train"] and "split test has no rows" in caplog.text


def test_a_csv_cell_beyond_the_limit_names_its_line(shop):
    (shop / "products_test.csv").write_text('id,title\n1,hat\n2,"' + 140_000 * "x" + "\n")
    with pytest.raises(ValueError, match=r"products_test\.csv, line 3: field larger .*; close the quotation mark"):
        build(shop)


def test_wrong_rows_are_named(shop):
    good = {"id": "b", "title": "t", "image": "views/b-front.png"}
    for rows, message in (
        ([good, {"title": "no id"}], r"products\.jsonl, line 2.*expected an id"),
        ([good, good], "ids twice in split train: b"),
        ([good, good | {"id": "d", "image": 3}], "line 2: expected the path of a photo"),
        ([{"sku": 1}], "expected an id column"),
    ):
        lines(shop / "products.jsonl", *rows)
        with pytest.raises(ValueError, match=message):
            build(shop)
    (shop / "products.jsonl").write_text('{"id": "b"}\n{"id": \n')
    with pytest.raises(ValueError, match=r"products\.jsonl, line 2, column 7: not valid JSON"):
        build(shop)
    (shop / "products.jsonl").write_text('{"id": "b"}\n["b"]\n')
    with pytest.raises(ValueError, match=r"line 2: expected a JSON object"):
        build(shop)


def test_wrong_captions_are_named(shop):
    for row, message in (
        ({"reference": "b", "target": "c"}, "line 1: expected a text in caption"),
        ({"reference": "b", "caption": "x"}, "line 1: no target"),
        ({"reference": "b", "target": "nobody", "caption": "x"}, "1 products are not in the catalogue: line 1: nobody"),
    ):
        lines(shop / "composed_train.jsonl", row)
        with pytest.raises(ValueError, match=rf"composed_train\.jsonl.*{message}"):
            build(shop, "composed")


def test_missing_files_are_explained(shop, tmp_path):
    with pytest.raises(FileNotFoundError, match="catalogue folder not found"):
        Catalogue(config_name="products", data_dir=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no products files for test .*there: \['train'\]"):
        build(shop, splits=("test",))
    (shop / "composed_train.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="no composed files"):
        build(shop, "composed")
    (shop / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"train\.parquet: not a readable Parquet file"):
        build(shop)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the Myntra products are not at {REAL} (set LOOKBOOK_DATA)")
def test_real_products_are_read_as_they_are(tmp_path):
    products = prepare(Catalogue, "products", REAL, cache_dir=tmp_path, splits=("valid", "test"))
    composed = prepare(Catalogue, "composed", REAL, cache_dir=tmp_path)
    assert {s: len(r) for s, r in products.items()} == {"valid": 1286, "test": 1222}
    assert {s: len(r) for s, r in composed.items()} == {"train": 12988, "valid": 1993, "test": 1701}
    titles = dict(zip(products["test"]["product_id"][:], products["test"]["title"][:], strict=True))
    rows = composed["test"]
    assert [titles[i] for i in rows["target_id"]] == rows["target_title"][:]
    assert open_image(products["test"][0]["image"]).size == (120, 160)
