"""A small saved model and a folder of plain coloured pictures."""

import pytest
from PIL import Image, ImageDraw

from tests.hub.conftest import save_tiny_model

COLORS = ("red", "green", "blue", "black", "white", "orange", "purple", "gray")


def make_pictures(folder, count=16):
    """Pictures that all differ: a colour, and a dark bar whose height counts."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = Image.new("RGB", (60, 80), COLORS[number % len(COLORS)])
        ImageDraw.Draw(image).rectangle((10, 0, 30, 4 * number + 4), fill="navy")
        image.save(folder / f"item{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "model"
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def loaded(model_folder):
    from train.retrieval.loading import load_model

    return load_model(str(model_folder))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("catalogue") / "photos")


@pytest.fixture(scope="session")
def index_folder(loaded, model_folder, photos, tmp_path_factory):
    """A finished index; tests do not write into it."""
    from train.retrieval.index import build_index, pictures_in

    folder = tmp_path_factory.mktemp("indexes") / "index"
    items = pictures_in(photos)
    build_index(folder, *loaded, str(model_folder), items, root=str(photos), part_size=5, progress=False)
    return folder


@pytest.fixture(scope="session")
def klip_folder(tmp_path_factory):
    """A small FashionKLIP, which encodes pictures and texts but composes nothing."""
    import torch

    from tests.modeling.fashionklip_examples import tiny_model, tiny_processor

    folder = tmp_path_factory.mktemp("klip") / "model"
    torch.manual_seed(0)
    model = tiny_model()
    model.save_pretrained(folder)
    tiny_processor(model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def klip_index(klip_folder, photos, tmp_path_factory):
    """The pictures, indexed by the program with that model; tests do not write into it."""
    from train import search

    folder = tmp_path_factory.mktemp("klip_indexes") / "index"
    search.main(["index", "--model", str(klip_folder), "--images", str(photos), "--index_dir", str(folder), "--cpu"])
    return folder
