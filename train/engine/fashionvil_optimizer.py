"""FashionViL's optimizer: groups of parameters by their names, AdamW of 2021, steps with a warm-up.

Source: `mmf/models/fashionvil/base.py` and `mmf/utils/` of BrandonHanx/mmf; paper, section 4.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

# What is trained at a multiple of the learning rate: the image encoder, the map of its features into the transformer,
# and the heads. Our names keep these parts of the original ones.
_IMAGE_ENCODER = re.compile(r"(^|\.)image_encoder\.")
_FAST = re.compile(r"(^|\.)(image_encoder|embeddings\.projection|heads|classifier)(\.|$)")
_NO_DECAY = re.compile(r"bias|LayerNorm\.weight")


def settings_of(name: str, lr: float, weight_decay: float, lr_multiplier: float) -> tuple[float, float]:
    """Learning rate and weight decay of a parameter by its name, ours or the original one.

    Biases and layer norms have no weight decay, but those of the image encoder have it, batch norms included. The scale
    of the normalised features and the projection of the pseudo-attributes count as weights.
    """
    decays = _IMAGE_ENCODER.search(name) or not _NO_DECAY.search(name)
    return lr * lr_multiplier if _FAST.search(name) else lr, weight_decay if decays else 0.0


def parameter_groups(
    parameters: Iterable[tuple[str, torch.nn.Parameter]], lr: float, weight_decay: float, lr_multiplier: float = 1.0
) -> list[dict[str, Any]]:
    """Groups for the optimizer, at most four; parameters that are not trained are left out.

    Args:
        parameters: `model.named_parameters()`. lr, weight_decay: as in the recipe.
        lr_multiplier: of the image encoder, the visual projection and the heads: 20 in the original's recipes.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups.setdefault(settings_of(name, lr, weight_decay, lr_multiplier), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def warmup_multistep(
    step: int, lr_steps: Sequence[int], warmup: int = 0, lr_ratio: float = 0.1, warmup_factor: float = 0.25
) -> float:
    """Factor on the learning rate of update `step` (from 0).

    A line from `warmup_factor` to 1 over the first `warmup` updates (0 for none), then `lr_ratio` for every one of
    `lr_steps` that is reached.
    """
    if warmup and step <= warmup:
        return warmup_factor * (1 - step / warmup) + step / warmup
    return lr_ratio ** sum(step >= passed for passed in lr_steps)


class OfficialAdamW(torch.optim.Optimizer):
    """AdamW as transformers 3 and 4 had it.

    It differs from torch.optim.AdamW where gradients are as small as eps: eps is added to the square root of the raw
    second moment, not of the corrected one. The pseudo-attribute head has such gradients. Weight decay follows the
    update instead of preceding it.

    Args:
        params: parameters, or groups of them. lr, betas, eps, weight_decay: as usual.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
                state["step"] += 1
                average = state["exp_avg"].mul_(first).add_(parameter.grad, alpha=1 - first)
                squares = state["exp_avg_sq"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
                size = group["lr"] * math.sqrt(1 - second ** state["step"]) / (1 - first ** state["step"])
                parameter.addcdiv_(average, squares.sqrt().add_(group["eps"]), value=-size)
                if group["weight_decay"]:
                    parameter.add_(parameter, alpha=-group["lr"] * group["weight_decay"])
        return loss
