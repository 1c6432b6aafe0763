"""Model cards, written from the files of runs.

A figure stands in a card only if a run's `results.json` holds it: the tables are made from that file, and hand-written
text is searched for numbers that look like results and refused when one has no run behind it.

The text of a card comes from `model_cards/`: `template.md` is the frame, and one file for each kind of model has the
sections About, Usage, Limits and Citation.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

CARD_FOLDER = Path(__file__).resolve().parents[2] / "model_cards"
MARKER = "<!-- written by train/publish.py from the files of the run; a hand-made change is lost at the next push -->"
ADAPTER_NOTE = "This repository holds a PEFT adapter (install `peft` too); `AutoModel` fetches the base model with it."
FEATURES_NOTE = (
    "This model has no image network of its own. Where the code below prepares pictures, give the features of the network "
    "that it was trained with, `image_features` (pictures, $width), in the place of `pixel_values`."
)
# Model type, or model type and kind -> what the model does.
TASKS = {
    "bilstm": "outfit compatibility",
    "clip4cir": "composed image retrieval",
    "fashionklip": "image-text retrieval",
    "fashionvil": "image-text retrieval",
    "fashionvil_composition": "composed image retrieval",
    "fashionvil_classification": "product classification",
    "fashionvil_outfits": "complementary item retrieval",
    "fashionvil_image_tokenizer": "image tokenization",
}
SECTIONS = ("About", "Usage", "Limits", "Citation")
# The part of a protocol's name before the slash, as a person writes it.
LAYOUTS = {
    "fashioniq": "FashionIQ",
    "cirr": "CIRR",
    "fashiongen": "FashionGen",
    "polyvore": "Polyvore",
    "polyvore-outfits": "Polyvore Outfits",
}


@dataclass(frozen=True)
class Figure:
    """One number of an evaluation run, with what pins it."""

    protocol: str
    split: str
    data: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    fingerprint: str = ""


@dataclass
class CardFacts:
    """What the card says beside the figures.

    Args:
        repo_id: "org/name" on the Hub.
        model_type, kind: from the configuration; `kind` tells models of one type apart (`sum`, `combiner`).
        class_name: the model's class.
        parameters: number of weights.
        features: feature method -> shape, as measured when the folder was checked.
        inputs: input name -> shape.
        base_model: Hub ids of the start weights; empty for a model trained from scratch.
        license: licence of the weights, a Hub licence id.
        languages, datasets, tags: lists of ids for the metadata.
        arguments: the training run's resolved arguments, None when the folder has none.
        adapter: whether the folder holds a PEFT adapter, not a whole model.
        notes: hand-written Markdown that is added to the card.
        origin: where weights without a training run come from, see [`origin_of`].
    """

    repo_id: str
    model_type: str
    kind: str = ""
    class_name: str = ""
    parameters: int = 0
    features: dict[str, list[int]] = field(default_factory=dict)
    inputs: dict[str, list[int]] = field(default_factory=dict)
    base_model: list[str] = field(default_factory=list)
    license: str = "apache-2.0"
    languages: list[str] = field(default_factory=lambda: ["en"])
    datasets: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    arguments: dict[str, Any] | None = None
    adapter: bool = False
    notes: str = ""
    origin: str = ""


def read_results(path: Path | str) -> list[dict[str, Any]]:
    """The results of an evaluation file: one object per protocol.

    Args:
        path: `results.json` with one result, or with several under "results".

    Raises:
        ValueError: the file is not JSON, or a result lacks its protocol, its data or a figure's value.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); evaluate again with train/evaluation.py") from error
    results = content.get("results", [content]) if isinstance(content, dict) else content
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise ValueError(f'{path}: expected one result, or {{"results": [...]}} with several')
    for number, result in enumerate(results):
        missing = [key for key in ("protocol", "data", "figures") if key not in result]
        if missing:
            raise ValueError(f"{path}: result {number} has no {', '.join(missing)}; a figure without it says nothing")
        for name, figure in result["figures"].items():
            if not isinstance(figure, dict) or not isinstance(figure.get("value"), int | float):
                raise ValueError(f"{path}: result {number}, figure {name}: expected an object with a number as value")
    return results


def figures_of(results: Iterable[dict[str, Any]]) -> list[Figure]:
    """Every figure of the model itself (controls excluded), in the order of the file."""
    return [
        Figure(
            protocol=result["protocol"],
            split=str(result.get("split", "")),
            data=data_name(result),
            name=name,
            value=float(figure["value"]),
            low=figure.get("low"),
            high=figure.get("high"),
            unit=figure.get("unit", ""),
            fingerprint=str(result["data"].get("fingerprint", ""))[:16] if isinstance(result["data"], dict) else "",
        )
        for result in results
        for name, figure in result["figures"].items()
    ]


def data_name(result: dict[str, Any]) -> str:
    """What the figures were measured on: the data's own name, never the name of the layout it is stored in."""
    data = result["data"]
    if isinstance(data, str):
        return data
    layout = LAYOUTS.get(result["protocol"].partition("/")[0], result["protocol"].partition("/")[0])
    return data.get("name") or f"data in the {layout} layout"


def _data_id(name: str) -> str:
    return re.sub(r"[^\w./-]+", "-", name).strip("-").lower()


def check_distinct(results: Iterable[dict[str, Any]]) -> None:
    """Refuse two results that a reader of the metadata could not tell apart.

    Raises:
        ValueError: names the protocol and the data.
    """
    seen = set()
    for result in results:
        key = (data_name(result), result["protocol"], result.get("split"))
        if key in seen:
            raise ValueError(
                f"two results of {result['protocol']} on {key[0]!r}, split {key[2]!r}: a card shows one. Leave one out "
                "or give the data their own names (train/evaluation.py --data_name)"
            )
        seen.add(key)


def check_weights(results: Iterable[dict[str, Any]], folder: Path) -> None:
    """Refuse figures that were measured on other weights than those of the folder.

    Raises:
        ValueError: names the protocol and both digests.
    """
    digest = weights_sha256(folder)
    for result in results:
        model = result.get("model")
        measured = model.get("weights_sha256") if isinstance(model, dict) else None
        if measured != digest:
            raise ValueError(
                f"the figures of {result['protocol']} were measured on weights {str(measured)[:16]}, but the weights "
                f"to be published are {digest[:16]}; evaluate this very folder with train/evaluation.py"
            )


def weights_sha256(folder: Path) -> str:
    """Digest of a folder's weight files, as `train/retrieval/loading.py` writes it into results."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def check_figures(text: str, results: Iterable[dict[str, Any]], source: str) -> None:
    """Refuse hand-written text with a result that no run has produced.

    A number counts as a result when it carries a percent sign, or stands in a line that names a metric and has a
    decimal point. It must equal a figure, an interval's end or a control of the results, rounded as it is written.

    Args:
        text: Markdown; code blocks and code spans are not looked at.
        results: as `read_results` returns them.
        source: name of the text for the error.

    Raises:
        ValueError: names the line, the number and what to do.
    """
    known = [
        number
        for result in results
        for group in (result["figures"], *result.get("controls", {}).values())
        for figure in group.values()
        for number in (figure.get("value"), figure.get("low"), figure.get("high"))
        if isinstance(number, int | float)
    ]
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
            continue
        if in_code:
            continue
        for written in _result_numbers(re.sub(r"`[^`]*`", "", line)):
            digits = len(written.partition(".")[2])
            if not any(f"{value:.{digits}f}" == written for value in known):
                raise ValueError(
                    f"{source}, line {number}: {written} looks like a result, but no run behind this card has it. "
                    "Evaluate the model (train/evaluation.py) and pass its results.json, or take the number out"
                )


_METRIC = re.compile(r"recall|R@\d|\bmAP\b|\bAUC\b|accura|precision|median rank|\bMRR\b", re.IGNORECASE)


def _result_numbers(line: str) -> list[str]:
    line = re.sub(r"\d+(\.\d+)?\s?% (confidence )?interval", "", line)
    percents = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)\s?%", line)
    decimals = re.findall(r"(?<![\w.])(\d+\.\d+)(?![\w.]*\d)", line) if _METRIC.search(line) else []
    return percents + decimals


def model_card(facts: CardFacts, results: list[dict[str, Any]], folder: Path = CARD_FOLDER) -> str:
    """The README.md of a published model: metadata with `model-index`, then the text.

    Raises:
        FileNotFoundError: `model_cards/` has no text for this kind of model.
        ValueError: hand-written text states a result that no run has produced, or two results are of the same protocol,
            data and split.
    """
    check_distinct(results)
    sections = system_sections(facts.model_type, facts.kind, folder)
    for name, text in sections.items():
        check_figures(text, results, f"model_cards text, section {name}")
    check_figures(facts.notes, results, "--notes")
    # An adapter's processor is that of its base model.
    ids = {"repo_id": facts.repo_id, "processor_id": facts.base_model[0] if facts.adapter else facts.repo_id}
    values = {name.lower(): Template(text).safe_substitute(ids) for name, text in sections.items()}
    if facts.adapter:
        values["usage"] = f"{ADAPTER_NOTE}\n\n{values['usage']}"
    if "image_features" in facts.inputs:
        note = Template(FEATURES_NOTE).substitute(width=facts.inputs["image_features"][-1])
        values["usage"] = f"{note}\n\n{values['usage']}"
    body = Template((folder / "template.md").read_text(encoding="utf-8")).substitute(
        values
        | {
            "marker": MARKER,
            "title": facts.repo_id.split("/")[-1],
            "class_name": facts.class_name,
            "parameters": f"{facts.parameters:,}",
            "feature_table": _shapes(facts.features),
            "input_table": _shapes(facts.inputs),
            "base_model": ", ".join(f"`{name}`" for name in facts.base_model) or "none given",
            "license": facts.license,
            "results": results_section(results),
            "training": _training_section(facts) + (f"\n\n{facts.notes.strip()}" if facts.notes.strip() else ""),
        }
    )
    return f"---\n{_metadata(facts, results)}---\n{body}"


def system_sections(model_type: str, kind: str = "", folder: Path = CARD_FOLDER) -> dict[str, str]:
    """The hand-written sections for a kind of model: `<model_type>_<kind>.md`, else `<model_type>.md`."""
    candidates = [folder / f"{name}.md" for name in (f"{model_type}_{kind}", model_type)]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        tried = " or ".join(str(candidate) for candidate in candidates)
        raise FileNotFoundError(f"no card text for {model_type} models: write {tried} with sections {SECTIONS}")
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    missing = [name for name in SECTIONS if name not in sections]
    if missing:
        raise ValueError(f"{path} lacks the section {', '.join(missing)}; it needs {', '.join(SECTIONS)}")
    return {name: sections[name] for name in SECTIONS}


def results_section(results: list[dict[str, Any]]) -> str:
    """Markdown tables, one per protocol: the model beside its controls, with intervals."""
    if not results:
        return "Not evaluated: the folder was published without a `results.json`."
    return "\n\n".join(_protocol_table(result) for result in results)


def _protocol_table(result: dict[str, Any]) -> str:
    controls = result.get("controls", {})
    split = f", split `{result['split']}`" if result.get("split") else ""
    lines = [
        f"Protocol `{result['protocol']}` on {data_name(result)}{split}. " + _provenance(result),
        "",
        "| metric | this model | " + "".join(f"{name.replace('_', ' ')} | " for name in controls).rstrip(),
        "|---|---|" + "---|" * len(controls),
    ]
    for name, figure in result["figures"].items():
        cells = [figure, *(group.get(name) for group in controls.values())]
        lines.append(f"| {name} | " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    if figure.get("low") is None:
        return f"{figure['value']:.2f}"
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _provenance(result: dict[str, Any]) -> str:
    units = {figure.get("unit") for figure in result["figures"].values()} - {None, ""}
    facts = [f"in {units.pop()}" if len(units) == 1 else ""]
    if any(figure.get("low") is not None for figure in result["figures"].values()):
        facts.append("with 95 % intervals in brackets")
    data = result["data"] if isinstance(result["data"], dict) else {}
    facts.append(f"{data['queries']:,} queries" if isinstance(data.get("queries"), int) else "")
    gallery = data.get("gallery")
    facts.append(f"{data['classes']:,} classes" if "classes" in data else "")
    if isinstance(gallery, dict) and len(gallery) > 6:
        facts.append(f"{len(gallery)} galleries of {min(gallery.values()):,} to {max(gallery.values()):,}")
    elif isinstance(gallery, dict):
        facts.append("galleries of " + ", ".join(f"{size:,} ({name})" for name, size in gallery.items()))
    elif gallery is not None:
        facts.append(f"a gallery of {gallery:,}")
    facts.append(f"data fingerprint `{str(data['fingerprint'])[:16]}`" if "fingerprint" in data else "")
    facts.append(f"seed {result['seed']}" if "seed" in result else "")
    text = ", ".join(fact for fact in facts if fact)
    return f"Figures {text}." if text else ""


def eval_results_files(results: list[dict[str, Any]]) -> dict[str, str]:
    """The `.eval_results/*.yaml` files: path -> text, one file per protocol."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files: dict[str, str] = {}
    for result in results:
        entries = [
            EvalResultEntry(
                dataset_id=_data_id(data_name(result)),
                task_id=f"{figure.protocol}/{figure.split}/{figure.name}".replace("//", "/"),
                value=figure.value,
                notes=_entry_note(figure),
            )
            for figure in figures_of([result])
        ]
        name = re.sub(r"[^\w.-]+", "_", f"{result['protocol']}-{result.get('split', '')}".strip("-"))
        # The same protocol on two data sets: one file with both.
        path = f".eval_results/{name}.yaml"
        text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
        files[path] = files.get(path, "") + text
    return files


def _entry_note(figure: Figure) -> str | None:
    if figure.low is None:
        return figure.unit or None
    return f"{figure.unit}, 95 % interval {figure.low:.2f} to {figure.high:.2f}".strip(", ")


def _metadata(facts: CardFacts, results: list[dict[str, Any]]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    task = TASKS.get(f"{facts.model_type}_{facts.kind}") or TASKS.get(facts.model_type, "retrieval")
    entries = [
        EvalResult(
            task_type="retrieval",
            task_name=task,
            dataset_type=_data_id(figure.data),
            dataset_name=figure.data,
            dataset_config=figure.protocol,  # keeps the protocols of one data set apart
            dataset_split=figure.split or None,
            dataset_args={"fingerprint": figure.fingerprint} if figure.fingerprint else None,
            metric_type=figure.name,
            metric_name=f"{figure.name} ({figure.protocol})",
            metric_value=round(figure.value, 4),
        )
        for figure in figures_of(results)
    ]
    data = ModelCardData(
        model_name=facts.repo_id.split("/")[-1],
        library_name="peft" if facts.adapter else "transformers",
        license=facts.license,
        language=facts.languages,
        base_model=facts.base_model or None,
        datasets=facts.datasets or None,
        pipeline_tag="image-feature-extraction",
        tags=sorted({"fashion", "image-retrieval", task.replace(" ", "-"), facts.model_type, *facts.tags}),
        eval_results=entries or None,
    )
    return data.to_yaml() + "\n"


def _training_section(facts: CardFacts) -> str:
    if facts.arguments is None:
        return facts.origin or "The folder holds no training arguments."
    shown = {name: _portable(value) for name, value in facts.arguments.items() if name != "program"}
    program = facts.arguments.get("program")
    lines = yaml.safe_dump(shown, sort_keys=True, allow_unicode=True)
    command = f"accelerate launch train/{Path(program).name} --config arguments.yaml" if program else ""
    intro = "With Lookbook's training program and these resolved arguments"
    return f"{intro} (`arguments.yaml`):\n\n" + (f"```\n{command}\n```\n\n" if command else "") + f"```yaml\n{lines}```"


def origin_of(folder: Path) -> str:
    """What an earlier card of this program says about the making of a model: of its conversion, for instance."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if MARKER not in text:
        return ""
    section = text.partition("\n## How it was made\n")[2].partition("\n## ")[0]
    return section.replace("The folder holds no training arguments.", "").strip()


def _portable(value: Any) -> Any:
    """Paths of the machine it ran on say nothing to a reader: only their last part is shown."""
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, str) and re.match(r"(/|~|\.\.?/|[A-Za-z]:\\)", value):
        return "path/to/" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def _shapes(shapes: dict[str, list[int]]) -> str:
    return ", ".join(f"`{name}` {tuple(shape)}" for name, shape in shapes.items()) or "-"
