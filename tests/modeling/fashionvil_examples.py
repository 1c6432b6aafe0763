"""Tiny FashionViL models, inputs and official state dicts, shared by the tests of the system."""

import functools
from typing import Any

import torch
from torch import nn
from transformers import BertTokenizer

from modeling.fashionvil import (
    MODELS,
    FashionViLConfig,
    FashionViLImageProcessor,
    FashionViLImageTokenizer,
    FashionViLImageTokenizerConfig,
    FashionViLProcessor,
)

SENTENCES = [
    "navy wool coat.horn buttons",
    "red dress",
    "long sleeve t - shirt in white cotton jersey",
    "blue jeans.denim",
]
SIZE = 64
VISION = {
    "resnet": {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 2, 1, 1]},
    "vit": {
        "model_type": "vit",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "patch_size": 32,
    },
}
TEXT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 80,
}
TOKENIZER = {
    "image_size": SIZE,
    "num_codes": 12,
    "code_dim": 6,
    "hidden_dim": 8,
    "channel_multipliers": [1, 1, 1, 1, 2, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [2],
    "latent_dim": 10,
    "group_norm_groups": 4,
}
OUTFITS = {"outfit_embedding_dim": 12, "outfit_categories": 4, "outfit_conditions": 3, "outfit_subspace_dim": 8}


def tiny_config(vision: str = "resnet", **changes: Any) -> FashionViLConfig:
    fields = {
        "vision_config": {**VISION[vision], "image_size": SIZE},
        "text_config": dict(TEXT),
        "num_attributes": 20,
        "num_codes": 12,
        "mvc_text_length": 20,
        "num_labels": 3,
        **OUTFITS,
    }
    return FashionViLConfig(**(fields | changes))


def tiny_model(head: str = "FashionViLModel", vision: str = "resnet", **changes: Any) -> nn.Module:
    """A model of one of the classes, in evaluation mode, in which nothing is dead for every input."""
    if head == "FashionViLForPreTraining":
        changes = {"tokenizer_config": {**TOKENIZER, "has_decoder": False}} | changes
    return _lively(MODELS[head](tiny_config(vision, **changes)))


def tiny_image_tokenizer(**changes: Any) -> FashionViLImageTokenizer:
    return _lively(FashionViLImageTokenizer(FashionViLImageTokenizerConfig(**(TOKENIZER | changes))))


def _lively(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                # Positive, so that no rectifier of these narrow networks is closed for every input.
                parameter.normal_(std=0.1).abs_()
            elif "bert" in name and parameter.ndim == 2 and "embeddings" not in name:
                # At BERT's 0.02 so narrow a transformer hardly looks at its input.
                parameter.normal_(std=0.2)
    return model.eval()


@functools.cache
def tiny_tokenizer() -> BertTokenizer:
    words = sorted({word for text in SENTENCES for word in text.replace(".", " . ").split()})
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    return BertTokenizer(
        vocab={word: number for number, word in enumerate(entries)}, model_max_length=TEXT["max_position_embeddings"]
    )


def tiny_processor(**options: Any) -> FashionViLProcessor:
    return FashionViLProcessor(FashionViLImageProcessor(size=SIZE), tiny_tokenizer(), **options)


def pictures(seed: int = 3, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def tiny_texts(length: int | None = None) -> dict[str, torch.Tensor]:
    """Four texts, padded to the longest, or to `length`."""
    padding = {"padding": "max_length", "max_length": length} if length else {}
    return dict(tiny_processor()(text=SENTENCES, return_tensors="pt", **padding))


def tiny_inputs(head: str = "FashionViLModel", length: int | None = None) -> dict[str, torch.Tensor]:
    """Four rows of what a head's `forward` takes."""
    if head == "FashionViLForOutfitRetrieval":
        pairs = torch.tensor([[0, 1], [2, 3], [1, 0], [3, 3]])
        return {"question_pixel_values": pictures(), "target_pixel_values": pictures(4), "category_pairs": pairs}
    inputs = {"pixel_values": pictures(), **tiny_texts(length)}
    if head == "FashionViLForComposition":
        inputs["target_pixel_values"] = pictures(4)
    if head == "FashionViLForClassification":
        inputs["labels"] = torch.tensor([0, 2, 1, 1])
    return inputs


def task_inputs(task: str, length: int | None = None) -> dict[str, Any]:
    """Four rows of what a pre-training task takes, nothing of it drawn inside."""
    inputs: dict[str, Any] = {"task": task, **tiny_inputs(length=length)}
    generator = torch.Generator().manual_seed(8)
    if task == "mvc":
        inputs["second_pixel_values"] = pictures(4)
        inputs |= {"dropped_text": torch.tensor([1, 4, 4, 17, 0]), "dropped_image": torch.tensor([2])}
    elif task == "pac":
        inputs["attribute_targets"] = torch.rand(4, 20, generator=generator) * (
            torch.rand(4, 20, generator=generator) < 0.2
        )
    elif task == "mpfc":
        inputs["patch_mask"] = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]).bool()
        inputs["image_codes"] = torch.randint(12, (4, 4), generator=generator)
    elif task == "mlm":
        ids = inputs["input_ids"]
        selected = torch.zeros_like(ids, dtype=torch.bool)
        selected[:, 1] = selected[2, 3:6] = True
        inputs["masked_input_ids"] = ids.masked_fill(selected, 4)
        inputs["mlm_labels"] = ids.masked_fill(~selected, -100)
    elif task == "itm":
        inputs["replace_text"] = torch.tensor([True, False, True, False])
    return inputs
