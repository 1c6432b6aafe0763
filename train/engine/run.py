"""One run of a program: processes, output folder, log files, trackers.

The folder of a run:

    arguments.json           every argument as it was resolved
    metrics.jsonl            one JSON object per logged step and per validation
    train_metrics.csv        epoch, train_epoch_loss                 (the columns of the original CLIP4Cir)
    validation_metrics.csv   epoch and every validation figure
    checkpoints/             training state, for --resume
    model/                   the best model, complete: weights, configuration, processor, code
"""

import csv
import dataclasses
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument

TRACKER_EXTRAS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb", "comet_ml": "comet_ml"}
# Arguments that may differ between a run and its continuation without changing a single bit of the result.
FREE_ON_RESUME = {"resume", "overwrite", "num_workers", "report_to", "max_steps", "pixel_cache"}
FREE_ON_RESUME |= {"checkpoint_steps", "checkpoint_seconds"}
REPLACED = ".replaced"  # where --overwrite keeps what was there, until the new run logs its first step


@dataclasses.dataclass
class RunArguments:
    """Arguments that every training program has."""

    output_dir: str = argument(help="folder of the run; must be empty or new unless --resume or --overwrite")
    seed: int = argument(0, "seed of weights, order, captions, augmentation and dropout", minimum=0)
    resume: bool = argument(False, "continue the run in --output_dir from its last checkpoint, to the same bits")
    overwrite: bool = argument(False, "replace what is in --output_dir, as soon as this run trains")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")
    mixed_precision: Literal["no", "fp16", "bf16"] = argument("no", "autocast of the forward pass")
    num_workers: int = argument(0, "processes that load data beside each training process", minimum=0)
    max_steps: int | None = argument(None, "stop after this many optimizer steps", minimum=1)
    checkpoint_steps: int | None = argument(
        None, "also write a checkpoint every so many steps, not only after each epoch", minimum=1
    )
    checkpoint_seconds: float = argument(
        60.0, "least time between two checkpoints at epoch ends (the last epoch always writes one)", minimum=0
    )
    report_to: Literal["none", "tensorboard", "trackio", "wandb", "comet_ml"] = argument(
        "none", "tracker beside metrics.jsonl and the CSV files"
    )
    experiment_name: str | None = argument(None, "name of the run in the tracker; default: the output folder's name")


class Run:
    """Accelerator, folder and logs of one training run. Use as a context manager; it locks its folder."""

    def __init__(self, arguments: RunArguments, *others: Any, find_unused_parameters: bool = False) -> None:
        """Set up processes and folder.

        Args:
            arguments: the run's own arguments.
            others: the program's other argument dataclasses, recorded beside them.
            find_unused_parameters: for models of which a step may use only a part (DistributedDataParallel).

        Raises:
            FileExistsError: the folder is not empty and neither --resume nor --overwrite was given.
            BlockingIOError: another process is using the folder.
            ValueError: --resume with other arguments than the run was started with.
            RuntimeError: the launcher started more processes than can see each other.
        """
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.utils import set_seed
        from transformers.utils import logging

        self.arguments = arguments
        self.settings = {"program": f"train/{Path(sys.argv[0]).name}"}  # the card names the command behind its figures
        self.settings |= {k: v for part in (arguments, *others) for k, v in dataclasses.asdict(part).items()}
        self.folder = Path(arguments.output_dir)
        _check_tracker(arguments.report_to)
        logging.disable_progress_bar()  # a bar for every saved model would cut the training's own in pieces
        self.accelerator = Accelerator(
            cpu=arguments.cpu or None,
            mixed_precision=arguments.mixed_precision,
            log_with=None if arguments.report_to == "none" else arguments.report_to,
            project_dir=str(self.folder),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)],
        )
        check_processes(self.accelerator.num_processes)
        self.is_main = self.accelerator.is_main_process
        self._lock = None
        self._replaced: Path | None = None
        problem = self._claim_folder() if self.is_main else None
        problem = from_main(problem)
        if problem is not None:
            self._release()
            raise problem
        set_seed(arguments.seed, device_specific=False)

    def __enter__(self) -> "Run":
        if self.accelerator.log_with:
            name = self.arguments.experiment_name or self.folder.name
            flat = {k: v if isinstance(v, int | float | str) else str(v) for k, v in self.settings.items()}
            self.accelerator.init_trackers(name, config=flat)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.accelerator.wait_for_everyone()
            self._forget_replaced()
        else:
            self._restore_replaced()
        self.accelerator.end_training()
        self._release()

    def log(self, record: dict[str, Any], step: int) -> None:
        """Append a record to metrics.jsonl and send its numbers to the tracker (main process only)."""
        if not self.is_main:
            return
        self._forget_replaced()
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **record}) + "\n")
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.accelerator.log(numbers, step=step)

    def log_csv(self, name: str, row: dict[str, Any]) -> None:
        """Append a row to a CSV file of the run; the first row also writes the header (main process only)."""
        if not self.is_main:
            return
        path = self.folder / name
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def rewind_logs(self, step: int, epoch: int) -> None:
        """Drop what was logged after a checkpoint, so that a resumed run ends with the log of an uninterrupted one.

        Args:
            step: last optimizer step of the checkpoint.
            epoch: number of epochs that were complete at the checkpoint.
        """
        if not self.is_main:
            return
        log = self.folder / "metrics.jsonl"
        if log.exists():
            kept = [line for line in log.read_text("utf-8").splitlines() if _step_of(line) <= step]
            replace_text(log, "".join(line + "\n" for line in kept))
        for name in ("train_metrics.csv", "validation_metrics.csv"):
            path = self.folder / name
            if path.exists():
                header, *rows = path.read_text("utf-8").splitlines()
                kept = [row for row in rows if int(row.split(",")[0]) < epoch]
                replace_text(path, "".join(line + "\n" for line in [header, *kept]))

    def print(self, text: str) -> None:
        """Print one line on the main process."""
        if self.is_main:
            print(text, flush=True)

    def _claim_folder(self) -> Exception | None:
        """Lock the folder and make it ready. Returns the error instead of raising so that all processes can raise it."""
        from filelock import FileLock, Timeout

        arguments, folder = self.arguments, self.folder
        if arguments.resume and arguments.overwrite:
            return ValueError("--resume and --overwrite exclude each other: continue the run or start it anew")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout:
            self._lock = None
            return BlockingIOError(f"{folder} is in use by another run; choose another --output_dir")
        except OSError as error:
            return OSError(f"--output_dir {folder} cannot be used: {error}")
        content = [p for p in folder.iterdir() if p.name != ".lock"]
        record = folder / "arguments.json"
        if arguments.resume:
            if not record.exists():
                return FileNotFoundError(
                    f"--resume: {folder} holds no run (no arguments.json); start it without --resume"
                )
            before = json.loads(record.read_text("utf-8"))
            now = json.loads(json.dumps(self.settings))
            changed = [k for k in now if k not in FREE_ON_RESUME and before.get(k) != now[k]]
            if changed:
                lines = "; ".join(f"{k}: was {before.get(k)!r}, now {now[k]!r}" for k in changed)
                return ValueError(f"--resume: {folder} was started with other arguments ({lines})")
        elif content and not arguments.overwrite:
            return FileExistsError(
                f"--output_dir {folder} is not empty ({len(content)} entries, e.g. {content[0].name}); "
                "use --resume to continue it, --overwrite to delete it, or another folder"
            )
        elif content:
            if used := _settings_inside(self.settings, folder):
                return ValueError(
                    f"--overwrite would delete what this run reads, {used}; take another --output_dir, or move it away"
                )
            self._replaced = folder / REPLACED
            killed = self._replaced.exists()  # before it trained: what lies beside is nothing to keep
            self._replaced.mkdir(exist_ok=True)
            for path in [p for p in content if p != self._replaced]:
                delete(path) if killed else path.rename(self._replaced / path.name)
        replace_text(record, json.dumps(self.settings, indent=4, sort_keys=True))
        return None

    def _forget_replaced(self) -> None:
        """Delete the run that --overwrite replaces: from now on this one has something of its own to lose."""
        if self._replaced is not None:
            delete(self._replaced)
            self._replaced = None

    def _restore_replaced(self) -> None:
        """Put back what --overwrite was to replace, since this run ended before it had begun to train."""
        if self._replaced is None:
            return
        for path in self.folder.iterdir():
            if path.name not in (".lock", REPLACED):
                delete(path)
        for path in self._replaced.iterdir():
            path.rename(self.folder / path.name)
        self._replaced.rmdir()
        self._replaced = None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def check_processes(num_processes: int) -> None:
    """Fail loudly when a launcher started processes that do not see each other.

    `accelerate launch --num_processes 2` on a machine without a GPU can start two copies that each believe to be alone.

    Raises:
        RuntimeError: the environment announces another number of processes than Accelerate found.
    """
    announced = int(os.environ.get("WORLD_SIZE", "1"))
    if announced != num_processes:
        raise RuntimeError(
            f"the launcher announced {announced} processes but Accelerate sees {num_processes}; on a CPU pass --cpu, "
            "or set ACCELERATE_USE_CPU=true before `accelerate launch --multi_gpu --num_processes ...`"
        )


def delete(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link and not what it leads to; nothing where nothing is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _settings_inside(settings: dict[str, Any], folder: Path) -> str | None:
    """The first argument that names something inside of a folder, or the folder itself; pixel caches are made anew."""
    for name, value in settings.items():
        if name in ("output_dir", "pixel_cache"):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and part and os.path.exists(part):
                if Path(part).resolve().is_relative_to(folder.resolve()):
                    return f"--{name} {part}"
    return None


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a kill, sees the old content or the new one and never a part."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):  # a line cut off by a kill
        return float("inf")


def from_main(value: Any) -> Any:
    """The main process's value, on every process."""
    from accelerate.utils import broadcast_object_list

    box = [value]
    broadcast_object_list(box)
    return box[0]


def _check_tracker(name: str) -> None:
    if name != "none" and importlib.util.find_spec(TRACKER_EXTRAS[name]) is None:
        raise ImportError(f"--report_to {name} needs a package that is not installed: pip install 'lookbook[trackers]'")
