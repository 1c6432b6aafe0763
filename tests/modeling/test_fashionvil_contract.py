"""FashionViL's model, its heads and its image tokenizer show the behaviour that every model of the project shows."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from modeling.fashionvil import MODELS, TASKS, FashionViLImageTokenizer
from tests import contract
from tests.modeling.fashionvil_examples import (
    pictures,
    task_inputs,
    tiny_image_tokenizer,
    tiny_inputs,
    tiny_model,
    tiny_processor,
)

HEADS = list(MODELS)
WITH_TEXT = [head for head in HEADS if head != "FashionViLForOutfitRetrieval"]
PRETRAINING = "FashionViLForPreTraining"
METHODS = {
    "get_image_features": ["pixel_values"],
    "get_text_features": ["input_ids", "attention_mask"],
    "get_query_features": ["pixel_values", "input_ids", "attention_mask"],
    "get_fused_features": ["pixel_values", "input_ids", "attention_mask"],
}
# Outputs with one row per input, and without a place for padding.
ROWS = {
    "FashionViLModel": ["image_features", "text_features", "query_features", "fused_features", "image_tokens"],
    PRETRAINING: ["query_embeds", "target_embeds"],
    "FashionViLForRetrieval": ["query_embeds", "target_embeds"],
    "FashionViLForComposition": ["query_embeds", "target_embeds"],
    "FashionViLForClassification": ["logits"],
    "FashionViLForOutfitRetrieval": ["query_embeds", "target_embeds", "item_features", "subspace_weights"],
}
SOFTMAX = {"key.bias": "a softmax doesn't see what is added to all its scores: zero but for rounding"}
FUSION = "images and texts alone are encoded; pictures bypass the transformer"
NO_GRADIENT = {
    "FashionViLForRetrieval": {
        "pooler.dense.weight": FUSION,
        "pooler.dense.bias": FUSION,
        "embeddings_visual.weight": FUSION,
    },
    "FashionViLForComposition": {
        "pooler.dense.weight": "queries are means over image positions",
        "pooler.dense.bias": "queries are means over image positions",
    },
}


class ReadParts(nn.Module):
    """What a head's `forward` gives, without states at padded positions."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        output = self.model(**inputs)
        return {name: output[name] for name in self.names}


@pytest.fixture(params=HEADS)
def head(request) -> str:
    return request.param


def _loss(model: nn.Module, head: str) -> torch.Tensor:
    # Through forward(), as in distributed training, where nothing else is synchronised.
    output = model(**tiny_inputs(head))
    if head != "FashionViLModel":
        return output.loss
    return sum((output[name] ** 2).sum() for name in ROWS[head])


def _losses(head: str) -> list:
    if head != PRETRAINING:
        return [functools.partial(_loss, head=head)]
    return [lambda model, task=task: model(**task_inputs(task)).loss for task in TASKS]


@pytest.mark.parametrize("vision", ["resnet", "vit"])
def test_save_and_reload_gives_equal_outputs(head: str, vision: str, tmp_path: Path) -> None:
    contract.save_and_reload_gives_equal_outputs(tiny_model(head, vision), tiny_inputs(head), tmp_path)


def test_a_hub_user_gets_equal_features_of_every_head(tmp_path: Path) -> None:
    models = {head: tiny_model(head) for head in WITH_TEXT}
    models["own_encoders"] = tiny_model(share_encoders=False, bypass_transformer=False)
    processors = dict.fromkeys(models, tiny_processor())
    contract.remote_code_gives_equal_features(models, processors, tmp_path, METHODS)
    for name in WITH_TEXT:
        assert f'"architectures": [\n    "{name}"' in (tmp_path / name / "config.json").read_text()


def test_a_hub_user_gets_equal_features_of_outfit_items(tmp_path: Path) -> None:
    models = {"outfits": tiny_model("FashionViLForOutfitRetrieval", outfit_frozen_stages=[4])}
    methods = {"get_image_features": ["pixel_values"]}
    contract.remote_code_gives_equal_features(models, {"outfits": tiny_processor()}, tmp_path, methods)


TWO_HEADS = """
import json, sys
from transformers import AutoModel
for folder in json.loads(sys.argv[1]):
    print(type(AutoModel.from_pretrained(folder, trust_remote_code=True)).__name__)
"""


@pytest.mark.parametrize("second", ["FashionViLForComposition", "FashionViLForOutfitRetrieval"])
def test_a_hub_user_reads_two_heads_from_folders_of_one_name(second: str, tmp_path: Path) -> None:
    heads = ["FashionViLForRetrieval", second]
    folders = [str(tmp_path / head / "model") for head in heads]
    for head, folder in zip(heads, folders, strict=True):
        tiny_model(head).save_pretrained(folder)
    done = subprocess.run(
        [sys.executable, "-I", "-c", contract.WITHOUT_PROJECT + TWO_HEADS, json.dumps(folders)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == heads


def test_a_batch_of_one_equals_its_row(head: str) -> None:
    model = ReadParts(tiny_model(head), ROWS[head])
    contract.batch_of_one_equals_its_row(model, tiny_inputs(head), ROWS[head])


@pytest.mark.parametrize("head", WITH_TEXT)
def test_padding_changes_nothing(head: str) -> None:
    model = ReadParts(tiny_model(head), ROWS[head])
    contract.padding_changes_nothing(model, tiny_inputs(head), tiny_inputs(head, length=25))


@pytest.mark.parametrize("task", TASKS)
def test_padding_changes_no_pretraining_loss(task: str) -> None:
    model = tiny_model(PRETRAINING)
    with torch.no_grad():
        short, long = (model(**task_inputs(task, length)).loss for length in (None, 20))
    torch.testing.assert_close(long, short, atol=1e-5, rtol=1e-5)


def test_every_trainable_parameter_gets_a_gradient(head: str) -> None:
    model = tiny_model(head)
    contract.every_trainable_parameter_gets_a_gradient(model, _losses(head), SOFTMAX | NO_GRADIENT.get(head, {}))


def test_every_parameter_of_the_ablation_gets_a_gradient() -> None:
    model = tiny_model(share_encoders=False, bypass_transformer=False)
    exceptions = SOFTMAX | {
        name: "single modalities have no pooled feature"
        for name in ("bert_2.pooler.dense.weight", "bert_2.pooler.dense.bias")
    }
    contract.every_trainable_parameter_gets_a_gradient(model, _losses("FashionViLModel"), exceptions)


def test_loading_restores_buffers_and_fills_missing_tensors(head: str, tmp_path: Path) -> None:
    contract.loading_restores_every_buffer_and_fills_what_is_missing(tiny_model(head), tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs(head: str, dtype: torch.dtype) -> None:
    contract.half_precision_runs(tiny_model(head), tiny_inputs(head), dtype, tolerance=3e-2)


@pytest.mark.parametrize("head", WITH_TEXT)
def test_checkpointing_gives_equal_gradients(head: str) -> None:
    contract.checkpointing_gives_equal_gradients(tiny_model(head), functools.partial(_loss, head=head))


@pytest.mark.parametrize("head", ["FashionViLModel", PRETRAINING])
def test_it_compiles_without_a_graph_break(head: str) -> None:
    contract.compiles_without_a_graph_break(tiny_model(head), tiny_inputs(head))


def test_it_loads_on_a_device_map(head: str, tmp_path: Path) -> None:
    contract.loads_on_a_device_map(tiny_model(head), tiny_inputs(head), tmp_path)


@pytest.mark.parametrize("head", WITH_TEXT)
def test_attention_implementations_agree(head: str, tmp_path: Path) -> None:
    contract.attention_implementations_agree(tiny_model(head), tiny_inputs(head), tmp_path)


@pytest.mark.parametrize("head", ["FashionViLForComposition", PRETRAINING])
def test_lora_trains_saves_reloads_and_merges(head: str, tmp_path: Path) -> None:
    contract.lora_trains_saves_reloads_and_merges(
        tiny_model(head),
        tiny_inputs(head),
        functools.partial(_loss, head=head),
        tmp_path,
        target_modules=["query", "value"],
        touched=["bert.encoder"],
    )


def test_the_configuration_is_publishable(head: str) -> None:
    contract.configuration_is_publishable(MODELS[head])


def test_the_image_tokenizer_keeps_the_contract(tmp_path: Path) -> None:
    inputs = {"pixel_values": pictures()}
    model = tiny_image_tokenizer()
    contract.save_and_reload_gives_equal_outputs(model, inputs, tmp_path / "saved")
    contract.loading_restores_every_buffer_and_fills_what_is_missing(model, tmp_path / "missing")
    contract.batch_of_one_equals_its_row(model, inputs, ["codes", "reconstruction"], 1e-4)
    contract.every_trainable_parameter_gets_a_gradient(
        model, [lambda m: m(**inputs).loss], {".k.bias": "a softmax doesn't see what is added to all its scores"}
    )
    assert FashionViLImageTokenizer._auto_class == "AutoModel"
