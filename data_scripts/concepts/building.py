"""From a catalogue's texts to a graph: both vocabularies, the tree, the captions; and later additions to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from data_scripts.concepts.chunker import Chunker, Phrase
from data_scripts.concepts.graph import FIRST_UNSAFE_ID, Caption, Concept, ConceptGraph
from data_scripts.concepts.hierarchy import Hierarchy
from data_scripts.concepts.lexicon import singular
from data_scripts.concepts.matching import ConceptMatcher
from data_scripts.concepts.mining import Mined, MinedPhrase, MiningOptions, learn, mine, phrases_of
from data_scripts.concepts.text import words

DATA_WORDS = 2  # the trainer leaves out data concepts of one word
SAME_TEXTS_FACTOR = 4


@dataclass(frozen=True)
class Record:
    """One product, or one caption with its pictures.

    Attributes:
        texts: the fields that are mined. caption: the text it is trained with. item_ids: its pictures.
        category: the catalogue's name for what it is, "" for none.
        caption_fields: the fields that the caption was joined from; no phrase crosses from one to the next.
    """

    texts: tuple[str, ...]
    caption: str
    item_ids: tuple[str, ...] = ()
    category: str = ""
    caption_fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildOptions:
    """How a graph is built.

    Attributes:
        mining: thresholds of both vocabularies.
        kb_min_frequency: least number of texts for the knowledge base; None: as for the data where it has texts of its
            own, else four times that for phrases of several words. From the same texts with the same threshold it would
            hold every phrase of the data, and no concept would be the data's alone, which is what the data's places in
            a sample are for.
        category_share: part of a phrase's products that must agree for a category to become its father.
    """

    mining: MiningOptions = field(default_factory=MiningOptions)
    kb_min_frequency: int | None = None
    category_share: float = 0.5


def build_graph(
    records: Sequence[Record],
    kb_records: Sequence[Record] | None = None,
    options: BuildOptions | None = None,
    kb_phrases: Sequence[str] = (),
    chunker: Chunker | None = None,
) -> ConceptGraph:
    """A graph without pictures.

    Args:
        records: the training data. kb_records: the knowledge base's products; None: mined from the same records.
        options: thresholds.
        kb_phrases: the knowledge base's vocabulary where it is given; then it is not mined.
        chunker: with the tagger to use.

    Raises:
        ValueError: no phrase is frequent enough.
    """
    options = options or BuildOptions()
    mining = options.mining
    # Unknown words are learned from all texts together, so that both vocabularies cut phrases alike.
    chunker = learn([record.texts for record in (*records, *(kb_records or ()))], mining, chunker)
    chunker = chunker.knowing(kb_phrases)
    own = kb_records is None and not kb_phrases
    data = mine((record.texts for record in records), mining, chunker)
    kb_least = options.kb_min_frequency or (SAME_TEXTS_FACTOR if own else 1) * mining.min_frequency
    if kb_phrases:
        kb = _given(kb_phrases, records, chunker)
    elif own:
        kept = {name: one for name, one in data.phrases.items() if " " not in name or one.frequency >= kb_least}
        kb = replace(data, phrases=kept)
    else:
        attached = mining.attachment_frequency and max(kb_least, mining.attachment_frequency)
        kb_options = replace(mining, min_frequency=kb_least, attachment_frequency=attached)
        kb = mine((record.texts for record in kb_records), kb_options, chunker)
    data_phrases = {name: one for name, one in data.phrases.items() if name.count(" ") + 1 >= DATA_WORDS}
    if not data_phrases and not kb.phrases:
        raise ValueError(
            f"no phrase is in {mining.min_frequency} of {len(records)} texts; lower min_frequency, or give more texts"
        )
    built = {name: one.phrase for name, one in (data_phrases | kb.phrases).items()}
    categories = categories_of(built, [*records, *(kb_records or ())], chunker, options)
    hierarchy = Hierarchy(_as_fathers(categories))
    hierarchy.add(built.values())
    fathers = hierarchy.fathers()
    concepts: list[Concept] = []
    for source, phrases in (("data", data_phrases), ("kb", kb.phrases)):
        for name, one in phrases.items():
            number = len(concepts)
            concepts.append(Concept(number, name, fathers[name], one.frequency, source, categories.get(name, "")))
    _check_ids(len(concepts))
    graph = ConceptGraph(concepts, learned=chunker.learned)
    graph.captions = match_captions(graph, records, chunker=chunker)
    graph.report = {"texts": _counts(data), "kb_texts": _counts(kb), "kb_from_the_same_texts": own}
    graph.report |= {"min_frequency": mining.min_frequency, "kb_min_frequency": kb_least}
    return graph


def _given(phrases: Sequence[str], records: Sequence[Record], chunker: Chunker) -> Mined:
    """A given vocabulary, with the number of texts that its phrases are in."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(phrases_of(record.texts, chunker).keys())
    kept = {name: MinedPhrase(chunker.parse(name), counts[name]) for name in dict.fromkeys(phrases) if name.strip()}
    return Mined(kept, chunker, len(records), 0, [])


def match_captions(
    graph: ConceptGraph, records: Iterable[Record], first_id: int = 0, chunker: Chunker | None = None
) -> list[Caption]:
    """Captions with the graph's concepts in them, numbered from `first_id`; captions without any are kept."""
    matcher = ConceptMatcher(graph.phrases(), chunker or graph.chunker())
    kb = {concept.phrase for concept in graph.of("kb")}
    found = []
    for number, record in enumerate(records, first_id):
        phrases = tuple(matcher.match(record.caption_fields or record.caption))
        matched = tuple(phrase for phrase in phrases if phrase in kb)
        found.append(Caption(number, record.caption, record.item_ids, phrases, matched))
    return found


def add_records(
    graph: ConceptGraph, records: Sequence[Record], options: BuildOptions | None = None, source: str = "data"
) -> tuple[ConceptGraph, dict[str, list[str]]]:
    """Insert the concepts of further texts into a graph, and hang what belongs below them there.

    Phrases that are frequent enough among the new texts are added; known ones count on. All captions, old and new, are
    matched again. Old ids stay. Pictures stay as they were; new concepts have none yet.

    Args:
        graph: stays as it is. records: further products. source: vocabulary that new phrases go to, "data" or "kb".

    Returns:
        The larger graph; and {"added": phrases, "moved": phrases whose father changed}.
    """
    options = options or BuildOptions()
    chunker = learn([record.texts for record in records], options.mining, graph.chunker())
    mined = mine(
        (record.texts for record in records), replace(options.mining, min_frequency=1, attachment_frequency=1), chunker
    )
    known = {concept.phrase for concept in graph.concepts}
    least_words = DATA_WORDS if source == "data" else 1
    frequent = {
        name: one
        for name, one in mined.phrases.items()
        if name not in known
        and one.frequency >= options.mining.least(one.phrase)
        and name.count(" ") + 1 >= least_words
    }
    hierarchy = Hierarchy()
    hierarchy.add(chunker.parse(name) for name in graph.phrases())
    hierarchy.add(one.phrase for one in frequent.values())
    by_rule, before = hierarchy.fathers(), graph.fathers()
    # A father that no rule gives is a category; it stays until something shorter stands above the phrase.
    categories = {name: father for name, father in before.items() if father and not by_rule[name]}
    built = {name: one.phrase for name, one in frequent.items()}
    new_categories = categories_of(built, records, chunker, options)
    hierarchy.categories = categories | _as_fathers(new_categories)
    fathers = hierarchy.fathers()
    concepts = [
        replace(
            concept,
            father=fathers[concept.phrase],
            frequency=concept.frequency
            + (mined.phrases[concept.phrase].frequency if concept.phrase in mined.phrases else 0),
        )
        for concept in graph.concepts
    ]
    number = max((concept.id for concept in concepts), default=-1) + 1
    _check_ids(number + len(frequent))
    for name, one in frequent.items():
        concepts.append(Concept(number, name, fathers[name], one.frequency, source, new_categories.get(name, "")))
        number += 1
    larger = ConceptGraph(concepts, [], dict(graph.prototypes), chunker.learned, dict(graph.report))
    old = [Record((one.text,), one.text, one.item_ids) for one in graph.captions]
    ids = [one.query_id for one in graph.captions]
    rematched = match_captions(larger, old, chunker=chunker)
    larger.captions = [replace(one, query_id=number) for one, number in zip(rematched, ids, strict=True)]
    larger.captions += match_captions(larger, records, max(ids, default=-1) + 1, chunker)
    moved = [name for name in before if fathers[name] != before[name]]
    return larger, {"added": list(frequent), "moved": moved}


def categories_of(
    built: Mapping[str, Phrase], records: Sequence[Record], chunker: Chunker, options: BuildOptions
) -> dict[str, str]:
    """Phrase -> the catalogue's category of most of its products, where enough of them agree."""
    if not any(record.category for record in records):
        return {}
    counts: dict[str, Counter] = defaultdict(Counter)
    for record in records:
        if record.category:
            for name in phrases_of(record.texts, chunker, options.mining.max_words):
                if name in built:
                    counts[name][record.category] += 1
    found = {}
    for name, seen in counts.items():
        category, count = min(seen.items(), key=lambda one: (-one[1], one[0]))
        if count >= options.category_share * sum(seen.values()):
            found[name] = category
    return found


def _as_fathers(categories: Mapping[str, str]) -> dict[str, str]:
    """Category names as phrases: lower-case words, the last one in the singular."""
    phrases = {}
    for name, category in categories.items():
        *first, last = [word for word, _ in words(category) if any(letter.isalnum() for letter in word)] or [""]
        phrases[name] = " ".join((*first, singular(last)))
    return phrases


def _counts(mined: Mined) -> dict[str, object]:
    return {"read": mined.texts, "empty": mined.empty, "too_common_heads": mined.dropped_heads}


def _check_ids(count: int) -> None:
    if count > FIRST_UNSAFE_ID:
        raise ValueError(f"{count:,} concepts are more than ids below 2**24 can name; raise min_frequency")
