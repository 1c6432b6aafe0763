"""Model, preprocessing, tokenizer, captions and checkpoints of CLIP4Cir against the original's numbers."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPTokenizer

from modeling.clip4cir import (
    CLIP4CirConfig,
    CLIP4CirImageProcessor,
    CLIP4CirModel,
    CLIP4CirProcessor,
    caption_forms,
    choose_form,
    join_captions,
)
from modeling.clip4cir.convert_clip4cir import (
    BACKBONES,
    backbone_name,
    config_from_official,
    model_from_official,
    read_official,
    round_to_half,
    rounded_parameters,
    to_model_keys,
)
from modeling.clip4cir.image_processing_clip4cir import padding
from tests.parity.golden import REPOSITORY, GoldenCase, close

# Golden name of an activation -> module of the model.
ACTIVATIONS = {
    "stem": "vision_model.avgpool",
    **{f"layer{stage}": f"vision_model.layer{stage}" for stage in (1, 2, 3, 4)},
    "ln_pre": "vision_model.pre_layrnorm",
    "ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}


def check_clip(case: GoldenCase) -> None:
    weights, expected = case.group("weights"), case.group("expected")
    model = model_from_official(weights)
    _check_config(model.config, case.json["config"])
    _check_clip_outputs(model, case, expected, "")

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    round_to_half(model)
    official = set(case.json["rounded_to_fp16_when_loaded"])
    rounded = to_model_keys({key: weights[key].half() if key in official else weights[key] for key in weights})
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, rounded[name] if name in rounded else before[name]), f"rounded {name}"
    _check_clip_outputs(model, case, expected, "_fp16_rounded_weights")

    contrast = case.group("contrast").get("image_features_if_batchnorm_in_train_mode")
    if contrast is not None:
        model = model_from_official(weights, train_batch_norm=True).train()
        with torch.no_grad():
            drifting = model.get_image_features(case.group("inputs")["pixel_values"])
        close(drifting, contrast, case.json["tolerance"], "features with batch norm in train mode")


def _check_clip_outputs(model: CLIP4CirModel, case: GoldenCase, expected: dict[str, torch.Tensor], suffix: str) -> None:
    inputs, tolerance = case.group("inputs"), case.json["tolerance"]
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        model.get_submodule(module).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output})
        )
        for name, module in ACTIVATIONS.items()
        if not suffix and f"act.{name}" in expected
    ]
    for mode in (False, True):
        # Without dropout and with batch norm on its stored statistics, both modes are the original's evaluation mode.
        model.train(mode)
        with torch.no_grad():
            image_features = model.get_image_features(inputs["pixel_values"])
            text_features = model.get_text_features(inputs["input_ids"])
        close(image_features, expected["image_features" + suffix], tolerance, f"image features{suffix}")
        close(text_features, expected["text_features" + suffix], tolerance, f"text features{suffix}")
    for hook in hooks:
        hook.remove()
    for name, activation in seen.items():
        wanted = expected[f"act.{name}"]
        close(activation[: len(wanted)], wanted, tolerance, f"activation {name}")
    if not suffix and "logits_per_image" in expected:
        cosines = F.normalize(image_features, dim=-1) @ F.normalize(text_features, dim=-1).T
        close(model.logit_scale.exp() * cosines, expected["logits_per_image"], tolerance, "logits", factor=10)


def _check_config(config: CLIP4CirConfig, official: dict) -> None:
    vision, text = config.vision_config, config.text_config
    assert config.projection_dim == official["embed_dim"]
    assert config.image_size == official["image_resolution"]
    assert text.max_position_embeddings == official["context_length"]
    assert text.vocab_size == official["vocab_size"]
    assert text.hidden_size == official["transformer_width"]
    assert text.num_attention_heads == official["transformer_heads"]
    assert text.num_hidden_layers == official["transformer_layers"]
    if isinstance(official["vision_layers"], list):
        assert list(vision.layers) == official["vision_layers"]
        assert vision.width == official["vision_width"]
        assert vision.feature_channels == official.get("derived_attention_pool_width", vision.feature_channels)
        assert vision.feature_channels // 64 == official.get(
            "derived_attention_pool_heads", vision.feature_channels // 64
        )
    else:
        assert vision.num_hidden_layers == official["vision_layers"]
        assert vision.hidden_size == official["vision_width"]
        assert vision.patch_size == official["vision_patch_size"]
        assert vision.num_attention_heads == official.get("derived_vision_heads", vision.num_attention_heads)


def tiny_towers(dim: int) -> dict:
    """Configuration of towers that are as small as can be, for cases about composed features only."""
    text = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 8,
        "patch_size": 8,
    }
    return {"projection_dim": dim, "text_config": text, "vision_config": vision}


def check_combiner(case: GoldenCase) -> None:
    config, tolerance = case.json["config"], case.json["tolerance"]
    inputs = case.group("inputs")
    modes = sorted({key.split(".")[1] for key in case.tensors if key.startswith("expected.")})
    assert modes, "the case expects nothing"
    for mode in modes:
        expected = case.group(f"expected.{mode}")
        model = CLIP4CirModel(
            CLIP4CirConfig(
                **tiny_towers(config["clip_feature_dim"]),
                combiner_type="combiner",
                combiner_projection_dim=config["projection_dim"],
                combiner_hidden_dim=config["hidden_dim"],
                combiner_dropout=config["dropout"],
                logit_scale_value=config["logit_scale"],
            )
        ).train(mode == "train")
        combiner = model.combiner
        combiner.load_state_dict(case.group("weights"))
        seen = _watch(combiner)
        if mode == "train":
            for name, mask in case.group("inputs.dropout_mask").items():
                combiner.get_submodule(name).register_forward_hook(
                    lambda _module, args, _output, mask=mask: args[0] * mask / (1 - config["dropout"])
                )
        output = model(**{name: inputs[name] for name in ("image_features", "text_features", "target_features")})
        output.loss.backward()
        close(output.logits_per_query, expected["logits"], tolerance, f"{mode} logits", factor=20)
        close(output.loss.view(1), expected["loss"].view(1), tolerance, f"{mode} loss", factor=20)
        for key, wanted in expected.items():
            if key.startswith("act."):
                close(seen[key.removeprefix("act.")], wanted, tolerance, f"{mode} {key}")
            elif key.startswith("grad."):
                close(
                    combiner.get_parameter(key.removeprefix("grad.")).grad,
                    wanted,
                    tolerance,
                    f"{mode} {key}",
                    factor=10,
                )
            elif key == "predicted_features":
                close(output.query_embeds, wanted, tolerance, f"{mode} predicted features")
            else:
                assert key in ("logits", "loss"), f"nothing compares expected.{mode}.{key}"


def _watch(combiner: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Fills the returned dict with the Combiner's activations, under their golden names, when it runs."""
    seen: dict[str, torch.Tensor] = {}

    def watch(layer: str, name: str) -> None:
        combiner.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output: seen.update({name: output})
        )

    for layer in ("combiner_layer", "output_layer", "dynamic_scalar"):
        watch(layer, layer)
    for name in ("text_projection", "image_projection"):
        watch(f"{name}_layer", name)
    combiner.combiner_layer.register_forward_pre_hook(lambda _module, inputs: seen.update(concat=inputs[0]))
    return seen


def check_preprocess(case: GoldenCase) -> None:
    tensors, tolerance = case.tensors, case.json["tolerance"]
    for image in case.json["images"]:
        picture = _picture(image, tensors)
        assert picture.size == (image["width"], image["height"])
        for pipeline in case.json["pipelines"]:
            kind, ratio, tag = pipeline["kind"], pipeline["target_ratio"], pipeline["tag"]
            processor = CLIP4CirImageProcessor(
                size=pipeline["dim"], transform=kind, target_ratio=ratio or 1.25, official_image_modes=True
            )
            result = image["results"][tag]
            if "size_after_pad" in result:
                horizontal, vertical = padding(*picture.size, kind, ratio or 1.25)
                padded = [picture.width + 2 * horizontal, picture.height + 2 * vertical]
                assert padded == result["size_after_pad"], f"image {image['id']} {tag}"
            pixels = processor(picture, return_tensors="pt")["pixel_values"][0]
            close(pixels, tensors[f"expected.{tag}.image{image['id']}"], tolerance, f"image {image['id']} {tag}")


def _picture(image: dict, tensors: dict[str, torch.Tensor]) -> Image.Image:
    pixels = tensors[f"inputs.image{image['id']}"].numpy()
    mode, size = image["mode"], (image["width"], image["height"])
    if mode == "1":
        return Image.fromarray(pixels, "L").convert("1", dither=Image.Dither.NONE)
    picture = Image.frombytes(mode, size, np.ascontiguousarray(pixels).tobytes())
    palette = tensors.get(f"inputs.image{image['id']}.palette")
    if palette is not None:
        picture.putpalette(palette.numpy().tolist())
    return picture


def clip_tokenizer() -> CLIPTokenizer:
    """The official vocabulary, from LOOKBOOK_CLIP_TOKENIZER or the data beside the checkout; skips without it."""
    folders = [os.environ.get("LOOKBOOK_CLIP_TOKENIZER"), REPOSITORY.parent / "shared/data/tokenizers/clip"]
    for folder in folders:
        if folder and (Path(folder) / "vocab.json").exists():
            return CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    pytest.skip("CLIP's vocabulary isn't here: set LOOKBOOK_CLIP_TOKENIZER to a folder with vocab.json and merges.txt")


def check_tokenizer(case: GoldenCase) -> None:
    tokenizer = clip_tokenizer()
    length = case.json["context_length"]
    image_processor = CLIP4CirImageProcessor()
    cutting = CLIP4CirProcessor(image_processor, tokenizer)
    strict = CLIP4CirProcessor(image_processor, tokenizer, official_raise_on_long_text=True)
    texts = [example["text"] for example in case.json["examples"]]
    batch = cutting(text=texts, max_length=length, return_tensors="pt")
    for example, ids in zip(case.json["examples"], batch["input_ids"], strict=True):
        wanted = example["ids"]
        assert ids[: len(wanted)].tolist() == wanted, example["text"]
        # What follows is padding with the end id, which the pooling never looks at: it takes the first.
        assert set(ids[len(wanted) :].tolist()) <= {tokenizer.eos_token_id}, example["text"]
        assert ids.argmax().item() == example["argmax"], example["text"]
        if example["fits_without_truncation"]:
            assert strict(text=example["text"], max_length=length)["input_ids"][0] == wanted, example["text"]
        else:
            with pytest.raises(ValueError, match="tokens"):
                strict(text=example["text"], max_length=length)


def check_captions(case: GoldenCase) -> None:
    pairs = case.json["pairs"]
    for forced in case.json["training_by_forced_draw"]:
        texts = [caption_forms(*pair)[choose_form(forced["draw"])] for pair in pairs]
        assert texts == forced["captions"], forced["draw"]
    for seed, captions in case.json["training_by_python_random_seed"].items():
        if seed == "note":
            continue
        generator = random.Random(int(seed))
        assert [caption_forms(*pair)[choose_form(generator.random())] for pair in pairs] == captions, seed
    assert [join_captions(*pair) for pair in pairs] == case.json["validation"]


def check_checkpoints(case: GoldenCase) -> None:
    for name, facts in case.json["files"].items():
        clip, combiner = read_official([case.dir / name])
        same = case.sibling(facts["same_weights_as_case"])
        found = combiner if clip is None else clip
        weights = same.group("weights")
        assert found.keys() == weights.keys(), name
        for key, tensor in weights.items():
            assert torch.equal(found[key], tensor), f"{name}: {key}"
        # The weights are those of the other case, whose inputs are run as well.
        (check_combiner if clip is None else check_clip)(same)


def check_layouts(case: GoldenCase) -> None:
    for name, backbone in case.json["backbones"].items():
        config = _published_config(backbone["config"])
        with torch.device("meta"):
            model = CLIP4CirModel(config)
        if name in BACKBONES:
            assert backbone_name(config) == name
        visual = sum(
            p.numel() for n, p in model.named_parameters() if n.startswith(("vision_model.", "visual_projection."))
        )
        assert sum(p.numel() for p in model.parameters()) == backbone["parameters"], name
        assert visual == backbone["visual_parameters"], name
        # One stacked matrix and bias for query, key and value in the original's blocks, three of each here.
        blocks = sum(key.endswith("q_proj.weight") and "layers" in key for key in model.state_dict())
        assert len(model.state_dict()) - 4 * blocks == backbone["num_state_dict_tensors"], name
        if "state_dict" in backbone:
            _check_layout(name, backbone, model)


def _check_layout(name: str, backbone: dict, model: CLIP4CirModel) -> None:
    official, half = {}, set()
    for key, text in backbone["state_dict"].items():
        kind, _, shape = text.rstrip("]").partition("[")
        dims = [int(n) for n in shape.split(",") if n.strip()]
        official[key] = torch.empty(dims, device="meta", dtype=torch.int64 if kind == "i64" else torch.float32)
        half |= {key} if kind == "f16" else set()
    _check_config(config_from_official(official), backbone["config"])
    mapped = to_model_keys(official)
    wanted = model.state_dict()
    assert mapped.keys() == wanted.keys(), name
    assert all(mapped[key].shape == wanted[key].shape for key in wanted), name
    rounded = to_model_keys({key: official[key] for key in official if key in half})
    assert rounded_parameters(model).keys() == rounded.keys(), name


def _published_config(official: dict) -> CLIP4CirConfig:
    dim, width = official["embed_dim"], official["vision_width"]
    if isinstance(official["vision_layers"], list):
        vision = {
            "model_type": "clip4cir_resnet",
            "layers": official["vision_layers"],
            "width": width,
            "image_size": official["image_resolution"],
        }
    else:
        vision = {
            "model_type": "clip_vision_model",
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": official["vision_layers"],
            "num_attention_heads": width // 64,
            "image_size": official["image_resolution"],
            "patch_size": official["vision_patch_size"],
        }
    text = {
        "vocab_size": official["vocab_size"],
        "hidden_size": official["transformer_width"],
        "intermediate_size": 4 * official["transformer_width"],
        "num_hidden_layers": official["transformer_layers"],
        "num_attention_heads": official["transformer_heads"],
        "max_position_embeddings": official["context_length"],
    }
    return CLIP4CirConfig(vision_config=vision, text_config=text, projection_dim=dim)


CHECKS = {
    "clip_resnet": check_clip,
    "clip_vit": check_clip,
    "combiner": check_combiner,
    "preprocess": check_preprocess,
    "tokenizer": check_tokenizer,
    "fiq_captions": check_captions,
    "checkpoints": check_checkpoints,
    "official_state_dict_layouts": check_layouts,
}
