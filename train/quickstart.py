"""From nothing to a searchable model: makes a small Atelier world, trains both stages of CLIP4Cir on it, evaluates the
result beside its controls, reloads it in a process that cannot see this repository, and answers a few queries.

    python train/quickstart.py --output_dir runs/quickstart

Takes under ten minutes on two CPU cores. Every step prints the command it runs; an interrupted quickstart goes on where
it stopped when it is called again.
"""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from train.engine.arguments import argument, parse_arguments

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = Path("train/recipes")


@dataclasses.dataclass
class QuickstartArguments:
    """What the quickstart makes, and how large."""

    output_dir: str = argument("runs/quickstart", "folder for the world, the runs and the pictures")
    garments: int = argument(4000, "garments of the world", minimum=200)
    image_size: int = argument(96, "side of a drawn picture in pixels", minimum=32)
    seed: int = argument(0, "seed of the world and of both trainings", minimum=0)


def run(title: str, command: list[str]) -> str:
    """Run one command of the README and return its last line of output.

    Raises:
        SystemExit: the command failed; its own message stands above.
    """
    print(f"\n=== {title}\n$ {shlex.join(command)}", flush=True)
    started = time.perf_counter()
    last = ""
    # An editable install is not needed: programs find the packages from the repository's root.
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise SystemExit(f"quickstart stopped: `{title}` failed with status {process.returncode}")
    print(f"({time.perf_counter() - started:.0f} s)", flush=True)
    return last


def train_command(program: str, recipe: str, output: Path, *extra: str) -> list[str]:
    """`accelerate launch` of one stage; continues a run that was interrupted."""
    resume = ["--resume"] if (output / "arguments.json").exists() else []
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--mixed_precision", "no"]
    # Without a number, the launcher gives a CPU run one thread.
    threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    launch += ["--dynamo_backend", "no", "--num_machines", "1", "--num_cpu_threads_per_process", threads]
    return [*launch, program, "--config", str(RECIPES / recipe), "--output_dir", str(output), *extra, *resume]


def main() -> None:
    (arguments,) = parse_arguments(QuickstartArguments, description=__doc__)
    started = time.perf_counter()
    folder = Path(arguments.output_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    world, stage1, stage2 = folder / "world", folder / "stage1", folder / "stage2"
    data, seed = ["--data_dir", str(world)], ["--seed", str(arguments.seed)]
    size = ["--image_size", str(arguments.image_size)]

    run(
        "a fashion world, drawn from a seed",
        [sys.executable, "-m", "data_scripts.atelier", "--output_dir", str(world), "--layouts", "fashioniq"]
        + ["--garments", str(arguments.garments), "--train_pairs", "100", "--val_pairs", "60", *size, *seed],
    )
    run(
        "stage 1: both encoders, so that image + text lands on the target",
        train_command("train/clip4cir_finetune.py", "clip4cir_finetune/atelier.yaml", stage1, *data, *seed),
    )
    run(
        "stage 2: the Combiner on the stored features of the frozen encoders",
        train_command(
            "train/clip4cir_combiner.py",
            "clip4cir_combiner/atelier.yaml",
            stage2,
            *["--model", str(stage1 / "model"), *data, *seed],
        ),
    )
    model = stage2 / "model"
    evaluation = folder / "evaluation"
    line = run(
        "validation queries, which chose nothing here, beside what image, text and their sum reach alone",
        [sys.executable, "train/evaluation.py", "--model", str(model), "--protocol", "fashioniq"]
        + [*data, "--output_dir", str(evaluation), "--overwrite", "--trust_remote_code", "--data_name", "Atelier"],
    )
    run(
        "the model card, and a reload where this repository cannot be imported",
        [sys.executable, "train/publish.py", "--model", str(model), "--results", str(evaluation / "results.json")]
        + ["--repo_id", "your-name/clip4cir-atelier", "--dry_run"],
    )
    run(
        "composed queries, answered by the reloaded model",
        [sys.executable, "train/answer_sheet.py", "--model", str(model), *data]
        + ["--queries", "8", "--output", str(folder / "answers.png")],
    )
    print(f"\nquickstart took {(time.perf_counter() - started) / 60:.1f} minutes")
    print(f"model      {model}\nresults    {evaluation / 'results.json'}\nanswers    {folder / 'answers.png'}")
    print(line if line.startswith("{") else json.dumps({"output_dir": str(folder)}))


if __name__ == "__main__":
    main()
