"""CLIP4Cir shows the behaviour that every model of the project shows."""

from pathlib import Path

import pytest
import torch

from modeling.clip4cir import CLIP4CirModel
from tests import contract
from tests.modeling.clip4cir_examples import tiny_inputs, tiny_model, tiny_processor

KINDS = [("vit", "combiner"), ("resnet", "sum"), ("mobilenet", "combiner")]
FEATURES = ["image_features", "text_features", "target_features", "query_embeds", "target_embeds"]
METHODS = {
    "get_image_features": ["pixel_values"],
    "get_text_features": ["input_ids", "attention_mask"],
    "get_query_features": ["pixel_values", "input_ids", "attention_mask"],
}
NO_GRADIENT = {
    "k_proj.bias": "a softmax doesn't see what is added to all its scores: zero but for rounding",
}


@pytest.fixture(params=KINDS, ids=["-".join(kind) for kind in KINDS])
def model(request) -> CLIP4CirModel:
    return tiny_model(*request.param)


def test_save_and_reload_gives_equal_outputs(model, tmp_path: Path) -> None:
    contract.save_and_reload_gives_equal_outputs(model, tiny_inputs(model), tmp_path)


def test_a_hub_user_gets_equal_features(tmp_path: Path) -> None:
    models = {"-".join(kind): tiny_model(*kind) for kind in KINDS}
    processors = {name: tiny_processor(model) for name, model in models.items()}
    contract.remote_code_gives_equal_features(models, processors, tmp_path, METHODS)


def test_a_batch_of_one_equals_its_row(model) -> None:
    contract.batch_of_one_equals_its_row(model, tiny_inputs(model), FEATURES)


def test_padding_changes_nothing(model) -> None:
    contract.padding_changes_nothing(model, tiny_inputs(model), tiny_inputs(model, length=77))


def test_every_trainable_parameter_gets_a_gradient(model) -> None:
    contract.every_trainable_parameter_gets_a_gradient(model, [_loss], NO_GRADIENT)


def test_the_unused_logit_scale_never_trains(model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again, _ = CLIP4CirModel.from_pretrained(tmp_path, output_loading_info=True)
    for candidate in (model, CLIP4CirModel.from_pretrained(tmp_path), again):
        assert not candidate.logit_scale.requires_grad


def test_loading_restores_buffers_and_fills_missing_tensors(model, tmp_path: Path) -> None:
    contract.loading_restores_every_buffer_and_fills_what_is_missing(model, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(model, dtype: torch.dtype) -> None:
    contract.half_precision_runs(model, tiny_inputs(model), dtype, tolerance=2e-2)


def test_checkpointing_gives_equal_gradients(model) -> None:
    contract.checkpointing_gives_equal_gradients(model, _loss)


@pytest.mark.parametrize("vision", ["vit", "resnet"])
def test_it_compiles_without_a_graph_break(vision: str) -> None:
    model = tiny_model(vision, "combiner")
    contract.compiles_without_a_graph_break(model, tiny_inputs(model))


def test_it_loads_on_a_device_map(model, tmp_path: Path) -> None:
    contract.loads_on_a_device_map(model, tiny_inputs(model), tmp_path)


def test_attention_implementations_agree(model, tmp_path: Path) -> None:
    contract.attention_implementations_agree(model, tiny_inputs(model), tmp_path)


def test_lora_trains_saves_reloads_and_merges(model, tmp_path: Path) -> None:
    has_attention = model.config.vision_config.model_type != "mobilenet_v2"
    contract.lora_trains_saves_reloads_and_merges(
        model,
        tiny_inputs(model),
        _loss,
        tmp_path,
        target_modules=["q_proj", "v_proj"],
        touched=["text_model", "vision_model"] if has_attention else ["text_model"],
    )


def test_the_configuration_is_publishable() -> None:
    contract.configuration_is_publishable(CLIP4CirModel)


def _loss(model) -> torch.Tensor:
    # Through forward(), as in distributed training, where nothing else is synchronised.
    return model(**tiny_inputs(model)).loss
