"""Turns every golden case into a test."""

from pathlib import Path

import pytest

from tests.conftest import GOLDEN
from tests.parity.golden import built_systems, find_cases


def _folders(config: pytest.Config) -> list[Path]:
    return [Path(name).resolve() for name in config.getoption("--golden-dir") or [GOLDEN]]


def pytest_report_header(config: pytest.Config) -> list[str]:
    folders = [folder for folder in _folders(config) if folder.is_dir()]
    names = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - built_systems()
    return [f"golden cases not run, system not built yet: {', '.join(sorted(names))}"] if names else []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_case" in metafunc.fixturenames:
        try:
            cases, _ = find_cases(_folders(metafunc.config), built_systems())
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
        metafunc.parametrize("golden_case", cases, ids=[f"{case.system}-{case.name}" for case in cases])
