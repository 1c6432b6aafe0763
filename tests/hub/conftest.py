"""A running local Hub, a client process in which the project does not exist, and small saved models."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.hub_server import LocalHub

REPOSITORY = Path(__file__).resolve().parents[2]

# Put before the code of a client: whatever leads to the checkout is cut, and it is tried out that nothing does.
WITHOUT_PROJECT = """
import importlib, sys
class _Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("modeling", "train", "data_scripts", "tests"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, _Blocked())
for _name in ("modeling", "train", "data_scripts"):
    try:
        importlib.import_module(_name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{_name} is importable")
"""

# Writes the features of one fixed picture and sentence; `load` makes `model` and `processor`.
FEATURES = """
import torch
from PIL import Image
picture = Image.radial_gradient("L").resize((60, 80)).convert("RGB")
inputs = processor(images=[picture], text=["is red with short sleeves"], return_tensors="pt")
with torch.no_grad():
    model.eval()
    features = {
        "image": model.get_image_features(inputs["pixel_values"]),
        "text": model.get_text_features(inputs["input_ids"], inputs["attention_mask"]),
        "query": model.get_query_features(inputs["pixel_values"], inputs["input_ids"], inputs["attention_mask"]),
    }
features = {name: value[0].tolist() for name, value in features.items()}
"""


@pytest.fixture
def hub():
    with LocalHub() as server:
        yield server


@pytest.fixture
def run_client(hub, tmp_path):
    """Run code (which leaves its answer in `result`) in a fresh process that talks to `hub`, and return the answer."""

    def run(code, token="any-token", cache="hf_home"):
        work = tmp_path / "client"
        work.mkdir(exist_ok=True)
        program = WITHOUT_PROJECT + textwrap.dedent(code) + "\nimport json\nprint(json.dumps(result))"
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env=hub.client_environment(tmp_path / cache, token),
            cwd=work,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def publish_command(hub, tmp_path):
    """Run train/publish.py as a user does; returns the finished process."""

    def run(*arguments, token="any-token"):
        return subprocess.run(
            [sys.executable, str(REPOSITORY / "train" / "publish.py"), *map(str, arguments)],
            env=hub.client_environment(tmp_path / "hf_home", token),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def save_tiny_model(folder, combiner_type="combiner", seed=0):
    """A CLIP4Cir model of a few thousand weights with its processor, as training saves it."""
    import torch
    from transformers import CLIPTextConfig, CLIPVisionConfig

    from modeling.clip4cir import CLIP4CirConfig, CLIP4CirImageProcessor, CLIP4CirModel, CLIP4CirProcessor
    from train.engine.vocabulary import train_tokenizer

    tokenizer = train_tokenizer(["is red with short sleeves", "is blue"], vocab_size=530, max_length=16)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIP4CirConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=16, **layers),
        text_config=CLIPTextConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=16,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            **layers,
        ),
        projection_dim=8,
        combiner_type=combiner_type,
        combiner_projection_dim=12,
        combiner_hidden_dim=16,
    )
    torch.manual_seed(seed)
    model = CLIP4CirModel(config).eval()
    processor = CLIP4CirProcessor(CLIP4CirImageProcessor(size=32), tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def features_of(model, processor):
    """What `FEATURES` computes, in this process."""
    names = {"model": model, "processor": processor}
    exec(FEATURES, names)
    return names["features"]


def assert_features_close(seen, expected):
    """Not to the bit: kernels may sum in another order where weights lie elsewhere in memory, as in another process."""
    assert seen.keys() == expected.keys()
    for name in expected:
        assert seen[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """(folder, features): one saved model for all tests that do not write into its folder."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    model, processor = save_tiny_model(folder)
    return folder, features_of(model, processor)
