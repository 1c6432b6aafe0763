"""The 2017 optimizer of the outfit models: plain SGD, a staircase, and clipping by a norm of its own.

Source: `train.py` and `configuration.py` of xthan/polyvore.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


def staircase(step: int, decay_steps: int, factor: float = 0.5) -> float:
    """Factor on the learning rate of update `step` (from 0): halved after every `decay_steps` updates."""
    return factor ** (step // decay_steps)


def gradient_norm(
    parameters: Iterable[tuple[str, torch.nn.Parameter]],
    text_embeds: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """() global norm of the gradients.

    With `text_embeds`, whose gradient was retained, and the words' mask it is the original's: TensorFlow holds the gradient
    of the word table as one row per word of every text and squares them without adding up equal words.

    Args:
        parameters: names and parameters; those without gradient count as 0.
        text_embeds: (..., E) sums of word vectors. attention_mask: (..., words).
    """
    official = text_embeds is not None and text_embeds.grad is not None
    total = torch.zeros((), dtype=torch.float64)
    for name, parameter in parameters:
        if parameter.grad is not None and not (official and name.startswith("word_embedding.")):
            total += parameter.grad.double().square().sum().cpu()
    if official:
        # Every word of a text has the gradient of its sum.
        words = attention_mask.sum(-1).double()
        total += (words * text_embeds.grad.double().square().sum(-1)).sum().cpu()
    return total.sqrt()


def clip_by(parameters: Iterable[torch.nn.Parameter], norm: torch.Tensor, largest: float) -> None:
    """Scale all gradients by largest / max(norm, largest), as TensorFlow's `clip_by_global_norm`."""
    factor = largest / max(float(norm), largest)
    if factor < 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
