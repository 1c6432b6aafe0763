"""A step in chunks has the loss and the gradients of the plain step, on one process and on two."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from accelerate import DistributedDataParallelKwargs
from torch import nn
from torch.nn import functional as F

from tests.engine.processes import accelerator_of, relative_difference, run_workers, save
from train.engine.cached_gradients import cached_step, split_batch
from train.engine.losses import query_target_loss

BATCH, DIM = 16, 12


class Towers(nn.Module):
    """Two towers with batch norm and dropout, and a learned temperature outside of `forward`."""

    def __init__(self, dropout: float = 0.0, width: int = 24):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Sequential(
            nn.Linear(DIM, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 6)
        )
        self.query = nn.Sequential(nn.Linear(DIM, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 6))
        self.log_scale = nn.Parameter(torch.tensor(1.5))
        self.shared[1].running_mean.normal_()
        self.shared[1].eval()

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> dict[str, torch.Tensor]:
        embeds = {"queries": self.query(x) + self.shared(x), "targets": self.shared(y), "extras": self.shared(z)}
        scales = {"scales": self.log_scale.exp().expand(len(x))}
        return {name: F.normalize(value, dim=1) for name, value in embeds.items()} | scales


def joined_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y, z = (torch.randn(BATCH, DIM, generator=generator) for _ in range(3))
    return {"x": x, "y": y, "z": z, "ids": torch.arange(BATCH) % 13, "extra_ids": torch.arange(BATCH) + 10}


def embed(model: nn.Module, chunk: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    output = model(chunk["x"], chunk["y"], chunk["z"])
    return {**output, "ids": chunk["ids"], "extra_ids": chunk["extra_ids"]}


def loss_with(log_scale: nn.Parameter | None):
    """The loss with every option on; the temperature is the parameter, or the first row that `forward` returned."""

    def loss_fn(queries, targets, extras, scales, ids, extra_ids) -> torch.Tensor:
        scale = scales[0] if log_scale is None else log_scale.exp()
        named = {"extra_negatives": extras, "target_ids": ids, "extra_ids": extra_ids}
        return query_target_loss(queries, targets, scale, symmetric=True, label_smoothing=0.1, **named)

    return loss_fn


def plain_step(model: Towers, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    loss = loss_with(model.log_scale)(**embed(model, batch))
    loss.backward()
    return loss.detach()


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same_gradients(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor], tolerance: float = 1e-6):
    assert got.keys() == want.keys()
    for name in want:
        assert relative_difference(got[name], want[name]) < tolerance, name


def caught(call) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def work(folder: Path) -> None:
    accelerator = accelerator_of(2)
    rank, rows = accelerator.process_index, BATCH // 2
    own = {name: value[rank * rows : (rank + 1) * rows] for name, value in joined_batch().items()}
    chunks = split_batch(own, (3, 2)[rank])  # three chunks on one process, four on the other
    results = {}
    for place in ("loss", "forward"):
        # With the temperature among the outputs of `forward`, DDP finds it even when it looks for unused parameters.
        finds = [DistributedDataParallelKwargs(find_unused_parameters=True)] if place == "forward" else []
        accelerator.ddp_handler = finds[0] if finds else None
        model = accelerator.prepare(Towers())
        log_scale = accelerator.unwrap_model(model).log_scale
        loss_fn = loss_with(log_scale if place == "loss" else None)
        if place == "forward":
            parameter_in_loss = loss_with(log_scale)
            results["refused"] = caught(
                lambda m=model, f=parameter_in_loss: cached_step(m, chunks, embed, f, accelerator=accelerator)
            )
        step = cached_step(model, chunks, embed, loss_fn, accelerator=accelerator)
        results[place] = {"loss": step.loss, "grads": gradients(accelerator.unwrap_model(model))}
    save(accelerator, folder, results)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    return run_workers(__file__, tmp_path_factory.mktemp("cached"))


@pytest.mark.parametrize("rows", [1, 3, 5, 16])
@pytest.mark.parametrize("place", ["loss", "forward"])
def test_gradients_equal_the_plain_step(rows, place):
    plain, chunked = Towers(), Towers()
    loss = plain_step(plain, joined_batch())
    loss_fn = loss_with(chunked.log_scale if place == "loss" else None)
    step = cached_step(chunked, split_batch(joined_batch(), rows), embed, loss_fn)
    assert relative_difference(step.loss, loss) < 1e-6
    assert not step.loss.requires_grad and step.embeddings["queries"].shape == (BATCH, 6)
    assert torch.equal(step.embeddings["ids"], joined_batch()["ids"])
    assert_same_gradients(gradients(chunked), gradients(plain))


def test_a_step_of_one_chunk_is_the_plain_step_to_the_last_bit():
    plain, chunked = Towers(dropout=0.5), Towers(dropout=0.5)
    torch.manual_seed(3)
    loss = plain_step(plain, joined_batch())
    torch.manual_seed(3)
    step = cached_step(chunked, [joined_batch()], embed, loss_with(None))
    assert torch.equal(step.loss, loss)
    want = gradients(plain)
    assert all(torch.equal(grad, want[name]) for name, grad in gradients(chunked).items())


def test_dropout_is_replayed_and_the_random_stream_goes_on_as_after_one_pass():
    plain, chunked = Towers(dropout=0.5), Towers(dropout=0.5)
    chunks = split_batch(joined_batch(), 5)
    torch.manual_seed(3)
    outputs = [embed(plain, chunk) for chunk in chunks]
    joined = {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
    loss_with(plain.log_scale)(**joined).backward()
    after_plain = torch.rand(3)
    torch.manual_seed(3)
    cached_step(chunked, chunks, embed, loss_with(chunked.log_scale))
    assert torch.equal(torch.rand(3), after_plain)
    assert_same_gradients(gradients(chunked), gradients(plain))


def test_accumulated_chunk_losses_would_not_pass():
    plain, accumulated = Towers(), Towers()
    plain_step(plain, joined_batch())
    for chunk in split_batch(joined_batch(), 4):
        (loss_with(accumulated.log_scale)(**embed(accumulated, chunk)) / 4).backward()
    got, want = gradients(accumulated), gradients(plain)
    assert min(relative_difference(got[name], want[name]) for name in want) > 1e-2


def test_gradients_add_to_those_that_are_there():
    plain, chunked = Towers(), Towers()
    for model in (plain, chunked):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
    plain_step(plain, joined_batch())
    cached_step(chunked, split_batch(joined_batch(), 4), embed, loss_with(chunked.log_scale))
    assert_same_gradients(gradients(chunked), gradients(plain))


def test_loss_scaling_scales_every_gradient_once():
    class Scaling:
        """What Accelerate does under float16: backward of the scaled loss."""

        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

        def backward(self, loss):
            self.scaler.scale(loss).backward()

        def no_sync(self, model):
            return nullcontext()

    plain, chunked = Towers(), Towers()
    plain_step(plain, joined_batch())
    chunks = split_batch(joined_batch(), 4)
    cached_step(chunked, chunks, embed, loss_with(chunked.log_scale), accelerator=Scaling())
    assert relative_difference(chunked.log_scale.grad, 1024 * plain.log_scale.grad) < 1e-6
    optimizer = torch.optim.SGD(chunked.parameters(), lr=0.0)
    Scaling.scaler.unscale_(optimizer)
    assert_same_gradients(gradients(chunked), gradients(plain))


def test_half_precision_forward_passes_give_the_plain_steps_gradients():
    def half(model, chunk):
        with torch.autocast("cpu", torch.bfloat16):
            return embed(model, chunk)

    plain, chunked = Towers(), Towers()
    loss_with(plain.log_scale)(**half(plain, joined_batch())).backward()
    cached_step(chunked, split_batch(joined_batch(), 4), half, loss_with(chunked.log_scale))
    # Weight gradients are rounded to 8 bits per chunk instead of once per batch.
    assert_same_gradients(gradients(chunked), gradients(plain), tolerance=2e-2)


def test_one_chunk_of_activations_is_alive_at_a_time():
    def peak_of(step) -> int:
        """Largest number of bytes that graphs held for their backward pass, parameters left out."""
        alive = {"now": 0, "peak": 0}

        class Kept:
            def __init__(self, tensor):
                self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
                alive["now"] += self.size
                alive["peak"] = max(alive["peak"], alive["now"])

            def __del__(self):
                alive["now"] -= self.size

        def keep(tensor):
            return tensor if isinstance(tensor, nn.Parameter) or tensor._base is not None else Kept(tensor)

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: getattr(kept, "tensor", kept)):
            step()
        return alive["peak"]

    def first_rows(queries, targets, extras, scales, ids, extra_ids):
        return query_target_loss(queries, targets, 10.0)

    wide = {name: value.repeat(8, *[1] * (value.ndim - 1)) for name, value in joined_batch().items()}
    model = Towers(width=512)
    plain = peak_of(lambda: first_rows(**embed(model, wide)).backward())
    chunked = peak_of(lambda: cached_step(model, split_batch(wide, 8), embed, first_rows))
    assert chunked < plain / 8


def test_frozen_outputs_are_passed_on_without_gradient():
    model = nn.Linear(DIM, 6)
    frozen = torch.randn(BATCH, 6)

    def pair(module, chunk):
        return module(chunk["x"]), chunk["frozen"]

    chunks = split_batch({"x": joined_batch()["x"], "frozen": frozen}, 4)
    step = cached_step(model, chunks, pair, lambda q, t: query_target_loss(q, t, 2.0))
    got = model.weight.grad.clone()
    model.zero_grad()
    query_target_loss(model(joined_batch()["x"]), frozen, 2.0).backward()
    assert relative_difference(got, model.weight.grad) < 1e-6
    assert set(step.embeddings) == {0, 1}


def test_batch_norm_that_trains_is_refused_by_name():
    model = Towers().train()
    with pytest.raises(ValueError, match=r"shared\.1 normalises with the statistics of its batch"):
        cached_step(model, split_batch(joined_batch(), 4), embed, loss_with(None))


def test_steps_that_cannot_train_are_refused():
    model, chunks = Towers(), split_batch(joined_batch(), 8)
    with pytest.raises(ValueError, match="at least one chunk"):
        cached_step(model, [], embed, loss_with(None))
    with pytest.raises(ValueError, match="no output of embed carries a gradient"):
        cached_step(model, chunks, torch.no_grad()(embed), loss_with(None))
    answers = iter([{"a": torch.ones(8)}, {"b": torch.ones(8)}])
    with pytest.raises(ValueError, match="different outputs for different chunks"):
        cached_step(model, chunks, lambda m, c: next(answers), loss_with(None))


def test_split_batch_keeps_every_row_once_and_in_order():
    chunks = split_batch({"x": torch.arange(7), "names": list("abcdefg")}, 3)
    assert [chunk["x"].tolist() for chunk in chunks] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [chunk["names"] for chunk in chunks] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    with pytest.raises(ValueError, match="same number of rows"):
        split_batch({"x": torch.ones(3), "y": torch.ones(2)}, 2)
    with pytest.raises(ValueError, match="rows_per_chunk is 0"):
        split_batch({"x": torch.ones(3)}, 0)


@pytest.mark.parametrize("place", ["loss", "forward"])
def test_two_processes_in_chunks_equal_one_process_at_once(ranks, place):
    model = Towers()
    loss = plain_step(model, joined_batch())
    mean = (ranks[0][place]["loss"] + ranks[1][place]["loss"]) / 2
    assert relative_difference(mean, loss) < 1e-6
    for result in ranks:
        assert_same_gradients(result[place]["grads"], gradients(model))


def test_a_temperature_that_ddp_would_count_as_unused_is_refused(ranks):
    assert all("return the temperature from forward" in result["refused"] for result in ranks)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
