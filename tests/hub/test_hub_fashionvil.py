"""FashionViL on the Hub: every head is published, loads elsewhere, and its card's code runs; a run's figures in its card."""

import json
import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard

from modeling.fashionvil import MODELS, FashionViLImageProcessor, FashionViLProcessor
from tests.hub.conftest import assert_features_close
from tests.modeling.fashionvil_examples import SIZE, TEXT, tiny_image_tokenizer, tiny_model
from tests.train.conftest import run_here
from tests.train.test_fashionklip_graph import make_catalogue
from train import evaluation, fashionvil_finetune
from train.engine.vocabulary import word_piece_tokenizer

LOAD = """
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("{model}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{model}", trust_remote_code=True)
"""
FEATURES = """
import torch
from PIL import Image
picture = Image.radial_gradient("L").resize((60, 80)).convert("RGB")
inputs = processor(images=[picture], text=["red wool coat"], return_tensors="pt")
texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
with torch.no_grad():
    model.eval()
    features = {"image": model.get_image_features(inputs["pixel_values"])}
    if "text" in model.input_modalities:
        features["text"] = model.get_text_features(**texts)
        features["query"] = model.get_query_features(**inputs)
        features["fused"] = model.get_fused_features(**inputs)
    if hasattr(model, "classifier"):
        features["logits"] = model(**inputs).logits
    if hasattr(model, "heads"):
        features["loss"] = model(**inputs, task="itm", replace_text=torch.tensor([False])).loss[None, None]
    if hasattr(model, "score_candidates"):
        image, kinds = features["image"], torch.tensor([2])
        features["scores"] = model.score_candidates(image, kinds, -image, kinds)[None]
features = {name: value.double()[0].tolist() for name, value in features.items()}
"""
PICTURES = "from PIL import Image\nfor name in 'abcd':\n    Image.new('RGB', (9, 12)).save(f'{name}.jpg')\n"
# Class -> the task that the card's tags name, and an expression of the card's code whose value says that it ran.
HEADS = {
    "FashionViLModel": ("image-text-retrieval", "by_change @ gallery.T"),
    "FashionViLForPreTraining": ("image-text-retrieval", "query @ gallery.T"),
    "FashionViLForRetrieval": ("image-text-retrieval", "query @ gallery.T"),
    "FashionViLForComposition": ("composed-image-retrieval", "query @ gallery.T"),
    "FashionViLForClassification": ("product-classification", "logits"),
    "FashionViLForOutfitRetrieval": (
        "complementary-item-retrieval",
        "model.score_candidates(items, torch.tensor([3, 7]), candidates, torch.tensor([11, 11]))",
    ),
}


def save(folder, head):
    """A tiny model of a class with its processor, as training saves it."""
    tokenizer = word_piece_tokenizer(["olive coat.horn buttons", "is red, has shorter sleeves", "red wool coat"], 120)
    torch.manual_seed(5)
    text = {**TEXT, "vocab_size": len(tokenizer)}
    tiny_model(head, text_config=text, outfit_categories=12).save_pretrained(folder)
    FashionViLProcessor(FashionViLImageProcessor(size=SIZE), tokenizer).save_pretrained(folder)


@pytest.mark.parametrize("head", HEADS)
def test_a_published_head_gives_equal_features_where_the_project_does_not_exist(
    head, hub, run_client, publish_command, tmp_path
):
    assert HEADS.keys() == MODELS.keys()
    save(tmp_path / "model", head)
    done = publish_command("--model", tmp_path / "model", "--repo_id", "org/vil", "--license", "mit")
    assert done.returncode == 0, done.stderr
    files = hub.files("org/vil")
    others = {"README.md", "config.json", "model.safetensors", "processor_config.json", "tokenizer.json"}
    assert others <= set(files)
    assert {name for name in files if name.endswith(".py")} == {p.name for p in (tmp_path / "model").glob("*.py")}
    names = {"model": MODELS[head].from_pretrained(tmp_path / "model")}
    names["processor"] = FashionViLProcessor.from_pretrained(tmp_path / "model")
    exec(FEATURES, names)
    task, expression = HEADS[head]
    card = ModelCard(files["README.md"].decode())
    assert {"fashionvil", task} <= set(card.data.tags) and card.data.library_name == "transformers"
    assert f"| class | `{head}` (" in card.text and "Not evaluated" in card.text and not card.data.eval_results
    assert ("`get_fused_features` (1, 32)" in card.text) == ("text" in names["model"].input_modalities)

    # The code of the card, as a reader copies it.
    usage = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    client = f"{PICTURES}{usage}\nvalues = ({expression}).tolist()\n{FEATURES}"
    values, features, kinds = run_client(
        client + "result = [values, features, [type(model).__name__, type(processor).__name__]]",
        cache="another_machine",
    )
    assert torch.tensor(values).isfinite().all() and kinds == [head, "FashionViLProcessor"]
    assert_features_close(features, names["features"])


def test_an_image_tokenizer_is_published(hub, run_client, publish_command, tmp_path):
    from train.engine.image_tokenizer import save_tokenizer

    model = tiny_image_tokenizer()
    save_tokenizer(model, FashionViLImageProcessor(size=SIZE), tmp_path / "model")
    done = publish_command("--model", tmp_path / "model", "--repo_id", "org/codes")
    assert done.returncode == 0, done.stderr
    card = ModelCard(hub.files("org/codes")["README.md"].decode())
    assert "`encode` (1, 4)" in card.text and "image-tokenization" in card.data.tags
    usage = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    codes = run_client(f"{PICTURES}{usage}\nresult = codes.tolist()", cache="another_machine")
    assert len(codes[0]) == 4 and all(0 <= code < 12 for code in codes[0])


ARCHITECTURE = """
vision_config: {model_type: resnet, embedding_size: 4, hidden_sizes: [8, 8, 8, 8], depths: [1, 1, 1, 1], image_size: 32}
text_config: {hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2, vocab_size: 200}
"""


def test_the_card_of_a_run_has_its_figures(hub, publish_command, tmp_path):
    """Trained and evaluated by the programs, at the cost of seconds."""
    shop = make_catalogue(tmp_path / "shop")
    make_catalogue(shop, "valid", 12, seed=1)
    (tmp_path / "tiny.yaml").write_text(ARCHITECTURE)
    data = ["--data_dir", str(shop), "--dataset", "catalogue", "--cpu", "--output_dir"]
    flags = ["--task", "retrieval", "--architecture", str(tmp_path / "tiny.yaml"), "--steps", "2", "--batch_size", "8"]
    run = run_here(
        fashionvil_finetune, *flags, "--validation_steps", "2", "--save", "last", *data, str(tmp_path / "run")
    )
    shutil.rmtree(run / "cache")
    protocol = ["--model", str(run / "model"), "--protocol", "retrieval/same-title", "--resamples", "100"]
    shutil.copy(run_here(evaluation, *protocol, *data, str(tmp_path / "evaluation")) / "results.json", run)
    done = publish_command("--model", run / "model", "--repo_id", "org/vil")
    assert done.returncode == 0, done.stderr
    files = hub.files("org/vil")
    assert ".eval_results/retrieval_same-title-valid.yaml" in files
    card = ModelCard(files["README.md"].decode())
    (result,) = json.loads((run / "results.json").read_text())["results"]
    shown = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert shown == {name: pytest.approx(figure["value"], abs=1e-4) for name, figure in result["figures"].items()}
    assert "accelerate launch train/fashionvil_finetune.py" in card.text and str(tmp_path) not in card.text
