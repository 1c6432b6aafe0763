"""Masked texts: which pieces are chosen, what becomes of them, and that a batch depends on its rows alone."""

import random

import pytest
import torch
from transformers import BertTokenizer

from train.engine.text_masking import IGNORED, MaskedTexts, TextMasking

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "black",
    "knit",
    "##ted",
    "##s",
    "dress",
    "sleeve",
    "##less",
    ".",
]


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, do_lower_case=True)


def ids(*words):
    return [WORDS.index(word) for word in words]


def test_words_hold_their_continuations(tokenizer):
    pieces = ids("black", "knit", "##ted", "##s", "dress")
    assert TextMasking(tokenizer).words(pieces) == [[0], [1, 2, 3], [4]]
    assert TextMasking(tokenizer, whole_words=False).words(pieces) == [[0], [1], [2], [3], [4]]
    assert TextMasking(tokenizer).words(ids("##ted", "##s")) == [[0, 1]]  # nothing before it to belong to
    assert TextMasking(tokenizer).words([]) == []


@pytest.mark.parametrize(
    ("share", "seen"),
    [
        (0.0, ids("[MASK]", "[MASK]")),
        (0.7999, ids("[MASK]", "[MASK]")),
        (0.8, [3, 4]),
        (0.8999, [3, 4]),
        (0.9, ids("knit", "##ted")),
        (0.9999, ids("knit", "##ted")),
    ],
)
def test_one_number_chooses_a_word_and_says_what_becomes_of_it(tokenizer, share, seen):
    numbers, exchanged = iter([0.5, share * 0.2]), iter([3, 4])
    masked, labels = TextMasking(tokenizer, 0.2)(
        ids("black", "knit", "##ted"), lambda: next(numbers), lambda size: next(exchanged)
    )
    assert masked == [WORDS.index("black"), *seen] and labels == [IGNORED, *ids("knit", "##ted")]


def test_at_the_probability_itself_a_word_stays(tokenizer):
    assert TextMasking(tokenizer, 0.2)(ids("black"), lambda: 0.2, None)[1] == [IGNORED]
    assert TextMasking(tokenizer, 1.0)(ids("black"), lambda: 0.999, None)[1] == ids("black")


def test_special_tokens_and_padding_are_never_chosen_but_unknown_words_may_be(tokenizer):
    batch = MaskedTexts(tokenizer, masking=TextMasking(tokenizer, 1.0))(
        [{"text": "black unknown dress", "row": 0, "epoch": 0}, {"text": "dress", "row": 1, "epoch": 0}]
    )
    chosen = batch["mlm_labels"] != IGNORED
    assert chosen.tolist() == [[False, True, True, True, False], [False, True, False, False, False]]
    assert torch.equal(batch["mlm_labels"][chosen], batch["input_ids"][chosen])
    assert torch.equal(batch["masked_input_ids"][~chosen], batch["input_ids"][~chosen])
    assert batch["mlm_labels"][0, 2] == WORDS.index("[UNK]")


def test_long_texts_keep_their_beginning_and_are_masked_after_that(tokenizer):
    collate = MaskedTexts(tokenizer, 5, TextMasking(tokenizer, 1.0))
    batch = collate([{"text": "black dress . black dress .", "row": 0, "epoch": 0}])
    assert batch["input_ids"].tolist() == [ids("[CLS]", "black", "dress", ".", "[SEP]")]
    assert (batch["mlm_labels"] != IGNORED).sum() == 3


def test_an_empty_text_has_nothing_to_choose(tokenizer):
    batch = MaskedTexts(tokenizer, masking=TextMasking(tokenizer, 1.0))([{"text": "", "row": 0, "epoch": 0}])
    assert batch["input_ids"].tolist() == [ids("[CLS]", "[SEP]")] and (batch["mlm_labels"] == IGNORED).all()


def test_a_text_is_masked_alike_in_any_batch_and_anew_in_every_epoch(tokenizer):
    collate = MaskedTexts(tokenizer, masking=TextMasking(tokenizer, 0.5), seed=3)
    rows = [{"text": "black knitted dress . " * 5, "row": row, "epoch": 2} for row in range(4)]
    whole, alone = collate(rows), collate(rows[2:3])
    assert torch.equal(whole["masked_input_ids"][2], alone["masked_input_ids"][0])
    assert not torch.equal(whole["masked_input_ids"][0], whole["masked_input_ids"][1])
    later = collate([row | {"epoch": 3} for row in rows])
    assert not torch.equal(whole["mlm_labels"], later["mlm_labels"])
    other = MaskedTexts(tokenizer, masking=TextMasking(tokenizer, 0.5), seed=4)(rows)
    assert not torch.equal(whole["mlm_labels"], other["mlm_labels"])


def test_without_masking_a_batch_is_texts_alone(tokenizer):
    assert list(MaskedTexts(tokenizer)([{"text": "dress"}])) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("whole_words", [True, False])
def test_rates_of_many_draws(tokenizer, whole_words):
    masking, draw = TextMasking(tokenizer, 0.15, whole_words), random.Random(0)
    pieces = ids("black", "knit", "##ted", "##s", "dress", "sleeve", "##less", ".") * 4
    masked, labels = zip(*(masking(pieces, draw.random, draw.randrange) for _ in range(3000)), strict=True)
    masked, labels, right = torch.tensor(masked), torch.tensor(labels), torch.tensor(pieces).expand(3000, -1)
    chosen = labels != IGNORED
    assert chosen.double().mean() == pytest.approx(0.15, abs=0.01)
    hidden = (masked[chosen] == WORDS.index("[MASK]")).double().mean()
    kept = (masked[chosen] == right[chosen]).double().mean()
    # A random piece is the mask token, or the old piece, once in 13 times.
    assert hidden == pytest.approx(0.8 + 0.1 / 13, abs=0.02) and kept == pytest.approx(0.1 + 0.1 / 13, abs=0.02)
    together = bool((chosen[:, 1] == chosen[:, 2]).all())
    assert together == whole_words
    exchanged = masked[chosen][(masked[chosen] != 4) & (masked[chosen] != right[chosen])]
    assert set(exchanged.tolist()) == set(range(len(WORDS))) - {4}  # any of the vocabulary, special tokens too


@pytest.mark.parametrize("probability", [0, -0.1, 1.1])
def test_a_probability_out_of_range_is_refused(tokenizer, probability):
    with pytest.raises(ValueError, match=f"mask probability is {probability}, expected 0 < probability <= 1"):
        TextMasking(tokenizer, probability)


def test_padding_is_at_the_end_whatever_the_tokenizers_own_side(tokenizer):
    left = BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=True, padding_side="left")
    rows = [{"text": "black dress black", "epoch": 0, "row": 0}, {"text": "dress", "epoch": 0, "row": 1}]
    first, second = (MaskedTexts(own, masking=TextMasking(own, 1.0))(rows) for own in (tokenizer, left))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["mlm_labels"][1].tolist() == [IGNORED, *ids("dress"), *[IGNORED] * 3]
