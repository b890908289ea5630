"""DeepLabv2: dilated encoder and atrous spatial pyramid pooling (Chen et al. 2018, TPAMI 40:834, arXiv 1606.00915)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.architecture import Architecture
from models.networks.baselines.library import at_multiple_of, make_encoder

STRIDE = 8  # of the features that are classified
RATES = (6, 12, 18, 24)  # ASPP-L
SCALES = (0.5, 0.75, 1.0)


class DeepLabV2(nn.Module):
    """Encoder at output stride 8; four parallel atrous 3x3 convolutions classify its last features and are summed."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.encoder = make_encoder(architecture.encoder or "resnet101", architecture.in_channels, STRIDE)
        channels = self.encoder.out_channels[-1]
        self.aspp = nn.ModuleList(
            nn.Conv2d(channels, architecture.classes, 3, padding=rate, dilation=rate) for rate in RATES
        )
        for branch in self.aspp:  # the sum of four large branches must not start far from zero
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) to logits (B, classes, H, W)."""
        return at_multiple_of(STRIDE, self._logits, image)

    def _logits(self, image: Tensor) -> Tensor:
        features = self.encoder(image)[-1]
        scores = torch.stack([branch(features) for branch in self.aspp]).sum(dim=0)
        return _resized(scores, image.shape[-2:])


class MultiScaleDeepLabV2(nn.Module):
    """One DeepLabv2 for the image at three scales; per pixel and class the largest logit is used (MSC)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.network = DeepLabV2(architecture)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) to logits (B, classes, H, W)."""
        size = image.shape[-2:]
        scaled = [_resized(image, torch.Size(round(scale * n) for n in size)) for scale in SCALES]
        return torch.stack([_resized(self.network(x), size) for x in scaled]).amax(dim=0)


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
