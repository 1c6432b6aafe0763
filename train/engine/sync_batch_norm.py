"""Batch norm over the batch of all processes, on any device; PyTorch's own runs on GPUs alone."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from train.engine.gather import process_count


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over processes; every process's loss depends on it, so the gradients are summed too."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose batch is that of all processes while it trains."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) -> the same; processes may hold different batches."""
        if not self.training or process_count() == 1:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            count = values.new_tensor([values.numel() / values.shape[1]])
            sums = _SumOverProcesses.apply(torch.cat([values.sum((0, 2, 3)), count]))
            count = sums[-1].detach()
            mean = sums[:-1] / count
            centred = values - mean[:, None, None]
            # A second sum, because the difference of mean square and squared mean loses digits.
            variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / count
            self._follow(mean.detach(), variance.detach() * count / (count - 1))
            scaled = centred * torch.rsqrt(variance + self.eps)[:, None, None]
            if self.affine:
                scaled = scaled * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronise(model: nn.Module) -> None:
    """Let every batch norm of a model, in place, see the batch of all processes; names and weights stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm
