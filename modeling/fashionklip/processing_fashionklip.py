"""Images and texts together: what a user calls before [`FashionKLIPModel`], and the prompts of concepts."""

import html
import re
import unicodedata

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.utils import logging

try:
    import ftfy
except ImportError:  # the processor works without it, see `clean_text`
    ftfy = None

logger = logging.get_logger(__name__)

PROMPT = "a photo of {}"
# What the original's tokenizer calls its start and end.
OFFICIAL_START, OFFICIAL_END = "<start_of_text>", "<end_of_text>"


class FashionKLIPProcessor(ProcessorMixin):
    """Image processor and CLIP tokenizer of a model.

    Args:
        image_processor: a [`FashionKLIPImageProcessor`].
        tokenizer: a `CLIPTokenizer` whose end-of-text id is the largest id.
        prompt_template: what a concept becomes before it is encoded; `{}` stands for its phrase.
        official_truncation: True cuts a text that doesn't fit without keeping its end id, and pads with id 0, as the
            original does. All such texts get one and the same feature: without an end id the largest is the start's, at
            the first position, which sees nothing of the text. Deviation: by default the end id stays in the last
            place, and padding is the tokenizer's.
        official_special_tokens: True turns `<start_of_text>` and `<end_of_text>` inside a text into the special ids, as
            the original does, which ignores what follows such an end. Deviation: by default nothing that a caption
            says is special.

    Raises:
        ValueError: the template doesn't hold `{}` exactly once, or a tokenizer without words.
    """

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        prompt_template: str = PROMPT,
        official_truncation: bool = False,
        official_special_tokens: bool = False,
    ) -> None:
        if not isinstance(prompt_template, str) or prompt_template.count("{}") != 1:
            raise ValueError(f"prompt_template needs one {{}}, the place of the phrase; got {prompt_template!r}.")
        if tokenizer is not None and set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            # transformers makes such a tokenizer, in silence, where the files of one are not there.
            raise ValueError(
                "The tokenizer knows no words: tokenizer.json (or vocab.json and merges.txt) is missing in the folder that "
                "it was loaded from. Save or fetch the processor again."
            )
        self.prompt_template = prompt_template
        self.official_truncation = official_truncation
        self.official_special_tokens = official_special_tokens
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images=None,
        text: str | list[str] | None = None,
        concepts: str | list[str] | None = None,
        return_tensors: str | None = None,
        padding: bool | str = True,
        truncation: bool = True,
        max_length: int | None = None,
        **images_kwargs,
    ) -> BatchFeature:
        """Model inputs for whatever is given.

        Args:
            images: picture or list of pictures.
            text: caption, query or list of them.
            concepts: phrase or list of phrases; their prompts are encoded.
            return_tensors: "pt", "np" or None for lists.
            padding: True pads to the longest text of the call, "max_length" to the longest that the model takes.
            truncation: False leaves long texts alone (the model can't take them).
            max_length: fewer tokens than the model's, start and end included.
            images_kwargs: passed to the image processor.

        Returns:
            `pixel_values` (images, 3, d, d), `input_ids` and `attention_mask` (texts, tokens), `concept_input_ids` and
            `concept_attention_mask` (phrases, tokens), as far as their inputs were given. An empty text is start and
            end alone.

        Raises:
            ValueError: nothing is given, or texts aren't strings.
        """
        if images is None and text is None and concepts is None:
            raise ValueError("Give at least one of images, text and concepts.")
        data = {}
        if images is not None:
            batch = self.image_processor(images, return_tensors=return_tensors, **images_kwargs)
            data["pixel_values"] = batch["pixel_values"]
        options = {"padding": padding, "truncation": truncation, "return_tensors": return_tensors}
        options["max_length"] = max_length or self.max_text_length
        if text is not None:
            data |= self._tokenized(_as_list(text, "text"), **options)
        if concepts is not None:
            tokens = self._tokenized(self.prompts(_as_list(concepts, "concepts")), **options)
            data |= {f"concept_{name}": value for name, value in tokens.items()}
        return BatchFeature(data)

    def prompts(self, phrases: list[str]) -> list[str]:
        """The prompt of each phrase; an empty phrase leaves the words around it, as in the original."""
        return [self.prompt_template.replace("{}", phrase) for phrase in phrases]

    @property
    def max_text_length(self) -> int:
        """Tokens that fit, start and end included: 77 unless the tokenizer says otherwise."""
        limit = self.tokenizer.model_max_length
        # A tokenizer that was built without a limit reports 1e30.
        return limit if limit < 100_000 else 77

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "input_ids", "attention_mask", "concept_input_ids", "concept_attention_mask"]

    def _tokenized(self, texts: list[str], padding, truncation: bool, max_length: int, return_tensors) -> dict:
        texts = [self._without_special(clean_text(text)) for text in texts]
        if self.official_truncation:
            return self._official_rows(texts, padding, truncation, max_length, return_tensors)
        tokens = self.tokenizer(
            texts,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            padding_side="right",
            return_tensors=return_tensors,
        )
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}

    def _official_rows(self, texts: list[str], padding, truncation: bool, max_length: int, return_tensors) -> dict:
        rows = self.tokenizer(texts, verbose=False)["input_ids"] if texts else []
        if truncation:
            rows = [ids[:max_length] for ids in rows]
        widest = max(map(len, rows), default=0)
        width = {True: widest, "longest": widest, "max_length": max(widest, max_length)}.get(padding, 0)
        data = {
            "input_ids": [ids + [0] * (width - len(ids)) for ids in rows],
            "attention_mask": [[1] * len(ids) + [0] * (width - len(ids)) for ids in rows],
        }
        make = {"pt": torch.tensor, "np": np.array}.get(return_tensors, lambda value: value)
        return {name: make(value) for name, value in data.items()}

    def _without_special(self, text: str) -> str:
        """A cleaned text in which no words of its author are taken for special ids, save the original's if wanted."""
        literals = sorted({str(token) for token in self.tokenizer.all_special_tokens}, key=len, reverse=True)
        for literal in literals:
            # One with a capital letter can't stand in a cleaned text.
            text = text.replace(literal, _split_into_words(literal))
        if not self.official_special_tokens:
            return text
        names = {OFFICIAL_START: str(self.tokenizer.bos_token), OFFICIAL_END: str(self.tokenizer.eos_token)}
        parts, done = [], 0
        for found in re.finditer(f"{OFFICIAL_START}|{OFFICIAL_END}", text):
            before = text[found.start() - 1 : found.start()]
            # The original's splitting takes a run of punctuation as one word: after another sign, "<" begins none.
            if not before or before.isspace() or unicodedata.category(before)[0] in "LN" or done == found.start():
                parts += [text[done : found.start()], names[found[0]]]
                done = found.end()
        return "".join(parts) + text[done:]


def clean_text(text: str) -> str:
    """CLIP's cleaning before its tokenizer: mojibake repaired, HTML unescaped twice, white space collapsed, lower case.

    Deviation: without the ftfy package the repair of mojibake is left out (a warning says so once). Plain captions are
    not affected.
    """
    if ftfy is not None:
        text = ftfy.fix_text(text)
    else:
        logger.warning_once("ftfy is not installed: broken characters in texts are not repaired (pip install ftfy).")
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip().lower()


def _as_list(texts: str | list[str], name: str) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    wrong = [type(entry).__name__ for entry in texts if not isinstance(entry, str)]
    if wrong:
        raise ValueError(f"{name} must be a string or a list of strings; got {wrong[0]} in it.")
    return texts


def _split_into_words(literal: str) -> str:
    """`<|endoftext|>` -> `<| endoftext |>`: CLIP splits there anyway, and the tokenizer no longer sees its own name."""
    return " ".join(re.findall(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+", literal))


FashionKLIPProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["FashionKLIPProcessor", "clean_text"]
