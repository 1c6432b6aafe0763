"""Options and settings shared by all tests."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# So that a failing assert in a helper shows its values as one in a test does.
pytest.register_assert_rewrite("tests.contract")

GOLDEN = Path(__file__).parent / "golden"

# The tests never need the network: a missing file must be an error, not a download.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Prepared data, downloaded code and metrics of the tests go into a folder of their own, which goes when they end.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="lookbook-tests-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

# One thread here and in every process that a test starts, whatever the machine or the caller has set: a kernel sums in
# another order on another number of threads, so results of two processes could differ in their last bits.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        action="append",
        metavar="DIR",
        help="folder with one sub-folder of golden cases per system; may be repeated (default: tests/golden)",
    )


@pytest.fixture(autouse=True)
def _one_seed_and_one_thread() -> None:
    """Random weights are the same in every run; a plug-in may have imported torch before the variable above was set."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
