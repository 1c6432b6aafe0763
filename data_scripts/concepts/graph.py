"""The concept graph: phrases, their fathers, their prototype pictures, and the captions they are in; its files.

    concepts_queries.jsonl        {"query_id": 104, "query_text": "a photo of olive coat", "phrase": "olive coat"}
    concepts_fathers.jsonl        {"query_id": 104, "phrase": "olive coat", "phrase_father": "coat"}
    kb_concepts_queries.jsonl     the same two for the knowledge base's own phrases
    kb_concepts_fathers.jsonl
    train_queries_phrases.jsonl   {"query_id", "query_text", "item_ids", "phrases", "match_phrases"} per caption
    triples.jsonl                 {"subject", "relation": "is-a", "object"} and {..., "has-image", id, "rank", "score"}
    concepts.parquet              id, phrase, father, frequency, source ("data" or "kb"), category
    prototypes.parquet            concept_id, phrase, rank, image_id, score
    lexicon.json                  the words that the texts taught, so that other captions are matched alike
    report.json                   options, counts and coverage

The first five are the original's formats. Ids are whole numbers, unique over both vocabularies and below 2**24, since the
original sends them through float32; a phrase that is in both has one id in each.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_scripts.concepts.chunker import Chunker, Learned
from data_scripts.concepts.hierarchy import ancestors

FIRST_UNSAFE_ID = 2**24  # float32 holds every whole number below
PROMPT = "a photo of {}"
SOURCES = ("data", "kb")
PREFIX = {"data": "", "kb": "kb_"}
CAPTIONS = "train_queries_phrases.jsonl"


@dataclass(frozen=True)
class Concept:
    """One phrase of one vocabulary."""

    id: int
    phrase: str
    father: str
    frequency: int
    source: str
    category: str = ""


@dataclass(frozen=True)
class Caption:
    """One caption with its items (pictures), all its concepts, and those of the knowledge base among them."""

    query_id: int
    text: str
    item_ids: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    match_phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prototype:
    """A picture of a phrase, with the score it was chosen by."""

    image_id: str
    score: float


@dataclass
class ConceptGraph:
    """Concepts, captions and prototypes.

    Attributes:
        concepts: of both vocabularies. captions: with their concepts.
        prototypes: phrase -> pictures, in the order of choice. learned: words that the texts taught.
        report: what was done and what came of it.

    Raises:
        ValueError: an id that occurs twice or is too large, a phrase twice in one vocabulary, fathers in a circle.
    """

    concepts: list[Concept]
    captions: list[Caption] = field(default_factory=list)
    prototypes: dict[str, list[Prototype]] = field(default_factory=dict)
    learned: Learned = field(default_factory=Learned)
    report: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [one for one, count in Counter(concept.id for concept in self.concepts).items() if count > 1]
        if twice:
            raise ValueError(f"concept ids must be unique, {len(twice)} occur twice, first: {twice[:5]}")
        wrong = [c.id for c in self.concepts if not 0 <= c.id < FIRST_UNSAFE_ID]
        if wrong:
            raise ValueError(f"concept ids must lie between 0 and 2**24 - 1, got {wrong[:5]}")
        for source in {concept.source for concept in self.concepts}:
            counts = Counter(concept.phrase for concept in self.of(source))
            again = [phrase for phrase, count in counts.items() if count > 1]
            if again:
                raise ValueError(f"{len(again)} phrases are twice in vocabulary {source!r}, first: {again[:5]}")
        fathers = self.fathers()
        for phrase in fathers:
            ancestors(phrase, fathers)

    def of(self, source: str) -> list[Concept]:
        """The concepts of the vocabulary "data" or "kb"."""
        return [concept for concept in self.concepts if concept.source == source]

    def phrases(self) -> list[str]:
        """The distinct phrases of both vocabularies."""
        return list(dict.fromkeys(concept.phrase for concept in self.concepts))

    def fathers(self) -> dict[str, str]:
        """Phrase -> father ("" for none), over both vocabularies."""
        return {concept.phrase: concept.father for concept in self.concepts}

    def frequencies(self) -> dict[str, int]:
        """Phrase -> number of texts; where a phrase is in both vocabularies, the larger of the two."""
        found: dict[str, int] = {}
        for concept in self.concepts:
            found[concept.phrase] = max(concept.frequency, found.get(concept.phrase, 0))
        return found

    def chunker(self) -> Chunker:
        """A chunker that reads captions as this graph's were read."""
        return Chunker(learned=self.learned)

    def save(self, folder: str | os.PathLike, prompt: str = PROMPT) -> None:
        """Write the files of the module's docstring; each one is written beside and renamed."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for source in SOURCES:
            own = self.of(source)
            rows = ({"query_id": c.id, "query_text": prompt.format(c.phrase), "phrase": c.phrase} for c in own)
            write_lines(folder / f"{PREFIX[source]}concepts_queries.jsonl", rows)
            rows = ({"query_id": c.id, "phrase": c.phrase, "phrase_father": c.father} for c in own)
            write_lines(folder / f"{PREFIX[source]}concepts_fathers.jsonl", rows)
        write_captions(folder / CAPTIONS, self.captions)
        write_lines(folder / "triples.jsonl", self.triples())
        _write_table(folder / "concepts.parquet", [vars(concept) for concept in self.concepts], CONCEPT_COLUMNS)
        _write_table(folder / "prototypes.parquet", list(self._prototype_rows()), PROTOTYPE_COLUMNS)
        for name, content in (("lexicon.json", self.learned.to_dict()), ("report.json", self.report)):
            _write_text(folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def triples(self) -> Iterator[dict[str, Any]]:
        """(phrase, is-a, father) and (phrase, has-image, picture)."""
        for phrase, father in self.fathers().items():
            if father:
                yield {"subject": phrase, "relation": "is-a", "object": father}
        for phrase, pictures in self.prototypes.items():
            for rank, one in enumerate(pictures):
                triple = {"subject": phrase, "relation": "has-image", "object": one.image_id}
                yield triple | {"rank": rank, "score": round(one.score, 6)}

    def _prototype_rows(self) -> Iterator[dict[str, Any]]:
        for concept in self.concepts:
            for rank, one in enumerate(self.prototypes.get(concept.phrase, ())):
                row = {"concept_id": concept.id, "phrase": concept.phrase, "rank": rank}
                yield row | {"image_id": one.image_id, "score": one.score}

    @classmethod
    def load(cls, folder: str | os.PathLike) -> ConceptGraph:
        """Read a graph that `save` wrote.

        Raises:
            FileNotFoundError: a file is missing. ValueError: a file cannot be read, or the graph is not sound.
        """
        folder = Path(folder)
        if not (folder / "concepts.parquet").is_file():
            raise FileNotFoundError(
                f"{folder} holds no concept graph (no concepts.parquet); build one with train/fashionklip_graph.py build"
            )
        concepts = [Concept(**row) for row in _read_table(folder / "concepts.parquet")]
        prototypes: dict[str, list[Prototype]] = {}
        seen: dict[str, int] = {}
        for row in _read_table(folder / "prototypes.parquet"):
            # A phrase of both vocabularies has its pictures under both ids; one of them is enough.
            if seen.setdefault(row["phrase"], row["concept_id"]) == row["concept_id"]:
                prototypes.setdefault(row["phrase"], []).append(Prototype(row["image_id"], row["score"]))
        captions = read_captions(folder / CAPTIONS) if (folder / CAPTIONS).is_file() else []
        learned = Learned.from_dict(_read_json(folder / "lexicon.json"))
        return cls(concepts, captions, prototypes, learned, _read_json(folder / "report.json"))


CONCEPT_COLUMNS = pa.schema(
    [
        ("id", pa.int64()),
        ("phrase", pa.string()),
        ("father", pa.string()),
        ("frequency", pa.int64()),
        ("source", pa.string()),
        ("category", pa.string()),
    ]
)
PROTOTYPE_COLUMNS = pa.schema(
    [
        ("concept_id", pa.int64()),
        ("phrase", pa.string()),
        ("rank", pa.int32()),
        ("image_id", pa.string()),
        ("score", pa.float64()),
    ]
)


def coverage(graph: ConceptGraph) -> dict[str, Any]:
    """How the captions are covered and how the tree looks.

    A training sample has five places for concepts; places beyond a caption's own stay empty.
    """
    fathers, frequencies = graph.fathers(), graph.frequencies()
    phrases, data, kb = Counter(), Counter(), Counter()
    kb_phrases = {concept.phrase for concept in graph.of("kb")}
    for caption in graph.captions:
        phrases[_band(len(caption.phrases))] += 1
        kb[_band(len(caption.match_phrases))] += 1
        data[_band(sum(1 for one in caption.phrases if one not in kb_phrases and " " in one))] += 1
    depths = Counter(len(ancestors(phrase, fathers)) for phrase in fathers)
    orphans = [phrase for phrase, father in fathers.items() if not father]
    words = Counter(phrase.count(" ") + 1 for phrase in fathers)
    return {
        "captions": len(graph.captions),
        "captions_by_concepts": dict(phrases),
        "captions_by_kb_concepts": dict(kb),
        "captions_by_data_only_concepts": dict(data),
        "concepts_per_caption": round(
            sum(len(caption.phrases) for caption in graph.captions) / max(1, len(graph.captions)), 3
        ),
        "concepts": len(fathers),
        "data_concepts": len(graph.of("data")),
        "kb_concepts": len(graph.of("kb")),
        "is_a": len(fathers) - len(orphans),
        "orphans": len(orphans),
        "orphan_rate": round(len(orphans) / max(1, len(fathers)), 4),
        "depths": {str(depth): depths[depth] for depth in sorted(depths)},
        "words": {str(count): words[count] for count in sorted(words)},
        "most_frequent": sorted(frequencies, key=lambda phrase: (-frequencies[phrase], phrase))[:20],
        "concepts_with_images": sum(1 for phrase in fathers if graph.prototypes.get(phrase)),
        "concepts_without_images": sum(1 for phrase in fathers if not graph.prototypes.get(phrase)),
    }


def _band(count: int) -> str:
    return "0" if count == 0 else "1-4" if count < 5 else "5 and more"


def write_captions(path: Path, captions: Iterable[Caption]) -> None:
    """Write captions with their concepts in the original's format."""
    rows = (
        {
            "query_id": one.query_id,
            "query_text": one.text,
            "item_ids": list(one.item_ids),
            "phrases": list(one.phrases),
            "match_phrases": list(one.match_phrases),
        }
        for one in captions
    )
    write_lines(path, rows)


def read_captions(path: str | os.PathLike) -> list[Caption]:
    """Read what `write_captions` wrote.

    Raises:
        ValueError: a line is not a caption; names file and line.
    """
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                items = tuple(str(item) for item in row["item_ids"])
                concepts = (tuple(row.get(name, ())) for name in ("phrases", "match_phrases"))
                found.append(Caption(row["query_id"], row["query_text"], items, *concepts))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a caption ({error!r}); build the graph again") from error
    return found


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines beside the target, then rename."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(beside, path)


def _write_text(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    beside = path.with_name(path.name + ".tmp")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), beside)
    os.replace(beside, path)


def _read_table(path: Path) -> list[dict[str, Any]]:
    try:
        return pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error}); build the graph again") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; build the graph again")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); build the graph again") from error
