"""Whether a candidate's surroundings look like a sea with oil, by a classifier on ImageNet features.

The encoder is EfficientNet-Lite0 with unchanged ImageNet weights; only a linear layer on top was trained, on chips
with one label each.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.networks.efficientnet import TOP_CHANNELS, EfficientNetLite0
from preprocess.options import contrast_input

SIDE = 400  # cells of the surroundings, both ways: 16 km at 40 m
_REDUCTION = 2  # cells averaged, both ways, before the encoder looks
_SMALL = 300  # cells a side
_LEAST_SHARE = 1e-2  # of the median amplitude; below this, dark is dark


class Surroundings(nn.Module):
    """Contrast of the surroundings to the logit of oil in them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0(in_channels=1)
        self.classifier = nn.Linear(FEATURES, 1)

    def forward(self, contrast: Tensor) -> Tensor:
        """(B, 1, H, W) as `surroundings_input` gives it to logits (B,)."""
        logits: Tensor = self.classifier(self.features(contrast))
        return logits[:, 0]

    def features(self, contrast: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, FEATURES): means of the top, and four statistics of three levels of the pyramid."""
        pyramid = self.encoder(contrast)
        top = self.encoder.top(pyramid[-1])
        pooled = [top.mean((2, 3))]
        for level in pyramid[2:]:
            pooled += [level.mean((2, 3)), level.std((2, 3)), level.amax((2, 3)), level.amin((2, 3))]
        return torch.cat(pooled, dim=1)


FEATURES = TOP_CHANNELS + 4 * sum(EfficientNetLite0.channels[2:])


def window_around(middle: tuple[int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the `SIDE` cells around a place in an image of `shape`, or of all where it has less."""
    starts = (min(max(0, at - SIDE // 2), max(0, n - SIDE)) for at, n in zip(middle, shape, strict=True))
    rows, columns = (slice(start, min(start + SIDE, n)) for start, n in zip(starts, shape, strict=True))
    return rows, columns


def surroundings_input(amplitude: NDArray[np.floating]) -> NDArray[np.float32]:
    """Turn amplitudes (H, W), NaN = no data, into what `Surroundings` takes, (1, H // 2, W // 2).

    Smaller images than `_SMALL` are not reduced: (1, H, W).
    """
    factor = _REDUCTION if max(amplitude.shape) > _SMALL else 1
    height, width = (n // factor * factor for n in amplitude.shape)
    blocks = amplitude[:height, :width].reshape(height // factor, factor, width // factor, factor)
    valid = np.isfinite(blocks)
    count = valid.sum(axis=(1, 3))
    means = np.where(count > 0, np.where(valid, blocks, 0).sum(axis=(1, 3)) / np.maximum(count, 1), np.nan)
    if not np.isfinite(means).any():
        return np.zeros((1, *means.shape), np.float32)
    least = float(np.nanmedian(means)) * _LEAST_SHARE + 1e-12
    return np.nan_to_num(contrast_input(20 * np.log10(np.maximum(means, least))))[None]
