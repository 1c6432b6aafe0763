"""A run's folder: refused when it would lose something, locked while in use, its logs rewound on resume."""

import dataclasses
import json
import subprocess
import sys

import pytest

from train.engine.checkpoint import latest_checkpoint, restore_interrupted, write_folder
from train.engine.run import Run, RunArguments, check_processes


def arguments(folder, **changes):
    return RunArguments(output_dir=str(folder), cpu=True, **changes)


def test_a_folder_that_is_not_empty_is_refused_and_kept(tmp_path):
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="--resume to continue it, --overwrite to delete it"):
        Run(arguments(tmp_path))
    assert (tmp_path / "precious.txt").read_text() == "keep"


def test_overwrite_empties_the_folder(tmp_path):
    (tmp_path / "old").mkdir()
    with Run(arguments(tmp_path, overwrite=True)):
        assert not (tmp_path / "old").exists()


def test_what_overwrite_replaces_comes_back_unless_the_new_run_trains(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "metrics.jsonl").write_text("old")
    with pytest.raises(FileNotFoundError), Run(arguments(tmp_path, overwrite=True)) as run:
        (run.folder / "cache").mkdir()
        raise FileNotFoundError("a mistyped --data_dir")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["metrics.jsonl", "old"]
    assert (tmp_path / "metrics.jsonl").read_text() == "old"
    with pytest.raises(FloatingPointError), Run(arguments(tmp_path, overwrite=True)) as run:
        run.log({"loss": 1.0}, 1)
        raise FloatingPointError
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == [
        "arguments.json",
        "metrics.jsonl",
    ]


def test_a_run_killed_before_it_trained_costs_the_replaced_one_nothing(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("old")
    Run(arguments(tmp_path, overwrite=True))._release()  # as a kill leaves it
    with pytest.raises(ValueError), Run(arguments(tmp_path, overwrite=True)):
        raise ValueError
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["metrics.jsonl"]


@dataclasses.dataclass
class Sources:
    model: str | None = None
    checkpoints: list[str] = dataclasses.field(default_factory=list)
    pixel_cache: str | None = None


@pytest.mark.parametrize("name", ["model", "checkpoints"])
def test_overwrite_never_deletes_what_the_run_reads(tmp_path, name):
    inside = tmp_path / "run" / "model"
    inside.mkdir(parents=True)
    value = str(inside) if name == "model" else [str(inside)]
    with pytest.raises(ValueError, match=f"would delete what this run reads, --{name} .*take another --output_dir"):
        Run(arguments(tmp_path / "run", overwrite=True), Sources(**{name: value}))
    assert inside.is_dir()
    with Run(arguments(tmp_path / "run", overwrite=True), Sources(str(tmp_path), pixel_cache=str(inside))):
        assert not inside.is_dir()


def test_a_folder_in_use_by_another_process_is_refused(tmp_path):
    hold = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match="in use by another run"):
            Run(arguments(tmp_path, overwrite=True))
    finally:
        holder.kill()
        holder.wait()
    with Run(arguments(tmp_path, overwrite=True)):  # a killed process holds nothing
        pass


def test_resume_with_other_arguments_names_each_difference(tmp_path):
    with Run(arguments(tmp_path, seed=1)):
        pass
    with pytest.raises(ValueError, match="seed: was 1, now 2"):
        Run(arguments(tmp_path, seed=2, resume=True))
    with Run(arguments(tmp_path, seed=1, resume=True, num_workers=2)):
        pass


def test_resume_of_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        Run(arguments(tmp_path, resume=True))


def test_logs_are_cut_back_to_the_checkpoint(tmp_path):
    with Run(arguments(tmp_path)) as run:
        for step in range(1, 6):
            run.log({"loss": 0.5}, step)
        for epoch in range(3):
            run.log_csv("train_metrics.csv", {"epoch": epoch, "train_epoch_loss": 1.0})
        with open(tmp_path / "metrics.jsonl", "a") as file:
            file.write('{"step": 6, "lo')  # cut off by a kill
        run.rewind_logs(step=3, epoch=1)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    assert (tmp_path / "train_metrics.csv").read_text().splitlines() == ["epoch,train_epoch_loss", "0,1.0"]


def test_processes_that_do_not_see_each_other_are_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="announced 2 processes but Accelerate sees 1"):
        check_processes(1)


def test_a_failed_write_keeps_the_folder_that_was_there(tmp_path):
    target = tmp_path / "model"
    write_folder(target, lambda path: (path / "weights").write_text("good"))

    def disk_full(path):
        (path / "weights").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device.*unchanged"):
        write_folder(target, disk_full)
    assert (target / "weights").read_text() == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_swap_cut_in_two_is_restored(tmp_path):
    (tmp_path / "model.old").mkdir()
    (tmp_path / "model.old" / "weights").write_text("good")
    (tmp_path / "model.tmp").mkdir()
    restore_interrupted(tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_newest_complete_checkpoint_is_found(tmp_path):
    for name in ("step-9", "step-10", "step-11.tmp", "other"):
        (tmp_path / name).mkdir()
    assert latest_checkpoint(tmp_path).name == "step-10"
    assert latest_checkpoint(tmp_path / "other") is None
