"""Official FashionViL files to models: every layout and head, and everything that can be wrong with a file."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from modeling.fashionvil import MODELS, FashionViLConfig, FashionViLForComposition, FashionViLForPreTraining
from modeling.fashionvil.convert_fashionvil import (
    COPIES,
    MODEL_CLASSES,
    backbone_name,
    config_from_official,
    kind_of,
    load_official,
    model_from_official,
    model_key,
    read_official,
)
from tests.modeling.fashionvil_examples import (
    SIZE,
    TOKENIZER,
    pictures,
    tiny_config,
    tiny_image_tokenizer,
    tiny_inputs,
    tiny_model,
    tiny_tokenizer,
)

# What no tensor tells of the tiny models.
OPTIONS = {"text_heads": 2, "image_size": SIZE, "tokenizer": {"image_size": SIZE, "group_norm_groups": 4}}
KINDS = {
    "pretraining": "FashionViLForPreTraining",
    "retrieval": "FashionViLForRetrieval",
    "composition": "FashionViLForComposition",
    "classification": "FashionViLForClassification",
    "outfits": "FashionViLForOutfitRetrieval",
    "encoders": "FashionViLModel",
}


def official_names(kind: str, vision: dict) -> dict[str, str]:
    """Our names -> official names of a residual network and two layers of BERT, written down from the original."""
    inner = "" if kind in ("outfits", "encoders") else "model."
    ours_to_theirs = {}
    for part, number in (("convolution", 0), ("normalization", 1)):
        ours_to_theirs[f"{inner}image_encoder.embedder.embedder.{part}."] = f"image_encoder.model.{number}."
    for stage, depth in enumerate(vision["depths"]):
        for block in range(depth):
            ours = f"{inner}image_encoder.encoder.stages.{stage}.layers.{block}."
            theirs = f"image_encoder.model.{stage + 4}.{block}."
            for layer in range(3):
                ours_to_theirs[f"{ours}layer.{layer}.convolution."] = f"{theirs}conv{layer + 1}."
                ours_to_theirs[f"{ours}layer.{layer}.normalization."] = f"{theirs}bn{layer + 1}."
            ours_to_theirs[f"{ours}shortcut.convolution."] = f"{theirs}downsample.0."
            ours_to_theirs[f"{ours}shortcut.normalization."] = f"{theirs}downsample.1."
    ours_to_theirs[f"{inner}bert"] = "model.bert"
    if kind != "outfits":
        heads = ("contrastive_norm.", "heads.", "norm_layer.", "classifier.", "image_tokenizer.")
        ours_to_theirs |= {head: f"model.{head}" for head in heads}
    return ours_to_theirs


def official_state(kind: str, model) -> dict[str, torch.Tensor]:
    """The weights of a model as the original stores them, copies and buffers included."""
    vision = model.config.vision_config.to_dict()
    names = official_names(kind, vision)
    state = {}
    for name, tensor in model.state_dict().items():
        start = next((ours for ours in names if name.startswith(ours)), "")
        state[names.get(start, "") + name.removeprefix(start)] = tensor.clone()
    if kind != "outfits":
        state["model.bert.embeddings.position_ids"] = torch.arange(80)[None]
    for copy, source in COPIES.items():
        if kind == "pretraining":
            state[copy] = state[source]
    return state


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_comes_through_the_official_names(kind: str) -> None:
    model = tiny_model(KINDS[kind])
    state = official_state(kind, model)
    again = model_from_official(state, None if kind != "composition" else kind, **_options(kind))
    assert type(again) is MODELS[KINDS[kind]] and not again.training
    ours = model.state_dict()
    assert again.state_dict().keys() == ours.keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in again.state_dict().items())
    inputs = tiny_inputs(KINDS[kind])
    with torch.no_grad():
        if kind == "outfits":
            model.config.official_outfit_target = True
        for name, value in model(**inputs).items():
            torch.testing.assert_close(again(**inputs)[name], value)


def _options(kind: str) -> dict:
    return {"image_size": SIZE} if kind == "outfits" else dict(OPTIONS)


def test_a_residual_network_of_basic_blocks_has_its_own_names() -> None:
    vision = {
        "model_type": "resnet",
        "embedding_size": 4,
        "hidden_sizes": [4, 8],
        "depths": [1, 2],
        "layer_type": "basic",
    }
    model = tiny_model(vision_config={**vision, "image_size": SIZE})
    state = official_state("encoders", model)
    assert "image_encoder.model.5.1.conv2.weight" in state and "image_encoder.model.4.0.conv3.weight" not in state
    again = model_from_official(state, **OPTIONS)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_the_ablation_without_sharing_keeps_both_transformers() -> None:
    model = tiny_model("FashionViLForRetrieval", share_encoders=False)
    again = model_from_official(official_state("retrieval", model), **OPTIONS)
    assert not again.config.share_encoders
    inputs = tiny_inputs()
    with torch.no_grad():
        assert torch.equal(again(**inputs).target_embeds, model(**inputs).target_embeds)


@pytest.mark.parametrize("decoder", [False, True])
def test_the_image_tokenizers_own_file(decoder: bool, tmp_path: Path) -> None:
    model = tiny_image_tokenizer(has_decoder=decoder)
    torch.save(model.state_dict(), tmp_path / "tokenizer.pth")
    again = load_official(tmp_path / "tokenizer.pth", tokenizer=OPTIONS["tokenizer"])
    assert again.config.has_decoder == decoder
    assert {name: getattr(again.config, name) for name in TOKENIZER} == TOKENIZER
    assert torch.equal(again.encode(pictures()), model.encode(pictures()))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_layout_of_a_file_is_read(prefix: str, tmp_path: Path) -> None:
    model = tiny_model("FashionViLForRetrieval")
    state = OrderedDict((prefix + name, tensor) for name, tensor in official_state("retrieval", model).items())
    training = {
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-5}]},
        "lr_scheduler": {"last_epoch": 3},
        "best_metric_value": torch.tensor(0.5),
        "num_updates": 120,
        "config": {"model": "fashionvil"},
    }
    for name, content in (("bare.pth", state), ("best.ckpt", training)):
        torch.save(content, tmp_path / name)
        found = read_official(tmp_path / name)
        assert found.kind == "retrieval" and found.updates == (120 if name == "best.ckpt" else None)
        assert bool(found.ignored) == (name == "best.ckpt")
        again = load_official(tmp_path / name, **OPTIONS)
        assert all(torch.equal(t, model.state_dict()[n]) for n, t in again.state_dict().items())
    assert "1 tensors" in found.ignored["optimizer"]


def test_fine_tuning_starts_from_the_encoders_of_any_file(tmp_path: Path) -> None:
    pretrained = tiny_model("FashionViLForPreTraining")
    encoders = model_from_official(official_state("pretraining", pretrained), "encoders", **OPTIONS)
    assert all(torch.equal(t, pretrained.model.state_dict()[n]) for n, t in encoders.state_dict().items())
    # And a head takes them out of a saved folder, with an s of its own.
    with torch.no_grad():
        pretrained.contrastive_norm.norm_s.fill_(9.0)
    pretrained.save_pretrained(tmp_path)
    head, report = FashionViLForComposition.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"] == {"norm_layer.norm_s"} and head.norm_layer.norm_s.item() == 4.0
    assert torch.equal(head.model.bert.pooler.dense.weight, pretrained.model.bert.pooler.dense.weight)


def test_wrong_files_are_refused_by_name(tmp_path: Path) -> None:
    def refused(content: dict, **options) -> str:
        torch.save(content, tmp_path / "wrong.pth")
        with pytest.raises(ValueError) as caught:
            load_official(tmp_path / "wrong.pth", **OPTIONS | options)
        return str(caught.value)

    state = official_state("retrieval", tiny_model("FashionViLForRetrieval"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_official(tmp_path / "nowhere.pth")
    assert "is no FashionViL" in refused({"layer.weight": torch.ones(2)})
    assert "names of this project" in refused({"model.image_encoder.x": torch.ones(2)})
    assert "'extra' beside its 'model'" in refused({"model": state, "extra": {"w": torch.ones(3)}})
    assert "aren't tensors: note" in refused(state | {"note": "text"})
    assert "1 don't: plain" in refused({f"module.{name}": t for name, t in state.items()} | {"plain": torch.ones(1)})
    query = "model.bert.encoder.layer.1.attention.self.query.weight"
    without = {name: tensor for name, tensor in state.items() if name != query}
    assert "1 missing: model.bert.encoder.layer.1" in refused(without)
    assert "of another shape" in refused(state | {query: torch.ones(2, 2)})
    assert "aren't finite" in refused(state | {query: torch.full((32, 32), torch.nan)})
    assert "can't be split into 5" in refused(state, text_heads=5)
    assert "can't become 'classification'" in refused(state, kind="classification")
    assert "kind must be one of" in refused(state, kind="magic")
    pretraining = official_state("pretraining", tiny_model("FashionViLForPreTraining"))
    pretraining["model.heads.mlm.decoder.bias"] = torch.ones(60)
    assert "differs from 'model.heads.mlm.bias'" in refused(pretraining)


def test_an_unused_entry_keeps_its_name_in_the_error() -> None:
    state = official_state("retrieval", tiny_model("FashionViLForRetrieval"))
    with pytest.raises(ValueError, match="1 not used: surprise"):
        model_from_official(state | {"model.surprise": torch.ones(1)}, **OPTIONS)


def test_the_names_tell_the_kind() -> None:
    for kind in ("pretraining", "retrieval", "classification", "outfits", "encoders"):
        assert kind_of(official_state(kind, tiny_model(KINDS[kind]))) == kind
    assert kind_of(tiny_image_tokenizer().state_dict()) == "tokenizer"
    assert MODEL_CLASSES["pretraining"] is FashionViLForPreTraining
    assert model_key("image_encoder.model.7.2.downsample.1.bias", "retrieval") == (
        "model.image_encoder.encoder.stages.3.layers.2.shortcut.normalization.bias"
    )


def test_official_settings_that_no_tensor_tells() -> None:
    outfits = config_from_official(official_state("outfits", tiny_model(KINDS["outfits"])), image_size=SIZE)
    assert outfits.official_outfit_target and outfits.outfit_frozen_stages == [4]
    assert backbone_name(FashionViLConfig()) == "ResNet-50" and backbone_name(tiny_config()) is None


@pytest.mark.parametrize("kind", ["pretraining", "composition", "outfits"])
def test_the_program_writes_a_complete_folder(kind: str, tmp_path: Path, capsys) -> None:
    from train.convert import main

    # 64 entries: at that width the official rule, width over 64, gives the one head of this model.
    changes = {"text_config": {"vocab_size": len(tiny_tokenizer()), "hidden_size": 64, "num_hidden_layers": 1}}
    changes["text_config"] |= {"num_attention_heads": 1, "intermediate_size": 48, "max_position_embeddings": 80}
    model = tiny_model(KINDS[kind], **changes, **({"tokenizer_config": None} if kind == "pretraining" else {}))
    torch.save(official_state(kind, model), tmp_path / "model.pth")
    tiny_tokenizer().save_pretrained(tmp_path / "words")
    out = tmp_path / "out"
    flags = ["--system", "fashionvil", "--checkpoint", str(tmp_path / "model.pth"), "--output_dir", str(out)]
    flags += ["--tokenizer", str(tmp_path / "words")] + (["--variant", "composition"] if kind == "composition" else [])
    main(flags)
    report = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert report["kind"] == kind and report["model"] == KINDS[kind]
    assert {"README.md", "config.json", "model.safetensors", "modeling_fashionvil.py"} <= {
        p.name for p in out.iterdir()
    }
    loaded = AutoModel.from_pretrained(out)
    assert type(loaded) is MODELS[KINDS[kind]]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    if kind == "outfits":
        assert "score_candidates" in (out / "README.md").read_text() and loaded.config.variant == "outfits"
        return
    processor = AutoProcessor.from_pretrained(out)
    assert processor.max_text_length == (50 if kind == "composition" else 75)
    assert processor.image_processor.resize == (224 if kind == "composition" else 256)


def test_the_program_names_what_is_wrong(tmp_path: Path, capsys) -> None:
    from train.convert import main

    torch.save(official_state("retrieval", tiny_model("FashionViLForRetrieval")), tmp_path / "model.pth")
    tiny_tokenizer().save_pretrained(tmp_path / "words")
    flags = [
        "--system",
        "fashionvil",
        "--checkpoint",
        str(tmp_path / "model.pth"),
        "--output_dir",
        str(tmp_path / "out"),
    ]

    def refused(*more: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main([*flags, *more])
        return f"{stop.value.code}{capsys.readouterr().err}"

    assert "60: name another one with --tokenizer" in refused("--tokenizer", str(tmp_path / "words"))
    assert "--transform clip is not for fashionvil" in refused("--transform", "clip")
    assert "bilstm-no-vse is not for fashionvil" in refused("--variant", "bilstm-no-vse")
    assert "--write clip is for fashionklip" in refused("--write", "clip")
    assert not (tmp_path / "out").exists()
