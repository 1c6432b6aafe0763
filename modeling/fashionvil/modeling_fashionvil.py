"""FashionViL: a convolutional image encoder and one BERT that reads text alone, and text with image.

Han et al., "FashionViL: Fashion-Focused Vision-and-Language Representation Learning", ECCV 2022, section 3.1. The heads lie
in files beside this one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import ModelOutput

from .configuration_fashionvil import FashionViLConfig
from .layers_fashionvil import HeadLinear, ScaledNorm, Transformer


@dataclass
class FashionViLOutput(ModelOutput):
    """What [`FashionViLModel.forward`] returns; a field is None when its inputs were not given.

    Args:
        image_features: (images, H) raw image features.
        text_features: (texts, H) raw text features.
        query_features: (texts, H) raw features of image and text together, from the image positions.
        fused_features: (texts, H) pooled first position of image and text together.
        image_tokens: (images, N, H) representation of the grid alone.
        text_tokens: (texts, L, H) states of the text alone.
        fused_tokens: (texts, L + N, H) states of the text, then of the grid.
    """

    image_features: torch.FloatTensor | None = None
    text_features: torch.FloatTensor | None = None
    query_features: torch.FloatTensor | None = None
    fused_features: torch.FloatTensor | None = None
    image_tokens: torch.FloatTensor | None = None
    text_tokens: torch.FloatTensor | None = None
    fused_tokens: torch.FloatTensor | None = None


class FashionViLPreTrainedModel(PreTrainedModel):
    """What the model and its heads share."""

    config_class = FashionViLConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    # Those of the image encoder are added by transformers.
    _no_split_modules = ["BertLayer"]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, config: Any = None, **kwargs: Any
    ) -> "FashionViLPreTrainedModel":
        """As in transformers; what an auto class asks for is the class that the folder names.

        `AutoModel` remembers the class that it found in a folder, and takes it for every later folder of the same name
        and code (`a/model`, `b/model`), whichever head is in there.
        """
        named = (getattr(config, "auto_map", None) or {}).get("AutoModel", "").rpartition(".")[2]
        from_auto = "adapter_kwargs" in kwargs  # nobody else passes them
        if from_auto and cls.__module__.startswith("transformers_modules.") and named not in ("", cls.__name__):
            kept = ("cache_dir", "revision", "code_revision", "token", "local_files_only", "force_download")
            options = {option: kwargs[option] for option in kept if option in kwargs}
            own = get_class_from_dynamic_module(config.auto_map["AutoModel"], pretrained_model_name_or_path, **options)
            return own.from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)
        return super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ScaledNorm):
            init.constant_(module.norm_s, module.initial)
        elif isinstance(module, HeadLinear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        else:
            super()._init_weights(module)

    def train(self, mode: bool = True) -> "FashionViLPreTrainedModel":
        """Training mode; batch norm keeps its stored statistics where the configuration turns `train_batch_norm` off."""
        super().train(mode)
        if mode and not self.config.train_batch_norm:
            freeze_batch_norm(self)
        return self


class FashionViLModel(FashionViLPreTrainedModel):
    """Image encoder and transformer; its parts bear the original's names.

    The features that it returns are raw. The heads compare them after a [`ScaledNorm`].
    """

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        if not getattr(MODEL_MAPPING.get(type(config.vision_config), None), "_supports_sdpa", True):
            # A network without attention refuses the implementation that is asked of the whole model.
            config.vision_config._attn_implementation = "eager"
        self.image_encoder = AutoModel.from_config(config.vision_config)
        if config.vision_feature_dim is None:
            config.vision_feature_dim = grid_channels(config)
        self.bert = Transformer(config.text_config, config.vision_feature_dim)
        if not config.share_encoders:
            # `bert` reads text with image, this one text or image alone.
            self.bert_2 = Transformer(config.text_config, config.vision_feature_dim)
        self.post_init()

    @property
    def single(self) -> Transformer:
        """The transformer of single modalities."""
        return self.bert if self.config.share_encoders else self.bert_2

    def get_input_embeddings(self) -> nn.Module:
        return self.bert.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.bert.embeddings.word_embeddings = value

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features of images: the mean over their tokens.

        Args:
            pixel_values: (batch, 3, size, size) as the image processor makes them.

        Returns:
            (batch, H) raw features: normalise them before comparing.
        """
        return self.encode_image(self.grid(pixel_values)).mean(dim=1)

    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features of texts: the mean over their states, start and end included, padding excluded.

        Args:
            input_ids: (batch, L).
            attention_mask: (batch, L), 1 for text; None: everything is text.
            token_type_ids: (batch, L); None: all 0.

        Returns:
            (batch, H) raw features: normalise them before comparing.
        """
        return masked_mean(self.encode_text(input_ids, attention_mask, token_type_ids), attention_mask)

    def get_query_features(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Features of "this picture, changed as the text says": the mean over the image positions of both together.

        Args:
            pixel_values: (batch, 3, size, size) reference pictures.
            input_ids, attention_mask, token_type_ids: (batch, L) as in `get_text_features`.

        Returns:
            (batch, H) raw features: normalise them before comparing.
        """
        fused = self.encode_fused(self.grid(pixel_values), input_ids, attention_mask, token_type_ids)
        return fused[:, input_ids.shape[1] :].mean(dim=1)

    def get_fused_features(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One vector for a picture and its text, for classifiers: BERT's pooled first position.

        Args:
            pixel_values, input_ids, attention_mask, token_type_ids: as in `get_query_features`.

        Returns:
            (batch, H), every number in (-1, 1).
        """
        return self.bert.pooler(self.encode_fused(self.grid(pixel_values), input_ids, attention_mask, token_type_ids))

    def grid(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, 3, size, size) -> (batch, N, channels) grid of the image encoder, row by row from the top left."""
        return grid_tokens(self.image_encoder(pixel_values=pixel_values.to(self.dtype)))

    def encode_image(self, grid: torch.Tensor) -> torch.Tensor:
        """(batch, N, channels) -> (batch, N, H) representation of pictures alone."""
        if self.config.bypass_transformer:
            return self.single.embeddings.projection(grid)
        return self.single(grid=grid)

    def encode_text(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, L) -> (batch, L, H) states of texts alone."""
        return self.single(input_ids, attention_mask, token_type_ids=token_type_ids)

    def encode_fused(
        self,
        grid: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        dropped_text: torch.Tensor | None = None,
        dropped_image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Text and grid together.

        Args:
            grid: (batch, N, channels).
            input_ids, attention_mask, token_type_ids: (batch, L).
            dropped_text, dropped_image: (any,) positions that no position attends to, the same for the whole batch; a
                text position beyond L is ignored.

        Returns:
            (batch, L + N, H) states, text first.

        Raises:
            ValueError: another number of pictures than of texts.
        """
        if len(grid) != len(input_ids):
            raise ValueError(
                f"A query is one picture and one text; got {len(grid)} pictures and {len(input_ids)} texts."
            )
        text_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        image_mask = torch.ones(grid.shape[:2], dtype=torch.long, device=grid.device)
        if dropped_text is not None:
            text_mask = text_mask * _kept(dropped_text, text_mask)
        if dropped_image is not None:
            image_mask = image_mask * _kept(dropped_image, image_mask)
        mask = torch.cat([text_mask, image_mask.to(text_mask.device)], dim=1)
        return self.bert(input_ids, mask, grid, token_type_ids)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> FashionViLOutput | tuple:
        """Everything that the given inputs allow.

        Args:
            pixel_values: (images, 3, size, size).
            input_ids, attention_mask, token_type_ids: (texts, L). With as many images as texts, image and text i are
                also read together.
            return_dict: False for a tuple of the fields that are not None.

        Raises:
            ValueError: nothing is given.
        """
        if pixel_values is None and input_ids is None:
            raise ValueError("Give pixel_values, input_ids or both.")
        fields = {}
        if pixel_values is not None:
            grid = self.grid(pixel_values)
            tokens = self.encode_image(grid)
            fields |= {"image_features": tokens.mean(dim=1), "image_tokens": tokens}
        if input_ids is not None:
            states = self.encode_text(input_ids, attention_mask, token_type_ids)
            fields |= {"text_features": masked_mean(states, attention_mask), "text_tokens": states}
        if pixel_values is not None and input_ids is not None and len(pixel_values) == len(input_ids):
            fused = self.encode_fused(grid, input_ids, attention_mask, token_type_ids)
            fields |= {"fused_tokens": fused, "query_features": fused[:, input_ids.shape[1] :].mean(dim=1)}
            fields["fused_features"] = self.bert.pooler(fused)
        output = FashionViLOutput(**fields)
        return output if return_dict is not False else output.to_tuple()


class FashionViLHead(FashionViLPreTrainedModel):
    """A [`FashionViLModel`] and something on top: the model's feature methods are the head's."""

    def __init__(self, config: FashionViLConfig) -> None:
        super().__init__(config)
        self.model = FashionViLModel(config)

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, 3, size, size) -> (batch, H) raw features, see [`FashionViLModel.get_image_features`]."""
        return self.model.get_image_features(pixel_values)

    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, L) -> (batch, H) raw features, see [`FashionViLModel.get_text_features`]."""
        return self.model.get_text_features(input_ids, attention_mask, token_type_ids)

    def get_query_features(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, 3, size, size), (batch, L) -> (batch, H) raw, see [`FashionViLModel.get_query_features`]."""
        return self.model.get_query_features(pixel_values, input_ids, attention_mask, token_type_ids)

    def get_fused_features(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, 3, size, size), (batch, L) -> (batch, H) pooled, see [`FashionViLModel.get_fused_features`]."""
        return self.model.get_fused_features(pixel_values, input_ids, attention_mask, token_type_ids)


def masked_mean(states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(batch, L, H) and (batch, L) with 1 for what counts -> (batch, H) means; a row of nothing gives zeros."""
    if mask is None:
        return states.mean(dim=1)
    weights = mask.to(states.dtype)[:, :, None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def freeze_batch_norm(model: nn.Module) -> None:
    """Batch norm uses and keeps its stored statistics until the next call of `train`."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _kept(dropped: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(positions,) 1 for the positions of a (batch, positions) mask that are not dropped; places beyond are no places."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (~torch.isin(positions, dropped.to(mask.device))).long()


def grid_tokens(outputs: ModelOutput) -> torch.Tensor:
    """(batch, N, channels) from the output of any vision model of transformers; class tokens in front are left out."""
    states = outputs.last_hidden_state
    if states.ndim == 4:
        return states.flatten(2).transpose(1, 2)
    side = int(states.shape[1] ** 0.5)
    return states[:, states.shape[1] - side * side :]


def grid_channels(config: FashionViLConfig) -> int:
    """Channels of the grid, read off a picture without content: configurations name them in a dozen ways."""
    with torch.device("meta"), torch.no_grad():
        backbone = AutoModel.from_config(config.vision_config).eval()
        picture = torch.empty(1, getattr(config.vision_config, "num_channels", 3), config.image_size, config.image_size)
        return grid_tokens(backbone(pixel_values=picture)).shape[-1]


FashionViLModel.register_for_auto_class("AutoModel")

__all__ = ["FashionViLModel", "FashionViLOutput"]
