"""Prediction and score files of FashionKLIP: against plain loops, ids of every type, references that do not fit."""

import json
import random

import pytest
import torch

from data_scripts.fashionklip_files import write_lines
from train import fashionklip_evaluate
from train.engine.feature_store import FeatureWriter, write_jsonl
from train.fashionklip_evaluate import EvaluateArguments, evaluate, read_reference

from .conftest import run_here

OFFICIAL = {"official_ids": True, "official_errors": True}


def write_case(folder, images, texts, text_reference, image_reference, formats=("jsonl", "jsonl")):
    """Files of (id, feature) lists and of (id, right ids) lists; returns the arguments that name them."""
    folder.mkdir(exist_ok=True)
    names = {}
    for kind, rows, form in (("image", images, formats[0]), ("text", texts, formats[1])):
        ids, features = [i for i, _ in rows], torch.tensor([f for _, f in rows], dtype=torch.float32)
        path = folder / f"{kind}s.{form}"
        if form == "jsonl":
            write_jsonl(path, kind, ids, features)
        else:
            with FeatureWriter(path, kind, ids, features.shape[1]) as writer:
                writer.add(features)
        names[f"{kind}_feats"] = str(path)
    for kind, field, rows in (("text", "query_id", text_reference), ("image", "image_id", image_reference)):
        path = folder / f"{kind}_reference.jsonl"
        write_lines(
            path, [{field: i, **(right if isinstance(right, dict) else {"item_ids": right})} for i, right in rows]
        )
        names[f"{kind}_standard_path"] = str(path)
    return names


def scored(names, output, **options):
    return evaluate(EvaluateArguments(**names, output_dir=str(output), **options))


def lines_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def best(query, candidates, k):
    """Ids of the k best candidates by inner product; of equal ones the earlier."""
    by_score = sorted(candidates, key=lambda row: -sum(a * b for a, b in zip(query, row[1], strict=True)))
    return [identity for identity, _ in by_score[:k]]


def recalls(predictions, reference):
    """Share of the reference's queries with a right answer among the first 1, 5 and 10."""
    hits = [sum(bool(set(predictions[i][:n]) & set(right)) for i, right in reference) for n in (1, 5, 10)]
    return [100 * h / len(reference) for h in hits]


def figures(result):
    return [result["scoreJson"][name] for name in ("r1", "r5", "r10")]


# Two captions have one picture each, the third has two; caption 3 finds its pictures in second and third place.
IMAGES = [("10", [4, 0, 0]), ("11", [0, 2, 0]), ("12", [0, 3, 1]), ("13", [0, 0, 5])]
TEXTS = [(1, [1, 0, 0]), (2, [0, 0, 2]), (3, [1, 1, 0])]
TEXT_REFERENCE = [(1, ["10"]), (2, ["12"]), (3, ["11", "12"])]
IMAGE_REFERENCE = [("10", [1]), ("11", [3]), ("12", [2, 3]), ("13", {"text": 1})]


def test_an_example_worked_by_hand(tmp_path, capsys):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, TEXT_REFERENCE, IMAGE_REFERENCE)
    flags = [part for name, path in names.items() for part in (f"--{name}", path)]
    output = run_here(fashionklip_evaluate, *flags, "--output_dir", tmp_path / "out")
    # Scores of caption 1: 4 0 0 0, of caption 2: 0 0 2 10, of caption 3: 4 2 3 0.
    assert lines_of(output / "text_predictions.jsonl") == [
        {"query_id": 1, "item_ids": ["10", "11", "12", "13"]},
        {"query_id": 2, "item_ids": ["13", "12", "10", "11"]},
        {"query_id": 3, "item_ids": ["10", "12", "11", "13"]},
    ]
    assert lines_of(output / "image_predictions.jsonl") == [
        {"image_id": "10", "item_ids": [1, 3, 2]},
        {"image_id": "11", "item_ids": [3, 1, 2]},
        {"image_id": "12", "item_ids": [3, 2, 1]},
        {"image_id": "13", "item_ids": [2, 1, 3]},
    ]
    results = {}
    for direction, ratios in (("text", [1 / 3, 1.0, 1.0]), ("image", [3 / 4, 1.0, 1.0])):
        text = (output / f"{direction}_output.json").read_text()
        results[direction] = json.loads(text)
        mean = sum(ratios) / 3 * 100
        r1, r5, r10 = (100 * r for r in ratios)
        score = {"score": mean, "mean_recall": mean, "r1": r1, "r5": r5, "r10": r10}
        assert results[direction] == {"success": True, "score": mean, "scoreJson": score}
        assert not text.endswith("\n")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == results
    assert len(list(output.iterdir())) == 4


def make_crowd(pictures, captions):
    """Captions and pictures with small whole numbers, so that many scores are equal."""
    draw = random.Random(4)

    def features(ids):
        return [(i, [draw.randint(-2, 2) for _ in range(6)]) for i in ids]

    images, texts = features([str(1000 - i) for i in range(pictures)]), features([7 * i for i in range(captions)])

    def right(rows, count):
        return [rows[draw.randrange(len(rows))][0] for _ in range(count)]

    text_reference = [(i, right(images, 1 + n % 2)) for n, (i, _) in enumerate(texts)]
    return images, texts, text_reference, [(i, right(texts, 1)) for i, _ in images[:15]]


@pytest.fixture(scope="module")
def crowd():
    return make_crowd(17, 23)


@pytest.mark.parametrize("top_k", [1, 3, 5, 10, 20, 1000])
@pytest.mark.parametrize("formats", [("jsonl", "jsonl"), ("safetensors", "jsonl")])
def test_predictions_and_scores_are_those_of_plain_loops(crowd, top_k, formats, tmp_path):
    images, texts, text_reference, image_reference = crowd
    result = scored(write_case(tmp_path / "case", *crowd, formats=formats), tmp_path / "out", top_k=top_k)
    wanted = {i: best(f, images, top_k) for i, f in texts}
    found = {row["query_id"]: row["item_ids"] for row in lines_of(tmp_path / "out/text_predictions.jsonl")}
    assert list(found.items()) == list(wanted.items()) and len(found[0]) == min(top_k, 17)
    assert figures(result["text"]) == pytest.approx(recalls(wanted, text_reference))
    wanted = {i: best(f, texts, top_k) for i, f in images}
    found = {row["image_id"]: row["item_ids"] for row in lines_of(tmp_path / "out/image_predictions.jsonl")}
    assert list(found.items()) == list(wanted.items()) and len(found["1000"]) == min(top_k, 23)
    assert figures(result["image"]) == pytest.approx(recalls(wanted, image_reference))
    if top_k == 3:  # longer cut-offs see no more than there is
        assert figures(result["text"])[1] == figures(result["text"])[2]


def test_blocks_change_nothing(tmp_path):
    crowd = make_crowd(200, 30)
    names = write_case(tmp_path / "case", *crowd)
    for size in (1, 8192):
        scored(names, tmp_path / str(size), eval_batch_size=size)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "8192" / path.name).read_bytes()
    found = {row["query_id"]: row["item_ids"] for row in lines_of(tmp_path / "1/text_predictions.jsonl")}
    assert found == {i: best(f, crowd[0], 10) for i, f in crowd[1]}


def test_lengths_of_features_count(tmp_path):
    images, texts = [("a", [1, 0]), ("b", [3, 3])], [(1, [1, 0])]
    names = write_case(tmp_path / "case", images, texts, [(1, ["a"])], [("a", [1])])
    assert figures(scored(names, tmp_path / "out")["text"]) == [0, 100, 100]


# Ids


def test_numbers_and_strings_are_one_id_unless_the_original_is_asked_for(tmp_path):
    text_reference = [("1", [10]), (2, ["12"]), ("3", [11, 12])]
    names = write_case(tmp_path / "case", IMAGES, TEXTS, text_reference, IMAGE_REFERENCE)
    assert figures(scored(names, tmp_path / "sane")["text"])[1] == 100
    with pytest.raises(ValueError, match=r"text_reference\.jsonl: no features for id '1'; extract them, or correct it"):
        scored(names, tmp_path / "strict", official_ids=True)
    result = scored(names, tmp_path / "official", **OFFICIAL)
    error = {"errorDetail": "1", "errorMsg": "1", "score": 0, "scoreJson": {}, "success": False}
    assert result["text"] == error == json.loads((tmp_path / "official/text_output.json").read_text())
    assert result["image"]["success"] and lines_of(tmp_path / "official/text_predictions.jsonl")


def test_a_mismatch_of_right_answers_scores_0_in_the_original(tmp_path):
    text_reference = [(1, [10]), (2, ["12"]), (3, [11, 12])]
    names = write_case(tmp_path / "case", IMAGES, TEXTS, text_reference, IMAGE_REFERENCE)
    assert figures(scored(names, tmp_path / "official", **OFFICIAL)["text"]) == pytest.approx([0, 100 / 3, 100 / 3])
    assert figures(scored(names, tmp_path / "sane")["text"]) == pytest.approx([100 / 3, 100, 100])


def test_one_id_as_number_and_as_string_is_refused_and_two_in_the_original(tmp_path):
    texts = [(12, [1, 0, 0]), ("12", [0, 0, 1])]
    names = write_case(tmp_path / "case", IMAGES, texts, [(12, ["10"]), ("12", ["13"])], [("10", [12]), ("13", ["12"])])
    with pytest.raises(ValueError, match=r"texts\.jsonl: id '12' occurs twice; keep one line .*--official_ids"):
        scored(names, tmp_path / "sane")
    result = scored(names, tmp_path / "official", official_ids=True)
    assert figures(result["text"]) == figures(result["image"]) == [100, 100, 100]
    found = lines_of(tmp_path / "official/text_predictions.jsonl")
    assert [row["query_id"] for row in found] == [12, "12"]
    assert lines_of(tmp_path / "official/image_predictions.jsonl")[3] == {"image_id": "13", "item_ids": ["12", 12]}


@pytest.mark.parametrize("kind", ["image", "text"])
def test_of_an_id_twice_the_last_line_counts_in_the_original(kind, tmp_path):
    images, texts = list(IMAGES), list(TEXTS)
    (images if kind == "image" else texts).append({"image": ("10", [0, 0, 9]), "text": (1, [0, 0, 1])}[kind])
    names = write_case(tmp_path / "case", images, texts, TEXT_REFERENCE, IMAGE_REFERENCE)
    with pytest.raises(ValueError, match=rf"{kind}s\.jsonl: id '{'10' if kind == 'image' else '1'}' occurs twice"):
        scored(names, tmp_path / "sane")
    scored(names, tmp_path / "official", official_ids=True)
    rows = lines_of(tmp_path / f"official/{kind}_predictions.jsonl")
    assert len(rows) == len(images if kind == "image" else texts)  # one line for each line
    predictions = {
        i: best(f, texts if kind == "image" else images, 10) for i, f in (images if kind == "image" else texts)
    }
    reference = [("10", [1]), ("11", [3]), ("12", [2, 3]), ("13", [1])] if kind == "image" else TEXT_REFERENCE
    result = json.loads((tmp_path / f"official/{kind}_output.json").read_text())
    assert figures(result) == pytest.approx(recalls(predictions, reference))
    assert figures(result)[0] < {"image": 75, "text": 100 / 3}[kind]


def test_of_a_reference_twice_the_last_line_counts_in_the_original(tmp_path):
    text_reference = [(1, ["13"]), *TEXT_REFERENCE[1:], ("1", ["10"])]
    names = write_case(tmp_path / "case", IMAGES, TEXTS, text_reference, IMAGE_REFERENCE)
    with pytest.raises(ValueError, match=r"text_reference\.jsonl, line 4: query_id '1' occurs twice"):
        scored(names, tmp_path / "sane")
    both = {1: ["13"], 2: ["12"], 3: ["11", "12"], "1": ["10"]}
    assert read_reference(tmp_path / "case/text_reference.jsonl", "text", True) == both
    write_lines(tmp_path / "twice.jsonl", [{"query_id": i, "item_ids": ["10"]} for i in ("1", 1)])
    with pytest.raises(ValueError, match=r"twice\.jsonl, line 2: query_id 1 occurs twice; keep one line of it"):
        read_reference(tmp_path / "twice.jsonl", "text")
    names = write_case(tmp_path / "case", IMAGES, TEXTS, [(1, ["13"]), *TEXT_REFERENCE], IMAGE_REFERENCE)
    result = scored(names, tmp_path / "official", official_ids=True)
    assert figures(result["text"]) == pytest.approx([100 / 3, 100, 100])


# References that do not fit


def test_a_reference_without_features_is_an_error_with_a_remedy(tmp_path):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, [*TEXT_REFERENCE, (99, ["10"])], IMAGE_REFERENCE)
    with pytest.raises(
        ValueError, match=r"text_reference\.jsonl: no features for id '99'; extract them, or correct it"
    ):
        scored(names, tmp_path / "sane")
    for number, (options, wanted) in enumerate((({"official_errors": True}, "99"), (OFFICIAL, 99))):
        result = scored(names, tmp_path / str(number), **options)["text"]
        assert (result["success"], result["errorDetail"], result["score"]) == (False, wanted, 0)


def test_features_that_the_reference_does_not_ask_for_are_candidates_only(tmp_path):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, TEXT_REFERENCE[:1], IMAGE_REFERENCE[:1])
    result = scored(names, tmp_path / "out")
    assert figures(result["text"]) == figures(result["image"]) == [100, 100, 100]
    assert len(lines_of(tmp_path / "out/text_predictions.jsonl")) == 3


def test_right_answers_without_features_are_an_error_or_misses(tmp_path):
    reference = [(1, ["77", "78"]), (2, ["13", "77"]), (3, ["10"])]
    names = write_case(tmp_path / "case", IMAGES, TEXTS, reference, IMAGE_REFERENCE)
    message = r"text_reference\.jsonl: no right answer of 1 of 3 queries has features, first: '1' -> \['77', '78'\]"
    with pytest.raises(ValueError, match=message):
        scored(names, tmp_path / "sane")
    result = scored(names, tmp_path / "official", official_ids=True)["text"]
    assert result["success"] and figures(result) == pytest.approx([200 / 3] * 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query_id": 1}, "line 1: lacks item_ids, and text in its place"),
        ({"item_ids": ["10"]}, "line 1: lacks query_id"),
        ({"query_id": 1, "item_ids": "10"}, "line 1: expected a list in item_ids, got 10"),
        ({"query_id": None, "item_ids": ["10"]}, "line 1: expected numbers or strings as ids, got None"),
        ({"query_id": True, "item_ids": ["10"]}, "line 1: expected numbers or strings as ids, got True"),
        ({"query_id": 1, "item_ids": [["10"]]}, r"line 1: expected numbers or strings as ids, got \['10'\]"),
        ({"query_id": 1, "item_ids": []}, "no right answer of 1 of 1 queries has features"),
        (None, "no line with an id to score"),
    ],
)
def test_a_broken_reference_is_named_or_written_down(row, message, tmp_path):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, TEXT_REFERENCE, IMAGE_REFERENCE)
    write_lines(tmp_path / "case/text_reference.jsonl", [] if row is None else [row])
    with pytest.raises(ValueError, match=rf"text_reference\.jsonl(, |: ){message}"):
        scored(names, tmp_path / "sane")
    result = scored(names, tmp_path / "official", official_errors=True)
    assert not result["text"]["success"] and result["image"]["success"]


def test_features_of_two_models_are_refused(tmp_path):
    names = write_case(tmp_path / "case", IMAGES, [(1, [1, 0])], [(1, ["10"])], [("10", [1])])
    with pytest.raises(ValueError, match=r"images\.jsonl has features of size 3 and .*texts\.jsonl of size 2"):
        scored(names, tmp_path / "out")
    with pytest.raises(ValueError, match=r"texts\.jsonl, line 1: lacks image_id"):
        scored(names | {"image_feats": names["text_feats"]}, tmp_path / "out")


# Files


def test_each_file_can_have_a_place_of_its_own(tmp_path):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, TEXT_REFERENCE, IMAGE_REFERENCE)
    whole = scored(names, tmp_path / "whole")
    flags = ("output_texts", "output_images", "text_out_path", "image_out_path")
    own = {flag: str(tmp_path / "own" / flag / "file") for flag in flags}
    assert evaluate(EvaluateArguments(**names, **own)) == whole
    theirs = ("text_predictions.jsonl", "image_predictions.jsonl", "text_output.json", "image_output.json")
    for flag, name in zip(flags, theirs, strict=True):
        assert (tmp_path / "own" / flag / "file").read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for flag in flags:
        with pytest.raises(ValueError, match=f"give --output_dir, or say with --{flag} where"):
            evaluate(EvaluateArguments(**names, **own | {flag: None}))


def test_a_folder_with_content_is_refused_and_written_to_when_asked(tmp_path):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, TEXT_REFERENCE, IMAGE_REFERENCE)
    scored(names, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    with pytest.raises(FileExistsError, match="not empty.*--overwrite"):
        scored(names, tmp_path / "out", top_k=1)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    scored(names, tmp_path / "out", top_k=1, overwrite=True)
    assert lines_of(tmp_path / "out/text_predictions.jsonl")[0] == {"query_id": 1, "item_ids": ["10"]}


@pytest.mark.parametrize("name", ["image_feats", "text_feats", "text_standard_path", "image_standard_path"])
def test_a_missing_file_is_named(name, tmp_path):
    names = write_case(tmp_path / "case", IMAGES, TEXTS, TEXT_REFERENCE, IMAGE_REFERENCE)
    with pytest.raises(FileNotFoundError, match=r"no file at .*nowhere\.jsonl"):
        scored(names | {name: str(tmp_path / "nowhere.jsonl")}, tmp_path / "out")
