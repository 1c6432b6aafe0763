"""Search with a FashionKLIP: a sentence finds pictures, a picture finds its like, and both together are refused."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from modeling.fashionklip import FashionKLIPModel, FashionKLIPProcessor
from train import search
from train.retrieval.index import CatalogueIndex


@pytest.fixture(scope="module")
def expected(klip_folder, photos):
    """(features of all pictures, function from a sentence to its feature), by the model itself."""
    model, processor = FashionKLIPModel.from_pretrained(klip_folder), FashionKLIPProcessor.from_pretrained(klip_folder)
    pictures = [Image.open(path) for path in sorted(photos.iterdir())]

    def of_text(text: str) -> torch.Tensor:
        with torch.no_grad():
            return normalize(model.get_text_features(**processor(text=[text], return_tensors="pt")), dim=-1)[0]

    with torch.no_grad():
        images = model.get_image_features(processor(images=pictures, return_tensors="pt")["pixel_values"])
    return normalize(images, dim=-1), of_text


def ask(capsys, *arguments):
    """The answers of the program."""
    search.main(["query", *map(str, arguments), "--cpu"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def best(scores, index, top_k=16):
    return [index.ids[row] for row in scores.argsort(descending=True)[:top_k].tolist()]


def test_a_sentence_finds_the_pictures_whose_features_are_nearest(capsys, klip_index, expected, tmp_path):
    images, of_text = expected
    index = CatalogueIndex.load(klip_index)
    torch.testing.assert_close(index.features, images, atol=1e-5, rtol=0)
    orders = []
    for text in ("navy cotton coat", "red dress"):
        sheet = tmp_path / f"{text}.png"
        asked = ("--index_dir", klip_index, "--text", text, "--top_k", 16, "--contact_sheet", sheet)
        (found,) = ask(capsys, *asked)["answers"]
        scores = images @ of_text(text)
        assert found["kind"] == "text only"
        assert [one["id"] for one in found["answers"]] == best(scores, index)
        assert [one["score"] for one in found["answers"]] == pytest.approx(sorted(scores.tolist())[::-1], abs=1e-3)
        assert Image.open(sheet).width > 16 * 168
        orders.append(found["answers"])
    assert orders[0] != orders[1]


def test_a_catalogue_is_searched_by_a_sentence(capsys, klip_folder, photos, expected, tmp_path):
    shop = tmp_path / "shop"
    shutil.copytree(photos, shop / "images")
    rows = [{"id": f"P{n}", "title": "a garment", "image": f"images/item{n:02d}.png"} for n in range(16)]
    (shop / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "index"
    search.main(["index", "--model", str(klip_folder), "--images", str(shop), "--index_dir", str(folder), "--cpu"])
    capsys.readouterr()
    (found,) = ask(capsys, "--index_dir", folder, "--text", "navy cotton coat", "--top_k", 5)["answers"]
    images, of_text = expected
    order = (images @ of_text("navy cotton coat")).argsort(descending=True)[:5].tolist()
    assert [one["id"] for one in found["answers"]] == [f"P{row}" for row in order]


def test_a_picture_finds_its_like_without_itself(capsys, klip_index, expected):
    (found,) = ask(capsys, "--index_dir", klip_index, "--reference", "item03", "--top_k", 15)["answers"]
    images, _ = expected
    scores = images @ images[3]
    scores[3] = -torch.inf
    assert [one["id"] for one in found["answers"]] == best(scores, CatalogueIndex.load(klip_index), 15)


def test_a_picture_with_a_sentence_is_refused_with_what_can_be_asked(capsys, klip_index):
    with pytest.raises(SystemExit) as stopped:
        ask(capsys, "--index_dir", klip_index, "--reference", "item03", "--text", "in red")
    assert "a FashionKLIPModel cannot answer composed queries" in stopped.value.code
    assert "give --reference or --text alone" in stopped.value.code


@pytest.fixture(scope="module")
def space_app():
    path = Path(__file__).resolve().parents[2] / "model_cards" / "space" / "app.py"
    spec = importlib.util.spec_from_file_location("space_app_of_fashionklip", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_demo_answers_sentences_and_pictures_and_says_that_it_takes_one(space_app, klip_folder, klip_index, photos):
    demo = space_app.load(str(klip_folder), str(klip_index))
    index, picture = CatalogueIndex.load(klip_index), Image.open(photos / "item05.png")
    loaded = demo.model, demo.processor
    for reference, text in ((None, "navy cotton coat"), (picture, " ")):
        query = search.Query(str(photos / "item05.png") if reference else None, text.strip() or None)
        (wanted,) = search.answer([query], index, *loaded, index.searcher(), top_k=16, keep_reference=True)
        found = space_app.answer(demo, reference, text, top_k=16)
        assert [label.split()[0] for _, label in found] == [one["id"] for one in wanted["answers"]]
    assert found[0][1] == "item05  1.00"
    with pytest.raises(ValueError, match="by a picture or by a sentence, not by both"):
        space_app.answer(demo, picture, "in red")
    with pytest.raises(ValueError, match="Give a picture or a sentence"):
        space_app.answer(demo, None, "")
    assert not demo.composes


def test_the_page_of_the_demo_does_not_promise_composed_search(space_app, klip_folder, klip_index):
    gradio = pytest.importorskip("gradio", reason="the demo extra is not installed (pip install 'lookbook[demo]')")
    page = space_app.interface(space_app.load(str(klip_folder), str(klip_index)))
    assert isinstance(page, gradio.Blocks)
    assert page.title == "Fashion search" and "different" not in json.dumps(page.config, default=str)
