"""What is pushed comes back: models with their code, processors, adapters and data sets, over HTTP."""

import pytest

from tests.hub.conftest import FEATURES, assert_features_close, features_of, save_tiny_model

LOAD = """
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("{model}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{processor}", trust_remote_code=True)
"""


def load_features(model, processor=None):
    """Client code that loads by Hub ids and leaves features in `result`."""
    return LOAD.format(model=model, processor=processor or model) + FEATURES + "\nresult = features"


def push_folder(folder, repo_id):
    """Client code that pushes a saved model and its processor, each with its own `push_to_hub`."""
    return (
        LOAD.format(model=folder, processor=folder)
        + f'model.push_to_hub("{repo_id}")\nprocessor.push_to_hub("{repo_id}")\nresult = 0'
    )


def upload(folder, repo_id):
    """Client code that uploads a folder as it is: quicker than `push_to_hub` where that is not what is tested."""
    return f"""
    from huggingface_hub import HfApi
    HfApi().create_repo("{repo_id}")
    HfApi().upload_folder(repo_id="{repo_id}", folder_path={str(folder)!r})
    result = 0
    """


def test_pushed_model_and_processor_give_equal_features_where_the_project_does_not_exist(hub, run_client, tiny_model):
    folder, expected = tiny_model
    run_client(push_folder(folder, "org/tiny"))
    files = hub.files("org/tiny")
    assert {"config.json", "model.safetensors", "modeling_clip4cir.py", "modified_resnet.py"} <= set(files)
    assert {"processor_config.json", "processing_clip4cir.py", "tokenizer.json"} <= set(files)
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert_features_close(run_client(load_features("org/tiny"), cache="another_machine"), expected)


def test_warm_cache_serves_the_model_when_the_hub_is_gone(hub, run_client, tiny_model):
    folder, expected = tiny_model
    run_client(upload(folder, "org/tiny"))
    run_client('from huggingface_hub import snapshot_download\nresult = snapshot_download("org/tiny")')
    before = len(hub.log)
    offline = "import os\nos.environ['HF_HUB_OFFLINE'] = '1'\n"
    assert_features_close(run_client(offline + load_features("org/tiny")), expected)
    assert len(hub.log) == before


@pytest.fixture
def adapter(tmp_path):
    """(base folder, adapter folder, features without and with the adapter): LoRA that changes the features a lot."""
    import torch
    from peft import LoraConfig, get_peft_model

    base, folder = tmp_path / "base", tmp_path / "adapter"
    model, processor = save_tiny_model(base, "sum")
    model.name_or_path = "org/base"
    plain = features_of(model, processor)
    torch.manual_seed(1)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    tuned.save_pretrained(folder, save_embedding_layers=False)  # True would ask the Hub about the base model
    return base, folder, plain, features_of(tuned.base_model.model, processor)


def test_adapter_is_published_alone_and_finds_its_base_on_the_hub(hub, run_client, publish_command, adapter):
    base, folder, plain, expected = adapter
    run_client(upload(base, "org/base"))
    done = publish_command("--model", folder, "--repo_id", "org/lora")
    assert done.returncode == 0, done.stderr
    assert sorted(hub.files("org/lora")) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert "base_model:\n- org/base" in hub.files("org/lora")["README.md"].decode()
    loaded = run_client(load_features("org/lora", "org/base"), cache="another_machine")
    assert_features_close(loaded, expected)
    assert loaded["query"] != pytest.approx(plain["query"], abs=1e-2)


def test_merged_adapter_is_one_complete_model(hub, run_client, publish_command, adapter):
    base, folder, plain, expected = adapter
    run_client(upload(base, "org/base"))
    done = publish_command("--model", folder, "--repo_id", "org/merged", "--merge_adapter")
    assert done.returncode == 0, done.stderr
    files = hub.files("org/merged")
    assert "model.safetensors" in files and "modeling_clip4cir.py" in files and "adapter_config.json" not in files
    loaded = run_client(load_features("org/merged"), cache="another_machine")
    assert loaded["query"] == pytest.approx(expected["query"], abs=1e-4)


def test_data_set_with_images_is_pushed_and_loaded_plain_and_streaming(hub, run_client):
    push = """
    import datasets
    from PIL import Image
    pictures = [Image.new("RGB", (9, 7), color) for color in ("red", "green", "blue")]
    made = datasets.Dataset.from_dict(
        {"item": ["a", "b", "c"], "image": pictures},
        features=datasets.Features({"item": datasets.Value("string"), "image": datasets.Image()}),
    )
    made.push_to_hub("org/garments", "dress", split="train")
    result = 0
    """
    run_client(push)
    assert any(path.endswith(".parquet") for path in hub.files("org/garments", "dataset"))
    load = """
    from datasets import load_dataset
    rows = load_dataset("org/garments", "dress", split="train")
    streamed = load_dataset("org/garments", "dress", split="train", streaming=True)
    result = [[row["item"], row["image"].size, row["image"].convert("RGB").getpixel((0, 0))]
              for source in (rows, streamed) for row in source]
    """
    red, green, blue = ["a", [9, 7], [255, 0, 0]], ["b", [9, 7], [0, 128, 0]], ["c", [9, 7], [0, 0, 255]]
    assert run_client(load, cache="another_machine") == [red, green, blue, red, green, blue]
