"""train/publish.py: what it pushes, what the card says, and what it refuses."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from tests.hub.conftest import FEATURES, assert_features_close, save_tiny_model
from train.engine.cards import weights_sha256
from train.publish import PublishArguments, publish, start_weights

LOAD = """
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("org/tiny", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("org/tiny", trust_remote_code=True)
"""


@pytest.fixture
def run_folder(tmp_path, tiny_model):
    """A finished run: its arguments, its results, its model, and what must stay at home."""
    run = tmp_path / "run"
    shutil.copytree(tiny_model[0], run / "model")
    (run / "checkpoints").mkdir()
    (run / "model" / "metrics.jsonl").write_text("{}\n")
    arguments = {"program": "train/clip4cir_combiner.py", "learning_rate": 2e-5, "output_dir": "/home/me/run"}
    (run / "arguments.json").write_text(json.dumps(arguments))
    result = {
        "protocol": "fashioniq/val-split",
        "data": {"fingerprint": "ab" * 32, "queries": 320, "gallery": 500},
        "split": "val",
        "seed": 0,
        "model": {"weights_sha256": weights_sha256(run / "model")},
        "figures": {"average_recall_at10": {"value": 41.25, "low": 38.5, "high": 44.0, "unit": "percent"}},
        "controls": {"image_only": {"average_recall_at10": {"value": 7.5, "low": 6.0, "high": 9.0}}},
    }
    (run / "results.json").write_text(json.dumps({"results": [result]}))
    return run


def test_one_commit_holds_model_code_processor_and_card_and_a_later_push_keeps_them(
    hub, run_client, publish_command, run_folder, tiny_model
):
    done = publish_command("--model", run_folder / "model", "--repo_id", "org/tiny", "--base_model", "org/start")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    repository = hub.repository("org/tiny")
    assert len(repository.history("main")) == 2 and repository.branches["main"] == report["commit"]

    files = hub.files("org/tiny")
    assert set(files) == {
        "README.md",
        ".eval_results/fashioniq_val-split-val.yaml",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "configuration_clip4cir.py",
        "image_processing_clip4cir.py",
        "modeling_clip4cir.py",
        "modified_resnet.py",
        "processing_clip4cir.py",
    }
    card = ModelCard(files["README.md"].decode())
    (figure,) = card.data.eval_results
    assert (figure.dataset_config, figure.metric_type, figure.metric_value) == (
        "fashioniq/val-split",
        "average_recall_at10",
        41.25,
    )
    assert "accelerate launch train/clip4cir_combiner.py" in card.text and "/home/me" not in card.text
    assert (run_folder / "model" / "README.md").read_bytes() == files["README.md"]

    push_again = LOAD + 'with torch.no_grad():\n    model.logit_scale.fill_(1.0)\nmodel.push_to_hub("org/tiny")\n'
    seen = run_client(LOAD + FEATURES + push_again + "result = features", cache="another_machine")
    assert_features_close(seen, tiny_model[1])
    after = hub.files("org/tiny")
    assert after["model.safetensors"] != files["model.safetensors"]
    assert ModelCard(after["README.md"].decode()).data.eval_results == card.data.eval_results
    assert ModelCard(after["README.md"].decode()).text == card.text
    assert ".eval_results/fashioniq_val-split-val.yaml" in after


def test_dry_run_checks_and_writes_the_card_but_pushes_nothing(hub, publish_command, run_folder):
    (run_folder / "results.json").unlink()
    done = publish_command("--model", run_folder / "model", "--repo_id", "org/tiny", "--dry_run", token=None)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["commit"] is None and report["check"]["features"]["get_query_features"] == [1, 8]
    assert hub.repositories == {} and hub.log == []
    assert "Not evaluated" in (run_folder / "model" / "README.md").read_text()


def test_a_branch_and_a_private_repository_are_made_on_request(hub, publish_command, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model[0], tmp_path / "model")
    options = ("--revision", "trial", "--private", "--commit_message", "first trial")
    done = publish_command("--model", folder, "--repo_id", "org/tiny", *options)
    assert done.returncode == 0, done.stderr
    repository = hub.repository("org/tiny")
    assert repository.private
    assert hub.files("org/tiny", revision="main") == {}
    assert repository.at("trial").title == "first trial" and "config.json" in repository.at("trial").files


def test_code_that_needs_this_repository_is_not_published(hub, publish_command, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model[0], tmp_path / "model")
    code = folder / "modeling_clip4cir.py"
    lazy = "    from train.engine.losses import contrastive_loss as _needs_the_project\n"
    code.write_text(code.read_text().replace("        pixel_values = pixel_values.to(self.dtype)\n", "    " + lazy, 1))
    done = publish_command("--model", folder, "--repo_id", "org/tiny")
    assert done.returncode == 1 and "a fresh process could not use the model" in done.stderr
    assert "train" in done.stderr and hub.repositories == {}


def test_weights_that_lack_a_parameter_are_not_published(hub, publish_command, tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_model[0], tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["combiner.output_layer.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    done = publish_command("--model", folder, "--repo_id", "org/tiny")
    assert done.returncode == 1 and "combiner.output_layer.weight" in done.stderr
    assert hub.repositories == {}


def test_without_a_token_the_way_to_get_one_is_named(hub, publish_command, tiny_model):
    done = publish_command("--model", tiny_model[0], "--repo_id", "org/tiny", token=None)
    assert done.returncode == 1 and "hf auth login" in done.stderr and hub.log == []


def test_a_hub_that_cannot_be_reached_is_named(publish_command, tiny_model, tmp_path, hub, monkeypatch):
    folder = shutil.copytree(tiny_model[0], tmp_path / "model")
    monkeypatch.setattr(hub, "url", "http://127.0.0.1:9")
    done = publish_command("--model", folder, "--repo_id", "org/tiny")
    assert done.returncode == 1 and "http://127.0.0.1:9/org/tiny failed" in done.stderr


@pytest.mark.parametrize("repo_id", ["no-organisation", "org/na me", "a/b/c", "org/", "-org/x", "org/x..y"])
def test_malformed_repo_ids_are_refused(repo_id, tiny_model):
    with pytest.raises(ValueError, match="organisation/name"):
        publish(PublishArguments(model=str(tiny_model[0]), repo_id=repo_id, dry_run=True))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "processor_config.json").unlink(), "processor_config.json"),
        (lambda folder: (folder / "modeling_clip4cir.py").unlink(), "code file modeling_clip4cir.py"),
        (lambda folder: (folder / "modified_resnet.py").unlink(), "code file modified_resnet.py"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin"),
        (lambda folder: (folder / "README.md").write_text("# Mine"), "--notes"),
        (lambda folder: _change_config(folder, auto_map={}), "sends AutoModel to no code"),
    ],
)
def test_incomplete_or_unsafe_folders_are_refused(spoil, message, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model[0], tmp_path / "model")
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        publish(PublishArguments(model=str(folder), repo_id="org/tiny", dry_run=True))


def _change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_results_of_another_model_are_refused(run_folder):
    save_tiny_model(run_folder / "model", seed=7)
    with pytest.raises(ValueError, match="measured on weights"):
        publish(PublishArguments(model=str(run_folder / "model"), repo_id="org/tiny", dry_run=True))


def test_adapter_on_a_base_that_only_this_machine_has_is_refused(tmp_path, tiny_model):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny_model[0])}))
    with pytest.raises(ValueError, match="--base_model org/name"):
        publish(PublishArguments(model=str(folder), repo_id="org/lora", dry_run=True))


def test_start_weights_are_found_through_the_runs_on_the_disk(tmp_path):
    (tmp_path / "stage1" / "model").mkdir(parents=True)
    (tmp_path / "stage1" / "arguments.json").write_text(json.dumps({"backbone": "ViT-B/32", "model": None}))
    stage2 = {"backbone": None, "model": str(tmp_path / "stage1" / "model")}
    assert start_weights(stage2) == ["openai/clip-vit-base-patch32"]
    assert start_weights({"backbone": None, "model": "gone/model"}) == []
    assert start_weights({"backbone": "RN50x4", "model": None}) == []
    assert start_weights(None) == []
    towers = {"vision_weights": "microsoft/resnet-50", "text_weights": "google-bert/bert-base-uncased", "model": None}
    assert start_weights(towers) == ["microsoft/resnet-50", "google-bert/bert-base-uncased"]
    assert start_weights({"vision_weights": "weights/of/a/folder", "text_weights": str(tmp_path)}) == []
