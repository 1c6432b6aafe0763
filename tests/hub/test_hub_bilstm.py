"""Outfit models on the Hub: every variant is published, loads elsewhere, and its card's code runs."""

import re

import pytest
import torch
from huggingface_hub import ModelCard

from modeling.bilstm import BiLSTMModel, BiLSTMProcessor
from tests.hub.conftest import assert_features_close
from tests.modeling.bilstm_examples import tiny_model, tiny_processor

LOAD = """
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("{model}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{model}", trust_remote_code=True)
"""
FEATURES = """
import torch
from PIL import Image
pictures = [Image.radial_gradient("L").resize(size).convert("RGB") for size in ((60, 80), (40, 40))]
inputs = processor(images=pictures, text=["red coat", "long blue sleeves"], return_tensors="pt")
words = {name: inputs[name] for name in ("input_ids", "attention_mask")}
two = torch.tensor([2])
with torch.no_grad():
    model.eval()
    features = {}
    if "image" in model.input_modalities:
        features["image"] = model.get_image_features(inputs["pixel_values"])
        features["pooled"] = model.score_pooled(features["image"][None], two, features["image"][None])
    if "text" in model.input_modalities:
        features["text"] = model.get_text_features(**words)
    if model.config.has_recurrent:
        features["item"] = items = model.get_item_features(**inputs)
        features["candidates"] = model.score_candidates(items[None], two, two, items[None])
        features["outfit"] = model.score_outfits(items[None], two, items)["backward"][None]
features = {name: value.double()[0].tolist() for name, value in features.items()}
"""
KINDS = {
    "bilstm": {"vision": "inception", "item_inputs": "both"},
    "vse": {"vision": "mobilenet", "variant": "vse"},
    "siamese": {"vision": "vit", "variant": "siamese"},
}
PICTURES = "from PIL import Image\nfor name in 'abc':\n    Image.new('RGB', (9, 12)).save(f'{name}.jpg')\n"


def save(folder, **options) -> None:
    model = tiny_model(**options)
    model.save_pretrained(folder)
    tiny_processor(model).save_pretrained(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_model_gives_equal_features_where_the_project_does_not_exist(
    hub, run_client, publish_command, tmp_path, kind
):
    save(tmp_path / "model", **KINDS[kind])
    done = publish_command("--model", tmp_path / "model", "--repo_id", "org/outfits", "--license", "mit")
    assert done.returncode == 0, done.stderr
    files = hub.files("org/outfits")
    parts = ("configuration", "modeling", "processing", "image_processing", "inception", "losses", "recurrent")
    assert set(files) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        *(f"{part}_bilstm.py" for part in parts),
    }
    names = {"model": BiLSTMModel.from_pretrained(tmp_path / "model")}
    names["processor"] = BiLSTMProcessor.from_pretrained(tmp_path / "model")
    exec(FEATURES, names)
    card = ModelCard(files["README.md"].decode())
    assert {"bilstm", "outfit-compatibility"} <= set(card.data.tags) and card.data.library_name == "transformers"
    assert "Not evaluated" in card.text and not card.data.eval_results
    model = names["model"]
    for method, reads in (("get_image_features", "image"), ("get_text_features", "text")):
        assert (f"`{method}` (1, 12)" in card.text) == (reads in model.input_modalities)

    # The code of the card, as a reader copies it.
    usage = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    shown = "model.score_candidates(items[None], lengths, blank, candidates[None])"
    if not model.config.has_recurrent:
        shown = "model.score_pooled(items[None], torch.tensor([len(items)]), candidates[None])"
    assert shown in usage
    client = f"{PICTURES}{usage}\nscores = {shown}.tolist()\n{FEATURES}"
    client += "result = [scores, features, type(processor).__name__]"
    scores, features, processor = run_client(client, cache="another_machine")
    assert torch.tensor(scores).isfinite().all() and len(scores[0]) == 2
    assert processor == "BiLSTMProcessor"
    assert_features_close(features, names["features"])


def test_a_model_of_words_alone_is_published(hub, run_client, publish_command, tmp_path):
    save(tmp_path / "model", vision=None, vision_feature_dim=None, variant="bilstm-no-vse", item_inputs="text")
    done = publish_command("--model", tmp_path / "model", "--repo_id", "org/words")
    assert done.returncode == 0, done.stderr
    card = hub.files("org/words")["README.md"].decode()
    assert "get_text_features` (1, 12)" in card and "get_image_features` (1, 12)" not in card
    client = LOAD.format(model="org/words") + FEATURES + "result = features"
    assert run_client(client, cache="another_machine").keys() == {"text", "item", "candidates", "outfit"}


@pytest.mark.parametrize("variant", ["siamese", "bilstm"])
def test_a_model_of_precomputed_features_is_published(variant, hub, run_client, publish_command, tmp_path):
    save(tmp_path / "model", vision=None, variant=variant)
    done = publish_command("--model", tmp_path / "model", "--repo_id", "org/features")
    assert done.returncode == 0, done.stderr
    card = hub.files("org/features")["README.md"].decode()
    assert "`get_image_features` (1, 12)" in card and "`image_features` (pictures, 6)" in card
    client = LOAD.format(model="org/features")
    client += "import torch\nresult = model.get_image_features(image_features=torch.ones(1, 6)).tolist()"
    expected = BiLSTMModel.from_pretrained(tmp_path / "model").get_image_features(image_features=torch.ones(1, 6))
    assert torch.allclose(torch.tensor(run_client(client, cache="another_machine")), expected)


def test_weights_that_the_configuration_does_not_have_are_not_published(hub, publish_command, tmp_path):
    from safetensors.torch import load_file, save_file

    save(tmp_path / "model", vision="vit")
    weights = load_file(tmp_path / "model/model.safetensors")
    del weights["forward_cell.weight_hh"]
    save_file(weights, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    done = publish_command("--model", tmp_path / "model", "--repo_id", "org/outfits")
    assert done.returncode == 1 and "forward_cell.weight_hh" in done.stderr and hub.repositories == {}
