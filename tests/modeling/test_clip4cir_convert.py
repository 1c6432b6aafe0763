"""Official checkpoints become models, and nothing in a file from a stranger is executed."""

import io
import json
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel

from modeling.clip4cir import CLIP4CirConfig, CLIP4CirModel
from modeling.clip4cir.checkpoint_reading import read_checkpoint
from modeling.clip4cir.convert_clip4cir import (
    backbone_name,
    config_from_official,
    from_clip,
    load_clip,
    model_from_official,
    read_official,
    round_to_half,
    to_model_keys,
)
from tests.modeling.clip4cir_examples import (
    official_clip,
    official_combiner,
    script_archive,
    tiny_config,
    tiny_inputs,
    tiny_model,
    tiny_tokenizer,
)

KINDS = ["vit", "resnet"]


def _half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What remains of a state dict after the rounding that `script_archive` writes with."""
    return {
        name: tensor.half().float() if tensor.is_floating_point() and "bn" not in name and "ln_" not in name else tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_gives_the_state_dict_that_torchscript_would(kind: str, tmp_path: Path) -> None:
    state = official_clip(kind)
    script_archive(state, tmp_path / "clip.pt")
    read = read_checkpoint(tmp_path / "clip.pt")
    by_torch = torch.jit.load(str(tmp_path / "clip.pt")).state_dict()
    assert read.keys() == by_torch.keys()
    assert all(torch.equal(read[name], by_torch[name]) and read[name].dtype == by_torch[name].dtype for name in read)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_clip_file_gives_the_same_model(kind: str, tmp_path: Path) -> None:
    state = _half(official_clip(kind))
    script_archive(state, tmp_path / "archive.pt")
    torch.save(OrderedDict(state), tmp_path / "plain.pt")
    torch.save({"epoch": 3, "CLIP": OrderedDict(state)}, tmp_path / "tuned.pt")
    torch.save({"epoch": 3, "CLIP": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    expected = model_from_official(state)
    inputs = tiny_inputs(expected)
    for name in ("archive.pt", "plain.pt", "tuned.pt", "old.pt"):
        model = load_clip(tmp_path / name)
        assert model.dtype == torch.float32 and not model.training
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in expected.state_dict().items()), name
        torch.testing.assert_close(model(**inputs).loss, expected(**inputs).loss, rtol=1e-5, atol=1e-5)


def test_missing_counters_and_other_types_are_tolerated(tmp_path: Path) -> None:
    state = official_clip("resnet")
    expected = model_from_official(state).state_dict()
    poor = {name: tensor.double() for name, tensor in state.items() if "num_batches" not in name}
    model = model_from_official(poor)
    for name, tensor in model.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(tensor, expected[name]) and tensor.dtype == torch.float32


def test_a_combiner_joins_the_clip_it_was_trained_on(tmp_path: Path) -> None:
    clip, combiner = official_clip("resnet"), official_combiner()
    torch.save({"epoch": 1, "CLIP": clip}, tmp_path / "clip.pt")
    torch.save({"epoch": 1, "Combiner": combiner}, tmp_path / "combiner.pt")
    script_archive(official_clip("resnet", seed=9), tmp_path / "openai.pt")
    # OpenAI's weights beside fine-tuned ones: the fine-tuned count.
    read = read_official([tmp_path / "openai.pt", tmp_path / "clip.pt", tmp_path / "combiner.pt"])
    model = model_from_official(*read)
    assert model.config.combiner_type == "combiner"
    assert (model.config.combiner_projection_dim, model.config.combiner_hidden_dim) == (48, 64)
    assert torch.equal(model.combiner.combiner_layer.weight, combiner["combiner_layer.weight"])
    assert torch.equal(model.text_projection.weight, clip["text_projection"].T)
    torch.save({"epoch": 2, "Combiner": combiner}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="More than one file holds a Combiner: .*combiner.pt, .*other.pt"):
        read_official([tmp_path / "combiner.pt", tmp_path / "other.pt"])


def test_a_combiner_of_another_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="features of size 640.*gives 32.*RN50x4"):
        config_from_official(official_clip("vit"), official_combiner(dim=640))


def test_a_clip_of_transformers_keeps_its_features() -> None:
    config = tiny_config("vit")
    clip = CLIPModel(
        CLIPConfig(
            text_config=config.text_config.to_dict(), vision_config=config.vision_config.to_dict(), projection_dim=16
        )
    ).eval()
    model = from_clip(clip, combiner_type="combiner")
    inputs = tiny_inputs(model)
    with torch.no_grad():
        image = clip.get_image_features(inputs["pixel_values"]).pooler_output
        text = clip.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
        torch.testing.assert_close(model.get_image_features(inputs["pixel_values"]), image)
        torch.testing.assert_close(model.get_text_features(inputs["input_ids"]), text)
    assert model.combiner is not None


def test_official_names_reach_the_places_that_transformers_gives_them() -> None:
    # The mapping of the spec, checked on a tensor that is told apart: rows of the stacked query, key and value matrix.
    state = official_clip("vit")
    model = model_from_official(state)
    stacked = state["visual.transformer.resblocks.1.attn.in_proj_weight"]
    attention = model.vision_model.encoder.layers[1].self_attn
    for part, layer in zip(stacked.chunk(3), (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
        assert torch.equal(layer.weight, part)
    assert torch.equal(model.visual_projection.weight, state["visual.proj"].T)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("ln_final.bias"), "1 missing: text_model.final_layer_norm.bias"),
        (lambda state: state.update({"visual.extra.weight": torch.zeros(2)}), "1 not used: vision_model.extra.weight"),
        (lambda state: state.update({"ln_final.bias": torch.zeros(3)}), r"of another shape: .*\(3,\).*\(64,\)"),
        (lambda state: state.pop("visual.attnpool.positional_embedding"), "no 'visual.attnpool.positional_embedding'"),
        (lambda state: state.pop("text_projection"), "no 'text_projection'"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message: str) -> None:
    state = official_clip("resnet")
    change(state)
    with pytest.raises(ValueError, match=message):
        model_from_official(state)


def test_a_checkpoint_of_another_architecture_is_refused_by_its_entries(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(2), "layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "resnet50.pth")
    with pytest.raises(ValueError, match=r"resnet50.pth is neither .*conv1.weight, layer1.0.conv1.weight"):
        read_official([tmp_path / "resnet50.pth"])
    torch.save({"epoch": 1, "CLIP": {}, "optimizer": {}}, tmp_path / "extra.pt")
    with pytest.raises(ValueError, match=r"extra.pt holds \['optimizer'\] beside its weights"):
        read_official([tmp_path / "extra.pt"])


class _Runs:
    """A pickle that calls a function when it is read carelessly."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _malicious(mark: Path) -> dict[str, object]:
    return {
        "posix.system": _Runs(os.system, f"touch {mark}"),
        "builtins.eval": _Runs(eval, f"open({str(mark)!r}, 'w')"),
        "builtins.getattr": _Runs(getattr, "", "join"),
        "subprocess.Popen": _Runs(subprocess.Popen, ["touch", str(mark)]),
        "torch.serialization.load": _Runs(torch.load, str(mark)),
    }


@pytest.mark.parametrize(
    "name", ["posix.system", "builtins.eval", "builtins.getattr", "subprocess.Popen", "torch.serialization.load"]
)
@pytest.mark.parametrize("layout", ["zip", "old", "script"])
def test_a_malicious_pickle_is_refused_without_running(name: str, layout: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "was_here", tmp_path / "model.pt"
    content = {"CLIP": {"text_projection": torch.zeros(2, 2)}, "epoch": _malicious(mark)[name]}
    if layout == "script":
        script_archive(official_clip("vit"), path)
        _replace_in_zip(path, "data.pkl", pickle.dumps(content["epoch"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(ValueError, match="model.pt was refused") as refusal:
        read_checkpoint(path)
    assert name.rpartition(".")[2] in str(refusal.value)
    assert not mark.exists()


def test_a_pickle_can_not_change_the_reader(tmp_path: Path) -> None:
    # BUILD on an allowed name would set the reader's own attributes if it could.
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    path = tmp_path / "model.pt"
    torch.save({"x": torch.zeros(1)}, path)
    _replace_in_zip(path, "data.pkl", b"\x80\x02" + rebuild + b"}X\x08\x00\x00\x00functionK\x01sb.")
    with pytest.raises(ValueError, match="model.pt was refused"):
        read_checkpoint(path)
    torch.save({"x": torch.ones(1)}, path)
    assert read_checkpoint(path)["x"] == 1


def test_tensors_that_reach_beyond_their_storage_are_refused(tmp_path: Path) -> None:
    import struct

    path = tmp_path / "model.pt"
    torch.save({"x": torch.zeros(7)}, path)
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        original = archive.read(name)
    # The shape (7,) of the only tensor, as the pickle spells it: K 7, a one-tuple.
    longer = original.replace(b"K\x07\x85", b"J" + struct.pack("<i", 7_000) + b"\x85")
    assert longer != original
    _replace_in_zip(path, "data.pkl", longer)
    with pytest.raises(ValueError, match=r"shape \(7000,\)"):
        read_checkpoint(path)


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    script_archive(official_clip("vit"), path)
    whole = path.read_bytes()
    for name, content, message in [
        ("cut.pt", whole[: len(whole) // 2], "cut off"),
        ("empty.pt", b"", "empty.pt was refused"),
        ("page.pt", b"<html>quota exceeded</html>", "page.pt was refused"),
        ("cut.safetensors", b"\x10\x00\x00", "cut.safetensors is not a safetensors file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_checkpoint(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
    with pytest.raises(ValueError, match="other.pt is a zip file without"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        read_checkpoint(tmp_path / "nowhere.pt")


def test_rounding_spares_norms_embeddings_and_the_combiner() -> None:
    model = tiny_model("resnet", "combiner")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    round_to_half(model)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "vision_model.attnpool.c_proj.weight" in changed and "text_projection.weight" in changed
    spared = ("bn", "norm", "embedding", "logit_scale", "combiner.")
    assert not [name for name in changed if any(part in name for part in spared)]


def test_published_backbones_are_recognised() -> None:
    vision = {"model_type": "clip4cir_resnet", "layers": (4, 6, 10, 6), "width": 80, "image_size": 288}
    assert backbone_name(CLIP4CirConfig(vision_config=vision, projection_dim=640)) == "RN50x4"
    assert backbone_name(CLIP4CirConfig(projection_dim=512)) == "ViT-B/32"
    assert backbone_name(tiny_config("mobilenet")) is None


def test_the_mapping_copies() -> None:
    state = official_clip("vit")
    mapped = to_model_keys(state)
    mapped["text_model.final_layer_norm.bias"].zero_()
    assert state["ln_final.bias"].any()


def test_the_program_writes_a_complete_folder(tmp_path: Path, capsys) -> None:
    from train.convert import main

    clip, combiner = _half(official_clip("resnet")), official_combiner()
    script_archive(clip, tmp_path / "RN.pt")
    torch.save({"epoch": 1, "Combiner": combiner}, tmp_path / "combiner.pt")
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    out = tmp_path / "converted"
    flags = ["--system", "clip4cir", "--output_dir", str(out), "--tokenizer", str(tmp_path / "tokenizer")]
    files = ["--checkpoint", str(tmp_path / "RN.pt"), str(tmp_path / "combiner.pt")]
    main([*flags, *files, "--transform", "squarepad", "--official_image_modes"])
    report = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert report["kind"] == "combiner" and report["parameters"] == sum(
        p.numel() for p in model_from_official(clip, combiner).parameters()
    )
    written = {path.name for path in out.iterdir()}
    assert written >= {
        "README.md",
        "config.json",
        "model.safetensors",
        "modeling_clip4cir.py",
        "modified_resnet.py",
        "processing_clip4cir.py",
        "processor_config.json",
        "tokenizer.json",
    }
    assert (
        not [name for name in written if name.endswith((".pt", ".bin"))] and not (tmp_path / "converted.tmp").exists()
    )
    model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
    assert processor.image_processor.transform == "squarepad" and processor.image_processor.official_image_modes
    assert processor.image_processor.size == model.config.image_size == 64
    expected = model_from_official(clip, combiner)
    inputs = tiny_inputs(expected)
    torch.testing.assert_close(model(**inputs).loss, expected(**inputs).loss, rtol=1e-5, atol=1e-5)

    with pytest.raises(SystemExit, match="not empty"):
        main([*flags, *files])
    main([*flags, *files, "--overwrite", "--official_half_precision_weights"])
    rounded = CLIP4CirModel.from_pretrained(out)
    weight = rounded.vision_model.attnpool.c_proj.weight
    assert torch.equal(weight, weight.half().float())


def test_the_program_names_what_is_wrong(tmp_path: Path) -> None:
    from train.convert import main

    torch.save({"epoch": 1, "Combiner": official_combiner()}, tmp_path / "combiner.pt")
    torch.save(official_clip("vit", vocab_size=200), tmp_path / "clip.pt")
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    flags = ["--system", "clip4cir", "--output_dir", str(tmp_path / "out"), "--tokenizer", str(tmp_path / "tokenizer")]
    with pytest.raises(SystemExit, match="a Combiner alone is not a model"):
        main([*flags, "--checkpoint", str(tmp_path / "combiner.pt")])
    with pytest.raises(SystemExit, match="540 entries.*the weights have 200"):
        main([*flags, "--checkpoint", str(tmp_path / "clip.pt")])
    with pytest.raises(SystemExit, match="nowhere.pt"):
        main([*flags, "--checkpoint", str(tmp_path / "nowhere.pt")])
    assert not (tmp_path / "out").exists()


def test_reading_an_archive_never_compiles_torchscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_archive(official_clip("vit"), tmp_path / "clip.pt")

    def refuse(*_arguments, **_options):
        raise AssertionError("the archive was executed")

    monkeypatch.setattr(torch.jit, "load", refuse)
    monkeypatch.setattr(torch._C, "import_ir_module", refuse)
    monkeypatch.setattr(torch._C, "import_ir_module_from_buffer", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert len(read_checkpoint(tmp_path / "clip.pt")) == len(official_clip("vit")) + 3


def _replace_in_zip(path: Path, ending: str, content: bytes) -> None:
    """Write the archive again with other content in the record whose name has the given end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, content if info.filename.endswith("/" + ending) else old.read(info))
    path.write_bytes(buffer.getvalue())
