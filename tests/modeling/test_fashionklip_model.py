"""FashionKLIP's model: what each input gives, the loss against a loop, pooling, initial values, configuration."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPModel, CLIPTextConfig, ResNetConfig, ViTConfig

from modeling.fashionklip import FashionKLIPConfig, FashionKLIPModel
from tests.modeling.fashionklip_examples import tiny_config, tiny_inputs, tiny_model, tiny_processor

FIELDS = {
    "loss",
    "logits_per_image",
    "logits_per_text",
    "image_embeds",
    "text_embeds",
    "concept_embeds",
    "image_features",
    "text_features",
    "concept_features",
}


def test_any_part_of_the_inputs_gives_what_it_can() -> None:
    model = tiny_model()
    inputs = tiny_inputs(model, concepts=True)
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    concepts = {name: inputs[name] for name in ("concept_input_ids", "concept_attention_mask")}
    with torch.no_grad():
        whole = model(**inputs)
        assert set(whole) == FIELDS
        assert set(model(pixel_values=inputs["pixel_values"])) == {"image_features", "image_embeds"}
        assert set(model(**texts)) == {"text_features", "text_embeds"}
        assert set(model(**concepts)) == {"concept_features", "concept_embeds"}
        assert set(model(**concepts, **texts)) == {n for n in FIELDS if n.startswith(("concept_", "text_"))}
        features = {name: whole[name] for name in ("image_features", "text_features")}
        again = model(**features)
        assert torch.equal(again.loss, whole.loss) and torch.equal(again.logits_per_image, whole.logits_per_image)
        as_tuple = model(**features, return_dict=False)
        assert isinstance(as_tuple, tuple) and as_tuple[0] == whole.loss
    for name in ("image", "text", "concept"):
        torch.testing.assert_close(whole[f"{name}_embeds"], F.normalize(whole[f"{name}_features"], dim=-1))
    assert torch.equal(whole.logits_per_text, whole.logits_per_image.T)
    with pytest.raises(ValueError, match="at least one"):
        model()
    with pytest.raises(ValueError, match="pixel_values and image_features"):
        model(pixel_values=inputs["pixel_values"], image_features=features["image_features"])
    with pytest.raises(ValueError, match="input_ids and text_features"):
        model(input_ids=inputs["input_ids"], text_features=features["text_features"])


def test_unequal_numbers_of_images_and_texts_have_logits_and_no_loss() -> None:
    model = tiny_model()
    output = model(image_features=torch.randn(2, 16), text_features=torch.randn(5, 16))
    assert output.loss is None and output.logits_per_image.shape == (2, 5)


def test_concepts_are_read_as_texts_are() -> None:
    model = tiny_model()
    inputs = tiny_inputs(model, concepts=True)
    with torch.no_grad():
        read = model(**inputs).concept_features
        as_text = model.get_text_features(inputs["concept_input_ids"], inputs["concept_attention_mask"])
    assert torch.equal(read, as_text)


def test_the_loss_is_that_of_a_loop_over_both_directions() -> None:
    model = tiny_model()
    images, texts = torch.randn(2, 5, 16)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    loss = model(image_features=images, text_features=texts).loss
    scores = [[math.exp(2) * float(i @ t / i.norm() / t.norm()) for t in texts] for i in images]
    terms = []
    for table in (scores, list(zip(*scores, strict=True))):
        terms += [math.log(sum(map(math.exp, row))) - row[number] for number, row in enumerate(table)]
    assert loss.item() == pytest.approx(sum(terms) / 10, abs=1e-5)


def test_the_logit_scale_trains_and_is_left_unclamped() -> None:
    model = tiny_model()
    assert model.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    with torch.no_grad():
        model.logit_scale.fill_(5.0)
    output = model(image_features=torch.eye(16)[:3], text_features=torch.eye(16)[:3])
    assert output.logits_per_image[0, 0].item() == pytest.approx(math.exp(5))
    model(**tiny_inputs(model)).loss.backward()
    assert model.logit_scale.grad is not None and model.logit_scale.grad != 0
    assert tiny_model(logit_scale_init_value=1).logit_scale.item() == 1


def test_text_features_are_read_at_the_first_end() -> None:
    model = tiny_model()
    ids = torch.tensor([[538, 7, 8, 539, 539, 539], [538, 7, 8, 539, 9, 539], [538, 7, 8, 539, 0, 0]])
    with torch.no_grad():
        features = model.get_text_features(ids)
        short = model.get_text_features(ids[:1, :4])[0]
    for row in features:
        torch.testing.assert_close(row, short)
    # A padding id above the end's is no text where the mask says so.
    grown = tiny_model()
    grown.resize_token_embeddings(545)
    padded = torch.tensor([[538, 7, 8, 539, 544]])
    with torch.no_grad():
        masked = grown.get_text_features(padded, torch.tensor([[1, 1, 1, 1, 0]]))
        torch.testing.assert_close(masked, grown.get_text_features(padded[:, :4]))


def test_long_texts_differ_unless_they_are_cut_as_the_original_does() -> None:
    model = tiny_model()
    texts = ["with long sleeves " * 40, "red dress and buttons " * 40]
    features = {}
    for official in (False, True):
        processor = tiny_processor(model, official_truncation=official)
        with torch.no_grad():
            features[official] = model.get_text_features(**processor(text=texts, return_tensors="pt"))
    assert torch.equal(features[True][0], features[True][1])
    assert not torch.allclose(features[False][0], features[False][1], atol=1e-3)


def test_logits_are_float32_under_autocast() -> None:
    features = dict(zip(("image_features", "text_features"), torch.randn(2, 4, 16), strict=True))
    model = tiny_model()
    exact = model(**features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**features)
    assert output.logits_per_image.dtype == output.loss.dtype == torch.float32
    torch.testing.assert_close(output.logits_per_image, exact.logits_per_image)


def _wide_config(**vision) -> FashionKLIPConfig:
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 2}
    return FashionKLIPConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 64, "patch_size": 8} | tower | vision,
        text_config={"vocab_size": 400} | tower,
        projection_dim=64,
    )


def test_a_fresh_text_tower_starts_as_openais() -> None:
    model = FashionKLIPModel(_wide_config())
    text = model.text_model
    attention, mlp = text.encoder.layers[1].self_attn, text.encoder.layers[1].mlp
    deep = 128**-0.5 * 6**-0.5
    deviations = {
        text.embeddings.token_embedding: 0.02,
        text.embeddings.position_embedding: 0.01,
        attention.q_proj: 128**-0.5,
        attention.k_proj: 128**-0.5,
        attention.v_proj: 128**-0.5,
        attention.out_proj: deep,
        mlp.fc1: 256**-0.5,
        mlp.fc2: deep,
        model.text_projection: 128**-0.5,
        model.visual_projection: 128**-0.5,
    }
    for module, deviation in deviations.items():
        assert module.weight.std().item() == pytest.approx(deviation, rel=0.06), module
        # A normal draw of this size goes beyond twice its deviation.
        assert module.weight.abs().max() > 3 * deviation
    assert not attention.q_proj.bias.any() and not attention.out_proj.bias.any()
    for linear in (mlp.fc1, mlp.fc2):
        assert 0.8 * linear.in_features**-0.5 < linear.bias.abs().max() <= linear.in_features**-0.5


def test_a_fresh_vision_tower_starts_as_openais() -> None:
    tower = FashionKLIPModel(_wide_config()).vision_model
    embeddings, layer = tower.embeddings, tower.encoder.layers[1]
    for tensor in (embeddings.class_embedding, embeddings.position_embedding.weight):
        assert tensor.std().item() == pytest.approx(128**-0.5, rel=0.2)
    bounds = {
        embeddings.patch_embedding: (3 * 8 * 8) ** -0.5,
        layer.self_attn.k_proj: (6 / (4 * 128)) ** 0.5,
        layer.self_attn.out_proj: 128**-0.5,
        layer.mlp.fc1: 128**-0.5,
        layer.mlp.fc2: 512**-0.5,
    }
    for module, bound in bounds.items():
        assert 0.98 * bound < module.weight.abs().max() <= bound, module
        assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    # PyTorch's own attention, from which the bound of query, key and value comes.
    reference = torch.nn.MultiheadAttention(128, 2).in_proj_weight.abs().max().item()
    assert layer.self_attn.q_proj.weight.abs().max().item() == pytest.approx(reference, rel=0.02)
    assert not layer.self_attn.v_proj.bias.any() and layer.mlp.fc1.bias.any()


def test_initial_values_do_not_touch_loaded_ones(tmp_path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    fresh = tiny_model()
    again = FashionKLIPModel.from_pretrained(tmp_path)
    assert not torch.equal(fresh.text_projection.weight, model.text_projection.weight)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_another_image_tower_keeps_its_own_initial_values() -> None:
    torch.manual_seed(0)
    alone = AutoModel.from_config(tiny_config("mobilenet").vision_config)
    tower = FashionKLIPModel(tiny_config("mobilenet")).vision_model
    for (name, ours), theirs in zip(tower.named_parameters(), alone.parameters(), strict=True):
        assert ours.std(correction=0).item() == pytest.approx(theirs.std(correction=0).item(), rel=0.35), name


def test_the_names_are_those_of_a_clip_of_transformers() -> None:
    config = tiny_config()
    clip = CLIPModel(
        CLIPConfig(
            text_config=config.text_config.to_dict(), vision_config=config.vision_config.to_dict(), projection_dim=16
        )
    )
    names = {name for name in clip.state_dict() if not name.endswith("position_ids")}
    assert FashionKLIPModel(config).state_dict().keys() == names


def test_training_keeps_the_statistics_of_batch_norm_unless_told() -> None:
    for train_batch_norm in (False, True):
        model = tiny_model("mobilenet", train_batch_norm=train_batch_norm).train()
        norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
        before = norm.running_mean.clone()
        model(**tiny_inputs(model)).loss.backward()
        assert torch.equal(norm.running_mean, before) != train_batch_norm
        assert norm.weight.grad.any(), "its weight and bias are trained either way"


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
    config = tiny_config(vision_config=vision)
    model = FashionKLIPModel(config).eval()
    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.no_grad():
        features = model.get_image_features(pixels)
        pooled = model.vision_model(pixels).pooler_output.flatten(1)
    assert features.shape == (2, 16) and pooled.shape[1] == config.vision_feature_dim
    torch.testing.assert_close(features, pooled @ model.visual_projection.weight.T)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(FashionKLIPModel.from_pretrained(tmp_path).get_image_features(pixels), features)


def test_a_vision_model_without_a_pool_is_averaged() -> None:
    vision = {"model_type": "vit_mae", "hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8, "mask_ratio": 0.0}
    model = FashionKLIPModel(tiny_config(vision_config=vision)).eval()
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        states = model.vision_model(pixels).last_hidden_state
        torch.testing.assert_close(
            model.get_image_features(pixels), states.mean(1) @ model.visual_projection.weight.T, rtol=1e-4, atol=1e-5
        )


def test_configurations_survive_json(tmp_path) -> None:
    for kind in ("vit", "mobilenet"):
        config = tiny_config(kind, logit_scale_init_value=3, train_batch_norm=True)
        config.save_pretrained(tmp_path)
        again = AutoConfig.from_pretrained(tmp_path)
        assert type(again) is FashionKLIPConfig
        assert again.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
        assert type(again.vision_config) is type(config.vision_config)
        assert again.has_clip_vision == (kind == "vit") and again.image_size == 32
    default = FashionKLIPConfig()
    assert default.has_clip_vision and type(default.text_config) is CLIPTextConfig
    assert (default.projection_dim, default.hidden_size, default.image_size) == (512, 512, 224)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"projection_dim": 0}, "projection_dim must be a positive"),
        ({"projection_dim": "640"}, "projection_dim must be a positive"),
        ({"vision_feature_dim": True}, "vision_feature_dim must be a positive"),
        ({"logit_scale_init_value": float("nan")}, "logit_scale_init_value must be a finite"),
        ({"logit_scale_init_value": "2.6"}, "logit_scale_init_value must be a finite"),
        ({"vision_config": {"model_type": "no_such_model"}}, "no_such_model"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)
