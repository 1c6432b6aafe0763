"""Tiny CLIP4Cir models, inputs and official state dicts, shared by the tests of the system."""

import functools

import torch
from torch import nn

from modeling.clip4cir import CLIP4CirConfig, CLIP4CirImageProcessor, CLIP4CirModel, CLIP4CirProcessor
from train.engine.vocabulary import train_tokenizer

CAPTIONS = [
    "is red with long sleeves",
    "is blue and has shorter sleeves",
    "has a round neck and no buttons",
    "the same dress but in green, longer and with a belt",
]
VISION = {
    "vit": {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "resnet": {"model_type": "clip4cir_resnet", "layers": [1, 2, 1, 1], "width": 4, "image_size": 64},
    "mobilenet": {"model_type": "mobilenet_v2", "depth_multiplier": 0.35, "image_size": 32},
}


@functools.cache
def tiny_tokenizer():
    return train_tokenizer(CAPTIONS, vocab_size=540)


def tiny_config(vision: str = "vit", combiner_type: str = "combiner", **changes) -> CLIP4CirConfig:
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
    fields = {"vision_config": dict(VISION[vision]), "text_config": text, "projection_dim": 16}
    fields |= {"combiner_type": combiner_type, "combiner_projection_dim": 24, "combiner_hidden_dim": 40}
    return CLIP4CirConfig(**{**fields, **changes})


def tiny_model(vision: str = "vit", combiner_type: str = "combiner", **changes) -> CLIP4CirModel:
    model = CLIP4CirModel(tiny_config(vision, combiner_type, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Fresh blocks of the ResNet and biases start at zero, where equal outputs would prove little.
            if name.endswith("bn3.weight"):
                parameter.fill_(0.5)
            elif name.endswith("bias"):
                # Positive, so that no rectifier of these narrow networks is closed for every input.
                parameter.normal_(std=0.1).abs_()
    return model


def tiny_processor(model: CLIP4CirModel) -> CLIP4CirProcessor:
    return CLIP4CirProcessor(CLIP4CirImageProcessor(size=model.config.image_size), tiny_tokenizer())


def tiny_inputs(model: CLIP4CirModel, length: int | None = None) -> dict[str, torch.Tensor]:
    """Four queries with targets; texts padded to the longest, or to `length`."""
    size = model.config.image_size
    tokens = tiny_tokenizer()(
        CAPTIONS,
        padding="max_length" if length else True,
        max_length=length,
        return_tensors="pt",
    )
    generator = torch.Generator().manual_seed(3)
    return {
        "pixel_values": torch.randn(4, 3, size, size, generator=generator),
        "target_pixel_values": torch.randn(4, 3, size, size, generator=generator),
        "input_ids": tokens["input_ids"],
        "attention_mask": tokens["attention_mask"],
    }


def official_clip(
    kind: str, seed: int = 0, *, dim: int = 32, vocab_size: int = 540, context: int = 77
) -> dict[str, torch.Tensor]:
    """A random state dict in OpenAI's layout: `kind` "vit" (2 layers of width 128, patch 8) or "resnet" (1-2-1-1)."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 0.1) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    def blocks(prefix: str, width: int, layers: int) -> dict[str, torch.Tensor]:
        state = {}
        for i in range(layers):
            block = f"{prefix}transformer.resblocks.{i}."
            sizes = {"attn.out_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width)}
            state[block + "attn.in_proj_weight"] = random(3 * width, width)
            state[block + "attn.in_proj_bias"] = random(3 * width)
            for name, (rows, columns) in sizes.items():
                state[block + name + ".weight"], state[block + name + ".bias"] = random(rows, columns), random(rows)
            for name in ("ln_1", "ln_2"):
                state[block + name + ".weight"], state[block + name + ".bias"] = 1 + random(width), random(width)
        return state

    def norm(name: str, width: int) -> dict[str, torch.Tensor]:
        return {
            f"{name}.weight": 1 + random(width),
            f"{name}.bias": random(width),
            f"{name}.running_mean": random(width),
            f"{name}.running_var": 1 + random(width).abs(),
            f"{name}.num_batches_tracked": torch.tensor(5),
        }

    state = {
        "positional_embedding": random(context, 64),
        "text_projection": random(64, dim),
        "logit_scale": torch.tensor(4.0),
        "token_embedding.weight": random(vocab_size, 64),
        "ln_final.weight": 1 + random(64),
        "ln_final.bias": random(64),
        **blocks("", 64, 2),
    }
    if kind == "vit":
        state |= {
            "visual.class_embedding": random(128),
            "visual.positional_embedding": random(17, 128),
            "visual.proj": random(128, dim),
            "visual.conv1.weight": random(128, 3, 8, 8),
            "visual.ln_pre.weight": 1 + random(128),
            "visual.ln_pre.bias": random(128),
            "visual.ln_post.weight": 1 + random(128),
            "visual.ln_post.bias": random(128),
            **blocks("visual.", 128, 2),
        }
        return state
    for i, (rows, columns) in enumerate([(2, 3), (2, 2), (4, 2)], start=1):
        state[f"visual.conv{i}.weight"] = random(rows, columns, 3, 3, scale=0.5)
        state |= norm(f"visual.bn{i}", rows)
    channels = 4
    for stage, count in enumerate((1, 2, 1, 1)):
        planes = 4 * 2**stage
        for i in range(count):
            block = f"visual.layer{stage + 1}.{i}"
            for j, shape in enumerate(
                [(planes, channels, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1)], 1
            ):
                state[f"{block}.conv{j}.weight"] = random(*shape, scale=0.3)
                state |= norm(f"{block}.bn{j}", shape[0])
            if i == 0:
                state[f"{block}.downsample.0.weight"] = random(4 * planes, channels, 1, 1, scale=0.3)
                state |= norm(f"{block}.downsample.1", 4 * planes)
            channels = 4 * planes
    state["visual.attnpool.positional_embedding"] = random(5, channels)
    for letter, rows in (("q", channels), ("k", channels), ("v", channels), ("c", dim)):
        state[f"visual.attnpool.{letter}_proj.weight"] = random(rows, channels)
        state[f"visual.attnpool.{letter}_proj.bias"] = random(rows)
    return state


def official_combiner(
    seed: int = 0, *, dim: int = 32, projection: int = 48, hidden: int = 64
) -> dict[str, torch.Tensor]:
    """A random state dict of the original's Combiner."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {
        "text_projection_layer": (projection, dim),
        "image_projection_layer": (projection, dim),
        "combiner_layer": (hidden, 2 * projection),
        "output_layer": (dim, hidden),
        "dynamic_scalar.0": (hidden, 2 * projection),
        "dynamic_scalar.3": (1, hidden),
    }
    state = {}
    for name, (rows, columns) in sizes.items():
        state[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) * 0.1
        state[f"{name}.bias"] = torch.randn(rows, generator=generator) * 0.1
    return state


class Tree(nn.Module):
    """Modules with parameters and buffers under the dotted names of a state dict, for a TorchScript archive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def script_archive(state: dict[str, torch.Tensor], path, *, half: bool = True) -> None:
    """Write a state dict as OpenAI wrote its models: a TorchScript archive in half precision with three scalars.

    Norms keep float32, as there.
    """
    root = Tree()
    for name, tensor in {**state, **{n: torch.tensor(v) for n, v in SCALARS.items()}}.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, Tree())
            module = module._modules[parent]
        keeps = not half or not tensor.is_floating_point() or "bn" in name or "ln_" in name
        tensor = tensor if keeps else tensor.half()
        is_buffer = leaf in ("running_mean", "running_var", "num_batches_tracked") or name in SCALARS
        if is_buffer:
            module.register_buffer(leaf, tensor)
        else:
            module.register_parameter(leaf, nn.Parameter(tensor))
    torch.jit.save(torch.jit.trace(root.eval(), torch.zeros(1)), str(path))


SCALARS = {"input_resolution": 64, "context_length": 77, "vocab_size": 540}
