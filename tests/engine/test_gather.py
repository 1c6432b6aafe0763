"""Rows of two processes: values, gradients, and the loss of the joined batch."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.engine.processes import accelerator_of, relative_difference, run_workers, save
from train.engine.gather import gather_rows, gather_rows_no_grad, process_count, rank_offset
from train.engine.losses import query_target_loss

BATCH, DIM = 8, 12


class TwoTowers(nn.Module):
    """A query and a target tower and a learned temperature, all reached through `forward`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.target = nn.Linear(DIM, 6), nn.Linear(DIM, 6)
        self.log_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        embeds = (self.query(x), self.target(y), self.target(z))
        return *(F.normalize(e, dim=1) for e in embeds), self.log_scale.exp()


def joined_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y, z = (torch.randn(BATCH, DIM, generator=generator) for _ in range(3))
    # Images 3 and 7 are the same one, on different processes; so are target 1 and extra 6.
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 6, 3])
    return {"x": x, "y": y, "z": z, "ids": ids, "extra_ids": torch.tensor([20, 21, 22, 23, 24, 25, 1, 27])}


def loss_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    queries, targets, extras, scale = model(batch["x"], batch["y"], batch["z"])
    ids = {"target_ids": batch["ids"], "extra_ids": batch["extra_ids"]}
    return query_target_loss(
        queries, targets, scale, symmetric=True, extra_negatives=extras, label_smoothing=0.1, **ids
    )


def caught(call) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def work(folder: Path) -> None:
    accelerator = accelerator_of(2)
    rank, rows = accelerator.process_index, BATCH // 2
    model = accelerator.prepare(TwoTowers())
    own = {name: value[rank * rows : (rank + 1) * rows] for name, value in joined_batch().items()}
    loss = loss_of(model, own)
    accelerator.backward(loss)
    results = {
        "loss": loss.detach(),
        "grads": {name: p.grad for name, p in accelerator.unwrap_model(model).named_parameters()},
        "offset": rank_offset(rows),
        "rows": gather_rows(own["x"]).detach(),
    }

    # Each process weighs the gathered rows differently; the owner gets the sum of both weights.
    x = own["x"].clone().requires_grad_()
    weights = torch.arange(BATCH * DIM, dtype=torch.float32).view(BATCH, DIM) * (rank + 1)
    gathered = gather_rows(x)
    incoming = weights.clone()
    results["row_grad"] = torch.autograd.grad(gathered, x, incoming)[0]
    results["incoming_untouched"] = torch.equal(incoming, weights)

    results["uneven"] = caught(lambda: gather_rows(torch.zeros(3 + rank, 2)))
    results["kinds"] = caught(lambda: gather_rows(torch.zeros(3, 2 + rank)))
    results["types"] = caught(lambda: gather_rows(torch.zeros(3, 2, dtype=(torch.float32, torch.float64)[rank])))
    results["no_grad"] = gather_rows_no_grad(torch.arange(2 + 3 * rank)[:, None] + 10 * rank)
    results["none_here"] = gather_rows_no_grad(torch.ones(2 * rank, 1))
    save(accelerator, folder, results)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    return run_workers(__file__, tmp_path_factory.mktemp("gather"))


def test_two_processes_have_the_loss_and_gradients_of_one(ranks):
    model = TwoTowers()
    loss = loss_of(model, joined_batch())
    loss.backward()
    mean = (ranks[0]["loss"] + ranks[1]["loss"]) / 2
    assert relative_difference(mean, loss.detach()) < 1e-6
    for name, parameter in model.named_parameters():
        for result in ranks:
            assert relative_difference(result["grads"][name], parameter.grad) < 1e-6, name


def test_a_loss_without_the_other_process_would_have_been_noticed(ranks):
    half = {name: value[: BATCH // 2] for name, value in joined_batch().items()}
    assert relative_difference(ranks[0]["loss"], loss_of(TwoTowers(), half).detach()) > 1e-2


def test_gathered_rows_are_in_rank_order(ranks):
    for rank, result in enumerate(ranks):
        assert torch.equal(result["rows"], joined_batch()["x"])
        assert result["offset"] == rank * BATCH // 2


def test_gradients_of_all_processes_are_summed_at_the_owner(ranks):
    weights = torch.arange(BATCH * DIM, dtype=torch.float32).view(BATCH, DIM)
    assert torch.equal(torch.cat([result["row_grad"] for result in ranks]), 3 * weights)
    assert all(result["incoming_untouched"] for result in ranks)


def test_different_numbers_of_rows_are_an_error_on_every_process(ranks):
    for result in ranks:
        assert "rank 0: 3, rank 1: 4" in result["uneven"] and "drop_last=True" in result["uneven"]
        assert "rank 0: (3, 2) of 32-bit floats, rank 1: (3, 3) of 32-bit floats" in result["kinds"]
        assert "rank 1: (3, 2) of 64-bit floats" in result["types"]


def test_rows_without_gradient_may_differ_in_number(ranks):
    for result in ranks:
        assert result["no_grad"].flatten().tolist() == [0, 1, 10, 11, 12, 13, 14]
        assert result["none_here"].flatten().tolist() == [1.0, 1.0]


def test_one_process_gathers_nothing():
    x = torch.ones(2, 3, requires_grad=True)
    assert gather_rows(x) is x
    assert not gather_rows_no_grad(x).requires_grad
    assert (process_count(), rank_offset(5)) == (1, 0)


def test_a_launch_that_is_silently_one_process_is_refused():
    with pytest.raises(RuntimeError, match="1 processes instead of 2"):
        accelerator_of(2)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
