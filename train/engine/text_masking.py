"""Masked texts for masked language modelling: whole words or single pieces (FashionViL, section 3.3; BERT's 80/10/10).

Masking comes after truncation. `[CLS]`, `[SEP]` and padding are never chosen; an unknown word (`[UNK]`) may be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

IGNORED = -100  # label of pieces that the model is not asked about; the original has -1

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1


class TextMasking:
    """Chooses pieces of a text and hides most of them.

    One uniform number u per word: the word is chosen if u < p. Then u / p says what becomes of it: below 0.8 every piece
    is hidden behind the mask token, below 0.9 every piece is exchanged for any of the vocabulary (special ones too),
    else it stays. One number decides both, as in the original.

    Args:
        tokenizer: of word pieces, continuations beginning with "##".
        probability: p, from above 0 to 1.
        whole_words: choose words with all their pieces; False chooses pieces.
    """

    def __init__(self, tokenizer: Any, probability: float = 0.15, whole_words: bool = True) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"mask probability is {probability}, expected 0 < probability <= 1")
        if tokenizer.mask_token_id is None:
            raise ValueError(f"{type(tokenizer).__name__} has no mask token; take a tokenizer of BERT's kind")
        self.probability, self.whole_words = probability, whole_words
        self.vocabulary, self.mask_token = len(tokenizer), tokenizer.mask_token_id
        pieces = tokenizer.convert_ids_to_tokens(list(range(self.vocabulary)))
        self.continues = [piece.startswith("##") for piece in pieces]

    def words(self, pieces: Sequence[int]) -> list[list[int]]:
        """Positions of every word's pieces, or of every piece, in `pieces` (ids without `[CLS]` and `[SEP]`)."""
        words: list[list[int]] = []
        for position, piece in enumerate(pieces):
            if words and self.whole_words and self.continues[piece]:
                words[-1].append(position)
            else:
                words.append([position])
        return words

    def __call__(
        self,
        pieces: Sequence[int],
        uniform: Callable[[], float],
        random_piece: Callable[[int], int],
    ) -> tuple[list[int], list[int]]:
        """Mask one text.

        Args:
            pieces: ids without `[CLS]`, `[SEP]` and padding.
            uniform: the next number in [0, 1), called once per word; `random.Random(...).random`, or recorded draws.
            random_piece: the next id below its argument, called once per exchanged piece; `Random(...).randrange`.

        Returns:
            The ids that the model sees, and the labels: the id of every chosen piece, `IGNORED` elsewhere.
        """
        masked, labels = list(pieces), [IGNORED] * len(pieces)
        for word in self.words(pieces):
            share = uniform() / self.probability
            if share >= 1:
                continue
            for position in word:
                labels[position] = pieces[position]
                if share < MASKED_SHARE:
                    masked[position] = self.mask_token
                elif share < MASKED_SHARE + RANDOM_SHARE:
                    masked[position] = random_piece(self.vocabulary)
        return masked, labels


class MaskedTexts:
    """Collator of texts: whole and masked, padded to the longest of the batch.

    The draws of a text depend on (seed, epoch, row) and on nothing else, so a resumed run sees the same masks.

    Args:
        tokenizer: of BERT's kind, `[CLS]` pieces `[SEP]`.
        max_length: longer texts keep their beginning.
        masking: what hides pieces; None for whole texts alone.
        seed: of the draws.
    """

    def __init__(self, tokenizer: Any, max_length: int = 75, masking: TextMasking | None = None, seed: int = 0) -> None:
        self.tokenizer, self.max_length, self.masking, self.seed = tokenizer, max_length, masking, seed

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """From rows with "text" (and "epoch", "row" where texts are masked) to tensors (B, L).

        Returns:
            input_ids, attention_mask; with masking also masked_input_ids and mlm_labels.
        """
        batch = self.tokenizer(
            [row["text"] for row in rows],
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        texts = {"input_ids": ids, "attention_mask": mask}
        if self.masking is None:
            return texts
        masked, labels = ids.clone(), torch.full_like(ids, IGNORED)
        for place, (row, length) in enumerate(zip(rows, mask.sum(dim=1).tolist(), strict=True)):
            draw = random.Random(f"text {self.seed} {row['epoch']} {row['row']}")
            inner = slice(1, length - 1)
            seen, asked = self.masking(ids[place, inner].tolist(), draw.random, draw.randrange)
            masked[place, inner], labels[place, inner] = torch.tensor(seen), torch.tensor(asked)
        return texts | {"masked_input_ids": masked, "mlm_labels": labels}
