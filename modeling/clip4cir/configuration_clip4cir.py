"""Configuration of CLIP4Cir: two CLIP towers and the network that composes their features."""

from transformers import AutoConfig, CLIPTextConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

COMBINER_TYPES = ("sum", "combiner")


class CLIP4CirResNetConfig(PreTrainedConfig):
    """CLIP's own ResNet image tower ("ModifiedResNet"), which transformers does not have.

    Args:
        layers: blocks in each of the four stages, `(4, 6, 10, 6)` for RN50x4.
        width: channels after the stem; the last stage has `32 * width` channels. 80 for RN50x4.
        image_size: height and width of the input in pixels, a multiple of 32. 288 for RN50x4.
        output_dim: size of the image feature. None takes the `projection_dim` of the model's configuration.

    Raises:
        ValueError: four positive block counts, an even width or a multiple of 32 pixels are not given.
    """

    model_type = "clip4cir_resnet"
    base_config_key = "vision_config"

    layers: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    image_size: int = 224
    output_dim: int | None = None
    num_channels: int = 3
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        self.layers = tuple(self.layers)
        super().__post_init__(**kwargs)
        _check_sizes(self, "width", "image_size", "output_dim", "num_channels")
        if len(self.layers) != 4 or min(self.layers) < 1:
            raise ValueError(
                f"layers must hold four positive block counts, for example (3, 4, 6, 3); got {self.layers}."
            )
        if self.width < 2 or self.width % 2:
            raise ValueError(
                f"width must be an even positive number (the attention heads are width / 2); got {self.width}."
            )
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, the stride of the network; got {self.image_size}.")

    @property
    def feature_channels(self) -> int:
        """Channels of the last feature map."""
        return 32 * self.width


class CLIP4CirConfig(PreTrainedConfig):
    """Configuration of [`CLIP4CirModel`].

    Args:
        vision_config: the image tower: a `CLIPVisionConfig`, a [`CLIP4CirResNetConfig`] or the configuration of any
            vision model of transformers (MobileNetV2, ResNet, ViT, ...); a dict is read by its `model_type`.
        text_config: a `CLIPTextConfig`.
        projection_dim: D, the size of image, text and query features.
        combiner_type: "sum" (stage 1: the query is the sum of the two features) or "combiner" (stage 2).
        combiner_projection_dim: P, None for 4 D as the paper's RN50x4 model.
        combiner_hidden_dim: H, None for 8 D.
        combiner_dropout: probability of all four dropouts of the Combiner.
        logit_scale_value: constant that multiplies the cosines in the loss. CLIP's learned scale is never used.
        vision_feature_dim: width of the pooled features of a transformers vision model that isn't CLIP's. None: the
            model finds it out when it is built.
        train_batch_norm: False keeps batch norm on its stored statistics in `model.train()` too, as the original does
            when it fine-tunes; True is for training from scratch.
        official_half_precision_logits: True lets the logits be computed in the autocast type, as the original's do on a
            GPU, where values near 100 have a resolution of 1/16. Deviation: by default they are computed in float32.

    Raises:
        ValueError: a size that is not a positive whole number, a dropout outside [0, 1), an unknown `combiner_type`.
    """

    model_type = "clip4cir"
    # The name under which other libraries look for the size of an embedding.
    attribute_map = {"hidden_size": "projection_dim"}
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model"),
        "text_config": SubConfigSpec(config_class=CLIPTextConfig),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    combiner_type: str = "sum"
    combiner_projection_dim: int | None = None
    combiner_hidden_dim: int | None = None
    combiner_dropout: float | int = 0.5
    logit_scale_value: float | int = 100.0
    vision_feature_dim: int | None = None
    train_batch_norm: bool = False
    official_half_precision_logits: bool = False
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        if isinstance(self.vision_config, dict):
            # AutoConfig knows the types of transformers only, so the own type is resolved here.
            if self.vision_config.get("model_type") == CLIP4CirResNetConfig.model_type:
                self.vision_config = CLIP4CirResNetConfig(**self.vision_config)
        _check_sizes(self, "projection_dim", "combiner_projection_dim", "combiner_hidden_dim", "vision_feature_dim")
        if self.combiner_projection_dim is None:
            self.combiner_projection_dim = 4 * self.projection_dim
        if self.combiner_hidden_dim is None:
            self.combiner_hidden_dim = 8 * self.projection_dim
        super().__post_init__(**kwargs)
        if self.has_resnet and self.vision_config.output_dim is None:
            self.vision_config.output_dim = self.projection_dim
        if self.has_resnet and self.vision_config.output_dim != self.projection_dim:
            raise ValueError(
                f"The image tower's output_dim is {self.vision_config.output_dim} and projection_dim is "
                f"{self.projection_dim}: the attention pool is the projection, so they must be equal."
            )
        if self.combiner_type not in COMBINER_TYPES:
            raise ValueError(f"combiner_type must be one of {COMBINER_TYPES}; got {self.combiner_type!r}.")
        if not 0 <= self.combiner_dropout < 1:
            raise ValueError(f"combiner_dropout must lie in [0, 1); got {self.combiner_dropout}.")
        if not self.logit_scale_value > 0:
            raise ValueError(f"logit_scale_value must be positive; got {self.logit_scale_value}.")

    @property
    def has_resnet(self) -> bool:
        """Whether the image tower is CLIP's ResNet."""
        # Compared by name: remote code may load two copies of the class (see transformers' dynamic modules).
        return getattr(self.vision_config, "model_type", None) == CLIP4CirResNetConfig.model_type

    @property
    def image_size(self) -> int:
        """Height and width in pixels that the image tower expects; 224 where its configuration doesn't say."""
        size = getattr(self.vision_config, "image_size", None) or 224
        return size if isinstance(size, int) else int(size[0])


def _check_sizes(config: PreTrainedConfig, *names: str) -> None:
    for name in names:
        size = getattr(config, name)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"{name} must be a positive whole number; got {size!r}.")


CLIP4CirConfig.register_for_auto_class()

__all__ = ["CLIP4CirConfig", "CLIP4CirResNetConfig"]
