"""Batch norm over all processes: what one process with the joined batch computes, outputs, statistics and gradients."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.engine.processes import accelerator_of, relative_difference, run_workers, save
from train.engine.sync_batch_norm import SynchronisedBatchNorm, synchronise

ROWS, FIRST = 7, 2  # the first process has 2 rows of 7: uneven shares
SETTINGS = {"affine": {}, "cumulative": {"momentum": None}, "plain": {"affine": False, "track_running_stats": False}}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures whose mean is large beside their deviation, and weights of a loss."""
    draw = torch.Generator().manual_seed(5)
    return 30 + torch.randn(ROWS, 3, 4, 5, generator=draw), torch.randn(ROWS, 3, 4, 5, generator=draw)


def norm(settings: dict) -> nn.Module:
    torch.manual_seed(2)
    layer = nn.Sequential(nn.BatchNorm2d(3, **settings))
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def outcome(layer: nn.Module, x: torch.Tensor, weights: torch.Tensor) -> dict:
    """Two steps, so that running statistics of the second rest on those of the first."""
    layer(2 * x.detach())
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * weights).sum().backward()
    found = {"output": y.detach(), "input_grad": x.grad}
    found |= {f"grad {name}": parameter.grad for name, parameter in layer.named_parameters()}
    return found | {f"buffer {name}": value for name, value in layer.named_buffers()}


def work(folder: Path) -> None:
    accelerator = accelerator_of(2)
    own = slice(FIRST) if accelerator.process_index == 0 else slice(FIRST, None)
    results = {}
    for name, settings in SETTINGS.items():
        layer = norm(settings)
        synchronise(layer)
        results[name] = outcome(layer, *(part[own] for part in batch()))
        with torch.no_grad():
            results[name]["evaluation"] = layer.eval()(batch()[0][own])
    save(accelerator, folder, results)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    return run_workers(__file__, tmp_path_factory.mktemp("batch_norm"))


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_with_uneven_shares_compute_what_one_does(name, ranks):
    layer = norm(SETTINGS[name])
    want = outcome(layer, *batch())
    # Without running statistics the batch is normalised by itself, in evaluation too, and then by one process's alone.
    evaluated = layer.eval()(batch()[0]).detach() if name != "plain" else None
    parts = [rank[name] for rank in ranks]
    for field, value in want.items():
        if field in ("output", "input_grad"):
            assert relative_difference(torch.cat([part[field] for part in parts]), value) < 1e-5, field
        elif field.startswith("grad"):  # each process has its rows' part
            assert relative_difference(sum(part[field] for part in parts), value) < 1e-5, field
        else:
            for part in parts:
                assert relative_difference(part[field].float(), value.float()) < 1e-6, field
    if evaluated is not None:
        assert relative_difference(torch.cat([part["evaluation"] for part in parts]), evaluated) < 1e-5


def test_batch_norm_of_each_process_alone_would_have_been_noticed():
    layer = norm({})
    alone = torch.cat([layer(part).detach() for part in batch()[0].split([FIRST, ROWS - FIRST])])
    assert relative_difference(alone, layer(batch()[0]).detach()) > 1e-2


def test_one_process_is_plain_batch_norm_and_names_stay():
    layer, synchronised = norm({}), norm({})
    names = list(synchronised.state_dict())
    synchronise(synchronised)
    assert type(synchronised[0]) is SynchronisedBatchNorm and list(synchronised.state_dict()) == names
    want, found = (outcome(part, *batch()) for part in (layer, synchronised))
    assert want.keys() == found.keys() and all(torch.equal(want[field], found[field]) for field in want)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
