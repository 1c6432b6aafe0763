"""The labels of real titles are consistent and hold no text; the scorer counts what it should, on made-up titles."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.experiments.concept_labels import (
    LABELS,
    Chunk,
    Compared,
    Label,
    LabelArguments,
    canonical,
    check_chunks,
    compare,
    document_frequencies,
    draw,
    either_way,
    errors,
    positions_of,
    ratios,
    read_labels,
    read_titles,
    report,
    restricted,
    score_titles,
    score_types,
)

REAL = Path(os.environ.get("LOOKBOOK_DATA", Path(__file__).parents[3] / "shared" / "data")) / "myntra_products"

# Made-up titles: product id -> title, and what a reader says of them.
TITLES = {
    "1": "Northwind Men Navy Blue Solid Shirts",
    "2": "Harbour & Pine Women Grey Sports Shoes",
    "3": "Northwind Kurta with Dupatta",
    "4": "Northwind 1200 Blue/grey",
}
MADE_UP = [
    Label("1", (Chunk(((2, 3), (4,)), (5,)),)),
    Label("2", (Chunk(((4,),), (5, 6)),)),
    Label("3", (Chunk((), (1,)), Chunk((), (3,)))),
    Label("4", (Chunk((), ()),)),
]


def test_the_labels_hold_ids_and_positions_only() -> None:
    stored = json.loads(LABELS.read_text())
    assert set(stored) == {"description", "rules", "seed", "titles"} and len(stored["titles"]) == 200

    def numbers(chunk: dict) -> list:
        return [*chunk["head"], *(i for run in chunk["modifiers"] for i in run)]

    for row in stored["titles"]:
        assert set(row) <= {"id", "modifiers", "head", "extra_chunks"} and row["id"].isdigit()
        chunks = [row, *row.get("extra_chunks", [])]
        assert all(type(i) is int for chunk in chunks for i in numbers(chunk))


def test_the_labels_are_consistent() -> None:
    labels = read_labels()
    assert len({label.product_id for label in labels}) == 200
    assert [label.product_id for label in labels if not any(chunk.head for chunk in label.chunks)] == ["5400"]


@pytest.mark.parametrize(
    "chunks",
    [
        (Chunk(((3,),), (2,)),),  # the head is not last
        (Chunk(((2,), (1,)), (3,)),),  # not in order
        (Chunk(((1,), (1,)), (3,)),),  # twice
        (Chunk(((1, 3),), (4,)),),  # a modifier with a gap
        (Chunk(((1,),), ()),),  # no head
        (Chunk(((-1,),), (2,)),),
        (Chunk(((1,),), (2,)), Chunk((), (2,))),  # one word in two chunks
    ],
)
def test_impossible_labels_are_errors(chunks) -> None:
    with pytest.raises(ValueError, match="product 9"):
        check_chunks("9", chunks)


def test_a_product_labelled_twice_is_an_error(tmp_path) -> None:
    row = {"id": "7", "modifiers": [], "head": [0]}
    (tmp_path / "labels.json").write_text(json.dumps({"titles": [row, row]}))
    with pytest.raises(ValueError, match="labelled twice: 7"):
        read_labels(tmp_path / "labels.json")


def test_true_phrases_are_the_head_single_modifiers_and_suffixes() -> None:
    assert MADE_UP[0].phrases(TITLES["1"]) == {
        "shirt": (5,),
        "solid shirt": (4, 5),
        "navy blue shirt": (2, 3, 5),
        "navy blue solid shirt": (2, 3, 4, 5),
    }
    assert set(MADE_UP[1].phrases(TITLES["2"])) == {"sports shoe", "grey sports shoe"}
    assert set(MADE_UP[2].phrases(TITLES["3"])) == {"kurta", "dupatta"}
    assert MADE_UP[3].phrases(TITLES["4"]) == {}


def test_words_between_modifiers_are_left_out_and_six_words_are_the_most() -> None:
    label = Label("1", (Chunk(((0,), (2,), (3,), (4,), (5,), (6,)), (7,)),))
    phrases = label.phrases("Soft Men Red Striped Ribbed Warm Woollen Socks")
    assert "soft sock" in phrases and "red striped ribbed warm woollen sock" in phrases
    assert max(len(phrase.split()) for phrase in phrases) == 6


def test_a_title_that_is_shorter_than_its_label_is_an_error() -> None:
    with pytest.raises(ValueError, match="word 5 is labelled, the title has 2 words"):
        MADE_UP[0].phrases("Navy Shirt")


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("Blue TShirts", "blue t-shirt"),
        ("grey tshirt", "grey t-shirt"),
        ("T-Shirts", "t-shirt"),
        ("black trouser", "black trousers"),
        ("Jeans", "jeans"),
        ("sunglasses", "sunglasses"),
        ("ties", "tie"),
        ("hoodies", "hoodie"),
        ("scarves", "scarf"),
        ("bodies", "body"),
        ("watches", "watch"),
        ("dresses", "dress"),
        ("dress", "dress"),
        ("flip flops", "flip flop"),
        ("stripes shirts,", "stripes shirt"),
        ("", ""),
    ],
)
def test_one_form_stands_for_spellings_and_numbers(phrase, expected) -> None:
    assert canonical(phrase) == expected == canonical(expected)


def test_counts_and_errors_of_titles() -> None:
    mined = {
        TITLES["1"]: ["navy blue shirts", "shirt", "northwind shirt", "blue shirt"],
        TITLES["2"]: ["shoe", "grey shoe", "sports shoe", "grey sports shoe"],
        TITLES["3"]: ["kurta"],
        TITLES["4"]: [],
    }
    compared, true = compare(MADE_UP, TITLES, mined.__getitem__)
    assert compared.counts().tolist() == [[2, 4, 4], [2, 4, 2], [1, 1, 2], [0, 0, 0]]
    scores = score_titles(compared, 200)
    assert (scores["right"], scores["mined"], scores["true"]) == (5, 9, 8)
    assert scores["precision"]["value"] == pytest.approx(100 * 5 / 9)
    assert scores["recall"]["value"] == pytest.approx(100 * 5 / 8)
    assert scores["f1"]["value"] == pytest.approx(100 * 10 / 17)
    assert all(scores[name]["low"] < scores[name]["value"] < scores[name]["high"] for name in ratios(np.ones(3)))
    assert errors(MADE_UP, TITLES, compared, true) == {
        "missed": [{"id": "1", "words": [2, 3, 4, 5]}, {"id": "1", "words": [4, 5]}, {"id": "3", "words": [3]}],
        "false": [
            {"id": "1", "words": [3, 5]},
            {"id": "1", "words": [0, 5]},
            {"id": "2", "words": [4, 6]},
            {"id": "2", "words": [6]},
        ],
    }


def test_nothing_mined_scores_nothing_and_all_right_scores_all() -> None:
    nothing, true = compare(MADE_UP, TITLES, lambda title: [])
    assert {name: float(v) for name, v in ratios(nothing.counts().sum(axis=0)).items()} == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
    }
    perfect = Compared([set(phrases) for phrases in true], [set(phrases) for phrases in true])
    assert all(score_titles(perfect, 50)[name]["low"] == 100 for name in ("precision", "recall", "f1"))
    assert all(score_types(perfect, 50)[name]["low"] == 100 for name in ("precision", "recall"))


def test_a_type_counts_once_and_is_right_where_it_is_true() -> None:
    compared = Compared(
        mined=[{"shirt", "red shirt"}, {"shirt"}, {"red shirt"}], true=[{"shirt"}, {"shirt", "silk shirt"}, {"skirt"}]
    )
    scores = score_types(compared, 100)
    assert (scores["right"], scores["mined"], scores["true"]) == (1, 2, 3)
    assert scores["precision"]["value"] == 50


def test_a_doubtful_compound_may_be_read_either_way() -> None:
    apart, _ = compare(MADE_UP, TITLES, lambda t: ["shoe", "grey shoe", "sports shoe", "grey sports shoe"])
    assert either_way(MADE_UP, TITLES, apart).true[1] == {"shoe", "grey shoe", "sports shoe", "grey sports shoe"}
    together, _ = compare(MADE_UP, TITLES, lambda t: ["sports shoe", "grey sports shoe"])
    assert either_way(MADE_UP, TITLES, together).true == together.true
    # The other way round, and nothing but the listed pairs.
    polo = Label("5", (Chunk(((0,), (1,)), (2,)),))
    assert set(polo.other_reading("Red Polo Tshirt").phrases("Red Polo Tshirt")) == {
        "polo t-shirt",
        "red polo t-shirt",
    }
    assert polo.other_reading("Red Casual Shoes") == polo


def test_document_frequency_counts_words_in_order() -> None:
    titles = ["Navy Blue Solid Shirt", "blue shirts", "Shirt Blue", "blue shirts"]
    assert document_frequencies(["blue shirt", "shirt", "red shirt", "navy blue shirt"], titles) == {
        "blue shirt": 3,
        "shirt": 4,
        "red shirt": 0,
        "navy blue shirt": 1,
    }


def test_rare_phrases_and_phrases_outside_the_vocabulary_are_left_out() -> None:
    compared = Compared([{"shirt", "odd shirt"}], [{"shirt", "rare shirt", "frequent shirt", "kept shirt"}])
    kept = restricted(compared, {"shirts", "kept shirt"}, {"shirt": 9, "frequent shirt": 5, "rare shirt": 4}, 5)
    assert kept == Compared([{"shirt"}], [{"shirt", "frequent shirt", "kept shirt"}])


def test_positions_follow_the_title_from_its_end() -> None:
    assert positions_of("red shoe", "Red Brand Red Casual Shoes") == [2, 4]
    assert positions_of("shoe red", "Red Shoes") is None
    assert positions_of("blue shoe", "Red Shoes") is None


def test_a_labelled_product_that_is_absent_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 labelled products are not in the catalogue: 9"):
        compare([Label("9", (Chunk((), (0,)),))], TITLES, lambda title: [])


def test_titles_are_read_in_file_order_and_drawn_once_each(tmp_path) -> None:
    for number, (ids, titles) in enumerate([(["4", "2"], ["b", "a"]), (["9", "8"], ["b", "c"])]):
        pq.write_table(pa.table({"id": ids, "title": titles}), tmp_path / f"train-{number:05d}-of-00002.parquet")
    read = read_titles(tmp_path)
    assert list(read.items()) == [("4", "b"), ("2", "a"), ("9", "b"), ("8", "c")]
    assert sorted(draw(read, 3, 0)) == ["2", "4", "8"]  # the first product of each title
    with pytest.raises(FileNotFoundError, match="no train-"):
        read_titles(tmp_path / "nowhere")


def test_the_projects_chunker_is_scored_on_a_made_up_shop(tmp_path) -> None:
    colours, garments = ("Red", "Blue", "Green", "Black", "White"), ("Shirt", "Kurta", "Jacket", "Sweater")
    titles = [f"Northwind Men {c} Striped {g}" for c in colours for g in garments] * 2
    ids = [str(i) for i in range(len(titles))]
    pq.write_table(pa.table({"id": ids, "title": titles}), tmp_path / "train-00000-of-00001.parquet")
    chosen = draw(dict(zip(ids, titles, strict=True)), 10, 3)
    rows = [{"id": one, "modifiers": [[2], [3]], "head": [4]} for one in chosen]
    (tmp_path / "labels.json").write_text(json.dumps({"seed": {"number": 3}, "titles": rows}))
    arguments = LabelArguments(
        myntra=str(tmp_path), output="", labels=str(tmp_path / "labels.json"), min_frequency=2, resamples=100
    )
    done = report(arguments)
    assert done["drawn_as_stated"] and done["titles"] == 10 and done["training_titles"] == 40
    assert done["results"]["titles"]["f1"]["value"] == 100 == done["results"]["vocabulary"]["f1"]["value"]
    assert done["errors"] == {"missed": [], "false": []}
    assert done["halves"]["first_half"]["titles"]["true"] == 20


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real product titles not at {REAL}")
def test_the_labels_are_those_of_the_stated_draw_and_fit_the_titles() -> None:
    titles, labels = read_titles(REAL), read_labels()
    assert draw(titles, 200, json.loads(LABELS.read_text())["seed"]["number"]) == [one.product_id for one in labels]
    phrases = [phrase for label in labels for phrase in label.phrases(titles[label.product_id])]
    assert len(phrases) == 675 and all(phrase.split() for phrase in phrases)
