"""CLIP4Cir's texts: cleaning, cutting, padding, FashionIQ's caption forms, and the small tokenizer."""

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer, CLIPTokenizer

from modeling.clip4cir import (
    CLIP4CirImageProcessor,
    CLIP4CirProcessor,
    caption_forms,
    choose_form,
    clean_caption,
    join_captions,
    processing_clip4cir,
)
from modeling.clip4cir.processing_clip4cir import clean_text
from tests.modeling.clip4cir_examples import CAPTIONS, tiny_tokenizer
from train.engine.vocabulary import train_tokenizer


@pytest.fixture
def processor() -> CLIP4CirProcessor:
    return CLIP4CirProcessor(CLIP4CirImageProcessor(size=16), tiny_tokenizer())


def test_texts_are_cleaned_as_clip_does() -> None:
    assert clean_text("  Long \t &amp;amp;\n SLEEVES &lt;b&gt; ") == "long & sleeves <b>"
    assert clean_text("schÃ¶n “smart”") == 'schön "smart"'


def test_without_ftfy_only_the_repair_is_left_out(
    monkeypatch: pytest.MonkeyPatch, processor: CLIP4CirProcessor
) -> None:
    monkeypatch.setattr(processing_clip4cir, "ftfy", None)
    assert clean_text(" Long &amp; “smart” ") == "long & “smart”"
    assert processor(text="is red")["input_ids"][0][-1] == processor.tokenizer.eos_token_id


def test_a_call_gives_what_its_inputs_allow(processor: CLIP4CirProcessor) -> None:
    picture = Image.new("RGB", (20, 30), "red")
    batch = processor(images=[picture] * 2, text=CAPTIONS[:2], target_images=picture, return_tensors="pt")
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "pixel_values": (2, 3, 16, 16),
        "input_ids": (2, batch["attention_mask"].shape[1]),
        "attention_mask": tuple(batch["input_ids"].shape),
        "target_pixel_values": (1, 3, 16, 16),
    }
    assert set(processor(text="is red")) == {"input_ids", "attention_mask"}
    assert set(processor(images=picture)) == {"pixel_values"}
    assert processor(images=picture, transform="clip", return_tensors="pt")["pixel_values"].shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="at least one"):
        processor()
    with pytest.raises(ValueError, match="list of strings"):
        processor(text=["is red", None])


def test_texts_are_padded_to_the_longest_and_no_further(processor: CLIP4CirProcessor) -> None:
    batch = processor(text=CAPTIONS, return_tensors="pt")
    lengths = batch["attention_mask"].sum(1)
    assert batch["input_ids"].shape[1] == lengths.max() < 77
    assert all(mask[:n].all() and not mask[n:].any() for mask, n in zip(batch["attention_mask"], lengths, strict=True))
    assert processor(text=CAPTIONS, padding="max_length", return_tensors="pt")["input_ids"].shape == (4, 77)


def test_a_long_text_is_cut_before_its_end_or_refused(processor: CLIP4CirProcessor, tmp_path) -> None:
    long = "with " * 100
    ids = processor(text=long)["input_ids"][0]
    assert len(ids) == 77 and ids[-1] == processor.tokenizer.eos_token_id
    assert len(processor(text=long, max_length=9)["input_ids"][0]) == 9
    strict = CLIP4CirProcessor(processor.image_processor, processor.tokenizer, official_raise_on_long_text=True)
    strict.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.official_raise_on_long_text
    with pytest.raises(ValueError, match="102 tokens and 77 fit: 'with with"):
        again(text=["is red", long])
    assert len(again(text="with " * 75)["input_ids"][0]) == 77


def test_a_tokenizer_without_a_limit_gets_clips() -> None:
    tokenizer = CLIPTokenizer(vocab=tiny_tokenizer().get_vocab())
    assert CLIP4CirProcessor(CLIP4CirImageProcessor(), tokenizer).max_text_length == 77


def test_caption_forms_and_the_draw_that_chooses_one() -> None:
    first, second = " is Red. ", "Has LONG sleeves?"
    assert clean_caption(first) == "is Red" and clean_caption(".?, !") == "!"
    assert caption_forms(first, second) == (
        "Is red and Has LONG sleeves",
        "Has long sleeves and is Red",
        "Is red",
        "Has long sleeves",
    )
    assert [choose_form(u) for u in (0.0, 0.2499, 0.25, 0.2501, 0.5, 0.5001, 0.7499, 0.75, 0.99)] == [
        0,
        0,
        3,
        1,
        3,
        2,
        2,
        3,
        3,
    ]
    assert join_captions("", "is long") == " and is long"


def test_the_small_tokenizer_is_clips_kind(tmp_path) -> None:
    tokenizer = train_tokenizer(CAPTIONS, vocab_size=560)
    assert isinstance(tokenizer, CLIPTokenizer) and tokenizer.model_max_length == 77
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == tokenizer.bos_token_id + 1
    assert len(tokenizer) <= 560
    ids = tokenizer("IS Red with  éà 漢")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id == max(ids)
    assert tokenizer.decode(ids, skip_special_tokens=True).startswith("is red with")
    whole_words = tokenizer.convert_ids_to_tokens(tokenizer("with sleeves")["input_ids"])
    assert whole_words[1:-1] == ["with</w>", "sleeves</w>"]
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is CLIPTokenizer and again.model_max_length == 77
    assert again(CAPTIONS)["input_ids"] == tokenizer(CAPTIONS)["input_ids"]


def test_the_same_texts_give_the_same_tokenizer() -> None:
    # Many pairs are equally frequent in these few captions; every one of them could tip over.
    vocabularies = {tuple(sorted(train_tokenizer(CAPTIONS, vocab_size=540).get_vocab().items())) for _ in range(20)}
    assert len(vocabularies) == 1


def test_every_byte_can_be_spelled() -> None:
    tokenizer = train_tokenizer(["a"], vocab_size=514)
    assert len(tokenizer) == 514
    text = "zebra ñ 🧥 9"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize(
    "texts, options, message",
    [
        (["a"], {"vocab_size": 513}, "at least 514"),
        ([" "], {"vocab_size": 600}, "no text"),
        (["a"], {"vocab_size": 600, "max_length": 2}, "max_length"),
    ],
)
def test_impossible_tokenizers_are_refused(texts, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_tokenizer(texts, **options)


def test_the_official_cut_and_the_tokenizers_cut_agree(processor: CLIP4CirProcessor) -> None:
    text = "is red with long sleeves and a belt"
    whole = processor.tokenizer(text)["input_ids"]
    for length in range(3, len(whole) + 1):
        official = [*whole[:length]]
        official[-1] = processor.tokenizer.eos_token_id
        assert processor(text=text, max_length=length)["input_ids"][0] == official
    assert torch.tensor(whole).argmax() == len(whole) - 1
