"""Options and settings shared by all tests."""

import os
from pathlib import Path

import pytest

# So that a failing assert in a helper shows its values as one in a test does.
pytest.register_assert_rewrite("tests.contract")

GOLDEN = Path(__file__).parent / "golden"

# The tests never need the network: a missing file must be an error, not a download.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        action="append",
        metavar="DIR",
        help="folder with one sub-folder of golden cases per system; may be repeated (default: tests/golden)",
    )


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    """Random weights are the same in every run."""
    import torch

    torch.manual_seed(0)
