"""FashionViL's six pre-training tasks on one model (section 3.2 of the paper; the released code's `pretraining` head)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_fashionvil import FashionViLConfig
from .image_tokenizer_fashionvil import FashionViLImageTokenizer
from .layers_fashionvil import HeadLinear, ScaledNorm, Transform
from .losses_fashionvil import contrastive_loss, dot_products, soft_cross_entropy
from .modeling_fashionvil import FashionViLHead

# The original calls the second one "icc".
TASKS = ("itc", "mvc", "pac", "mpfc", "mlm", "itm")


@dataclass
class FashionViLPreTrainingOutput(ModelOutput):
    """What [`FashionViLForPreTraining.forward`] returns; which fields are there depends on the task.

    Args:
        loss: () the task's loss on the given batch.
        logits: itc, mvc: (B, B) products of query and target features; pac: (B, A) of the pictures; mpfc: (masked cells,
            codes); mlm: (selected pieces, words); itm: (B, 2).
        text_logits: pac: (B, A) of the texts.
        labels: the right classes of `logits`: mpfc, mlm, itm (1 for a pair that belongs together).
        query_embeds, target_embeds: itc, mvc: (B, H) features of length s, image side and other side. Gather them over
            processes and give them to `contrastive_loss` for the loss over the global batch.
        image_loss, text_loss: pac: () the two parts of the loss.
        similarity: itm: (B, B) scaled products of pictures and texts, by which negatives are chosen.
        negatives: itm: (B,) row of each picture's hardest wrong text.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    text_logits: torch.FloatTensor | None = None
    labels: torch.LongTensor | None = None
    query_embeds: torch.FloatTensor | None = None
    target_embeds: torch.FloatTensor | None = None
    image_loss: torch.FloatTensor | None = None
    text_loss: torch.FloatTensor | None = None
    similarity: torch.FloatTensor | None = None
    negatives: torch.LongTensor | None = None


class MatchingHead(nn.Module):
    """(B, H) pooled features -> (B, 2): replaced, matched."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__()
        self.seq_relationship = HeadLinear(config.hidden_size, 2)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.seq_relationship(pooled)


class WordHead(nn.Module):
    """(any, H) states and the (words, H) table of words, which it shares -> (any, words)."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__()
        self.transform = Transform(config.text_config)
        self.bias = nn.Parameter(torch.zeros(config.text_config.vocab_size))

    def forward(self, states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return F.linear(self.transform(states), words, self.bias)


class AttributeHead(nn.Module):
    """(B, H) features -> (B, A) cosines with each attribute's vector, times `attribute_scale`."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__()
        self.scale = 1.0 if config.attribute_scale is None else float(config.attribute_scale)
        self.projection = nn.Parameter(torch.zeros(config.hidden_size, config.num_attributes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            columns = F.normalize(self.projection.float(), dim=0)
            return self.scale * (F.normalize(features.float(), dim=-1) @ columns)


class FashionViLForPreTraining(FashionViLHead):
    """The model with the heads of all tasks; one task per call.

    `image_tokenizer` is there if the configuration has a `tokenizer_config`; it isn't trained.
    """

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        self.contrastive_norm = ScaledNorm(config.norm_scale_init_value)
        self.heads = nn.ModuleDict(
            {
                "itm": MatchingHead(config),
                "mlm": WordHead(config),
                "mpfc": nn.Sequential(Transform(config.text_config), HeadLinear(config.hidden_size, config.num_codes)),
                "pac": AttributeHead(config),
            }
        )
        if config.tokenizer_config is not None:
            # It has one implementation, whatever is asked of the whole model.
            config.tokenizer_config._attn_implementation = "sdpa"
            self.image_tokenizer = FashionViLImageTokenizer(config.tokenizer_config)
        self.post_init()
        self.train()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WordHead):
            init.zeros_(module.bias)
        elif isinstance(module, AttributeHead):
            init.normal_(module.projection)

    def train(self, mode: bool = True) -> "FashionViLForPreTraining":
        """Training mode; the image tokenizer stays in evaluation mode, and untrained."""
        super().train(mode)
        if hasattr(self, "image_tokenizer"):
            # Here and not where it is built, since loading makes every parameter a trained one and then calls `eval`.
            self.image_tokenizer.eval().requires_grad_(False)
        return self

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        task: str = "itc",
        second_pixel_values: torch.Tensor | None = None,
        masked_input_ids: torch.Tensor | None = None,
        mlm_labels: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        image_codes: torch.Tensor | None = None,
        attribute_targets: torch.Tensor | None = None,
        dropped_text: torch.Tensor | None = None,
        dropped_image: torch.Tensor | None = None,
        replace_text: torch.Tensor | None = None,
        product_ids: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        return_dict: bool | None = None,
    ) -> FashionViLPreTrainingOutput | tuple:
        """The loss of one task.

        Args:
            pixel_values: (B, 3, size, size) first view of each product.
            input_ids, attention_mask, token_type_ids: (B, L) its text, padded to any width.
            task: "itc" image-text contrast, "mvc" multi-view contrast, "pac" pseudo-attribute classification, "mpfc"
                masked patch feature classification, "mlm" masked language modelling, "itm" image-text matching.
            second_pixel_values: mvc: (B, 3, size, size) second view.
            masked_input_ids, mlm_labels: mlm: (B, L) text with masks; right ids at selected places, elsewhere a number below 0.
            patch_mask: mpfc: (B, N) True for masked cells.
            image_codes: mpfc: (B, N) whole numbers, codes of the first view; None: the model's tokenizer makes them.
            attribute_targets: pac: (B, A) weight of each attribute, a row of zeros for none.
            dropped_text, dropped_image: mvc: (any,) positions to drop, one list for the batch; None: drawn, see
                [`draw_dropped`].
            replace_text: itm: (B,) True for pictures that get a wrong text; None: drawn, each with probability 1/2.
            product_ids: itm: (B,) rows of the same product are no negatives of each other; None: all rows differ.
            generator: source of what is drawn; None: PyTorch's own.
            return_dict: False for a tuple of the fields that are not None.

        Raises:
            ValueError: an unknown task, or an input that the task needs is missing or doesn't fit.
        """
        if task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
        text = (input_ids, attention_mask, token_type_ids)
        grid = self.model.grid(pixel_values)
        if task == "itc":
            output = self._contrast(self._image_embeds(grid), self._text_embeds(*text))
        elif task == "mvc":
            _require(task, second_pixel_values=second_pixel_values)
            queries = self._image_embeds(grid)
            second = self.model.grid(second_pixel_values)
            output = self._contrast(queries, self._view_embeds(second, text, dropped_text, dropped_image, generator))
        elif task == "pac":
            _require(task, attribute_targets=attribute_targets)
            output = self._attributes(grid, text, attribute_targets)
        elif task == "mpfc":
            _require(task, patch_mask=patch_mask)
            output = self._patches(grid, text, patch_mask, self._codes(pixel_values, image_codes, grid))
        elif task == "mlm":
            _require(task, masked_input_ids=masked_input_ids, mlm_labels=mlm_labels)
            output = self._words(grid, (masked_input_ids, attention_mask, token_type_ids), mlm_labels)
        else:
            output = self._matching(grid, text, replace_text, product_ids, generator)
        return output if return_dict is not False else output.to_tuple()

    def _image_embeds(self, grid: torch.Tensor) -> torch.Tensor:
        return self.contrastive_norm(self.model.encode_image(grid).mean(dim=1))

    def _text_embeds(self, input_ids, attention_mask, token_type_ids) -> torch.Tensor:
        return self.contrastive_norm(self.model.get_text_features(input_ids, attention_mask, token_type_ids))

    @staticmethod
    def _contrast(queries: torch.Tensor, targets: torch.Tensor) -> FashionViLPreTrainingOutput:
        return FashionViLPreTrainingOutput(
            loss=contrastive_loss(queries, targets),
            logits=dot_products(queries, targets),
            query_embeds=queries,
            target_embeds=targets,
        )

    def _view_embeds(self, grid, text, dropped_text, dropped_image, generator) -> torch.Tensor:
        """(B, H) scaled features of text and second view together, some positions of both left out."""
        length, places = text[0].shape[1], grid.shape[1]
        rate = self.config.mvc_drop_rate
        if dropped_text is None:
            dropped_text = draw_dropped(max(length, self.config.mvc_text_length), rate, generator)
        if dropped_image is None:
            dropped_image = draw_dropped(places, rate, generator)
        dropped_text, dropped_image = (torch.as_tensor(d, dtype=torch.long) for d in (dropped_text, dropped_image))
        if len(dropped_image) >= places:
            raise ValueError(f"dropped_image drops {len(dropped_image)} of {places} image positions; some must stay.")
        states = self.model.encode_fused(grid, *text, dropped_text, dropped_image)[:, length:]
        kept = torch.ones(places, dtype=states.dtype, device=states.device)
        kept[dropped_image.to(states.device)] = 0
        # A place that was drawn twice counts twice below the line, as in the original.
        composed = (states * kept[:, None]).sum(dim=1) / (places - len(dropped_image))
        return self.contrastive_norm(composed)

    def _attributes(self, grid, text, targets) -> FashionViLPreTrainingOutput:
        expected = (len(grid), self.config.num_attributes)
        if tuple(targets.shape) != expected:
            raise ValueError(
                f"attribute_targets must be {expected}, a weight per attribute; got {tuple(targets.shape)}."
            )
        head = self.heads["pac"]
        image_logits = head(self.model.encode_image(grid).mean(dim=1))
        text_logits = head(self.model.get_text_features(*text))
        image_loss, text_loss = (soft_cross_entropy(logits, targets) for logits in (image_logits, text_logits))
        return FashionViLPreTrainingOutput(
            loss=image_loss + text_loss,
            logits=image_logits,
            text_logits=text_logits,
            image_loss=image_loss,
            text_loss=text_loss,
        )

    def _codes(self, pixel_values, image_codes, grid) -> torch.Tensor:
        if image_codes is None:
            if not hasattr(self, "image_tokenizer"):
                raise ValueError(
                    "The task mpfc needs image_codes, or a model with an image tokenizer: set tokenizer_config, or encode "
                    "the pictures before."
                )
            image_codes = self.image_tokenizer.encode(pixel_values)
        if image_codes.shape != grid.shape[:2]:
            raise ValueError(
                f"There are codes for {tuple(image_codes.shape)} cells and the image encoder's grid has "
                f"{tuple(grid.shape[:2])}; use a tokenizer of the same grid."
            )
        return image_codes.long()

    def _patches(self, grid, text, patch_mask, codes) -> FashionViLPreTrainingOutput:
        if patch_mask.shape != grid.shape[:2]:
            raise ValueError(
                f"patch_mask is {tuple(patch_mask.shape)} and the image encoder's grid {tuple(grid.shape[:2])}."
            )
        masked = patch_mask.bool()
        # The original masks what the convolutions give, not the picture, so a masked cell's neighbours know of it.
        states = self.model.encode_fused(grid * ~masked[:, :, None], *text)[:, text[0].shape[1] :]
        return _classified(self.heads["mpfc"](states[masked]), codes[masked].to(states.device))

    def _words(self, grid, text, labels) -> FashionViLPreTrainingOutput:
        states = self.model.encode_fused(grid, *text)[:, : text[0].shape[1]]
        selected = labels >= 0
        words = self.model.get_input_embeddings().weight
        return _classified(self.heads["mlm"](states[selected], words), labels[selected])

    def _matching(self, grid, text, replace, product_ids, generator) -> FashionViLPreTrainingOutput:
        transformers = {self.model.bert, self.model.single}
        with torch.no_grad(), in_evaluation_mode(*transformers):
            similarity = dot_products(self._image_embeds(grid), self._text_embeds(*text))
        negatives, exist = hardest_texts(similarity, product_ids, self.config.official_itm_fill)
        if replace is None:
            device = None if generator is None else generator.device
            replace = torch.rand(len(grid), generator=generator, device=device) > 0.5
        replace = replace.to(exist.device, torch.bool) & exist
        rows = torch.where(replace, negatives, torch.arange(len(grid), device=exist.device))
        text = [None if part is None else part[rows.to(part.device)] for part in text]
        pooled = self.model.bert.pooler(self.model.encode_fused(grid, *text))
        output = _classified(self.heads["itm"](pooled), (~replace).long())
        output["similarity"], output["negatives"] = similarity, negatives
        return output


def draw_dropped(positions: int, rate: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """(floor(rate * positions),) positions drawn with replacement, so that fewer may be different."""
    device = None if generator is None else generator.device
    return torch.randint(positions, (int(rate * positions),), generator=generator, device=device)


def hardest_texts(
    similarity: torch.Tensor, product_ids: torch.Tensor | None = None, official_fill: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The wrong text that each picture likes best.

    Args:
        similarity: (B, B) of pictures (rows) and texts, row i belongs to column i.
        product_ids: (B,) texts of a row's own product are not wrong; None: only its own text isn't.
        official_fill: True gives the own text the score -1, as the original does, and looks at nothing else. Scores
            reach down to -s * s, so the own text wins where all others are below -1.

    Returns:
        (B,) columns, and (B,) bool, whether there is a wrong text at all; where not, the column means nothing.
    """
    own = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    if official_fill:
        return similarity.masked_fill(own, -1).argmax(dim=1), torch.ones_like(own[0])
    # Deviation: the original takes texts of the same product for wrong.
    if product_ids is not None:
        product_ids = product_ids.to(similarity.device)
        own = own | (product_ids[:, None] == product_ids[None, :])
    return similarity.masked_fill(own, float("-inf")).argmax(dim=1), ~own.all(dim=1)


@contextmanager
def in_evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """No dropout inside; every part gets back the mode that it had."""
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _classified(logits: torch.Tensor, labels: torch.Tensor) -> FashionViLPreTrainingOutput:
    """Mean cross entropy of (any, classes) logits.

    Deviation: without any row the loss is 0 and has a gradient; the original's is NaN there, which ends its training.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="sum") / max(len(labels), 1)
    return FashionViLPreTrainingOutput(loss=loss, logits=logits, labels=labels)


def _require(task: str, **inputs: torch.Tensor | None) -> None:
    missing = [name for name, value in inputs.items() if value is None]
    if missing:
        raise ValueError(f"The task {task} needs {' and '.join(missing)}.")


FashionViLForPreTraining.register_for_auto_class("AutoModel")

__all__ = ["TASKS", "FashionViLForPreTraining", "FashionViLPreTrainingOutput", "draw_dropped", "hardest_texts"]
