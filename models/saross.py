"""SAROSS-Net: MambaVision encoder, CAFT blocks along UNet++ skips, convolutional decoder (DAKD paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.architecture import Architecture
from models.caft import CAFT
from models.mambavision import SIZES, MambaVision


class DecoderBlock(nn.Module):
    """Two 3x3 convolutions over a skip and the upsampled deeper features."""

    def __init__(self, skip_channels: int, low_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv3x3(skip_channels + low_channels, skip_channels), _conv3x3(skip_channels, skip_channels)
        )

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        low = F.interpolate(low, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        result: Tensor = self.layers(torch.cat([skip, low], dim=1))
        return result


def _conv3x3(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class SAROSSNet(nn.Module):
    """Segmentation network; logits at the input's resolution, for any input of at least 32 x 32.

    Rows are the strides 2, 4, 8, 16, 32 of the encoder. Node (i, j) of the UNet++ triangle sees node
    (i, j-1) and, from the row below, node (i+1, j-1): the inner nodes are CAFT blocks, the last one of each
    row is a block of the convolutional decoder.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.encoder = MambaVision(SIZES[architecture.encoder or "nano"], architecture.in_channels)
        channels = self.encoder.channels
        rows = len(channels)
        self.skips = nn.ModuleDict(
            {
                f"{i}_{j}": CAFT(channels[i], channels[i + 1], heads=2**i)
                for j in range(1, rows - 1)
                for i in range(rows - 1 - j)
            }
        )
        self.decoder = nn.ModuleList(DecoderBlock(channels[i], channels[i + 1]) for i in range(rows - 1))
        self.head = nn.Sequential(_conv3x3(channels[0], channels[0]), nn.Conv2d(channels[0], architecture.classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) normalised image to (B, classes, H, W) logits."""
        column = self.encoder(image)
        while len(column) > 1:
            # One step right in the triangle; the lowest pair of the column is where the decoder continues.
            j = len(self.decoder) + 2 - len(column)
            last = len(column) - 2
            column = [
                self.decoder[i](column[i], column[i + 1])
                if i == last
                else self.skips[f"{i}_{j}"](column[i], column[i + 1])
                for i in range(last + 1)
            ]
        features = F.interpolate(column[0], size=image.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.head(features)
        return logits
