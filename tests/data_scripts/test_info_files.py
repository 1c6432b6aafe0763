"""Products of *_info.json files: BigFACAD, FACAD, Fashion200k and Polyvore Outfits in FashionViL's form."""

import json

import datasets
import pytest
from PIL import Image

from data_scripts import facad
from data_scripts.facad import FACAD, BigFACAD
from data_scripts.fashion200k import Fashion200k
from data_scripts.images import open_image
from data_scripts.info_files import IMAGE_ENDINGS, PhotoFinder
from data_scripts.polyvore_outfits import PolyvoreOutfits
from data_scripts.prepare import main as prepare_main
from data_scripts.prepare import prepare, write_parquet


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def photo(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (shade,) * 3).save(path)


def build(builder, root, **options):
    return prepare(builder, "products", root, cache_dir=root / "cache", **options)


def shades(images):
    return [open_image(image).getpixel((0, 0))[0] for image in images]


ENTRIES = [
    {"id": 77, "images": ["a/0.png", "a/1.png"], "color": "navy blue", "title": "ribbed cardigan"}
    | {"description": "a warm layer", "attributes_id": [5, 40]},
    {"id": "x", "images": ["b.png"], "color": None, "title": "", "description": "plain", "attributes_id": []},
]


@pytest.fixture
def tree(tmp_path):
    """Two training products of BigFACAD with three photos, one for validation."""
    root = tmp_path / "datasets" / "BigFACAD"
    save(root / "train_info.json", ENTRIES)
    save(root / "val_info.json", [ENTRIES[1] | {"id": 5}])
    for name, shade in (("a/0", 10), ("a/1", 20), ("b", 30)):
        photo(root / "images" / f"{name}.png", shade)
    return root


def test_big_facad_keeps_all_views_and_joins_its_texts_by_full_stops(tree):
    rows = build(BigFACAD, tree.parents[1])
    assert list(rows) == ["train", "validation"] and rows["validation"]["product_id"][:] == ["5"]
    first, second = rows["train"]
    assert shades(first.pop("images")) == [10, 20]
    assert first == {
        "product_id": "77",
        "color": "navy blue",
        "title": "ribbed cardigan",
        "description": "a warm layer",
        "caption": "navy blue.ribbed cardigan.a warm layer",
        "attributes": ["5", "40"],
        "attribute_ids": [5, 40],
        "image_ids": ["a/0", "a/1"],
    }
    assert second["caption"] == "..plain" and second["attribute_ids"] == []


@pytest.mark.parametrize("place", ["BigFACAD", ".", "datasets"])
def test_the_folder_is_found_from_above_and_annotations_may_lie_in_their_own(tree, place):
    (tree / "annotations").mkdir()
    (tree / "train_info.json").rename(tree / "annotations/train_info.json")
    root = {"BigFACAD": tree, "datasets": tree.parent, ".": tree.parents[1]}[place]
    assert build(BigFACAD, root, splits="train")["train"]["product_id"][:] == ["77", "x"]


def test_fashion200k_has_titles_and_no_validation(tmp_path):
    root = tmp_path / "Fashion200k"
    save(root / "train_info.json", [{"id": 12, "images": ["women/dresses/1_0.jpeg"], "title": "black lace dress"}])
    save(
        root / "test_info.json", [{"id": 12, "images": ["women/dresses/1_0.jpeg"], "title": "t", "attributes_id": [1]}]
    )
    photo(root / "images/women/dresses/1_0.jpeg", 40)
    rows = build(Fashion200k, tmp_path)
    assert list(rows) == ["train", "test"] and rows["train"]["caption"][:] == ["black lace dress"]
    assert rows["train"]["attribute_ids"][:] == [[]] and rows["train"]["image_ids"][:] == [["women/dresses/1_0"]]
    with pytest.raises(ValueError, match="Fashion200k has the splits train, test, not validation"):
        build(Fashion200k, tmp_path, splits="validation")


def test_the_legacy_form_of_facad_has_an_image_per_row_and_a_blank_between_its_texts(tmp_path):
    root = tmp_path / "FACAD"
    save(root / "test_info.json", [{"image": "0.jpg", "color": "red", "title": "silk top"}])
    photo(root / "images/0.jpg", 50)
    (row,) = build(FACAD, tmp_path)["test"]
    assert (row["product_id"], row["caption"], row["image_ids"]) == ("0", "red silk top", ["0"])
    save(root / "test_info.json", [{"image": "0.jpg", "title": "silk top"}])
    with pytest.raises(
        ValueError, match=r'test_info\.json, product 0 \(from 0\): expected {"image", "color", "title"}'
    ):
        build(FACAD, tmp_path)


def test_polyvore_items_have_a_single_image_in_place_of_a_list(tmp_path):
    root = tmp_path / "PolyvoreOutfits"
    entry = {
        "id": 12345,
        "images": "12345.jpg",
        "title": "leather tote",
        "description": "tan bag",
        "attributes_id": [9],
    }
    save(root / "train_info.json", [entry])
    photo(root / "images/12345.jpg", 60)
    (row,) = build(PolyvoreOutfits, tmp_path)["train"]
    assert (row["product_id"], row["caption"], row["image_ids"]) == ("12345", "leather tote.tan bag", ["12345"])
    assert shades(row["images"]) == [60]


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_photos_may_have_any_usual_ending(tmp_path, ending):
    (tmp_path / f"view.1{ending}").touch()
    assert PhotoFinder(tmp_path)("view.1.xyz") == f"{tmp_path}/view.1{ending}"


def test_of_two_endings_the_usual_order_decides_and_what_is_nowhere_keeps_its_name(tmp_path):
    for ending in (".webp", ".png", ".jpeg"):
        (tmp_path / f"a{ending}").touch()
    (tmp_path / "b.GIF").touch()
    find = PhotoFinder(tmp_path)
    assert [find(name) for name in ("a.webp", "b.GIF", "c.jpg")] == [
        f"{tmp_path}/{n}" for n in ("a.jpeg", "b.GIF", "c.jpg")
    ]


def test_a_lost_or_damaged_view_is_named_and_counted_and_its_product_keeps_the_others(tree, caplog):
    (tree / "images/a/0.png").write_bytes(b"")
    (tree / "images/b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing: .*images/b\.png"):
        build(BigFACAD, tree)
    with pytest.raises(FileNotFoundError, match=r"2 of 3 images cannot be used: .*b\.png, .*a/0\.png: .*zero bytes"):
        build(BigFACAD, tree, check=True)
    rows = build(BigFACAD, tree, check=True, missing="skip", splits="train")["train"]
    assert rows["product_id"][:] == ["77"] and rows["image_ids"][:] == [["a/1"]]
    assert "Rows left out because no image is left: train 1 of 2. Images left out: 2 of 3" in caplog.text


def test_a_product_without_images_is_an_error_or_left_out_and_counted(tree, caplog):
    save(tree / "train_info.json", [ENTRIES[0], ENTRIES[1] | {"images": []}])
    with pytest.raises(ValueError, match="1 products have no image: train product x"):
        build(BigFACAD, tree)
    assert build(BigFACAD, tree, missing="skip")["train"]["product_id"][:] == ["77"]
    assert "train 1 of 2" in caplog.text
    rows = build(BigFACAD, tree, images="absent")["train"]
    assert rows["images"][:] == [None, None] and rows["image_ids"][:] == [["a/0", "a/1"], []]


def test_an_attribute_out_of_range_names_product_and_number(tree):
    assert build(BigFACAD, tree, num_attributes=41)["train"]["attribute_ids"][0] == [5, 40]
    message = r"train_info\.json, product 0 \(from 0\), attributes_id: 40 is out of range, expected 0 to 39"
    with pytest.raises(ValueError, match=message):
        build(BigFACAD, tree, num_attributes=40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "id: expected an id"),
        ({"title": 3}, "expected a text in title, got 3"),
        ({"title": "bad \ud83d half"}, r"title holds '\\ud83d' at 4, half of a character"),
        ({"images": [""]}, "expected file names in images"),
        ({"images": None}, "expected file names in images"),
        ({"images": ["a/0.png", "a/0.jpg"]}, "a photo is listed twice"),
        ({"images": ["/etc/0.png"]}, r"photos lie under .*images, got /etc/0\.png"),
        ({"attributes_id": 5}, "attributes_id: expected a list of ids"),
        ({"attributes_id": [True]}, "attributes_id: expected a whole number, got True"),
        ({"attributes_id": [-1]}, "attributes_id: -1 is out of range, expected 0 or more"),
        (
            {"attributes_id": [2**63]},
            "attributes_id: 9223372036854775808 is out of range, expected 0 or more in 64 bits",
        ),
    ],
)
def test_wrong_products_are_named(tree, change, message):
    save(tree / "train_info.json", [ENTRIES[0], ENTRIES[1] | change])
    with pytest.raises(ValueError, match=rf"train_info\.json, product 1 \(from 0\).*{message}"):
        build(BigFACAD, tree)


def test_a_product_that_lacks_a_key_and_a_file_that_is_no_list_are_named(tree):
    save(tree / "train_info.json", [{"id": 1, "images": [], "title": ""}])
    with pytest.raises(ValueError, match=r"product 0 \(from 0\): lacks color, description"):
        build(BigFACAD, tree)
    save(tree / "train_info.json", {"a": 1})
    with pytest.raises(ValueError, match="expected a list of products, got dict"):
        build(BigFACAD, tree)


def test_missing_folders_and_splits_say_where_to_get_the_data(tmp_path, tree):
    with pytest.raises(FileNotFoundError, match="none of train_info.json, val_info.json is there. Get FACAD at https"):
        build(BigFACAD, tmp_path / "datasets" / "BigFACAD" / "images")
    (tree / "val_info.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected .*val_info\.json\. Get FACAD"):
        build(BigFACAD, tree, splits="validation")


def test_counts_unlike_the_published_ones_are_a_warning_with_both(tree, caplog, monkeypatch):
    build(BigFACAD, tree)
    assert "train has 2, 164,555 are published" in caplog.text
    caplog.clear()
    monkeypatch.setitem(facad.BigFACAD.SET.counts, "train", 2)
    build(BigFACAD, tree, num_attributes=50)
    assert "published" not in caplog.text


@pytest.mark.parametrize("second", [77, "77"])
def test_an_id_of_two_products_is_an_error(tree, second):
    save(tree / "train_info.json", [ENTRIES[0], ENTRIES[1] | {"id": second}])
    with pytest.raises(ValueError, match=r"train_info\.json: ids twice: 77; keep one product of each"):
        build(BigFACAD, tree)


def test_a_changed_file_makes_a_new_copy(tree):
    assert build(BigFACAD, tree)["train"]["title"][0] == "ribbed cardigan"
    save(tree / "train_info.json", [ENTRIES[0] | {"title": "coat"}])
    assert build(BigFACAD, tree)["train"]["title"][:] == ["coat"]


def test_photos_of_inner_folders_are_seen_when_they_come_change_their_ending_or_go(tree):
    (tree / "images/a/1.png").rename(tree / "1.png")
    assert build(BigFACAD, tree, missing="skip")["train"]["image_ids"][:] == [["a/0"], ["b"]]
    (tree / "1.png").rename(tree / "images/a/1.png")
    assert build(BigFACAD, tree, missing="skip")["train"]["image_ids"][:] == [["a/0", "a/1"], ["b"]]
    (tree / "images/a/1.png").rename(tree / "images/a/1.jpg")
    assert shades(build(BigFACAD, tree, missing="skip")["train"][0]["images"]) == [10, 20]
    (tree / "images/a/1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing: .*a/1\.png"):
        build(BigFACAD, tree)


def test_a_repaired_photo_comes_back_where_photos_are_opened(tree):
    good = (tree / "images/b.png").read_bytes()
    (tree / "images/b.png").write_bytes(b"no photo")
    assert build(BigFACAD, tree, check=True, missing="skip")["train"]["product_id"][:] == ["77"]
    (tree / "images/b.png").write_bytes(good)
    assert build(BigFACAD, tree, check=True, missing="skip")["train"]["product_id"][:] == ["77", "x"]


def test_a_link_that_leads_nowhere_is_a_missing_photo(tree):
    (tree / "images/b.png").unlink()
    (tree / "images/b.png").symlink_to(tree / "nowhere.png")
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing: .*b\.png"):
        build(BigFACAD, tree)


def test_it_can_be_written_as_parquet(tree, tmp_path):
    prepare_main(["--dataset", "big_facad", "--data_dir", str(tree), "--output_dir", str(tmp_path / "out")])
    rows = datasets.load_dataset(str(tmp_path / "out"), "products", cache_dir=str(tmp_path / "hf"))["train"]
    assert rows[0]["images"][1].getpixel((0, 0))[0] == 20 and rows["attribute_ids"][0] == [5, 40]


def test_a_damaged_photo_is_named_by_its_product_though_another_has_its_name_and_size(tree, tmp_path):
    save(tree / "train_info.json", [ENTRIES[0] | {"images": ["a/0.png"]}, ENTRIES[1] | {"images": ["b/0.png"]}])
    good = (tree / "images/a/0.png").read_bytes()
    (tree / "images/b").mkdir()
    (tree / "images/b/0.png").write_bytes(good[:20] + bytes(len(good) - 20))
    with pytest.raises(ValueError, match=r"1 images cannot be decoded, replace them: product_id x, 0\.png: "):
        write_parquet("big_facad", tree, tmp_path / "out")


def test_options_of_the_program_are_numbers_and_switches(tree, tmp_path, capsys):
    command = ["--dataset", "big_facad", "--data_dir", str(tree), "--output_dir", str(tmp_path / "out")]
    for option, message in (
        (("num_attributes", "40"), "40 is out of range, expected 0 to 39"),
        (("num_attributes", "many"), "--option num_attributes many: expected a whole number"),
        (("check", "yes"), "--option check yes: expected true or false"),
    ):
        with pytest.raises(SystemExit):
            prepare_main([*command, "--option", *option])
        assert message in capsys.readouterr().err
