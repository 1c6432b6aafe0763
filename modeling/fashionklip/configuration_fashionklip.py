"""Configuration of FashionKLIP: an image tower and a text tower whose features meet in one space."""

import math

from transformers import AutoConfig, CLIPTextConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


class FashionKLIPConfig(PreTrainedConfig):
    """Configuration of [`FashionKLIPModel`].

    Args:
        vision_config: the image tower: a `CLIPVisionConfig` or the configuration of any vision model of transformers
            (MobileNetV2, ResNet, ViT, ...); a dict is read by its `model_type`.
        text_config: a `CLIPTextConfig`.
        projection_dim: D, the size of image, caption and concept features.
        logit_scale_init_value: logarithm of the factor on the cosines of a fresh model, ln(1 / 0.07).
        vision_feature_dim: width of the pooled features of the image tower. None: the model finds it out when it is
            built.
        train_batch_norm: True lets batch norm follow the batches in `model.train()`, for an image tower that is trained
            from scratch; False keeps its stored statistics, and then a batch can be split over processes without a
            change. CLIP's own tower has no batch norm.

    Raises:
        ValueError: a size that is not a positive whole number, or a logit scale that is not a finite number.
    """

    model_type = "fashionklip"
    # The name under which other libraries look for the size of an embedding.
    attribute_map = {"hidden_size": "projection_dim"}
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model"),
        "text_config": SubConfigSpec(config_class=CLIPTextConfig),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    logit_scale_init_value: float | int = math.log(1 / 0.07)
    vision_feature_dim: int | None = None
    train_batch_norm: bool = False
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        for name in ("projection_dim", "vision_feature_dim"):
            size = getattr(self, name)
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ValueError(f"{name} must be a positive whole number; got {size!r}.")
        scale = self.logit_scale_init_value
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
            raise ValueError(
                f"logit_scale_init_value must be a finite number, the logarithm of a factor; got {scale!r}."
            )
        super().__post_init__(**kwargs)

    @property
    def has_clip_vision(self) -> bool:
        """Whether the image tower is CLIP's vision transformer, as in the original."""
        return self.vision_config.model_type == "clip_vision_model"

    @property
    def image_size(self) -> int:
        """Height and width in pixels that the image tower expects; 224 where its configuration doesn't say."""
        size = getattr(self.vision_config, "image_size", None) or 224
        return size if isinstance(size, int) else int(size[0])


FashionKLIPConfig.register_for_auto_class()

__all__ = ["FashionKLIPConfig"]
