"""What `pip install` brings: a wheel holds everything that the programs read, not only the Python files."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("modeling", "data_scripts", "train", "model_cards")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
CARD = """
import sys
sys.path.insert(0, sys.argv[1])
from train.engine.cards import CARD_FOLDER, CardFacts, model_card
assert str(CARD_FOLDER).startswith(sys.argv[1]), CARD_FOLDER
assert "# name" in model_card(CardFacts("org/name", "clip4cir", kind="sum", class_name="CLIP4CirModel"), [])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel of a copy of the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(REPOSITORY / name, source / name)
    done = subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target / "site")
    return target / "site"


def test_a_wheel_holds_code_recipes_metrics_and_card_texts(installed):
    wanted = {
        path.relative_to(REPOSITORY)
        for part in PARTS
        for path in (REPOSITORY / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - {path.relative_to(installed) for path in installed.rglob("*")} == set()


def test_cards_can_be_written_where_only_the_wheel_is(installed):
    command = [sys.executable, "-c", CARD, str(installed)]
    done = subprocess.run(command, cwd=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
