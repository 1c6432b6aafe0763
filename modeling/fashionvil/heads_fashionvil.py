"""FashionViL's downstream heads: image-text retrieval, text-guided image retrieval, classification of products."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .configuration_fashionvil import FashionViLConfig
from .layers_fashionvil import HeadLinear, ScaledNorm, Transform
from .losses_fashionvil import contrastive_loss, dot_products, query_loss
from .modeling_fashionvil import FashionViLHead


@dataclass
class FashionViLRetrievalOutput(ModelOutput):
    """What the retrieval heads return; a field is None when its inputs were not given.

    Args:
        loss: () the head's loss over the given batch.
        logits: (queries, targets) products of the scaled features.
        query_embeds: (queries, H) features of length s: of images, or of image and text together.
        target_embeds: (targets, H) features of length s: of texts, or of target images.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    query_embeds: torch.FloatTensor | None = None
    target_embeds: torch.FloatTensor | None = None


@dataclass
class FashionViLClassifierOutput(ModelOutput):
    """What [`FashionViLForClassification.forward`] returns.

    Args:
        loss: () mean cross entropy, when labels are given.
        logits: (batch, num_labels).
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None


class FashionViLForRetrieval(FashionViLHead):
    """Image-text retrieval (the original's `contrastive`)."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        self.norm_layer = ScaledNorm(config.norm_scale_init_value)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> FashionViLRetrievalOutput | tuple:
        """Scaled features, and the loss in which image i finds text i and the reverse.

        Args:
            pixel_values: (images, 3, size, size).
            input_ids, attention_mask, token_type_ids: (texts, L). With another number of texts than images the loss is
                0, as in the original.
            return_dict: False for a tuple of the fields that are not None.

        Raises:
            ValueError: nothing is given.
        """
        if pixel_values is None and input_ids is None:
            raise ValueError("Give pixel_values, input_ids or both.")
        fields = {}
        if pixel_values is not None:
            fields["query_embeds"] = self.norm_layer(self.get_image_features(pixel_values))
        if input_ids is not None:
            fields["target_embeds"] = self.norm_layer(self.get_text_features(input_ids, attention_mask, token_type_ids))
        if len(fields) == 2:
            fields |= {"loss": contrastive_loss(**_sides(fields)), "logits": dot_products(*_sides(fields).values())}
        output = FashionViLRetrievalOutput(**fields)
        return output if return_dict is not False else output.to_tuple()


class FashionViLForComposition(FashionViLHead):
    """Text-guided image retrieval: a reference picture and a change in words find the target picture."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        self.norm_layer = ScaledNorm(config.norm_scale_init_value)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        target_pixel_values: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> FashionViLRetrievalOutput | tuple:
        """Scaled features, and the loss in which query i finds target i among the batch's targets.

        Args:
            pixel_values: (queries, 3, size, size) reference pictures.
            input_ids, attention_mask, token_type_ids: (queries, L) what to change.
            target_pixel_values: (targets, 3, size, size).
            return_dict: False for a tuple of the fields that are not None.

        Raises:
            ValueError: neither a query nor a target is given, or half a query.
        """
        if (pixel_values is None) != (input_ids is None):
            raise ValueError("A query is a picture and a text: give pixel_values and input_ids, or neither.")
        if pixel_values is None and target_pixel_values is None:
            raise ValueError("Give pixel_values and input_ids, or target_pixel_values, or all of them.")
        fields = {}
        if pixel_values is not None:
            query = self.get_query_features(pixel_values, input_ids, attention_mask, token_type_ids)
            fields["query_embeds"] = self.norm_layer(query)
        if target_pixel_values is not None:
            fields["target_embeds"] = self.norm_layer(self.get_image_features(target_pixel_values))
        if len(fields) == 2:
            fields["logits"] = dot_products(*_sides(fields).values())
            if len(fields["query_embeds"]) == len(fields["target_embeds"]):
                fields["loss"] = query_loss(fields["query_embeds"], fields["target_embeds"])
        output = FashionViLRetrievalOutput(**fields)
        return output if return_dict is not False else output.to_tuple()


class FashionViLForClassification(FashionViLHead):
    """Categories or sub-categories of products, from picture and text together."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.classifier = nn.Sequential(
            Transform(config.text_config), HeadLinear(config.hidden_size, config.num_labels)
        )
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> FashionViLClassifierOutput | tuple:
        """Logits of every class.

        Args:
            pixel_values: (batch, 3, size, size).
            input_ids, attention_mask, token_type_ids: (batch, L).
            labels: (batch,) right classes, whose names are `config.id2label`.
            return_dict: False for a tuple of the fields that are not None.
        """
        logits = self.classifier(self.get_fused_features(pixel_values, input_ids, attention_mask, token_type_ids))
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        output = FashionViLClassifierOutput(loss=loss, logits=logits)
        return output if return_dict is not False else output.to_tuple()


def _sides(fields: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"queries": fields["query_embeds"], "targets": fields["target_embeds"]}


FashionViLForRetrieval.register_for_auto_class("AutoModel")
FashionViLForComposition.register_for_auto_class("AutoModel")
FashionViLForClassification.register_for_auto_class("AutoModel")

__all__ = [
    "FashionViLClassifierOutput",
    "FashionViLForClassification",
    "FashionViLForComposition",
    "FashionViLForRetrieval",
    "FashionViLRetrievalOutput",
]
