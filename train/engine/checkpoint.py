"""Folders that appear whole or not at all: training checkpoints and saved models.

Everything is written into a folder beside the final one and renamed, so a kill or a full disk at any moment leaves the
last good one. `restore_interrupted` finishes a swap that a kill cut in two.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

STEP_PREFIX = "step-"


def write_folder(
    target: Path, write: Callable[[Path], None], *, is_main: bool = True, barrier: Callable = None
) -> None:
    """Write a folder and put it in the place of `target`.

    Args:
        target: the folder to create or replace.
        write: called with the folder to fill; in a multi-process run every process calls it.
        is_main: whether this process makes and renames folders.
        barrier: waits for all processes; None for one process.

    Raises:
        OSError: the disk is full or not writable; what stood at `target` before is untouched.
    """
    wait = barrier or (lambda: None)
    beside = target.with_name(target.name + ".tmp")
    if is_main:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    wait()
    try:
        write(beside)
    except Exception as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise OSError(
            f"could not write {target} ({error}); what was saved there before is unchanged. "
            "Free some space or check the folder's permissions, then continue with --resume"
        ) from error
    wait()
    if is_main:
        swap(beside, target)
    wait()


def swap(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`, keeping the old one until the new one stands."""
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def restore_interrupted(target: Path) -> None:
    """Undo a swap that was cut off between its two renames, and clear what was being written."""
    old = target.with_name(target.name + ".old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(target.with_name(target.name + ".tmp"), ignore_errors=True)


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the largest step under `folder`, or None."""
    found = [p for p in folder.glob(STEP_PREFIX + "*") if p.name.removeprefix(STEP_PREFIX).isdigit()]
    return max(found, key=lambda p: int(p.name.removeprefix(STEP_PREFIX)), default=None)


def save_checkpoint(accelerator, folder: Path, step: int) -> None:
    """Write the training state of every process after `step` optimizer steps and drop the older checkpoints."""
    target = folder / f"{STEP_PREFIX}{step}"
    write_folder(
        target,
        lambda path: accelerator.save_state(str(path)),
        is_main=accelerator.is_main_process,
        barrier=accelerator.wait_for_everyone,
    )
    if accelerator.is_main_process:
        for path in folder.iterdir():
            if path != target:
                shutil.rmtree(path, ignore_errors=True)
