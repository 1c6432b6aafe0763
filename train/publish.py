"""Check a saved model the way a Hub user will load it, write its card from its results, and push it in one commit.

    python train/publish.py --model runs/combiner/model --repo_id org/name --dry_run
    python train/publish.py --model runs/combiner/model --repo_id org/name --private

The folder is loaded in a fresh process in which this repository cannot be imported, through `AutoModel` and
`AutoProcessor` with `trust_remote_code=True`, and has to turn a picture and a sentence into features. The figures of
the card come from `results.json` beside the weights, in the run's folder, or from `--results`, and from nowhere else.
The card is also written into the model's folder. Needs a token (`hf auth login` or HF_TOKEN); HF_ENDPOINT chooses
another Hub. Takes seconds for a small model; for a large one the upload counts.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.engine.arguments import argument, parse_arguments

# What a Hub user needs, at the top of the folder. Everything else (training state, logs) stays at home.
PUBLISHED = (
    "*.safetensors *.safetensors.index.json *.py config.json generation_config.json adapter_config.json "
    "processor_config.json preprocessor_config.json tokenizer.json tokenizer_config.json special_tokens_map.json "
    "added_tokens.json vocab.json vocab.txt merges.txt chat_template.* LICENSE LICENSE.* NOTICE NOTICE.*"
).split()
# A later push must not leave weights or code of an earlier one beside its own.
REPLACED = ["*.safetensors", "*.safetensors.index.json", "*.py", ".eval_results/*"]
# A name on the Hub, as opposed to one of this project's short names or a deeper path.
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack"}


@dataclass
class PublishArguments:
    """What to publish, and where."""

    model: str = argument(help="folder of a saved model, or of a PEFT adapter")
    repo_id: str = argument(help="repository on the Hub, org/name; it is created where it does not exist")
    private: bool = argument(False, "create the repository as private")
    dry_run: bool = argument(False, "check everything and write the card into the folder, push nothing")
    revision: str = argument("main", "branch to push to; it is created where it does not exist")
    merge_adapter: bool = argument(False, "publish base model and adapter as one model, not the adapter alone")
    base_model: list[str] = argument([], "Hub ids of the start weights, for the card; for an adapter, its base model")
    results: list[str] = argument([], "results.json files to take the figures from, instead of the model's own")
    license: str = argument("apache-2.0", "licence of the weights, as a licence id of the Hub")
    language: list[str] = argument(["en"], "languages of the captions")
    datasets: list[str] = argument([], "Hub ids of the training data, for the card")
    tags: list[str] = argument([], "more tags for the card")
    notes: str | None = argument(
        None, "Markdown file with hand-written text for the card; it may not state new figures"
    )
    commit_message: str | None = argument(None, "title of the commit")


def main(argv: list[str] | None = None) -> None:
    (arguments,) = parse_arguments(PublishArguments, description=__doc__, argv=argv)
    try:
        report = publish(arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"publish: {error}")
    print(json.dumps(report))


def publish(arguments: PublishArguments) -> dict[str, Any]:
    """Check, describe and push a folder.

    Returns:
        repo_id, revision, commit and url (None on a dry run), files (path -> bytes) and check (what the fresh process
        saw).

    Raises:
        FileNotFoundError: no such folder, or weights, configuration or code are missing in it.
        ValueError: a malformed repository id, pickled weights, no token, figures without a run of these weights.
        OSError: the fresh process could not use the folder, or the Hub refused.
    """
    from train.engine.cards import check_weights

    check_repo_id(arguments.repo_id)
    if not arguments.dry_run:
        check_token()
    folder = Path(arguments.model)
    check_folder(folder)
    check_readme(folder)
    results = find_results(folder, arguments.results)
    with staged(folder, arguments) as stage:
        check_weights(results, stage)
        check = check_in_fresh_process(stage, arguments.base_model)
        if is_adapter(stage) and arguments.base_model:
            _set_adapter_base(stage, arguments.base_model[0])
        facts = card_facts(arguments, folder, stage, check)
        write_card(stage, facts, results)
        files = {str(p.relative_to(stage)): p.stat().st_size for p in sorted(stage.rglob("*")) if p.is_file()}
        report = {"repo_id": arguments.repo_id, "revision": arguments.revision, "commit": None, "url": None}
        if not arguments.dry_run:
            report |= push(stage, arguments)
        if not arguments.merge_adapter:  # the card of the merged model is not that of the adapter's folder
            _copy_card(stage, folder)
    return report | {"files": files, "check": check}


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError unless the id is one that the Hub accepts, with its organisation."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
        valid = repo_id.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise ValueError(f"--repo_id {repo_id!r}: expected organisation/name in letters, digits, '-', '_' and '.'")


def check_token() -> None:
    """Raise ValueError unless a token for the Hub is at hand."""
    from huggingface_hub import get_token

    if not get_token():
        raise ValueError("no token for the Hub: run `hf auth login`, or set HF_TOKEN to a token that may write")


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def check_folder(folder: Path) -> None:
    """Raise for what can be seen without loading: missing folder, weights, configuration or code, and pickles."""
    if not folder.is_dir():
        raise FileNotFoundError(f"--model {folder}: no such folder; give a folder that save_pretrained wrote")
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICKLES)
    if pickles:
        raise ValueError(
            f"{folder} holds {', '.join(pickles)}: files of this kind can run code when they are read and are not "
            "published. Save the weights as safetensors (save_pretrained does), and move these files away"
        )
    weights, config = (
        ("adapter_model.safetensors", "adapter_config.json") if is_adapter(folder) else (None, "config.json")
    )
    if not (list(folder.glob(weights or "*.safetensors"))):
        raise FileNotFoundError(
            f"{folder} has no weights ({weights or 'model.safetensors'}); save it with save_pretrained"
        )
    if not (folder / config).is_file():
        raise FileNotFoundError(f"{folder} has no {config}; save the model with save_pretrained")
    if not is_adapter(folder):
        _check_code(folder)


def check_readme(folder: Path) -> None:
    """Raise ValueError for a README.md that a person wrote: the card would take its place."""
    from train.engine.cards import MARKER

    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else MARKER
    peft_template = "# Model Card for Model ID" in text  # PEFT leaves an empty form with every adapter
    if MARKER not in text and not peft_template:
        raise ValueError(
            f"{readme} is not a card of this program and would be replaced; keep its text under another name, add it "
            "to the card with --notes FILE, and delete it"
        )


def _check_code(folder: Path) -> None:
    """Every file that `auto_map` names, and every sibling that those files import, has to be there."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    auto_map = config.get("auto_map") or {}
    # A model of pictures alone may have an image processor, whose file has another name.
    names = ("processor_config.json", "preprocessor_config.json")
    processor = next((folder / name for name in names if (folder / name).is_file()), None)
    if processor is None:
        raise FileNotFoundError(f"{folder} has no {names[0]}; save the processor into the same folder")
    if "AutoModel" not in auto_map:
        raise FileNotFoundError(
            f"{folder}/config.json sends AutoModel to no code (auto_map); save the model through its registered class"
        )
    maps = auto_map | (json.loads(processor.read_text(encoding="utf-8")).get("auto_map") or {})
    # "org/repo--file.Class" takes the code from another repository.
    wanted = {f"{target.split('.')[0]}.py" for target in maps.values() if "--" not in target}
    seen: set[str] = set()
    while wanted - seen:
        name = (wanted - seen).pop()
        seen.add(name)
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} lacks its code file {name}; save model and processor again, then publish"
            )
        siblings = re.findall(r"^\s*from \.(\w+) import", (folder / name).read_text(encoding="utf-8"), re.MULTILINE)
        wanted |= {f"{sibling}.py" for sibling in siblings}


def find_results(folder: Path, given: list[str]) -> list[dict[str, Any]]:
    """The results of the model's runs: the given files, else results.json in the folder or in the run above it."""
    from train.engine.cards import read_results

    if given:
        missing = [name for name in given if not Path(name).is_file()]
        if missing:
            raise FileNotFoundError(f"--results {', '.join(missing)}: no such file; train/evaluation.py writes it")
        return [result for name in given for result in read_results(name)]
    path = _beside(folder, "results.json")
    return read_results(path) if path else []


def _beside(folder: Path, name: str) -> Path | None:
    """A file in the model folder, or in the folder of the run whose `model/` it is."""
    folder = folder.resolve()
    places = [folder / name]
    if (folder.parent / "arguments.json").is_file():
        places.append(folder.parent / name)
    return next((place for place in places if place.is_file()), None)


@contextlib.contextmanager
def staged(folder: Path, arguments: PublishArguments) -> Iterator[Path]:
    """A temporary folder with exactly what will be published; what is checked is what is pushed."""
    with tempfile.TemporaryDirectory(prefix="publish-") as temporary:
        stage = Path(temporary) / arguments.repo_id.split("/")[-1]
        stage.mkdir()
        if arguments.merge_adapter:
            _save_merged(folder, stage, arguments.base_model)
        else:
            for pattern in PUBLISHED:
                for path in folder.glob(pattern):
                    if path.suffix in (".safetensors", ".py"):
                        os.symlink(path.resolve(), stage / path.name)  # weights may be large
                    else:
                        shutil.copyfile(path, stage / path.name)
        yield stage


def _save_merged(folder: Path, stage: Path, base_model: list[str]) -> None:
    if not is_adapter(folder):
        raise ValueError(f"--merge_adapter: {folder} is not an adapter (no adapter_config.json)")
    from peft import PeftModel
    from transformers import AutoModel, AutoProcessor

    from train.engine.weights import whole_model

    recorded = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    base = recorded or (base_model[0] if base_model else None)
    if not base:
        raise ValueError(f"{folder}/adapter_config.json names no base model; give it with --base_model")
    model = whole_model(AutoModel, base, trust_remote_code=True)
    auto_map = model.config.auto_map
    model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    model.config.auto_map = auto_map
    model.save_pretrained(stage)
    AutoProcessor.from_pretrained(base, trust_remote_code=True).save_pretrained(stage)


def _set_adapter_base(stage: Path, base_model: str) -> None:
    path = stage / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"base_model_name_or_path": base_model}, indent=2), encoding="utf-8")


def check_in_fresh_process(stage: Path, base_model: list[str]) -> dict[str, Any]:
    """Load the folder as a Hub user would, and make features of one picture and one sentence.

    Returns:
        class_name, model_type, kind, parameters, features (method -> shape), inputs (name -> shape).

    Raises:
        ValueError: an adapter whose base model is a folder of this machine, and no --base_model to put in its place.
        OSError: the process failed; carries its last lines.
    """
    from train.engine.isolated import run_isolated

    base = None
    if is_adapter(stage):
        base = json.loads((stage / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
        if not base_model and (not base or Path(base).exists()):
            raise ValueError(
                f"the adapter's base model is {base!r}, which a Hub user does not have; publish the base model and "
                "name it with --base_model org/name, or publish both as one model with --merge_adapter"
            )
        base = base or base_model[0]
    # A whole model may need nothing that is not in its folder.
    return run_isolated(_CHECK, {"folder": str(stage), "base": base}, offline=base is None)


_CHECK = """
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, ProcessorMixin

source = task["base"] or task["folder"]
model, report = AutoModel.from_pretrained(source, trust_remote_code=True, output_loading_info=True)
for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    if report.get(problem):
        sys.exit(f"{source}: {problem.replace('_', ' ')} in the weights: {sorted(map(str, report[problem]))[:5]}")
if task["base"]:
    model.load_adapter(task["folder"])
model.eval()
processor = AutoProcessor.from_pretrained(source, trust_remote_code=True)

picture = Image.linear_gradient("L").resize((120, 160)).convert("RGB")
texts = {"text": ["is red with shorter sleeves"]} if isinstance(processor, ProcessorMixin) else {}
inputs = processor(images=[picture], return_tensors="pt", **texts)
# What the model doesn't read is not given to it.
reads = model.input_modalities
names = ("pixel_values",) * ("image" in reads) + ("input_ids", "attention_mask") * ("text" in reads)
inputs = {k: v for k, v in inputs.items() if k in names}
text = {k: v for k, v in inputs.items() if k in ("input_ids", "attention_mask")}
image = {k: v for k, v in inputs.items() if k == "pixel_values"}
if getattr(model.config, "has_images", False) and "image" not in reads:
    # A model without image network reads features of one in the place of pictures.
    image = {"image_features": torch.linspace(-1, 1, model.config.vision_feature_dim)[None]}
    inputs |= image
calls = {"get_image_features": image, "get_text_features": text, "get_query_features": image | text}
calls |= {"get_fused_features": image | text, "encode": image}
features = {}
for method, arguments in calls.items():
    if hasattr(model, method) and arguments:
        with torch.no_grad():
            made = getattr(model, method)(**arguments)
        made = getattr(made, "pooler_output", made)
        if not torch.isfinite(made).all():
            sys.exit(f"{method} gives values that are not finite")
        features[method] = list(made.shape)
if not features:
    sys.exit(f"{type(model).__name__} has none of {list(calls)}")
print(json.dumps({
    "class_name": type(model).__name__,
    "model_type": model.config.model_type,
    "kind": getattr(model.config, "combiner_type", None) or getattr(model.config, "variant", ""),
    "parameters": sum(p.numel() for p in model.parameters()),
    "features": features,
    "inputs": {name: list(value.shape) for name, value in inputs.items()},
}))
"""


def card_facts(arguments: PublishArguments, folder: Path, stage: Path, check: dict[str, Any]):
    """What the card says beside the figures, from the check, the run's arguments and the command line."""
    from train.engine.cards import CardFacts, origin_of

    saved = _beside(folder, "arguments.json")
    training = json.loads(saved.read_text(encoding="utf-8")) if saved else None
    bases = arguments.base_model or start_weights(training)
    if is_adapter(stage) and not bases:
        bases = [json.loads((stage / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]]
    if arguments.notes is not None and not Path(arguments.notes).is_file():
        raise FileNotFoundError(f"--notes {arguments.notes}: no such file")
    return CardFacts(
        repo_id=arguments.repo_id,
        base_model=bases,
        license=arguments.license,
        languages=arguments.language,
        datasets=arguments.datasets,
        tags=arguments.tags,
        arguments=training,
        adapter=is_adapter(stage),
        notes=Path(arguments.notes).read_text(encoding="utf-8") if arguments.notes else "",
        origin=origin_of(folder) if training is None else "",
        **check,
    )


def start_weights(training: dict[str, Any] | None) -> list[str]:
    """Hub ids of the weights that a run started from, through the runs before it as far as they are on this disk."""
    from train.engine.clip4cir import HUB_BACKBONES

    seen: set[str] = set()
    while training:
        given = [training.get(name) for name in ("backbone", "vision_weights", "text_weights")]
        found = [HUB_BACKBONES.get(name, name) for name in given if name]
        # "org/name" is a Hub id; anything else, and what lies on this disk, is a file or a folder.
        found = [name for name in found if HUB_ID.fullmatch(name) and not Path(name).exists()]
        before = training.get("model")
        if found or not before or before in seen:
            return found
        seen.add(before)
        saved = _beside(Path(before), "arguments.json")
        training = json.loads(saved.read_text(encoding="utf-8")) if saved else None
    return []


def write_card(folder: Path, facts: Any, results: list[dict[str, Any]]) -> None:
    """Write README.md and .eval_results/ into a folder that will be published."""
    from train.engine.cards import eval_results_files, model_card

    (folder / "README.md").write_text(model_card(facts, results), encoding="utf-8")
    for path, text in eval_results_files(results).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _copy_card(stage: Path, folder: Path) -> None:
    shutil.rmtree(folder / ".eval_results", ignore_errors=True)
    if (stage / ".eval_results").is_dir():
        shutil.copytree(stage / ".eval_results", folder / ".eval_results")
    shutil.copyfile(stage / "README.md", folder / "README.md")


def push(stage: Path, arguments: PublishArguments) -> dict[str, str]:
    """One commit with everything. Returns the commit id and the address of the repository.

    Raises:
        OSError: the Hub refused or could not be reached; nothing was changed there, for a commit is all or nothing.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        url = api.create_repo(arguments.repo_id, private=arguments.private or None, exist_ok=True)
        if arguments.revision != "main":
            api.create_branch(arguments.repo_id, branch=arguments.revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=arguments.repo_id,
            folder_path=stage,
            revision=arguments.revision,
            delete_patterns=REPLACED,
            commit_message=arguments.commit_message or f"Publish {arguments.repo_id.split('/')[-1]}",
        )
    except Exception as error:  # no base class covers the client's own errors and those of its HTTP library
        raise OSError(
            f"pushing to {api.endpoint}/{arguments.repo_id} failed: {error}. Check the token's rights and HF_ENDPOINT; "
            "nothing was changed there"
        ) from error
    return {"commit": commit.oid, "url": str(url)}


if __name__ == "__main__":
    main()
