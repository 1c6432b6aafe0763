"""The graph is built from texts, saved in the original's formats, loaded again, and grows by further texts."""

import json

import pyarrow.parquet as pq
import pytest

from data_scripts.concepts.building import BuildOptions, Record, add_records, build_graph, match_captions
from data_scripts.concepts.chunker import Learned
from data_scripts.concepts.graph import Caption, Concept, ConceptGraph, Prototype, coverage, read_captions
from data_scripts.concepts.hierarchy import ancestors
from data_scripts.concepts.mining import MiningOptions
from tests.data_scripts.concept_examples import shop_texts, strange_texts

FILES = {
    "concepts_queries.jsonl",
    "concepts_fathers.jsonl",
    "kb_concepts_queries.jsonl",
    "kb_concepts_fathers.jsonl",
    "train_queries_phrases.jsonl",
    "triples.jsonl",
    "concepts.parquet",
    "prototypes.parquet",
    "lexicon.json",
    "report.json",
}
FEW = BuildOptions(MiningOptions(min_frequency=3))


def records_of(texts, category=""):
    return [Record(text, text[0], (f"image-{number}",), category) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def graph():
    graph = build_graph(records_of(shop_texts(120)), options=FEW)
    for number, phrase in enumerate(graph.phrases()):
        graph.prototypes[phrase] = [Prototype(f"image-{number + k}", 0.5 - k / 10) for k in range(2)]
    return graph


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_data_concepts_have_two_words_and_the_knowledge_base_may_have_one(graph) -> None:
    assert all(" " in concept.phrase for concept in graph.of("data"))
    assert "shirt" in {concept.phrase for concept in graph.of("kb")}


def test_from_the_same_texts_the_knowledge_base_leaves_concepts_to_the_data(graph) -> None:
    kb = {concept.phrase for concept in graph.of("kb")}
    assert any(concept.phrase not in kb for concept in graph.of("data"))
    assert all(concept.frequency >= 12 for concept in graph.of("kb") if " " in concept.phrase)


def test_ids_are_unique_over_both_vocabularies_and_small_enough_for_float32(graph) -> None:
    ids = [concept.id for concept in graph.concepts]
    assert len(set(ids)) == len(ids) and max(ids) < 2**24


def test_captions_carry_their_concepts_and_those_of_the_knowledge_base(graph) -> None:
    kb, known = {c.phrase for c in graph.of("kb")}, set(graph.phrases())
    assert [one.query_id for one in graph.captions] == list(range(120))
    for one in graph.captions:
        assert set(one.phrases) <= known and one.match_phrases == tuple(p for p in one.phrases if p in kb)
        assert one.phrases[-1] == one.text.split()[-1] and one.item_ids


def test_every_file_is_written_and_nothing_else(graph, tmp_path) -> None:
    graph.save(tmp_path / "graph")
    assert {path.name for path in (tmp_path / "graph").iterdir()} == FILES


def test_the_files_have_the_fields_of_the_original(graph, tmp_path) -> None:
    graph.save(tmp_path)
    for prefix, source in (("", "data"), ("kb_", "kb")):
        queries = lines(tmp_path / f"{prefix}concepts_queries.jsonl")
        fathers = lines(tmp_path / f"{prefix}concepts_fathers.jsonl")
        assert [row["query_id"] for row in queries] == [c.id for c in graph.of(source)]
        for query, father, concept in zip(queries, fathers, graph.of(source), strict=True):
            assert query == {
                "query_id": concept.id,
                "query_text": f"a photo of {concept.phrase}",
                "phrase": concept.phrase,
            }
            assert father == {"query_id": concept.id, "phrase": concept.phrase, "phrase_father": concept.father}
    row = lines(tmp_path / "train_queries_phrases.jsonl")[0]
    assert list(row) == ["query_id", "query_text", "item_ids", "phrases", "match_phrases"]


def test_triples_say_father_and_pictures(graph, tmp_path) -> None:
    graph.save(tmp_path)
    triples = lines(tmp_path / "triples.jsonl")
    is_a = {row["subject"]: row["object"] for row in triples if row["relation"] == "is-a"}
    assert is_a == {phrase: father for phrase, father in graph.fathers().items() if father}
    pictures = [row for row in triples if row["relation"] == "has-image" and row["subject"] == "shirt"]
    assert [row["rank"] for row in pictures] == [0, 1] and pictures[0]["object"].startswith("image-")


def test_a_saved_graph_is_loaded_as_it_was(graph, tmp_path) -> None:
    graph.report = {"coverage": coverage(graph)}
    graph.save(tmp_path)
    loaded = ConceptGraph.load(tmp_path)
    assert loaded.concepts == graph.concepts and loaded.captions == graph.captions
    assert loaded.prototypes == graph.prototypes and loaded.learned == graph.learned
    assert loaded.report == json.loads(json.dumps(graph.report))


def test_the_tables_can_be_joined_by_the_concept_id(graph, tmp_path) -> None:
    graph.save(tmp_path)
    rows = pq.read_table(tmp_path / "prototypes.parquet").to_pylist()
    by_id = {concept.id: concept.phrase for concept in graph.concepts}
    assert len(rows) == 2 * len(graph.concepts)
    assert all(by_id[row["concept_id"]] == row["phrase"] for row in rows)


def test_a_loaded_graph_matches_other_captions_alike(tmp_path) -> None:
    graph = build_graph(records_of(strange_texts(300)), options=FEW)
    graph.save(tmp_path)
    others = records_of(strange_texts(50, seed=1))
    loaded = ConceptGraph.load(tmp_path)
    matched = match_captions(loaded, others)
    assert matched == match_captions(graph, others)
    assert sum(len(one.phrases) for one in matched) > 100


def test_texts_of_a_knowledge_base_give_its_vocabulary() -> None:
    kb = [Record((f"{colour} hat",), f"{colour} hat") for colour in ("red", "blue") for _ in range(5)]
    graph = build_graph(records_of(shop_texts(60)), kb, FEW)
    assert {concept.phrase for concept in graph.of("kb")} == {"hat", "red hat", "blue hat"}
    assert not any(one.match_phrases for one in graph.captions)


def test_a_given_vocabulary_of_the_knowledge_base_is_taken_as_it_is() -> None:
    graph = build_graph(records_of(shop_texts(60)), options=FEW, kb_phrases=["shirt", "glim hat", "shirt"])
    assert [concept.phrase for concept in graph.of("kb")] == ["shirt", "glim hat"]
    assert {concept.phrase: concept.frequency for concept in graph.of("kb")}["glim hat"] == 0


def test_categories_stand_above_what_has_no_other_father() -> None:
    records = records_of(shop_texts(200), "Women's Topwear")
    fathers = build_graph(records, options=FEW).fathers()
    assert fathers["shirt"] == "women's topwear" and fathers["red shirt"] == "shirt"


def test_no_frequent_phrase_is_an_error_that_says_what_to_lower() -> None:
    with pytest.raises(ValueError, match="min_frequency"):
        build_graph([Record(("red shirt",), "red shirt")], options=FEW)


def test_coverage_counts_captions_depths_and_orphans() -> None:
    concepts = [
        Concept(0, "red shirt", "shirt", 3, "data"),
        Concept(1, "shirt", "", 5, "kb"),
        Concept(2, "hat", "", 1, "kb"),
    ]
    captions = [Caption(0, "a", ("1",)), Caption(1, "b", ("2",), ("red shirt", "shirt"), ("shirt",))]
    counted = coverage(ConceptGraph(concepts, captions, {"hat": [Prototype("1", 0.1)]}))
    assert counted["captions_by_concepts"] == {"0": 1, "1-4": 1}
    assert counted["captions_by_data_only_concepts"] == {"0": 1, "1-4": 1}
    assert (counted["orphans"], counted["orphan_rate"], counted["depths"]) == (2, 0.6667, {"0": 2, "1": 1})
    assert (counted["concepts_with_images"], counted["concepts_without_images"]) == (1, 2)


# Growing


def test_further_texts_add_concepts_and_move_what_belongs_below_them() -> None:
    old = [Record((t,), t, (str(i),)) for i, t in enumerate(["slim red shirt", "blue shirt", "green shirt"] * 3)]
    graph = build_graph(old[::3] + old[1::3] + old[2::3], options=FEW)
    assert graph.fathers()["slim red shirt"] == "red shirt"
    without = ConceptGraph(
        [
            Concept(c.id, c.phrase, c.father if c.father != "red shirt" else "shirt", c.frequency, c.source)
            for c in graph.concepts
            if c.phrase != "red shirt"
        ],
        graph.captions,
        {"shirt": [Prototype("1", 1.0)]},
    )
    new = [Record((t,), t, (f"new-{i}",)) for i, t in enumerate(["red shirt", "red hat"] * 4)]
    larger, changes = add_records(without, new, FEW)
    assert set(changes["added"]) == {"red shirt", "red hat"} and changes["moved"] == ["slim red shirt"]
    assert larger.fathers()["slim red shirt"] == "red shirt" and larger.fathers()["red shirt"] == "shirt"
    assert larger.frequencies()["shirt"] == without.frequencies()["shirt"] + 4
    assert {c.phrase: c.id for c in larger.concepts}.items() >= {c.phrase: c.id for c in without.concepts}.items()
    assert larger.prototypes == without.prototypes and len(larger.captions) == 9 + 8
    assert "red shirt" in larger.captions[0].phrases  # old captions are matched again
    assert len({one.query_id for one in larger.captions}) == 17
    fathers = larger.fathers()
    assert all(isinstance(ancestors(name, fathers), list) for name in fathers)
    assert "red shirt" not in without.phrases()  # the graph that was given stays as it was


def test_further_texts_may_teach_words() -> None:
    graph = build_graph(records_of(shop_texts(60)), options=FEW)
    larger, changes = add_records(graph, records_of(strange_texts(200)), FEW, "kb")
    assert "flumpet" in changes["added"] and "flumpet" in {c.phrase for c in larger.of("kb")}
    assert "flumpet" in larger.learned.nouns


# Unsound graphs and files


@pytest.mark.parametrize(
    "concepts, problem",
    [
        ([Concept(0, "a", "", 1, "kb"), Concept(0, "b", "", 1, "data")], "occur twice"),
        ([Concept(2**24, "a", "", 1, "kb")], r"2\*\*24"),
        ([Concept(-1, "a", "", 1, "kb")], "between"),
        ([Concept(0, "a", "", 1, "kb"), Concept(1, "a", "", 1, "kb")], "twice in vocabulary 'kb'"),
        ([Concept(0, "a", "b", 1, "kb"), Concept(1, "b", "a", 1, "kb")], "circle"),
    ],
)
def test_an_unsound_graph_is_refused(concepts, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        ConceptGraph(concepts)


def test_a_phrase_may_be_in_both_vocabularies_under_two_ids() -> None:
    graph = ConceptGraph([Concept(0, "red shirt", "", 3, "data"), Concept(1, "red shirt", "", 7, "kb")])
    assert graph.phrases() == ["red shirt"] and graph.frequencies() == {"red shirt": 7}


def test_a_folder_without_a_graph_says_how_to_build_one(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="fashionklip_graph.py build"):
        ConceptGraph.load(tmp_path)


def test_a_damaged_file_is_an_error_that_names_it(graph, tmp_path) -> None:
    graph.save(tmp_path)
    (tmp_path / "train_queries_phrases.jsonl").write_text('{"query_id": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="train_queries_phrases.jsonl, line 1"):
        ConceptGraph.load(tmp_path)
    graph.save(tmp_path)
    (tmp_path / "concepts.parquet").write_bytes(b"not a table")
    with pytest.raises(ValueError, match="concepts.parquet"):
        ConceptGraph.load(tmp_path)


def test_odd_letters_survive_the_files(tmp_path) -> None:
    odd = 'naïve "shirt" \u2028 </script> \U0001f457'
    captions = [Caption(0, odd, ("ä/1",), (odd,))]
    graph = ConceptGraph(
        [Concept(0, odd, "", 1, "data")], captions, {odd: [Prototype("ä/1", 0.25)]}, Learned((odd.split()[0],))
    )
    graph.save(tmp_path)
    assert ConceptGraph.load(tmp_path) == graph
    assert read_captions(tmp_path / "train_queries_phrases.jsonl") == captions
