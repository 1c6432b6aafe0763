"""Rebuild the tables of learning results in modeling/bilstm/README.md: outfit models on real outfits.

    python tests/experiments/bilstm.py --data_dir POLYVORE_TREE --vision_weights DIR --output_dir runs/outfits

--data_dir is a tree of data_scripts/polyvore.py with questions of valid and test, --vision_weights an image network of
transformers, which stays frozen; without it the items are the words of their names. Every arm and seed is trained with one
recipe, the epoch chosen on the validation questions, and scored once on the test questions; then the members of each
recipe's late fusion are fused with weights chosen on the validation questions. Finished runs are kept. Writes table.json
and table.md.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

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


def call(command: list[str], log: Path) -> None:
    """Run a program on one thread with its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(log, "w") as file:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=file)
    if done.returncode:
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
        row["weights"] = [result[0]["weights"] for result in results]
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


def main() -> None:
    (arguments,) = parse_arguments(ExperimentArguments, description=__doc__)
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
