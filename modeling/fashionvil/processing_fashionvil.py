"""Images and texts together: what a user calls before a FashionViL, and how the data sets' fields become one sentence."""

from transformers import BatchFeature, ProcessorMixin


class FashionViLProcessor(ProcessorMixin):
    """Image processor and BERT tokenizer of a model.

    Args:
        image_processor: a [`FashionViLImageProcessor`].
        tokenizer: a `BertTokenizer`, uncased for the official weights.
        max_text_length: word pieces that are kept, [CLS] and [SEP] included; a longer text loses its end. The original
            takes 75 for pre-training and FashionGen, 50 for FashionIQ, Polyvore Outfits and FACAD, 100 for Fashion200k and
            BigFACAD.

    Raises:
        ValueError: a limit that leaves no place for a word, or a tokenizer without words.
    """

    def __init__(self, image_processor=None, tokenizer=None, max_text_length: int = 75) -> None:
        if isinstance(max_text_length, bool) or not isinstance(max_text_length, int) or max_text_length < 3:
            raise ValueError(f"max_text_length must be a whole number from 3 on; got {max_text_length!r}.")
        if tokenizer is not None and set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            # transformers makes such a tokenizer, in silence, where the files of one are not there.
            raise ValueError(
                "The tokenizer knows no words: tokenizer.json (or vocab.txt) is missing in the folder that it was loaded "
                "from. Save or fetch the processor again."
            )
        self.max_text_length = max_text_length
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
            images: picture or list of pictures.
            text: description, caption, change or list of them.
            target_images: picture or list of pictures that composed queries should find.
            return_tensors: "pt", "np" or None for lists.
            padding: True pads to the longest text of the call, "max_length" to `max_length`.
            truncation: False leaves long texts alone.
            max_length: instead of `max_text_length`, for this call.
            images_kwargs: passed to the image processor.

        Returns:
            `pixel_values` and `target_pixel_values` (images, 3, d, d), `input_ids` and `attention_mask` (texts, L), as far
            as their inputs were given.

        Raises:
            ValueError: nothing is given, or texts aren't strings.
        """
        if images is None and text is None and target_images is None:
            raise ValueError("Give at least one of images, text and target_images.")
        data = {}
        for name, pictures in (("pixel_values", images), ("target_pixel_values", target_images)):
            if pictures is not None:
                batch = self.image_processor(pictures, return_tensors=return_tensors, **images_kwargs)
                data[name] = batch["pixel_values"]
        if text is not None:
            tokens = self.tokenizer(
                _as_list(text),
                padding=padding,
                truncation=truncation,
                max_length=max_length or self.max_text_length,
                padding_side="right",
                return_tensors=return_tensors,
            )
            data |= {name: tokens[name] for name in ("input_ids", "attention_mask")}
        return BatchFeature(data)

    @property
    def model_input_names(self) -> list[str]:
        return ["pixel_values", "input_ids", "attention_mask", "target_pixel_values"]


def product_sentence(title: str, description: str | None = None, color: str | None = None) -> str:
    """A product's fields as the original joins them: a full stop between them, and no space after it.

    FashionGen and Polyvore Outfits have a title and a description, BigFACAD a colour too, Fashion200k a title alone.
    """
    return ".".join(field for field in (color, title, description) if field is not None)


def change_sentence(captions: list[str]) -> str:
    """FashionIQ's captions of one triplet as one text."""
    return ", ".join(captions)


def _as_list(texts: str | list[str]) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    wrong = [type(entry).__name__ for entry in texts if not isinstance(entry, str)]
    if wrong:
        raise ValueError(f"text must be a string or a list of strings; got {wrong[0]} in it.")
    return texts


FashionViLProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["FashionViLProcessor", "change_sentence", "product_sentence"]
