"""Small tokenizers in CLIP's and BERT's formats, made of a data set's own captions, for models trained from scratch."""

import json
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import BertTokenizer, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int = 77) -> CLIPTokenizer:
    """Byte-pair tokenizer with CLIP's splitting, lower-casing and end-of-word marks; the same texts give the same one.

    Args:
        texts: captions to learn from.
        vocab_size: most entries of the vocabulary, the two special ones included; at least 514, since every byte
            is an entry alone and at the end of a word.
        max_length: tokens of the longest text, start and end included.

    Returns:
        A `CLIPTokenizer` whose start and end ids are the two largest, as the pooling of CLIP's text tower needs.

    Raises:
        ValueError: there is no text, or a size is too small.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = 2 * len(alphabet) + 2
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest} to spell every text in bytes; got {vocab_size}.")
    if max_length < 3:
        raise ValueError(f"max_length must leave room for a token between start and end; got {max_length}.")
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise ValueError("The tokenizer has no text to learn from.")

    # An untrained CLIPTokenizer lends its normaliser and splitting rule, so both stay what transformers will apply.
    pattern = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=END_OF_WORD))
    learner.normalizer = pattern.normalizer
    learner.pre_tokenizer = pattern.pre_tokenizer
    # Given in advance, because the trainer breaks ties by the order of entries, and would number the bytes at the end
    # of a word as it meets them in a hash table: the same texts would give another vocabulary now and then.
    endings = [letter + END_OF_WORD for letter in alphabet]
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        special_tokens=endings,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][: vocab_size - smallest]

    # CLIP's order: the bytes, the bytes at the end of a word, the merges as learned, start, end.
    entries = alphabet + endings + [left + right for left, right in merges]
    entries = [*dict.fromkeys(entries), START, END]
    vocabulary = {token: index for index, token in enumerate(entries)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)


def word_piece_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int = 75) -> BertTokenizer:
    """Tokenizer of BERT's kind: the frequent words of the texts whole, all others letter by letter.

    Args:
        texts: to learn from; the same ones give the same tokenizer.
        vocab_size: most entries, special ones and letters included.
        max_length: tokens of the longest text, `[CLS]` and `[SEP]` included.

    Raises:
        ValueError: there is no text, or the letters alone are more than `vocab_size`.
    """
    splitter = BertTokenizer(vocab={token: place for place, token in enumerate(BERT_SPECIAL)}).backend_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        words = splitter.pre_tokenizer.pre_tokenize_str(splitter.normalizer.normalize_str(text))
        counts.update(word for word, _ in words)
    if not counts:
        raise ValueError("The tokenizer has no text to learn from.")
    letters = sorted({letter for word in counts for letter in word})
    entries = [*BERT_SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    if len(entries) > vocab_size:
        raise ValueError(
            f"vocab_size must be at least {len(entries)} to spell every text in letters; got {vocab_size}."
        )
    frequent = sorted(counts, key=lambda word: (-counts[word], word))
    known = set(entries)
    entries += [word for word in frequent if word not in known][: vocab_size - len(entries)]
    vocabulary = {token: place for place, token in enumerate(entries)}
    return BertTokenizer(vocab=vocabulary, model_max_length=max_length)
