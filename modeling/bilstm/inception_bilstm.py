"""Inception v3 up to its last mixed block, as TF-slim's `inception_v3` of 2016 computes it.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016; the layers' names are torchvision's.
What differs from torchvision's network: average pools leave the padding out of the mean, batch norm has no scale, epsilon
0.001, and stores the biased variance.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_bilstm import BiLSTMInceptionConfig


class ShiftedBatchNorm(nn.Module):
    """Batch norm without scale: (x - mean) / sqrt(variance + epsilon) + bias.

    In training the moving averages follow the batch's mean and *biased* variance, as TensorFlow's did.
    """

    def __init__(self, channels: int, epsilon: float, decay: float) -> None:
        super().__init__()
        self.epsilon, self.decay = epsilon, decay
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, None, self.bias, False, 0.0, self.epsilon)
        with torch.no_grad():
            variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), 1 - self.decay)
            self.running_var.lerp_(variance.to(self.running_var.dtype), 1 - self.decay)
        return F.batch_norm(x, None, None, None, self.bias, True, 0.0, self.epsilon)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, sizes: "_Sizes", inputs: int, outputs: int, kernel, stride: int = 1, padding=0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = ShiftedBatchNorm(outputs, sizes.config.batch_norm_epsilon, sizes.config.moving_average_decay)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Sizes:
    """Channels under the depth multiplier, and layers made with them."""

    def __init__(self, config: BiLSTMInceptionConfig) -> None:
        self.config = config

    def __call__(self, channels: int) -> int:
        return max(int(channels * self.config.depth_multiplier), self.config.min_depth)

    def conv(self, inputs: int, channels: int, kernel, stride: int = 1, same: bool = True) -> ConvNorm:
        """A layer whose padding keeps the size, or (`same` False) that has none; `inputs` are real channels."""
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, wide // 2) if same else 0
        return ConvNorm(self, inputs, self(channels), kernel, stride, padding)


def _average(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class MixedA(nn.Module):
    """Mixed_5b, 5c, 5d: 35 x 35."""

    def __init__(self, s: _Sizes, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = s.conv(inputs, 64, 1)
        self.branch5x5_1 = s.conv(inputs, 48, 1)
        self.branch5x5_2 = s.conv(s(48), 64, 5)
        self.branch3x3dbl_1 = s.conv(inputs, 64, 1)
        self.branch3x3dbl_2 = s.conv(s(64), 96, 3)
        self.branch3x3dbl_3 = s.conv(s(96), 96, 3)
        self.branch_pool = s.conv(inputs, pooled, 1)
        self.channels = 2 * s(64) + s(96) + s(pooled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_average(x))], 1
        )


class MixedB(nn.Module):
    """Mixed_6a: 35 x 35 to 17 x 17."""

    def __init__(self, s: _Sizes, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = s.conv(inputs, 384, 3, 2, same=False)
        self.branch3x3dbl_1 = s.conv(inputs, 64, 1)
        self.branch3x3dbl_2 = s.conv(s(64), 96, 3)
        self.branch3x3dbl_3 = s.conv(s(96), 96, 3, 2, same=False)
        self.channels = s(384) + s(96) + inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class MixedC(nn.Module):
    """Mixed_6b to 6e: 17 x 17, with long kernels."""

    def __init__(self, s: _Sizes, inputs: int, inner: int) -> None:
        super().__init__()
        across, down = (1, 7), (7, 1)
        self.branch1x1 = s.conv(inputs, 192, 1)
        self.branch7x7_1 = s.conv(inputs, inner, 1)
        self.branch7x7_2 = s.conv(s(inner), inner, across)
        self.branch7x7_3 = s.conv(s(inner), 192, down)
        self.branch7x7dbl_1 = s.conv(inputs, inner, 1)
        self.branch7x7dbl_2 = s.conv(s(inner), inner, down)
        self.branch7x7dbl_3 = s.conv(s(inner), inner, across)
        self.branch7x7dbl_4 = s.conv(s(inner), inner, down)
        self.branch7x7dbl_5 = s.conv(s(inner), 192, across)
        self.branch_pool = s.conv(inputs, 192, 1)
        self.channels = 4 * s(192)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_average(x))], 1)


class MixedD(nn.Module):
    """Mixed_7a: 17 x 17 to 8 x 8."""

    def __init__(self, s: _Sizes, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = s.conv(inputs, 192, 1)
        self.branch3x3_2 = s.conv(s(192), 320, 3, 2, same=False)
        self.branch7x7x3_1 = s.conv(inputs, 192, 1)
        self.branch7x7x3_2 = s.conv(s(192), 192, (1, 7))
        self.branch7x7x3_3 = s.conv(s(192), 192, (7, 1))
        self.branch7x7x3_4 = s.conv(s(192), 192, 3, 2, same=False)
        self.channels = s(320) + s(192) + inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, F.max_pool2d(x, 3, 2)], 1)


class MixedE(nn.Module):
    """Mixed_7b, 7c: 8 x 8, with branches that part."""

    def __init__(self, s: _Sizes, inputs: int) -> None:
        super().__init__()
        across, down = (1, 3), (3, 1)
        self.branch1x1 = s.conv(inputs, 320, 1)
        self.branch3x3_1 = s.conv(inputs, 384, 1)
        self.branch3x3_2a = s.conv(s(384), 384, across)
        self.branch3x3_2b = s.conv(s(384), 384, down)
        self.branch3x3dbl_1 = s.conv(inputs, 448, 1)
        self.branch3x3dbl_2 = s.conv(s(448), 384, 3)
        self.branch3x3dbl_3a = s.conv(s(384), 384, across)
        self.branch3x3dbl_3b = s.conv(s(384), 384, down)
        self.branch_pool = s.conv(inputs, 192, 1)
        self.channels = s(320) + 4 * s(384) + s(192)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(_average(x))]
        return torch.cat(parts, 1)


class InceptionV3(nn.Module):
    """Pictures to one vector each, (batch, 3, d, d) in [-1, 1] -> (batch, F); F is `channels`, 2048 at full width."""

    def __init__(self, config: BiLSTMInceptionConfig) -> None:
        super().__init__()
        s = _Sizes(config)
        self.Conv2d_1a_3x3 = s.conv(config.num_channels, 32, 3, 2, same=False)
        self.Conv2d_2a_3x3 = s.conv(s(32), 32, 3, same=False)
        self.Conv2d_2b_3x3 = s.conv(s(32), 64, 3)
        self.Conv2d_3b_1x1 = s.conv(s(64), 80, 1, same=False)
        self.Conv2d_4a_3x3 = s.conv(s(80), 192, 3, same=False)
        self.Mixed_5b = MixedA(s, s(192), 32)
        self.Mixed_5c = MixedA(s, self.Mixed_5b.channels, 64)
        self.Mixed_5d = MixedA(s, self.Mixed_5c.channels, 64)
        self.Mixed_6a = MixedB(s, self.Mixed_5d.channels)
        self.Mixed_6b = MixedC(s, self.Mixed_6a.channels, 128)
        self.Mixed_6c = MixedC(s, self.Mixed_6b.channels, 160)
        self.Mixed_6d = MixedC(s, self.Mixed_6c.channels, 160)
        self.Mixed_6e = MixedC(s, self.Mixed_6d.channels, 192)
        self.Mixed_7a = MixedD(s, self.Mixed_6e.channels)
        self.Mixed_7b = MixedE(s, self.Mixed_7a.channels)
        self.Mixed_7c = MixedE(s, self.Mixed_7b.channels)
        self.channels = self.Mixed_7c.channels

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        x = pixel_values
        for name, layer in self.named_children():
            x = layer(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
        return x.mean(dim=(2, 3))

    def convolution_penalty(self) -> torch.Tensor:
        """() half the sum of squares of all kernels; the original adds 4e-5 times it to the loss it trains."""
        return sum(layer.weight.square().sum() for layer in self.modules() if isinstance(layer, nn.Conv2d)) / 2


__all__ = ["InceptionV3"]
