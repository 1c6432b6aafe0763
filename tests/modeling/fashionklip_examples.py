"""Tiny FashionKLIP models and inputs, shared by the tests of the system."""

import torch

from modeling.fashionklip import FashionKLIPConfig, FashionKLIPImageProcessor, FashionKLIPModel, FashionKLIPProcessor
from tests.modeling.clip4cir_examples import VISION, tiny_tokenizer

CAPTIONS = [
    "navy wool coat with horn buttons",
    "red dress",
    "long sleeve t-shirt in white cotton jersey",
    "a pair of blue jeans",
]
CONCEPTS = ["wool coat", "dress", "", "blue jeans", "horn buttons"]


def tiny_config(vision: str = "vit", **changes) -> FashionKLIPConfig:
    text = {
        "vocab_size": 540,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": 538,
        "eos_token_id": 539,
        "pad_token_id": 539,
    }
    return FashionKLIPConfig(
        **{"vision_config": dict(VISION[vision]), "text_config": text, "projection_dim": 16} | changes
    )


def tiny_model(vision: str = "vit", **changes) -> FashionKLIPModel:
    model = FashionKLIPModel(tiny_config(vision, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                # Positive, so that no rectifier of these narrow networks is closed for every input.
                parameter.normal_(std=0.1).abs_()
    return model


def tiny_processor(model: FashionKLIPModel, **options) -> FashionKLIPProcessor:
    return FashionKLIPProcessor(FashionKLIPImageProcessor(size=model.config.image_size), tiny_tokenizer(), **options)


def tiny_inputs(model: FashionKLIPModel, length: int | None = None, concepts: bool = False) -> dict[str, torch.Tensor]:
    """Four images with captions, five concepts if wanted; texts padded to the longest, or to `length`."""
    size = model.config.image_size
    padding = {"padding": "max_length", "max_length": length} if length else {}
    batch = tiny_processor(model)(
        text=CAPTIONS, concepts=CONCEPTS if concepts else None, return_tensors="pt", **padding
    )
    generator = torch.Generator().manual_seed(3)
    return {"pixel_values": torch.randn(4, 3, size, size, generator=generator), **batch}
