"""CLIP4Cir: retrieval with a reference image and a sentence that says what should be different.

Baldrati, Bertini, Uricchio and Del Bimbo, "Composed Image Retrieval using Contrastive Learning and Task-oriented
CLIP-based Features", ACM TOMM 2023 (arXiv 2308.11485).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_clip4cir import CLIP4CirConfig
from .modified_resnet import TORCH_DEFAULT, UNIT_FAN_IN, ZERO_WEIGHT, MeanQueryPool, ModifiedResNet


@dataclass
class CLIP4CirOutput(ModelOutput):
    """What [`CLIP4CirModel.forward`] returns; a field is None when its inputs were not given.

    Args:
        loss: () cross entropy over the rows of `logits_per_query`, whose right answers stand on the diagonal.
        logits_per_query: (queries, targets) cosines times the constant scale.
        query_embeds: (batch, D) composed queries of length one.
        target_embeds: (batch, D) target image features of length one.
        image_features: (batch, D) raw features of the reference images.
        text_features: (batch, D) raw features of the captions.
        target_features: (batch, D) raw features of the target images.
    """

    loss: torch.FloatTensor | None = None
    logits_per_query: torch.FloatTensor | None = None
    query_embeds: torch.FloatTensor | None = None
    target_embeds: torch.FloatTensor | None = None
    image_features: torch.FloatTensor | None = None
    text_features: torch.FloatTensor | None = None
    target_features: torch.FloatTensor | None = None


def normalise(features: torch.Tensor) -> torch.Tensor:
    """Rows of length one, (..., D) -> (..., D); computed in float32, since squares overflow half precision."""
    return F.normalize(features.float(), dim=-1).to(features.dtype)


class Combiner(nn.Module):
    """The network of the second stage: a learned mixture of text and image plus a residual.

    Let a, b be the projected text and image and c their concatenation (text first). Then
    `query = normalise(v(c) + s(c) * text + (1 - s(c)) * image)` with a vector v and a scalar s in (0, 1): s weighs the
    text. Attribute names are the original's, so its checkpoints fit without renaming.
    """

    def __init__(self, feature_dim: int, projection_dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.text_projection_layer = nn.Linear(feature_dim, projection_dim)
        self.image_projection_layer = nn.Linear(feature_dim, projection_dim)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)
        self.combiner_layer = nn.Linear(2 * projection_dim, hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, feature_dim)
        self.dropout3 = nn.Dropout(dropout)
        self.dynamic_scalar = nn.Sequential(
            nn.Linear(2 * projection_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, 1),
            nn.Sigmoid(),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                # The original sets nothing of its own here.
                layer.initial_values = TORCH_DEFAULT

    def forward(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Raw (batch, D) features of images and texts -> (batch, D) queries of length one."""
        text = self.dropout1(F.relu(self.text_projection_layer(text_features)))
        image = self.dropout2(F.relu(self.image_projection_layer(image_features)))
        both = torch.cat([text, image], dim=-1)
        residual = self.output_layer(self.dropout3(F.relu(self.combiner_layer(both))))
        text_share = self.dynamic_scalar(both)  # (batch, 1)
        return normalise(residual + text_share * text_features + (1 - text_share) * image_features)


class CLIP4CirModel(PreTrainedModel):
    """Image tower, text tower and composition.

    `combiner_type="sum"` is the model of stage 1, `"combiner"` that of stage 2. Both towers can be fine-tuned; the
    original's "image encoder" is `vision_model` with `visual_projection`, its "text encoder" is every other parameter
    outside `combiner`.
    """

    config_class = CLIP4CirConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["ResNetBottleneck", "MeanQueryPool", "Combiner"]

    def __init__(self, config: CLIP4CirConfig) -> None:
        super().__init__(config)
        if config.has_resnet:
            # The attention pool of this tower is also its projection.
            self.vision_model = ModifiedResNet(config.vision_config)
            self.visual_projection = None
        else:
            if not getattr(MODEL_MAPPING.get(type(config.vision_config), None), "_supports_sdpa", True):
                # A network without attention refuses the implementation that is asked of the whole model.
                config.vision_config._attn_implementation = "eager"
            self.vision_model = AutoModel.from_config(config.vision_config)
            if config.vision_feature_dim is None:
                config.vision_feature_dim = _feature_dim(config)
            self.visual_projection = nn.Linear(config.vision_feature_dim, config.projection_dim, bias=False)
        self.text_model = AutoModel.from_config(config.text_config)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        for projection in (self.visual_projection, self.text_projection):
            if projection is not None:
                projection.initial_values = UNIT_FAN_IN
        # Part of every CLIP checkpoint, never used by CLIP4Cir: no gradient, so that distributed training doesn't wait
        # for one and weight decay doesn't change it.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)), requires_grad=False)
        self.combiner = None
        if config.combiner_type == "combiner":
            self.combiner = Combiner(
                config.projection_dim,
                config.combiner_projection_dim,
                config.combiner_hidden_dim,
                config.combiner_dropout,
            )
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As `PreTrainedModel.from_pretrained`, with the unused logit scale kept out of training."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.logit_scale.requires_grad_(False)
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        start = getattr(module, "initial_values", None)
        if start == TORCH_DEFAULT:
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.in_features**-0.5
                init.uniform_(module.bias, -bound, bound)
        elif start == ZERO_WEIGHT:
            init.zeros_(module.weight)
        elif start == UNIT_FAN_IN:
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, MeanQueryPool):
            init.normal_(module.positional_embedding, std=module.positional_embedding.shape[1] ** -0.5)
        elif isinstance(module, CLIP4CirModel):
            init.constant_(module.logit_scale, math.log(1 / 0.07))

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def train(self, mode: bool = True) -> "CLIP4CirModel":
        """Training mode; batch norm stays on its stored statistics unless the configuration says `train_batch_norm`.

        CLIP has no dropout, so without `train_batch_norm` the towers compute the same in both modes. The original
        keeps CLIP in evaluation mode for that reason; training mode is what switches activation checkpointing on.
        """
        super().train(mode)
        if mode and not self.config.train_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features of images, as the Combiner wants them.

        Args:
            pixel_values: (batch, 3, size, size) as the image processor makes them.

        Returns:
            (batch, D) raw features: normalise them before comparing.
        """
        pixel_values = pixel_values.to(self.dtype)
        if self.visual_projection is None:
            return self.vision_model(pixel_values)
        return self.visual_projection(_pooled(self.vision_model(pixel_values=pixel_values)))

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Features of texts: the state at the first position of the largest token id, projected.

        Args:
            input_ids: (batch, tokens), padded on the right. The end-of-text id must be the largest of the vocabulary.
            attention_mask: (batch, tokens), 1 for text. It only tells where to look for the end: attention is causal,
                so padding on the right can't reach the text before it.

        Returns:
            (batch, D) raw features: normalise them before comparing.
        """
        hidden_states = self.text_model(input_ids=input_ids).last_hidden_state  # (batch, tokens, width)
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, -1)
        end = input_ids.argmax(dim=-1)
        pooled = hidden_states[torch.arange(len(end), device=hidden_states.device), end.to(hidden_states.device)]
        return self.text_projection(pooled)

    def compose(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Query of a reference image and a caption: raw (batch, D) and (batch, D) -> (batch, D) of length one."""
        if self.combiner is None:
            return normalise(image_features + text_features)
        return self.combiner(image_features, text_features)

    def get_query_features(
        self, pixel_values: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Composed queries from images and captions, (batch, D) of length one; arguments as above."""
        return self.compose(self.get_image_features(pixel_values), self.get_text_features(input_ids, attention_mask))

    def compute_logits(self, query_embeds: torch.Tensor, target_embeds: torch.Tensor) -> torch.Tensor:
        """(queries, D) and (targets, D), both of length one -> (queries, targets) scaled cosines."""
        if self.config.official_half_precision_logits:
            return self.config.logit_scale_value * query_embeds @ target_embeds.T
        # Deviation: in float32 under autocast too; half precision can't tell logits near 100 apart.
        with torch.autocast(query_embeds.device.type, enabled=False):
            return self.config.logit_scale_value * query_embeds.float() @ target_embeds.float().T

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        target_pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        target_features: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> CLIP4CirOutput:
        """Everything that the given inputs allow: features, queries, and the loss when targets are there.

        Args:
            pixel_values: (batch, 3, size, size) reference images.
            input_ids, attention_mask: (batch, tokens) captions.
            target_pixel_values: (batch, 3, size, size); row i is the right answer to query i.
            image_features, text_features, target_features: (batch, D) raw features, in place of pixels or ids.
            return_dict: False for a tuple of the fields that are not None.

        Returns:
            [`CLIP4CirOutput`].

        Raises:
            ValueError: nothing is given, or both the raw features and the inputs they come from.
        """
        pairs = {
            "pixel_values and image_features": (pixel_values, image_features),
            "input_ids and text_features": (input_ids, text_features),
            "target_pixel_values and target_features": (target_pixel_values, target_features),
        }
        if all(value is None for pair in pairs.values() for value in pair):
            raise ValueError("Give at least one of pixel_values, input_ids, target_pixel_values or raw features.")
        for names, (inputs, features) in pairs.items():
            if inputs is not None and features is not None:
                raise ValueError(f"{names} are two ways to say the same thing; give one of them.")

        if pixel_values is not None:
            image_features = self.get_image_features(pixel_values)
        if input_ids is not None:
            text_features = self.get_text_features(input_ids, attention_mask)
        if target_pixel_values is not None:
            target_features = self.get_image_features(target_pixel_values)

        output = CLIP4CirOutput(
            image_features=image_features, text_features=text_features, target_features=target_features
        )
        if image_features is not None and text_features is not None:
            output.query_embeds = self.compose(image_features, text_features)
        if target_features is not None:
            output.target_embeds = normalise(target_features)
        if output.query_embeds is not None and output.target_embeds is not None:
            if len(output.query_embeds) != len(output.target_embeds):
                raise ValueError(
                    f"{len(output.query_embeds)} queries and {len(output.target_embeds)} targets: the loss needs one "
                    "target for each query, in the same order."
                )
            output.logits_per_query = self.compute_logits(output.query_embeds, output.target_embeds)
            labels = torch.arange(len(output.query_embeds), device=output.logits_per_query.device)
            # From query to target only: the original has no symmetric term.
            output.loss = F.cross_entropy(output.logits_per_query.float(), labels)
        return output if return_dict is not False else output.to_tuple()


def _pooled(outputs: ModelOutput) -> torch.Tensor:
    """(batch, width) from the output of any transformers vision model."""
    pooled = getattr(outputs, "pooler_output", None)
    if pooled is not None:
        return pooled.flatten(1)
    states = outputs.last_hidden_state
    return states.mean(dim=(2, 3)) if states.ndim == 4 else states.mean(dim=1)


def _feature_dim(config: CLIP4CirConfig) -> int:
    """Width of the pooled features, read off a picture without content: configurations name it in a dozen ways."""
    if config.vision_config.model_type == "clip_vision_model":
        return config.vision_config.hidden_size
    with torch.device("meta"), torch.no_grad():
        backbone = AutoModel.from_config(config.vision_config).eval()
        picture = torch.empty(1, getattr(config.vision_config, "num_channels", 3), config.image_size, config.image_size)
        return _pooled(backbone(pixel_values=picture)).shape[-1]


CLIP4CirModel.register_for_auto_class("AutoModel")

__all__ = ["CLIP4CirModel", "CLIP4CirOutput", "Combiner"]
