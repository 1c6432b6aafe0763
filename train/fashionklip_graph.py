"""Build a fashion concept graph from a catalogue's titles, descriptions and pictures.

    python train/fashionklip_graph.py build --data_dir data/my_shop --output_dir runs/graph --model runs/model
    python train/fashionklip_graph.py match --graph_dir runs/graph --data_dir data/my_shop --split valid --output valid.jsonl
    python train/fashionklip_graph.py add   --graph_dir runs/graph --data_dir data/new_season --output_dir runs/graph2

`build` mines the concept phrases of the texts, hangs them into an is-a tree, finds the concepts of every caption, and
gives every concept its prototype pictures: by a model's features, or, without --model, by the captions. The folder
holds FashionKLIP's four concept files and the captions file, triples.jsonl, concepts.parquet, prototypes.parquet,
report.json, and index.html, which shows all of it in a browser.

`--data_dir` is an own catalogue (data_scripts/catalogue.py), a FashionGen tree or a folder of FashionKLIP files. Use the
training split: pictures of validation and test must not become prototypes. `match` finds the concepts of another split's
captions; `add` inserts the concepts of further texts. Without a first word it is `build`. The last line on standard
output is one JSON object. `python train/fashionklip_graph.py build --help`, `match --help` and `add --help` list the
arguments.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program


@dataclass
class SourceArguments:
    """Where the texts and pictures are."""

    data_dir: str = argument(help="catalogue, FashionGen tree, or folder of FashionKLIP files")
    layout: Literal["catalogue", "fashiongen", "fashionklip"] | None = argument(
        None, "what --data_dir holds; default: found out"
    )
    split: str = argument("train", "split to read")
    text_columns: list[str] = argument([], "columns to mine; default: title, name, description, caption, text")
    caption: list[str] = argument(
        [],
        "columns that make up a caption, as for the trainer; default: the first of caption, title, name; for "
        "FashionGen title description",
    )
    category_column: str | None = argument(
        None, "column with the catalogue's categories: fathers of what has no other, and --same_category"
    )
    images: Literal["required", "absent"] = argument("required", "absent: the data has texts alone")


@dataclass
class MiningArguments:
    """Which phrases become concepts."""

    min_frequency: int = argument(5, "least number of texts with a concept", minimum=1)
    attachment_frequency: int | None = argument(
        None, "the same for phrases such as `coat in white`; default: --min_frequency", minimum=1
    )
    max_words: int = argument(6, "most words of a concept", minimum=1, maximum=6)
    common_head: float = argument(
        0.3, "heads in more than this part of the texts are dropped unless they are garments", above=0, maximum=1
    )
    category_share: float = argument(
        0.5, "part of a concept's products that must agree on a category", minimum=0, maximum=1
    )
    learn_words: bool = argument(True, "learn garments, colours and brands that the lexicon lacks from the texts")
    evidence: int = argument(3, "uses after which an unknown word is learned", minimum=1)
    tagger: Literal["words", "spacy"] = argument("words", "spacy: ask a spaCy model about unknown words (extra nlp)")
    spacy_model: str = argument("en_core_web_sm", "spaCy model for --tagger spacy")


@dataclass
class PictureArguments:
    """How concepts get their pictures, and how the page shows them."""

    model: str | None = argument(None, "FashionKLIP, CLIP4Cir or CLIP folder or Hub id; default: pictures by caption")
    revision: str | None = argument(None, "branch, tag or commit of a model on the Hub")
    trust_remote_code: bool = argument(False, "run the code in the model's folder, for types of other projects")
    prompt: str = argument("a photo of {}", "text that is encoded for a concept; {} stands for its phrase")
    candidates: int = argument(20, "most similar pictures that prototypes are chosen from", minimum=1)
    prototypes: int = argument(10, "pictures per concept", minimum=1)
    diversity: float = argument(0.8, "weight of being unlike the pictures chosen before", minimum=0, maximum=1)
    min_score: float | None = argument(None, "leave out pictures whose cosine to the concept is lower")
    same_category: bool = argument(False, "only pictures of the concept's own category (needs --category_column)")
    pool_size: int | None = argument(None, "choose from a random part of the pictures, this many", minimum=1)
    seed: int = argument(0, "seed of --pool_size", minimum=0)
    batch_size: int = argument(32, "pictures per forward pass", minimum=1)
    text_batch_size: int = argument(128, "prompts per forward pass", minimum=1)
    num_workers: int | None = argument(None, "threads that decode pictures; default: one per core", minimum=1)
    mixed_precision: Literal["no", "bf16", "fp16"] = argument("no", "autocast of the encoders")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")
    page: bool = argument(True, "write index.html and its small pictures")
    thumbnail_size: int = argument(128, "long side of the page's pictures in pixels", minimum=16)
    page_pictures: int = argument(10, "pictures per concept on the page", minimum=0)


@dataclass
class BuildArguments:
    """What to build."""

    output_dir: str = argument(help="folder of the graph; must be empty or new unless --overwrite")
    overwrite: bool = argument(False, "replace what is in --output_dir")
    kb_data_dir: str | None = argument(
        None, "data of the knowledge base: its texts and pictures; default: the same data"
    )
    kb_split: str = argument("train", "split of --kb_data_dir")
    kb_min_frequency: int | None = argument(
        None,
        "least number of texts for the knowledge base; default: --min_frequency, and without --kb_data_dir four times "
        "that for phrases of several words, or every concept would be the knowledge base's",
        minimum=1,
    )


@dataclass
class MatchArguments:
    """Which captions to match."""

    graph_dir: str = argument(help="folder that `build` wrote")
    output: str = argument(help="JSONL file for the captions with their concepts")
    overwrite: bool = argument(False, "replace --output")


@dataclass
class AddArguments:
    """What to add to."""

    graph_dir: str = argument(help="folder that `build` wrote; it stays as it is")
    output_dir: str = argument(help="folder of the larger graph; must be empty or new unless --overwrite")
    overwrite: bool = argument(False, "replace what is in --output_dir")
    vocabulary: Literal["data", "kb"] = argument("data", "vocabulary that new concepts go to")


def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "build": ((BuildArguments, SourceArguments, MiningArguments, PictureArguments), build),
        "match": ((MatchArguments, SourceArguments), match),
        "add": ((AddArguments, SourceArguments, MiningArguments, PictureArguments), add),
    }
    if argv and argv[0] in ("-h", "--help"):
        print(__doc__)
        return
    if argv and argv[0].startswith("--"):
        argv = ["build", *argv]
    if not argv or argv[0] not in commands:
        given = f"not {argv[0]!r}" if argv else "nothing was given"
        names = ", ".join(commands)
        print(f"fashionklip_graph: the first word must be one of {names}, {given}; see --help", file=sys.stderr)
        sys.exit(2)
    types, command = commands[argv[0]]
    print(json.dumps(command(*parse_arguments(*types, description=__doc__, argv=argv[1:])), ensure_ascii=False))


def build(
    arguments: BuildArguments, source: SourceArguments, mining: MiningArguments, pictures: PictureArguments
) -> dict[str, Any]:
    """Build a graph and write it. Returns what stands in the last line of output."""
    started = time.perf_counter()
    check_output(arguments.output_dir, arguments.overwrite)
    check_pictures(source, pictures)
    from data_scripts.concepts.building import build_graph

    data = read(source)
    kb = None
    if arguments.kb_data_dir:
        kb = read(
            SourceArguments(arguments.kb_data_dir, split=arguments.kb_split, category_column=source.category_column)
        )
    say(f"mining {len(data.records):,} texts" + (f" and {len(kb.records):,} of the knowledge base" if kb else ""))
    options = build_options(mining, arguments.kb_min_frequency)
    graph = build_graph(
        data.records,
        kb.records if kb else None,
        options,
        kb_phrases=data.kb_phrases if kb is None else (),
        chunker=first_chunker(mining),
    )
    say(f"{len(graph.of('data')):,} data concepts, {len(graph.of('kb')):,} of the knowledge base")
    pool = kb or data
    graph.prototypes, how = choose_pictures(graph, graph.phrases(), pool, pictures, source.category_column)
    report = {"arguments": settings(arguments, source, mining, pictures), "pictures": how}
    return finish(graph, report, pool, arguments.output_dir, pictures, started)


def match(arguments: MatchArguments, source: SourceArguments) -> dict[str, Any]:
    """Match the captions of another split. Returns what stands in the last line of output."""
    from data_scripts.concepts.building import match_captions
    from data_scripts.concepts.graph import ConceptGraph, coverage, write_captions

    output = Path(arguments.output)
    if output.exists() and not arguments.overwrite:
        raise FileExistsError(f"--output {output} exists; use --overwrite to replace it, or another name")
    graph = ConceptGraph.load(arguments.graph_dir)
    source.images = "absent"
    data = read(source)
    graph.captions = match_captions(graph, data.records)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_captions(output, graph.captions)
    counted = coverage(graph)
    names = ("captions", "captions_by_concepts", "captions_by_kb_concepts", "concepts_per_caption")
    return {"output": arguments.output, "split": source.split} | {name: counted[name] for name in names}


def add(
    arguments: AddArguments, source: SourceArguments, mining: MiningArguments, pictures: PictureArguments
) -> dict[str, Any]:
    """Insert the concepts of further texts. Returns what stands in the last line of output."""
    started = time.perf_counter()
    check_output(arguments.output_dir, arguments.overwrite, Path(arguments.graph_dir))
    check_pictures(source, pictures)
    from data_scripts.concepts.building import add_records
    from data_scripts.concepts.graph import ConceptGraph

    old = ConceptGraph.load(arguments.graph_dir)
    data = read(source)
    say(f"mining {len(data.records):,} further texts")
    graph, changes = add_records(old, data.records, build_options(mining), arguments.vocabulary)
    say(f"{len(changes['added']):,} concepts are new, {len(changes['moved']):,} old ones have another father")
    new, how = choose_pictures(graph, changes["added"], data, pictures, source.category_column)
    graph.prototypes |= new
    report = {"arguments": settings(arguments, source, mining, pictures), "pictures": how, "before": old.report}
    report |= {name: len(phrases) for name, phrases in changes.items()} | changes
    line = finish(graph, report, data, arguments.output_dir, pictures, started, Path(arguments.graph_dir))
    return line | {"added": len(changes["added"]), "moved": len(changes["moved"])}


# Steps


def check_output(folder: str, overwrite: bool, source: Path | None = None) -> None:
    """Refuse a folder that is in use.

    Raises:
        FileExistsError: it is not empty, and is not to be overwritten. ValueError: it is the folder that is read.
    """
    path = Path(folder)
    if source is not None and path.resolve() == source.resolve():
        raise ValueError(f"--output_dir {folder} is the graph that is read; give another folder")
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not overwrite:
        raise FileExistsError(f"--output_dir {folder} is not empty; use --overwrite to replace it, or another folder")


def check_pictures(source: SourceArguments, pictures: PictureArguments) -> None:
    """Refuse options that do not fit together, before anything is read."""
    if pictures.same_category and not source.category_column:
        raise ValueError("--same_category needs --category_column, the column that names the categories")
    if pictures.same_category and not pictures.model:
        raise ValueError("--same_category needs --model: pictures chosen by their captions carry the concept anyway")
    if pictures.model and source.images == "absent":
        raise ValueError("--model encodes pictures, and --images absent leaves them out; give one of the two")
    if pictures.prompt.count("{}") != 1:
        raise ValueError(f"--prompt needs one {{}}, the place of the phrase; got {pictures.prompt!r}")
    if pictures.prototypes > pictures.candidates:
        raise ValueError(f"--prototypes {pictures.prototypes} are more than --candidates {pictures.candidates}")


def read(source: SourceArguments) -> Any:
    """Texts and pictures of one split."""
    from data_scripts.concepts.records import read_records

    data = read_records(
        source.data_dir,
        source.layout,
        source.split,
        source.text_columns,
        source.caption,
        source.category_column,
        source.images,
    )
    if not data.records:
        raise ValueError(f"{source.data_dir}: split {source.split!r} has no rows")
    return data


def build_options(mining: MiningArguments, kb_min_frequency: int | None = None) -> Any:
    """The options of data_scripts.concepts.building."""
    from data_scripts.concepts.building import BuildOptions
    from data_scripts.concepts.discovery import DiscoveryOptions
    from data_scripts.concepts.mining import MiningOptions

    options = MiningOptions(
        min_frequency=mining.min_frequency,
        attachment_frequency=mining.attachment_frequency,
        max_words=mining.max_words,
        common_head=mining.common_head,
        discovery=DiscoveryOptions(evidence=mining.evidence) if mining.learn_words else None,
    )
    return BuildOptions(options, kb_min_frequency, mining.category_share)


def first_chunker(mining: MiningArguments) -> Any:
    """A chunker that has learned nothing yet, with the tagger that was asked for."""
    from data_scripts.concepts.chunker import Chunker

    if mining.tagger == "words":
        return Chunker()
    from data_scripts.concepts.lexicon import default_lexicon
    from data_scripts.concepts.spacy_tagger import SpacyTagger

    return Chunker(SpacyTagger.load(mining.spacy_model, default_lexicon()))


def choose_pictures(
    graph: Any, phrases: Sequence[str], pool: Any, pictures: PictureArguments, category_column: str | None
) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Prototype pictures of some phrases, and what the report says about the choice."""
    from data_scripts.concepts.building import match_captions
    from train.engine.concept_pictures import categories_of_images, pictures_by_caption, pictures_by_model

    if not pool.images or not phrases:
        return {}, {"chosen_by": "none", "pool": len(pool.images)}
    if pool.own_pool and not pictures.model:
        say("the knowledge base's pictures have no captions: give --model to choose among them")
        return {}, {"chosen_by": "none", "pool": len(pool.images)}
    ids = [item for item in dict.fromkeys(i for record in pool.records for i in record.item_ids) if item in pool.images]
    if pool.own_pool:
        ids = list(pool.images)  # a pool of its own, without captions
    if pictures.pool_size is not None and pictures.pool_size < len(ids):
        import random

        ids = sorted(
            random.Random(pictures.seed).sample(ids, pictures.pool_size), key={i: n for n, i in enumerate(ids)}.get
        )
    if not pictures.model:
        captions = match_captions(graph, pool.records)
        say(f"choosing pictures of {len(phrases):,} concepts by the captions of {len(ids):,}")
        return pictures_by_caption(phrases, captions, ids, pictures.prototypes), {
            "chosen_by": "caption",
            "pool": len(ids),
        }

    from train.engine.concept_pictures import load_encoders
    from train.retrieval.encode import encode_images, encode_texts
    from train.retrieval.loading import describe_model

    device = pick_device(pictures.cpu)
    model, processor = load_encoders(pictures.model, pictures.revision, pictures.trust_remote_code, device)
    options = {"precision": pictures.mixed_precision}
    prompts = [pictures.prompt.replace("{}", phrase) for phrase in phrases]
    texts = encode_texts(model, processor, prompts, batch_size=pictures.text_batch_size, **options)
    ids, images = encode_images(
        model, processor, ids, pool.images, batch_size=pictures.batch_size, num_workers=pictures.num_workers, **options
    )
    say(f"choosing pictures of {len(phrases):,} concepts among {len(ids):,}")
    categories: dict[str, Mapping[str, str]] = {}
    if pictures.same_category:
        categories["concept_categories"] = {concept.phrase: concept.category for concept in graph.concepts}
        categories["image_categories"] = categories_of_images(pool.records)
    chosen = pictures_by_model(
        phrases,
        ids,
        texts,
        images,
        candidates=pictures.candidates,
        prototypes=pictures.prototypes,
        diversity=pictures.diversity,
        min_score=pictures.min_score,
        **categories,
    )
    return chosen, {"chosen_by": "model", "pool": len(ids), "model": describe_model(pictures.model, model)}


def finish(
    graph: Any,
    report: dict[str, Any],
    pool: Any,
    output_dir: str,
    pictures: PictureArguments,
    started: float,
    before: Path | None = None,
) -> dict[str, Any]:
    """Write the folder, complete or not at all, and sum up."""
    import shutil

    from data_scripts.concepts.graph import coverage

    output = Path(output_dir)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted call left
    counted = coverage(graph)
    graph.report = report | {"texts": graph.report.get("texts"), "kb_texts": graph.report.get("kb_texts")}
    graph.report |= {"coverage": counted}
    graph.save(partial, pictures.prompt)
    problems: list[str] = []
    if pictures.page:
        name = Path(report["arguments"]["data_dir"]).name
        problems = draw(graph, pool, partial, pictures, f"Concepts of {name}", before)
    if output.exists():
        shutil.rmtree(output)
    partial.rename(output)
    for problem in problems[:10]:
        say(f"no small picture of {problem}")
    names = ("concepts", "data_concepts", "kb_concepts", "is_a", "orphans", "captions", "captions_by_concepts")
    names += ("captions_by_data_only_concepts", "concepts_with_images", "concepts_without_images")
    line = {"output_dir": output_dir} | {name: counted[name] for name in names}
    seconds = round(time.perf_counter() - started, 1)
    return line | {"pictures": report["pictures"]["chosen_by"], "unreadable": len(problems), "seconds": seconds}


def draw(graph: Any, pool: Any, folder: Path, pictures: PictureArguments, title: str, before: Path | None) -> list[str]:
    """Write the page with its small pictures. Returns a line per picture that could not be read."""
    import shutil

    from data_scripts.concepts.page import thumbnails_of, write_page, write_thumbnails
    from data_scripts.images import open_image

    wanted = dict.fromkeys(
        one.image_id for chosen in graph.prototypes.values() for one in chosen[: pictures.page_pictures]
    )
    kept: dict[str, str] = {}
    if before is not None:  # pictures of the graph that was added to, whose data set is not read again
        kept = {image_id: name for image_id, name in thumbnails_of(before).items() if image_id in wanted}
        for name in kept.values():
            (folder / "before" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(before / name, folder / "before" / name)
        kept = {image_id: f"before/{name}" for image_id, name in kept.items()}
    there = [image_id for image_id in wanted if image_id not in kept and image_id in pool.images]
    written, problems = write_thumbnails(
        progress(there), lambda image_id: open_image(pool.images[image_id]), folder, pictures.thumbnail_size
    )
    write_page(graph, folder, kept | written, title, most_pictures=pictures.page_pictures)
    return problems


def progress(items: Sequence[str]) -> Any:
    from tqdm import tqdm

    return tqdm(items, "small pictures", unit="picture")


def settings(*parts: Any) -> dict[str, Any]:
    """All arguments, without this machine's folders."""
    values = {name: value for part in parts for name, value in asdict(part).items()}
    for name in ("data_dir", "kb_data_dir", "graph_dir", "output_dir", "model"):
        # A Hub id has a slash too; it is not a folder here.
        if values.get(name) and (name != "model" or Path(values[name]).exists()):
            values[name] = Path(values[name]).resolve().name
    return values


def pick_device(cpu: bool) -> str:
    """The GPU if there is one and it is wanted."""
    import torch

    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    run_program(main)
