"""Files that FashionViL reads, made from raw data: pseudo-attributes, FashionIQ's gallery rows, OCIR questions."""

import json
import shutil

import datasets
import pytest
from PIL import Image

from data_scripts.derive import main
from data_scripts.fashiongen import FashionGen
from data_scripts.fashioniq import FashionIQ
from data_scripts.images import open_image
from data_scripts.polyvore_outfits import PolyvoreOutfits
from data_scripts.prepare import prepare
from data_scripts.pseudo_attributes import AttributeWords, attribute_ids, vocabulary


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def photo(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade,) * 3).save(path)


def run(capsys, *arguments):
    main([str(argument) for argument in arguments])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def fails(capsys, *arguments):
    with pytest.raises(SystemExit):
        main([str(argument) for argument in arguments])
    return capsys.readouterr().err


# Pseudo-attributes


def test_words_are_nouns_and_adjectives_nouns_in_the_singular():
    words = AttributeWords([])
    assert words("Navy blue cotton dresses with long sleeves") == ["navy blue", "cotton", "dress", "long", "sleeve"]
    assert words(["Black dress.", None, "Black dress and the dress"]) == ["black", "dress"]
    assert words("and the a 42 of") == [] == words("")


def test_the_vocabulary_is_in_order_of_products_then_of_the_alphabet():
    products = [["red", "dress"], ["dress", "hat"], ["hat", "dress"], ["red"], ["blue"]]
    assert vocabulary(products, min_count=1) == [("dress", 3), ("hat", 2), ("red", 2), ("blue", 1)]
    assert vocabulary(products, min_count=2) == [("dress", 3), ("hat", 2), ("red", 2)]
    assert vocabulary(products, min_count=1, most=2) == [("dress", 3), ("hat", 2)]
    assert attribute_ids(["red", "dress", "sock"], {"dress": 0, "red": 2}) == [0, 2]
    with pytest.raises(ValueError, match="no word is in 4 products, the most frequent word is in 3 products"):
        vocabulary(products, min_count=4)
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 2232"):
        vocabulary(products, min_count=0)


@pytest.fixture
def sets(tmp_path):
    def product(number, title, **more):
        return {"id": number, "images": [f"{number}.png"], "title": title, "description": ""} | more

    generation = [
        product(1, "Black dress"),
        product(2, "Black cotton dress"),
        product(3, "Red hat", attributes_id=None),
    ]
    save(tmp_path / "FashionGen/train_info.json", generation)
    save(tmp_path / "FashionGen/val_info.json", [product(9, "Black silk dress"), product(8, "?")])
    save(tmp_path / "FashionGen/labels.json", {"categories": {"DRESSES": 0}})
    facad = [{"id": 5, "images": ["5.png"], "color": "black", "title": "hat", "description": "cotton"}]
    save(tmp_path / "BigFACAD/train_info.json", facad)
    return tmp_path


def test_info_files_get_ids_of_one_vocabulary_made_of_training_texts(sets, capsys):
    command = ("attributes", "--data_dir", sets, "--sets", "FashionGen", "BigFACAD", "--min_count", 2)
    counts = run(capsys, *command)
    assert counts == {"attributes": 4, "products": 6, "products_without": 1}
    names = json.loads((sets / "FashionGen/pseudo_attributes.json").read_text())
    expected = [("black", 3), ("cotton", 2), ("dress", 2), ("hat", 2)]
    assert names == [{"id": i, "name": name, "products": n} for i, (name, n) in enumerate(expected)]
    assert json.loads((sets / "BigFACAD/pseudo_attributes.json").read_text()) == names
    rows = prepare(FashionGen, "products", sets, cache_dir=sets / "cache", images="absent", num_attributes=4)
    assert rows["train"]["attribute_ids"][:] == [[0, 2], [0, 1, 2], [3]]
    assert rows["validation"]["attributes"][:] == [["black", "dress"], []]  # silk is no word of training
    assert rows["train"]["title"][:] == ["Black dress", "Black cotton dress", "Red hat"]
    assert json.loads((sets / "BigFACAD/train_info.json").read_text())[0]["attributes_id"] == [0, 1, 3]
    assert "5 products have attributes_id already" in fails(capsys, *command)
    assert run(capsys, *command, "--overwrite") == counts


def test_wrong_labels_are_found_before_a_file_is_written(sets, capsys):
    save(sets / "FashionGen/labels.json", ["DRESSES"])
    before = (sets / "FashionGen/train_info.json").read_text()
    command = ("attributes", "--data_dir", sets, "--sets", "FashionGen", "--min_count", 1)
    assert "labels.json: expected {kind: {name: id}}" in fails(capsys, *command)
    assert (sets / "FashionGen/train_info.json").read_text() == before


def test_attributes_need_training_texts_and_frequent_words(sets, capsys):
    command = ("attributes", "--data_dir", sets, "--sets", "FashionGen")
    assert "no word is in 20 products, the most frequent word is in 2" in fails(capsys, *command)
    (sets / "FashionGen/train_info.json").unlink()
    assert "no training products in FashionGen" in fails(capsys, *command)
    assert "invalid choice: 'Mango'" in fails(capsys, "attributes", "--data_dir", sets, "--sets", "Mango")


# FashionIQ


def test_fashioniqs_files_give_the_rows_that_the_official_ones_give(tmp_path, capsys):
    root = tmp_path / "fashionIQ_dataset"
    for category in ("dress", "shirt", "toptee"):
        save(root / f"image_splits/split.{category}.val.json", ["a", "b", "c"])
        save(root / f"captions/cap.{category}.val.json", [{"candidate": "a", "target": "c", "captions": ["x", "y"]}])
    out = tmp_path / "out"
    counts = run(capsys, "fashioniq", "--data_dir", tmp_path, "--output_dir", out)
    assert counts == {"queries": 3, "gallery_rows": 6}
    first, second = (
        prepare(FashionIQ, "all-fashionvil", folder, cache_dir=tmp_path / "cache", images="absent")["val"].to_list()
        for folder in (root, out)
    )
    assert first == second and len(first) == 9
    assert "holds the official caption files" in fails(capsys, "fashioniq", "--data_dir", root, "--output_dir", root)


# OCIR


@pytest.fixture
def polyvore_outfits(tmp_path):
    """Fifteen disjoint outfits of three items, the last of a category that has no number."""
    root, metadata = tmp_path / "polyvore_outfits", {}
    for split, count in (("train", 8), ("valid", 2), ("test", 5)):
        outfits = []
        for number in range(count):
            items = [f"{split}{number}{kind}" for kind in "abc"]
            metadata |= {item: {"category_id": c} for item, c in zip(items, ("11", "41", "999"), strict=True)}
            outfits.append(
                {"set_id": f"{split}{number}", "items": [{"item_id": i, "index": n} for n, i in enumerate(items)]}
            )
        save(root / f"disjoint/{split}.json", outfits)
    save(root / "polyvore_item_metadata.json", metadata)
    return root


def test_questions_from_polyvore_outfits_are_read_by_the_builder(polyvore_outfits, tmp_path, capsys):
    counts = run(capsys, "ocir", "--data_dir", tmp_path, "--candidates", 10)
    assert counts["test_items"] == 15 and counts["test_items_in_training"] == 0
    assert counts["test_questions"] == 5 and counts["items_of_other_categories"] == 15
    rows = prepare(PolyvoreOutfits, "ocir_disjoint", tmp_path, cache_dir=tmp_path / "cache", images="absent")
    assert len(rows["train"]) == 8 and sum(not fake for fake in rows["test"]["fake_data"][:]) == 5
    assert len(set(rows["test"]["blank_id"][:])) == 10 * counts["categories"]
    assert "no category has 16 items, the largest has 15" in fails(
        capsys, "ocir", "--data_dir", tmp_path, "--candidates", 16
    )


def test_questions_outside_of_polyvore_outfits_bring_metadata_and_photos(polyvore_outfits, tmp_path, capsys):
    items = json.loads((polyvore_outfits / "polyvore_item_metadata.json").read_text())
    for number, item in enumerate(items):
        photo(polyvore_outfits / f"images/{item}.png", number)
    out = tmp_path / "out"
    counts = run(capsys, "ocir", "--data_dir", tmp_path, "--candidates", 10, "--output_dir", out)
    rows = prepare(PolyvoreOutfits, "ocir_disjoint", out, cache_dir=tmp_path / "cache")
    first = rows["test"][0]
    assert counts["photos_missing"] == 0 and len(rows["train"]) == 8
    assert open_image(first["blank_image"]).getpixel((0, 0))[0] == list(items).index(first["blank_id"])


def test_metadata_that_is_no_object_is_named(polyvore_outfits, capsys):
    file = polyvore_outfits / "polyvore_item_metadata.json"
    save(file, json.loads(file.read_text()) | {"test0a": ["11"]})
    message = "polyvore_item_metadata.json, item test0a: expected an object, got ['11']; correct it"
    assert message in fails(capsys, "ocir", "--data_dir", polyvore_outfits, "--candidates", 10)


@pytest.fixture
def maryland(tmp_path):
    """Eight outfits of a garment and a bag; a photo's shade tells split, outfit and item."""
    root, splits = tmp_path / "polyvore", ("train", "valid", "test")
    for place, (split, count) in enumerate(zip(splits, (4, 1, 3), strict=True)):
        outfits = []
        for number in range(count):
            items = [{"index": i, "name": "", "categoryid": c} for i, c in ((1, 11), (2, 41))]
            outfits.append({"set_id": f"{split}{number}", "name": "", "items": items})
            for index in (1, 2):
                photo(root / f"images/{split}{number}/{index}.jpg", 80 * place + 8 * (2 * number + index))
        save(root / f"label/{split}_no_dup.json", outfits)
    return root


def test_questions_from_maryland_outfits_bring_metadata_and_photos(maryland, tmp_path, capsys):
    out = tmp_path / "out"
    command = ("ocir", "--data_dir", tmp_path, "--version", "nondisjoint", "--candidates", 5)
    assert "Maryland's outfits need --output_dir" in fails(capsys, *command)
    counts = run(capsys, *command, "--output_dir", out)
    assert counts["photos_missing"] == 0 and counts["test_questions"] == 3
    rows = prepare(PolyvoreOutfits, "ocir_nondisjoint", out, cache_dir=tmp_path / "cache")
    assert rows["test"]["blank_id"][0].startswith("test0_") and set(rows["test"]["blank_category"][:]) <= {8, 29}
    assert counts["items_merged"] == counts["test_items_in_training"] == 0


def test_maryland_items_with_one_photo_are_one_item(maryland, tmp_path, capsys):
    for twin in ("test0/1", "test1/1"):
        shutil.copyfile(maryland / "images/train2/1.jpg", maryland / f"images/{twin}.jpg")
    found = {}
    for version in ("nondisjoint", "disjoint"):
        command = ("ocir", "--data_dir", tmp_path, "--version", version, "--candidates", 5)
        counts = run(capsys, *command, "--output_dir", tmp_path / "out")
        assert (counts["items_merged"], counts["test_items"], counts["test_items_in_training"]) == (2, 5, 1)
        found[version] = json.loads((tmp_path / f"out/ocir_{version}_test.json").read_text())
        gallery = {row["blank"] for row in found[version]}
        photos = [(tmp_path / f"out/images/{item}.jpg").read_bytes() for item in gallery]
        assert len(set(photos)) == len(photos) and not gallery & {"test0_1", "test1_1"}
    first, second, third = (row for row in found["disjoint"] if not row["fake_data"])
    assert first == {"question": ["train2_1"], "blank": "test0_2", "fake_data": False}
    assert second == {"question": ["train2_1"], "blank": "test1_2", "fake_data": False}
    for number in range(3):
        for index in (1, 2):
            shutil.copyfile(
                maryland / f"images/train{number}/{index}.jpg", maryland / f"images/test{number}/{index}.jpg"
            )
    assert "or write the version nondisjoint" in fails(capsys, *command, "--output_dir", tmp_path / "out")


def test_maryland_questions_can_be_written_again_into_the_folder_itself(maryland, capsys):
    command = ("ocir", "--data_dir", maryland, "--output_dir", maryland, "--candidates", 5)
    assert run(capsys, *command) == run(capsys, *command)


def test_a_photo_that_was_replaced_is_linked_again(maryland, tmp_path, capsys):
    out = tmp_path / "out"
    command = ("ocir", "--data_dir", maryland, "--output_dir", out, "--candidates", 5)
    run(capsys, *command)
    (maryland / "images/test0/1.jpg").unlink()
    photo(maryland / "images/test0/1.jpg", 250)
    run(capsys, *command)
    assert open_image(out / "images/test0_1.jpg").getpixel((0, 0))[0] == 250
    assert not list(out.glob("images/.*"))
