"""A trained and evaluated FashionKLIP on the Hub: its card with the run's figures, and its features elsewhere."""

import json
import re
import shutil

import pytest
from huggingface_hub import ModelCard

from tests.hub.conftest import assert_features_close
from tests.train.conftest import run_here
from tests.train.test_fashionklip_graph import make_catalogue
from tests.train.test_fashionklip_programs import ARCHITECTURE
from train import evaluation, fashionklip_train

LOAD = """
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("{model}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{model}", trust_remote_code=True)
"""
FEATURES = """
import torch
from PIL import Image
picture = Image.radial_gradient("L").resize((60, 80)).convert("RGB")
inputs = processor(images=[picture], text=["red cotton shirt"], concepts=["shirt"], return_tensors="pt")
with torch.no_grad():
    output = model.eval()(**inputs)
    features = {
        "image": model.get_image_features(inputs["pixel_values"]),
        "text": model.get_text_features(inputs["input_ids"], inputs["attention_mask"]),
        "concept": output.concept_embeds,
        "logits": output.logits_per_image,
    }
features = {name: value[0].tolist() for name, value in features.items()}
"""


def features_of(folder) -> dict[str, list[float]]:
    """What `FEATURES` computes, in this process."""
    from modeling.fashionklip import FashionKLIPModel, FashionKLIPProcessor

    names = {"model": FashionKLIPModel.from_pretrained(folder)}
    names["processor"] = FashionKLIPProcessor.from_pretrained(folder)
    exec(FEATURES, names)
    return names["features"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with the results of its evaluation, at the cost of seconds."""
    root = tmp_path_factory.mktemp("finished")
    shop = make_catalogue(root / "shop")
    make_catalogue(shop, "valid", 12, seed=1)
    (root / "tiny.yaml").write_text(ARCHITECTURE)
    data = ["--data_dir", str(shop), "--dataset", "catalogue", "--cpu", "--output_dir"]
    flags = ["--architecture", str(root / "tiny.yaml"), "--concepts", "none", "--epochs", "1", "--batch_size", "12"]
    run = run_here(fashionklip_train, *flags, "--learning_rate", "1e-3", *data, str(root / "run"))
    shutil.rmtree(run / "cache")
    protocol = ["--model", str(run / "model"), "--protocol", "retrieval/same-title", "--resamples", "100"]
    folder = run_here(evaluation, *protocol, *data, str(root / "evaluation"))
    shutil.copy(folder / "results.json", run)
    return run


@pytest.fixture
def run_folder(finished, tmp_path):
    """A copy to write into."""
    return shutil.copytree(finished, tmp_path / "run")


def test_a_published_model_gives_equal_features_where_the_project_does_not_exist(
    hub, run_client, publish_command, run_folder
):
    done = publish_command("--model", run_folder / "model", "--repo_id", "org/klip", "--license", "mit")
    assert done.returncode == 0, done.stderr
    assert set(hub.files("org/klip")) == {
        "README.md",
        ".eval_results/retrieval_same-title-valid.yaml",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "configuration_fashionklip.py",
        "image_processing_fashionklip.py",
        "modeling_fashionklip.py",
        "processing_fashionklip.py",
    }
    client = LOAD.format(model="org/klip") + FEATURES + "result = [features, type(processor).__name__]"
    features, kind = run_client(client, cache="another_machine")
    assert kind == "FashionKLIPProcessor"
    assert_features_close(features, features_of(run_folder / "model"))


def test_the_card_has_the_runs_figures_and_a_usage_that_runs(hub, run_client, publish_command, run_folder, tmp_path):
    done = publish_command("--model", run_folder / "model", "--repo_id", "org/klip")
    assert done.returncode == 0, done.stderr
    card = ModelCard(hub.files("org/klip")["README.md"].decode())
    (result,) = json.loads((run_folder / "results.json").read_text())["results"]
    assert len(result["figures"]) > 6 and result["protocol"] == "retrieval/same-title"
    shown = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert shown == {name: pytest.approx(figure["value"], abs=1e-4) for name, figure in result["figures"].items()}
    for one in card.data.eval_results:
        assert (one.dataset_config, one.dataset_split, one.task_name) == (
            "retrieval/same-title",
            "valid",
            "image-text retrieval",
        )
    assert {"fashionklip", "image-text-retrieval"} <= set(card.data.tags) and card.data.library_name == "transformers"
    assert "accelerate launch train/fashionklip_train.py" in card.text and str(tmp_path) not in card.text

    # The code of the card, as a reader copies it.
    usage = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    pictures = "from PIL import Image\nfor name in 'abc':\n    Image.new('RGB', (9, 12)).save(f'{name}.jpg')\n"
    ranking = run_client(
        pictures + usage + "\nresult = (query @ gallery.T).argsort().tolist()", cache="another_machine"
    )
    assert sorted(ranking[0]) == [0, 1, 2]


def test_results_of_other_weights_and_code_that_needs_the_project_are_not_published(hub, publish_command, run_folder):
    code = run_folder / "model" / "modeling_fashionklip.py"
    text = code.read_text()
    code.write_text(text + "\nfrom train.engine.losses import contrastive_loss\n")
    done = publish_command("--model", run_folder / "model", "--repo_id", "org/klip")
    assert done.returncode == 1 and "a fresh process could not use the model" in done.stderr
    code.write_text(text)
    content = json.loads((run_folder / "results.json").read_text())
    content["results"][0]["model"]["weights_sha256"] = "0" * 64
    (run_folder / "results.json").write_text(json.dumps(content))
    done = publish_command("--model", run_folder / "model", "--repo_id", "org/klip")
    assert done.returncode == 1 and "were measured on weights 0000" in done.stderr and hub.repositories == {}
