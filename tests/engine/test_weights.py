"""Weights that are not all there are an error wherever a saved model is taken up, not random numbers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling.fashionklip import FashionKLIPConfig, FashionKLIPModel
from tests.modeling.fashionklip_examples import tiny_model, tiny_processor
from train.engine.clip4cir import from_scratch
from train.engine.fashionklip_arguments import StartArguments
from train.engine.weights import whole_model
from train.publish import _save_merged


def without(folder, ending: str) -> str:
    """Take the tensors with that ending out of a saved model; the name of the first one."""
    tensors = load_file(folder / "model.safetensors")
    lost = [name for name in tensors if name.endswith(ending)]
    kept = {name: tensor for name, tensor in tensors.items() if name not in lost}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return min(lost)


@pytest.fixture
def mobilenet(tmp_path):
    """An image classifier, whose tower may start a FashionKLIP."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    folder = tmp_path / "mobilenet"
    MobileNetV2ForImageClassification(MobileNetV2Config(depth_multiplier=0.35, image_size=32)).save_pretrained(folder)
    return folder


def test_counters_of_batch_norm_may_be_missing_and_start_at_zero(mobilenet):
    from transformers import AutoModel

    without(mobilenet, ".num_batches_tracked")
    tower = whole_model(AutoModel, str(mobilenet))
    assert tower.conv_stem.first_conv.normalization.num_batches_tracked == 0


def test_an_image_tower_that_is_not_whole_starts_no_model(mobilenet, tmp_path):
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings = {"projection_dim": 16, "vision_config": {"model_type": "mobilenet_v2"}, "text_config": text}
    (tmp_path / "tiny.yaml").write_text(json.dumps(settings))
    arguments = StartArguments(architecture=str(tmp_path / "tiny.yaml"), vision_weights=str(mobilenet))
    model, _ = from_scratch(arguments, ["a red coat"], FashionKLIPConfig, FashionKLIPModel)
    name = "conv_stem.first_conv.convolution.weight"
    stored = load_file(mobilenet / "model.safetensors")[f"mobilenet_v2.{name}"]
    assert torch.equal(model.vision_model.get_parameter(name), stored)
    without(mobilenet, name)
    with pytest.raises(ValueError, match=f"mobilenet: 1 tensors .* not among the weights.*{name}"):
        from_scratch(arguments, ["a red coat"], FashionKLIPConfig, FashionKLIPModel)


def test_an_adapter_is_not_merged_into_a_base_that_is_not_whole(tmp_path):
    base, adapter, stage = tmp_path / "base", tmp_path / "adapter", tmp_path / "stage"
    model = tiny_model()
    model.save_pretrained(base)
    tiny_processor(model).save_pretrained(base)
    lost = without(base, "text_projection.weight")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    with pytest.raises(ValueError, match=f"base: 1 tensors .* not among the weights.*{lost}"):
        _save_merged(adapter, stage, [])
    assert not stage.exists()


def test_names_that_lead_to_no_model_are_explained(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "config.json").write_text("{}")
    for name, message in (
        (str(tmp_path / "run"), "run holds no config.json: .*, such as .*run/model"),
        (str(tmp_path), "holds no config.json: give a folder that save_pretrained wrote$"),
        (str(tmp_path / "gone" / "model"), "no model at .*neither a folder nor the name of a Hub repository"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            whole_model(FashionKLIPModel, name)
