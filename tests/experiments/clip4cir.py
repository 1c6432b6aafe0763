"""Rebuild the table of results on real product photos in modeling/clip4cir/README.md.

    python tests/experiments/clip4cir.py --mango DIR --mango_titles FILE ... --myntra DIR --vision_weights DIR \\
        --output_dir runs/experiments

--mango is a tree in the FashionIQ layout (train, val, test with targets), --myntra a catalogue folder (see
data_scripts/catalogue.py), --vision_weights a MobileNetV2 of transformers. For both data sets, from random weights and
from those, and for each seed: stage 1, stage 2, both selected on the validation split; then one evaluation on the test
split. Finished runs are kept, so the script can be called again. Writes table.json and table.md.
"""

import dataclasses
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from train.engine.arguments import argument, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
RECIPES = Path("train/recipes")
DATA = {
    "mango": {"dataset": "fashioniq", "protocol": "composed/pooled-noref", "split": "test"},
    "myntra": {"dataset": "catalogue", "protocol": "catalogue/same-title", "split": "test"},
}
# R@1 and R@10 of the throw-away baseline that stands with the data.
BASELINES = {"mango": (58.1, 94.7), "myntra": (15.2, 55.8)}
STARTS = ("scratch", "mobilenet")
SYSTEMS = ("model", "sum", "image_only", "text_only")


@dataclasses.dataclass
class ExperimentArguments:
    """Where the data is, and what to run."""

    output_dir: str = argument(help="folder of all runs and of the table")
    mango: str | None = argument(None, "Mango in the FashionIQ layout; left out when not given")
    myntra: str | None = argument(None, "the Myntra catalogue; left out when not given")
    mango_titles: list[str] = argument([], "files with the titles of the Mango photos")
    vision_weights: str | None = argument(None, "MobileNetV2 of transformers; without it only runs from random weights")
    seeds: list[int] = argument([0, 1, 2], "seeds")
    jobs: int = argument(2, "runs at a time, one thread each", minimum=1)


def run_one(arguments: ExperimentArguments, data: str, start: str, seed: int) -> dict:
    """Both stages and the evaluation of one seed, or their results when they are there."""
    folder = Path(arguments.output_dir).resolve() / f"{data}-{start}-{seed}"
    done = folder / "done.json"
    if done.exists():
        return json.loads(done.read_text())
    data_dir = str(Path(getattr(arguments, data)).resolve())
    cache = str(Path(arguments.output_dir).resolve() / f"pixels-{data}-{start}")
    titles = ["--titles", *map(str, map(Path.resolve, map(Path, arguments.mango_titles)))] if data == "mango" else []
    common = [*titles, "--data_dir", data_dir, "--pixel_cache", cache, "--seed", str(seed), "--cpu"]
    weights = ["--vision_weights", str(Path(arguments.vision_weights).resolve())] if start == "mobilenet" else []
    seconds = {}
    stages = {
        "stage1": ["train/clip4cir_finetune.py", *weights],
        "stage2": ["train/clip4cir_combiner.py", "--model", str(folder / "stage1" / "model")],
    }
    for stage, command in stages.items():
        recipe = RECIPES / command[0].split("/")[1].removesuffix(".py") / f"{data}_{start}.yaml"
        output = folder / stage
        resume = ["--resume"] if (output / "arguments.json").exists() else []
        seconds[stage] = call(
            [*command, "--config", str(recipe), *common, "--output_dir", str(output), *resume], folder / f"{stage}.log"
        )
    rules = DATA[data]
    call(
        ["train/evaluation.py", "--model", str(folder / "stage2" / "model"), "--data_dir", data_dir, "--cpu"]
        + ["--protocol", rules["protocol"], "--dataset", rules["dataset"], "--split", rules["split"]]
        + ["--output_dir", str(folder / "evaluation"), "--overwrite"],
        folder / "evaluation.log",
    )
    result = {"data": data, "start": start, "seed": seed, "seconds": seconds, "folder": folder.name}
    done.write_text(json.dumps(result))
    return result


def call(command: list[str], log: Path) -> float:
    """Run a program on one thread with its output in a file; seconds it took."""
    import os

    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    with open(log, "a") as file:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=file)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed, see {log}:\n{log.read_text()[-2000:]}")
    return round(time.perf_counter() - started, 1)


def summarise(arguments: ExperimentArguments, runs: list[dict]) -> list[dict]:
    """One row per data set and start: figures as means over seeds, intervals over queries, paired differences."""
    from train.retrieval.composed import find_protocol
    from train.retrieval.rank_files import read_ranks
    from train.retrieval.statistics import bootstrap_figures, paired_bootstrap

    rows = []
    for data, start in dict.fromkeys((r["data"], r["start"]) for r in runs):
        mine = [r for r in runs if (r["data"], r["start"]) == (data, start)]
        protocol = find_protocol(DATA[data]["protocol"])
        records = [read_ranks(Path(arguments.output_dir) / r["folder"] / "evaluation")[protocol.name] for r in mine]
        # A query's value is its share of hits over the seeds, so that the interval is over queries.
        hits = {s: np.mean([record[s].hits() for record in records], axis=0) for s in SYSTEMS}
        figures = {s: bootstrap_figures(h, protocol.figures) for s, h in hits.items()}
        differences = {s: paired_bootstrap(hits["model"], hits[s], protocol.figures) for s in SYSTEMS if s != "model"}
        per_seed = {s: [float(100 * (record[s].ranks < 1).mean()) for record in records] for s in ("model", "sum")}
        chance = json.loads(
            (Path(arguments.output_dir) / mine[0]["folder"] / "evaluation" / "results.json").read_text()
        )
        rows.append(
            {
                "data": data,
                "start": start,
                "seeds": [r["seed"] for r in mine],
                "queries": len(hits["model"]),
                "protocol": protocol.name,
                "figures": {s: {k: v.to_dict() for k, v in f.items()} for s, f in figures.items()},
                "model_minus": {s: {k: v.to_dict() for k, v in d.items()} for s, d in differences.items()},
                "recall_at1_per_seed": per_seed,
                "chance": chance["results"][0]["controls"]["chance"],
                "baseline": dict(zip(("recall_at1", "recall_at10"), BASELINES[data], strict=True)),
                "minutes": {
                    s: round(float(np.mean([r["seconds"][s] for r in mine])) / 60, 1) for s in ("stage1", "stage2")
                },
            }
        )
    return rows


def markdown(rows: list[dict]) -> str:
    """The table of the README."""

    def shown(figure: dict) -> str:
        return f"{figure['value']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"

    lines = [
        "| data, start (queries) | R@1 | R@10 | R@50 | sum R@1 | image R@1 | text R@1 | chance R@1 "
        "| Combiner - sum, R@1 | baseline R@1 / R@10 | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        model = row["figures"]["model"]
        others = [f"{row['figures'][s]['recall_at1']['value']:.1f}" for s in ("sum", "image_only", "text_only")]
        gain = row["model_minus"]["sum"]["recall_at1"]
        cells = [
            f"{row['data']}, {row['start']} ({row['queries']})",
            *[shown(model[f"recall_at{k}"]) for k in (1, 10, 50)],
            *others,
            f"{row['chance']['recall_at1']['value']:.1f}",
            f"{gain['value']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]",
            f"{row['baseline']['recall_at1']} / {row['baseline']['recall_at10']}",
            f"{row['minutes']['stage1']} + {row['minutes']['stage2']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    (arguments,) = parse_arguments(ExperimentArguments, description=__doc__)
    starts = STARTS if arguments.vision_weights else ("scratch",)
    tasks = [
        (data, start, seed) for seed in arguments.seeds for data in DATA if getattr(arguments, data) for start in starts
    ]
    if not tasks:
        raise SystemExit("nothing to run: give --mango or --myntra")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda task: run_one(arguments, *task), tasks))
    rows = summarise(arguments, runs)
    folder = Path(arguments.output_dir)
    (folder / "table.json").write_text(json.dumps(rows, indent=1))
    (folder / "table.md").write_text(markdown(rows))
    print(markdown(rows))
    print(json.dumps({f"{r['data']}-{r['start']}": r["figures"]["model"]["recall_at1"]["value"] for r in rows}))


if __name__ == "__main__":
    main()
