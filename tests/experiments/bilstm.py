"""Rebuild the tables of learning results in modeling/bilstm/README.md: outfit models on real outfits.

    python tests/experiments/bilstm.py --data_dir POLYVORE_TREE --vision_weights DIR --output_dir runs/outfits

--data_dir is a tree of data_scripts/polyvore.py with questions of valid and test, --vision_weights an image network of
transformers, which stays frozen; without it the items are the words of their names. Every arm and seed is trained with one
recipe, the epoch chosen on the validation questions, and scored once on the test questions; then the members of each
recipe's late fusion are fused with weights chosen on the validation questions. Finished runs are kept. Writes table.json
and table.md.

    python tests/experiments/bilstm.py --end_to_end --data_dir POLYVORE_TREE --output_dir runs/end-to-end

shows the recipe of 2017 with its image network instead: the whole Inception v3 at 299 pixels, from --vision_weights
inception_v3.ckpt or from random weights, is trained with everything else on the first 64 outfits, once without a break
and once killed and resumed, at the same time, on one thread each. Writes end_to_end.json: the losses, and whether both
runs ended with the same bits.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data_scripts.polyvore import find_root, label_folder, outfit_file, question_files
from train.engine.arguments import argument, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = ("bilstm", "bilstm-no-vse", "vse", "siamese")
MEMBERS = ("bilstm-no-vse", "vse", "siamese")
METRICS = {"polyvore/fitb": "fill_in_blank_accuracy", "polyvore/compatibility": "compatibility_auc"}


@dataclasses.dataclass
class ExperimentArguments:
    """Where the data is, and what to run."""

    data_dir: str = argument(help="a Polyvore tree")
    output_dir: str = argument(help="folder of all runs and of the table")
    vision_weights: str | None = argument(None, "image network; without: names alone")
    image_size: int | None = argument(160, "side of the pictures", minimum=32)
    questions: str | None = argument(None, "which questions, as of train/bilstm_train.py")
    recipes: list[str] = argument(["modern", "official"], "recipes of train/recipes/bilstm_train")
    variants: list[str] = argument(list(VARIANTS), "models to train")
    seeds: list[int] = argument([0, 1, 2], "seeds")


@dataclasses.dataclass
class EndToEnd:
    """Training with the image network on a few outfits, in place of the tables."""

    end_to_end: bool = argument(False, "train the whole Inception on a few outfits, kill, resume and compare")
    outfits: int = argument(64, "the first so many training outfits", minimum=8)
    outfits_per_step: int = argument(8, "outfits of an update", minimum=2)
    epochs: int = argument(1, "passes over them", minimum=1)
    inception_multiplier: float = argument(1.0, "width of an Inception with random weights", above=0)
    inception_size: int = argument(299, "side of its pictures", minimum=75)


def begin(command: list[str], log: Path) -> subprocess.Popen:
    """Start a program on one thread with its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(log, "w") as file:
        return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=file)


def call(command: list[str], log: Path) -> None:
    """Run a program to its end."""
    if begin(command, log).wait():
        raise SystemExit(f"{command[0]} failed, see {log}:\n{log.read_text()[-2000:]}")


def data_flags(arguments: ExperimentArguments) -> list[str]:
    flags = ["--data_dir", str(Path(arguments.data_dir).resolve()), "--cpu"]
    flags += ["--feature_cache", str(Path(arguments.output_dir).resolve() / "features")]
    return flags + (["--questions", arguments.questions] if arguments.questions else [])


def run_one(arguments: ExperimentArguments, recipe: str, variant: str, seed: int) -> Path:
    """Folder of a trained and tested model."""
    folder = Path(arguments.output_dir).resolve() / recipe / f"{variant}-{seed}"
    if (folder / "test" / "results.json").exists():
        return folder
    command = ["train/bilstm_train.py", "--config", f"train/recipes/bilstm_train/{recipe}.yaml", *data_flags(arguments)]
    command += ["--variant", variant, "--seed", str(seed), "--output_dir", str(folder / "training"), "--overwrite"]
    if arguments.vision_weights:
        command += ["--vision_weights", str(Path(arguments.vision_weights).resolve())]
        command += ["--image_size", str(arguments.image_size)]
    else:
        command += ["--item_inputs", "text"]
    call(command, folder / "training.log")
    return test(arguments, [folder / "training"], folder)


def test(arguments: ExperimentArguments, runs: list[Path], folder: Path) -> Path:
    """Score the test questions with one model or with the fusion of several."""
    command = ["train/bilstm_evaluate.py", "--model", *(str(run / "model") for run in runs), *data_flags(arguments)]
    command += ["--output_dir", str(folder / "test"), "--overwrite", *(["--fit_weights"] if len(runs) > 1 else [])]
    call(command, folder / "test.log")
    return folder


def row_of(name: str, folders: list[Path]) -> dict:
    """Means over seeds, of the figures and of half their intervals over questions."""
    results = [json.loads((folder / "test" / "results.json").read_text())["results"] for folder in folders]
    row = {"name": name, "seeds": len(folders), "controls": {}}
    for number, (protocol, metric) in enumerate(METRICS.items()):
        values = [result[number]["figures"][metric]["value"] for result in results]
        halves = [
            (result[number]["figures"][metric]["high"] - result[number]["figures"][metric]["low"]) / 2
            for result in results
        ]
        row[protocol] = {"value": float(np.mean(values)), "half": float(np.mean(halves)), "seeds": values}
        row["controls"][protocol] = {k: v[metric]["value"] for k, v in results[0][number]["controls"].items()}
    if "weights" in results[0][0]:
        row["weights"] = [[part["weights"] for part in result] for result in results]
    return row


def markdown(rows: list[dict]) -> str:
    """The table of the README."""
    lines = ["| model (seeds) | fill in the blank, % | compatibility, AUC |", "|---|---|---|"]
    for row in rows:
        blank, pair = (row[protocol] for protocol in METRICS)
        lines.append(
            f"| {row['name']} ({row['seeds']}) | {blank['value']:.1f} ± {blank['half']:.1f} "
            f"| {pair['value']:.3f} ± {pair['half']:.3f} |"
        )
    for control in rows[0]["controls"]["polyvore/fitb"]:
        values = [rows[0]["controls"][protocol][control] for protocol in METRICS]
        lines.append(f"| {control} | {values[0]:.1f} | {values[1]:.3f} |")
    return "\n".join(lines) + "\n"


# The image network trained with everything else


def small_tree(root: Path, questions: str | None, count: int, folder: Path) -> Path:
    """A tree of the first training outfits, and of the items of a few validation questions; it links the photos.

    Raises:
        FileNotFoundError: the tree has no validation questions of this kind.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "label").mkdir(parents=True)
    (folder / "images").symlink_to(root / "images")
    names = label_folder(root) / "category_id.txt"
    if names.is_file():
        shutil.copy(names, folder / "label")
    files = {content: question_files(root, content, questions) for content in ("fill_in_blank", "compatibility")}
    if lacking := [content for content, found in files.items() if "valid" not in found]:
        raise FileNotFoundError(f"{root}: no validation questions of {' and '.join(lacking)}; see --questions")
    blanks = json.loads(files["fill_in_blank"]["valid"].read_text())[:4]
    lines = files["compatibility"]["valid"].read_text().splitlines()
    lines = [next(line for line in lines if line.startswith(label)) for label in ("1", "0")]
    named = {key for blank in blanks for key in (*blank["question"], *blank["answers"])}
    named |= {key for line in lines for key in line.split()[1:]}
    train, valid = (json.loads(outfit_file(root, split).read_text()) for split in ("train", "valid"))
    for outfit in valid:
        outfit["items"] = [item for item in outfit["items"] if f"{outfit['set_id']}_{item['index']}" in named]
    valid = [outfit for outfit in valid if outfit["items"]]
    for split, outfits in (("train", train[:count]), ("valid", valid)):
        (folder / f"label/{split}_no_dup.json").write_text(json.dumps(outfits))
    (folder / "label/fill_in_blank_valid.json").write_text(json.dumps(blanks))
    (folder / "label/fashion_compatibility_prediction_valid.txt").write_text("\n".join(lines) + "\n")
    return folder


def logged_losses(folder: Path) -> list[float]:
    log = folder / "metrics.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    return [record["loss"] for record in records if "loss" in record]


def killed_and_resumed(command: list[str], folder: Path, at: int) -> int:
    """Kill a run after its update `at`, and run it to its end; returns how many updates it had logged."""
    process = begin([*command, "--output_dir", str(folder), "--overwrite"], folder.with_suffix(".killed.log"))
    while len(logged_losses(folder)) < at:
        if process.poll() is not None:
            raise SystemExit(f"the run ended before it could be killed, see {folder.with_suffix('.killed.log')}")
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(logged_losses(folder))
    call([*command, "--output_dir", str(folder), "--resume"], folder.with_suffix(".log"))
    return done


def run_end_to_end(arguments: ExperimentArguments, sizes: EndToEnd) -> dict:
    """Train both ways, and what came of it."""
    folder = Path(arguments.output_dir).resolve()
    tree = small_tree(find_root(arguments.data_dir), arguments.questions, sizes.outfits, folder / "tree")
    command = [
        "train/bilstm_train.py",
        "--config",
        "train/recipes/bilstm_train/official.yaml",
        "--train_vision",
        "--cpu",
    ]
    command += ["--data_dir", str(tree), "--batch_size", str(sizes.outfits_per_step), "--epochs", str(sizes.epochs)]
    command += ["--image_size", str(sizes.inception_size), "--save", "last", "--checkpoint_steps", "2"]
    if arguments.vision_weights:
        command += ["--vision_weights", str(Path(arguments.vision_weights).resolve())]
    else:
        command += ["--inception", "--inception_multiplier", str(sizes.inception_multiplier)]
    whole, cut = folder / "whole", folder / "cut"
    half = sizes.epochs * (sizes.outfits // sizes.outfits_per_step) // 2
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        unbroken = pool.submit(call, [*command, "--output_dir", str(whole), "--overwrite"], whole.with_suffix(".log"))
        killed_at = killed_and_resumed(command, cut, half + 1)
        unbroken.result()
    losses = logged_losses(whole)
    quarter = max(1, len(losses) // 4)
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (whole, cut)]
    return {
        "outfits": sizes.outfits,
        "updates": len(losses),
        "first_quarter": float(np.mean(losses[:quarter])),
        "last_quarter": float(np.mean(losses[-quarter:])),
        "losses": losses,
        "killed_after": killed_at,
        "same_losses": losses == logged_losses(cut),
        "same_bits": weights[0] == weights[1],
        "seconds": round(time.perf_counter() - started),
    }


def main() -> None:
    arguments, sizes = parse_arguments(ExperimentArguments, EndToEnd, description=__doc__)
    if sizes.end_to_end:
        result = run_end_to_end(arguments, sizes)
        (Path(arguments.output_dir) / "end_to_end.json").write_text(json.dumps(result, indent=1))
        print(json.dumps(result))
        return
    variants = arguments.variants if arguments.vision_weights else ["bilstm-no-vse"]
    folder = Path(arguments.output_dir).resolve()
    rows = []
    for recipe in arguments.recipes:
        runs = {
            variant: [run_one(arguments, recipe, variant, seed) for seed in arguments.seeds] for variant in variants
        }
        rows += [row_of(f"{variant}, {recipe}", folders) for variant, folders in runs.items()]
        if all(member in runs for member in MEMBERS):
            fusions = []
            for number, seed in enumerate(arguments.seeds):
                fusion = folder / recipe / f"fusion-{seed}"
                if not (fusion / "test" / "results.json").exists():
                    test(arguments, [runs[member][number] / "training" for member in MEMBERS], fusion)
                fusions.append(fusion)
            rows.append(row_of(f"late fusion, {recipe}", fusions))
        (folder / "table.json").write_text(json.dumps(rows, indent=1))
        (folder / "table.md").write_text(markdown(rows))
    print(markdown(rows))
    print(json.dumps({row["name"]: row["polyvore/fitb"]["value"] for row in rows}))


if __name__ == "__main__":
    main()
