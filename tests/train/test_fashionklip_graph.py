"""The graph program on a made-up catalogue: build, match and add, with and without a model."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from data_scripts.concepts.graph import Caption, ConceptGraph, read_captions
from data_scripts.concepts.records import read_records
from tests.data_scripts.test_concepts_graph import FILES
from tests.hub.conftest import save_tiny_model
from train import fashionklip_graph
from train.engine.concept_pictures import load_encoders, pictures_by_caption, pictures_by_model

REPOSITORY = Path(__file__).resolve().parents[2]
COLOURS = ("red", "green", "blue", "black")
GARMENTS = ("shirt", "dress", "hat")


def make_catalogue(folder, split="train", count=48, seed=0, garments=GARMENTS, missing=(), damaged=()):
    """Products whose picture shows the colour of the title, and a bar whose height counts the products."""
    draw = random.Random(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with open(folder / f"products_{split}.jsonl", "w", encoding="utf-8") as rows:
        for number in range(count):
            colour, garment = COLOURS[number % 4], garments[number // 4 % len(garments)]
            material = draw.choice(["cotton", "wool"])
            product = {
                "id": f"{split}{number:03d}",
                "title": f"{colour.title()} {material} {garment}",
                "description": f"A {garment} in {colour} {material} with patch pockets.",
                "kind": {"shirt": "Tops", "dress": "Dresses"}.get(garment, ""),
            }
            rows.write(json.dumps(product) + "\n")
            image = Image.new("RGB", (48, 64), colour)
            ImageDraw.Draw(image).rectangle((8, 0, 20, number + 4), fill="white")
            path = folder / "images" / f"{product['id']}.png"
            if number not in missing:
                image.save(path)
            if number in damaged:
                path.write_bytes(path.read_bytes()[:60])
    return folder


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Prepared rows of these catalogues go to a folder of their own."""
    import datasets.config

    before, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    make_catalogue(folder)
    return make_catalogue(folder, "valid", 12, seed=1)


@pytest.fixture(scope="module")
def built(shop, tmp_path_factory):
    output = tmp_path_factory.mktemp("graphs") / "graph"
    fashionklip_graph.main(["build", "--data_dir", str(shop), "--output_dir", str(output), "--min_frequency", "3"])
    return output


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One folder per kind of model that encodes pictures and texts."""
    from transformers import CLIPModel

    from modeling.fashionklip.convert_fashionklip import to_clip_model
    from tests.modeling.fashionklip_examples import tiny_model, tiny_processor

    root = tmp_path_factory.mktemp("models")
    save_tiny_model(root / "clip4cir")
    torch.manual_seed(0)
    model = tiny_model()
    model.save_pretrained(root / "fashionklip")
    tiny_processor(model).save_pretrained(root / "fashionklip")
    clip = to_clip_model(model)
    assert isinstance(clip, CLIPModel)
    clip.save_pretrained(root / "clip")
    tiny_processor(model).tokenizer.save_pretrained(root / "clip")
    return root


def run(capsys, *arguments):
    """The last line of what the program prints, as JSON."""
    fashionklip_graph.main([str(argument) for argument in arguments])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


# Build


def test_a_graph_folder_has_all_its_files_and_the_page_with_pictures(built) -> None:
    assert {path.name for path in built.iterdir()} == FILES | {"index.html", "thumbnails"}
    graph = ConceptGraph.load(built)
    assert {"shirt", "red shirt", "wool hat"} <= set(graph.phrases()) and graph.fathers()["red shirt"] == "shirt"
    shown = {one.image_id for pictures in graph.prototypes.values() for one in pictures}
    assert len(list((built / "thumbnails").rglob("*.jpg"))) == len(shown) > 0


def test_the_last_line_sums_up(shop, tmp_path, capsys) -> None:
    line = run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", "--min_frequency", 3)
    graph = ConceptGraph.load(tmp_path / "g")
    assert line["concepts"] == len(graph.phrases()) and line["captions"] == 48 and line["pictures"] == "caption"
    assert line["captions_by_concepts"] == graph.report["coverage"]["captions_by_concepts"]
    assert graph.report["arguments"]["min_frequency"] == 3 and graph.report["texts"]["read"] == 48


def test_without_a_first_word_it_builds(shop, tmp_path, capsys) -> None:
    line = run(capsys, "--data_dir", shop, "--output_dir", tmp_path / "g", "--min_frequency", 3, "--page", "false")
    assert line["captions"] == 48


def test_the_report_names_no_folder_of_this_machine(built, shop) -> None:
    for name in ("report.json", "index.html"):
        assert str(shop.parent) not in (built / name).read_text("utf-8")


def test_without_a_model_pictures_come_from_captions_with_the_concept(built, shop) -> None:
    graph, texts = ConceptGraph.load(built), {}
    for record in read_records(shop).records:
        texts[record.item_ids[0]] = record.caption.lower()
    for phrase in ("red shirt", "hat"):
        assert graph.prototypes[phrase]
        assert all(set(phrase.split()) <= set(texts[one.image_id].split()) for one in graph.prototypes[phrase])


def test_categories_become_fathers(shop, tmp_path, capsys) -> None:
    options = ["--min_frequency", 3, "--category_column", "kind", "--page", "false"]
    run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    fathers = ConceptGraph.load(tmp_path / "g").fathers()
    assert (fathers["shirt"], fathers["dress"], fathers["hat"]) == ("top", "", "")
    assert not (tmp_path / "g" / "index.html").exists()


def test_a_full_folder_is_refused_and_overwritten_when_asked(shop, tmp_path, capsys) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "mine.txt").write_text("keep", "utf-8")
    options = ["build", "--data_dir", shop, "--output_dir", tmp_path / "g", "--min_frequency", 3, "--page", "false"]
    with pytest.raises(FileExistsError, match="--overwrite"):
        run(capsys, *options)
    run(capsys, *options, "--overwrite")
    assert {path.name for path in (tmp_path / "g").iterdir()} == FILES


def test_a_build_that_fails_leaves_the_old_graph(shop, tmp_path, capsys) -> None:
    options = ["build", "--data_dir", shop, "--output_dir", tmp_path / "g", "--page", "false"]
    run(capsys, *options, "--min_frequency", 3)
    with pytest.raises(ValueError, match="min_frequency"):
        run(capsys, *options, "--min_frequency", 900, "--overwrite")
    assert ConceptGraph.load(tmp_path / "g").phrases()


def test_a_knowledge_base_of_its_own_gives_vocabulary_and_pictures(shop, tmp_path, capsys) -> None:
    base = make_catalogue(tmp_path / "base", count=24, garments=("hat", "scarf"))
    options = ["--min_frequency", 3, "--kb_data_dir", base, "--kb_min_frequency", 4]
    run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    graph = ConceptGraph.load(tmp_path / "g")
    kb = {concept.phrase for concept in graph.of("kb")}
    assert "scarf" in kb and "shirt" not in kb and "red shirt" in {c.phrase for c in graph.of("data")}
    assert graph.prototypes["scarf"] and not graph.prototypes.get("red shirt")
    assert graph.report["coverage"]["concepts_without_images"] > 0


def test_texts_alone_are_enough(tmp_path, capsys) -> None:
    shop = make_catalogue(tmp_path / "texts", missing=range(48))
    options = ["--min_frequency", 3, "--images", "absent"]
    line = run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    assert line["pictures"] == "none" and line["concepts_with_images"] == 0 and (tmp_path / "g/index.html").is_file()


def test_a_damaged_picture_is_counted_and_said(tmp_path, capsys) -> None:
    shop = make_catalogue(tmp_path / "shop", damaged=(0,))
    arguments = ["build", "--data_dir", shop, "--output_dir", tmp_path / "g", "--min_frequency", 3]
    fashionklip_graph.main([str(argument) for argument in arguments])
    output = capsys.readouterr().out
    assert json.loads(output.splitlines()[-1])["unreadable"] == 1 and "no small picture of train000" in output


@pytest.mark.parametrize("columns, mined", [(["title"], False), (["description"], True)])
def test_the_columns_to_mine_can_be_named(shop, tmp_path, capsys, columns, mined) -> None:
    options = ["--min_frequency", 3, "--page", "false", "--text_columns", *columns]
    run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    assert ("patch pocket" in ConceptGraph.load(tmp_path / "g").phrases()) == mined


def test_captions_can_be_made_of_several_columns(shop, tmp_path, capsys) -> None:
    options = ["--min_frequency", 3, "--page", "false", "--caption", "title", "description"]
    run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    caption = ConceptGraph.load(tmp_path / "g").captions[0]
    assert caption.text.startswith("Red ") and "shirt A shirt in red" in caption.text
    assert "shirt" in caption.phrases and not any(phrase.startswith("shirt shirt") for phrase in caption.phrases)


# With a model


@pytest.mark.parametrize("kind", ["fashionklip", "clip4cir", "clip"])
def test_a_model_chooses_the_pictures(shop, models, tmp_path, capsys, kind) -> None:
    from train.engine.prototypes import select_prototypes
    from train.retrieval.encode import encode_images, encode_texts

    options = ["--min_frequency", 3, "--model", models / kind, "--candidates", 8, "--prototypes", 3, "--page", "false"]
    line = run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options, "--cpu")
    graph = ConceptGraph.load(tmp_path / "g")
    assert line["pictures"] == "model" and line["concepts_with_images"] == len(graph.phrases())
    assert graph.report["pictures"]["model"]["name"] == kind and graph.report["pictures"]["pool"] == 48

    model, processor = load_encoders(str(models / kind), None, False, "cpu")
    data = read_records(shop)
    ids, images = encode_images(model, processor, list(data.images), data.images, progress=False)
    texts = encode_texts(model, processor, [f"a photo of {p}" for p in graph.phrases()], progress=False)
    images, texts = (torch.nn.functional.normalize(one, dim=-1) for one in (images, texts))
    chosen = select_prototypes(texts, images, candidates=8, prototypes=3, diversity=0.8)
    for row, phrase in enumerate(graph.phrases()):
        assert [one.image_id for one in graph.prototypes[phrase]] == [ids[i] for i in chosen.indices[row].tolist()]
        cosines = [float(texts[row] @ images[i]) for i in chosen.indices[row].tolist()]
        assert [one.score for one in graph.prototypes[phrase]] == pytest.approx(cosines, abs=1e-5)


@pytest.mark.parametrize("kind", ["fashionklip", "clip4cir", "clip"])
def test_a_model_folder_that_is_not_whole_is_refused(models, tmp_path, kind) -> None:
    def damaged(name):
        return shutil.copytree(models / kind, tmp_path / name)

    file = damaged("lost") / "model.safetensors"
    weights = load_file(file)
    lost = next(name for name in weights if name.endswith("fc1.weight"))
    del weights[lost]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lost: 1 tensors of the configuration are not among the weights.*{lost}"):
        load_encoders(str(tmp_path / "lost"), None, False, "cpu")
    file = damaged("cut") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match="cut: the weights cannot be read"):
        load_encoders(str(tmp_path / "cut"), None, False, "cpu")
    (damaged("no words") / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="knows no words"):
        load_encoders(str(tmp_path / "no words"), None, False, "cpu")


def test_clip_and_the_model_made_of_it_choose_the_same_pictures(shop, models, tmp_path, capsys) -> None:
    found = []
    for kind in ("clip", "fashionklip"):
        options = ["--min_frequency", 3, "--model", models / kind, "--page", "false", "--cpu"]
        run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / kind, *options)
        found.append(ConceptGraph.load(tmp_path / kind).prototypes)
    ids = [{phrase: [one.image_id for one in pictures] for phrase, pictures in one.items()} for one in found]
    assert ids[0] == ids[1]


def test_a_random_pool_is_the_same_for_the_same_seed(shop, models, tmp_path, capsys) -> None:
    pools = []
    for number, seed in enumerate((0, 0, 1)):
        options = [
            "--min_frequency",
            3,
            "--model",
            models / "clip",
            "--pool_size",
            12,
            "--seed",
            seed,
            "--page",
            "false",
        ]
        run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / str(number), *options, "--cpu")
        graph = ConceptGraph.load(tmp_path / str(number))
        pools.append({one.image_id for pictures in graph.prototypes.values() for one in pictures})
    assert pools[0] == pools[1] != pools[2] and len(pools[0]) <= 12


def test_damaged_pictures_are_named_before_anything_is_written(models, tmp_path, capsys) -> None:
    shop = make_catalogue(tmp_path / "shop", damaged=(3, 5))
    options = ["--min_frequency", 3, "--model", models / "clip", "--cpu"]
    with pytest.raises(ValueError, match="(?s)2 of 48 images.*train003.*train005"):
        run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    assert not (tmp_path / "g").exists()


def unit(*rows):
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


def test_pictures_below_the_least_score_are_left_out() -> None:
    images = unit([1.0, 0.0], [1.0, 1.0], [0.0, 1.0])
    chosen = pictures_by_model(["a"], ["x", "y", "z"], unit([1.0, 0.0]), images, min_score=0.5)
    assert sorted((one.image_id, round(one.score, 3)) for one in chosen["a"]) == [("x", 1.0), ("y", 0.707)]


def test_a_concept_gets_pictures_of_its_own_category_where_there_are_any() -> None:
    images = unit([1.0, 0.0], [1.0, 1.0], [0.0, 1.0])
    chosen = pictures_by_model(
        ["red hat", "red coat", "thing"],
        ["x", "y", "z"],
        unit([1.0, 0.0], [1.0, 0.0], [1.0, 0.1]),
        images,
        prototypes=1,
        concept_categories={"red hat": "Hats", "red coat": "Coats"},
        image_categories={"x": "Shoes", "y": "Hats", "z": "Hats"},
    )
    assert {phrase: [one.image_id for one in pictures] for phrase, pictures in chosen.items()} == {
        "red hat": ["y"],
        "red coat": ["x"],
        "thing": ["x"],
    }


def test_captions_give_one_picture_each_those_that_say_little_else_first() -> None:
    captions = [
        Caption(0, "red shirt of wool", ("a", "b"), ("red shirt",)),
        Caption(1, "red shirt", ("lost", "c"), ("red shirt",)),
        Caption(2, "red shirt", ("d",), ("red shirt",)),
        Caption(3, "red shirt with buttons and a collar", ("e",), ("red shirt",)),
    ]
    found = pictures_by_caption(["red shirt", "hat"], captions, list("abcde"), 2)
    assert [(one.image_id, one.score) for one in found["red shirt"]] == [("c", 1.0), ("a", 0.5)] and not found["hat"]


# FashionKLIP's files


@pytest.fixture(scope="module")
def klip_tree(tmp_path_factory):
    from data_scripts import fashionklip_files as files

    root = tmp_path_factory.mktemp("klip")
    train, val, base = root / "fashiongen" / "train", root / "fashiongen" / "val", root / "fashion_kb"
    for folder in (train, val, base):
        folder.mkdir(parents=True)
    texts = [f"{colour} wool {garment}" for colour in COLOURS for garment in GARMENTS] * 3
    arrays = np.random.default_rng(0).normal(size=(len(texts), 3, 16, 16)).astype(np.float32)
    files.write_captions(
        train / "x_queries_phrases.jsonl",
        [files.Caption(str(n), text, [str(n)], [], []) for n, text in enumerate(texts)],
    )
    files.write_captions(val / "x_queries.jsonl", [files.Caption("900", "red wool shirt", ["900"])])
    files.write_npz(train / "train.16.npz", ((str(n), one) for n, one in enumerate(arrays)))
    files.write_npz(val / "val.16.npz", [("900", arrays[0])])
    files.write_concepts(base / "kb_concepts_queries.jsonl", [files.Concept("70", "a photo of wool hat", "wool hat")])
    files.write_npz(base / "kb.16.npz", ((str(500 + n), one) for n, one in enumerate(arrays[:25])))
    return root


def test_a_tree_of_fashionklip_files_is_read_with_its_vocabulary_and_pool(klip_tree, models, tmp_path, capsys) -> None:
    options = ["--min_frequency", 3, "--model", models / "fashionklip", "--prototypes", 4, "--cpu"]
    line = run(capsys, "build", "--data_dir", klip_tree, "--output_dir", tmp_path / "g", *options)
    graph = ConceptGraph.load(tmp_path / "g")
    assert [concept.phrase for concept in graph.of("kb")] == ["wool hat"] and line["captions"] == 36
    assert "red wool hat" in {concept.phrase for concept in graph.of("data")}
    assert all(500 <= int(one.image_id) < 525 for pictures in graph.prototypes.values() for one in pictures)
    assert "wool hat" in graph.captions[2].match_phrases and line["unreadable"] == 0
    options = ["--split", "val", "--output", tmp_path / "val.jsonl"]
    run(capsys, "match", "--graph_dir", tmp_path / "g", "--data_dir", klip_tree, *options)
    assert "red shirt" in read_captions(tmp_path / "val.jsonl")[0].phrases


def test_a_pool_without_captions_needs_a_model(klip_tree, tmp_path, capsys) -> None:
    fashionklip_graph.main(
        ["build", "--data_dir", str(klip_tree), "--output_dir", str(tmp_path / "g"), "--min_frequency", "3"]
    )
    output = capsys.readouterr().out
    assert "give --model" in output and json.loads(output.splitlines()[-1])["concepts_with_images"] == 0


def test_the_trainers_readers_read_the_graph(built) -> None:
    from data_scripts.fashionklip_files import read_captions, read_concepts, read_fathers

    graph = ConceptGraph.load(built)
    for prefix, source in (("", "data"), ("kb_", "kb")):
        concepts = read_concepts(built / f"{prefix}concepts_queries.jsonl")
        assert [(one.query_id, one.phrase) for one in concepts] == [(str(c.id), c.phrase) for c in graph.of(source)]
        fathers = read_fathers(built / f"{prefix}concepts_fathers.jsonl")
        assert fathers == {concept.phrase: concept.father for concept in graph.of(source)}
    captions = read_captions(built / "train_queries_phrases.jsonl")
    assert [(one.query_text, tuple(one.phrases)) for one in captions] == [(c.text, c.phrases) for c in graph.captions]


# A FashionGen tree


def test_a_fashiongen_tree_gives_one_caption_per_product_with_all_its_views(tmp_path, capsys) -> None:
    root = tmp_path / "FashionGen"
    for split, count in (("train", 36), ("val", 4)):
        (root / split).mkdir(parents=True)
        info = []
        for number in range(count):
            views = [f"{split}{number}_{view}.jpg" for view in range(2)]
            for view in views:
                Image.new("RGB", (16, 20), COLOURS[number % 4]).save(root / split / view)
            text = f"{GARMENTS[number % 3].title()} in {COLOURS[number % 4]} wool."
            row = {"id": number, "images": views, "title": f"{COLOURS[number % 4]} coat", "description": text}
            info.append(row | {"category_id": 0, "subcategory_id": 0, "attributes_id": []})
        (root / f"{split}_info.json").write_text(json.dumps(info), encoding="utf-8")
    labels = {"attributes": {}, "categories": {"Topwear": 0}, "subcategories": {"Coats": 0}}
    (root / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    line = run(capsys, "build", "--data_dir", root, "--output_dir", tmp_path / "g", "--min_frequency", 3)
    graph = ConceptGraph.load(tmp_path / "g")
    assert line["captions"] == 36 and all(len(caption.item_ids) == 2 for caption in graph.captions)
    assert "red coat" in graph.phrases() and "shirt in red wool" in graph.phrases() and graph.prototypes["red coat"]
    options = ["--split", "val", "--output", tmp_path / "val.jsonl"]
    assert run(capsys, "match", "--graph_dir", tmp_path / "g", "--data_dir", root, *options)["captions"] == 4


# Match and add


def test_captions_of_another_split_are_matched(built, shop, tmp_path, capsys) -> None:
    output = tmp_path / "out" / "valid.jsonl"
    arguments = ["match", "--graph_dir", built, "--data_dir", shop, "--split", "valid", "--output", output]
    line = run(capsys, *arguments)
    captions, known = read_captions(output), set(ConceptGraph.load(built).phrases())
    assert line["captions"] == len(captions) == 12 and all(set(one.phrases) <= known for one in captions)
    assert all(one.phrases[-1] in GARMENTS for one in captions)
    with pytest.raises(FileExistsError, match="--overwrite"):
        run(capsys, *arguments)
    assert run(capsys, *arguments, "--overwrite") == line


def test_further_texts_are_added_to_a_graph(built, tmp_path, capsys) -> None:
    new = make_catalogue(tmp_path / "new", count=24, garments=("scarf", "shirt"), seed=2)
    before = {path: path.read_bytes() for path in built.rglob("*") if path.is_file()}
    options = ["--graph_dir", built, "--data_dir", new, "--output_dir", tmp_path / "g", "--min_frequency", 3]
    line = run(capsys, "add", *options)
    old, larger = ConceptGraph.load(built), ConceptGraph.load(tmp_path / "g")
    assert {path: path.read_bytes() for path in built.rglob("*") if path.is_file()} == before
    assert line["added"] == len(larger.phrases()) - len(old.phrases()) > 0
    assert "red scarf" in larger.report["added"] and larger.prototypes["red scarf"]
    assert larger.prototypes["red shirt"] == old.prototypes["red shirt"]
    assert len(larger.captions) == 48 + 24
    page = (tmp_path / "g" / "index.html").read_text("utf-8")
    assert "before/thumbnails/0/" in page and list((tmp_path / "g" / "before").rglob("*.jpg"))


def test_a_graph_is_not_added_to_in_place(built, shop, capsys) -> None:
    with pytest.raises(ValueError, match="give another folder"):
        run(capsys, "add", "--graph_dir", built, "--data_dir", shop, "--output_dir", built, "--overwrite")


# What a user can get wrong


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--same_category"], "--category_column"),
        (["--same_category", "--category_column", "kind"], "needs --model"),
        (["--model", "x", "--images", "absent"], "one of the two"),
        (["--prompt", "a photo"], "needs one {}"),
        (["--prototypes", "30"], "more than --candidates"),
        (["--split", "nowhere"], "nowhere"),
        (["--text_columns", "colour"], "no column 'colour'"),
    ],
)
def test_options_that_do_not_fit_are_said_before_work(shop, tmp_path, capsys, options, problem) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        run(capsys, "build", "--data_dir", shop, "--output_dir", tmp_path / "g", *options)
    assert not (tmp_path / "g").exists()


def test_a_missing_model_is_named(shop, tmp_path, capsys) -> None:
    with pytest.raises(FileNotFoundError, match="no_such_model"):
        arguments = ["--data_dir", shop, "--output_dir", tmp_path / "g", "--model", tmp_path / "no_such_model"]
        run(capsys, "build", *arguments, "--min_frequency", 3)


def test_a_folder_of_no_known_layout_is_said(tmp_path, capsys) -> None:
    with pytest.raises(FileNotFoundError, match="no catalogue"):
        run(capsys, "build", "--data_dir", tmp_path, "--output_dir", tmp_path / "g")


@pytest.mark.parametrize("argv", [[], ["bild"]])
def test_the_first_word_must_be_a_command(argv, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        fashionklip_graph.main(argv)
    assert stop.value.code == 2 and "build, match, add" in capsys.readouterr().err


def test_help_does_not_load_torch() -> None:
    code = "import sys; from train import fashionklip_graph as f; f.main(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and "fashionklip_graph.py build" in done.stdout, done.stderr


def test_an_error_is_one_line(tmp_path) -> None:
    command = [sys.executable, "train/fashionklip_graph.py", "build", "--data_dir", "nowhere", "--output_dir", "x"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip() == "error: data folder not found: nowhere"
