"""CBD-Net: contextual and boundary-supervised oil spill detection (Zhu et al. 2022, IEEE TGRS 60, 5213910)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ingest.errors import UsageError
from models.classes import IGNORE, OIL
from models.networks.architecture import Architecture
from models.networks.baselines.library import at_multiple_of, make_encoder

DILATIONS = (1, 2, 4, 8)
BOUNDARY_WEIGHT = 0.5  # of the boundary loss beside the others; the paper's is not known


class SpatialChannelExcitation(nn.Module):
    """scSE: channels weighed by their means plus pixels by their channels (Roy et al. 2018, arXiv 1803.02579)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 2, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(nn.Conv2d(channels, 1, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        weighted: Tensor = x * self.channel(x) + x * self.spatial(x)
        return weighted


class Context(nn.Module):
    """Dilated convolutions in series whose outputs are all summed: paths of one to four of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=d, dilation=d) for d in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        result = x
        for layer in self.layers:
            x = F.relu(layer(x))
            result = result + x
        return result


class CBDNet(nn.Module):
    """ResNet with scSE after each stage, dilated context at its end, and a decoder that adds the skips up again.

    `auxiliary_loss` is to be added to whatever the logits are trained with.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        name = architecture.encoder or "resnet34"
        self.encoder = make_encoder(name, architecture.in_channels)
        if not hasattr(self.encoder, "conv1") or not hasattr(self.encoder, "layer4"):
            raise UsageError(name, "CBD-Net requires a ResNet encoder", "known are resnet18, resnet34, resnet50")
        channels = self.encoder.out_channels[2:]
        self.excitations = nn.ModuleList(SpatialChannelExcitation(c) for c in channels)
        self.context = Context(channels[-1])
        self.decoder = nn.ModuleList(_doubled(low, high) for high, low in pairwise(channels))
        self.head = nn.Sequential(
            _doubled(channels[0], channels[0]),
            nn.ConvTranspose2d(channels[0], 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, architecture.classes, 3, padding=1),
        )
        self._last: Tensor | None = None  # logits kept for `auxiliary_loss`

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) to logits (B, classes, H, W)."""
        logits = at_multiple_of(32, self._logits, image)
        self._last = logits if self.training else None
        return logits

    def auxiliary_loss(self, labels: Tensor) -> Tensor:
        """Weighted boundary loss of the last forward, available once; labels (B, H, W).

        Raises `RuntimeError` without a preceding forward in training mode.
        """
        logits, self._last = self._last, None
        if logits is None:
            raise RuntimeError("a boundary loss needs the logits of a forward in training mode")
        return BOUNDARY_WEIGHT * boundary_loss(logits, labels)

    def _logits(self, image: Tensor) -> Tensor:
        encoder = self.encoder
        x = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(image))))
        features = []  # at strides 4, 8, 16, 32
        for i, excitation in enumerate(self.excitations, start=1):
            x = excitation(getattr(encoder, f"layer{i}")(x))
            features.append(x)
        x = self.context(features.pop())
        for block, skip in zip(reversed(self.decoder), reversed(features), strict=True):
            x = block(x) + skip
        logits: Tensor = self.head(x)
        return logits


def boundary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One minus the F1 of oil boundaries within two pixels (Bokhovkin and Burnaev 2019, arXiv 1905.07852).

    logits (B, C, H, W); labels (B, H, W), where everything but `OIL` and `IGNORE` is not oil. Mean over the
    images that have such a boundary; zero where none has.
    """
    p = logits.float().softmax(dim=1)[:, OIL : OIL + 1]
    certain = 1 - _maximum((labels == IGNORE).float().unsqueeze(1), 3)  # next to no data there is no boundary
    truth = _boundary((labels == OIL).float().unsqueeze(1)) * certain
    predicted = _boundary(p) * certain
    tiny = torch.finfo(torch.float32).eps
    precision = _sum(predicted * _maximum(truth, 5)) / _sum(predicted).clamp_min(tiny)
    recall = _sum(_maximum(predicted, 5) * truth) / _sum(truth).clamp_min(tiny)
    f1 = 2 * precision * recall / (precision + recall).clamp_min(tiny)
    present = _sum(truth) > 0
    return ((1 - f1) * present).sum() / present.sum().clamp_min(1)


def _boundary(p: Tensor) -> Tensor:
    """How much of p (B, 1, H, W) is inside but next to the outside."""
    return _maximum(1 - p, 3) - (1 - p)


def _maximum(x: Tensor, window: int) -> Tensor:
    return F.max_pool2d(x, window, stride=1, padding=window // 2)


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3))


def _doubled(inputs: int, outputs: int) -> nn.Sequential:
    """The decoder block of LinkNet (Chaurasia and Culurciello 2017, arXiv 1707.03718): narrow, upsample, widen."""
    narrow = inputs // 4
    return nn.Sequential(
        *_normalised(nn.Conv2d(inputs, narrow, 1, bias=False)),
        *_normalised(nn.ConvTranspose2d(narrow, narrow, 3, stride=2, padding=1, output_padding=1, bias=False)),
        *_normalised(nn.Conv2d(narrow, outputs, 1, bias=False)),
    )


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()
