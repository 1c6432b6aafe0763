"""The 2017 files become models, features and, the way back, files that the original restores; every variable has a place."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from modeling.bilstm import BiLSTMInceptionConfig, BiLSTMModel, BiLSTMProcessor
from modeling.bilstm.convert_bilstm import (
    inception_from_official,
    inception_modules,
    model_from_official,
    official_config,
    to_official_variables,
)
from modeling.bilstm.feature_files import read_features
from modeling.bilstm.inception_bilstm import InceptionV3
from modeling.bilstm.names import INCEPTION, STEP, model_variables
from modeling.bilstm.tensorflow_files import read_checkpoint, write_v1_checkpoint, write_v2_checkpoint
from tests.conftest import GOLDEN
from tests.contract import outputs_of
from tests.modeling.bilstm_examples import WORDS, tiny_inputs, tiny_model, tiny_processor

CHECKPOINT = GOLDEN / "bilstm/tf_v1_checkpoint.ckpt"
FEATURES = GOLDEN / "bilstm/tf_v1_checkpoint_test_features.pkl"
KINDS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "no-vse": {"variant": "bilstm-no-vse"},
    "vse": {"variant": "vse"},
    "siamese": {"variant": "siamese"},
}


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return read_checkpoint(CHECKPOINT)


@pytest.fixture
def words(tmp_path: Path, variables) -> str:
    """A list of as many words as the golden checkpoint's table has, with counts, as the original's."""
    count = len(variables["seq_embedding/map"]) - 1
    names = WORDS + [f"word{number}" for number in range(count - len(WORDS))]
    path = tmp_path / "final_word_dict.txt"
    path.write_text("\n".join(f"{name}\t{9000 - number}" for number, name in enumerate(names)), encoding="utf-8")
    return str(path)


def _convert(capsys, *arguments) -> dict:
    from train.convert import main

    main(["--system", "bilstm", *map(str, arguments)])
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def _refused(capsys, *arguments) -> str:
    from train.convert import main

    with pytest.raises(SystemExit) as stop:
        main(["--system", "bilstm", *map(str, arguments)])
    return f"{stop.value.code} {capsys.readouterr().err}"


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


# --- variables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_models_go_to_the_originals_variables_and_back(kind: str) -> None:
    model = tiny_model("inception", **KINDS[kind])
    found = to_official_variables(model)
    expected = model_variables(model.config.variant.removesuffix("-no-vse"), model.config.cell)
    assert sorted([*found, STEP]) == expected
    config = official_config(found)
    names = ("embedding_dim", "hidden_size", "vocab_size", "cell")
    names = names if model.config.has_recurrent else names[:1]
    assert [getattr(config, name) for name in names] == [getattr(model.config, name) for name in names]
    assert config.variant == model.config.variant.removesuffix("-no-vse")
    again = model_from_official(found | {STEP: np.int32(7)}, variant=model.config.variant)
    state = model.state_dict()
    assert again.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    assert not again.training and again.config.vision_config.depth_multiplier == 1 / 32
    inputs = tiny_inputs(model)
    assert outputs_of(again, inputs)["loss"] == outputs_of(model, inputs)["loss"]


def test_the_golden_variables_come_back_to_the_bit(variables) -> None:
    model = model_from_official(variables)
    assert_same(to_official_variables(model) | {STEP: variables[STEP]}, variables)
    assert model.config.variant == "bilstm" and model.config.cell == "lstm"


def test_matrices_have_the_originals_gates() -> None:
    """A step by the original's formula, on the variables as they are in its file."""
    for cell in ("lstm", "gru", "rnn"):
        model = tiny_model("inception", cell=cell)
        found = {name: value.astype(np.float64) for name, value in to_official_variables(model).items()}
        x, h, c = np.random.default_rng(0).standard_normal((3, 2, 12))
        h, c = h[:, :10], c[:, :10]
        sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
        both = np.concatenate([x, h], 1)
        if cell == "lstm":
            prefix = "lstm/BW/BasicLSTMCell/Linear"
            i, j, f, o = np.split(both @ found[f"{prefix}/Matrix"] + found[f"{prefix}/Bias"], 4, axis=1)
            wanted = np.tanh(c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)) * sigmoid(o)
        elif cell == "gru":
            gates, candidate = (f"lstm/BW/GRUCell/{part}/Linear" for part in ("Gates", "Candidate"))
            r, u = np.split(sigmoid(both @ found[f"{gates}/Matrix"] + found[f"{gates}/Bias"]), 2, axis=1)
            new = np.concatenate([x, r * h], 1) @ found[f"{candidate}/Matrix"] + found[f"{candidate}/Bias"]
            wanted = u * h + (1 - u) * np.tanh(new)
        else:
            prefix = "lstm/BW/BasicRNNCell/Linear"
            wanted = np.tanh(both @ found[f"{prefix}/Matrix"] + found[f"{prefix}/Bias"])
        state = tuple(torch.tensor(value, dtype=torch.float32) for value in ((h, c) if cell == "lstm" else (h,)))
        prediction, after = model.step(torch.tensor(x, dtype=torch.float32), state, "backward")
        np.testing.assert_allclose(after[0].detach(), wanted, atol=1e-5)
        head = wanted @ found["b_logits/weights"] + found["b_logits/biases"]
        np.testing.assert_allclose(prediction.detach(), head, atol=1e-5)


def test_variables_that_do_not_fit_are_named(variables) -> None:
    lacking = {name: value for name, value in variables.items() if name != "b_logits/biases"}
    with pytest.raises(ValueError, match="lacks b_logits/biases"):
        model_from_official(lacking)
    with pytest.raises(ValueError, match="1 variables have no place in the model, first: other"):
        model_from_official(variables | {"other": np.zeros(2)})
    with pytest.raises(ValueError, match=r"forward_head.bias is \(3,\)"):
        model_from_official(variables | {"f_logits/biases": np.zeros(3)})
    with pytest.raises(ValueError, match="no outfit model"):
        model_from_official({STEP: np.int32(0)})
    with pytest.raises(ValueError, match="no recurrent cell"):
        model_from_official({name: value for name, value in variables.items() if not name.startswith("lstm/")})


def test_what_the_original_lacks_is_not_written() -> None:
    with pytest.raises(ValueError, match="no image network of type clip_vision_model"):
        to_official_variables(tiny_model("vit"))
    with pytest.raises(ValueError, match='item_inputs is "both"'):
        to_official_variables(tiny_model("inception", item_inputs="both"))


def test_the_image_network_alone_is_found(variables) -> None:
    heads = {f"{INCEPTION}Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 2, 3), np.float32)}
    config, state = inception_from_official(variables | heads)
    expected = model_from_official(variables).vision_model.state_dict()
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert config.depth_multiplier == 1 / 32 and config.min_depth == 2
    with pytest.raises(ValueError, match="no checkpoint of Inception"):
        inception_from_official({"image_embedding/weights": np.zeros((2, 3))})


@pytest.mark.parametrize(
    "multiplier, least",
    [(0.1, 20), (1 / 32, 24), (0.25, 40), (0.0123, 17), (0.137, 2), (0.2, 16), (1 / 16, 4)],
)
def test_widths_of_every_kind_are_read_off_the_layers(multiplier, least) -> None:
    vision = {"depth_multiplier": multiplier, "min_depth": least, "image_size": 75}
    model = tiny_model("inception", vision_config={"model_type": "bilstm_inception_v3", **vision}, variant="siamese")
    again = model_from_official(to_official_variables(model))
    state, expected = again.state_dict(), model.state_dict()
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)


def test_the_full_width_is_the_default() -> None:
    with torch.device("meta"):
        network = InceptionV3(BiLSTMInceptionConfig())
    kernels = {
        f"{INCEPTION}{layer}/weights": network.get_submodule(module).conv.weight.shape[::-1]
        for layer, module in inception_modules().items()
    }
    zeros = {name: np.broadcast_to(np.float32(0), shape) for name, shape in kernels.items()}
    projection = {"image_embedding/weights": np.zeros((2048, 4), np.float32)}
    config = official_config(projection | zeros).vision_config
    assert (config.depth_multiplier, config.min_depth) == (1.0, 16)
    odd = zeros | {f"{INCEPTION}Mixed_6c/Branch_0/Conv2d_0a_1x1/weights": np.zeros((1, 1, 768, 150), np.float32)}
    with pytest.raises(ValueError, match="no depth multiplier"):
        official_config(projection | odd)


# --- the program ---------------------------------------------------------------------------------------------------


def test_the_program_writes_a_complete_folder(tmp_path: Path, variables, words: str, capsys) -> None:
    out = tmp_path / "out"
    report = _convert(capsys, "--checkpoint", CHECKPOINT, "--vocabulary", words, "--output_dir", out)
    assert (report["model"], report["kind"], report["cell"], report["layout"]) == (
        "BiLSTMModel",
        "bilstm",
        "lstm",
        "V1",
    )
    assert report["step"] == int(variables[STEP]) and report["ignored"] == {} and report["renamed"] == 0
    assert list(report["files"]) == [str(CHECKPOINT)] and report["backbone"].startswith("Inception v3")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        *(f"{name}_bilstm.py" for name in ("configuration", "modeling", "processing", "image_processing")),
        *(f"{name}_bilstm.py" for name in ("inception", "losses", "recurrent")),
    }
    card = (out / "README.md").read_text()
    assert "Bidirectional LSTM" in card and CHECKPOINT.name in card and "Not evaluated" in card
    model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
    assert_same(to_official_variables(model) | {STEP: variables[STEP]}, variables)
    assert type(processor) is BiLSTMProcessor and processor.encode("women's blue COAT nothing") == [7, 6, 9]
    pictures = processor.image_processor
    assert (pictures.size, pictures.resize_type, pictures.pad) == (299, "legacy", False)


def test_options_of_the_processor_and_the_variant_are_kept(tmp_path: Path, words: str, capsys) -> None:
    files = ["--checkpoint", CHECKPOINT, "--vocabulary", words, "--output_dir", tmp_path / "out"]
    options = ["--transform", "squarepad", "--official_image_modes", "--variant", "bilstm-no-vse"]
    assert _convert(capsys, *files, *options)["kind"] == "bilstm-no-vse"
    pictures = AutoProcessor.from_pretrained(tmp_path / "out").image_processor
    assert pictures.pad and pictures.official_image_modes
    assert BiLSTMModel.from_pretrained(tmp_path / "out").config.variant == "bilstm-no-vse"


@pytest.mark.parametrize("given", ["model.ckpt-5", "model.ckpt-5.index", "model.ckpt-5.data-00000-of-00001", "."])
def test_newer_checkpoints_with_other_names_are_read(given: str, tmp_path: Path, variables, words: str, capsys) -> None:
    def renamed(name: str) -> str:
        name = name.replace("lstm/FW/BasicLSTMCell/Linear/Matrix", "lstm/fw/basic_lstm_cell/kernel")
        return name.replace("lstm/FW/BasicLSTMCell/Linear/Bias", "lstm/fw/basic_lstm_cell/bias")

    source = tmp_path / "source"
    source.mkdir()
    more = {
        "OptimizeLoss/f_logits/weights/Momentum": variables["f_logits/weights"],
        f"{INCEPTION}Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 2, 3), np.float32),
    }
    write_v2_checkpoint(source / "model.ckpt-5", {renamed(name): v for name, v in variables.items()} | more)
    (source / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-5"\n')
    out = tmp_path / "out"
    report = _convert(capsys, "--checkpoint", source / given, "--vocabulary", words, "--output_dir", out)
    assert report["layout"] == "V2" and report["renamed"] == 2 and report["ignored"].keys() == more.keys()
    assert [Path(name).name for name in report["files"]] == ["model.ckpt-5.index", "model.ckpt-5.data-00000-of-00001"]
    assert_same(to_official_variables(BiLSTMModel.from_pretrained(out)) | {STEP: variables[STEP]}, variables)


def test_the_program_writes_what_the_original_restores(tmp_path: Path, variables, words: str, capsys) -> None:
    _convert(capsys, "--checkpoint", CHECKPOINT, "--vocabulary", words, "--output_dir", tmp_path / "model")
    back = ["--checkpoint", tmp_path / "model", "--write", "official", "--output_dir", tmp_path / "back"]
    report = _convert(capsys, *back, "--step", int(variables[STEP]))
    assert report["variables"] == len(variables) == 388
    # The golden file was written by TensorFlow itself.
    assert (tmp_path / "back" / report["written"]).read_bytes() == CHECKPOINT.read_bytes()
    assert_same(read_checkpoint(tmp_path / "back"), variables)
    again = [line.split()[0] for line in Path(words).read_text(encoding="utf-8").splitlines()]
    assert (tmp_path / "back/final_word_dict.txt").read_text(encoding="utf-8").split("\n") == again
    assert _convert(capsys, *back, "--overwrite")["written"] == "model.ckpt-0"


def test_a_v2_checkpoint_becomes_a_v1_checkpoint_without_words(tmp_path: Path, variables, capsys) -> None:
    write_v2_checkpoint(tmp_path / "model.ckpt", variables | {STEP: np.int32(9)})
    report = _convert(
        capsys, "--checkpoint", tmp_path / "model.ckpt", "--write", "official", "--output_dir", tmp_path / "back"
    )
    assert report["written"] == "model.ckpt-9"
    assert_same(read_checkpoint(tmp_path / "back"), variables | {STEP: np.array(9, np.int32)})
    assert not (tmp_path / "back/final_word_dict.txt").exists()


@pytest.mark.parametrize("variant", ["vse", "siamese"])
def test_the_baselines_are_converted(variant: str, tmp_path: Path, capsys) -> None:
    model = tiny_model("inception", variant=variant)
    write_v1_checkpoint(tmp_path / "model.ckpt", to_official_variables(model) | {STEP: np.int32(3)})
    files = ["--checkpoint", tmp_path / "model.ckpt", "--output_dir", tmp_path / "out"]
    if model.config.has_text:
        (tmp_path / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
        files += ["--vocabulary", tmp_path / "words.txt"]
    report = _convert(capsys, *files)
    assert (report["kind"], report["step"]) == (variant, 3)
    again = BiLSTMModel.from_pretrained(tmp_path / "out")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    card = (tmp_path / "out/README.md").read_text()
    assert ("get_text_features" in card) == model.config.has_text and "score_pooled" in card


def test_features_become_safetensors(tmp_path: Path, capsys) -> None:
    report = _convert(capsys, "--checkpoint", FEATURES, "--write", "features", "--output_dir", tmp_path / "out")
    wanted = read_features(FEATURES)
    assert report["written"] == f"{FEATURES.stem}.safetensors" and report["items"] == len(wanted)
    assert report["sizes"] == {"image_feat": 12, "image_rnn_feat": 12}
    assert [path.name for path in (tmp_path / "out").iterdir()] == [report["written"]]
    found = read_features(tmp_path / "out" / report["written"])
    assert list(found) == list(wanted)
    assert all(np.array_equal(found[key][kind], row[kind]) for key, row in wanted.items() for kind in row)


class _Runs:
    """A pickle that calls a function when it is read carelessly."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys) -> None:
    mark = tmp_path / "was_here"
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"1_1": _Runs(Path.touch, mark)}))
    flags = ["--checkpoint", tmp_path / "bad.pkl", "--output_dir", tmp_path / "out"]
    assert "was refused" in _refused(capsys, *flags, "--write", "features")
    assert not mark.exists() and not (tmp_path / "out").exists()


def test_the_program_names_what_is_wrong(tmp_path: Path, variables, words: str, capsys) -> None:
    out = ["--output_dir", tmp_path / "out"]
    golden = ["--checkpoint", CHECKPOINT, *out]
    rows = len(variables["seq_embedding/map"])
    assert f"list of {rows - 1} words with --vocabulary final_word_dict.txt" in _refused(capsys, *golden)
    few = tmp_path / "few.txt"
    few.write_text("\n".join(WORDS), encoding="utf-8")
    assert f"few.txt has {len(WORDS)} words" in _refused(capsys, *golden, "--vocabulary", few)
    assert "nowhere.txt" in _refused(capsys, *golden, "--vocabulary", tmp_path / "nowhere.txt")
    assert "nowhere.ckpt" in _refused(capsys, "--checkpoint", tmp_path / "nowhere.ckpt", *out)
    assert "--checkpoint has 2" in _refused(capsys, "--checkpoint", CHECKPOINT, CHECKPOINT, *out)
    assert "--write features converts it" in _refused(capsys, "--checkpoint", FEATURES, *out)
    assert "targetpad is not for bilstm" in _refused(capsys, *golden, "--vocabulary", words, "--transform", "targetpad")

    def checkpoint(name: str, content: dict[str, np.ndarray]) -> list:
        write_v1_checkpoint(tmp_path / name, content)
        return ["--checkpoint", tmp_path / name, "--vocabulary", words, *out]

    inception = {name: value for name, value in variables.items() if name.startswith(INCEPTION)}
    assert "--vision_weights" in _refused(capsys, *checkpoint("inception.ckpt", inception))
    lacking = {name: value for name, value in variables.items() if name != "b_logits/biases"}
    assert "b_logits/biases" in _refused(capsys, *checkpoint("lacking.ckpt", lacking))
    more = variables | {"tower/weights": np.zeros(3, np.float32)}
    assert "tower/weights" in _refused(capsys, *checkpoint("more.ckpt", more))
    siamese = to_official_variables(tiny_model("inception", variant="siamese"))
    flags = checkpoint("siamese.ckpt", siamese)
    assert "leave --vocabulary out" in _refused(capsys, *flags)
    assert "leave --variant out" in _refused(capsys, *flags, "--variant", "bilstm-no-vse")
    damaged = CHECKPOINT.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(damaged[: len(damaged) // 2])
    assert "cut.ckpt" in _refused(capsys, "--checkpoint", tmp_path / "cut.ckpt", "--vocabulary", words, *out)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.tmp").exists()


def test_folders_that_have_no_way_back_are_named(tmp_path: Path, capsys) -> None:
    for name, model in {"vit": tiny_model("vit"), "both": tiny_model("inception", item_inputs="both")}.items():
        model.save_pretrained(tmp_path / name)
        tiny_processor(model).save_pretrained(tmp_path / name)
    tiny_model(None).save_pretrained(tmp_path / "features")
    out = ["--output_dir", tmp_path / "out"]
    back = ["--write", "official", *out]
    assert "is a Bi-LSTM folder already" in _refused(capsys, "--checkpoint", tmp_path / "vit", *out)
    assert "'clip_vision_model'" in _refused(capsys, "--checkpoint", tmp_path / "vit", *back)
    assert "its image network is 'none'" in _refused(capsys, "--checkpoint", tmp_path / "features", *back)
    assert 'item_inputs is "both"' in _refused(capsys, "--checkpoint", tmp_path / "both", *back)
    words = ["--vocabulary", tmp_path / "words.txt"]
    assert "leave the options out" in _refused(capsys, "--checkpoint", tmp_path / "both", *words, *back)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--write", "clip"], "--write clip is for fashionklip; bilstm is written as model, official, features"),
        (["--epoch", "3", "--write", "official"], "makes of a fashionklip"),
        (["--step", "3"], "--step is an entry of the checkpoint"),
        (["--step", "3", "--system", "fashionklip", "--write", "official"], "makes of a bilstm"),
        (["--vocabulary", "words.txt", "--system", "clip4cir"], "--vocabulary is for bilstm"),
        (["--variant", "vse"], "invalid choice"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(arguments: list[str], message: str, capsys) -> None:
    assert message in _refused(capsys, "--checkpoint", "x.ckpt", "--output_dir", "out", *arguments)
