"""Search a catalogue: encode it once into an index, then ask with a picture, a sentence, or both.

    python train/search.py index --model org/name --images photos/ --index_dir runs/index
    python train/search.py query --index_dir runs/index --contact_sheet answers.png \\
        --reference photos/a.jpg --text "make it red, with shorter sleeves"

`--images` is a folder of pictures or a catalogue (see data_scripts/catalogue.py). Several queries come from a JSONL
file, one {"reference", "text", "target"} per line; a catalogue's composed_<split>.jsonl, with "caption", will do.
A picture alone finds what looks like it, a text alone what it describes; both together take a model that composes them,
such as CLIP4Cir or FashionViL for composition. The last line on standard output is one JSON object.
`python train/search.py index --help` and `query --help` list the arguments.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments


@dataclass
class IndexArguments:
    """What to index, with which model."""

    model: str = argument(help="model folder or Hub id")
    images: str = argument(help="folder of pictures, or catalogue folder (products.jsonl, products.csv or *.parquet)")
    index_dir: str = argument(help="folder of the index; must be empty or new unless --overwrite")
    split: str | None = argument(None, "one split of a catalogue; default: all of them")
    revision: str | None = argument(None, "branch, tag or commit of a model on the Hub")
    trust_remote_code: bool = argument(False, "run the code in the model's folder instead of this repository's")
    strict: bool = argument(False, "a picture that cannot be read is an error; default: it is left out and named")
    overwrite: bool = argument(False, "replace the index in --index_dir")
    batch_size: int = argument(32, "pictures per forward pass", minimum=1)
    part_size: int = argument(1024, "pictures between two writes; an interrupted build loses at most these", minimum=1)
    thumbnail_size: int = argument(
        256, "long side of the small pictures kept for sheets and demos, 0 for none", minimum=0
    )
    num_workers: int | None = argument(None, "threads that decode pictures; default: one per core", minimum=1)
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")


@dataclass
class QueryArguments:
    """What to ask an index."""

    index_dir: str = argument(help="folder that `train/search.py index` wrote")
    reference: str | None = argument(None, "reference picture: a file, or an id of the index")
    text: str | None = argument(None, "what should be different, or alone: what to find")
    queries: str | None = argument(None, "JSONL file with several queries: reference, text, target (the right id)")
    top_k: int = argument(10, "answers per query", minimum=1)
    contact_sheet: str | None = argument(None, "PNG file to draw queries and answers into")
    output: str | None = argument(None, "JSONL file for the answers, one query per line")
    model: str | None = argument(None, "model folder or Hub id; default: the one that the index was made with")
    revision: str | None = argument(None, "branch, tag or commit of a model on the Hub")
    trust_remote_code: bool = argument(False, "run the code in the model's folder instead of this repository's")
    keep_reference: bool = argument(False, "let the reference picture be among its own answers")
    backend: Literal["exact", "faiss"] = argument("exact", "exact search, or an approximate one with the faiss extra")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")


@dataclass
class Query:
    """One request: a reference picture (file or id of the index), a text, or both; the right id if it is known."""

    reference: str | None = None
    text: str | None = None
    target: str | None = None

    @property
    def kind(self) -> str:
        return "composed" if self.reference and self.text else "image only" if self.reference else "text only"


def main(argv: list[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"index": (IndexArguments, index), "query": (QueryArguments, query)}
    if argv and argv[0] in ("-h", "--help"):
        print(__doc__)
        return
    if not argv or argv[0] not in commands:
        given = f"not {argv[0]!r}" if argv else "nothing was given"
        print(f"search: the first word must be `index` or `query`, {given}; see --help", file=sys.stderr)
        sys.exit(2)
    arguments_type, command = commands[argv[0]]
    (arguments,) = parse_arguments(arguments_type, description=__doc__, argv=argv[1:])
    try:
        report = command(arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"search: {error}")
    print(json.dumps(report))


def index(arguments: IndexArguments) -> dict[str, Any]:
    """Encode the pictures and write the index. Returns what stands in the last line of output."""
    from train.retrieval.index import build_index, catalogue_items
    from train.retrieval.loading import load_model, require

    items, root = catalogue_items(arguments.images, arguments.split)
    device = pick_device(arguments.cpu)
    model, processor = load_model(arguments.model, arguments.revision, arguments.trust_remote_code, device)
    require(model, arguments.model, "an index", ("get_image_features",), "a model of pictures")
    built = build_index(
        arguments.index_dir,
        model,
        processor,
        arguments.model,
        items,
        root=root,
        batch_size=arguments.batch_size,
        part_size=arguments.part_size,
        thumbnail_size=arguments.thumbnail_size,
        num_workers=arguments.num_workers,
        strict=arguments.strict,
        overwrite=arguments.overwrite,
    )
    if built.skipped:
        print(f"{len(built.skipped)} of {len(items)} pictures could not be read and were left out:")
        for problem in built.skipped:
            print(f"  {problem}")
    skipped = [problem.split(":")[0] for problem in built.skipped]
    return {
        "index_dir": arguments.index_dir,
        "indexed": len(built),
        "skipped": len(skipped),
        "skipped_ids": skipped,
        "dimension": built.features.shape[1],
        "weights": built.model["weights"],
    }


def query(arguments: QueryArguments) -> dict[str, Any]:
    """Answer the queries, print them, and draw them. Returns what stands in the last line of output."""
    from train.retrieval.index import CatalogueIndex, model_identity
    from train.retrieval.loading import load_model

    asked = read_queries(arguments)
    catalogue = CatalogueIndex.load(arguments.index_dir)
    check_targets(asked, catalogue)
    search = catalogue.searcher(arguments.backend)
    name = arguments.model or catalogue.model["name"]
    model, processor = load_model(name, arguments.revision, arguments.trust_remote_code, pick_device(arguments.cpu))
    catalogue.check_model(model_identity(name, model, processor))
    answers = answer(asked, catalogue, model, processor, search, arguments.top_k, arguments.keep_reference)

    report: dict[str, Any] = {"index_dir": arguments.index_dir, "queries": len(answers), "top_k": arguments.top_k}
    if arguments.contact_sheet:
        draw(asked, answers, catalogue, arguments.contact_sheet)
        report["contact_sheet"] = arguments.contact_sheet
    if arguments.output:
        Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(found, ensure_ascii=False) + "\n" for found in answers)
        Path(arguments.output).write_text("".join(lines), encoding="utf-8")
        report["output"] = arguments.output
    else:
        report["answers"] = answers
    for found in answers:
        print_answer(found)
    return report


def read_queries(arguments: QueryArguments) -> list[Query]:
    """The queries of the command line or of the JSONL file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: nothing or too much is asked, or a line is not a query.
    """
    if arguments.queries is None:
        if not arguments.reference and not arguments.text:
            raise ValueError("nothing is asked: give --reference, --text, both, or --queries FILE")
        return [Query(arguments.reference, arguments.text)]
    if arguments.reference or arguments.text:
        raise ValueError("--queries FILE replaces --reference and --text; give one or the other")
    path = Path(arguments.queries)
    if not path.is_file():
        raise FileNotFoundError(f"--queries {path}: no such file")
    queries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ValueError(f"{path}, line {number}: expected a JSON object, found {line.strip()[:40]}")
        asked = Query(fields.get("reference"), fields.get("text") or fields.get("caption"), fields.get("target"))
        if not asked.reference and not asked.text:
            raise ValueError(f"{path}, line {number}: a query needs a reference, a text, or both; has {sorted(fields)}")
        queries.append(asked)
    if not queries:
        raise ValueError(f"--queries {path}: the file holds no queries")
    return queries


def check_targets(queries: list[Query], catalogue: Any) -> None:
    """Raise ValueError for right answers that the index does not hold: they would silently count as not found."""
    lost = [found.target for found in queries if found.target is not None and found.target not in catalogue.row_of]
    if lost:
        raise ValueError(f"{len(lost)} targets are not ids of the index, first: {', '.join(map(str, lost[:3]))}")


def answer(
    queries: list[Query],
    catalogue: Any,
    model: Any,
    processor: Any,
    search: Any,
    top_k: int = 10,
    keep_reference: bool = False,
) -> list[dict[str, Any]]:
    """The best pictures of the catalogue for every query.

    Args:
        queries: what is asked. catalogue: a CatalogueIndex. search: from `catalogue.searcher()`.
        model, processor: those that the index was made with.
        top_k: answers wanted. keep_reference: a reference of the catalogue may answer itself.

    Returns:
        One object per query: kind, reference, text, target, answers ({"id", "score"}, best first), and target_place
        (from 1, None when it is not among them).

    Raises:
        ValueError: a picture that cannot be read, or a kind of query that the model cannot do.
    """
    import torch

    features = torch.cat([query_features(found, catalogue, model, processor) for found in queries])
    own_rows = [catalogue.find(found.reference) if found.reference else None for found in queries]
    exclude = torch.tensor([-1 if row is None or keep_reference else row for row in own_rows])
    scores, rows = search(features, top_k, exclude)
    results = []
    for number, found in enumerate(queries):
        pairs = zip(rows[number].tolist(), scores[number].tolist(), strict=True)
        best = [{"id": catalogue.ids[row], "score": round(score, 4)} for row, score in pairs if row >= 0]
        ids = [one["id"] for one in best]
        place = ids.index(found.target) + 1 if found.target in ids else None
        results.append({"kind": found.kind, **vars(found), "answers": best, "target_place": place})
    return results


def query_features(query: Query, catalogue: Any, model: Any, processor: Any) -> Any:
    """(1, D) of length one, on the CPU: the composed query, or the picture's or the sentence's own feature.

    Raises:
        ValueError: the model has no method for this kind of query, or the picture cannot be read.
    """
    import torch

    method = {"composed": "get_query_features", "image only": "get_image_features", "text only": "get_text_features"}
    method = method[query.kind]
    if not hasattr(model, method):
        remedy = "; give --reference or --text alone" if query.kind == "composed" else ""
        raise ValueError(f"a {type(model).__name__} cannot answer {query.kind} queries (it has no {method}){remedy}")
    inputs: dict[str, Any] = {}
    if query.reference:
        inputs["images"] = [reference_image(query.reference, catalogue)]
    if query.text:
        inputs["text"] = [query.text]
    tensors = {name: tensor.to(model.device) for name, tensor in processor(return_tensors="pt", **inputs).items()}
    with torch.no_grad():
        return torch.nn.functional.normalize(getattr(model, method)(**tensors).float(), dim=-1).cpu()


def reference_image(reference: str, catalogue: Any) -> Any:
    """The picture of a file, or of an id of the index.

    Raises:
        ValueError: neither a file nor an id, or a file that cannot be read.
    """
    from data_scripts.images import open_image

    if Path(reference).is_file():
        return open_image(reference)
    row = catalogue.row_of.get(reference)
    path = None if row is None or catalogue.paths[row] is None else Path(catalogue.root, catalogue.paths[row])
    if path is not None and path.is_file():
        return open_image(path)  # the file itself: a thumbnail would give slightly other features
    image = None if row is None else catalogue.image(row)
    if image is None:
        raise ValueError(f"reference {reference!r} is neither a picture file nor an id of the index with a picture")
    return image


def pick_device(cpu: bool) -> str:
    """The GPU if there is one and it is wanted."""
    import torch

    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"


def print_answer(found: dict[str, Any]) -> None:
    """One query as text."""
    asked = " + ".join(part for part in (found["reference"], found["text"] and f'"{found["text"]}"') if part)
    without = {"text only": " (no reference picture)", "image only": " (no text)"}.get(found["kind"], "")
    print(f"{found['kind']} query{without}: {asked}")
    for place, one in enumerate(found["answers"], 1):
        mark = "  <- target" if one["id"] == found["target"] else ""
        print(f"  {place:3d}  {one['score']:7.4f}  {one['id']}{mark}")


def draw(queries: list[Query], answers: list[dict[str, Any]], catalogue: Any, path: str) -> None:
    """Write the contact sheet of the answers."""
    from train.retrieval.contact_sheet import Row, contact_sheet

    rows = []
    for asked, found in zip(queries, answers, strict=True):
        ids = [one["id"] for one in found["answers"]]
        lost = asked.target is not None and found["target_place"] is None
        rows.append(
            Row(
                reference=reference_image(asked.reference, catalogue) if asked.reference else None,
                text=asked.text or "",
                answers=[catalogue.image(catalogue.row_of[image_id]) for image_id in ids],
                right=[image_id == asked.target for image_id in ids],
                labels=ids,
                scores=[one["score"] for one in found["answers"]],
                note=f"right answer not among the first {len(ids)}" if lost else "",
            )
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    title = f"{len(rows)} {'query' if len(rows) == 1 else 'queries'} to {len(catalogue):,} pictures"
    contact_sheet(rows, title).save(path)


if __name__ == "__main__":
    main()
