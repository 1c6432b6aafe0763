"""Search with FashionViL: its features order the answers of every kind of query; the outfit head takes pictures alone."""

import json

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from modeling.fashionvil import MODELS, FashionViLProcessor
from tests.modeling.fashionvil_examples import tiny_model, tiny_processor
from train import search
from train.retrieval.index import CatalogueIndex


def ask(capsys, *arguments):
    """The one answer of the program."""
    search.main(["query", *map(str, arguments), "--top_k", "16", "--cpu"])
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["answers"]
    return found


@pytest.fixture
def indexed(photos, tmp_path, capsys):
    """Function from a head to (index folder, model, processor, normalised features of all pictures)."""

    def make(head):
        folder = tmp_path / head
        torch.manual_seed(1)
        tiny_model(head).save_pretrained(folder)
        tiny_processor().save_pretrained(folder)
        place = tmp_path / f"{head}-index"
        search.main(["index", "--model", str(folder), "--images", str(photos), "--index_dir", str(place), "--cpu"])
        capsys.readouterr()
        model, processor = MODELS[head].from_pretrained(folder), FashionViLProcessor.from_pretrained(folder)
        pictures = [Image.open(path) for path in sorted(photos.iterdir())]
        with torch.no_grad():
            images = model.get_image_features(processor(images=pictures, return_tensors="pt")["pixel_values"])
        return place, model, processor, normalize(images, dim=-1)

    return make


def assert_ordered(found, query, images, index, left_out=()):
    with torch.no_grad():
        scores = images @ normalize(query, dim=-1)[0]
    wanted = {f"item{row:02d}": score for row, score in enumerate(scores.tolist()) if row not in left_out}
    assert {one["id"]: one["score"] for one in found["answers"]} == pytest.approx(wanted, abs=1e-3)
    assert [one["score"] for one in found["answers"]] == sorted(
        (one["score"] for one in found["answers"]), reverse=True
    )
    assert max(wanted.values()) - min(wanted.values()) > 1e-3 and set(wanted) <= set(index.ids)


def test_a_composition_model_answers_pictures_with_changes(indexed, photos, capsys):
    folder, model, processor, images = indexed("FashionViLForComposition")
    index = CatalogueIndex.load(folder)
    torch.testing.assert_close(index.features, images, atol=1e-5, rtol=0)
    inputs = processor(images=Image.open(photos / "item03.png"), text="red dress", return_tensors="pt")
    found = ask(capsys, "--index_dir", folder, "--reference", "item03", "--text", "red dress")
    assert found["kind"] == "composed"
    assert_ordered(found, model.get_query_features(**inputs), images, index, left_out=(3,))


def test_a_retrieval_model_answers_sentences_and_pictures(indexed, capsys):
    folder, model, processor, images = indexed("FashionViLForRetrieval")
    index = CatalogueIndex.load(folder)
    text = processor(text="navy wool coat", return_tensors="pt")
    found = ask(capsys, "--index_dir", folder, "--text", "navy wool coat")
    assert_ordered(found, model.get_text_features(**text), images, index)
    found = ask(capsys, "--index_dir", folder, "--reference", "item05")
    assert_ordered(found, images[5:6], images, index, left_out=(5,))


def test_an_outfit_model_refuses_sentences(indexed, capsys):
    folder = indexed("FashionViLForOutfitRetrieval")[0]
    with pytest.raises(SystemExit) as stopped:
        ask(capsys, "--index_dir", folder, "--text", "red dress")
    assert "a FashionViLForOutfitRetrieval cannot answer text only queries" in stopped.value.code


def test_an_image_tokenizer_makes_no_index(tmp_path, photos):
    from tests.modeling.fashionvil_examples import tiny_image_tokenizer, tiny_processor

    tiny_image_tokenizer().save_pretrained(tmp_path / "tokenizer")
    tiny_processor().image_processor.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SystemExit) as stopped:
        search.main(
            ["index", "--model", str(tmp_path / "tokenizer"), "--images", str(photos), "--cpu"]
            + ["--index_dir", str(tmp_path / "index")]
        )
    assert "an index needs a model of pictures" in stopped.value.code
