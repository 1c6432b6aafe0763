"""Model, checkpoint layouts, tokenizer and preprocessing of FashionKLIP against the original's numbers."""

from pathlib import Path

import torch
from PIL import Image

from modeling.fashionklip import FashionKLIPImageProcessor, FashionKLIPModel, FashionKLIPProcessor
from modeling.fashionklip.convert_fashionklip import (
    model_from_official,
    official_sizes,
    read_official,
    round_to_half,
    rounded_parameters,
    to_clip_model,
    to_model_keys,
    to_official_state_dict,
)
from tests.parity.checks_clip4cir_model import clip_tokenizer
from tests.parity.golden import GoldenCase, close


def check_clip_features(case: GoldenCase) -> None:
    config, tolerance = case.json["config"], case.json["tolerance"]
    inputs, expected = case.group("inputs"), case.group("expected")
    weights = case.group("weights")
    model = model_from_official(weights, text_heads=config["transformer_heads"])
    _check_sizes(model, config)
    if "vision_heads" in case.json:
        assert model.config.vision_config.num_attention_heads == case.json["vision_heads"]
    tokens = inputs["tokens"].long()
    _check_features(model, inputs["images"], tokens, expected["image_features"], expected["text_features"], tolerance)
    # The original doesn't look at masks: attended positions end where the padding, id 0, begins.
    lengths = (tokens != case.json.get("pad", 0)).int().flip(-1).cummax(-1).values.flip(-1)
    with torch.no_grad():
        masked = model.get_text_features(tokens, lengths)
        output = model(pixel_values=inputs["images"], input_ids=tokens[: len(inputs["images"])])
    close(masked, expected["text_features"], tolerance, "text features with a mask")
    assert torch.equal(tokens.argmax(-1), expected["eot_positions"].long())
    close(output.image_embeds, expected["image_features_normalized"], tolerance, "normalised image features")
    close(output.text_embeds, expected["text_features_normalized_first_B"], tolerance, "normalised text features")
    close(output.logits_per_image, expected["logits_per_image"], tolerance, "logits", factor=10)
    close(model.logit_scale.exp().view(1), expected["logit_scale_exp"].view(1), tolerance, "scale", factor=10)
    known = "image_features image_features_normalized text_features text_features_normalized_first_B logits_per_image"
    unread = expected.keys() - {*known.split(), "logit_scale_exp", "eot_positions"}
    assert not unread, f"nothing compares {unread}"
    _check_way_back(model, weights, inputs["images"], tokens, tolerance, config)


def _check_features(model, images, tokens, image_features, text_features, tolerance: dict, what: str = "") -> None:
    with torch.no_grad():
        close(model.get_image_features(images), image_features, tolerance, f"{what} image features")
        close(model.get_text_features(tokens), text_features, tolerance, f"{what} text features")


def _check_way_back(model: FashionKLIPModel, weights: dict, images, tokens, tolerance: dict, config: dict) -> None:
    """The official names come back to the bit, and a plain CLIPModel has the same features."""
    if config["transformer_heads"] == max(1, config["transformer_width"] // 64):
        again = to_official_state_dict(model)
        assert again.keys() == weights.keys()
        assert all(torch.equal(again[name], weights[name].float()) for name in weights)
    clip = to_clip_model(model)
    with torch.no_grad():
        close(clip.get_image_features(images).pooler_output, model.get_image_features(images), tolerance, "CLIPModel")
        close(clip.get_text_features(tokens).pooler_output, model.get_text_features(tokens), tolerance, "CLIPModel")


def check_ckpt_layouts(case: GoldenCase) -> None:
    """Every file beside the case, told apart by what it holds."""
    config, tolerance = case.json["config"], case.json["tolerance"]
    inputs, expected = case.group("inputs"), case.group("expected")
    images, tokens = inputs["images"], inputs["tokens"].long()
    paths = sorted((case.dir / case.name).iterdir())
    paths = [path for path in paths if path.is_dir() or path.suffix in (".pt", ".bin", ".safetensors")]
    assert paths, f"no checkpoint in {case.dir / case.name}"
    inferred = case.json.get("inferred_from_state_dict", {})
    layouts = {}
    for path in paths:
        found = layouts[path.name] = read_official(path)
        model = model_from_official(found.state_dict, found.text_heads)
        _check_sizes(model, config)
        assert model.config.image_size == inferred.get("image_resolution", config["image_resolution"])
        heads = model.config.vision_config.num_attention_heads, model.config.text_config.num_attention_heads
        assert heads == (inferred.get("vision_heads", heads[0]), inferred.get("text_heads", heads[1])), path.name
        # An archive holds its weights in half precision, so its features are others.
        kind = "jit" if found.layout == "openai" else "fp32"
        wanted = expected[f"{kind}_image"], expected[f"{kind}_text"]
        _check_features(model, images, tokens, *wanted, tolerance, path.name)
        _check_way_back(model, found.state_dict, images, tokens, tolerance, config)
        for name, layout in (("jit", "openai"), ("training", "training"), ("easynlp", "easynlp")):
            assert name not in path.name or found.layout == layout, path.name
        if path.name in case.json.get("epoch", {}):
            assert found.epoch == case.json["epoch"][path.name], path.name
            assert "optimizer" in found.ignored
    archive = next((found for found in layouts.values() if found.layout == "openai"), None)
    plain = next((found for found in layouts.values() if found.layout != "openai"), None)
    if archive is None or plain is None:
        return
    # Rounding the float32 weights gives the archive's.
    half = {name for name, tensor in archive.state_dict.items() if tensor.dtype == torch.float16}
    rounded = to_model_keys({name: plain.state_dict[name].half() for name in half})
    model = model_from_official(plain.state_dict, plain.text_heads)
    if rounded.keys() == rounded_parameters(model).keys():
        round_to_half(model)
        _check_features(model, images, tokens, expected["jit_image"], expected["jit_text"], tolerance, "rounded")


def _check_sizes(model: FashionKLIPModel, config: dict[str, int]) -> None:
    sizes = official_sizes(model.config)
    assert {name: config.get(name) for name in sizes} == sizes


def check_tokenizer(case: GoldenCase) -> None:
    tokenizer = clip_tokenizer()
    length, start, end = (case.json[name] for name in ("context_length", "sot", "eot"))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (start, end)
    image_processor = FashionKLIPImageProcessor()
    official = FashionKLIPProcessor(image_processor, tokenizer, official_truncation=True, official_special_tokens=True)
    ours = FashionKLIPProcessor(image_processor, tokenizer)
    options = {"padding": "max_length", "max_length": length, "return_tensors": "pt"}
    texts = [row["text"] for row in case.json["rows"]]
    batch, default = official(text=texts, **options), ours(text=texts, **options)
    assert batch["input_ids"].shape == default["input_ids"].shape == (len(texts), length)
    for number, row in enumerate(case.json["rows"]):
        wanted = row["ids"] + [case.json["pad"]] * (length - len(row["ids"]))
        assert batch["input_ids"][number].tolist() == wanted, row["text"]
        assert batch["attention_mask"][number].sum() == len(row["ids"]), row["text"]
        assert batch["input_ids"][number].argmax() == row["pool_position"], row["text"]
        assert (end in batch["input_ids"][number]) == row["has_end_token"], row["text"]
        # Without the official options: the same ids, with an end that is always there, and nothing special inside.
        ids = default["input_ids"][number][default["attention_mask"][number].bool()].tolist()
        assert ids[-1] == end and ids.count(end) == 1 and ids.count(start) == 1, row["text"]
        if end not in row["ids"][:-1] and start not in row["ids"][1:]:
            assert ids[:-1] == row["ids"][: len(ids) - 1], row["text"]


def check_preprocess(case: GoldenCase) -> None:
    processor = FashionKLIPImageProcessor(
        size=case.json["n_px"], image_mean=case.json["mean"], image_std=case.json["std"], official_image_modes=True
    )
    assert processor.transform == "clip"
    expected = case.group("expected")
    for image in case.json["images"]:
        with Image.open(case.dir / image["file"]) as picture:
            assert [*picture.size] == image["size_wh"] and picture.mode == image["mode"], image["file"]
            pixels = processor(picture, return_tensors="pt")["pixel_values"][0]
        close(pixels, expected.pop(Path(image["file"]).stem), case.json["tolerance"], image["file"])
    assert not expected, f"no picture for {sorted(expected)}"


CHECKS = {
    "clip_features": check_clip_features,
    "ckpt_layouts": check_ckpt_layouts,
    "tokenizer": check_tokenizer,
    "preprocess": check_preprocess,
}
