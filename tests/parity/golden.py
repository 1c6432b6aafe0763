"""Golden cases on disk: finding them, reading them, and finding the check that understands one."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class GoldenCase:
    """One case: `<dir>/<name>.json`, with tensors in `<name>.safetensors` where it has any."""

    system: str
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def dir(self) -> Path:
        """The system's folder, where attachments lie."""
        return self.path.parent

    @cached_property
    def json(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors of the case by their full names; empty for a case without any."""
        file = self.path.with_suffix(".safetensors")
        return load_file(file) if file.exists() else {}

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        """Tensors below a prefix, without it: `group("inputs")`, `group("weights")`, `group("expected.eval")`."""
        prefix = prefix.rstrip(".") + "."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def sibling(self, name: str) -> "GoldenCase":
        """Another case of the same folder."""
        return GoldenCase(self.system, self.dir / f"{name}.json")


Check = Callable[[GoldenCase], None]


def built_systems() -> set[str]:
    """Systems that have a package under modeling/."""
    return {path.parent.name for path in (REPOSITORY / "modeling").glob("*/__init__.py")}


def find_cases(folders: list[Path], built: set[str]) -> tuple[list[GoldenCase], list[str]]:
    """Every case of the built systems, and the names of the sub-folders whose system is not built yet.

    A case is a JSON object with a `case` or a `description`; other files are attachments of a case.

    Raises:
        ValueError: a folder doesn't exist or holds no case of a built system.
    """
    cases, waiting = [], set()
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"--golden-dir {folder}: no such folder")
        found = []
        for system in sorted(path for path in folder.iterdir() if path.is_dir()):
            if system.name not in built:
                waiting.add(system.name)
                continue
            found += [GoldenCase(system.name, path) for path in sorted(system.glob("*.json")) if _is_case(path)]
        if not found:
            raise ValueError(
                f"--golden-dir {folder}: no case in it; expected <system>/<case>.json, systems: {sorted(built)}"
            )
        cases += found
    return cases, sorted(waiting)


def _is_case(path: Path) -> bool:
    content = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(content, dict) and ("case" in content or "description" in content)


def load_checks(system: str) -> dict[str, Check]:
    """Name prefix -> check, collected from the `CHECKS` of every tests/parity/checks_<system>*.py.

    Raises:
        ValueError: two modules claim the same prefix.
    """
    checks: dict[str, Check] = {}
    for file in sorted(Path(__file__).parent.glob(f"checks_{system}*.py")):
        module = importlib.import_module(f"tests.parity.{file.stem}")
        twice = checks.keys() & module.CHECKS.keys()
        if twice:
            raise ValueError(f"{file.name} claims {sorted(twice)}, which another module checks already")
        checks.update(module.CHECKS)
    return checks


def choose_check(name: str, checks: dict[str, Check]) -> Check:
    """The check with the longest prefix of the case's name.

    Raises:
        LookupError: no check understands the case.
    """
    known = [prefix for prefix in checks if name.startswith(prefix)]
    if not known:
        raise LookupError(f"no check understands the golden case {name!r}; known prefixes: {sorted(checks)}")
    return checks[max(known, key=len)]


def close(
    actual: torch.Tensor, expected: torch.Tensor, tolerance: dict[str, Any], what: str, factor: float = 1
) -> None:
    """Fail with the largest difference unless the tensors agree within the case's `atol` and `rtol`."""
    assert tuple(actual.shape) == tuple(expected.shape), f"{what}: {tuple(actual.shape)} != {tuple(expected.shape)}"
    torch.testing.assert_close(
        actual.detach().double(),
        expected.double(),
        atol=factor * tolerance.get("atol", 1e-4),
        rtol=tolerance.get("rtol", 0.0),
        msg=lambda text: f"{what}: {text}",
    )
