"""Index and search: the answers are the brute-force ones, a build survives anything, and a wrong model is refused."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from tests.hub.conftest import save_tiny_model
from tests.retrieval_search.conftest import make_pictures
from train import search
from train.retrieval import index as index_module
from train.retrieval.index import CatalogueIndex, build_index, catalogue_items, model_identity, pictures_in, thumbnail
from train.retrieval.loading import load_model

BACKENDS = ["exact"] + (["faiss"] if importlib.util.find_spec("faiss") else [])


def run(capsys, *arguments):
    """The last line of what the program prints, as JSON, and all of it."""
    search.main([str(argument) for argument in arguments])
    output = capsys.readouterr().out
    return json.loads(output.splitlines()[-1]), output


def build(loaded, model_folder, photos, folder, **options):
    options = {"root": str(photos), "part_size": 5, "progress": False} | options
    return build_index(folder, *loaded, str(model_folder), pictures_in(photos), **options)


def image_features(loaded, paths):
    model, processor = loaded
    pictures = [Image.open(path) for path in paths]
    with torch.no_grad():
        return normalize(
            model.get_image_features(processor(images=pictures, return_tensors="pt")["pixel_values"]), dim=-1
        )


def test_index_holds_the_features_ids_and_files_of_every_picture(index_folder, loaded, photos):
    index = CatalogueIndex.load(index_folder)
    files = sorted(photos.iterdir())
    assert index.ids == [path.stem for path in files] and index.paths == [path.name for path in files]
    torch.testing.assert_close(index.features, image_features(loaded, files), atol=1e-5, rtol=0)
    assert index.part_sizes == [5, 5, 5, 1]


def test_thumbnails_belong_to_their_rows_across_parts(index_folder, photos):
    index = CatalogueIndex.load(index_folder)
    for row, path in enumerate(sorted(photos.iterdir())):
        wanted = torch.frombuffer(bytearray(Image.open(path).tobytes()), dtype=torch.uint8).float()
        kept = torch.frombuffer(bytearray(index.image(row).tobytes()), dtype=torch.uint8).float()
        assert (wanted - kept).abs().mean() < 12  # JPEG; another picture is off by 40 and more


@pytest.mark.parametrize("backend", BACKENDS)
def test_search_is_brute_force_without_the_excluded_row(index_folder, backend, tmp_path):
    index = CatalogueIndex.load(shutil.copytree(index_folder, tmp_path / "index"))
    queries = normalize(torch.randn(6, index.features.shape[1]), dim=-1)
    all_scores = queries @ index.features.T
    best = all_scores.argsort(dim=1, descending=True)
    exclude = torch.tensor([best[0, 0], -1, best[2, 1], -1, best[4, 3], 0])
    all_scores[torch.arange(6)[exclude >= 0], exclude[exclude >= 0]] = -torch.inf
    scores, rows = index.searcher(backend)(queries, 4, exclude)
    assert rows.tolist() == all_scores.argsort(dim=1, descending=True)[:, :4].tolist()
    torch.testing.assert_close(scores, all_scores.sort(dim=1, descending=True).values[:, :4])


def test_missing_faiss_names_its_extra(index_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"lookbook\[faiss\]"):
        CatalogueIndex.load(index_folder).searcher("faiss")


def test_program_answers_composed_queries_without_the_reference_itself(capsys, index_folder, photos, loaded, tmp_path):
    reference = photos / "item03.png"
    sheet = tmp_path / "sheets" / "answers.png"
    asked = ("--reference", reference, "--text", "is red", "--top_k", 5, "--contact_sheet", sheet, "--cpu")
    report, _ = run(capsys, "query", "--index_dir", index_folder, *asked)
    model, processor = loaded
    inputs = processor(images=[Image.open(reference)], text=["is red"], return_tensors="pt")
    index = CatalogueIndex.load(index_folder)
    with torch.no_grad():
        scores = (model.get_query_features(**inputs) @ index.features.T)[0]
    scores[3] = -torch.inf
    (answered,) = report["answers"]
    assert answered["kind"] == "composed"
    assert [one["id"] for one in answered["answers"]] == [index.ids[i] for i in scores.argsort(descending=True)[:5]]
    assert answered["answers"][0]["score"] == pytest.approx(scores.max().item(), abs=1e-3)
    assert Image.open(sheet).width > 5 * 168


def test_picture_alone_finds_itself_when_it_may_and_says_that_there_was_no_text(capsys, index_folder):
    base = ("query", "--index_dir", index_folder, "--reference", "item07", "--top_k", 1)
    kept, output = run(capsys, *base, "--keep_reference")
    assert kept["answers"][0]["answers"][0] == {"id": "item07", "score": 1.0}
    assert "image only query (no text): item07" in output
    left_out, _ = run(capsys, *base)
    assert left_out["answers"][0]["answers"][0]["id"] != "item07"


def test_text_alone_is_answered_by_the_text_feature(capsys, index_folder, loaded):
    report, output = run(capsys, "query", "--index_dir", index_folder, "--text", "is blue", "--top_k", 16)
    model, processor = loaded
    with torch.no_grad():
        feature = normalize(model.get_text_features(**processor(text=["is blue"], return_tensors="pt")), dim=-1)
    index = CatalogueIndex.load(index_folder)
    order = (feature @ index.features.T)[0].argsort(descending=True)
    assert [one["id"] for one in report["answers"][0]["answers"]] == [index.ids[i] for i in order]
    assert "text only query (no reference picture)" in output


def test_several_queries_come_from_a_file_and_go_to_a_file(capsys, index_folder, tmp_path):
    lines = [
        {"reference": "item01", "text": "is red", "target": "item05"},
        {"text": "is blue"},
        {"reference": "item02", "caption": "is red", "target": "item09", "removed": "blue"},
    ]
    (tmp_path / "queries.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines))
    files = ("--queries", tmp_path / "queries.jsonl", "--output", tmp_path / "out" / "answers.jsonl")
    report, _ = run(capsys, "query", "--index_dir", index_folder, *files, "--top_k", 15)
    assert report["queries"] == 3 and "answers" not in report
    answers = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert [one["kind"] for one in answers] == ["composed", "text only", "composed"]
    for line, found in zip(lines, answers, strict=True):
        ids = [one["id"] for one in found["answers"]]
        target = line.get("target")
        assert found["target_place"] == (ids.index(target) + 1 if target else None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": ', "line 2: not JSON"),
        ('["a"]', "expected a JSON object"),
        ('{"txt": "a"}', r"line 1: a query needs .* has \['txt'\]"),
        ("\n\n", "holds no queries"),
        ('{"text": "a", "target": "ghost"}', "1 targets are not ids of the index, first: ghost"),
    ],
)
def test_malformed_query_files_name_the_line(content, message, index_folder, tmp_path):
    (tmp_path / "queries.jsonl").write_text(content)
    arguments = search.QueryArguments(index_dir=str(index_folder), queries=str(tmp_path / "queries.jsonl"))
    with pytest.raises(ValueError, match=message):
        search.query(arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing is asked"),
        ({"queries": "q.jsonl", "text": "a"}, "one or the other"),
        ({"queries": "ghost.jsonl"}, "no such file"),
        ({"reference": "ghost.png"}, "neither a picture file nor an id"),
    ],
)
def test_impossible_requests_are_refused(options, message, index_folder):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        search.query(search.QueryArguments(index_dir=str(index_folder), **options))


def test_another_model_and_another_preprocessing_are_refused(index_folder, model_folder, tmp_path):
    other = tmp_path / "other"
    save_tiny_model(other, seed=5)
    with pytest.raises(ValueError, match="weights"):
        search.query(search.QueryArguments(index_dir=str(index_folder), text="a", model=str(other)))
    model, processor = load_model(str(model_folder))
    processor.image_processor.transform = "squarepad"
    with pytest.raises(ValueError, match="preprocessing"):
        CatalogueIndex.load(index_folder).check_model(model_identity("same", model, processor))


def test_the_same_weights_from_another_place_are_accepted(capsys, index_folder, model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    report, _ = run(capsys, "query", "--index_dir", index_folder, "--text", "is red", "--model", copy)
    assert report["queries"] == 1


@pytest.fixture
def damaged(tmp_path):
    """Sixteen good pictures and three bad ones."""
    folder = make_pictures(tmp_path / "photos")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "item03b.png").write_bytes((folder / "item03.png").read_bytes()[:60])
    (folder / "text.webp").write_text("not a picture")
    return folder


def test_bad_pictures_are_left_out_and_named_together(capsys, damaged, model_folder, tmp_path):
    arguments = ("--model", model_folder, "--images", damaged, "--index_dir", tmp_path / "index", "--part_size", 4)
    report, output = run(capsys, "index", *arguments)
    assert (report["indexed"], report["skipped"]) == (16, 3)
    assert report["skipped_ids"] == ["empty", "item03b", "text"]
    assert "3 of 19 pictures could not be read" in output and "zero bytes" in output
    index = CatalogueIndex.load(tmp_path / "index")
    assert index.ids == [f"item{number:02d}" for number in range(16)] and len(index.skipped) == 3
    assert index.image(4).getpixel((55, 75)) != index.image(3).getpixel((55, 75))  # rows stay in step with thumbnails


def test_strict_makes_bad_pictures_an_error_and_keeps_what_was_encoded(damaged, loaded, model_folder, tmp_path):
    with pytest.raises(ValueError, match="3 of 19 images") as raised:
        build(loaded, model_folder, damaged, tmp_path / "index", strict=True)
    assert all(name in str(raised.value) for name in ("empty", "item03b", "text"))
    assert not (tmp_path / "index").exists()
    for name in ("empty.jpg", "item03b.png", "text.webp"):
        (damaged / name).unlink()
    assert len(build(loaded, model_folder, damaged, tmp_path / "index", strict=True)) == 16


def test_interrupted_build_goes_on_and_encodes_no_finished_part_again(
    loaded, model_folder, photos, tmp_path, monkeypatch
):
    encode, calls = index_module._encode_part, []

    def stop_at_third(model, processor, items, *rest):
        calls.append(list(items))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(model, processor, items, *rest)

    monkeypatch.setattr(index_module, "_encode_part", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        build(loaded, model_folder, photos, tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="interrupted"):
        CatalogueIndex.load(tmp_path / "index")
    build(loaded, model_folder, photos, tmp_path / "index")
    assert calls[2] == calls[3] and len(calls) == 5  # parts 0 and 1, the interrupted one, then 2 and 3
    assert not (tmp_path / "index.partial").exists()
    whole = build(loaded, model_folder, photos, tmp_path / "whole")
    again = CatalogueIndex.load(tmp_path / "index")
    assert torch.equal(again.features, whole.features) and again.ids == whole.ids


def test_resumed_build_encodes_changed_pictures_and_other_models_anew(loaded, tmp_path, model_folder, monkeypatch):
    photos = make_pictures(tmp_path / "photos")
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "_write_index", _no_space)
        with pytest.raises(OSError, match="No space left"):
            build(loaded, model_folder, photos, tmp_path / "index")
    Image.new("RGB", (90, 30), "pink").save(photos / "item06.png")
    build(loaded, model_folder, photos, tmp_path / "index")
    features = CatalogueIndex.load(tmp_path / "index").features
    torch.testing.assert_close(features, image_features(loaded, sorted(photos.iterdir())), atol=1e-5, rtol=0)


def _no_space(*arguments):
    raise OSError(28, "No space left on device")


def test_an_index_is_replaced_only_on_request_and_only_when_the_new_one_stands(
    loaded, model_folder, photos, tmp_path, monkeypatch
):
    build(loaded, model_folder, photos, tmp_path / "index")
    with pytest.raises(FileExistsError, match="--overwrite"):
        build(loaded, model_folder, photos, tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "_write_index", _no_space)
        with pytest.raises(OSError, match="No space left"):
            build(loaded, model_folder, photos, tmp_path / "index", overwrite=True)
    assert len(CatalogueIndex.load(tmp_path / "index")) == 16
    build(loaded, model_folder, photos, tmp_path / "index", overwrite=True, thumbnail_size=0)
    slim = CatalogueIndex.load(tmp_path / "index")
    assert slim.part_sizes == [] and not (tmp_path / "index" / "thumbnails").exists()
    assert slim.image(2).size == (60, 80)  # from the file


def test_damaged_index_is_named(index_folder, tmp_path):
    broken = shutil.copytree(index_folder, tmp_path / "index")
    lines = (broken / "items.jsonl").read_text().splitlines()
    (broken / "items.jsonl").write_text("\n".join(lines[:-1]))
    with pytest.raises(ValueError, match="16 rows announced, 15 items"):
        CatalogueIndex.load(broken)
    (broken / "features.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="not a usable index"):
        CatalogueIndex.load(broken)


def test_catalogue_with_products_file_is_indexed_by_product_id(loaded, model_folder, tmp_path):
    make_pictures(tmp_path / "shop" / "images", 3)
    rows = [{"id": f"P{n}", "title": "a garment", "image": f"images/item{n:02d}.png"} for n in range(3)]
    (tmp_path / "shop" / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items, root = catalogue_items(str(tmp_path / "shop"))
    index = build_index(tmp_path / "index", *loaded, str(model_folder), items, root=root, progress=False)
    assert index.ids == ["P0", "P1", "P2"] and index.paths[1] == "images/item01.png"
    assert index.find(str(tmp_path / "shop" / "images" / "item02.png")) == 2


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        catalogue_items(str(tmp_path / "ghost"))
    with pytest.raises(FileNotFoundError, match="no picture files"):
        catalogue_items(str(tmp_path))


def test_files_that_differ_in_their_suffix_keep_it_in_their_ids(tmp_path):
    for name in ("a.png", "a.jpg", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert list(pictures_in(tmp_path)) == ["a.jpg", "a.png", "sub/b"]


def test_thumbnails_are_upright_and_in_colour_whatever_the_file(tmp_path):
    turned = Image.new("RGB", (80, 40), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert thumbnail(Image.open(tmp_path / "turned.jpg"), 64).size == (32, 64)
    clear = thumbnail(Image.new("RGBA", (10, 10), (0, 0, 0, 0)), 64)
    assert (clear.mode, clear.getpixel((5, 5))) == ("RGB", (255, 255, 255))
    deep = thumbnail(Image.new("I;16", (10, 10), 32896), 64)
    assert deep.getpixel((5, 5)) == (128, 128, 128)
    assert thumbnail(Image.new("CMYK", (10, 10), (0, 255, 255, 0)), 64).getpixel((0, 0)) == (255, 0, 0)


def test_help_and_unknown_words_need_no_arguments(capsys):
    search.main(["--help"])
    assert "train/search.py query" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        search.main(["find"])
    assert stopped.value.code == 2 and "`index` or `query`" in capsys.readouterr().err


@pytest.fixture(scope="module")
def space_app():
    path = Path(__file__).resolve().parents[2] / "model_cards" / "space" / "app.py"
    spec = importlib.util.spec_from_file_location("space_app", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["space_app"] = module
    spec.loader.exec_module(module)
    return module


def test_demo_gives_the_answers_of_the_program(space_app, index_folder, model_folder, loaded, photos):
    demo = space_app.load(str(model_folder), str(index_folder))
    index = CatalogueIndex.load(index_folder)
    picture = Image.open(photos / "item05.png")
    for reference, text in ((picture, "is red"), (None, "is blue"), (picture, "")):
        query = search.Query(str(photos / "item05.png") if reference else None, text or None)
        (wanted,) = search.answer([query], index, *loaded, index.searcher(), top_k=16, keep_reference=True)
        found = space_app.answer(demo, reference, text, top_k=16)
        assert [label.split()[0] for _, label in found] == [one["id"] for one in wanted["answers"]]
    shown, label = found[0]
    assert shown.tobytes() == index.image(index.row_of[label.split()[0]]).tobytes()


def test_demo_refuses_empty_requests_and_names_its_extra(space_app, index_folder, model_folder, monkeypatch):
    demo = space_app.load(str(model_folder), str(index_folder))
    with pytest.raises(ValueError, match="a picture, a sentence, or both"):
        space_app.answer(demo, None, "  ")
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"lookbook\[demo\]"):
        space_app.interface(demo)
    with pytest.raises(FileNotFoundError, match="LOOKBOOK_INDEX"):
        space_app.load(str(model_folder), str(model_folder))
