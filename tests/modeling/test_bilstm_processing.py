"""Words and pictures of outfit models: numbers of words, the resize of TensorFlow's first years, odd pictures."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor

from modeling.bilstm import BiLSTMImageProcessor, BiLSTMProcessor
from modeling.bilstm.image_processing_bilstm import crop_or_pad, legacy_resize
from tests.modeling.bilstm_examples import WORDS


@pytest.fixture
def processor() -> BiLSTMProcessor:
    return BiLSTMProcessor(BiLSTMImageProcessor(size=8), WORDS)


def picture(width: int = 12, height: int = 10, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    return Image.fromarray(values.squeeze(-1) if len(mode) == 1 else values, mode)


# --- words ---------------------------------------------------------------------------------------------------------


def test_words_are_numbered_from_one(processor) -> None:
    assert processor.encode(" ".join(WORDS)) == list(range(1, len(WORDS) + 1))
    assert processor.encode("coat  red\tcoat\n") == [9, 2, 9], "in their order, each as often as it is there"
    assert processor.encode("") == processor.encode("  ") == []


def test_unknown_words_are_left_out_or_refused(processor) -> None:
    assert processor.encode("a red, red coat!") == [2]
    assert processor.unknown_words("a red, red coat!") == ["a", "red,", "coat!"]
    strict = BiLSTMProcessor(None, WORDS, unknown="error")
    assert strict.encode("red coat") == [2, 9]
    with pytest.raises(ValueError, match="'a red coat' holds 'a', which is not in the vocabulary of 9 words"):
        strict.encode("a red coat")


def test_lower_case_is_tried_where_the_word_itself_is_unknown() -> None:
    words = ["red", "Red", "BLUE", "chloé"]
    processor = BiLSTMProcessor(None, words)
    assert processor.encode("red Red RED BLUE Blue CHLOÉ") == [1, 2, 1, 3, 4]
    official = BiLSTMProcessor(None, words, lowercase=False)
    assert official.encode("red Red RED BLUE Blue CHLOÉ") == [1, 2, 3]
    assert official.unknown_words("RED Blue") == ["RED", "Blue"]


def test_a_word_may_hold_a_space_of_another_alphabet() -> None:
    # Broken UTF-8 in a list makes such words: "à" read as two characters, the second of which is a no-break space.
    processor = BiLSTMProcessor(None, ["red", "Ã\xa0", "coat"])
    assert processor.encode("Ã\xa0 red\xa0coat") == [2, 1, 3]


def test_texts_are_padded_to_the_longest_and_no_further(processor) -> None:
    texts = ["red coat", "", "long sleeves is red", "nothing known"]
    batch = processor(text=texts, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[2, 9, 0, 0], [0, 0, 0, 0], [4, 5, 1, 2], [0, 0, 0, 0]]
    assert torch.equal(batch["attention_mask"], (batch["input_ids"] != 0).long())
    assert processor(text=texts)["input_ids"] == batch["input_ids"].tolist()
    assert isinstance(processor(text=texts, return_tensors="np")["input_ids"], np.ndarray)
    assert processor(text="", return_tensors="pt")["input_ids"].tolist() == [[0]]
    assert processor(text=texts, max_length=3)["input_ids"][2] == [4, 5, 1]
    assert processor(text="red coat")["input_ids"] == [[2, 9]]


def test_the_processor_takes_whatever_is_given(processor) -> None:
    both = processor(images=[picture(), picture(5, 5)], text=["red", "coat"], return_tensors="pt")
    assert set(both) == set(processor.model_input_names)
    assert both["pixel_values"].shape == (2, 3, 8, 8) and both["input_ids"].shape == (2, 1)
    assert set(processor(images=picture())) == {"pixel_values"}
    assert processor(images=picture(), size=4, return_tensors="pt")["pixel_values"].shape == (1, 3, 4, 4)
    for call, message in (
        (lambda: processor(), "at least one of images and text"),
        (lambda: processor(text=["red", None]), "must be a string or a list of strings; got NoneType"),
        (lambda: processor(images=[]), "No image was given"),
        (lambda: processor(images=picture(), colour="red"), r"doesn't know \['colour'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"vocabulary": ["red", "coat", "red"]}, "holds a word twice"),
        ({"vocabulary": ["red coat"]}, "holds 'red coat', which is not one word"),
        ({"vocabulary": ["red", ""]}, "holds '', which is not one word"),
        ({"unknown": "skip"}, "unknown must be"),
    ],
)
def test_impossible_vocabularies_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BiLSTMProcessor(None, **options)


def test_processors_are_saved_and_loaded(tmp_path) -> None:
    pictures = BiLSTMImageProcessor(
        size=16, resize="bicubic", pad=True, image_mean=(0.1, 0.2, 0.3), image_std=(1, 2, 3), official_image_modes=True
    )
    saved = BiLSTMProcessor(pictures, WORDS, lowercase=False, unknown="error")
    saved.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "processor_config.json").read_text(encoding="utf-8"))
    assert stored["vocabulary"] == WORDS
    for kind in (AutoProcessor, BiLSTMProcessor):
        again = kind.from_pretrained(tmp_path)
        assert type(again) is BiLSTMProcessor
        assert (again.vocabulary, again.lowercase, again.unknown) == (WORDS, False, "error")
        ours = again.image_processor
        assert (ours.size, ours.resize_type, ours.pad, ours.official_image_modes) == (16, "bicubic", True, True)
        assert (ours.image_mean, ours.image_std) == ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
        for name, values in saved(images=picture(), text="red coat", return_tensors="np").items():
            assert np.array_equal(again(images=picture(), text="red coat", return_tensors="np")[name], values)
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is BiLSTMImageProcessor


def test_a_model_without_pictures_has_a_processor_too(tmp_path) -> None:
    BiLSTMProcessor(None, WORDS).save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again(text="red coat")["input_ids"] == [[2, 9]]


# --- pictures ------------------------------------------------------------------------------------------------------


def _slow_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """TensorFlow's kernel of 2016, pixel by pixel."""
    rows, columns, channels = image.shape
    result = np.zeros((height, width, channels))
    for y in range(height):
        for x in range(width):
            at_y, at_x = y * rows / height, x * columns / width
            top, left = math.floor(at_y), math.floor(at_x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            down, across = at_y - top, at_x - left
            for c in range(channels):
                upper = image[top, left, c] * (1 - across) + image[top, right, c] * across
                lower = image[bottom, left, c] * (1 - across) + image[bottom, right, c] * across
                result[y, x, c] = upper * (1 - down) + lower * down
    return result


@pytest.mark.parametrize("size", [(10, 12), (7, 7), (23, 31), (1, 1), (10, 5)])
def test_the_resize_is_that_of_a_double_loop(size: tuple[int, int]) -> None:
    image = np.asarray(picture())
    found = legacy_resize(image, *size)
    assert found.dtype == np.float32 and found.shape == (*size, 3)
    np.testing.assert_allclose(found, _slow_resize(image.astype(np.float64), *size), atol=2e-3)
    one = legacy_resize(image[:1, :1], *size)
    assert (one == image[0, 0]).all()


def test_pictures_are_stretched_and_lie_between_minus_one_and_one(processor) -> None:
    pixels = processor(images=picture(12, 10), return_tensors="pt")["pixel_values"][0]
    wanted = _slow_resize(np.asarray(picture(12, 10)).astype(np.float64), 8, 8) / 127.5 - 1
    np.testing.assert_allclose(pixels.permute(1, 2, 0), wanted, atol=1e-4)
    white, black = (Image.new("RGB", (9, 5), colour) for colour in ("white", "black"))
    batch = processor(images=[white, black], return_tensors="pt")["pixel_values"]
    assert (batch[0] == 1).all() and (batch[1] == -1).all() and batch.dtype == torch.float32
    smooth = BiLSTMImageProcessor(size=8, resize="bicubic")
    expected = np.asarray(picture().resize((8, 8), Image.Resampling.BICUBIC)) / 127.5 - 1
    np.testing.assert_allclose(smooth(picture())["pixel_values"][0].transpose(1, 2, 0), expected, atol=1e-6)
    scaled = BiLSTMImageProcessor(size=8, image_mean=(1.0, 0.5, 0.0), image_std=(0.5, 1.0, 2.0))
    assert scaled(white)["pixel_values"][0][:, 0, 0].tolist() == [0.0, 0.5, 0.5]


def test_padding_keeps_the_shape_of_an_item() -> None:
    padded = BiLSTMImageProcessor(size=8, pad=True)
    found = padded.prepare(Image.new("RGB", (4, 8), "black"))
    assert (found[:, 2:6] == 0).all() and (found[:, :2] == 255).all() and (found[:, 6:] == 255).all()
    assert not BiLSTMImageProcessor(size=8).prepare(Image.new("RGB", (4, 8), "black")).any()
    flat = padded.prepare(Image.new("RGB", (8, 4), "black"))
    assert (flat[2:6] == 0).all() and (flat[:2] == 255).all()


def _both_ways(image) -> tuple[np.ndarray, np.ndarray]:
    """(as shown, as the original reads it), the picture's own size."""
    return tuple(
        BiLSTMImageProcessor(size=4, official_image_modes=official).prepare(image) for official in (False, True)
    )


def test_pictures_are_turned_as_their_exif_tag_says() -> None:
    image = Image.new("RGB", (4, 4), "black")
    image.paste("white", (0, 0, 4, 2))
    image.getexif()[0x0112] = 6  # a quarter turn clockwise shows it upright
    shown, stored = _both_ways(image)
    assert (shown[:, 2:] == 255).all() and not shown[:, :2].any()
    assert (stored[:2] == 255).all() and not stored[2:].any()


def test_transparency_is_white_and_the_originals_is_what_lies_under_it() -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.paste((0, 0, 200, 255), (0, 0, 2, 4))
    shown, stored = _both_ways(image)
    assert (shown[:, 2:] == 255).all() and (stored[:, 2:] == (200, 0, 0)).all()
    assert (shown[:, :2] == (0, 0, 200)).all() and (stored[:, :2] == (0, 0, 200)).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30])
    palette.info["transparency"] = 0
    shown, stored = _both_ways(palette)
    assert (shown == 255).all() and (stored == (10, 20, 30)).all()
    grey, _ = _both_ways(Image.new("LA", (4, 4), (7, 255)))
    assert (grey == 7).all()


def test_16_bits_become_8() -> None:
    values = np.full((4, 4), 257 * 100, np.uint16)
    values[0] = 65535
    shown, stored = _both_ways(values)
    assert (shown[1:] == 100).all() and (shown[0] == 255).all()
    assert not np.array_equal(shown, stored), "the original clips or shifts them"


def test_all_forms_of_one_picture_are_one() -> None:
    image = picture()
    array = np.asarray(image)
    wanted = BiLSTMImageProcessor(size=8)(image)["pixel_values"][0]
    forms = [array, array.transpose(2, 0, 1), torch.from_numpy(array.copy()).permute(2, 0, 1)]
    for form in forms:
        assert np.array_equal(BiLSTMImageProcessor(size=8)(form)["pixel_values"][0], wanted)
    batch = BiLSTMImageProcessor(size=8)(np.stack([array, array]))["pixel_values"]
    assert len(batch) == 2 and np.array_equal(batch[1], wanted)
    grey = picture(mode="L")
    rgb = BiLSTMImageProcessor(size=8)(grey.convert("RGB"))["pixel_values"][0]
    for form in (grey, np.asarray(grey), np.asarray(grey)[..., None]):
        assert np.array_equal(BiLSTMImageProcessor(size=8)(form)["pixel_values"][0], rgb)


@pytest.mark.parametrize(
    "image, message",
    [
        ("a.jpg", "Expected a Pillow image, an array or a tensor; got str"),
        (np.zeros((4, 4, 3)), r"must be uint8 .*got \(4, 4, 3\) float64"),
        (np.zeros((4, 4, 5), np.uint8), r"got \(4, 4, 5\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
        (Image.new("RGB", (0, 3)), "has no pixels"),
    ],
)
def test_what_is_no_picture_is_refused(image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BiLSTMImageProcessor(size=8)(image)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 0}, "size must be one positive number"),
        ({"size": {"height": 4, "width": 5}}, "size must be one positive number"),
        ({"resize": "nearest"}, "resize must be one of .*got 'nearest'"),
        ({"image_mean": (0.5, 0.5)}, "need three values each"),
        ({"image_std": (0.5, 0.5, 0.0)}, "deviations above 0"),
    ],
)
def test_impossible_settings_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BiLSTMImageProcessor(**options)
    assert BiLSTMImageProcessor(size={"height": 4, "width": 4}).size == 4


def test_crops_are_taken_from_the_middle_and_what_is_too_small_gets_zeros() -> None:
    image = np.arange(1, 31).reshape(5, 6, 1)
    assert np.array_equal(crop_or_pad(image, 2, 3), image[1:3, 1:4])
    assert np.array_equal(crop_or_pad(image, 5, 6), image)
    padded = crop_or_pad(image, 8, 4)  # three rows more: one above, two below
    assert padded.shape == (8, 4, 1)
    assert np.array_equal(padded[1:6], image[:, 1:5]) and not padded[0].any() and not padded[6:].any()
