"""CLIP's ResNet image tower with attention pooling (RN50, RN101, RN50x4, RN50x16, RN50x64).

Differences from a common ResNet: three convolutions in the stem, average pooling instead of strides inside the blocks,
and one query of multi-head attention instead of global average pooling. Parameter names are OpenAI's, so the `visual.*`
entries of an official checkpoint fit without renaming.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

HEAD_DIM = 64

# Modules whose first values aren't transformers' default carry one of these as `initial_values`. The model sets them in
# `_init_weights`, module by module: transformers passes over custom modules that only contain others.
TORCH_DEFAULT = "torch default"
ZERO_WEIGHT = "zero weight"
UNIT_FAN_IN = "variance of one over the input width"


def conv(in_channels: int, out_channels: int, kernel: int, **options: int) -> nn.Conv2d:
    """A convolution as all of this tower's: no bias, torch's default start."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, bias=False, **options)
    layer.initial_values = TORCH_DEFAULT
    return layer


class ResNetBottleneck(GradientCheckpointingLayer):
    """1x1, 3x3, 1x1 convolution and a shortcut; (batch, in, h, w) -> (batch, 4 * planes, h / stride, w / stride)."""

    def __init__(self, in_channels: int, planes: int, stride: int, with_shortcut: bool) -> None:
        super().__init__()
        out_channels = 4 * planes
        self.conv1 = conv(in_channels, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(planes)
        # No convolution strides: an average pool after the 3x3 and before the shortcut's 1x1 does.
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = conv(planes, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        # A fresh block starts as its shortcut.
        self.bn3.initial_values = ZERO_WEIGHT
        self.downsample = None
        if with_shortcut:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            parts = [("-1", pool), ("0", conv(in_channels, out_channels, 1))]
            self.downsample = nn.Sequential(OrderedDict([*parts, ("1", nn.BatchNorm2d(out_channels))]))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.bn1(self.conv1(hidden_states)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(self.avgpool(inner)))
        shortcut = hidden_states if self.downsample is None else self.downsample(hidden_states)
        return F.relu(inner + shortcut)


class MeanQueryPool(nn.Module):
    """One attention query, the mean token, over the mean token and all grid tokens; (batch, C, g, g) -> (batch, D)."""

    def __init__(self, grid: int, channels: int, output_dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.heads = channels // HEAD_DIM
        self.positional_embedding = nn.Parameter(torch.empty(grid * grid + 1, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, output_dim)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            linear.initial_values = UNIT_FAN_IN

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        batch = feature_map.shape[0]
        if tuple(feature_map.shape[2:]) != (self.grid, self.grid):
            height, width = feature_map.shape[2:]
            raise ValueError(
                f"The image tower was built for pictures of {32 * self.grid} pixels and got about "
                f"{32 * height} x {32 * width}; use the processor that is stored with the model."
            )
        tokens = feature_map.flatten(2).transpose(1, 2)  # (batch, g * g, C)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        tokens = tokens + self.positional_embedding.to(tokens.dtype)

        def split_heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.view(batch, -1, self.heads, HEAD_DIM).transpose(1, 2)  # (batch, heads, tokens, 64)

        query = split_heads(self.q_proj(tokens[:, :1]))
        key, value = split_heads(self.k_proj(tokens)), split_heads(self.v_proj(tokens))
        pooled = F.scaled_dot_product_attention(query, key, value)  # (batch, heads, 1, 64)
        return self.c_proj(pooled.transpose(1, 2).reshape(batch, -1))


class ModifiedResNet(nn.Module):
    """The whole tower; (batch, 3, size, size) normalised pixels -> (batch, D) image features, not normalised."""

    def __init__(self, config) -> None:
        super().__init__()
        width = config.width
        self.conv1 = conv(config.num_channels, width // 2, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = conv(width // 2, width // 2, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = conv(width // 2, width, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)

        in_channels = width
        for stage, blocks in enumerate(config.layers):
            planes = width * 2**stage
            stage_blocks = []
            for index in range(blocks):
                # The first block of every stage, stage 1 included, has a convolution in its shortcut.
                stride = 2 if index == 0 and stage > 0 else 1
                stage_blocks.append(ResNetBottleneck(in_channels, planes, stride, with_shortcut=index == 0))
                in_channels = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*stage_blocks))
        self.attnpool = MeanQueryPool(config.image_size // 32, in_channels, config.output_dim)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden_states = F.relu(self.bn1(self.conv1(pixel_values)))
        hidden_states = F.relu(self.bn2(self.conv2(hidden_states)))
        hidden_states = self.avgpool(F.relu(self.bn3(self.conv3(hidden_states))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            hidden_states = stage(hidden_states)
        return self.attnpool(hidden_states)
