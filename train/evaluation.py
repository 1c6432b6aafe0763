"""Evaluate a model under a named protocol, beside its controls.

    python train/evaluation.py --model runs/stage2/model --protocol fashioniq --data_dir fashionIQ_dataset \\
        --output_dir runs/stage2/evaluation

Composed queries: fashioniq (both galleries in one pass), fashioniq/original-split, fashioniq/val-split, cirr/val,
composed/pooled-noref, catalogue/same-title. Captions and images: fashiongen/full, fashiongen/sampled-100,
retrieval/same-title. Products: fashiongen/category, fashiongen/subcategory. Outfits: polyvore/fitb,
polyvore/compatibility (both: polyvore), and the same of polyvore-outfits and polyvore-outfits/disjoint. Missing items:
polyvore-outfits/ocir, polyvore-outfits/ocir-official, and both with nondisjoint- before ocir. What each one pins stands in
train/retrieval/composed.py and in image_text_, classification_, outfit_ and ocir_protocols.py.

A CLIP4Cir composes the features of picture and text; a FashionViL reads both together. Queries of FashionIQ are made of
its two captions as the model was trained to read them; results.json says how.

Prints a table and, as the last line, one JSON object with the model's figures. --output_dir gets results.json (figures
with 95 % intervals, controls, paired differences, where data and model came from), ranks.npz (rank of every query, for
train/compare.py; outfit protocols: scores.npz) and with --csv results.csv.

With several processes (accelerate launch --num_processes N train/evaluation.py ...) the encoding is shared out; the
features, and so the ranks, are those of one process.
"""

import csv
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program


@dataclasses.dataclass
class EvaluationArguments:
    """What to evaluate and how."""

    model: str = argument(help="model folder or Hub id")
    protocol: str = argument(help="name of the protocol, e.g. fashioniq, cirr/val, composed/pooled-noref")
    data_dir: str = argument(help="folder with the data set's tree (see data_scripts/<dataset>.py)")
    output_dir: str | None = argument(None, "folder for results.json and ranks.npz; must be empty or new")
    overwrite: bool = argument(False, "write into --output_dir although it is not empty")
    split: str | None = argument(
        None, "split to evaluate; default: val (FashionIQ, CIRR), valid (catalogue), test (outfits) or validation"
    )
    dataset: Literal["fashioniq", "cirr", "catalogue", "fashiongen", "fashionklip"] | None = argument(
        None, "layout of --data_dir; default: from the protocol's name, or from the files"
    )
    caption: list[str] = argument(
        [],
        "image-text protocols: columns whose texts are the caption; default: title, title and description (FashionGen)",
    )
    questions: str | None = argument(
        None,
        "polyvore protocols: which questions, e.g. typed (fill_in_blank_test_typed.json); default: the official ones",
    )
    candidates: str | None = argument(
        None, "fashiongen/sampled-100: candidate lists of an earlier run (candidates.json); default: drawn with seed 0"
    )
    data_name: str | None = argument(None, "name of the data for reports and cards, e.g. FashionIQ")
    missing_images: Literal["error", "skip"] = argument("error", "stop at missing images, or skip and count their rows")
    revision: str | None = argument(None, "revision of a Hub model")
    trust_remote_code: bool = argument(False, "run the code in the model folder, for types of other projects")
    batch_size: int = argument(32, "pictures per forward pass", minimum=1)
    text_batch_size: int = argument(128, "texts per forward pass", minimum=1)
    num_workers: int | None = argument(None, "threads that decode pictures; default: one per core", minimum=1)
    mixed_precision: Literal["no", "bf16", "fp16"] = argument("no", "autocast of the encoders")
    resamples: int = argument(10_000, "bootstrap resamples", minimum=100)
    seed: int = argument(0, "seed of the bootstrap", minimum=0)
    max_block_mb: int | None = argument(None, "largest block of scores in MiB; default: 16 on a CPU", minimum=1)
    csv: bool = argument(False, "also write results.csv")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")


def main() -> None:
    (arguments,) = parse_arguments(EvaluationArguments, description=__doc__)
    results = evaluate(arguments)
    if results is not None:
        print(json.dumps({r["protocol"]: {n: round(f["value"], 4) for n, f in r["figures"].items()} for r in results}))


def evaluate(arguments: EvaluationArguments) -> list[dict[str, Any]] | None:
    """Run the evaluation on all processes.

    Returns:
        On the main process one result per protocol, as in results.json; None on the others.
    """
    from accelerate import Accelerator

    from train.engine.run import check_processes
    from train.retrieval.classification_protocols import CLASSIFICATION_PROTOCOLS
    from train.retrieval.composed_data import protocols_named
    from train.retrieval.image_text_protocols import IMAGE_TEXT_PROTOCOLS
    from train.retrieval.ocir_protocols import OCIR_PROTOCOLS
    from train.retrieval.outfit_protocols import PROTOCOLS as OUTFIT_PROTOCOLS

    names = protocols_named(arguments.protocol)
    folder = Path(arguments.output_dir) if arguments.output_dir else None
    check_output_dir(folder, arguments.overwrite)
    accelerator = Accelerator(cpu=arguments.cpu or None)
    check_processes(accelerator.num_processes)
    if names[0] in OUTFIT_PROTOCOLS:
        return ask_outfits(arguments, names, folder) if accelerator.is_main_process else None
    kinds = (
        (IMAGE_TEXT_PROTOCOLS, rank_image_text),
        (CLASSIFICATION_PROTOCOLS, rank_classes),
        (OCIR_PROTOCOLS, rank_missing_items),
    )
    ranked = next((function for protocols, function in kinds if names[0] in protocols), rank_composed)
    outcomes, data, model = ranked(arguments, names, accelerator)
    return write_results(arguments, folder, outcomes, data, model) if accelerator.is_main_process else None


def rank_composed(
    arguments: EvaluationArguments, names: tuple[str, ...], accelerator: Any
) -> tuple[list[Any], Any, Any]:
    """Encode and rank composed queries: the outcomes (none but on the main process), the data, the model.

    Raises:
        ValueError: data that doesn't serve a protocol, a model that can't compose, an argument without use.
    """
    from train.retrieval.composed import evaluate_protocol
    from train.retrieval.composed_data import CAPTION_JOINERS, detect_layout, load_composed_set
    from train.retrieval.encode import encode_images, encode_texts
    from train.retrieval.loading import load_model, require

    refuse_unused(arguments, names[0], "caption", "candidates", "questions")
    layout = arguments.dataset or detect_layout(arguments.data_dir, names[0])
    model, processor = load_model(arguments.model, arguments.revision, arguments.trust_remote_code, accelerator.device)
    methods = ("get_image_features", "get_text_features", "get_query_features")
    require(model, arguments.model, names[0], methods, "a CLIP4CirModel or a FashionViLForComposition")
    joiner = CAPTION_JOINERS.get(model.config.model_type)
    with accelerator.main_process_first():  # the others read what the first has prepared
        data = load_composed_set(layout, arguments.data_dir, arguments.split, arguments.missing_images, joiner=joiner)
    for name in names:
        if name not in data.galleries:
            raise ValueError(f"data in the {layout} layout serves {', '.join(data.galleries)}, not {name}")
    # The files of both FashionIQ galleries and every query's reference are encoded in one pass; an id once.
    sources = dict(zip(data.gallery_ids, data.images, strict=True))
    options = {"batch_size": arguments.batch_size, "precision": arguments.mixed_precision}
    workers = {"num_workers": arguments.num_workers}
    images = encode_images(model, processor, data.gallery_ids, sources, **options, **workers)[1]
    texts = encode_texts(
        model, processor, data.captions, batch_size=arguments.text_batch_size, precision=arguments.mixed_precision
    )
    queries = composed_queries(model, processor, data, sources, images, texts, options, workers)
    if not accelerator.is_main_process:
        return [], data, model
    block = arguments.max_block_mb and arguments.max_block_mb * 2**20
    outcomes = [
        evaluate_protocol(name, data, images, queries, arguments.resamples, arguments.seed, block) for name in names
    ]
    return outcomes, data, model


def composed_queries(
    model: Any, processor: Any, data: Any, sources: Any, images: Any, texts: Any, options: Any, workers: Any
) -> dict[str, Any]:
    """L2-normalised query features (Q, D) of the model and of its controls.

    A model with `compose` makes them of the features of picture and text, any other reads both together.
    """
    from torch.nn.functional import normalize

    from train.retrieval.composed import MODEL, system_queries
    from train.retrieval.encode import PicturesOnDemand, composer, encode_pairs

    if hasattr(model, "compose"):
        return system_queries(images, texts, data.reference, composer(model))
    references = [data.gallery_ids[row] for row in data.reference.tolist()]
    pixels = PicturesOnDemand(processor, sources, **workers)
    queries = encode_pairs(
        model,
        processor,
        pixels,
        references,
        data.captions,
        lambda m, **inputs: m.get_query_features(**inputs),
        **options,
    )
    # Their sum is no control here: this head doesn't train pictures and texts alone to lie in one place.
    features = {MODEL: queries, "image_only": images[data.reference], "text_only": texts}
    return {name: normalize(values, dim=-1) for name, values in features.items()}


def rank_image_text(
    arguments: EvaluationArguments, names: tuple[str, ...], accelerator: Any
) -> tuple[list[Any], Any, Any]:
    """Encode and rank under an image-text protocol; returns as `rank_composed`."""
    from train.engine.caption_pairs import ArchivePixels
    from train.retrieval.encode import encode_images, encode_pixels, encode_texts
    from train.retrieval.image_text import evaluate_image_text
    from train.retrieval.image_text_data import detect_image_text_layout, load_image_text_set
    from train.retrieval.loading import load_model, require

    (name,) = names
    refuse_unused(arguments, name, "questions")
    layout = arguments.dataset or detect_image_text_layout(arguments.data_dir, name)
    with accelerator.main_process_first():
        data = load_image_text_set(
            layout, arguments.data_dir, name, arguments.split, arguments.missing_images, arguments.caption or None
        )
    candidates = None
    if arguments.candidates:
        path = Path(arguments.candidates)
        if not path.is_file():
            raise FileNotFoundError(f"--candidates {path}: no such file")
        try:
            candidates = json.loads(path.read_text("utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"--candidates {path}: not a JSON file ({error}); take an earlier run's candidates.json"
            ) from error
    model, processor = load_model(arguments.model, arguments.revision, arguments.trust_remote_code, accelerator.device)
    classes = "a model of pictures and texts, such as FashionKLIPModel or FashionViLForRetrieval"
    require(model, arguments.model, name, ("get_image_features", "get_text_features"), classes)
    options = {"batch_size": arguments.batch_size, "precision": arguments.mixed_precision}
    if isinstance(data.images, dict):
        workers = {"num_workers": arguments.num_workers}
        images = encode_images(model, processor, data.image_ids, data.images, **options, **workers)[1]
    else:
        pixels = ArchivePixels(data.images, processor.image_processor.size)
        images = encode_pixels(model, pixels, data.image_ids, **options)
    texts = encode_texts(
        model, processor, data.texts, batch_size=arguments.text_batch_size, precision=arguments.mixed_precision
    )
    if not accelerator.is_main_process:
        return [], data, model
    block = arguments.max_block_mb and arguments.max_block_mb * 2**20
    outcome = evaluate_image_text(
        name, data, images, texts, candidates, arguments.resamples, arguments.seed, max_block_bytes=block
    )
    return [outcome], data, model


def rank_classes(
    arguments: EvaluationArguments, names: tuple[str, ...], accelerator: Any
) -> tuple[list[Any], Any, Any]:
    """Classify every picture with its product's text; returns as `rank_composed`."""
    from train.retrieval.classification import evaluate_classification, load_classification_set
    from train.retrieval.encode import PicturesOnDemand, encode_pairs
    from train.retrieval.loading import load_model, require

    (name,) = names
    refuse_unused(arguments, name, "caption", "candidates", "questions")
    if arguments.dataset not in (None, "fashiongen"):
        raise ValueError(f"{name} reads the layout fashiongen, not {arguments.dataset}")
    model, processor = load_model(arguments.model, arguments.revision, arguments.trust_remote_code, accelerator.device)
    require(model, arguments.model, name, ("classifier",), "a FashionViLForClassification")
    with accelerator.main_process_first():
        data = load_classification_set(name, arguments.data_dir, arguments.split, arguments.missing_images)
    pixels = PicturesOnDemand(processor, data.sources, arguments.num_workers)
    options = {"batch_size": arguments.batch_size, "precision": arguments.mixed_precision}
    logits = encode_pairs(
        model, processor, pixels, data.image_ids, data.texts, lambda m, **inputs: m(**inputs).logits, **options
    )
    if not accelerator.is_main_process:
        return [], data, model
    classes = {str(label): int(number) for label, number in model.config.label2id.items()}
    outcome = evaluate_classification(name, data, logits, classes, arguments.resamples, arguments.seed)
    return [outcome], data, model


def rank_missing_items(
    arguments: EvaluationArguments, names: tuple[str, ...], accelerator: Any
) -> tuple[list[Any], Any, Any]:
    """Rank the items of a wanted category for every outfit; returns as `rank_composed`."""
    from train.retrieval.encode import encode_images
    from train.retrieval.loading import load_model, require
    from train.retrieval.ocir import evaluate_outfit_model
    from train.retrieval.ocir_data import load_ocir_set
    from train.retrieval.ocir_protocols import OCIR_PROTOCOLS

    (name,) = names
    refuse_unused(arguments, name, "dataset", "caption", "candidates", "questions")
    model, processor = load_model(arguments.model, arguments.revision, arguments.trust_remote_code, accelerator.device)
    require(model, arguments.model, name, ("item_embeds", "target_embeds"), "a FashionViLForOutfitRetrieval")
    with accelerator.main_process_first():
        version, split = OCIR_PROTOCOLS[name].version, arguments.split or "test"
        data = load_ocir_set(arguments.data_dir, version, split, arguments.missing_images)
    ids, features = encode_images(
        model,
        processor,
        list(data.sources),
        data.sources,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
        precision=arguments.mixed_precision,
    )
    if not accelerator.is_main_process:
        return [], data, model
    outcome = evaluate_outfit_model(name, data, model, features, ids, arguments.resamples, arguments.seed)
    return [outcome], data, model


def refuse_unused(arguments: EvaluationArguments, protocol: str, *names: str) -> None:
    """Raise ValueError for given arguments, among these, that a protocol has no use for."""
    given = [f"--{name}" for name in names if getattr(arguments, name) not in (None, [], "no")]
    if given:
        raise ValueError(f"{protocol} has no use for {', '.join(given)}; leave it out")


def ask_outfits(arguments: EvaluationArguments, names: tuple[str, ...], folder: Path | None) -> list[dict[str, Any]]:
    """Answer outfit questions, on one process, as train/bilstm_evaluate.py does for one model.

    Raises:
        ValueError: an argument that these protocols have no use for.
    """
    import tempfile

    from train.bilstm_evaluate import OutfitEvaluation
    from train.bilstm_evaluate import evaluate as evaluate_outfits
    from train.engine.bilstm_arguments import OutfitData
    from train.engine.run import replace_text
    from train.retrieval.outfit_protocols import PROTOCOLS

    refuse_unused(arguments, names[0], "dataset", "caption", "candidates", "mixed_precision")
    protocol = PROTOCOLS[names[0]]
    if arguments.questions and protocol.dataset != "polyvore":
        raise ValueError(f"{names[0]} has one set of questions; leave --questions out")
    same = ("output_dir", "overwrite", "revision", "trust_remote_code", "resamples", "seed", "cpu")
    evaluation = OutfitEvaluation(
        [arguments.model], split=arguments.split or "test", **{name: getattr(arguments, name) for name in same}
    )
    with tempfile.TemporaryDirectory() as features:
        data = OutfitData(
            arguments.data_dir,
            protocol.dataset,
            protocol.disjoint,
            questions=arguments.questions,
            missing=arguments.missing_images,
            feature_cache=None if folder else features,
            feature_batch=arguments.batch_size,
        )
        results = evaluate_outfits(evaluation, data, [PROTOCOLS[name].kind for name in names], arguments.data_name)
    if folder is not None and arguments.csv:
        replace_text(folder / "results.csv", csv_text(results))
    return results


def write_results(
    arguments: EvaluationArguments, folder: Path | None, outcomes: list[Any], data: Any, model: Any
) -> list[dict[str, Any]]:
    """Print the tables and write the files; returns what results.json holds."""
    from train.engine.run import replace_text
    from train.retrieval.loading import describe_model
    from train.retrieval.rank_files import write_ranks

    origin = {
        "split": data.fingerprint["split"],
        "seed": arguments.seed,
        "model": describe_model(arguments.model, model),
        "mixed_precision": arguments.mixed_precision,
        "packages": package_versions(),
    }
    results = [describe(outcome.to_dict(), data.fingerprint, arguments.data_name) | origin for outcome in outcomes]
    for outcome in outcomes:
        print(table(outcome), end="\n\n")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_ranks(folder / "ranks.npz", outcomes)
        for outcome in outcomes:
            if getattr(outcome, "candidates", None):
                replace_text(folder / "candidates.json", json.dumps(outcome.candidates))
        if arguments.csv:
            replace_text(folder / "results.csv", csv_text(results))
        replace_text(folder / "results.json", json.dumps({"results": results}, indent=2) + "\n")
    return results


def check_output_dir(folder: Path | None, overwrite: bool) -> None:
    """Refuse a folder whose content would be mixed with the results.

    Raises:
        FileExistsError: not empty and no `overwrite`, or not a folder.
    """
    if folder is None or not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"--output_dir {folder} is a file")
    first = next(folder.iterdir(), None)
    if first is not None and not overwrite:
        raise FileExistsError(
            f"--output_dir {folder} is not empty (e.g. {first.name}); pass --overwrite or choose another"
        )


def describe(result: dict[str, Any], fingerprint: dict[str, Any], data_name: str | None) -> dict[str, Any]:
    """A protocol's result with its data and with units at the figures, as results.json has it."""
    counts = result.pop("counts")
    data = {"fingerprint": fingerprint["digest"], "layout": fingerprint["layout"]} | counts
    if len(counts.get("gallery", ())) == 1:
        data["gallery"] = next(iter(counts["gallery"].values()))
    if data_name:
        data["name"] = data_name
    figures = {name: figure | {"unit": "percent"} for name, figure in result["figures"].items()}
    return result | {"figures": figures, "data": data}


def package_versions() -> dict[str, str]:
    """Versions of what can change a figure."""
    from importlib.metadata import version

    names = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "pillow")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in names}


def table(outcome: Any) -> str:
    """Figures as text: one row per metric; the model with its interval, then the controls."""
    result = outcome.to_dict()
    counts = result["counts"]
    columns = {"model": result["figures"], **result["controls"]}
    lines = [f"{result['protocol']}   {counts['queries']} queries, {asked_of(counts)}"]
    wide = max(len(name) for name in result["figures"])
    lines.append(
        f"{'percent':{wide}}  {'model [95 % interval]':>24}" + "".join(f"  {c:>11}" for c in list(columns)[1:])
    )
    for metric, figure in result["figures"].items():
        own = f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"
        others = "".join(f"  {columns[c][metric]['value']:11.2f}" for c in list(columns)[1:])
        lines.append(f"{metric:{wide}}  {own:>24}{others}")
    # The figure that papers rank by: FashionIQ's mean recall, CIRR's mean of R@5 and R_s@1, else R@1.
    leading = ("average_recall", "mean(R@5+R_s@1)", "recall_at1", "mean_recall", "accuracy")
    metric = next(name for name in leading if name in result["figures"])
    for name, differences in result["differences"].items():
        d = differences[metric]
        lines.append(f"{name}, {metric}: {d['value']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}], p = {d['p']:.4f}")
    return "\n".join(lines)


def asked_of(counts: dict[str, Any]) -> str:
    """What the queries choose from: galleries by name, only their number and sizes where there are many, or classes."""
    if "classes" in counts:
        return f"{counts['classes']} classes"
    gallery = counts["gallery"]
    if len(gallery) > 6:
        return f"{len(gallery)} galleries of {min(gallery.values())} to {max(gallery.values())}"
    return "gallery: " + ", ".join(f"{name} {size}" for name, size in gallery.items())


def csv_text(results: list[dict[str, Any]]) -> str:
    """Figures of the model and its controls as CSV: one row per protocol, system and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "split", "system", "metric", "value", "low", "high"])
    for result in results:
        for system, figures in {"model": result["figures"], **result["controls"]}.items():
            for metric, figure in figures.items():
                numbers = [figure["value"], figure.get("low", ""), figure.get("high", "")]
                writer.writerow([result["protocol"], result["split"], system, metric, *numbers])
    return text.getvalue()


if __name__ == "__main__":
    run_program(main)
