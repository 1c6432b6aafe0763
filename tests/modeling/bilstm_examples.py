"""Tiny outfit models and inputs, shared by the tests of the system."""

import torch

from modeling.bilstm import BiLSTMConfig, BiLSTMImageProcessor, BiLSTMModel, BiLSTMProcessor
from tests.modeling.clip4cir_examples import VISION

WORDS = ["is", "red", "with", "long", "sleeves", "blue", "women's", "chloé", "coat"]
SIZES = {"embedding_dim": 12, "hidden_size": 10, "vocab_size": len(WORDS) + 1}
BACKBONES = {
    "inception": {"model_type": "bilstm_inception_v3", "depth_multiplier": 1 / 32, "min_depth": 4, "image_size": 75},
    "vit": VISION["vit"],
    "mobilenet": VISION["mobilenet"],
}
# Three outfits of 3, 1 and 2 items with their names; a name of one word and one without words are in them.
LENGTHS = [3, 1, 2]
NAMES = [["red coat", "blue", "long sleeves is red"], ["coat with sleeves", "", ""], ["", "is blue", ""]]


def tiny_config(vision: str | None = "vit", **changes) -> BiLSTMConfig:
    """`vision` None: a model that reads features of width 6."""
    fields = {"vision_config": dict(BACKBONES[vision])} if vision else {"vision_feature_dim": 6}
    return BiLSTMConfig(**{**SIZES, **fields, **changes})


def tiny_model(vision: str | None = "vit", **changes) -> BiLSTMModel:
    model = BiLSTMModel(tiny_config(vision, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                # Positive, so that no rectifier of these narrow networks is closed for every input.
                parameter.normal_(std=0.1).abs_()
            elif not name.startswith("vision_model."):
                # Larger than fresh ones, with which every output is nearly that of nothing.
                parameter.normal_(std=0.4)
    return model


def tiny_processor(model: BiLSTMModel, **options) -> BiLSTMProcessor:
    pictures = BiLSTMImageProcessor(size=model.config.image_size) if model.config.has_images else None
    return BiLSTMProcessor(pictures, WORDS if model.config.has_text else (), **options)


def tiny_inputs(model: BiLSTMModel, words: int | None = None, full: bool = False) -> dict[str, torch.Tensor]:
    """Three outfits of up to three items; `words` wide or as the longest name, `full` without missing items."""
    config, generator = model.config, torch.Generator().manual_seed(3)
    lengths = torch.tensor([3, 3, 3] if full else LENGTHS)
    inputs = {"item_mask": (torch.arange(3)[None] < lengths[:, None]).long()}
    if config.vision_config is None and config.has_images:
        inputs["image_features"] = torch.randn(3, 3, config.vision_feature_dim, generator=generator)
    elif config.has_images:
        inputs["pixel_values"] = torch.randn(3, 3, 3, config.image_size, config.image_size, generator=generator)
    if config.has_text:
        names = [["red coat", "blue", "is red"]] * 3 if full else NAMES
        texts = BiLSTMProcessor(None, WORDS)(text=sum(names, []), return_tensors="pt")
        for name in ("input_ids", "attention_mask"):
            missing = max(0, (words or 0) - texts[name].shape[1])
            inputs[name] = torch.nn.functional.pad(texts[name], (0, missing)).unflatten(0, (3, 3))
    return inputs
