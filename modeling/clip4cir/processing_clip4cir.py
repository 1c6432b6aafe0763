"""Text and images together: what a user calls before [`CLIP4CirModel`], and FashionIQ's ways to join two captions."""

import html
import re

from transformers import BatchFeature, ProcessorMixin
from transformers.utils import logging

try:
    import ftfy
except ImportError:  # the processor works without it, see `clean_text`
    ftfy = None

logger = logging.get_logger(__name__)


class CLIP4CirProcessor(ProcessorMixin):
    """Image processor and CLIP tokenizer of a model.

    Args:
        image_processor: a [`CLIP4CirImageProcessor`].
        tokenizer: a `CLIPTokenizer` whose end-of-text id is the largest id.
        official_raise_on_long_text: True makes a text that doesn't fit an error, as in the original's validation.
            Deviation: by default it is cut, as in the original's training: the end id stays in the last place.

    Raises:
        ValueError: a tokenizer without words.
    """

    def __init__(self, image_processor=None, tokenizer=None, official_raise_on_long_text: bool = False) -> None:
        if tokenizer is not None and set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            # transformers makes such a tokenizer, in silence, where the files of one are not there.
            raise ValueError(
                "The tokenizer knows no words: tokenizer.json (or vocab.json and merges.txt) is missing in the folder that "
                "it was loaded from. Save or fetch the processor again."
            )
        self.official_raise_on_long_text = official_raise_on_long_text
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images=None,
        text: str | list[str] | None = None,
        target_images=None,
        return_tensors: str | None = None,
        padding: bool | str = True,
        truncation: bool = True,
        max_length: int | None = None,
        **images_kwargs,
    ) -> BatchFeature:
        """Model inputs for whatever is given.

        Args:
            images: reference picture or list of pictures.
            text: caption or list of captions.
            target_images: picture or list of pictures that answer the queries.
            return_tensors: "pt", "np" or None for lists.
            padding: True pads to the longest text of the call, "max_length" to the longest that the model takes.
            truncation: False leaves long texts alone (the model can't take them).
            max_length: fewer tokens than the model's, start and end included.
            images_kwargs: passed to the image processor.

        Returns:
            `pixel_values` (batch, 3, d, d), `input_ids` and `attention_mask` (batch, tokens), `target_pixel_values`
            (batch, 3, d, d), as far as their inputs were given.

        Raises:
            ValueError: nothing is given, texts aren't strings, or one is too long and `official_raise_on_long_text`.
        """
        if images is None and text is None and target_images is None:
            raise ValueError("Give at least one of images, text and target_images.")
        data = {}
        if images is not None:
            batch = self.image_processor(images, return_tensors=return_tensors, **images_kwargs)
            data["pixel_values"] = batch["pixel_values"]
        if text is not None:
            max_length = max_length or self.max_text_length
            texts = self._cleaned(text)
            if self.official_raise_on_long_text:
                self._check_length(texts, max_length)
            tokens = self.tokenizer(
                texts,
                padding=padding,
                truncation=truncation,
                max_length=max_length,
                padding_side="right",
                return_tensors=return_tensors,
            )
            data.update({name: tokens[name] for name in ("input_ids", "attention_mask")})
        if target_images is not None:
            batch = self.image_processor(target_images, return_tensors=return_tensors, **images_kwargs)
            data["target_pixel_values"] = batch["pixel_values"]
        return BatchFeature(data)

    @property
    def max_text_length(self) -> int:
        """Tokens that fit, start and end included: 77 unless the tokenizer says otherwise."""
        limit = self.tokenizer.model_max_length
        # A tokenizer that was built without a limit reports 1e30.
        return limit if limit < 100_000 else 77

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "input_ids", "attention_mask", "target_pixel_values"]

    def _cleaned(self, text: str | list[str]) -> list[str]:
        texts = [text] if isinstance(text, str) else list(text)
        wrong = [type(entry).__name__ for entry in texts if not isinstance(entry, str)]
        if wrong:
            raise ValueError(f"text must be a string or a list of strings; got {wrong[0]} in it.")
        return [clean_text(entry) for entry in texts]

    def _check_length(self, texts: list[str], max_length: int) -> None:
        for text, ids in zip(texts, self.tokenizer(texts)["input_ids"], strict=True):
            if len(ids) > max_length:
                raise ValueError(
                    f"A text has {len(ids)} tokens and {max_length} fit: {text!r}. Shorten it, or load the processor "
                    "with official_raise_on_long_text=False to cut it."
                )


def clean_text(text: str) -> str:
    """CLIP's cleaning before its tokenizer: mojibake repaired, HTML unescaped twice, white space collapsed, lower case.

    Deviation: without the ftfy package the repair of mojibake is left out (a warning says so once). Plain captions are
    not affected: 12 031 of FashionIQ's 12 032 validation captions need no repair.
    """
    if ftfy is not None:
        text = ftfy.fix_text(text)
    else:
        logger.warning_once("ftfy is not installed: broken characters in texts are not repaired (pip install ftfy).")
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip().lower()


def clean_caption(caption: str) -> str:
    """FashionIQ's caption without the dots, commas, question marks and spaces at its ends."""
    return caption.strip(".?, ")


def caption_forms(first: str, second: str) -> tuple[str, str, str, str]:
    """The four texts that training makes of a FashionIQ pair of captions: both orders joined, the first, the second."""
    first, second = clean_caption(first), clean_caption(second)
    return (
        f"{first.capitalize()} and {second}",
        f"{second.capitalize()} and {first}",
        first.capitalize(),
        second.capitalize(),
    )


def choose_form(draw: float) -> int:
    """Index into [`caption_forms`] for a uniform draw from [0, 1).

    The original compares strictly on both sides, so a draw of exactly 0.25 or 0.5 takes the last form.
    """
    if draw < 0.25:
        return 0
    if 0.25 < draw < 0.5:
        return 1
    if 0.5 < draw < 0.75:
        return 2
    return 3


def join_captions(first: str, second: str) -> str:
    """The text that validation makes of a FashionIQ pair of captions: always first, then second."""
    return caption_forms(first, second)[0]


CLIP4CirProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["CLIP4CirProcessor", "caption_forms", "choose_form", "clean_caption", "clean_text", "join_captions"]
