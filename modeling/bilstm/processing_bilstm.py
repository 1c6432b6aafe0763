"""Pictures and names of items together: what a user calls before [`BiLSTMModel`]."""

import re

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin

from .image_processing_bilstm import BiLSTMImageProcessor

# As the original splits the bytes of a text: a no-break space, say, may be a part of a word.
WORD = r"[^ \t\n\r\f\v]+"


class BiLSTMProcessor(ProcessorMixin):
    """Image processor and word list of a model.

    A text is split at white space, and its words are looked up as they stand: the original doesn't strip punctuation,
    since its names were made of the list's words. Word k of the list (from 1) has the number k; 0 is padding.

    Args:
        image_processor: a [`BiLSTMImageProcessor`]; None, for a model that is given no pictures, takes one as it comes,
            since processors of transformers have all their parts.
        vocabulary: the words in the order of their numbers.
        lowercase: a word that the list lacks is looked up in lower case too. The original doesn't.
        unknown: "drop" leaves words out that the list lacks, "error" refuses them. Deviation: the original gives them a
            number outside its table and stops.

    Raises:
        ValueError: a word twice or with white space, or an unknown policy.
    """

    def __init__(
        self,
        image_processor=None,
        vocabulary: list[str] | tuple[str, ...] = (),
        lowercase: bool = True,
        unknown: str = "drop",
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.lowercase = lowercase
        self.unknown = unknown
        if unknown not in ("drop", "error"):
            raise ValueError(f'unknown must be "drop" or "error"; got {unknown!r}.')
        self._numbers = {word: number for number, word in enumerate(self.vocabulary, 1)}
        if len(self._numbers) < len(self.vocabulary):
            raise ValueError("The vocabulary holds a word twice; each word has one number.")
        odd = [word for word in self.vocabulary if not re.fullmatch(WORD, word)]
        if odd:
            raise ValueError(f"The vocabulary holds {odd[0]!r}, which is not one word.")
        super().__init__(BiLSTMImageProcessor() if image_processor is None else image_processor)

    def __call__(
        self,
        images=None,
        text: str | list[str] | None = None,
        return_tensors: str | None = None,
        max_length: int | None = None,
        **images_kwargs,
    ) -> BatchFeature:
        """Model inputs for whatever is given.

        Args:
            images: picture or list of pictures.
            text: name of an item, query, or list of them.
            return_tensors: "pt", "np" or None for lists.
            max_length: most words of a text; None for all.
            images_kwargs: passed to the image processor.

        Returns:
            `pixel_values` (images, 3, d, d), `input_ids` and `attention_mask` (texts, words), padded with 0 to the
            longest text and to one column at least.

        Raises:
            ValueError: nothing is given, a text isn't a string, or a word is unknown under `unknown="error"`.
        """
        if images is None and text is None:
            raise ValueError("Give at least one of images and text.")
        data = {}
        if images is not None:
            batch = self.image_processor(images, return_tensors=return_tensors, **images_kwargs)
            data["pixel_values"] = batch["pixel_values"]
        if text is not None:
            rows = [self.encode(one)[:max_length] for one in ([text] if isinstance(text, str) else list(text))]
            width = max([1, *map(len, rows)])
            make = {"pt": torch.tensor, "np": np.array}.get(return_tensors, lambda value: value)
            data["input_ids"] = make([row + [0] * (width - len(row)) for row in rows])
            data["attention_mask"] = make([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return BatchFeature(data)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's known words, in their order."""
        if self.unknown == "error" and (lost := self.unknown_words(text)):
            raise ValueError(
                f"{text!r} holds {lost[0]!r}, which is not in the vocabulary of {len(self.vocabulary)} words."
            )
        return [number for word in self._words(text) if (number := self._number(word))]

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that the list lacks, in their order."""
        return [word for word in self._words(text) if not self._number(word)]

    def _words(self, text: str) -> list[str]:
        if not isinstance(text, str):
            raise ValueError(f"text must be a string or a list of strings; got {type(text).__name__} in it.")
        # A word that the list lacks may be two with another alphabet's space between them.
        return [part for word in re.findall(WORD, text) for part in ([word] if self._number(word) else word.split())]

    def _number(self, word: str) -> int:
        """Of a word; 0 for one that the list lacks."""
        return self._numbers.get(word) or (self._numbers.get(word.lower(), 0) if self.lowercase else 0)

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "input_ids", "attention_mask"]


BiLSTMProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["BiLSTMProcessor"]
