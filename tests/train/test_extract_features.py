"""Extraction of features: what the model gives, in every format, on any layout, killed and resumed, on two processes."""

import json
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from data_scripts.fashionklip_files import KlipLayout, NpzImages, write_captions, write_lines, write_npz
from tests.conftest import GOLDEN
from tests.data_scripts.test_fashionklip_files import picture, spoil
from tests.modeling.clip4cir_examples import VISION
from tests.modeling.fashionklip_examples import tiny_model, tiny_processor
from tests.train.test_fashionklip_graph import make_catalogue
from train import extract_features
from train.engine.feature_store import FeatureStore, read_features

from .conftest import finish, run_here, start

PROGRAM = "train/extract_features.py"
TREE = GOLDEN / "fashionklip" / "data_small"
IMAGES, TEXTS = "val.16.img_feat", "fashion-gen_val_queries.txt_feat"


def saved(folder, model):
    model.save_pretrained(folder)
    tiny_processor(model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    return tiny_model(vision_config=VISION["vit"] | {"image_size": 16})


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model"), model)


def flags_of(folder, data_dir=TREE, *more):
    return ["--model", folder, "--data_dir", data_dir, "--cpu", *more]


def extracted(output, *flags):
    return run_here(extract_features, *flags, "--output_dir", output)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The tree's features in all three formats."""
    return extracted(
        tmp_path_factory.mktemp("features") / "new", *flags_of(folder), "--write", "store", "jsonl", "arrow"
    )


def direct(features):
    """Features of inputs given to the model one by one, at length one."""
    return torch.nn.functional.normalize(torch.cat(features), dim=-1)


def of_texts(model, texts):
    processor = tiny_processor(model)
    with torch.no_grad():
        return direct([model.get_text_features(**processor(text=[t], return_tensors="pt")) for t in texts])


def of_pixels(model, pixels):
    with torch.no_grad():
        return direct([model.get_image_features(torch.as_tensor(p)[None]) for p in pixels])


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)


# What is written


def test_features_are_the_models_in_the_order_of_the_files(finished, model):
    layout = KlipLayout.find(TREE)
    archive = NpzImages(layout.val_images)
    ids, features = read_features(finished / f"{IMAGES}.safetensors", "image")
    assert ids == archive.ids and len(ids) == 13
    close(features, of_pixels(model, [archive[i] for i in ids]))
    rows = [json.loads(line) for line in layout.val_captions.read_text().splitlines()]
    ids, features = read_features(finished / f"{TEXTS}.safetensors", "text")
    assert ids == [row["query_id"] for row in rows] and isinstance(ids[0], int)
    close(features, of_texts(model, [row["query_text"] for row in rows]))
    assert torch.allclose(features.norm(dim=1), torch.ones(9), atol=1e-6)


def test_all_formats_hold_the_same_and_nothing_else_is_left(finished):
    import pyarrow as pa

    names = {f"{name}.{end}" for name in (IMAGES, TEXTS) for end in ("safetensors", "jsonl", "arrow")}
    assert {p.name for p in finished.iterdir()} == names
    for name, kind in ((IMAGES, "image"), (TEXTS, "text")):
        store = FeatureStore(finished / f"{name}.safetensors")
        ids, features = read_features(finished / f"{name}.jsonl", kind)
        assert ids == store.ids and torch.equal(features, store.features)
        table = pa.ipc.open_file(finished / f"{name}.arrow").read_all()
        assert table["id"].to_pylist() == ids and table["feature"].to_pylist() == features.tolist()


def test_batches_and_pieces_change_nothing_but_the_last_digits(finished, folder, tmp_path):
    sizes = ["--image_batch_size", "5", "--text_batch_size", "2", "--rows_per_write", "7"]
    output = extracted(tmp_path, *flags_of(folder, TREE, *sizes))
    for name in (IMAGES, TEXTS):
        one, two = (FeatureStore(f / f"{name}.safetensors") for f in (finished, output))
        assert one.ids == two.ids
        close(two.features, one.features)


def test_half_precision_is_that_of_the_features(finished, folder, tmp_path):
    output = extracted(tmp_path, *flags_of(folder, TREE, "--dtype", "float16", "--write", "store", "jsonl"))
    half = FeatureStore(output / f"{IMAGES}.safetensors").features
    assert torch.equal(half, FeatureStore(finished / f"{IMAGES}.safetensors").features.half())
    assert torch.equal(read_features(output / f"{IMAGES}.jsonl", "image")[1], half.float())


def test_jsonl_alone_leaves_no_store_and_the_one_that_is_there(finished, folder, tmp_path):
    flags = flags_of(folder, TREE, "--write", "jsonl", "--parts", "images")
    output = extracted(tmp_path / "new", *flags)
    assert [p.name for p in output.iterdir()] == [f"{IMAGES}.jsonl"]
    assert (output / f"{IMAGES}.jsonl").read_bytes() == (finished / f"{IMAGES}.jsonl").read_bytes()
    old = tmp_path / "old" / f"{IMAGES}.safetensors"
    old.parent.mkdir()
    old.write_bytes(b"of another model")
    extracted(old.parent, *flags)
    assert old.read_bytes() == b"of another model" and len(list(old.parent.iterdir())) == 2


def test_files_can_be_named_one_by_one(folder, model, tmp_path):
    archives = [tmp_path / "a.16.npz", tmp_path / "b.16.npz"]
    pictures = {name: picture(seed, 16) for seed, name in enumerate(("x\u00e9", "7", "8"))}
    write_npz(archives[0], list(pictures.items())[:1])
    write_npz(archives[1], list(pictures.items())[1:])
    rows = [{"query_id": i, "query_text": t} for i, t in ((3, "red dress"), ("3", ""), ("\u00e9", "red dress"))]
    write_lines(tmp_path / "own.jsonl", rows)
    flags = flags_of(folder, TREE, "--image_data", *archives, "--text_data", tmp_path / "own.jsonl")
    output = extracted(tmp_path / "out", *flags)
    images = FeatureStore(output / "a.16.img_feat.safetensors")
    assert images.ids == list(pictures)
    close(images.features, of_pixels(model, pictures.values()))
    texts = FeatureStore(output / "own.txt_feat.safetensors")
    assert texts.ids == [3, "3", "\u00e9"]  # an empty caption is a caption
    close(texts.features, of_texts(model, ["red dress", "", "red dress"]))


def test_a_catalogue_gives_its_photos_and_its_distinct_captions(folder, model, tmp_path):
    shop = make_catalogue(make_catalogue(tmp_path / "shop", count=20), "valid", 24, seed=1)
    rows = [json.loads(line) for line in (shop / "products_valid.jsonl").read_text().splitlines()]
    output = extracted(tmp_path / "out", *flags_of(folder, shop, "--dataset", "catalogue", "--write", "store", "jsonl"))
    store = FeatureStore(output / "validation.img_feat.safetensors")
    assert store.ids == [row["id"] for row in rows]
    processor = tiny_processor(model)
    photos = [Image.open(shop / "images" / f"{i}.png") for i in store.ids]
    close(
        store.features, of_pixels(model, [processor(images=p, return_tensors="pt")["pixel_values"][0] for p in photos])
    )
    ids, features = read_features(output / "validation.img_feat.jsonl", "image")
    assert ids == store.ids and torch.equal(features, store.features)
    titles = list(dict.fromkeys(row["title"] for row in rows))
    store = FeatureStore(output / "validation.txt_feat.safetensors")
    assert len(titles) < 24 and store.ids == list(range(len(titles)))
    close(store.features, of_texts(model, titles))
    # Another split with another caption.
    flags = ["--dataset", "catalogue", "--split", "train", "--caption", "title", "description", "--parts", "texts"]
    output = extracted(tmp_path / "train", *flags_of(folder, shop, *flags))
    rows = [json.loads(line) for line in (shop / "products_train.jsonl").read_text().splitlines()]
    texts = list(dict.fromkeys(f"{row['title']} {row['description']}" for row in rows))
    close(FeatureStore(output / "train.txt_feat.safetensors").features, of_texts(model, texts))


def test_a_plain_clip_gives_the_features_of_the_model_made_of_it(finished, model, tmp_path):
    from modeling.fashionklip.convert_fashionklip import to_clip_model

    to_clip_model(model).save_pretrained(tmp_path / "clip")
    tiny_processor(model).tokenizer.save_pretrained(tmp_path / "clip")
    output = extracted(tmp_path / "out", *flags_of(tmp_path / "clip"))
    for name in (IMAGES, TEXTS):
        one, two = (FeatureStore(f / f"{name}.safetensors").features for f in (finished, output))
        close(two, one)


# Kills


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A tree with 400 pictures and 50 captions."""
    root = tmp_path_factory.mktemp("large")
    val = root / "fashiongen/val"
    write_npz(val / "val.16.npz", [(str(i), picture(i, 16)) for i in range(400)])
    words = ("red", "blue", "navy", "wool", "dress", "coat")
    rows = [{"query_id": i, "query_text": f"{words[i % 6]} {words[i // 6 % 6]} {i}"} for i in range(50)]
    write_lines(val / "fg_val_queries.jsonl", rows)
    return root


LARGE = ["--image_batch_size", "2", "--rows_per_write", "6", "--text_batch_size", "4"]
LARGE_NAMES = ("val.16.img_feat.safetensors", "fg_val_queries.txt_feat.safetensors")


@pytest.fixture(scope="module")
def whole(large, folder, tmp_path_factory):
    return extracted(tmp_path_factory.mktemp("features") / "whole", *flags_of(folder, large, *LARGE))


def killed_extraction(flags, output, at_bytes):
    """Kill the program when so much of the images' store is written; again where it was over too soon."""
    partial = output / f"{LARGE_NAMES[0]}.partial"
    for _ in range(5):
        shutil.rmtree(output, ignore_errors=True)
        process = start(PROGRAM, *flags, "--output_dir", output)
        deadline = time.monotonic() + 240
        while not (partial.exists() and partial.stat().st_size > at_bytes):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0][-3000:]
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if partial.exists():
            return partial
    raise AssertionError("every kill came too late to test anything")


def watch(monkeypatch, name, fail_at=None):
    """List of how many rows every call encodes; the call `fail_at` is interrupted."""
    import train.retrieval.encode as module

    calls, encode = [], getattr(module, name)

    def watched(model, *inputs, **options):
        if len(calls) == fail_at:
            raise KeyboardInterrupt
        calls.append(len(inputs[1]))
        return encode(model, *inputs, **options)

    monkeypatch.setattr(module, name, watched)
    return calls


def same_files(one, two):
    assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_a_killed_extraction_goes_on_to_the_same_bytes(large, whole, folder, tmp_path, monkeypatch):
    flags, output = flags_of(folder, large, *LARGE), tmp_path / "out"
    partial = killed_extraction(flags, output, at_bytes=1024 + 60 * 64)
    assert not (output / LARGE_NAMES[0]).exists()
    # Even where the system cut a write short.
    partial.write_bytes(partial.read_bytes()[: 1024 + 58 * 64 + 5])
    calls = watch(monkeypatch, "encode_pixels")
    extracted(output, *flags)
    assert sum(calls) == 400 - 54  # 58 rows were whole, 54 whole writes
    same_files(output, whole)


@pytest.mark.parametrize("write", [["store"], ["jsonl"], ["arrow", "store"]])
def test_a_part_that_was_finished_before_a_kill_is_not_encoded_again(write, folder, tmp_path, monkeypatch):
    flags = flags_of(folder, TREE, "--rows_per_write", "3", "--write", *write)
    whole, output = extracted(tmp_path / "whole", *flags), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        calls = watch(patch, "encode_texts", fail_at=2)
        extracted(output, *flags)
    assert len(calls) == 2
    images, texts = watch(monkeypatch, "encode_pixels"), watch(monkeypatch, "encode_texts")
    extracted(output, *flags)
    assert (images, len(texts)) == ([], 1)
    same_files(output, whole)


def test_an_interrupted_extraction_of_another_model_is_not_gone_on_with(folder, tmp_path, monkeypatch):
    torch.manual_seed(6)
    other = saved(tmp_path / "other", tiny_model(vision_config=VISION["vit"] | {"image_size": 16}))
    flags, output = ["--rows_per_write", "3"], tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        watch(patch, "encode_pixels", fail_at=2)
        extracted(output, *flags_of(folder, TREE, *flags))
    calls = watch(monkeypatch, "encode_pixels")
    extracted(output, *flags_of(other, TREE, *flags))
    assert len(calls) == 5
    same_files(output, extracted(tmp_path / "whole", *flags_of(other, TREE, *flags)))


def test_changed_captions_are_encoded_anew(folder, tmp_path, monkeypatch):
    tree = shutil.copytree(TREE, tmp_path / "tree")
    captions = KlipLayout.find(tree).val_captions
    flags = flags_of(folder, tree, "--rows_per_write", "3", "--parts", "texts")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        watch(patch, "encode_texts", fail_at=2)
        extracted(tmp_path / "out", *flags)
    captions.chmod(0o644)
    captions.write_text(captions.read_text().replace("coat", "dress"))
    same_files(extracted(tmp_path / "out", *flags), extracted(tmp_path / "whole", *flags))


def test_two_processes_write_what_one_does(folder, tmp_path):
    """Pieces of three and four batches, and one of a single batch, which both encode."""
    flags = flags_of(folder, TREE, "--image_batch_size", "2", "--text_batch_size", "2", "--rows_per_write", "7")
    one, two = extracted(tmp_path / "one", *flags), tmp_path / "two"
    output = finish(start(PROGRAM, *flags, "--output_dir", two, processes=2))
    (report,) = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert (report["images"], report["texts"]) == (13, 9)
    assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
    for name in (IMAGES, TEXTS):
        stores = [FeatureStore(f / f"{name}.safetensors") for f in (one, two)]
        assert stores[0].ids == stores[1].ids and stores[0].key == stores[1].key
        close(stores[1].features, stores[0].features)


# What is refused


def test_files_of_another_extraction_are_refused_and_replaced_when_asked(finished, folder, tmp_path):
    torch.manual_seed(6)
    other = saved(tmp_path / "other", tiny_model(vision_config=VISION["vit"] | {"image_size": 16}))
    output = shutil.copytree(finished, tmp_path / "out")
    for flags in (["--parts", "images"], ["--parts", "images", "--write", "jsonl"]):
        with pytest.raises(FileExistsError, match=rf"{IMAGES}\.(safetensors|jsonl) is there already; pass --overwrite"):
            extracted(output, *flags_of(other, TREE, *flags))
    same_files(output, finished)
    extracted(output, *flags_of(other, TREE, "--parts", "images", "--overwrite"))
    new = FeatureStore(output / f"{IMAGES}.safetensors")
    assert not torch.allclose(new.features, FeatureStore(finished / f"{IMAGES}.safetensors").features, atol=1e-2)


@pytest.fixture
def tree(tmp_path):
    """A copy of the tree to spoil."""
    root = shutil.copytree(TREE, tmp_path / "tree")
    for path in root.rglob("*.*"):
        path.chmod(0o644)
    return root


def test_a_damaged_picture_is_named_and_what_was_before_it_is_kept(folder, tree, tmp_path):
    archive = KlipLayout.find(tree).val_images[0]
    last = NpzImages(archive).ids[-1]
    spoil(archive, last)
    flags = flags_of(folder, tree, "--image_batch_size", "2", "--rows_per_write", "2", "--parts", "images")
    with pytest.raises(ValueError, match=rf"val\.16\.npz: image '{last}' is damaged .*write the archive again"):
        extracted(tmp_path / "out", *flags)
    assert [p.name for p in (tmp_path / "out").glob("*.safetensors")] == []


def test_pictures_of_another_size_are_named(folder, tree, tmp_path):
    archive = KlipLayout.find(tree).val_images[0]
    archive.unlink()
    write_npz(archive, [("1", np.zeros((3, 8, 8), np.float32))])
    with pytest.raises(ValueError, match=r"val\.16\.npz .* holds images of 8 pixels and the model takes 16"):
        extracted(tmp_path / "out", *flags_of(folder, tree))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query_id": 500, "query_text": "a"}', "query_id 500 occurs twice"),
        ('{"query_id": null, "query_text": "a"}', "expected a number or a string in query_id, got None"),
        ('{"query_id": [1], "query_text": "a"}', r"expected a number or a string in query_id, got \[1\]"),
        ('{"query_id": 1.5, "query_text": "a"}', "expected a number or a string in query_id, got 1.5"),
        ('{"query_id": 1, "query_text": null}', "expected a text in query_text, got None"),
        ('{"query_id": 1, "query_text": ["a"]}', "expected a text in query_text, got "),
        ('{"query_id": 1}', "lacks query_text"),
        ('{"query_id": 1, "query_text": "a', "not valid JSON"),
    ],
)
def test_a_broken_caption_is_named(line, message, folder, tree, tmp_path):
    path = KlipLayout.find(tree).val_captions
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"fashion-gen_val_queries\.jsonl, line 10: {message}"):
        extracted(tmp_path / "out", *flags_of(folder, tree))


def test_files_with_nothing_in_them_are_named(folder, tree, tmp_path):
    layout = KlipLayout.find(tree)
    write_captions(layout.val_captions, [])
    with pytest.raises(ValueError, match=r"fashion-gen_val_queries\.jsonl: no captions to extract"):
        extracted(tmp_path / "out", *flags_of(folder, tree))
    layout.val_images[0].unlink()
    write_npz(layout.val_images[0], [])
    with pytest.raises(ValueError, match=r"val\.16\.npz .*: no pictures to extract"):
        extracted(tmp_path / "out", *flags_of(folder, tree))


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (["--model", "nowhere/at-all"], FileNotFoundError, "no model at 'nowhere/at-all'"),
        (["--data_dir", "nowhere"], FileNotFoundError, "folder not found: nowhere"),
        (["--image_data", "no.npz"], FileNotFoundError, "no image archive at no.npz"),
        (["--text_data", "no.jsonl"], FileNotFoundError, "no file at no.jsonl"),
        (["--dataset", "catalogue"], FileNotFoundError, "data_small"),
        (["--rows_per_write", "0"], SystemExit, "--rows_per_write 0: must be at least 1"),
        (["--parts", "image"], SystemExit, "--parts image: expected one or more of images, texts"),
        (["--write", "json"], SystemExit, "--write json: expected one or more of store, jsonl, arrow"),
    ],
)
def test_what_a_user_gets_wrong_is_named(flags, error, message, folder, tmp_path, capsys):
    with pytest.raises(error) as caught:
        extracted(tmp_path / "out", *flags_of(folder), *flags)
    assert message in str(caught.value) + capsys.readouterr().err
    assert not (tmp_path / "out").exists()
