"""The training loop of every program: epochs, steps, validation, best model, checkpoints, exact resume.

The mathematics of a stage stays in its program, as the function `training_step`; this file is the plumbing.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from train.engine.batches import GlobalBatches, NeighbourBatches
from train.engine.checkpoint import latest_checkpoint, restore_interrupted, save_checkpoint, write_folder
from train.engine.run import Run, from_main

# A step over the whole batch: runs forward and backward (through `run.accelerator`) and returns the detached loss, alone
# or with numbers to log beside it (the same on all processes).
TrainingStep = Callable[[Any], torch.Tensor | tuple[torch.Tensor, dict[str, float]]]


@dataclasses.dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    processes: int = 1
    threads: int = 1
    best: dict[str, float] = dataclasses.field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


@dataclasses.dataclass
class Schedule:
    """How long to train, how often to validate, which model to keep.

    Attributes:
        epochs: passes over the training rows.
        validation_frequency: validate after epoch 0, f, 2f, ... (as the original) and after the last.
        best_metrics: for each of these figures the model with the strictly highest value is kept; the first one is
            saved as `model/`, the others as `model_<figure>/`.
        save_every: also keep every validated model as `model_<epoch>/`.
        max_grad_norm: gradient clipping; None for none.
        steps: stop after so many steps, within an epoch too; None for whole epochs.
        validation_steps: validate after every so many steps and after the last, in place of `validation_frequency`.
        zero_gradients: clear gradients to 0 in place of None, as PyTorch did before 2.0: then a parameter that a step
            doesn't use goes on moving by momentum and weight decay.
    """

    epochs: int
    validation_frequency: int = 1
    best_metrics: tuple[str, ...] = ()
    save_every: bool = False
    max_grad_norm: float | None = None
    steps: int | None = None
    validation_steps: int | None = None
    zero_gradients: bool = False

    def validates(self, epoch: int) -> bool:
        """Whether the end of this epoch is a time to validate."""
        if self.validation_steps:
            return False
        return epoch % self.validation_frequency == 0 or epoch == self.epochs - 1

    def validates_at(self, step: int, total: int) -> bool:
        """Whether the time after `step` steps of `total` is one, whatever the epoch."""
        return bool(self.validation_steps) and (step % self.validation_steps == 0 or step == total)


def make_scheduler(
    optimizer: torch.optim.Optimizer, shape: str, warmup_fraction: float, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Learning rate over `total_steps`: `constant` or `cosine` (to zero), after a linear rise over the given fraction."""
    from transformers import get_scheduler

    name = {"constant": "constant_with_warmup", "cosine": "cosine"}[shape]
    return get_scheduler(name, optimizer, int(warmup_fraction * total_steps), total_steps)


def fit(
    run: Run,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    rows: Any,
    collate: Callable[[list], Any],
    batch_size: int,
    training_step: TrainingStep,
    schedule: Schedule,
    *,
    validate: Callable[[], dict[str, float]] | None = None,
    save_model: Callable[[Path], None] | None = None,
    before_epoch: Callable[[], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> Progress:
    """Train, from the start or from the last checkpoint of the run's folder.

    Args:
        run: the run; its arguments say whether to resume and how often to write checkpoints.
        model, optimizer: as returned by `run.accelerator.prepare`.
        scheduler: not prepared (a prepared one steps once per process); None for a constant learning rate.
        rows: map-style data set; `set_epoch(epoch)` is called on it before every epoch when it has that method, and its
            attribute `links`, when it has one, keeps linked rows together (see `NeighbourBatches`). With an attribute
            `with_steps` that is true, a row is asked for as (step, row).
        collate: from a list of rows to a batch.
        batch_size: rows of one global batch, over all processes.
        training_step: from a batch to the detached loss, after backward.
        schedule: how long, how often, what to keep.
        validate: figures of the model as it is; called on every process, in eval mode or not is its own affair.
        save_model: fills a folder with the complete model; called on the main process.
        before_epoch: puts the modules in the mode of training; called before every epoch, and before the rest of an
            epoch that a resumed run continues.
        after_step: called after every optimizer step, before anything is saved.

    Returns:
        The progress at the end.

    Raises:
        FloatingPointError: the loss is not finite; the last checkpoint stays.
        ValueError: fewer rows than one batch.
    """
    accelerator, folder = run.accelerator, run.folder
    progress = Progress(processes=accelerator.num_processes, threads=torch.get_num_threads())
    accelerator.register_for_checkpointing(progress, *([scheduler] if scheduler is not None else []))
    place = (run.arguments.seed, accelerator.process_index, accelerator.num_processes)
    links = getattr(rows, "links", None)
    if links is None:
        sampler = GlobalBatches(len(rows), batch_size, *place, with_steps=getattr(rows, "with_steps", False))
    else:
        sampler = NeighbourBatches(links, batch_size, *place)
    loader = DataLoader(
        rows,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=run.arguments.num_workers,
        generator=torch.Generator().manual_seed(run.arguments.seed),  # else an iterator draws from the global one
        pin_memory=accelerator.device.type == "cuda",
    )
    if run.arguments.resume:
        _resume(run, progress)
    total = min(schedule.epochs * sampler.steps_per_epoch, schedule.steps or sys.maxsize)
    limit = min(total, run.arguments.max_steps or total)
    bar = tqdm(total=limit, initial=progress.step, unit="step", disable=not run.is_main, dynamic_ncols=True)
    started = written = time.perf_counter()
    while progress.epoch < schedule.epochs and progress.step < limit:
        sampler.start(progress.epoch, progress.step_in_epoch)
        if hasattr(rows, "set_epoch"):
            rows.set_epoch(progress.epoch)
        if before_epoch:
            before_epoch()
        for batch in loader:
            loss = _step(run, model, optimizer, scheduler, batch, training_step, schedule, progress)
            if after_step:
                after_step()
            bar.set_postfix(epoch=progress.epoch, loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if validate and schedule.validates_at(progress.step, total):
                _validate(run, progress, schedule, validate, save_model, bar, f"step {progress.step}: loss {loss:.4f}")
                if before_epoch:
                    before_epoch()
            checkpoint_steps = run.arguments.checkpoint_steps
            at_end = progress.step_in_epoch == sampler.steps_per_epoch
            if checkpoint_steps and progress.step % checkpoint_steps == 0 and not at_end:
                save_checkpoint(accelerator, folder / "checkpoints", progress.step)
                written = time.perf_counter()
            if progress.step == limit:
                break
        if progress.step_in_epoch == sampler.steps_per_epoch:
            _end_epoch(run, progress, schedule, validate, save_model, bar)
        due = time.perf_counter() - written >= run.arguments.checkpoint_seconds
        if from_main(due or progress.step >= limit):
            save_checkpoint(accelerator, folder / "checkpoints", progress.step)
            written = time.perf_counter()
    bar.close()
    if save_model and not progress.best:
        # Stopped before the first validation, or no figure to choose by: keep the model as it is now.
        _save(run, "model", save_model)
    run.log({"event": "end", "seconds": round(time.perf_counter() - started, 1)}, progress.step)
    return progress


def _step(run, model, optimizer, scheduler, batch, training_step, schedule, progress) -> float:
    accelerator = run.accelerator
    optimizer.zero_grad(set_to_none=not schedule.zero_gradients)
    result = training_step(batch)
    result, beside = result if isinstance(result, tuple) else (result, {})
    loss = accelerator.reduce(result, reduction="mean").item()
    if not math.isfinite(loss):
        checkpoints = run.folder / "checkpoints"
        kept = f"; the last checkpoint in {checkpoints} is intact" if checkpoints.is_dir() else ""
        clip = "" if schedule.max_grad_norm else ", set --max_grad_norm where the program has it"
        raise FloatingPointError(
            f"the loss is {loss} at step {progress.step + 1}{kept}. Lower --learning_rate{clip}, or train without "
            "--mixed_precision fp16"
        )
    record = {"epoch": progress.epoch, "loss": loss, **beside}
    if schedule.max_grad_norm is not None:
        norm = accelerator.clip_grad_norm_(model.parameters(), schedule.max_grad_norm)
        record["grad_norm"] = float(norm) if norm is not None else None
    record["learning_rate"] = optimizer.param_groups[0]["lr"]
    optimizer.step()
    if scheduler is not None:
        scheduler.step()
    progress.step += 1
    progress.step_in_epoch += 1
    progress.loss_sum += loss
    run.log(record, progress.step)
    return loss


def _end_epoch(run, progress, schedule, validate, save_model, bar) -> None:
    """Log the epoch, validate and keep the best model; the checkpoint that includes all of it comes after."""
    epoch, mean_loss = progress.epoch, progress.loss_sum / progress.step_in_epoch
    run.log({"epoch": epoch, "epoch_loss": mean_loss}, progress.step)
    run.log_csv("train_metrics.csv", {"epoch": epoch, "train_epoch_loss": mean_loss})
    if validate and schedule.validates(epoch):
        _validate(run, progress, schedule, validate, save_model, bar, f"epoch {epoch}: loss {mean_loss:.4f}")
    progress.epoch, progress.step_in_epoch, progress.loss_sum = epoch + 1, 0, 0.0


def _validate(run, progress, schedule, validate, save_model, bar, said: str) -> None:
    """Figures of the model as it is: logged, and compared with the best so far."""
    figures, place = validate(), progress.step if schedule.validation_steps else progress.epoch
    run.log({"epoch": progress.epoch, **{f"validation/{k}": v for k, v in figures.items()}}, progress.step)
    if not schedule.validation_steps:  # the file has one line an epoch
        run.log_csv("validation_metrics.csv", {"epoch": progress.epoch, **figures})
    unknown = [name for name in schedule.best_metrics if name not in figures]
    if unknown:
        raise ValueError(f"--best_metrics {unknown[0]}: the validation gives {', '.join(figures)}")
    shown = ", ".join(f"{name} {figures[name]:.2f}" for name in schedule.best_metrics or list(figures)[:2])
    bar.write(f"{said}, {shown}") if run.is_main else None
    for number, name in enumerate(schedule.best_metrics):
        if figures[name] > progress.best.get(name, -math.inf):
            progress.best[name] = figures[name]
            if save_model:
                _save(run, "model" if number == 0 else f"model_{name}", save_model)
    if schedule.save_every and save_model:
        _save(run, f"model_{place}", save_model)


def _save(run: Run, name: str, save_model: Callable[[Path], None]) -> None:
    write_folder(
        run.folder / name,
        lambda path: save_model(path) if run.is_main else None,
        is_main=run.is_main,
        barrier=run.accelerator.wait_for_everyone,
    )


def _resume(run: Run, progress: Progress) -> None:
    if run.is_main:
        for path in run.folder.glob("model*.old"):
            restore_interrupted(path.with_name(path.name.removesuffix(".old")))
        for path in run.folder.glob("model*.tmp"):
            restore_interrupted(path.with_name(path.name.removesuffix(".tmp")))
    run.accelerator.wait_for_everyone()
    checkpoint = latest_checkpoint(run.folder / "checkpoints") if (run.folder / "checkpoints").is_dir() else None
    if checkpoint is None:
        run.print(f"--resume: no checkpoint in {run.folder} yet, starting from the beginning")
        run.rewind_logs(0, 0)
        return
    now = (run.accelerator.num_processes, torch.get_num_threads())
    try:
        run.accelerator.load_state(str(checkpoint))
    except Exception as error:  # each of the libraries that read a part of it has errors of its own
        raise ValueError(
            f"--resume: the checkpoint {checkpoint} cannot be read ({error}); it is damaged or not of this run. Put it "
            "back from a copy, or start the run anew with --overwrite"
        ) from error
    if (progress.processes, progress.threads) != now:
        run.print(
            f"the checkpoint was written with {progress.processes} processes of {progress.threads} threads, now there are "
            f"{now[0]} of {now[1]}: the last bits of the results can differ from those of an uninterrupted run"
        )
        progress.processes, progress.threads = now
    run.rewind_logs(progress.step, progress.epoch)
    run.print(f"resumed at epoch {progress.epoch}, step {progress.step}")
