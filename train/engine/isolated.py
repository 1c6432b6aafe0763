"""Run a script the way a Hub user would: a fresh process that has transformers and nothing of this repository."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OWN_PACKAGES = ("modeling", "train", "data_scripts", "tests")

# An editable install still leads to the checkout in isolated mode (-I), so the project's packages are blocked by name,
# and the block is tried out before anything is loaded.
_PREAMBLE = """
import importlib, json, sys

task = json.loads(sys.stdin.read())

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in task["own_packages"]:
            raise ModuleNotFoundError(f"{name} is blocked: a Hub user does not have it", name=name)

sys.meta_path.insert(0, Blocked())
for name in task["own_packages"]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} can be imported, so this process proves nothing")
"""


def run_isolated(script: str, task: dict[str, Any], *, offline: bool) -> dict[str, Any]:
    """Run a script in a process in which this repository cannot be imported.

    Args:
        script: Python text that finds its input in the variable `task` and prints one JSON object as its last line.
        task: JSON-able input; `own_packages` is added.
        offline: forbid the Hub, for what must work from a folder alone.

    Returns:
        The object that the script printed last.

    Raises:
        OSError: the process failed; carries the last lines it wrote.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if offline:
        kept["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="isolated-") as elsewhere:
        # Fresh copies of the code: a cached module of an earlier save must not answer for this one.
        kept["HF_MODULES_CACHE"] = str(Path(elsewhere) / "modules")
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PREAMBLE + script],
            input=json.dumps({**task, "own_packages": OWN_PACKAGES}),
            cwd=elsewhere,
            env=kept,
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise OSError(f"a fresh process could not use the model:\n{last}")
    return json.loads(done.stdout.splitlines()[-1])
