"""Does FashionViL's pre-training help? Rebuilds the tables of modeling/fashionvil/README.md.

    python -m data_scripts.atelier --output_dir WORLD --garments 5000 --image_size 96 \\
        --layouts fashioniq fashiongen polyvore_outfits
    python tests/experiments/fashionvil.py --world WORLD --output_dir runs/vil --jobs 2

Every downstream task is fine-tuned with one budget from three starts: the six-task pre-training, nothing, and nothing with
the pre-training's number of updates added ("long"). The model after the last step answers the test split once (val of
FashionIQ, whose test targets are hidden). `--ablation` adds, with the first seed, pre-trainings that lack one task each.
Finished jobs are kept, so a stopped experiment goes on.
Writes table.json and table.md: means over seeds, 95 % bootstrap intervals over the queries of all seeds, and differences
to "pre-trained" on the same queries.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from train.engine.arguments import argument, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("retrieval", "composition", "category", "subcategory", "outfits")
PRETRAINING = ("itc", "mvc", "pac", "mpfc", "mlm", "itm")
ARMS = ("pretrained", "scratch", "long", *(f"without_{task}" for task in PRETRAINING))
SHARES = {"itc": 0.2, "mvc": 0.2, "pac": 0.15, "mpfc": 0.15, "mlm": 0.15, "itm": 0.15}


@dataclasses.dataclass
class ExperimentArguments:
    """Where the data is, and what to run."""

    world: str = argument(help="an Atelier world with the layouts fashioniq, fashiongen, polyvore_outfits")
    output_dir: str = argument(help="folder of all runs and of the table")
    seeds: list[int] = argument([0, 1, 2], "seeds")
    tasks: list[str] = argument(list(TASKS), "downstream tasks")
    arms: list[str] = argument(["pretrained", "scratch", "long"], "starts of the fine-tunings")
    pretraining_steps: int = argument(4000, "updates of a pre-training", minimum=1)
    finetuning_steps: int = argument(600, "updates of a fine-tuning", minimum=1)
    tokenizer_steps: int = argument(1500, "updates of the image tokenizer", minimum=1)
    ablation: bool = argument(False, "also pre-train without each task, one seed")
    recipe: str = argument("atelier", "name of the recipes in train/recipes/fashionvil_{tokenizer,pretrain,finetune}")
    jobs: int = argument(1, "runs at a time", minimum=1)
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")
    seconds: float | None = argument(None, "start no further run after this time")


@dataclasses.dataclass
class Job:
    """One run of a program: done when `folder` holds its mark."""

    name: str
    folder: Path
    command: list[str]
    after: tuple[str, ...] = ()


def jobs_of(arguments: ExperimentArguments) -> list[Job]:
    """Everything to run, in the order of importance."""
    out, world = Path(arguments.output_dir).resolve(), Path(arguments.world).resolve()
    common = ["--overwrite", *(["--cpu"] if arguments.cpu else [])]
    sources = {
        "retrieval": world,
        "category": world,
        "subcategory": world,
        "composition": world / "fashionIQ_dataset",
        "outfits": world / "polyvore_outfits",
    }
    cache = {task: str(out / "pixels" / ("products" if sources[task] == world else task)) for task in TASKS}
    pixels = ["--data_dir", str(world), "--pixel_cache", cache["retrieval"]]
    programs = ("tokenizer", "pretrain", "finetune")
    recipe = {name: f"train/recipes/fashionvil_{name}/{arguments.recipe}.yaml" for name in programs}
    with open(ROOT / recipe["pretrain"], encoding="utf-8") as file:
        architecture = yaml.safe_load(file)["architecture"]
    jobs = [
        Job(
            "tokenizer",
            out / "tokenizer",
            ["train/fashionvil_tokenizer.py", "--config", recipe["tokenizer"], *pixels, *common]
            + ["--steps", str(arguments.tokenizer_steps), "--validation_steps", str(arguments.tokenizer_steps)],
        )
    ]

    def pretraining(name: str, seed: int, tasks: tuple[str, ...]) -> Job:
        command = ["train/fashionvil_pretrain.py", "--config", recipe["pretrain"], *pixels, *common]
        command += ["--image_tokenizer", str(out / "tokenizer" / "model"), "--seed", str(seed), "--tasks", *tasks]
        command += ["--task_shares", *(str(SHARES[task]) for task in tasks), "--save", "last"]
        command += ["--steps", str(arguments.pretraining_steps), "--validation_steps", str(arguments.pretraining_steps)]
        return Job(name, out / name, command, ("tokenizer",))

    def finetuning(arm: str, task: str, seed: int, start: str | None, steps: int) -> Job:
        command = ["train/fashionvil_finetune.py", "--config", recipe["finetune"], "--task", task, *common]
        command += ["--data_dir", str(sources[task]), "--pixel_cache", cache[task], "--seed", str(seed)]
        # The FashionIQ layout hides the targets of its test split; no choice is made on `val` either.
        split = "val" if task == "composition" else "test"
        command += ["--steps", str(steps), "--validation_steps", str(steps), "--validation_split", split]
        command += ["--save", "none", "--checkpoint_seconds", "1e9"]
        if start:
            command += ["--model", str(out / start / "model")]
        else:
            command += ["--architecture", architecture]
        name = f"{arm}-{task}-{seed}"
        return Job(name, out / name, command, (start,) if start else ())

    total = arguments.pretraining_steps + arguments.finetuning_steps
    first = arguments.seeds[0]
    jobs += [pretraining(f"pretraining-{seed}", seed, PRETRAINING) for seed in arguments.seeds]
    if "long" in arguments.arms:
        jobs += [finetuning("long", task, seed, None, total) for seed in arguments.seeds for task in arguments.tasks]
    if arguments.ablation:
        for task in PRETRAINING:
            kept = tuple(other for other in PRETRAINING if other != task)
            jobs.append(pretraining(f"without_{task}", first, kept))
    for seed in arguments.seeds:
        for task in arguments.tasks:
            if "scratch" in arguments.arms:
                jobs.append(finetuning("scratch", task, seed, None, arguments.finetuning_steps))
            if "pretrained" in arguments.arms:
                jobs.append(finetuning("pretrained", task, seed, f"pretraining-{seed}", arguments.finetuning_steps))
    if arguments.ablation:
        for left_out in PRETRAINING:
            for task in arguments.tasks:
                start = f"without_{left_out}"
                jobs.append(finetuning(start, task, first, start, arguments.finetuning_steps))
    return jobs


def run_all(jobs: list[Job], at_once: int, seconds: float | None, report: Callable[[], None]) -> None:
    """Run the jobs whose results are not there yet, several at a time, each after those that it starts from."""
    began, running, done = time.monotonic(), {}, {job.name for job in jobs if (job.folder / "done").exists()}
    waiting = [job for job in jobs if job.name not in done]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    while waiting or running:
        late = seconds is not None and time.monotonic() - began > seconds
        ready = [job for job in waiting if set(job.after) <= done and not late]
        while ready and len(running) < at_once:
            job = ready.pop(0)
            waiting.remove(job)
            log = open(job.folder.with_suffix(".log"), "w")  # noqa: SIM115 - lives as long as the process
            command = [sys.executable, *job.command, "--output_dir", str(job.folder)]
            running[job.name] = (job, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        if not running:
            break
        time.sleep(0.5)
        for name, (job, process) in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            if process.returncode:
                print(f"{name} failed:\n{job.folder.with_suffix('.log').read_text()[-1500:]}", flush=True)
                continue
            (job.folder / "done").touch()
            done.add(name)
            print(f"{time.monotonic() - began:6.0f} s  {name}", flush=True)
            report()


def mean_hit(groups: dict[str, np.ndarray]) -> float:
    """The main figure in percent: mean over groups of the mean hit."""
    return 100 * float(np.mean([hits.mean() for hits in groups.values()]))


def bootstrap(runs: list[dict[str, np.ndarray]], others: list[dict[str, np.ndarray]] | None = None) -> list[float]:
    """95 % interval of the mean figure over seeds, or of the difference to others, queries resampled inside groups."""
    draw, values = np.random.default_rng(0), []
    rows = {name: sum(run[name].mean(axis=1) for run in runs) / len(runs) for name in runs[0]}
    if others:
        rows = {name: own - sum(run[name].mean(axis=1) for run in others) / len(others) for name, own in rows.items()}
    for _ in range(1000):
        values.append(np.mean([own[draw.integers(len(own), size=len(own))].mean() for own in rows.values()]))
    return [100 * float(bound) for bound in np.quantile(values, [0.025, 0.975])]


def table(out: Path, arms: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[str, dict]]:
    """Arm -> task -> figures, of the runs in `out` that are done."""
    found: dict[str, dict[str, dict]] = {}
    loaded: dict[tuple[str, str], dict[int, dict[str, np.ndarray]]] = {}
    for arm in arms:
        for task in tasks:
            for seed in seeds:
                folder = out / f"{arm}-{task}-{seed}"
                if (folder / "done").exists():
                    with np.load(folder / "hits.npz") as file:
                        loaded.setdefault((arm, task), {})[seed] = dict(file)
    for (arm, task), runs in loaded.items():
        values = [mean_hit(run) for run in runs.values()]
        cell = {"value": float(np.mean(values)), "seeds": values, "interval": bootstrap(list(runs.values()))}
        best = loaded.get(("pretrained", task), {})
        shared = [seed for seed in runs if seed in best]
        if arm != "pretrained" and shared:
            pair = [[source[seed] for seed in shared] for source in (best, runs)]
            cell["pretrained_minus_this"] = {
                "value": float(np.mean([mean_hit(a) - mean_hit(b) for a, b in zip(*pair, strict=True)])),
                "interval": bootstrap(*pair),
            }
        found.setdefault(arm, {})[task] = cell
    return found


def markdown(found: dict[str, dict[str, dict]], tasks: list[str]) -> str:
    """The table of the README: figure with interval, and in brackets what pre-training adds."""
    lines = [f"| start | {' | '.join(tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for arm, cells in found.items():
        row = []
        for task in tasks:
            if task not in cells:
                row.append("")
                continue
            cell = cells[task]
            low, high = cell["interval"]
            text = f"{cell['value']:.1f} [{low:.1f}, {high:.1f}]"
            if gain := cell.get("pretrained_minus_this"):
                text += f" ({gain['value']:+.1f} [{gain['interval'][0]:+.1f}, {gain['interval'][1]:+.1f}])"
            row.append(text)
        seeds = max(len(cell["seeds"]) for cell in cells.values())
        lines.append(f"| {arm} ({seeds}) | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    (arguments,) = parse_arguments(ExperimentArguments, description=__doc__)
    out = Path(arguments.output_dir).resolve()
    out.mkdir(parents=True, exist_ok=True)

    def report() -> None:
        found = table(out, ARMS, arguments.tasks, arguments.seeds)
        (out / "table.json").write_text(json.dumps(found, indent=1))
        (out / "table.md").write_text(markdown(found, arguments.tasks))

    run_all(jobs_of(arguments), arguments.jobs, arguments.seconds, report)
    report()
    print((out / "table.md").read_text())


if __name__ == "__main__":
    main()
