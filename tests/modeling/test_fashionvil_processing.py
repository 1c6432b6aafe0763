"""FashionViL's pictures and texts: resize and crop against Pillow by hand, word pieces, sentences, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertTokenizer

from modeling.fashionvil import (
    FASHION_MEAN,
    FASHION_STD,
    FashionViLImageProcessor,
    FashionViLProcessor,
    change_sentence,
    product_sentence,
)
from tests.modeling.fashionvil_examples import SENTENCES, SIZE, tiny_processor, tiny_tokenizer


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(300, 200), (100, 400), (256, 256), (7, 5)])
def test_pictures_are_stretched_and_their_centre_is_cut_out(size: tuple[int, int]) -> None:
    picture = _picture(*size)
    stretched = np.asarray(picture.resize((256, 256), Image.Resampling.BILINEAR)).astype(np.float32) / 255
    expected = (stretched[16:240, 16:240] - np.float32(FASHION_MEAN)) / np.float32(FASHION_STD)
    found = FashionViLImageProcessor()(picture, return_tensors="pt")["pixel_values"]
    assert found.shape == (1, 3, 224, 224) and found.dtype == torch.float32
    torch.testing.assert_close(found[0].permute(1, 2, 0), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)
    whole = FashionViLImageProcessor(resize=224)
    assert np.array_equal(whole.prepare(picture), np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR)))


def test_sizes_go_together() -> None:
    processor = FashionViLImageProcessor(size=112)
    assert processor.resize == 128
    assert processor(_picture(30, 20), size=56, return_tensors="np")["pixel_values"].shape == (1, 3, 56, 56)
    whole = FashionViLImageProcessor(size=112, resize=112)
    assert whole._with({"size": 56}).resize == 56
    again = FashionViLImageProcessor.from_dict(whole.to_dict())
    assert (again.size, again.resize) == (112, 112)


def test_pictures_of_every_kind_are_read() -> None:
    processor = FashionViLImageProcessor(size=SIZE)
    array = np.asarray(_picture(20, 30))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    from_array, from_tensor, from_picture = (
        processor(image, return_tensors="pt")["pixel_values"] for image in (array, tensor, Image.fromarray(array))
    )
    assert torch.equal(from_array, from_tensor) and torch.equal(from_array, from_picture)
    assert len(processor([array, array])["pixel_values"]) == 2
    # Transparent is white, unless Pillow's own rules are asked for.
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    official = FashionViLImageProcessor(size=SIZE, official_image_modes=True)
    assert (processor.prepare(clear) == 255).all() and (official.prepare(clear) == 0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 0}, "size must be one positive number"),
        ({"resize": 100}, "doesn't fit a picture resized to 100"),
        ({"image_std": [1, 1, 0]}, "deviations above 0"),
        ({"image_mean": [1]}, "three values each"),
    ],
)
def test_impossible_image_processors_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FashionViLImageProcessor(**options)


def test_wrong_pictures_are_refused() -> None:
    processor = FashionViLImageProcessor()
    with pytest.raises(ValueError, match="Expected a Pillow image"):
        processor("a.jpg")
    with pytest.raises(ValueError, match="No image"):
        processor([])
    with pytest.raises(ValueError, match="doesn't know"):
        processor(_picture(9, 9), crop=3)
    with pytest.raises(ValueError, match="uint8"):
        processor.normalize(torch.zeros(1, 9, 9, 3))


def test_texts_are_cut_at_the_end_and_padded_to_the_longest() -> None:
    processor = tiny_processor(max_text_length=6)
    batch = processor(text=SENTENCES, return_tensors="pt")
    pad, _, start, end = (tiny_tokenizer().vocab[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    assert batch["input_ids"].shape == (4, 6) and set(batch) == {"input_ids", "attention_mask"}
    words = tiny_tokenizer().convert_ids_to_tokens(batch["input_ids"][0])
    assert words == ["[CLS]", "navy", "wool", "coat", ".", "[SEP]"]
    short = batch["input_ids"][1].tolist()
    assert short[0] == start and short[3:] == [end, pad, pad]
    assert batch["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0]
    full = processor(text="red dress", padding="max_length", max_length=9)
    assert len(full["input_ids"][0]) == 9
    assert len(processor(text=SENTENCES[2], truncation=False)["input_ids"][0]) > 6


def test_upper_case_does_not_matter() -> None:
    processor = tiny_processor()
    assert processor(text="Red DRESS")["input_ids"] == processor(text="red dress")["input_ids"]


def test_everything_together_and_saved_again(tmp_path) -> None:
    processor = tiny_processor(max_text_length=9)
    batch = processor(images=[_picture(9, 9)], text="red dress", target_images=_picture(8, 8), return_tensors="pt")
    assert set(batch) == {"pixel_values", "input_ids", "attention_mask", "target_pixel_values"}
    assert batch["target_pixel_values"].shape == (1, 3, SIZE, SIZE)
    processor.save_pretrained(tmp_path)
    again = FashionViLProcessor.from_pretrained(tmp_path)
    assert again.max_text_length == 9 and again.image_processor.size == SIZE
    assert again(text=SENTENCES)["input_ids"] == processor(text=SENTENCES)["input_ids"]


def test_wrong_texts_are_refused() -> None:
    processor = tiny_processor()
    with pytest.raises(ValueError, match="at least one of images, text"):
        processor()
    with pytest.raises(ValueError, match="got int in it"):
        processor(text=["a", 3])
    with pytest.raises(ValueError, match="from 3 on"):
        tiny_processor(max_text_length=2)
    empty = BertTokenizer(vocab={word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])})
    with pytest.raises(ValueError, match="knows no words"):
        FashionViLProcessor(FashionViLImageProcessor(), empty)


def test_fields_become_sentences_as_in_the_original() -> None:
    assert product_sentence("Wool Coat", "In black.") == "Wool Coat.In black."
    assert product_sentence("cardigan", "warm", color="navy blue") == "navy blue.cardigan.warm"
    assert product_sentence("black dress") == "black dress"
    assert change_sentence(["is red", "has sleeves"]) == "is red, has sleeves"
