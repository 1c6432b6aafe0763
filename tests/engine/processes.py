"""Runs a worker script in several gloo processes on the CPU and brings back what each of them saved."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def accelerator_of(processes: int):
    """The worker's Accelerator. A launch that silently made independent copies fails here instead of passing as one."""
    from accelerate import Accelerator

    launched = int(os.environ.get("WORLD_SIZE", 1))
    accelerator = Accelerator(cpu=True) if launched == processes else None
    if accelerator is None or accelerator.num_processes != processes:
        raise RuntimeError(f"{launched} processes instead of {processes}: nothing would be tested")
    return accelerator


def save(accelerator, folder: Path, results: dict) -> None:
    """Keeps a worker's results, then leaves in the order that gloo survives."""
    torch.save({"world_size": accelerator.num_processes, **results}, folder / f"rank{accelerator.process_index}.pt")
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    accelerator.end_training()


def run_workers(script: str, folder: Path, processes: int = 2) -> list[dict]:
    """Results of all ranks of `script`, which is called with the folder to save them in."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [*launch, script, str(folder)], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    results = [torch.load(folder / f"rank{rank}.pt") for rank in range(processes)]
    assert [result["world_size"] for result in results] == [processes] * processes
    return results


def relative_difference(got: torch.Tensor, want: torch.Tensor) -> float:
    """Largest difference over the largest magnitude."""
    return ((got - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()
