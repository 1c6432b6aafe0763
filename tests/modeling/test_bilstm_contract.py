"""The outfit models show the behaviour that every model of the project shows."""

from pathlib import Path

import pytest
import torch

from modeling.bilstm import BiLSTMModel
from tests import contract
from tests.modeling.bilstm_examples import tiny_inputs, tiny_model, tiny_processor

# What a model may be, each choice at least once: variant, cell, image network, inputs of an item.
KINDS = {
    "inception": {"vision": "inception"},
    "gru-both": {"vision": "vit", "cell": "gru", "item_inputs": "both"},
    "rnn": {"vision": "mobilenet", "cell": "rnn"},
    "no-vse": {"vision": "vit", "variant": "bilstm-no-vse"},
    "text": {"vision": None, "vision_feature_dim": None, "variant": "bilstm-no-vse", "item_inputs": "text"},
    "features": {"vision": None, "item_inputs": "both"},
    "vse": {"vision": "mobilenet", "variant": "vse"},
    "siamese": {"vision": "vit", "variant": "siamese"},
}
WITH_TRANSFORMER = ["gru-both", "no-vse", "siamese"]
EMBEDDINGS = ["image_embeds", "item_embeds", "text_embeds"]
READ = ["forward_outputs", "backward_outputs", "forward_predictions", "backward_predictions"]
NO_GRADIENT = {"k_proj.bias": "a softmax doesn't see what is added to all its scores: zero but for rounding"}
UNTRAINED = {"image_embedding.weight", "word_embedding.weight"}  # of "bilstm-no-vse", as published


@pytest.fixture(params=KINDS)
def model(request) -> BiLSTMModel:
    return tiny_model(**KINDS[request.param])


@pytest.fixture(params=WITH_TRANSFORMER)
def with_transformer(request) -> BiLSTMModel:
    return tiny_model(**KINDS[request.param])


def _rows(model: BiLSTMModel) -> list[str]:
    """Outputs that have one row per outfit."""
    names = EMBEDDINGS[:1] if model.config.has_images else []
    names += [EMBEDDINGS[1], *READ] if model.config.has_recurrent else []
    return names + (EMBEDDINGS[2:] if model.config.has_text else [])


def _loss(model) -> torch.Tensor:
    # Through forward(), as in distributed training, where nothing else is synchronised.
    return model(**tiny_inputs(getattr(model, "base_model", model))).loss


def test_save_and_reload_gives_equal_outputs(model, tmp_path: Path) -> None:
    contract.save_and_reload_gives_equal_outputs(model, tiny_inputs(model), tmp_path)


@pytest.mark.parametrize(
    "kinds, methods",
    [
        (
            ["inception", "gru-both", "no-vse"],
            {
                "get_image_features": ["pixel_values"],
                "get_text_features": ["input_ids", "attention_mask"],
                "get_item_features": ["pixel_values", "input_ids", "attention_mask"],
            },
        ),
        (["text"], {"get_item_features": ["pixel_values", "input_ids", "attention_mask"]}),
        (["vse"], {"get_image_features": ["pixel_values"], "get_text_features": ["input_ids", "attention_mask"]}),
        (["siamese"], {"get_image_features": ["pixel_values"]}),
    ],
    ids=["recurrent", "text", "vse", "siamese"],
)
def test_a_hub_user_gets_equal_features(kinds: list[str], methods: dict, tmp_path: Path) -> None:
    models = {kind: tiny_model(**KINDS[kind]) for kind in kinds}
    processors = {kind: tiny_processor(model) for kind, model in models.items()}
    contract.remote_code_gives_equal_features(models, processors, tmp_path, methods)


def test_a_batch_of_one_equals_its_row(model) -> None:
    contract.batch_of_one_equals_its_row(model, tiny_inputs(model), _rows(model))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "siamese"])  # which reads no words
def test_word_padding_changes_nothing(kind: str) -> None:
    model = tiny_model(**KINDS[kind])
    contract.padding_changes_nothing(model, tiny_inputs(model), tiny_inputs(model, words=9))


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_item_padding_changes_nothing(kind: str, official: bool) -> None:
    # Not with the siamese original's pairs, which are those of the padded places by definition.
    model = tiny_model(**KINDS[kind], official_end_columns=official)
    inputs = tiny_inputs(model)
    longer = {
        name: torch.cat([value, value.flip(0)[:, :2] if name != "item_mask" else torch.zeros_like(value[:, :2])], 1)
        for name, value in inputs.items()
    }
    mask = inputs["item_mask"].bool()
    expected, actual = contract.outputs_of(model, inputs), contract.outputs_of(model, longer)
    assert expected["loss"].isfinite() and set(_rows(model)) < set(expected)
    for name, value in expected.items():
        found = actual[name] if not value.ndim else actual[name][:, :3][mask]
        torch.testing.assert_close(found, value if not value.ndim else value[mask], atol=1e-5, rtol=1e-5)


def test_every_trainable_parameter_gets_a_gradient(model) -> None:
    assert all(parameter.requires_grad for parameter in model.parameters())
    untrained = UNTRAINED if model.config.variant == "bilstm-no-vse" else set()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in untrained)
    contract.every_trainable_parameter_gets_a_gradient(model, [_loss], NO_GRADIENT)


def test_what_no_vse_only_carries_along_gets_no_gradient() -> None:
    model = tiny_model(**KINDS["no-vse"])
    _loss(model).backward()
    assert {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()} >= UNTRAINED


def test_loading_restores_buffers_and_fills_missing_tensors(model, tmp_path: Path) -> None:
    contract.loading_restores_every_buffer_and_fills_what_is_missing(model, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(model, dtype: torch.dtype) -> None:
    # Places without an item have outputs of zero, which have no direction.
    contract.half_precision_runs(model, tiny_inputs(model, full=True), dtype, tolerance=2e-2)


def test_training_runs_under_autocast(model) -> None:
    exact = _loss(model).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = _loss(model)
    loss.backward()
    assert loss.item() == pytest.approx(exact, rel=0.05, abs=0.02)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_it_loads_on_a_device_map(model, tmp_path: Path) -> None:
    contract.loads_on_a_device_map(model, tiny_inputs(model), tmp_path)


def test_attention_implementations_agree(with_transformer, tmp_path: Path) -> None:
    contract.attention_implementations_agree(with_transformer, tiny_inputs(with_transformer), tmp_path)


def test_a_backbone_recomputes_its_activations(with_transformer) -> None:
    with_transformer.config.recurrent_dropout = 0.0
    contract.checkpointing_gives_equal_gradients(with_transformer, _loss)


def test_lora_trains_saves_reloads_and_merges(with_transformer, tmp_path: Path) -> None:
    contract.lora_trains_saves_reloads_and_merges(
        with_transformer,
        tiny_inputs(with_transformer),
        lambda tuned: tuned(**tiny_inputs(tuned.get_base_model())).loss,
        tmp_path,
        target_modules=["q_proj", "v_proj"],
        touched=["vision_model"],
    )


def test_the_configuration_is_publishable() -> None:
    contract.configuration_is_publishable(BiLSTMModel)
