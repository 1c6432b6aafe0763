"""The labels of real titles are consistent and hold no text; the scorer counts what it should, on made-up titles."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.concept_labels import LABELS, compare, frequent_phrases, scores, singular, true_phrases

REAL = Path(os.environ.get("LOOKBOOK_DATA", Path(__file__).parents[3] / "shared" / "data")) / "myntra_products"

# Made-up titles: product id -> title, and what a reader says of them.
TITLES = {
    "1": "Northwind Men Navy Blue Solid Shirts",
    "2": "Harbour & Pine Women Grey Flip Flops",
    "3": "Northwind 1200 Blue/grey",
}
MADE_UP = [
    {"id": "1", "modifiers": [[2, 3], [4]], "head": [5]},
    {"id": "2", "modifiers": [[4]], "head": [5, 6]},
    {"id": "3", "modifiers": [], "head": []},
]


def rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text("utf-8"))["titles"]


def chunks_of(row: dict) -> list[dict]:
    return [row, *row.get("extra_chunks", [])]


@pytest.mark.parametrize("path", LABELS, ids=lambda path: path.stem)
def test_the_labels_hold_ids_and_positions_only(path) -> None:
    rows = rows_of(path)
    assert len(rows) == 200 == len({row["id"] for row in rows})
    for row in rows:
        assert set(row) <= {"id", "modifiers", "head", "extra_chunks"} and row["id"].isdigit()
        for chunk in chunks_of(row):
            assert set(chunk) - {"id", "extra_chunks"} == {"modifiers", "head"}
            assert all(type(i) is int and i >= 0 for run in (*chunk["modifiers"], chunk["head"]) for i in run)


@pytest.mark.parametrize("path", LABELS, ids=lambda path: path.stem)
def test_labelled_words_stand_once_and_the_head_comes_last(path) -> None:
    for row in rows_of(path):
        for chunk in chunks_of(row):
            words = [i for run in chunk["modifiers"] for i in run]
            assert len(words) == len(set(words)) and not set(words) & set(chunk["head"]), row
            assert not words or max(words) < min(chunk["head"], default=-1), row
            assert all(chunk["modifiers"]), row


def test_true_phrases_are_the_head_single_modifiers_and_suffixes() -> None:
    first, second, third = (true_phrases(TITLES[r["id"]].split(), r["modifiers"], r["head"]) for r in MADE_UP)
    assert first == {"shirt", "solid shirt", "navy blue shirt", "navy blue solid shirt"}
    assert second == {"flip flop", "grey flip flop"}
    assert third == set()
    # Words between the labelled ones are left out.
    assert "red soft sock" in true_phrases("Red Men Soft Socks,".split(), [[0], [2]], [3])


@pytest.mark.parametrize(
    ("word", "expected"),
    [("shirts", "shirt"), ("watches", "watch"), ("dresses", "dress"), ("dress", "dress"), ("jeans", "jeans")]
    + [("trousers", "trousers"), ("sunglasses", "sunglasses"), ("flops", "flop"), ("heels", "heel")],
)
def test_heads_are_singular_and_what_is_only_plural_stays(word, expected) -> None:
    assert singular(word) == expected == singular(expected)


def test_phrases_of_titles_are_counted_and_errors_named_by_product() -> None:
    mined = {
        TITLES["1"]: {"navy blue shirt", "shirt", "northwind shirt"},
        TITLES["2"]: {"flip flop", "grey flip flop"},
        TITLES["3"]: set(),
    }
    figures, errors, found = compare(TITLES, MADE_UP, mined.__getitem__, 200)
    assert found == list(mined.values())
    assert errors == [{"id": "1", "missed": 2, "false": 1}]
    assert figures["precision"]["value"] == pytest.approx(4 / 5)
    assert figures["recall"]["value"] == pytest.approx(4 / 6)
    assert figures["f1"]["value"] == pytest.approx(8 / 11)
    assert all(f["low"] <= f["value"] <= f["high"] for f in figures.values())


def test_intervals_are_over_titles() -> None:
    """One bad title among ten: a resample that leaves it out scores 1, one that draws it often scores low."""
    wanted = [{"a", "b"}] * 10
    figures = scores([{"a", "b"}] * 9 + [set()], wanted, 500)
    assert figures["precision"] == {"value": 1, "low": 1, "high": 1}
    assert figures["recall"]["value"] == pytest.approx(0.9)
    assert figures["recall"]["low"] < 0.8 and figures["recall"]["high"] == 1


def test_nothing_mined_scores_nothing() -> None:
    assert {name: f["value"] for name, f in scores([set()], [{"a"}], 10).items()} == dict.fromkeys(
        ("precision", "recall", "f1"), 0
    )


def test_frequency_counts_titles_with_the_words_in_their_order() -> None:
    titles = ["Navy Blue Solid Shirt", "blue shirts", "Shirt Blue"]
    phrases = {"blue shirt", "shirt", "red shirt", "navy blue shirt"}
    assert frequent_phrases(phrases, titles, 2) == {"blue shirt", "shirt"}
    assert frequent_phrases(phrases, titles, 3) == {"shirt"}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real product titles not at {REAL}")
def test_the_labels_are_the_stated_draw_and_fit_the_titles() -> None:
    import pyarrow.parquet as pq

    titles: dict[str, str] = {}
    for shard in sorted(REAL.glob("train-*.parquet")):
        columns = pq.read_table(shard, columns=["id", "title"]).to_pydict()
        titles.update(zip(columns["id"], columns["title"], strict=True))
    distinct = sorted(set(titles.values()))
    drawn = {distinct[i] for i in np.random.default_rng(2023).permutation(len(distinct))[:200]}
    assert {titles[row["id"]] for row in rows_of(LABELS[0])} == drawn
    for path in LABELS:
        rows = rows_of(path)
        assert len({titles[row["id"]] for row in rows}) == 200
        for row in rows:
            assert max(i for chunk in chunks_of(row) for i in [0, *chunk["head"]]) < len(titles[row["id"]].split())
