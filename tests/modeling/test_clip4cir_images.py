"""CLIP4Cir's pictures: the original's geometry to the pixel, and what a viewer shows by default."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from transformers import AutoImageProcessor

from modeling.clip4cir import CLIP4CirImageProcessor, image_processing_clip4cir

MODES = ["RGB", "L", "1", "P", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "I;16", "F", "La", "RGBa"]


def _picture(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode in ("La", "RGBa"):
        return Image.fromarray(pixels).convert("LA" if mode == "La" else "RGBA").convert(mode)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "PA":
        return Image.fromarray(pixels[..., :3]).convert("P").convert("PA")
    if mode in ("RGBA", "LA"):
        return Image.fromarray(pixels).convert(mode)
    return Image.fromarray(pixels[..., :3]).convert(mode)


def _literal(image: Image.Image, size: int, transform: str, ratio: float) -> np.ndarray:
    """The spec's section 3 written down step by step, without care for speed or memory."""
    width, height = image.size
    if transform == "targetpad" and max(width, height) / min(width, height) >= ratio:
        side = max(width, height) / ratio
        image = ImageOps.expand(image, (max(int((side - width) / 2), 0), max(int((side - height) / 2), 0)), fill=0)
    if transform == "squarepad":
        side = max(width, height)
        image = ImageOps.expand(image, (int((side - width) / 2), int((side - height) / 2)), fill=0)
    width, height = image.size
    if width <= height:
        image = image.resize((size, int(size * height / width)), Image.Resampling.BICUBIC)
    else:
        image = image.resize((int(size * width / height), size), Image.Resampling.BICUBIC)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)).convert("RGB"))


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    size=st.integers(1, 40),
    transform=st.sampled_from(["targetpad", "squarepad", "clip"]),
    ratio=st.sampled_from([1.0, 1.25, 1.5, 3.0]),
    mode=st.sampled_from(["RGB", "L"]),
)
def test_the_geometry_is_the_originals(width, height, size, transform, ratio, mode) -> None:
    image = _picture(mode, width, height)
    processor = CLIP4CirImageProcessor(size=size, transform=transform, target_ratio=ratio)
    expected = _literal(image, size, transform, ratio)
    assert np.array_equal(processor.prepare(image), expected)
    official = CLIP4CirImageProcessor(size=size, transform=transform, target_ratio=ratio, official_image_modes=True)
    assert np.array_equal(official.prepare(image), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "CMYK", "P", "1"])
def test_official_modes_keep_the_mode_until_after_the_crop(mode: str) -> None:
    image = _picture(mode, 45, 30)
    processor = CLIP4CirImageProcessor(size=16, official_image_modes=True)
    if mode in ("RGBA", "LA", "CMYK"):
        padded = Image.new(mode, (45, 36), (0,) * len(image.getbands()))
        padded.paste(image, (0, 3))
    else:
        padded = ImageOps.expand(image, (0, 3), fill=0)
    assert np.array_equal(processor.prepare(image), _literal(padded, 16, "clip", 1.0))
    assert np.array_equal(processor.prepare(image)[0, 0], [255] * 3 if mode == "CMYK" else _corner(image))


def _corner(image: Image.Image) -> list[int]:
    """Colour of the padding: black, except that a palette's entry 0 is what the palette says."""
    return image.getpalette()[:3] if image.mode == "P" else [0, 0, 0]


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize("transform", ["targetpad", "squarepad", "clip"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_and_shape_gives_a_picture(mode: str, transform: str, official: bool) -> None:
    processor = CLIP4CirImageProcessor(size=8, transform=transform, official_image_modes=official)
    for width, height in ((1, 1), (1, 50), (50, 1), (9, 7)):
        if official and mode in ("La", "RGBa"):
            continue  # Pillow's own intermediate modes, which no file opens in and which it can't convert to RGB
        prepared = processor.prepare(_picture(mode, width, height))
        assert prepared.shape == (8, 8, 3) and prepared.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (4, 900)])
@pytest.mark.parametrize("transform", ["targetpad", "squarepad", "clip"])
def test_thin_strips_need_little_memory(
    transform: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = CLIP4CirImageProcessor(size=32, transform=transform)
    image = Image.linear_gradient("L").resize(shape).convert("RGB")
    plain = processor.prepare(image).astype(int)
    largest = []
    resize = Image.Image.resize
    monkeypatch.setattr(image_processing_clip4cir, "MAX_PIXELS", 20_000)
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda self, size, *a, **k: largest.append((self.size, size)) or resize(self, size, *a, **k),
    )
    bounded = processor.prepare(image).astype(int)
    assert largest and max(width * height for sizes in largest for width, height in sizes) <= 20_000
    # Shrinking first blurs a strip that is less than a pixel wide in the end; cutting out a window changes nothing.
    assert np.abs(bounded - plain).mean() <= (0.5 if transform == "clip" else 8)


def test_pictures_are_shown_as_a_viewer_shows_them(tmp_path) -> None:
    processor = CLIP4CirImageProcessor(size=4, transform="clip")
    quarter = Image.new("RGB", (8, 8), "blue")
    quarter.paste("red", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    quarter.save(tmp_path / "turned.png", exif=exif)
    turned = Image.open(tmp_path / "turned.png")
    # The red upper half is shown on the right.
    assert processor.prepare(turned)[0, -1].tolist() == [255, 0, 0] and processor.prepare(turned)[0, 0, 0] == 0
    ignored = CLIP4CirImageProcessor(size=4, transform="clip", official_image_modes=True).prepare(turned)
    assert ignored[0, 0].tolist() == [255, 0, 0]

    deep = Image.fromarray(np.full((8, 8), 257 * 100, dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    assert np.all(processor.prepare(Image.open(tmp_path / "deep.png")) == 100)

    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert np.all(processor.prepare(clear) == 255)
    assert np.all(processor.prepare(Image.new("RGBA", (8, 8), (10, 20, 30, 255))) == [10, 20, 30])
    clear.convert("P").save(tmp_path / "palette.gif", transparency=clear.convert("P").getpixel((0, 0)))
    assert np.all(processor.prepare(Image.open(tmp_path / "palette.gif")) == 255)

    bits = Image.new("1", (8, 8), 1)
    assert np.all(processor.prepare(bits) == 255)


def test_arrays_and_tensors_are_the_same_picture() -> None:
    processor = CLIP4CirImageProcessor(size=12)
    image = _picture("RGB", 20, 31)
    array = np.asarray(image)
    expected = processor(image, return_tensors="pt")["pixel_values"]
    channels_first = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for other in (array, channels_first, [array], torch.from_numpy(array.copy())[None].permute(0, 3, 1, 2)):
        assert torch.equal(processor(other, return_tensors="pt")["pixel_values"], expected)


def test_calling_is_preparing_and_normalising() -> None:
    processor = CLIP4CirImageProcessor(size=12)
    images = [_picture("RGB", 20, 31), _picture("L", 30, 18)]
    stored = np.stack([processor.prepare(image) for image in images])
    pixel_values = processor.normalize(stored)
    assert pixel_values.dtype == torch.float32 and pixel_values.shape == (2, 3, 12, 12) and pixel_values.is_contiguous()
    assert torch.equal(pixel_values, processor(images, return_tensors="pt")["pixel_values"])
    assert torch.equal(pixel_values, processor.normalize(torch.from_numpy(stored)))
    mean, std = np.float32(processor.image_mean), np.float32(processor.image_std)
    literal = (stored.astype(np.float32) / np.float32(255) - mean) / std
    assert np.array_equal(pixel_values.numpy(), literal.transpose(0, 3, 1, 2))
    as_list = processor(images)["pixel_values"]
    assert isinstance(as_list, list) and np.array_equal(as_list[1], pixel_values[1].numpy())


def test_settings_survive_saving_and_single_calls_can_differ(tmp_path) -> None:
    processor = CLIP4CirImageProcessor(size=20, transform="squarepad", target_ratio=1.5, official_image_modes=True)
    processor.save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == CLIP4CirImageProcessor.from_pretrained(tmp_path).to_dict()
    assert (again.size, again.transform, again.target_ratio, again.official_image_modes) == (20, "squarepad", 1.5, True)
    image = _picture("RGB", 40, 18)
    once = again(image, return_tensors="pt", transform="clip", size={"height": 10, "width": 10})["pixel_values"]
    assert torch.equal(
        once, CLIP4CirImageProcessor(size=10, transform="clip")(image, return_tensors="pt")["pixel_values"]
    )
    assert again.size == 20
    assert CLIP4CirImageProcessor.from_pretrained(tmp_path, size=16).size == 16


@pytest.mark.parametrize(
    "settings_, message",
    [
        ({"size": 0}, "size must be"),
        ({"size": {"height": 3, "width": 4}}, "size must be"),
        ({"transform": "stretch"}, "'targetpad', 'squarepad', 'clip'"),
        ({"target_ratio": 0.8}, "at least 1"),
        ({"target_ratio": float("nan")}, "at least 1"),
        ({"image_std": [0.1, 0.2]}, "three values"),
    ],
)
def test_impossible_settings_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CLIP4CirImageProcessor(**settings_)


@pytest.mark.parametrize(
    "image, message",
    [
        ("photo.jpg", "Expected a Pillow image"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (Image.new("RGB", (0, 4)), "no pixels"),
        ([], "No image"),
    ],
)
def test_what_is_no_picture_is_refused(image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CLIP4CirImageProcessor(size=4)(image)
