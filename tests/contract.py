"""Behaviour that every published model shows, as functions that each system's tests call.

A system calls them with its own tiny models; see tests/modeling/test_clip4cir_contract.py for how.
"""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

Inputs = dict[str, torch.Tensor]

# Cuts the checkout out of a process, however it got in (path, editable install), and tries out that nothing is left.
WITHOUT_PROJECT = """
import importlib, sys
class _Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("modeling", "train", "data_scripts", "tests"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, _Blocked())
for name in ("modeling", "train", "data_scripts"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} can be imported, so this process proves nothing")
"""

HUB_USER = """
import json, sys
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoProcessor
task = json.loads(sys.argv[1])
picture = Image.radial_gradient("L").resize((60, 80)).convert("RGB")
for folder in task["folders"]:
    model, report = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
    inputs = processor(images=[picture], text=[task["text"]], return_tensors="pt")
    features = {}
    with torch.no_grad():
        for name, arguments in task["methods"].items():
            features[name] = getattr(model, name)(**{key: inputs[key] for key in arguments})
    torch.save({"inputs": dict(inputs), "features": features}, folder + "/seen.pt")
"""


def outputs_of(model: nn.Module, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Every tensor that `forward` returns, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return {name: value for name, value in model(**inputs).items() if isinstance(value, torch.Tensor)}


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 0) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            actual[name], expected[name], atol=tolerance, rtol=tolerance, msg=lambda t, n=name: f"{n}: {t}"
        )


def save_and_reload_gives_equal_outputs(model: PreTrainedModel, inputs: Inputs, folder: Path) -> None:
    model.save_pretrained(folder)
    again = type(model).from_pretrained(folder)
    assert_equal(again.state_dict(), model.state_dict())
    # Not to the bit: kernels may sum in another order when weights lie elsewhere in memory.
    assert_equal(outputs_of(again, inputs), outputs_of(model, inputs), 1e-5)
    again.save_pretrained(folder / "again")
    before, after = ((path / "config.json").read_text().splitlines() for path in (folder, folder / "again"))
    # The parts of a loaded configuration carry the type of the weights, those of a fresh one don't.
    assert [line for line in after if '"dtype"' not in line] == [line for line in before if '"dtype"' not in line]
    assert not list(folder.glob("*.bin")) and list(folder.glob("*.safetensors"))


def remote_code_gives_equal_features(
    models: dict[str, PreTrainedModel], processors: dict, folder: Path, methods: dict[str, list[str]]
) -> None:
    """A Hub user's process, without this repository, gets the same inputs to the bit and the same features.

    Args:
        models, processors: by a name of their own; each pair is saved to a folder.
        methods: feature method -> names of its inputs.
    """
    from PIL import Image

    text = "is red with long sleeves"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    folders = {name: folder / name for name in models}
    for name, saved in folders.items():
        models[name].eval().save_pretrained(saved)
        processors[name].save_pretrained(saved)
    task = {"folders": [str(saved) for saved in folders.values()], "methods": methods, "text": text}
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_PROJECT + HUB_USER, json.dumps(task)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        env={"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    picture = Image.radial_gradient("L").resize((60, 80)).convert("RGB")
    for name, saved in folders.items():
        seen = torch.load(saved / "seen.pt", weights_only=True)
        inputs = processors[name](images=[picture], text=[text], return_tensors="pt")
        assert_equal(seen["inputs"], dict(inputs))
        # Features not to the bit: kernels may sum in another order when weights lie elsewhere in memory.
        model = type(models[name]).from_pretrained(saved)
        with torch.no_grad():
            expected = {
                method: getattr(model, method)(**{key: inputs[key] for key in keys}) for method, keys in methods.items()
            }
        assert_equal(seen["features"], expected, 1e-5)


def batch_of_one_equals_its_row(
    model: PreTrainedModel, inputs: Inputs, per_row: list[str], tolerance: float = 1e-5
) -> None:
    """`per_row` names the outputs that have one row per input."""
    whole = outputs_of(model, inputs)
    for row in range(len(next(iter(inputs.values())))):
        single = outputs_of(model, {name: value[row : row + 1] for name, value in inputs.items()})
        assert_equal(
            {name: single[name][0] for name in per_row}, {name: whole[name][row] for name in per_row}, tolerance
        )


def padding_changes_nothing(model: PreTrainedModel, inputs: Inputs, longer: Inputs, tolerance: float = 1e-5) -> None:
    assert longer["input_ids"].shape[-1] > inputs["input_ids"].shape[-1]
    assert_equal(outputs_of(model, longer), outputs_of(model, inputs), tolerance)


def every_trainable_parameter_gets_a_gradient(
    model: PreTrainedModel, losses: list[Callable[[PreTrainedModel], torch.Tensor]], exceptions: dict[str, str]
) -> None:
    """Over the sum of the losses. `exceptions` maps the end of a parameter's name to the reason why it gets none."""
    model.zero_grad()
    for loss in losses:
        loss(model).backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    unexplained = [name for name in without if not name.endswith(tuple(exceptions))]
    assert not unexplained, f"no gradient reaches {unexplained}"
    finite = all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert finite, "a gradient is not finite"


def loading_restores_every_buffer_and_fills_what_is_missing(model: PreTrainedModel, folder: Path) -> None:
    """Nothing keeps the uninitialised memory of the skeleton that `from_pretrained` starts with."""
    model.save_pretrained(folder)
    again = type(model).from_pretrained(folder)
    assert_equal(dict(again.named_buffers()), dict(model.named_buffers()))
    weights = load_file(folder / "model.safetensors")
    kept = list(weights)[0]
    save_file({kept: weights[kept]}, folder / "model.safetensors", metadata={"format": "pt"})
    fresh = type(model).from_pretrained(folder)
    for name, tensor in fresh.state_dict().items():
        # A tensor of random memory is rarely all small; a fresh parameter of these models always is.
        assert tensor.isfinite().all() and tensor.abs().max() < 200, name
    assert torch.equal(fresh.state_dict()[kept], weights[kept])


def half_precision_runs(model: PreTrainedModel, inputs: Inputs, dtype: torch.dtype, tolerance: float) -> None:
    """Weights of another type give nearly the same outputs; pixels may stay float32."""
    exact = outputs_of(model, inputs)
    rounded = outputs_of(copy.deepcopy(model).to(dtype), inputs)
    for name, value in exact.items():
        if value.ndim and name != "logits_per_query":
            close = torch.nn.functional.cosine_similarity(rounded[name].float(), value, dim=-1)
            assert close.min() > 1 - tolerance, f"{name}: cosine {close.min()}"


def checkpointing_gives_equal_gradients(
    model: PreTrainedModel, loss: Callable[[PreTrainedModel], torch.Tensor]
) -> None:
    model.train()
    gradients = []
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            switched = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
            assert switched, "no layer recomputes its activations"
        torch.manual_seed(0)
        loss(model).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    model.gradient_checkpointing_disable()
    assert_equal(gradients[1], gradients[0], 1e-5)


def compiles_without_a_graph_break(model: PreTrainedModel, inputs: Inputs) -> None:
    expected = outputs_of(model, inputs)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        actual = {name: value for name, value in compiled(**inputs).items() if isinstance(value, torch.Tensor)}
    assert_equal(actual, expected, 1e-5)


def loads_on_a_device_map(model: PreTrainedModel, inputs: Inputs, folder: Path) -> None:
    model.save_pretrained(folder)
    for device_map in ("cpu", {"": "cpu"}, "auto"):
        again = type(model).from_pretrained(folder, device_map=device_map)
        again = again if device_map != "auto" or not torch.cuda.is_available() else again.to("cpu")
        assert_equal(outputs_of(again, inputs), outputs_of(model, inputs), 1e-5)


def attention_implementations_agree(model: PreTrainedModel, inputs: Inputs, folder: Path) -> None:
    model.save_pretrained(folder)
    outputs = {}
    for name in ("sdpa", "eager"):
        again = type(model).from_pretrained(folder, attn_implementation=name)
        assert again.config._attn_implementation == name
        outputs[name] = outputs_of(again, inputs)
    assert_equal(outputs["eager"], outputs["sdpa"], 1e-5)


def lora_trains_saves_reloads_and_merges(
    model: PreTrainedModel,
    inputs: Inputs,
    loss: Callable[[nn.Module], torch.Tensor],
    folder: Path,
    target_modules: list[str] | str,
    touched: list[str],
) -> None:
    """`touched` names parts of the model that must have received adapters."""
    from peft import LoraConfig, PeftModel, get_peft_model

    model.save_pretrained(folder / "base")
    plain = outputs_of(model, inputs)
    base = type(model).from_pretrained(folder / "base")
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules=target_modules))
    adapted = [name for name, p in tuned.named_parameters() if p.requires_grad]
    for part in touched:
        assert any(part in name for name in adapted), f"no adapter in {part}"
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        loss(tuned).backward()
        optimizer.step()
    expected = outputs_of(tuned, inputs)
    assert any(not torch.equal(expected[name], plain[name]) for name in expected), "training changed nothing"
    tuned.save_pretrained(folder / "adapter")
    again = PeftModel.from_pretrained(type(model).from_pretrained(folder / "base"), folder / "adapter")
    assert_equal(outputs_of(again, inputs), expected, 1e-5)
    merged = tuned.merge_and_unload()
    merged.save_pretrained(folder / "merged")
    merged = type(model).from_pretrained(folder / "merged")
    assert_equal(outputs_of(merged, inputs), expected, 1e-3)


def configuration_is_publishable(model_class: type[PreTrainedModel]) -> None:
    """The type is not taken, the class knows its configuration class, and the feature methods say what they return."""
    config_class = model_class.config_class
    assert isinstance(config_class, type)
    assert config_class.model_type not in CONFIG_MAPPING_NAMES
    assert model_class._auto_class == "AutoModel" and config_class._auto_class == "AutoConfig"
    methods = [name for name in dir(model_class) if name.startswith("get_") and name.endswith("_features")]
    assert methods
    for name in ("forward", *methods):
        assert "return" in getattr(model_class, name).__annotations__, f"{name} has no return annotation"
