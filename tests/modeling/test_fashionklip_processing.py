"""FashionKLIP's texts and prompts: cleaning, cutting, padding, and words that look like special ids."""

import json
import random
import unicodedata

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from modeling.fashionklip import FashionKLIPImageProcessor, FashionKLIPProcessor, clean_text, processing_fashionklip
from tests.modeling.clip4cir_examples import tiny_tokenizer
from tests.modeling.fashionklip_examples import CAPTIONS, CONCEPTS

START, END = 538, 539


@pytest.fixture
def processor() -> FashionKLIPProcessor:
    return FashionKLIPProcessor(FashionKLIPImageProcessor(size=16), tiny_tokenizer())


@pytest.fixture
def official() -> FashionKLIPProcessor:
    return FashionKLIPProcessor(
        FashionKLIPImageProcessor(size=16),
        tiny_tokenizer(),
        official_truncation=True,
        official_special_tokens=True,
    )


def test_texts_are_cleaned_as_clip_does() -> None:
    assert clean_text("  Long \t &amp;amp;\n SLEEVES &lt;b&gt; ") == "long & sleeves <b>"
    assert clean_text("schÃ¶n “smart”") == 'schön "smart"'
    assert clean_text("ＦＵＬＬ　width") == "full width"


def test_without_ftfy_only_the_repair_is_left_out(
    monkeypatch: pytest.MonkeyPatch, processor: FashionKLIPProcessor
) -> None:
    monkeypatch.setattr(processing_fashionklip, "ftfy", None)
    assert clean_text(" Long &amp; “smart” ") == "long & “smart”"
    assert processor(text="red dress")["input_ids"][0][-1] == END


def test_a_call_gives_what_its_inputs_allow(processor: FashionKLIPProcessor) -> None:
    picture = Image.new("RGB", (20, 30), "red")
    batch = processor(images=[picture] * 2, text=CAPTIONS[:2], concepts=CONCEPTS, return_tensors="pt")
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "pixel_values": (2, 3, 16, 16),
        "input_ids": (2, batch["attention_mask"].shape[1]),
        "attention_mask": tuple(batch["input_ids"].shape),
        "concept_input_ids": (5, batch["concept_attention_mask"].shape[1]),
        "concept_attention_mask": tuple(batch["concept_input_ids"].shape),
    }
    assert set(batch) == set(processor.model_input_names)
    assert set(processor(text="red dress")) == {"input_ids", "attention_mask"}
    assert set(processor(concepts="red dress")) == {"concept_input_ids", "concept_attention_mask"}
    assert set(processor(images=picture)) == {"pixel_values"}
    assert processor(images=picture, transform="squarepad", return_tensors="pt")["pixel_values"].shape[-1] == 16
    for empty in ({}, {"text": None}):
        with pytest.raises(ValueError, match="images, text and concepts"):
            processor(**empty)
    for name in ("text", "concepts"):
        with pytest.raises(ValueError, match=f"{name} must be a string or a list of strings; got NoneType"):
            processor(**{name: ["red dress", None]})


def test_pictures_are_not_padded_by_default(processor: FashionKLIPProcessor) -> None:
    picture = Image.new("RGB", (40, 16), "white")
    white = FashionKLIPImageProcessor(size=16).normalize(torch.full((1, 16, 16, 3), 255, dtype=torch.uint8))
    assert torch.equal(processor(images=picture, return_tensors="pt")["pixel_values"], white)
    padded = processor(images=picture, transform="squarepad", return_tensors="pt")["pixel_values"]
    assert not torch.equal(padded, white)


def test_concepts_become_prompts(processor: FashionKLIPProcessor, tmp_path) -> None:
    assert processor.prompts(["olive {coat}", ""]) == ["a photo of olive {coat}", "a photo of "]
    ids = processor(concepts=["olive coat", ""])["concept_input_ids"]
    texts = processor(text=["a photo of olive coat", "a photo of"])["input_ids"]
    assert ids == texts
    other = FashionKLIPProcessor(
        processor.image_processor, processor.tokenizer, prompt_template="{} on a {model}", official_truncation=True
    )
    other.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is FashionKLIPProcessor and again.prompts(["coat"]) == ["coat on a {model}"]
    assert again.official_truncation and not again.official_special_tokens
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is FashionKLIPImageProcessor
    for template in ("a photo", "{} and {}", None):
        with pytest.raises(ValueError, match="prompt_template"):
            FashionKLIPProcessor(processor.image_processor, processor.tokenizer, prompt_template=template)


def test_texts_are_padded_to_the_longest_and_no_further(processor: FashionKLIPProcessor) -> None:
    batch = processor(text=CAPTIONS, return_tensors="pt")
    lengths = batch["attention_mask"].sum(1)
    assert batch["input_ids"].shape[1] == lengths.max() < 77
    assert all(mask[:n].all() and not mask[n:].any() for mask, n in zip(batch["attention_mask"], lengths, strict=True))
    assert processor(text=CAPTIONS, padding="max_length", return_tensors="pt")["input_ids"].shape == (4, 77)
    whole = processor(text=CAPTIONS)["input_ids"]
    assert [row[n - 1] for row, n in zip(whole, lengths.tolist(), strict=True)] == [END] * 4


@pytest.mark.parametrize("return_tensors", [None, "np", "pt"])
def test_official_rows_are_padded_with_zero(official: FashionKLIPProcessor, return_tensors: str | None) -> None:
    texts = ["red dress", "", "with " * 100]
    batch = official(text=texts, return_tensors=return_tensors)
    ids = torch.as_tensor(batch["input_ids"])
    mask = torch.as_tensor(batch["attention_mask"]).bool()
    assert ids.shape == mask.shape == (3, 77)
    assert not ids[~mask].any() and ids[1].tolist() == [START, END] + [0] * 75
    assert mask[2].all() and END not in ids[2] and ids[2].argmax() == 0
    longest = official(text=texts[:2])["input_ids"]
    assert longest[1] == [START, END] + [0] * (len(longest[0]) - 2)
    unpadded = official(text=texts[:2], padding=False)["input_ids"]
    assert unpadded[1] == [START, END]
    assert torch.as_tensor(official(text=texts[1:2], padding="max_length")["input_ids"]).shape == (1, 77)
    assert len(official(text=texts[2], truncation=False)["input_ids"][0]) == 102


def test_a_long_text_keeps_its_end_unless_the_originals_cut_is_wanted(
    processor: FashionKLIPProcessor, official: FashionKLIPProcessor
) -> None:
    # One token a word, and 75 fit.
    for words in (74, 75, 76, 200):
        text = "with " * words
        ours, theirs = processor(text=text)["input_ids"][0], official(text=text)["input_ids"][0]
        assert len(ours) == len(theirs) == min(words + 2, 77)
        assert ours[-1] == END and (theirs[-1] == END) == (words <= 75)
        assert ours[:-1] == theirs[:-1]
    assert len(processor(text="with " * 9, max_length=5)["input_ids"][0]) == 5


def test_a_tokenizer_without_a_limit_gets_clips() -> None:
    tokenizer = CLIPTokenizer(vocab=tiny_tokenizer().get_vocab())
    assert FashionKLIPProcessor(FashionKLIPImageProcessor(), tokenizer).max_text_length == 77


def test_a_tokenizer_without_words_is_refused(processor: FashionKLIPProcessor, tmp_path) -> None:
    with pytest.raises(TypeError, match="tokenizer"):
        FashionKLIPProcessor(FashionKLIPImageProcessor())
    with pytest.raises(ValueError, match="knows no words: tokenizer.json .* is missing"):
        FashionKLIPProcessor(FashionKLIPImageProcessor(), CLIPTokenizer())
    # transformers itself would go on with a tokenizer without words.
    processor.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    for kind in (AutoProcessor, FashionKLIPProcessor):
        with pytest.raises(ValueError, match="knows no words: tokenizer.json .* is missing"):
            kind.from_pretrained(tmp_path)


def test_nothing_that_a_caption_says_is_special(processor: FashionKLIPProcessor) -> None:
    for text in ("red <|endoftext|> dress", "<|STARTOFTEXT|>", "<end_of_text> dress", "a<|endoftext|><|endoftext|>!"):
        ids = processor(text=text)["input_ids"][0]
        assert ids[0] == START and ids[-1] == END
        assert not {START, END} & set(ids[1:-1]), text
        words = processor.tokenizer.decode(ids[1:-1]).replace(" ", "")
        assert words == text.lower().replace(" ", ""), "no letter is lost"


def test_the_originals_special_words_can_be_had(official: FashionKLIPProcessor) -> None:
    dress = official(text="dress")["input_ids"][0][1:-1]
    assert official(text="<end_of_text> dress")["input_ids"][0] == [START, END, *dress, END]
    assert official(text="Dress <START_OF_TEXT>dress")["input_ids"][0] == [START, *dress, START, *dress, END]
    # A run of punctuation is one word, so a "<" after another sign doesn't begin a special one.
    ids = official(text="dress!<end_of_text>")["input_ids"][0]
    assert ids.count(END) == 1


def _original_ids(text: str, special: dict[str, int]) -> list[int]:
    """The original's tokenizer written out slowly, on the small vocabulary.

    Splits a cleaned text as its regular expression does, in the order of its alternatives: special words, contractions,
    a run of letters, one digit, a run of anything else that isn't a space.
    """
    kind = {"L": "letter", "N": "number"}
    words, position = [], 0
    while position < len(text):
        rest = text[position:]
        fixed = next((w for w in (*special, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if rest.startswith(w)), None)
        if fixed:
            words.append(fixed)
            position += len(fixed)
            continue
        kinds = ["space" if c.isspace() else kind.get(unicodedata.category(c)[0], "sign") for c in rest]
        end = 1
        while kinds[0] in ("letter", "sign") and end < len(rest) and kinds[end] == kinds[0]:
            end += 1
        if kinds[0] != "space":
            words.append(rest[:end])
        position += end
    vocabulary = tiny_tokenizer().get_vocab()
    merges = json.loads(tiny_tokenizer().backend_tokenizer.to_str())["model"]["merges"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    letters = bytes_to_unicode()
    ids = []
    for word in words:
        if word in special:
            ids.append(special[word])
            continue
        parts = [letters[byte] for byte in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = [(ranks.get(pair, len(ranks)), i) for i, pair in enumerate(zip(parts, parts[1:], strict=False))]
            rank, first = min(pairs)
            if rank == len(ranks):
                break
            parts[first : first + 2] = [parts[first] + parts[first + 1]]
        ids += [vocabulary[part] for part in parts]
    return [START, *ids, END]


def test_ids_are_the_originals_for_any_mixture_of_signs(
    processor: FashionKLIPProcessor, official: FashionKLIPProcessor
) -> None:
    special = {"<start_of_text>": START, "<end_of_text>": END}
    pieces = [*special, "<|endoftext|>", "<|startoftext|>", "red", "dress", "sleeves", "end", " ", "  ", "\n", "!", "<"]
    pieces += [">", "|", "_", "-", "'", "'s", "4", "½", "Ⅳ", "é", "e\u0301", "漢", "🧥", "\u200d", "&amp;"]
    generator = random.Random(5)
    texts = ["".join(generator.choices(pieces, k=generator.randint(0, 9))) for _ in range(800)]
    assert sum("<end_of_text>" in text for text in texts) > 100
    for text in texts:
        cleaned = clean_text(text)
        assert official(text=text)["input_ids"][0] == _original_ids(cleaned, special)[:77], text
        assert processor(text=text)["input_ids"][0][:-1] == _original_ids(cleaned, {})[:-1][:76], text
