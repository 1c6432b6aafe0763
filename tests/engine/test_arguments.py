"""What a user can get wrong on a command line ends in one line that names the value and the nearest valid choice."""

from dataclasses import dataclass
from typing import Literal

import pytest

from train.engine.arguments import argument, parse_arguments


@dataclass
class Example:
    output_dir: str = argument(help="folder")
    learning_rate: float = argument(1e-4, "step size", above=0)
    epochs: int = argument(3, "passes", minimum=1, maximum=1000)
    warmup: int | None = argument(None, "steps", minimum=0)
    encoder: Literal["both", "text", "image"] = argument("both", "what to train")
    save: bool = argument(False, "save")
    categories: list[str] = argument(["dress", "shirt"], "categories")


def parse(*argv):
    return parse_arguments(Example, argv=list(argv))[0]


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_flags_override_the_file_and_the_file_overrides_defaults(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "learning_rate: 1e-5\nepochs: 7\nsave: true\nwarmup: 5\ncategories: [toptee]\noutput-dir: from_file\n"
    )
    read = parse("--config", str(file), "--epochs", "9")
    assert read == Example("from_file", 1e-5, 9, 5, "both", True, ["toptee"])
    assert isinstance(read.learning_rate, float)  # YAML itself reads 1e-5 as text


def test_dashes_and_underscores_are_the_same_flag():
    assert parse("--output-dir", "x", "--learning-rate", "0.5").learning_rate == 0.5


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--leraning_rate", "1"], "did you mean --learning_rate?"),
        (["--learning_rate", "-1"], "--learning_rate -1.0: must be greater than 0"),
        (["--learning_rate", "nan"], "not a number"),
        (["--epochs", "0"], "--epochs 0: must be at least 1"),
        (["--epochs", "2000"], "must be at most 1000"),
        (["--warmup", "-1"], "must be at least 0"),
        (["--encoder", "vision"], "invalid choice: 'vision'"),
        (["--epochs", "3.5"], "invalid int value"),
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--config", "no_such.yaml"], "no_such.yaml: no such file"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(capsys, argv, message):
    assert message in refused(capsys, "--output_dir", "x", *argv)


@pytest.mark.parametrize(
    "text, message",
    [
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean learning_rate?"),
        ("encoder: vision", "not one of"),
        ("epochs: many", "epochs: 'many'"),
        ("epochs: 0", "must be at least 1"),
        ("save: maybe", "expected true or false"),
        ("categories: dress", "expected a list"),
        ("epochs: [1, 2]", "expected one value"),
        ("- a\n- b", "expected `name: value` lines"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_clear_line(capsys, tmp_path, text, message):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    assert message in " ".join(refused(capsys, "--output_dir", "x", "--config", str(file)).split())


def test_a_required_argument_may_come_from_the_file(tmp_path, capsys):
    assert "--output_dir" in refused(capsys)
    file = tmp_path / "recipe.yaml"
    file.write_text("output_dir: here")
    assert parse("--config", str(file)).output_dir == "here"
