"""CLIP4Cir's model: what each input gives, the loss against a loop, initial values, batch norm, configuration."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, ResNetConfig, ViTConfig

from modeling.clip4cir import CLIP4CirConfig, CLIP4CirModel, CLIP4CirResNetConfig
from tests.modeling.clip4cir_examples import VISION, tiny_config, tiny_inputs, tiny_model


def test_any_part_of_the_inputs_gives_what_it_can() -> None:
    model = tiny_model("vit", "combiner")
    inputs = tiny_inputs(model)
    with torch.no_grad():
        whole = model(**inputs)
        assert set(whole) == {
            "loss",
            "logits_per_query",
            "query_embeds",
            "target_embeds",
            "image_features",
            "text_features",
            "target_features",
        }
        assert set(model(pixel_values=inputs["pixel_values"])) == {"image_features"}
        assert set(model(input_ids=inputs["input_ids"])) == {"text_features"}
        assert set(model(target_pixel_values=inputs["pixel_values"])) == {"target_embeds", "target_features"}
        assert "loss" not in model(pixel_values=inputs["pixel_values"], input_ids=inputs["input_ids"])
        features = {name: whole[name] for name in ("image_features", "text_features", "target_features")}
        from_features = model(**features)
        assert torch.equal(from_features.loss, whole.loss) and torch.equal(
            from_features.query_embeds, whole.query_embeds
        )
        assert torch.equal(model.get_query_features(inputs["pixel_values"], inputs["input_ids"]), whole.query_embeds)
        assert isinstance(model(**features, return_dict=False), tuple)
    with pytest.raises(ValueError, match="at least one"):
        model()
    with pytest.raises(ValueError, match="pixel_values and image_features"):
        model(pixel_values=inputs["pixel_values"], image_features=features["image_features"])
    with pytest.raises(ValueError, match="4 queries and 3 targets"):
        model(**{**features, "target_features": features["target_features"][:3]})


@pytest.mark.parametrize("combiner_type", ["sum", "combiner"])
def test_the_loss_is_that_of_a_loop_over_queries(combiner_type: str) -> None:
    model = tiny_model("vit", combiner_type, logit_scale_value=20)
    model.requires_grad_(False)
    image, text, target = torch.randn(3, 5, 16)
    output = model(image_features=image, text_features=text, target_features=target)
    losses = []
    for row in range(5):
        if combiner_type == "sum":
            query = image[row] + text[row]
        else:
            c = model.combiner
            both = torch.cat(
                [c.text_projection_layer(text[row]).clamp(min=0), c.image_projection_layer(image[row]).clamp(min=0)]
            )
            share = c.dynamic_scalar(both)
            query = c.output_layer(c.combiner_layer(both).clamp(min=0)) + share * text[row] + (1 - share) * image[row]
        scores = [20 * float(query @ other / query.norm() / other.norm()) for other in target]
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[row])
        torch.testing.assert_close(output.query_embeds[row], query / query.norm())
    assert output.loss.item() == pytest.approx(sum(losses) / 5, abs=1e-4)


def test_raw_features_keep_their_lengths_in_the_sum() -> None:
    model = tiny_model("vit", "sum")
    image, text = torch.randn(2, 3, 16)
    assert torch.allclose(model.compose(10 * image, text), F.normalize(10 * image + text, dim=-1))


def test_text_features_are_read_at_the_first_end() -> None:
    model = tiny_model("vit", "sum")
    ids = torch.tensor([[538, 7, 8, 539, 539, 539], [538, 7, 8, 539, 9, 539]])
    with torch.no_grad():
        first, second = model.get_text_features(ids)
        short = model.get_text_features(ids[:1, :4])[0]
    torch.testing.assert_close(first, short)
    torch.testing.assert_close(second, short)
    # A padding id above the end's is no text where the mask says so.
    grown = tiny_model("vit", "sum")
    grown.resize_token_embeddings(545)
    padded = torch.tensor([[538, 7, 8, 539, 544]])
    with torch.no_grad():
        masked = grown.get_text_features(padded, torch.tensor([[1, 1, 1, 1, 0]]))
        torch.testing.assert_close(masked, grown.get_text_features(padded[:, :4]))


def test_logits_are_float32_under_autocast_unless_the_originals_are_wanted() -> None:
    features = dict(zip(("image_features", "text_features", "target_features"), torch.randn(3, 4, 16), strict=True))
    exact = tiny_model("vit", "sum")(**features)
    for official in (False, True):
        model = tiny_model("vit", "sum", official_half_precision_logits=official)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(**features).logits_per_query
        assert logits.dtype == (torch.bfloat16 if official else torch.float32)
        assert (torch.allclose(logits.float(), exact.logits_per_query, atol=1e-3)) != official


def test_training_keeps_the_statistics_of_batch_norm_unless_told() -> None:
    for train_batch_norm in (False, True):
        model = tiny_model("resnet", "combiner", train_batch_norm=train_batch_norm).train()
        before = model.vision_model.bn1.running_mean.clone()
        model(**tiny_inputs(model)).loss.backward()
        assert torch.equal(model.vision_model.bn1.running_mean, before) != train_batch_norm
        assert model.vision_model.bn1.weight.grad.any(), "its weight and bias are trained either way"
        assert model.combiner.dropout1.training
        assert not model.eval().combiner.dropout1.training


def test_a_fresh_combiner_starts_as_torch_leaves_linear_layers() -> None:
    model = CLIP4CirModel(tiny_config("vit", combiner_hidden_dim=400, combiner_projection_dim=300))
    for layer in (
        model.combiner.text_projection_layer,
        model.combiner.combiner_layer,
        model.combiner.dynamic_scalar[0],
    ):
        bound = layer.in_features**-0.5
        for tensor in (layer.weight, layer.bias):
            assert tensor.abs().max() <= bound
            assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_a_fresh_resnet_starts_as_clips() -> None:
    model = CLIP4CirModel(tiny_config("resnet", "sum"))
    tower = model.vision_model
    assert not tower.layer2[1].bn3.weight.any() and (tower.layer2[1].bn2.weight == 1).all()
    width = tower.attnpool.q_proj.in_features
    assert tower.attnpool.positional_embedding.std().item() == pytest.approx(width**-0.5, rel=0.15)
    assert tower.attnpool.c_proj.weight.std().item() == pytest.approx(width**-0.5, rel=0.15)
    fan_in = tower.conv3.weight[0].numel()
    assert tower.conv3.weight.abs().max() <= fan_in**-0.5 and tower.conv3.weight.std() > 0.3 * fan_in**-0.5
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))


@pytest.mark.parametrize(
    "vision",
    [
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic"),
        ViTConfig(
            hidden_size=32, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
        ),
        {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1}
        | {"num_attention_heads": 2, "image_size": 16, "patch_size": 8},
        {"model_type": "swin", "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
        | {"image_size": 32, "patch_size": 2},
    ],
    ids=lambda vision: vision["model_type"] if isinstance(vision, dict) else vision.model_type,
)
def test_any_vision_model_of_transformers_serves(vision, tmp_path) -> None:
    config = tiny_config("vit", "sum", vision_config=vision)
    model = CLIP4CirModel(config).eval()
    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.no_grad():
        features = model.get_image_features(pixels)
        pooled = model.vision_model(pixels).pooler_output.flatten(1)
    assert features.shape == (2, 16) and pooled.shape[1] == config.vision_feature_dim
    torch.testing.assert_close(features, pooled @ model.visual_projection.weight.T)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(CLIP4CirModel.from_pretrained(tmp_path).get_image_features(pixels), features)


def test_a_vision_model_without_a_pool_is_averaged() -> None:
    vision = {"model_type": "vit_mae", "hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8, "mask_ratio": 0.0}
    model = CLIP4CirModel(tiny_config("vit", "sum", vision_config=vision)).eval()
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        states = model.vision_model(pixels).last_hidden_state
        torch.testing.assert_close(
            model.get_image_features(pixels), states.mean(1) @ model.visual_projection.weight.T, rtol=1e-4, atol=1e-5
        )


def test_a_picture_of_another_size_is_refused_by_the_resnet() -> None:
    model = tiny_model("resnet", "sum")
    with pytest.raises(ValueError, match="64 pixels and got about 96 x 64"):
        model.get_image_features(torch.zeros(1, 3, 96, 64))


def test_configurations_survive_json(tmp_path) -> None:
    for kind in VISION:
        config = tiny_config(kind, combiner_dropout=0.25, train_batch_norm=True)
        config.save_pretrained(tmp_path)
        again = AutoConfig.from_pretrained(tmp_path)
        assert type(again) is CLIP4CirConfig
        assert again.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
        assert type(again.vision_config) is type(config.vision_config)
    assert CLIP4CirConfig().vision_config.model_type == "clip_vision_model"
    assert (CLIP4CirConfig().combiner_projection_dim, CLIP4CirConfig().combiner_hidden_dim) == (2048, 4096)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"combiner_type": "mean"}, "combiner_type"),
        ({"combiner_dropout": 1.0}, r"\[0, 1\)"),
        ({"combiner_dropout": -0.1}, r"\[0, 1\)"),
        ({"projection_dim": 0}, "projection_dim must be a positive"),
        ({"combiner_hidden_dim": -1}, "combiner_hidden_dim must be a positive"),
        ({"logit_scale_value": 0}, "logit_scale_value must be positive"),
        ({"projection_dim": "640"}, "projection_dim"),
        ({"vision_config": {"model_type": "no_such_model"}}, "no_such_model"),
        ({"vision_config": CLIP4CirResNetConfig(output_dim=99)}, "output_dim is 99"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"layers": (3, 4, 6)}, "four positive block counts"),
        ({"layers": (3, 4, 0, 3)}, "four positive block counts"),
        ({"width": 7}, "even"),
        ({"image_size": 100}, "multiple of 32"),
        ({"output_dim": 0}, "output_dim"),
    ],
)
def test_impossible_resnets_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CLIP4CirResNetConfig(**fields)
