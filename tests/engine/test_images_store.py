"""The pixel store gives the image processor's own bits, notices what changed, and names every bad picture."""

import io
import json
import os
import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image

from modeling.clip4cir.image_processing_clip4cir import CLIP4CirImageProcessor
from train.engine.images import Augmentation, PixelStore


def picture(seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def sources(tmp_path) -> dict:
    """Paths, bytes and rows as `datasets` gives them, in several sizes and modes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    found = {}
    for number, (size, mode) in enumerate([((40, 30), "RGB"), ((20, 91), "L"), ((64, 64), "RGBA"), ((90, 20), "P")]):
        path = folder / f"{number}.png"
        picture(number, size, mode).save(path)
        found[f"file{number}"] = str(path)
    found["bytes"] = encoded(picture(9), "JPEG")
    found["row"] = {"bytes": encoded(picture(10)), "path": None}
    found["row-path"] = {"bytes": None, "path": found["file1"]}
    return found


@pytest.fixture
def processor() -> CLIP4CirImageProcessor:
    return CLIP4CirImageProcessor(size=24)


def directly(processor, sources, ids) -> torch.Tensor:
    opened = []
    for image_id in ids:
        source = sources[image_id]
        if isinstance(source, dict):
            source = source["bytes"] or source["path"]
        opened.append(Image.open(io.BytesIO(source) if isinstance(source, bytes) else source))
    return processor(opened, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("in_memory", [False, True])
def test_batches_equal_the_image_processor_bit_for_bit(tmp_path, sources, processor, in_memory):
    store = PixelStore.build(None if in_memory else tmp_path / "cache", sources, processor, progress=False)
    ids = [*reversed(sources), "bytes"]  # any order, repeats too
    assert torch.equal(store.batch(ids), directly(processor, sources, ids))
    assert len(store) == len(sources) and "bytes" in store and "other" not in store


def test_a_second_build_decodes_nothing(tmp_path, sources, processor, monkeypatch):
    first = PixelStore.build(tmp_path / "cache", sources, processor, progress=False)
    monkeypatch.setattr("train.engine.images.open_image", lambda source: pytest.fail("decoded again"))
    again = PixelStore.build(tmp_path / "cache", sources, processor, progress=False)
    assert torch.equal(again.batch(list(sources)), first.batch(list(sources)))


@pytest.mark.parametrize("change", ["file", "bytes", "settings", "ids", "damaged index", "missing data"])
def test_a_stale_store_is_rebuilt_and_the_old_pixels_are_removed(tmp_path, sources, processor, change):
    cache = tmp_path / "cache"
    PixelStore.build(cache, sources, processor, progress=False)
    if change == "file":
        picture(77, (31, 47)).save(sources["file0"])
    elif change == "bytes":
        sources["bytes"] = encoded(picture(78))
    elif change == "settings":
        processor = CLIP4CirImageProcessor(size=24, transform="clip")
    elif change == "ids":
        del sources["file2"]
    elif change == "damaged index":
        (cache / "pixels.json").write_text("{")
    elif change == "missing data":
        next(cache.glob("*.npy")).unlink()
    store = PixelStore.build(cache, sources, processor, progress=False)
    assert torch.equal(store.batch(list(sources)), directly(processor, sources, list(sources)))
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


def test_every_bad_picture_is_named_and_nothing_is_left_behind(tmp_path, sources, processor):
    whole = encoded(picture(5), "JPEG")
    (tmp_path / "photos" / "empty.jpg").touch()
    bad = {
        "gone": tmp_path / "photos" / "gone.jpg",
        "empty": tmp_path / "photos" / "empty.jpg",
        "cut": whole[: len(whole) // 2],
        "text": b"not a picture",
    }
    cache = tmp_path / "cache"
    with pytest.raises(ValueError) as caught:
        PixelStore.build(cache, {**sources, **bad}, processor, progress=False)
    message = str(caught.value)
    assert "4 of 11 images cannot be used" in message
    assert all(f"  {image_id}: " in message for image_id in bad)
    assert not any(f"  {image_id}: " in message for image_id in sources)
    assert list(cache.iterdir()) == []


def test_a_failed_rebuild_leaves_the_old_store_in_place(tmp_path, sources, processor):
    cache = tmp_path / "cache"
    PixelStore.build(cache, sources, processor, progress=False)
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    with pytest.raises(ValueError):
        PixelStore.build(cache, {**sources, "bad": b""}, processor, progress=False)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_the_store_is_mapped_and_survives_pickling_as_a_path(tmp_path, sources, processor):
    store = PixelStore.build(tmp_path / "cache", sources, processor, progress=False)
    data = pickle.dumps(store)
    assert len(data) < 10_000
    assert torch.equal(pickle.loads(data).batch(["bytes"]), store.batch(["bytes"]))
    index = json.loads((tmp_path / "cache" / "pixels.json").read_text())
    assert os.path.getsize(tmp_path / "cache" / index["file"]) == 128 + len(sources) * 24 * 24 * 3


def test_two_names_share_a_folder(tmp_path, sources, processor):
    train = PixelStore.build(tmp_path, {"bytes": sources["bytes"]}, processor, name="train", progress=False)
    valid = PixelStore.build(tmp_path, {"row": sources["row"]}, processor, name="valid", progress=False)
    assert (train.ids, valid.ids) == (["bytes"], ["row"])
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_ids_that_are_not_stored_are_named(tmp_path, sources, processor):
    store = PixelStore.build(None, sources, processor, progress=False)
    with pytest.raises(ValueError, match=r"1 images are not in the store, the first are \['nobody'\]"):
        store.batch(["bytes", "nobody"])
    with pytest.raises(ValueError, match="at least one image"):
        PixelStore.build(None, {}, processor)


def test_augmented_views_depend_on_seed_epoch_index_and_role_only(sources, processor):
    store = PixelStore.build(None, sources, processor, progress=False)
    augmentation = Augmentation(flip=0.5, shift=0.2, min_area=0.4, max_ratio=1.3, seed=5)
    ids = ["bytes"] * 4

    def views(epoch=1, indices=(3, 4, 5, 6), role=0, augmentation=augmentation):
        random.seed(len(indices) + epoch)  # the global generators must not matter
        torch.manual_seed(epoch)
        np.random.seed(role)
        return store.batch(ids[: len(indices)], augmentation=augmentation, epoch=epoch, indices=indices, role=role)

    assert torch.equal(views(), views())
    assert torch.equal(views(indices=(5,))[0], views()[2])  # the place in the batch does not matter
    others = [views(epoch=2), views(role=1), views(indices=(7, 8, 9, 10))]
    others.append(views(augmentation=Augmentation(flip=0.5, shift=0.2, min_area=0.4, max_ratio=1.3, seed=6)))
    assert not any(torch.equal(views(), other) for other in others)
    assert torch.equal(store.batch(ids), directly(processor, sources, ids))  # the stored pixels stay as they were


def test_augmentation_does_not_draw_from_global_generators(sources, processor):
    store = PixelStore.build(None, sources, processor, progress=False)
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    store.batch(["bytes"], augmentation=Augmentation(shift=0.1, min_area=0.5), epoch=0, indices=[0])
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert np.array_equal(np.random.get_state()[1], states[2])


def test_each_augmentation_does_what_its_name_says():
    ramp = np.broadcast_to(np.arange(20, dtype=np.uint8)[None, :, None] * 10, (20, 20, 3))
    assert np.array_equal(Augmentation(flip=1.0)(ramp, 0, 0), ramp[:, ::-1])
    assert np.array_equal(Augmentation(flip=0.0)(ramp, 0, 0), ramp)
    flipped = sum(Augmentation(flip=0.25)(ramp, 0, index)[0, 0, 0] == 190 for index in range(2000))
    assert 420 < flipped < 580  # 500 expected, standard deviation 19

    shifted = {int(Augmentation(flip=0.0, shift=0.2)(ramp, 0, index)[0, 10, 0]) for index in range(200)}
    assert shifted == {60, 70, 80, 90, 100, 110, 120, 130, 140}  # four pixels either way

    spans = [
        np.ptp(Augmentation(flip=0.0, min_area=0.25)(ramp, 0, index)[10, :, 0].astype(int)) for index in range(200)
    ]
    assert 85 < min(spans) < 110 and 180 < max(spans) <= 190  # half of the side at least

    with pytest.raises(ValueError, match="augmentation shift is 0.9"):
        Augmentation(shift=0.9)


def test_views_without_their_positions_are_refused(sources, processor):
    store = PixelStore.build(None, sources, processor, progress=False)
    with pytest.raises(ValueError, match="one index per image id"):
        store.batch(["bytes"], augmentation=Augmentation())
