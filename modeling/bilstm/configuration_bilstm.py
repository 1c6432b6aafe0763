"""Configuration of the outfit Bi-LSTM: an image network, two projections, a word table, two recurrent networks."""

from transformers import AutoConfig, PreTrainedConfig

VARIANTS = ("bilstm", "bilstm-no-vse", "vse", "siamese")
CELLS = ("lstm", "gru", "rnn")
ITEM_INPUTS = ("image", "text", "both")


class BiLSTMInceptionConfig(PreTrainedConfig):
    """Inception v3 as TF-slim has it, which transformers does not have.

    Args:
        depth_multiplier: every layer has `max(int(channels * depth_multiplier), min_depth)` channels.
        min_depth: fewest channels of a layer.
        image_size: height and width of the input in pixels; the original's is 299, and at least 75 are needed.
        moving_average_decay: of the stored statistics of batch norm.
        batch_norm_epsilon: added to the variance.

    Raises:
        ValueError: a picture that the network shrinks to nothing, or no channels.
    """

    model_type = "bilstm_inception_v3"
    base_config_key = "vision_config"

    depth_multiplier: float | int = 1.0
    min_depth: int = 16
    image_size: int = 299
    num_channels: int = 3
    moving_average_decay: float | int = 0.9997
    batch_norm_epsilon: float | int = 1e-3
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        _check_sizes(self, "min_depth", "image_size", "num_channels")
        if self.image_size < 75:
            raise ValueError(
                f"image_size must be 75 pixels or more, below that nothing is left; got {self.image_size}."
            )
        if not self.depth_multiplier > 0:
            raise ValueError(f"depth_multiplier must be above 0; got {self.depth_multiplier}.")


class BiLSTMConfig(PreTrainedConfig):
    """Configuration of [`BiLSTMModel`].

    Args:
        variant: "bilstm" (with the visual-semantic embedding), "bilstm-no-vse", "vse" (that embedding alone) or
            "siamese" (pairs of items of one outfit).
        vision_config: the image network: a [`BiLSTMInceptionConfig`] or the configuration of any vision model of
            transformers; None for a model that is given precomputed features. A dict is read by its `model_type`.
        vision_feature_dim: F, width of the pooled image features. None: the model finds it out when it is built.
        embedding_dim: E, size of both embeddings.
        hidden_size: U, state of the recurrent networks.
        vocab_size: rows of the word table, the row of padding (0) included.
        cell: "lstm", "gru" (TensorFlow's) or "rnn" (tanh).
        item_inputs: what the recurrent networks read of an item: its "image" as the original, the words of its "text", or
            "both", added.
        max_items: items of an outfit that training reads; longer ones are cut.
        vse_factor, forward_factor, backward_factor: weights of the losses.
        vse_margin: by which a right pair of picture and text must be nearer than a wrong one.
        siamese_margin: cosine up to which items of different outfits may be alike.
        recurrent_dropout: of inputs and outputs of the recurrent networks; 0.3 in the original.
        image_dropout: of the image features while the image network is trained; 0.2 in the original.
        train_batch_norm: True lets batch norm follow the batches in `model.train()`, as the original does where it
            trains the image network; False keeps its stored statistics.
        item_word_deviation: standard deviation of a fresh table of words that items are read by.
        official_end_columns: True gives the softmax of training one zero column for the end of every outfit, as the
            original has it, so that the loss of an end can't fall below the logarithm of the batch. Deviation: by
            default there is one, as in scoring.
        official_siamese_pairs: True counts the repeated last pictures that fill up short outfits, and every picture
            with itself, as pairs of one outfit. Deviation: by default only pairs of two items count.

    Raises:
        ValueError: an unknown variant or cell, a size that is no positive whole number, a dropout outside [0, 1).
    """

    model_type = "bilstm"

    variant: str = "bilstm"
    vision_config: dict | PreTrainedConfig | None = None
    vision_feature_dim: int | None = None
    embedding_dim: int = 512
    hidden_size: int = 512
    vocab_size: int = 2757
    cell: str = "lstm"
    item_inputs: str = "image"
    max_items: int = 8
    vse_factor: float | int = 1.0
    forward_factor: float | int = 1.0
    backward_factor: float | int = 1.0
    vse_margin: float | int = 0.2
    siamese_margin: float | int = 0.8
    recurrent_dropout: float | int = 0.3
    image_dropout: float | int = 0.2
    train_batch_norm: bool = False
    official_end_columns: bool = False
    official_siamese_pairs: bool = False
    initializer_range: float = 0.08
    item_word_deviation: float | int = 0.3

    def __post_init__(self, **kwargs) -> None:
        if isinstance(self.vision_config, dict):
            kind = self.vision_config.get("model_type", BiLSTMInceptionConfig.model_type)
            # AutoConfig knows the types of transformers only, so the own type is resolved here.
            if kind == BiLSTMInceptionConfig.model_type:
                self.vision_config = BiLSTMInceptionConfig(**self.vision_config)
            else:
                options = {name: value for name, value in self.vision_config.items() if name != "model_type"}
                self.vision_config = AutoConfig.for_model(kind, **options)
        _check_sizes(self, "embedding_dim", "hidden_size", "vocab_size", "max_items", "vision_feature_dim")
        super().__post_init__(**kwargs)
        for name, allowed in (("variant", VARIANTS), ("cell", CELLS), ("item_inputs", ITEM_INPUTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}; got {getattr(self, name)!r}.")
        for name in ("recurrent_dropout", "image_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1); got {getattr(self, name)}.")
        if self.item_inputs == "text" and self.variant != "bilstm-no-vse":
            raise ValueError(
                f'item_inputs "text" leaves nothing for pictures: the variant is "bilstm-no-vse", not {self.variant!r}.'
            )
        if self.has_images and self.vision_config is None and self.vision_feature_dim is None:
            raise ValueError("Without vision_config the model reads features: give their width as vision_feature_dim.")

    @property
    def has_inception(self) -> bool:
        """Whether the image network is the original's."""
        # Compared by name: remote code may load two copies of the class (see transformers' dynamic modules).
        return getattr(self.vision_config, "model_type", None) == BiLSTMInceptionConfig.model_type

    @property
    def has_images(self) -> bool:
        """Whether the model reads pictures, or features of them."""
        return self.item_inputs != "text"

    @property
    def has_recurrent(self) -> bool:
        """Whether the variant reads outfits in order."""
        return self.variant.startswith("bilstm")

    @property
    def has_text(self) -> bool:
        """Whether the variant has a word table. That of "bilstm-no-vse" exists and is never trained, as published."""
        return self.variant != "siamese"

    @property
    def image_size(self) -> int:
        """Height and width in pixels that the image network expects; 224 where its configuration doesn't say."""
        size = getattr(self.vision_config, "image_size", None) or 224
        return size if isinstance(size, int) else int(size[0])


def _check_sizes(config: PreTrainedConfig, *names: str) -> None:
    for name in names:
        size = getattr(config, name)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"{name} must be a positive whole number; got {size!r}.")


BiLSTMConfig.register_for_auto_class()

__all__ = ["BiLSTMConfig", "BiLSTMInceptionConfig"]
