"""FashionKLIP shows the behaviour that every model of the project shows."""

from pathlib import Path

import pytest
import torch

from modeling.fashionklip import FashionKLIPModel
from tests import contract
from tests.modeling.fashionklip_examples import tiny_inputs, tiny_model, tiny_processor

KINDS = ["vit", "mobilenet"]
FEATURES = ["image_features", "text_features", "image_embeds", "text_embeds"]
METHODS = {"get_image_features": ["pixel_values"], "get_text_features": ["input_ids", "attention_mask"]}
NO_GRADIENT = {
    "k_proj.bias": "a softmax doesn't see what is added to all its scores: zero but for rounding",
}


@pytest.fixture(params=KINDS)
def model(request) -> FashionKLIPModel:
    return tiny_model(request.param)


def test_save_and_reload_gives_equal_outputs(model, tmp_path: Path) -> None:
    contract.save_and_reload_gives_equal_outputs(model, tiny_inputs(model, concepts=True), tmp_path)


def test_a_hub_user_gets_equal_features(tmp_path: Path) -> None:
    models = {kind: tiny_model(kind) for kind in KINDS}
    processors = {kind: tiny_processor(model) for kind, model in models.items()}
    contract.remote_code_gives_equal_features(models, processors, tmp_path, METHODS)


def test_a_batch_of_one_equals_its_row(model) -> None:
    contract.batch_of_one_equals_its_row(model, tiny_inputs(model), FEATURES)


def test_padding_changes_nothing(model) -> None:
    contract.padding_changes_nothing(
        model, tiny_inputs(model, concepts=True), tiny_inputs(model, length=77, concepts=True)
    )


def test_every_trainable_parameter_gets_a_gradient(model) -> None:
    assert all(parameter.requires_grad for parameter in model.parameters())
    contract.every_trainable_parameter_gets_a_gradient(model, [_loss], NO_GRADIENT)


def test_loading_restores_buffers_and_fills_missing_tensors(model, tmp_path: Path) -> None:
    contract.loading_restores_every_buffer_and_fills_what_is_missing(model, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(model, dtype: torch.dtype) -> None:
    contract.half_precision_runs(model, tiny_inputs(model, concepts=True), dtype, tolerance=2e-2)


def test_checkpointing_gives_equal_gradients(model) -> None:
    contract.checkpointing_gives_equal_gradients(model, _loss)


def test_it_compiles_without_a_graph_break() -> None:
    model = tiny_model("vit")
    contract.compiles_without_a_graph_break(model, tiny_inputs(model, concepts=True))


def test_it_loads_on_a_device_map(model, tmp_path: Path) -> None:
    contract.loads_on_a_device_map(model, tiny_inputs(model), tmp_path)


def test_attention_implementations_agree(model, tmp_path: Path) -> None:
    contract.attention_implementations_agree(model, tiny_inputs(model), tmp_path)


def test_lora_trains_saves_reloads_and_merges(model, tmp_path: Path) -> None:
    contract.lora_trains_saves_reloads_and_merges(
        model,
        tiny_inputs(model),
        _loss,
        tmp_path,
        target_modules=["q_proj", "v_proj"],
        touched=["text_model", "vision_model"] if model.config.has_clip_vision else ["text_model"],
    )


def test_the_configuration_is_publishable() -> None:
    contract.configuration_is_publishable(FashionKLIPModel)


def _loss(model) -> torch.Tensor:
    # Through forward(), as in distributed training, where nothing else is synchronised.
    return model(**tiny_inputs(model)).loss
