"""Configuration of FashionViL: one image encoder, one BERT that reads text alone and text with image, and the heads."""

import math

from transformers import AutoConfig, BertConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

# Mean and deviation of red, green and blue in [0, 1] that every official configuration normalises pictures with.
FASHION_MEAN = (0.46777044, 0.44531429, 0.40661017)
FASHION_STD = (0.12221994, 0.12145835, 0.14380469)
# Classes with a head -> what they are for.
HEADS = {
    "FashionViLForPreTraining": "pretraining",
    "FashionViLForRetrieval": "retrieval",
    "FashionViLForComposition": "composition",
    "FashionViLForClassification": "classification",
    "FashionViLForOutfitRetrieval": "outfits",
}


class FashionViLImageTokenizerConfig(PreTrainedConfig):
    """Configuration of [`FashionViLImageTokenizer`], a VQ-VAE in VQGAN's layout.

    Args:
        image_size: height and width in pixels; halved once per level after the first.
        num_codes: entries of the codebook.
        code_dim: numbers per entry.
        hidden_dim: channels of the first level.
        channel_multipliers: channels of each level over `hidden_dim`.
        num_res_blocks: residual blocks per level (the decoder has one more).
        attention_resolutions: grid sizes at which every residual block is followed by attention.
        latent_dim: channels of the encoder's output.
        group_norm_groups: groups of every group normalisation.
        ema_decay: share of the old codebook that an update keeps.
        commitment_weight: factor on the distance between the encoder's output and its code.
        input_mean, input_std: normalisation of the pictures that the network was trained with; None: FashionViL's own.
            The network's input is normalised by FashionViL's constants and converted to these. Deviation: the original
            trains its tokenizer with 0.5 and 0.5 and then gives it FashionViL's range without a conversion, which None
            does for converted weights.
        has_decoder: whether pictures can be made from codes; training needs it, pre-training doesn't.
        chunk_size: pictures encoded at once, to bound the memory; any number of pictures can be encoded. None: 8 on a CPU,
            as the original, since more of them leave its caches, and 64 elsewhere.

    Raises:
        ValueError: a size that is not a positive whole number, or sizes that don't fit each other.
    """

    model_type = "fashionvil_image_tokenizer"

    image_size: int = 224
    num_codes: int = 1024
    code_dim: int = 256
    hidden_dim: int = 128
    channel_multipliers: tuple[int, ...] | list[int] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] | list[int] = (7,)
    latent_dim: int = 256
    group_norm_groups: int = 32
    ema_decay: float | int = 0.99
    commitment_weight: float | int = 0.25
    input_mean: tuple[float, ...] | list[float] | None = None
    input_std: tuple[float, ...] | list[float] | None = None
    has_decoder: bool = True
    chunk_size: int | None = None

    def __post_init__(self, **kwargs) -> None:
        sizes = "image_size num_codes code_dim hidden_dim num_res_blocks latent_dim group_norm_groups"
        _check_positive(self, *sizes.split(), *(["chunk_size"] if self.chunk_size is not None else []))
        self.channel_multipliers = [int(value) for value in self.channel_multipliers]
        self.attention_resolutions = [int(value) for value in self.attention_resolutions]
        if not self.channel_multipliers or min(self.channel_multipliers) < 1:
            raise ValueError(f"channel_multipliers must be positive whole numbers; got {self.channel_multipliers}.")
        if self.image_size % 2 ** (len(self.channel_multipliers) - 1):
            raise ValueError(
                f"image_size {self.image_size} can't be halved {len(self.channel_multipliers) - 1} times, once per level "
                "after the first."
            )
        if any((self.hidden_dim * factor) % self.group_norm_groups for factor in self.channel_multipliers):
            raise ValueError(
                f"hidden_dim {self.hidden_dim} times {self.channel_multipliers} must divide into "
                f"{self.group_norm_groups} groups."
            )
        if (self.input_mean is None) != (self.input_std is None):
            raise ValueError("Give input_mean and input_std together, or neither.")
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict:
        """As of every configuration, with one class per entry of `auto_map`."""
        output = super().to_dict()
        # transformers takes classes with "Tokenizer" in their name for tokenizers of text, writes a pair of classes for them,
        # slow and fast, and then can't read it.
        classes = (output.get("auto_map") or {}).items()
        if classes:
            output["auto_map"] = {auto: name if isinstance(name, str) else name[0] for auto, name in classes}
        return output

    @property
    def grid_size(self) -> int:
        """Rows and columns of codes."""
        return self.image_size // 2 ** (len(self.channel_multipliers) - 1)


class FashionViLConfig(PreTrainedConfig):
    """Configuration of [`FashionViLModel`] and of its heads; each reads the fields that it needs.

    Args:
        vision_config: the image encoder: a `ResNetConfig` (default: ResNet-50), or the configuration of any vision model
            of transformers whose output is a grid; a dict is read by its `model_type`.
        text_config: the `BertConfig` of the transformer.
        tokenizer_config: a `FashionViLImageTokenizerConfig`; the pre-training head builds its image tokenizer from it.
            None: no tokenizer, and the codes of pictures must be given.
        bypass_transformer: True takes the projected grid as the representation of a picture alone; False sends it
            through the transformer, as the original's early configurations do.
        share_encoders: False gives single modalities a transformer of their own (the ablation `no_sharing`).
        norm_scale_init_value: initial s; features are scaled to length s, so logits are s * s times a cosine.
        train_batch_norm: True lets batch norm follow the batches in `model.train()`, as the original does; False keeps
            its stored statistics, and then a batch can be split over processes without a change.
        vision_feature_dim: channels of the image encoder's grid. None: the model finds it out when it is built.
        num_attributes: classes of the pseudo-attribute head.
        attribute_scale: factor on the cosines of the pseudo-attribute head; None: the original's 1, with which the loss
            can't fall far below the logarithm of the number of classes.
        num_codes: classes of the masked patch head, at least the tokenizer's number of codes.
        mvc_text_length: text positions that token dropping draws from, whatever the width of the batch.
        mvc_drop_rate: share of text positions and of image positions that is drawn, rounded down.
        official_itm_fill: True rules the true text out with the score -1 when the hardest wrong one is sought, as the
            original does, which takes the true text if all others score less. Deviation: by default nothing can win
            over a wrong text but a better one, and texts of the same product are no negatives.
        outfit_embedding_dim: size of an item's embedding in the outfit head.
        outfit_categories, outfit_conditions: categories of items, and subspaces.
        outfit_subspace_dim: width of the layer that weighs the subspaces.
        official_outfit_target: True compares outfits with targets that have no subspaces, as the original does.
            Deviation: by default both sides go through them, as in the CSA-Net paper (arXiv 1912.08967).
        outfit_frozen_stages: stages of the image encoder, counted from 1, that the outfit head doesn't train; the
            original freezes the last of a ResNet-50, (4,).
        outfit_margin: margin of the outfit head's triplet loss.

    Raises:
        ValueError: a size that is not a positive whole number, or a value out of its range.
    """

    model_type = "fashionvil"
    sub_configs_defaults = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet"),
        "text_config": SubConfigSpec(config_class=BertConfig),
        "tokenizer_config": SubConfigSpec(config_class=FashionViLImageTokenizerConfig, optional=True),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    tokenizer_config: dict | PreTrainedConfig | None = None
    bypass_transformer: bool = True
    share_encoders: bool = True
    norm_scale_init_value: float | int = 4.0
    train_batch_norm: bool = True
    vision_feature_dim: int | None = None
    num_attributes: int = 2232
    attribute_scale: float | int | None = None
    num_codes: int = 1024
    mvc_text_length: int = 75
    mvc_drop_rate: float | int = 0.25
    official_itm_fill: bool = False
    outfit_embedding_dim: int = 256
    outfit_categories: int = 153
    outfit_conditions: int = 5
    outfit_subspace_dim: int = 64
    official_outfit_target: bool = False
    outfit_frozen_stages: tuple[int, ...] | list[int] = ()
    outfit_margin: float | int = 0.3
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        sizes = "vision_feature_dim num_attributes num_codes mvc_text_length outfit_embedding_dim outfit_categories"
        _check_positive(self, *sizes.split(), "outfit_conditions", "outfit_subspace_dim")
        scale = self.norm_scale_init_value
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale) or scale <= 0:
            raise ValueError(f"norm_scale_init_value must be a number above 0, a length; got {scale!r}.")
        if not 0 <= self.mvc_drop_rate < 1:
            raise ValueError(f"mvc_drop_rate is a share of positions, in [0, 1); got {self.mvc_drop_rate!r}.")
        self.outfit_frozen_stages = [int(stage) for stage in self.outfit_frozen_stages]
        super().__post_init__(**kwargs)
        # Where one configuration serves several heads, AutoModel.from_config looks through this list.
        self.architectures = self.architectures or []
        if self.tokenizer_config is not None and self.tokenizer_config.num_codes > self.num_codes:
            raise ValueError(
                f"The tokenizer has {self.tokenizer_config.num_codes} codes and the head that predicts them has "
                f"{self.num_codes} classes; num_codes must be as many or more."
            )

    @property
    def hidden_size(self) -> int:
        """H, the size of image, text and query features."""
        return self.text_config.hidden_size

    @property
    def variant(self) -> str:
        """What the saved model is for: a value of `HEADS`, "" for image encoder and transformer alone."""
        return next((HEADS[name] for name in self.architectures if name in HEADS), "")

    @property
    def image_size(self) -> int:
        """Height and width in pixels that the image encoder expects; 224 where its configuration doesn't say."""
        size = getattr(self.vision_config, "image_size", None) or 224
        return size if isinstance(size, int) else int(size[0])


def _check_positive(config: PreTrainedConfig, *names: str) -> None:
    for name in names:
        size = getattr(config, name)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"{name} must be a positive whole number; got {size!r}.")


FashionViLConfig.register_for_auto_class()
FashionViLImageTokenizerConfig.register_for_auto_class()

__all__ = ["FASHION_MEAN", "FASHION_STD", "FashionViLConfig", "FashionViLImageTokenizerConfig"]
