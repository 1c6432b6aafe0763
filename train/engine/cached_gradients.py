"""An exact contrastive step on batches whose activations do not fit in memory.

A contrastive loss couples all rows, so accumulating gradients over small batches is another loss. But it touches the
model only through the embeddings: with G = d L / d F, the gradient is the sum over chunks c of G_c . d F_c / d
    theta. Hence
(GradCache, arXiv 2101.06983, section 3):

1. embed every chunk without building a graph;
2. compute the loss of all embeddings and G (small: the graph begins at the embeddings);
3. embed chunk after chunk again, now with a graph, and back-propagate sum(F_c * G_c).

Activations of one chunk are alive at any time. The price is a second forward pass of all chunks but one: the last
chunk of pass 1 keeps its graph and is back-propagated at once, so a step of one chunk is the plain step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Embeddings = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class CachedStep:
    """What a step leaves behind, apart from the gradients in the parameters.

    Attributes:
        loss: 0-d, detached, of this process's rows (mean over processes = loss of the joined batch).
        embeddings: joined rows of all chunks, detached, by the names (or positions) that `embed` used.
    """

    loss: torch.Tensor
    embeddings: dict[str | int, torch.Tensor]


def split_batch(batch: Mapping[str, Any], rows_per_chunk: int) -> list[dict[str, Any]]:
    """Cuts every tensor and list of a batch into consecutive chunks of at most `rows_per_chunk` rows."""
    if rows_per_chunk < 1:
        raise ValueError(f"rows_per_chunk is {rows_per_chunk}, expected at least 1")
    lengths = {name: len(value) for name, value in batch.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"a batch can only be split when all entries have the same number of rows, found {lengths}")
    rows = next(iter(lengths.values()))
    return [
        {name: value[first : first + rows_per_chunk] for name, value in batch.items()}
        for first in range(0, rows, rows_per_chunk)
    ]


class _RandomState:
    """State of the generators a forward pass draws dropout from: the CPU's and the current one of the accelerator."""

    def __init__(self, device: torch.device):
        self.device = device
        self.cpu = torch.get_rng_state()
        self.accelerator = torch.get_device_module(device).get_rng_state(device) if device.type != "cpu" else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            torch.get_device_module(self.device).set_rng_state(self.accelerator, self.device)


def _named(embeddings: Embeddings) -> dict[str | int, torch.Tensor]:
    if isinstance(embeddings, torch.Tensor):
        return {0: embeddings}
    if isinstance(embeddings, Mapping):
        return dict(embeddings)
    return dict(enumerate(embeddings))


def _call(loss_fn: Callable[..., torch.Tensor], embeddings: dict[str | int, torch.Tensor]) -> torch.Tensor:
    if all(isinstance(name, str) for name in embeddings):
        return loss_fn(**embeddings)
    return loss_fn(*embeddings.values())


def _refuse_batch_statistics(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ValueError(
                f"{name or type(module).__name__} normalises with the statistics of its batch, so a step in chunks "
                "cannot equal the step on the whole batch (and its running statistics would be updated twice): put "
                "batch norm into eval mode, as CLIP4Cir's stage 1 does, or train without chunks"
            )


def cached_step(
    model: nn.Module,
    chunks: Sequence[Any],
    embed: Callable[[nn.Module, Any], Embeddings],
    loss_fn: Callable[..., torch.Tensor],
    *,
    accelerator: Any | None = None,
) -> CachedStep:
    """Adds to the parameters' `.grad` what `loss_fn(embed(model, whole batch)).backward()` would add.

    Dropout is replayed chunk by chunk, and afterwards the random state is where one forward pass leaves it.
    Gradients that were there before are kept, as with `backward`; clipping, optimizer step and zeroing stay with the
    caller.

        chunks = split_batch(batch, 32)
        loss = cached_step(model, chunks, lambda m, c: m(**c).query_embeds, loss_fn, accelerator=accelerator).loss

    Args:
        model: what the training loop calls, wrapped by DDP or not.
        chunks: this process's batch in pieces; the pieces may differ in size, and in number between processes.
        embed: (model, chunk) -> embeddings with one row per sample: a tensor, several, or a dict by name. It has to
            call `model(...)` itself, for DDP and autocast act there. Outputs without gradient (ids, frozen features)
            are passed on.
        loss_fn: joined embeddings (positional, or by name for a dict) -> 0-d loss. It may gather across processes (see
            `losses.py`) and may use parameters of the model, such as a temperature: their gradient enters once, in
            the last backward pass, so that DDP averages it like every other.
        accelerator: its `backward` (loss scaling, accumulation) and `no_sync` are used; None calls `Tensor.backward`.
    Returns:
        CachedStep(loss, embeddings).
    Raises:
        ValueError: no chunks; batch norm in training mode; an `embed` whose outputs change in kind or carry no
            gradient; a learned temperature outside of `forward` with DDP's `find_unused_parameters=True`.
    """
    if not len(chunks):
        raise ValueError("a step needs at least one chunk")
    if len(chunks) > 1:
        _refuse_batch_statistics(model)
    backward = accelerator.backward if accelerator is not None else torch.Tensor.backward
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    last = len(chunks) - 1

    def no_sync() -> AbstractContextManager:
        if accelerator is not None:
            return accelerator.no_sync(model)
        return model.no_sync() if hasattr(model, "no_sync") else nullcontext()

    # Pass 1. All chunks but the last without graph; the last one's graph is kept, it is used before any other is built.
    states, outputs = [], []
    for chunk in chunks[:last]:
        states.append(_RandomState(device))
        with torch.no_grad():
            outputs.append(_named(embed(model, chunk)))
    with no_sync() if last else nullcontext():  # DDP decides in the forward pass whether the backward pass synchronises
        kept = _named(embed(model, chunks[last]))
    outputs.append(kept)
    if any(output.keys() != kept.keys() for output in outputs):
        raise ValueError(f"embed returned different outputs for different chunks: {[list(o) for o in outputs]}")
    learned = [name for name, output in kept.items() if output.requires_grad]
    if not learned:
        raise ValueError("no output of embed carries a gradient: nothing to train, or embed runs under torch.no_grad()")

    # Pass 2. Loss of all rows; the graph starts at the joined embeddings.
    joined = {name: torch.cat([output[name].detach() for output in outputs]) for name in kept}
    for name in learned:
        joined[name].requires_grad_()
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = _call(loss_fn, joined)
    grads = torch.autograd.grad(loss, [joined[name] for name in learned] + parameters, allow_unused=True)
    sizes = {name: [len(output[name]) for output in outputs] for name in learned}
    row_grads = {
        name: (torch.zeros_like(joined[name]) if grad is None else grad).split(sizes[name])
        for name, grad in zip(learned, grads, strict=False)
    }
    del outputs  # or the last chunk's graph would stay alive beside every other chunk's
    of_loss = [(p, g) for p, g in zip(parameters, grads[len(learned) :], strict=True) if g is not None]
    if of_loss and getattr(model, "find_unused_parameters", False):
        raise ValueError(
            "the loss uses parameters of the model directly, and DDP's find_unused_parameters=True counts those as "
            "unused: return the temperature from forward, expanded to one value per row, and use its first row in "
            "loss_fn"
        )
    after = _RandomState(device)

    def surrogate(output: dict[str | int, torch.Tensor], index: int) -> torch.Tensor:
        """A scalar whose gradient is the loss's: products in the gradient's type, for outputs may be half precision."""
        parts = [(output[name].to(row_grads[name][index].dtype) * row_grads[name][index]).sum() for name in learned]
        if index == order[-1]:
            parts += [(p * g).sum() for p, g in of_loss]
        return torch.stack([part.to(loss.dtype) for part in parts]).sum()

    # Pass 3. One graph at a time, processes synchronise in the last one.
    order = [last, *range(last)]
    for index in order:
        with no_sync() if index != order[-1] else nullcontext():
            if index != last:
                states[index].restore()
                kept = _named(embed(model, chunks[index]))
            backward(surrogate(kept, index))
        kept = None
    after.restore()
    return CachedStep(loss.detach(), {name: value.detach() for name, value in joined.items()})
