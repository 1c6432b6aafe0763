"""A small Atelier world and ways to run the training programs on it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = """
projection_dim: 32
vision_config: {model_type: clip4cir_resnet, layers: [1, 1, 1, 1], width: 4, image_size: 32}
text_config: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 1, intermediate_size: 64,
              vocab_size: 600, max_position_embeddings: 40, hidden_act: quick_gelu}
"""


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """200 garments at 48 pixels in the FashionIQ and CIRR trees."""
    folder = tmp_path_factory.mktemp("atelier")
    command = [sys.executable, "-m", "data_scripts.atelier", "--output_dir", str(folder), "--garments", "200"]
    command += ["--image_size", "48", "--seed", "3", "--quiet", "--layouts", "fashioniq", "cirr"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Decoded pictures, shared by all runs."""
    return tmp_path_factory.mktemp("pixels")


@pytest.fixture(scope="session")
def architecture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("architecture") / "tiny.yaml"
    path.write_text(ARCHITECTURE)
    return path


@pytest.fixture(scope="session")
def stage1_flags(world, cache, architecture) -> list[str]:
    return [
        *["--dataset", "fashioniq", "--data_dir", str(world), "--pixel_cache", str(cache)],
        *[
            "--architecture",
            str(architecture),
            "--epochs",
            "2",
            "--batch_size",
            "16",
            "--learning_rate",
            "1e-3",
            "--cpu",
        ],
    ]


def run_here(program, *flags) -> Path:
    """Call a program's main in this process and return its output folder."""
    from accelerate.state import AcceleratorState

    before = sys.argv
    sys.argv = [program.__file__, *map(str, flags)]
    try:
        program.main()
    finally:
        sys.argv = before
        AcceleratorState._reset_state(reset_partial_state=True)
    return Path(flags[flags.index("--output_dir") + 1])


def start(program: str, *flags, processes: int = 1) -> subprocess.Popen:
    """Launch a program as a user does, on one or several processes."""
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": str(ROOT),
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [*(launch if processes > 1 else [sys.executable]), program, *map(str, flags)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    return output


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [r["loss"] for r in records(folder) if "loss" in r]


def validations(folder: Path) -> list[dict]:
    found = [{k: v for k, v in r.items() if k.startswith("validation/")} for r in records(folder)]
    return [r for r in found if r]


def killed_run(program, flags, folder, at_step, steps):
    """Folder of a run of `steps` steps that was killed soon after `at_step`; again where it was over too soon."""
    for attempt in range(5):
        cut = folder / str(attempt)
        process = start(program, *flags, "--output_dir", cut)
        wait_for_step(process, cut, at_step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if len(losses(cut)) < steps:
            return cut
    raise AssertionError("every kill came too late to test anything")


def wait_for_step(process, folder, step):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        ended, log = process.poll() is not None, folder / "metrics.jsonl"
        if log.exists() and f'"step": {step}' in log.read_text():
            return
        assert not ended, process.communicate()[0][-3000:]
        time.sleep(0.01)
    process.kill()
    raise AssertionError("the run did not get going")
