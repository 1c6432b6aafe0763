"""Every checkpoint layout becomes a model and goes back, and nothing in a file from a stranger is executed."""

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer

from modeling.fashionklip import FashionKLIPConfig, FashionKLIPImageProcessor, FashionKLIPModel, FashionKLIPProcessor
from modeling.fashionklip.convert_fashionklip import (
    backbone_name,
    from_clip,
    load_official,
    model_from_official,
    official_sizes,
    read_official,
    round_to_half,
    rounded_parameters,
    to_clip_model,
    to_model_keys,
    to_official_state_dict,
    training_checkpoint,
)
from tests.modeling.clip4cir_examples import official_clip, script_archive, tiny_tokenizer
from tests.modeling.fashionklip_examples import CAPTIONS, tiny_config, tiny_inputs, tiny_model

StateDict = dict[str, torch.Tensor]
SIZES = {
    "embed_dim": 32,
    "image_resolution": 32,
    "vision_layers": 2,
    "vision_width": 128,
    "vision_patch_size": 8,
    "context_length": 77,
    "vocab_size": 540,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 2,
}


def _half(state: StateDict) -> StateDict:
    """What remains of a state dict after the rounding that `script_archive` writes with."""
    return {name: tensor if "ln_" in name else tensor.half().float() for name, tensor in state.items()}


def _prefixed(state: StateDict, prefix: str) -> OrderedDict:
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def _optimizer(state: StateDict) -> dict:
    moments = {i: {"step": torch.tensor(3.0), "exp_avg": t, "exp_avg_sq": t} for i, t in enumerate(state.values())}
    groups = [{"lr": 1e-5, "betas": (0.9, 0.98), "foreach": None, "params": list(moments)}]
    return {"state": moments, "param_groups": groups}


def _write_layouts(state: StateDict, folder: Path) -> dict[str, str]:
    """Every layout of one state dict on disk: file name -> the layout that must be recognised."""
    script_archive(state, folder / "ViT-B-32.pt")
    single = {"epoch": 1, "name": "run", "state_dict": OrderedDict(state), "optimizer": _optimizer(state)}
    torch.save(single, folder / "epoch_1.pt")
    ddp = {"epoch": 12, "name": "run", "state_dict": _prefixed(state, "module."), "optimizer": _optimizer(state)}
    torch.save(ddp, folder / "epoch_latest.pt")
    torch.save(ddp, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 0, "state_dict": _prefixed(state, "module.")}, folder / "pai-clip-commercial-base-en.pt")
    torch.save(OrderedDict(state), folder / "flat.pt")
    save_file(state, folder / "flat.safetensors")
    easynlp = folder / "easynlp"
    easynlp.mkdir()
    (easynlp / "config.json").write_text(json.dumps({"model_type": "open_clip", **SIZES}))
    torch.save(_prefixed(state, "open_clip."), easynlp / "pytorch_model.bin")
    return {
        "ViT-B-32.pt": "openai",
        "epoch_1.pt": "training",
        "epoch_latest.pt": "training",
        "old.pt": "training",
        "pai-clip-commercial-base-en.pt": "training",
        "flat.pt": "flat",
        "flat.safetensors": "flat",
        "easynlp": "easynlp",
        "easynlp/pytorch_model.bin": "easynlp",
    }


def test_every_layout_gives_the_same_model(tmp_path: Path) -> None:
    state = _half(official_clip("vit"))
    expected = model_from_official(state)
    assert official_sizes(expected.config) == SIZES
    inputs = tiny_inputs(expected)
    for name, layout in _write_layouts(state, tmp_path).items():
        found = read_official(tmp_path / name)
        assert found.layout == layout, name
        assert found.state_dict.keys() == state.keys(), name
        model = load_official(tmp_path / name)
        assert model.dtype == torch.float32 and not model.training
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in expected.state_dict().items()), name
        assert torch.equal(model(**inputs).loss, expected(**inputs).loss)
    assert read_official(tmp_path / "epoch_latest.pt").epoch == 12
    assert read_official(tmp_path / "flat.pt").epoch is None


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    state = official_clip("vit")
    names = _write_layouts(state, tmp_path)
    training = read_official(tmp_path / "epoch_1.pt")
    assert (training.epoch, training.name) == (1, "run")
    assert training.ignored == {
        "optimizer": f"{3 * len(state)} tensors of the optimizer's state, which the original doesn't restore"
    }
    archive = read_official(tmp_path / "ViT-B-32.pt")
    assert archive.ignored.keys() == {"input_resolution", "context_length", "vocab_size"}
    assert not any(read_official(tmp_path / name).ignored for name in names if name.startswith(("flat", "easynlp")))
    torch.save({"state_dict": state, "scaler": {"scale": 65536.0}, "args": "--lr 1"}, tmp_path / "more.pt")
    assert read_official(tmp_path / "more.pt").ignored == {
        "scaler": "dict without tensors",
        "args": "str without tensors",
    }


def test_halves_and_doubles_become_float32() -> None:
    state = official_clip("vit")
    half = model_from_official({name: tensor.half() for name, tensor in state.items()})
    double = model_from_official({name: tensor.double() for name, tensor in state.items()})
    for name, tensor in model_from_official(state).state_dict().items():
        assert half.state_dict()[name].dtype == double.state_dict()[name].dtype == torch.float32
        assert torch.equal(double.state_dict()[name], tensor)
        assert torch.equal(half.state_dict()[name], tensor.half().float())


def test_the_way_back_to_openais_names_is_exact() -> None:
    state = official_clip("vit")
    model = model_from_official(state)
    again = to_official_state_dict(model)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    again["ln_final.bias"].zero_()
    assert model.text_model.final_layer_norm.bias.any(), "the way back copies"
    to_model_keys(state)["text_model.final_layer_norm.bias"].zero_()
    assert state["ln_final.bias"].any(), "the way here copies"


def test_the_originals_programs_find_what_they_read(tmp_path: Path) -> None:
    state = official_clip("vit")
    torch.save(training_checkpoint(model_from_official(state), epoch=4, name="run"), tmp_path / "epoch_4.pt")
    # Extraction: strips the prefix if the first name has it. Distributed training needs the prefix, `epoch` tells where
    # it goes on.
    content = torch.load(tmp_path / "epoch_4.pt", weights_only=True)
    assert set(content) == {"epoch", "name", "state_dict", "optimizer"} and content["epoch"] == 4
    assert next(iter(content["state_dict"])).startswith("module.")
    stripped = {name[len("module.") :]: tensor for name, tensor in content["state_dict"].items()}
    assert stripped.keys() == state.keys() and all(torch.equal(stripped[name], state[name]) for name in state)
    found = read_official(tmp_path / "epoch_4.pt")
    assert (found.layout, found.epoch, found.name) == ("training", 4, "run")


def test_a_plain_clip_has_the_same_features_and_comes_back(tmp_path: Path) -> None:
    model = model_from_official(official_clip("vit"))
    clip = to_clip_model(model)
    assert type(clip) is CLIPModel and not clip.training
    clip.save_pretrained(tmp_path)
    clip, report = CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    inputs = tiny_inputs(model)
    with torch.no_grad():
        theirs = clip(**inputs)
        ours = model(**inputs)
        torch.testing.assert_close(ours.image_embeds, theirs.image_embeds)
        torch.testing.assert_close(ours.text_embeds, theirs.text_embeds)
        torch.testing.assert_close(ours.logits_per_image, theirs.logits_per_image)
        torch.testing.assert_close(ours.loss, clip(**inputs, return_loss=True).loss)
        raw = clip.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
        torch.testing.assert_close(ours.text_features, raw)
    again = from_clip(clip)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert to_clip_model(model.bfloat16()).dtype == torch.bfloat16


def test_a_clip_with_an_end_that_is_not_the_last_entry_pools_there() -> None:
    # The vocabulary of the weights may be larger than the tokenizer's.
    model = model_from_official(official_clip("vit", vocab_size=600))
    inputs = tiny_inputs(model)
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours = model.get_text_features(**texts)
        clip = to_clip_model(model, eos_token_id=539)
        torch.testing.assert_close(clip.get_text_features(**texts).pooler_output, ours)


@pytest.mark.parametrize("eos_token_id", [2, 539])
def test_a_clip_of_transformers_keeps_its_features(eos_token_id: int) -> None:
    config = tiny_config("vit")
    text = config.text_config.to_dict() | {"eos_token_id": eos_token_id, "projection_dim": 16}
    vision = config.vision_config.to_dict() | {"projection_dim": 16}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval().half()
    model = from_clip(clip, train_batch_norm=True)
    assert model.dtype == torch.float32 and model.config.train_batch_norm
    inputs, clip = tiny_inputs(model), clip.float()
    with torch.no_grad():
        texts = clip.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
        torch.testing.assert_close(model.get_text_features(inputs["input_ids"], inputs["attention_mask"]), texts)
        images = clip.get_image_features(inputs["pixel_values"]).pooler_output
        torch.testing.assert_close(model.get_image_features(inputs["pixel_values"]), images)


def test_only_clips_tower_goes_back() -> None:
    model = tiny_model("mobilenet")
    with pytest.raises(ValueError, match="mobilenet_v2; a CLIPModel holds"):
        to_clip_model(model)
    with pytest.raises(ValueError, match="mobilenet_v2; the original's layout holds"):
        to_official_state_dict(model)
    # Two heads of width 16 can't be told from the sizes; the original would take one.
    with pytest.raises(
        ValueError, match="text_config.num_attention_heads is 2.*vision_config.num_attention_heads is 2"
    ):
        to_official_state_dict(tiny_model("vit"))


def test_a_model_with_adapters_must_be_merged_first() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    model = model_from_official(official_clip("vit"))
    model = inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj"]), model)
    with pytest.raises(ValueError, match="q_proj.base_layer.*merge it first"):
        to_official_state_dict(model)
    with pytest.raises(ValueError, match="not used: text_model.*q_proj.base_layer"):
        to_clip_model(model)


def test_official_names_reach_the_places_that_transformers_gives_them() -> None:
    # The mapping of the spec, checked on a tensor that is told apart: rows of the stacked query, key and value matrix.
    state = official_clip("vit")
    model = model_from_official(state)
    for tower, prefix in ((model.vision_model, "visual."), (model.text_model, "")):
        stacked = state[f"{prefix}transformer.resblocks.1.attn.in_proj_weight"]
        attention = tower.encoder.layers[1].self_attn
        for part, layer in zip(stacked.chunk(3), (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
            assert torch.equal(layer.weight, part)
    assert torch.equal(model.visual_projection.weight, state["visual.proj"].T)
    assert torch.equal(model.text_projection.weight, state["text_projection"].T)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("ln_final.bias"), "1 missing: text_model.final_layer_norm.bias"),
        (lambda state: state.update({"visual.extra.weight": torch.zeros(2)}), "1 not used: visual.extra.weight"),
        (lambda state: state.update({"ln_final.bias": torch.zeros(3)}), r"of another shape: .*\(3,\).*\(64,\)"),
        (
            lambda state: state.pop("transformer.resblocks.0.mlp.c_fc.bias"),
            "missing: text_model.encoder.layers.0.mlp.fc1",
        ),
        (lambda state: state.pop("visual.positional_embedding"), "no 'visual.positional_embedding'"),
        (lambda state: state.pop("text_projection"), "no 'text_projection'"),
        (lambda state: state.update({"visual.conv1.weight": torch.zeros(200, 3, 8, 8)}), "200 can't be split into 3"),
        (
            lambda state: state["ln_final.bias"].fill_(float("nan")),
            "1 tensors hold numbers that aren't finite.*ln_final|final_layer_norm.bias",
        ),
        (
            lambda state: state.update({"visual.positional_embedding": torch.zeros(16, 128)}),
            "16 positions; expected a square",
        ),
        (
            lambda state: state.update({"token_embedding.weight": torch.zeros(5)}),
            r"'token_embedding.weight' has shape \(5,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message: str) -> None:
    state = official_clip("vit")
    change(state)
    with pytest.raises(ValueError, match=message):
        model_from_official(state)


def test_a_resnet_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    script_archive(official_clip("resnet"), tmp_path / "RN50.pt")
    with pytest.raises(ValueError, match="ResNet.*Take a ViT.*CLIP4Cir"):
        load_official(tmp_path / "RN50.pt")


def test_other_architectures_and_mixtures_are_refused_by_their_entries(tmp_path: Path) -> None:
    state = official_clip("vit")
    files = {
        "resnet50.pth": ({"conv1.weight": torch.zeros(2)}, "resnet50.pth is no CLIP in OpenAI's layout.*conv1.weight"),
        "tuned_clip.pt": ({"epoch": 1, "CLIP": state}, "tuned_clip.pt is a checkpoint of CLIP4Cir"),
        "hf.pt": (tiny_model().state_dict(), "give the model folder, not the file"),
        "mixed.pt": ({**_prefixed(state, "module."), "head.weight": torch.zeros(2)}, "1 don't: head.weight"),
        "words.pt": ({**state, "note": "text"}, "aren't tensors: note"),
        "empty.pt": ({}, "no CLIP in OpenAI's layout"),
        "ema.pt": ({"state_dict": state, "ema": {"w": torch.zeros(2)}}, "1 tensors in 'ema' beside its 'state_dict'"),
        "list.pt": ([torch.zeros(2)], "holds a list; expected a dict"),
    }
    for name, (content, message) in files.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(ValueError, match=message):
            read_official(tmp_path / name)


def test_a_folder_must_describe_its_weights(tmp_path: Path) -> None:
    state = official_clip("vit")
    _write_layouts(state, tmp_path)
    folder, config = tmp_path / "easynlp", tmp_path / "easynlp/config.json"
    for text, message in [
        (
            json.dumps({"model_type": "open_clip", **SIZES, "vision_layers": 12}),
            "vision_layers is 12 there and 2 in the",
        ),
        (json.dumps({"model_type": "open_clip", **SIZES, "transformer_heads": 3}), "64 can't be split into 3"),
        (json.dumps({"model_type": "bert"}), "says model_type 'bert'"),
        ("{", "config.json is not JSON"),
        ("[]", "says model_type None"),
    ]:
        config.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_official(folder)
    # Heads are no size of a tensor; a folder may state others than the width implies.
    config.write_text(json.dumps({"model_type": "open_clip", **SIZES, "transformer_heads": 4}))
    assert load_official(folder).config.text_config.num_attention_heads == 4
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="easynlp has no weights"):
        read_official(folder)
    config.unlink()
    with pytest.raises(FileNotFoundError, match="easynlp has no config.json"):
        read_official(folder)
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        read_official(tmp_path / "nowhere.pt")


class _Runs:
    """A pickle that calls a function when it is read carelessly."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("layout", ["training", "optimizer", "flat", "old", "archive", "easynlp"])
def test_nothing_in_a_file_is_executed(layout: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "was_here", tmp_path / "model.pt"
    evil = _Runs(os.system, f"touch {mark}")
    state = official_clip("vit")
    if layout == "training":
        torch.save({"epoch": evil, "state_dict": _prefixed(state, "module.")}, path)
    elif layout == "optimizer":
        torch.save({"epoch": 1, "state_dict": state, "optimizer": {"state": evil}}, path)
    elif layout == "flat":
        torch.save({**state, "x": evil}, path)
    elif layout == "old":
        torch.save({"state_dict": state, "name": evil}, path, _use_new_zipfile_serialization=False)
    elif layout == "archive":
        script_archive(state, path)
        with zipfile.ZipFile(path) as old:
            records = {info.filename: old.read(info) for info in old.infolist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, content in records.items():
                new.writestr(name, pickle.dumps(evil) if name.endswith("/data.pkl") else content)
    else:
        path = tmp_path / "folder"
        path.mkdir()
        (path / "config.json").write_text(json.dumps({"model_type": "open_clip", **SIZES}))
        torch.save({**_prefixed(state, "open_clip."), "open_clip.x": evil}, path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"(model.pt|pytorch_model.bin) was refused.*system"):
        read_official(path)
    assert not mark.exists()


def test_reading_an_archive_never_compiles_torchscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_archive(official_clip("vit"), tmp_path / "clip.pt")

    def refuse(*_arguments, **_options):
        raise AssertionError("the archive was executed")

    for owner, name in ((torch.jit, "load"), (torch._C, "import_ir_module"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(torch._C, "import_ir_module_from_buffer", refuse)
    assert len(read_official(tmp_path / "clip.pt").state_dict) == len(official_clip("vit"))


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    script_archive(official_clip("vit"), tmp_path / "clip.pt")
    whole = (tmp_path / "clip.pt").read_bytes()
    for name, content, message in [
        ("cut.pt", whole[: len(whole) // 2], "cut.pt starts as a PyTorch archive and has no end"),
        ("empty.pt", b"", "empty.pt was refused"),
        ("page.pt", b"<html>quota exceeded</html>", "page.pt was refused"),
        ("cut.safetensors", b"\x10\x00\x00", "cut.safetensors is not a safetensors file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_official(tmp_path / name)
    # One flipped byte in a tensor of a zip is found by its checksum.
    offset = whole.index(b"/data/") + 2000
    (tmp_path / "flipped.pt").write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    with pytest.raises(ValueError, match="flipped.pt"):
        read_official(tmp_path / "flipped.pt")


def test_rounding_spares_norms_embeddings_and_the_scale() -> None:
    model = model_from_official(official_clip("vit"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    round_to_half(model)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == rounded_parameters(model).keys()
    assert {"text_projection.weight", "visual_projection.weight"} < changed
    # patch_embedding is the convolution, not a table.
    spared = ("norm", "position_embedding", "token_embedding", "class_embedding", "logit_scale")
    assert not [name for name in changed if any(part in name for part in spared)]


def test_published_backbones_are_recognised() -> None:
    assert backbone_name(FashionKLIPConfig()) == "ViT-B/32"
    with torch.device("meta"):
        parameters = FashionKLIPModel(FashionKLIPConfig()).num_parameters()
    assert parameters == 151_277_313, "OpenAI's ViT-B/32 has that many"
    large = {"model_type": "clip_vision_model", "hidden_size": 1024, "num_hidden_layers": 24, "patch_size": 14}
    large["num_attention_heads"] = 16
    assert backbone_name(FashionKLIPConfig(vision_config=large, projection_dim=768)) == "ViT-L/14"
    assert backbone_name(tiny_config("vit")) is None and backbone_name(tiny_config("mobilenet")) is None


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return ["--system", "fashionklip", "--tokenizer", str(tmp_path / "tokenizer")]


def _convert(capsys, *arguments: str) -> dict:
    from train.convert import main

    main(list(arguments))
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_the_program_writes_a_complete_folder_from_every_layout(tmp_path: Path, flags: list[str], capsys) -> None:
    state = _half(official_clip("vit"))
    layouts = _write_layouts(state, tmp_path)
    expected = model_from_official(state)
    inputs = tiny_inputs(expected)
    for number, (name, layout) in enumerate(layouts.items()):
        out = tmp_path / f"out{number}"
        report = _convert(capsys, *flags, "--checkpoint", str(tmp_path / name), "--output_dir", str(out))
        assert report["layout"] == layout and report["model"] == "FashionKLIPModel"
        assert report["parameters"] == sum(p.numel() for p in expected.parameters())
        assert ("optimizer" in report["ignored"]) == (name in ("epoch_1.pt", "epoch_latest.pt", "old.pt"))
        assert len(report["files"]) == (2 if name == "easynlp" else 1)
        written = {path.name for path in out.iterdir()}
        assert written >= {
            "README.md",
            "config.json",
            "model.safetensors",
            "modeling_fashionklip.py",
            "processing_fashionklip.py",
            "processor_config.json",
            "tokenizer.json",
        }
        assert not [file for file in written if file.endswith((".pt", ".bin"))]
        model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
        assert torch.equal(model(**inputs).loss, expected(**inputs).loss), name
        assert type(processor) is FashionKLIPProcessor and processor.image_processor.transform == "clip"
        assert processor.image_processor.size == 32 and processor.max_text_length == 77


def test_the_program_keeps_the_options_of_the_processor(tmp_path: Path, flags: list[str], capsys) -> None:
    torch.save(official_clip("vit"), tmp_path / "flat.pt")
    files = ["--checkpoint", str(tmp_path / "flat.pt"), "--output_dir", str(tmp_path / "out")]
    options = ["--transform", "squarepad", "--official_image_modes", "--official_truncation"]
    _convert(capsys, *flags, *files, *options, "--official_special_tokens", "--official_half_precision_weights")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.official_truncation and processor.official_special_tokens
    assert processor.image_processor.transform == "squarepad" and processor.image_processor.official_image_modes
    weight = FashionKLIPModel.from_pretrained(tmp_path / "out").text_projection.weight
    assert torch.equal(weight, weight.half().float())


@pytest.mark.parametrize("source", ["epoch_latest.pt", "folder"])
def test_the_program_writes_a_plain_clip(source: str, tmp_path: Path, flags: list[str], capsys) -> None:
    state = official_clip("vit")
    _write_layouts(state, tmp_path)
    model = model_from_official(state)
    processor = FashionKLIPProcessor(FashionKLIPImageProcessor(size=32), tiny_tokenizer())
    model.save_pretrained(tmp_path / "folder")
    processor.save_pretrained(tmp_path / "folder")
    out = tmp_path / "clip"
    report = _convert(
        capsys, *flags, "--checkpoint", str(tmp_path / source), "--write", "clip", "--output_dir", str(out)
    )
    assert report["written"] == "CLIPModel"
    assert not list(out.glob("*.py")) and json.loads((out / "config.json").read_text())["model_type"] == "clip"
    clip, clip_processor = CLIPModel.from_pretrained(out), CLIPProcessor.from_pretrained(out, backend="pil")
    assert isinstance(clip_processor.tokenizer, CLIPTokenizer)
    picture = Image.radial_gradient("L").resize((48, 40)).convert("RGB")
    theirs = clip_processor(images=picture, text=CAPTIONS, return_tensors="pt", padding=True, truncation=True)
    ours = processor(images=picture, text=CAPTIONS, return_tensors="pt")
    assert torch.equal(theirs["input_ids"], ours["input_ids"])
    torch.testing.assert_close(theirs["pixel_values"], ours["pixel_values"], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(
            clip(**theirs).logits_per_image, model(**ours).logits_per_image, atol=1e-3, rtol=1e-3
        )
    # And a plain CLIP becomes a FashionKLIP again, with its own tokenizer.
    again = tmp_path / "again"
    report = _convert(capsys, "--system", "fashionklip", "--checkpoint", str(out), "--output_dir", str(again))
    assert report["layout"] == "clip"
    loaded = FashionKLIPModel.from_pretrained(again).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_a_plain_clip_says_what_it_can_not_do(tmp_path: Path, flags: list[str], capsys) -> None:
    torch.save(official_clip("vit"), tmp_path / "flat.pt")
    out = tmp_path / "clip"
    files = ["--checkpoint", str(tmp_path / "flat.pt"), "--output_dir", str(out), "--write", "clip"]
    report = _convert(capsys, *flags, *files, "--transform", "squarepad")
    assert any("squarepad" in note for note in report["notes"]) and "squarepad" in (out / "README.md").read_text()


def test_the_program_writes_what_the_original_reads(tmp_path: Path, flags: list[str], capsys) -> None:
    state = official_clip("vit")
    model_from_official(state).save_pretrained(tmp_path / "folder")
    out = tmp_path / "official"
    # No tokenizer is looked for: the folder has none, and no network is here.
    report = _convert(
        capsys,
        *("--system", "fashionklip", "--checkpoint", str(tmp_path / "folder"), "--output_dir", str(out)),
        *("--write", "official", "--epoch", "7"),
    )
    assert report["written"] == "epoch_7.pt"
    found = read_official(out / "epoch_7.pt")
    assert (found.epoch, found.name) == (7, "official")
    assert all(torch.equal(found.state_dict[name], state[name]) for name in state)


def test_the_program_names_what_is_wrong(tmp_path: Path, flags: list[str]) -> None:
    from train.convert import main

    torch.save(official_clip("vit", vocab_size=200), tmp_path / "small.pt")
    torch.save(official_clip("resnet"), tmp_path / "RN50.pt")
    model = tiny_model("mobilenet")
    model.save_pretrained(tmp_path / "mobilenet")
    FashionKLIPProcessor(FashionKLIPImageProcessor(size=32), tiny_tokenizer()).save_pretrained(tmp_path / "mobilenet")
    (tmp_path / "mobilenet/README.md").write_text("kept")
    out = ["--output_dir", str(tmp_path / "out")]

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main([*flags, *out, *arguments])
        return str(stop.value.code)

    assert "540 entries" in refused("--checkpoint", str(tmp_path / "small.pt"))
    assert "Take a ViT" in refused("--checkpoint", str(tmp_path / "RN50.pt"))
    assert "--checkpoint has 2" in refused("--checkpoint", str(tmp_path / "RN50.pt"), str(tmp_path / "small.pt"))
    assert "nowhere.pt" in refused("--checkpoint", str(tmp_path / "nowhere.pt"))
    assert "is a FashionKLIP folder already" in refused("--checkpoint", str(tmp_path / "mobilenet"))
    for write in ("clip", "official"):
        assert "mobilenet_v2" in refused("--checkpoint", str(tmp_path / "mobilenet"), "--write", write)
    weights = tmp_path / "mobilenet/model.safetensors"
    save_file({"logit_scale": torch.tensor(1.0)}, weights, metadata={"format": "pt"})
    assert "no whole FashionKLIPModel" in refused("--checkpoint", str(tmp_path / "mobilenet"), "--write", "official")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.tmp").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--system", "clip4cir", "--write", "clip"], "--write clip is for fashionklip"),
        (["--system", "fashionklip", "--epoch", "3"], "--epoch is an entry of the checkpoint"),
        (["--system", "fashionklip", "--write", "clips"], "invalid choice"),
        (["--system", "fashionklip", "--write", "official", "--epoch", "-1"], "must be at least 0"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(arguments: list[str], message: str, capsys) -> None:
    from train.convert import main

    with pytest.raises(SystemExit):
        main([*arguments, "--checkpoint", "x.pt", "--output_dir", "out"])
    assert message in capsys.readouterr().err
