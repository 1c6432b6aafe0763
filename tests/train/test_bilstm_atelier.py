"""Outfit training from random weights on an Atelier world: the recipe, both layouts, the controls, bad input."""

import json

import pytest

from data_scripts.atelier import WorldSettings, build_world
from train import bilstm_evaluate, bilstm_train
from train.engine.bilstm import starting_model
from train.engine.bilstm_arguments import OutfitStart

from .conftest import ROOT, run_here, validations

RECIPE = ROOT / "train/recipes/bilstm_train/atelier.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("atelier") / "world"
    layouts = ("polyvore", "polyvore_outfits")
    settings = WorldSettings(garments=200, outfits=200, seed=5, image_size=32, layouts=layouts)
    build_world(root, settings, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def model(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    sizes = ("--epochs", 2, "--image_size", 32, "--cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # recipes name one another from there
        return run_here(bilstm_train, "--config", RECIPE, "--data_dir", world, "--output_dir", folder, *sizes)


def test_the_recipe_trains_an_image_network_from_its_configuration(model):
    config = json.loads((model / "model/config.json").read_text())
    vision = config["vision_config"]
    assert vision["model_type"] == "resnet" and vision["image_size"] == 32 and vision["hidden_sizes"][-1] == 128
    assert config["vision_feature_dim"] == 128 and len(validations(model)) == 2


@pytest.mark.parametrize("layout", [("--questions", "typed"), ("--dataset", "polyvore_outfits", "--disjoint")])
def test_categories_and_popularity_know_nothing_of_typed_blanks(world, model, tmp_path, layout):
    arguments = ("--model", model / "model", "--data_dir", world, "--output_dir", tmp_path / "scores", "--cpu")
    run_here(bilstm_evaluate, *arguments, *layout, "--resamples", 200)
    blanks, outfits = json.loads((tmp_path / "scores/results.json").read_text())["results"]
    for name in ("categories", "popularity"):
        assert blanks["controls"][name]["fill_in_blank_accuracy"]["value"] == pytest.approx(25.0)
        assert outfits["controls"][name]["compatibility_auc"]["value"] == pytest.approx(0.5)


def test_an_architecture_is_one_network_in_a_file(tmp_path):
    with pytest.raises(ValueError, match="--architecture and --inception are 2 image networks; give one"):
        OutfitStart(architecture="a.yaml", inception=True)
    with pytest.raises(FileNotFoundError, match="--architecture .*none.yaml: no such file"):
        starting_model(OutfitStart(architecture=str(tmp_path / "none.yaml")), ["red"])
    (tmp_path / "odd.yaml").write_text("hidden_sizes: [8]")
    with pytest.raises(ValueError, match="odd.yaml: expected a configuration with model_type"):
        starting_model(OutfitStart(architecture=str(tmp_path / "odd.yaml")), ["red"])
