"""Rebuild the table of learning results in modeling/fashionklip/README.md: concepts against plain captions.

    python tests/experiments/fashionklip.py --myntra DIR --vision_weights DIR --output_dir runs/experiments

--myntra is a catalogue folder (data_scripts/catalogue.py), --vision_weights a MobileNetV2 of transformers. One concept graph
is built from the training titles; then every arm and seed is trained with one recipe and budget, the epoch chosen on the
validation split, and scored once on the test split under retrieval/same-title. Finished runs are kept, so the script can be
called again. Writes table.json and table.md.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from train.engine.arguments import argument, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "train/recipes/fashionklip_train/myntra_mobilenet.yaml"
PROTOCOL = "retrieval/same-title"
# The original's loss is no arm: on these titles it is NaN in the second step (see the README).
ARMS = {
    "captions": ["--concepts", "none"],
    "concepts, live images": ["--concept_target", "images", "--concept_weight", "0.1", "--concept_logit_scale", "10"],
    "concepts, prototypes": ["--concept_target", "prototypes"],
}
METRICS = [f"{d}_recall_at{k}" for d in ("text_to_image", "image_to_text") for k in (1, 5, 10)]
# Test figures of the throw-away baseline that stands with the data.
BASELINE = dict(zip(METRICS, (28.1, 60.8, 74.7, 24.5, 53.4, 67.3), strict=True))


@dataclasses.dataclass
class ExperimentArguments:
    """Where the data is, and what to run."""

    myntra: str = argument(help="the Myntra catalogue")
    vision_weights: str = argument(help="MobileNetV2 of transformers")
    output_dir: str = argument(help="folder of all runs and of the table")
    arms: list[str] = argument(list(ARMS), "arms to run, of the table's first column")
    seeds: list[int] = argument([0, 1, 2], "seeds")
    jobs: int = argument(2, "runs at a time, one thread each", minimum=1)


def call(command: list[str], log: Path) -> float:
    """Run a program on one thread with its output in a file; seconds it took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    with open(log, "a") as file:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=file)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed, see {log}:\n{log.read_text()[-2000:]}")
    return round(time.perf_counter() - started, 1)


def run_one(arguments: ExperimentArguments, arm: str, seed: int) -> dict:
    """Training and evaluation of one seed, or their results when they are there."""
    output = Path(arguments.output_dir).resolve()
    folder = output / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
    done = folder / "done.json"
    if done.exists():
        return json.loads(done.read_text())
    data = ["--data_dir", str(Path(arguments.myntra).resolve())]
    training = folder / "training"
    command = ["train/fashionklip_train.py", "--config", RECIPE, *data, "--seed", str(seed), "--cpu"]
    command += ["--vision_weights", str(Path(arguments.vision_weights).resolve())]
    command += ["--pixel_cache", str(output / "pixels"), "--output_dir", str(training), *ARMS[arm]]
    if arm != "captions":
        command += ["--graph", str(output / "graph")]
    if (training / "arguments.json").exists():
        command.append("--resume")
    seconds = call(command, folder / "training.log")
    command = ["train/evaluation.py", "--model", str(training / "model"), *data, "--dataset", "catalogue", "--cpu"]
    command += ["--protocol", PROTOCOL, "--split", "test", "--output_dir", str(folder / "evaluation"), "--overwrite"]
    call(command, folder / "evaluation.log")
    result = {"arm": arm, "seed": seed, "seconds": seconds, "folder": folder.name}
    done.write_text(json.dumps(result))
    return result


def summarise(arguments: ExperimentArguments, runs: list[dict]) -> list[dict]:
    """One row per arm: means over seeds, intervals over queries, paired differences to captions alone."""
    from train.retrieval.composed import find_protocol
    from train.retrieval.rank_files import read_ranks
    from train.retrieval.statistics import bootstrap_figures, paired_bootstrap

    protocol = find_protocol(PROTOCOL)

    def hits_of(arm: str) -> tuple[np.ndarray, np.ndarray, list[dict]]:
        mine = [r for r in runs if r["arm"] == arm]
        paths = [Path(arguments.output_dir) / r["folder"] / "evaluation" for r in mine]
        records = [read_ranks(path)[PROTOCOL]["model"] for path in paths]
        # A query's value is its share of hits over the seeds, so that the interval is over queries.
        return np.mean([record.hits() for record in records], axis=0), records[0].categories, mine

    rows = []
    for arm in dict.fromkeys(r["arm"] for r in runs):
        hits, strata, mine = hits_of(arm)
        figures = bootstrap_figures(hits, protocol.figures, strata)
        row = {"arm": arm, "seeds": [r["seed"] for r in mine], "queries": len(hits)}
        row["figures"] = {name: f.to_dict() for name, f in figures.items()}
        row["minutes"] = round(float(np.mean([r["seconds"] for r in mine])) / 60, 1)
        if arm != "captions":
            # The same seeds on both sides.
            plain = [r for r in runs if r["arm"] == "captions" and r["seed"] in row["seeds"]]
            if len(plain) == len(mine):
                others = [
                    read_ranks(Path(arguments.output_dir) / r["folder"] / "evaluation")[PROTOCOL]["model"].hits()
                    for r in plain
                ]
                differences = paired_bootstrap(hits, np.mean(others, axis=0), protocol.figures, strata)
                row["minus_captions"] = {name: d.to_dict() for name, d in differences.items()}
        rows.append(row)
    return rows


def markdown(rows: list[dict]) -> str:
    """The table of the README."""

    def shown(figure: dict, sign: str = "") -> str:
        return f"{figure['value']:{sign}.1f} [{figure['low']:{sign}.1f}, {figure['high']:{sign}.1f}]"

    lines = [
        "| training (seeds) | text->image R@1 | R@10 | image->text R@1 | R@10 | mean of six | minus captions, mean of six "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    columns = [f"{d}_recall_at{k}" for d in ("text_to_image", "image_to_text") for k in (1, 10)] + ["mean_recall"]
    for row in rows:
        cells = [f"{row['arm']} ({len(row['seeds'])})", *(shown(row["figures"][name]) for name in columns)]
        gain = row.get("minus_captions")
        cells += [shown(gain["mean_recall"], "+") if gain else "", str(row["minutes"])]
        lines.append("| " + " | ".join(cells) + " |")
    base = [BASELINE[name] for name in columns[:-1]]
    lines.append(f"| throw-away baseline | {' | '.join(map(str, base))} | {np.mean(list(BASELINE.values())):.1f} | | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    (arguments,) = parse_arguments(ExperimentArguments, description=__doc__)
    unknown = [arm for arm in arguments.arms if arm not in ARMS]
    if unknown:
        raise SystemExit(f"--arms {unknown[0]!r}: expected some of {list(ARMS)}")
    folder = Path(arguments.output_dir)
    if not (folder / "graph" / "report.json").exists():
        command = ["train/fashionklip_graph.py", "build", "--data_dir", str(Path(arguments.myntra).resolve())]
        call([*command, "--output_dir", str(folder.resolve() / "graph"), "--overwrite"], folder / "graph.log")
    tasks = [(arm, seed) for seed in arguments.seeds for arm in arguments.arms]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda task: run_one(arguments, *task), tasks))
    rows = summarise(arguments, runs)
    (folder / "table.json").write_text(json.dumps(rows, indent=1))
    (folder / "table.md").write_text(markdown(rows))
    print(markdown(rows))
    print(json.dumps({row["arm"]: row["figures"]["mean_recall"]["value"] for row in rows}))


if __name__ == "__main__":
    main()
