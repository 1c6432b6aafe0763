"""Products of every data set that FashionViL reads, their attributes and labels, and the random views of their pictures."""

import json
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from train.engine.product_views import RandomCrop
from train.engine.products import Products, attribute_numbers, load_products, sentence

TREES = {"big_facad": "BigFACAD", "fashion200k": "Fashion200k", "polyvore_outfits": "PolyvoreOutfits"}


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def photo(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (shade,) * 3).save(path)


@pytest.fixture(scope="module")
def shelves(tmp_path_factory):
    """One folder of four sets: three in FashionViL's form, all with the same ids, and FashionGen with labels."""
    root = tmp_path_factory.mktemp("shelves")
    entries = [
        {"id": 1, "images": ["a0.png", "a1.png"], "color": "navy", "title": "coat", "description": "warm"}
        | {"attributes_id": [5, 2]},
        {"id": 2, "images": ["b.png"], "color": None, "title": "hat ", "description": "", "attributes_id": []},
    ]
    for folder in TREES.values():
        splits = ("train", "test") if folder == "Fashion200k" else ("train", "val")
        for split in splits:
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{split}_info.json").write_text(json.dumps(entries))
        for shade, name in enumerate(("a0", "a1", "b")):
            photo(root / folder / "images" / f"{name}.png", shade)
    folder = root / "FashionGen"
    folder.mkdir()
    labels = {"categories": {"HATS": 0, "COATS": 1}, "subcategories": {"BEANIE": 0, "PARKA": 1}, "attributes": {}}
    (folder / "labels.json").write_text(json.dumps(labels))
    for split in ("train", "val"):
        own = [entry | {"category_id": n, "subcategory_id": n, "gender": "Women"} for n, entry in enumerate(entries)]
        (folder / f"{split}_info.json").write_text(json.dumps(own))
        for shade, name in enumerate(("a0", "a1", "b")):
            photo(folder / split / f"{name}.png", shade)
    return root


def test_sets_are_joined_in_order_and_their_ids_kept_apart(shelves):
    products = load_products(list(TREES), shelves, "train")
    assert products.ids == [f"{name}/{number}" for name in TREES for number in (1, 2)]
    assert products.texts == ["navy.coat.warm", "hat", "coat", "hat", "coat.warm", "hat"]
    assert products.attributes == [["5", "2"], []] * 3
    assert products.numbers() == [0, 1, 2, 1, 3, 1]
    assert [len(own) for own in products.views] == [2, 1] * 3
    assert len(products.sources) == 9 and all(view in products.sources for own in products.views for view in own)
    assert [Image.open(products.sources[view]).getpixel((0, 0))[0] for view in products.views[2]] == [0, 1]
    assert products.labels == {"category": [None] * 6, "subcategory": [None] * 6}


def test_validation_is_the_split_that_a_set_has(shelves):
    assert len(load_products(["fashion200k"], shelves, "validation")) == 2  # its test split
    with pytest.raises(ValueError, match="Fashion200k has the splits train, test, not val"):
        load_products(["fashion200k"], shelves, "val")


def test_labels_are_names_and_products_without_are_left_out_and_counted(shelves, caplog):
    products = load_products(["fashiongen"], shelves, "train", labelled="category")
    assert products.labels == {"category": ["HATS", "COATS"], "subcategory": ["BEANIE", "PARKA"]}
    mixed = load_products(["big_facad", "fashiongen"], shelves, "train", labelled="subcategory")
    assert mixed.ids == ["fashiongen/1", "fashiongen/2"] and mixed.labels["category"] == ["HATS", "COATS"]
    assert "2 products without a subcategory are left out" in caplog.text
    with pytest.raises(ValueError, match="no product has a category; choose a data set with labels"):
        load_products(["big_facad"], shelves, "train", labelled="category")


def shop(folder, *rows):
    (folder / "images").mkdir()
    (folder / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        photo(folder / "images" / f"{row['id']}.png", 9)
    return folder


def test_a_shop_has_one_picture_a_product(tmp_path):
    shop(tmp_path, {"id": "7", "title": "red dress"}, {"id": "b", "title": "blue dress"})
    products = load_products(["catalogue"], tmp_path, "train")
    assert products.views == [["catalogue/7"], ["catalogue/b"]] and products.texts == ["red dress", "blue dress"]
    assert products.attributes == [[], []]


def test_lists_of_a_shop_are_attributes(tmp_path):
    shop(tmp_path, {"id": "7", "title": "coat", "attributes": ["red", "wool"]}, {"id": "8", "title": "hat"})
    assert load_products(["catalogue"], tmp_path, "train").attributes == [["red", "wool"], []]


@pytest.mark.parametrize("value", ["red, wool", 3, {"red": 1}])
def test_attributes_of_a_shop_that_are_no_list_are_named(tmp_path, value):
    shop(tmp_path, {"id": "7", "title": "coat", "attributes": value})
    with pytest.raises(ValueError, match=r'catalogue/7, attributes: expected a list, such as \["red", "wool"\], got'):
        load_products(["catalogue"], tmp_path, "train")


def test_a_shop_may_have_a_text_named_images(tmp_path):
    shop(tmp_path, {"id": "7", "title": "coat", "images": ["front", "back"]})
    assert load_products(["catalogue"], tmp_path, "train").views == [["catalogue/7"]]


def test_splits_that_are_not_asked_for_need_no_photos(shelves, tmp_path):
    tree = tmp_path / "Fashion200k"
    shutil.copytree(shelves / "Fashion200k", tree)
    (tree / "test_info.json").write_text(json.dumps([{"id": 9, "images": ["gone.png"], "title": "hat"}]))
    assert len(load_products(["fashion200k"], tmp_path, "train")) == 2
    with pytest.raises(FileNotFoundError, match="gone.png"):
        load_products(["fashion200k"], tmp_path, "validation")


def test_an_empty_validation_file_is_not_replaced_by_the_test_split(shelves, tmp_path):
    shutil.copytree(shelves / "FashionGen", tmp_path / "FashionGen")
    shutil.copytree(shelves / "FashionGen" / "val", tmp_path / "FashionGen" / "test")
    (tmp_path / "FashionGen" / "test_info.json").write_text((shelves / "FashionGen" / "val_info.json").read_text())
    (tmp_path / "FashionGen" / "val_info.json").write_text("[]")
    with pytest.raises(ValueError, match="no rows are left"):
        load_products(["fashiongen"], tmp_path, "validation")


def test_pictures_of_products_without_a_label_are_not_decoded(shelves):
    mixed = load_products(["big_facad", "fashiongen"], shelves, "train", labelled="category")
    assert set(mixed.sources) == {view for own in mixed.views for view in own}


def test_empty_texts_leave_no_full_stop():
    assert sentence(["navy ", None, " ", "coat"]) == "navy.coat" and sentence([None, ""]) == ""


def of_attributes(*attributes):
    rows = [str(row) for row in range(len(attributes))]
    return Products(rows, [[row] for row in rows], rows, list(attributes), {}, {})


def test_attribute_ids_keep_their_numbers_and_names_are_numbered_by_the_alphabet():
    numbers, known = attribute_numbers(of_attributes(["7", "2"], [], ["12"]))
    assert numbers == [[7, 2], [], [12]] and known == {"7": 7, "2": 2, "12": 12}
    numbers, known = attribute_numbers(of_attributes(["wool", "3"], ["blue"]))
    assert known == {"3": 0, "blue": 1, "wool": 2} and numbers == [[2, 0], [1]]
    assert attribute_numbers(of_attributes(["blue", "new"], ["wool"]), known)[0] == [[1], [2]]
    assert attribute_numbers(of_attributes([], [])) == ([[], []], {})


def picture(side):
    """Every pixel says where it was."""
    rows, columns = np.mgrid[:side, :side].astype(np.uint8)
    return np.stack([rows, columns, rows], axis=2)


def test_a_crop_is_a_square_of_the_picture_or_its_mirror_image():
    crop, mirrored = RandomCrop(6, flip=0, seed=4), RandomCrop(6, flip=1, seed=4)
    corners = set()
    for index in range(200):
        cut = crop(picture(8), epoch=0, index=index)
        top, left = (int(value) for value in cut[0, 0, :2])
        corners.add((top, left))
        assert np.array_equal(cut, picture(8)[top : top + 6, left : left + 6])
        assert np.array_equal(mirrored(picture(8), epoch=0, index=index), cut[:, ::-1])
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_a_crop_depends_on_seed_epoch_row_and_role():
    def corner(seed=0, epoch=1, index=2, role=0):
        return tuple(RandomCrop(8, 0, seed)(picture(64), epoch, index, role)[0, 0, :2])

    assert corner() == corner()
    assert len({corner(), corner(seed=1), corner(epoch=2), corner(index=3), corner(role=1)}) == 5
    flips = [RandomCrop(8, 0.5)(picture(8), 0, index)[0, 0, 1] == 7 for index in range(400)]
    assert 150 < sum(flips) < 250
    with pytest.raises(ValueError, match="a crop of 8 pixels doesn't fit a picture of 6"):
        RandomCrop(8)(picture(6), 0, 0)
