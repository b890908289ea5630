"""SAROSS-Net: MambaVision encoder, CAFT blocks along UNet++ skips, convolutional decoder (DAKD paper, section 3.3).

Other encoders and skips can be chosen by name, for the paper's Tables 5 and 7.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ingest.errors import UsageError
from models.classes import OIL
from models.networks.architecture import Architecture
from models.networks.caft import CAFT
from models.networks.efficientnet import TOP_CHANNELS, EfficientNetLite0
from models.networks.mambavision import SIZES, MambaVision, mambavision_size
from models.networks.resnet import ResNet34

DEFAULT_ENCODER = "nano"


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


class PassOn(nn.Module):
    """Skip without a module: the high-resolution features as they are (first row of the paper's Table 7)."""

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        return high


class ConvSkip(nn.Module):
    """3x3 convolution over the high-resolution and the upsampled low-resolution features, as UNet++ has it.

    It stands for a CAFT block in the paper's Table 7, which does not say how the low-resolution features
    enter: here they are concatenated (docs/decisions/0005-table-7.md).
    """

    def __init__(self, high_channels: int, low_channels: int) -> None:
        super().__init__()
        self.layers = _conv3x3(high_channels + low_channels, high_channels)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """high (B, C, H, W), low (B, C', h, w); returns (B, C, H, W)."""
        low = F.interpolate(low, size=high.shape[-2:], mode="bilinear", align_corners=False)
        result: Tensor = self.layers(torch.cat([high, low], dim=1))
        return result


# From the channels of the high-resolution and of the low-resolution features, and the row in the triangle.
SKIPS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "none": lambda high, low, row: PassOn(),
    "conv": lambda high, low, row: ConvSkip(high, low),
    "caft": lambda high, low, row: CAFT(high, low, heads=2**row),  # about the same width of a head in every row
}
PLAIN_ENCODERS: dict[str, Callable[[int], ResNet34 | EfficientNetLite0]] = {
    "resnet34": ResNet34,
    "lite0": EfficientNetLite0,
}
ENCODERS = (*SIZES, *PLAIN_ENCODERS)
PRESENCE_WINDOW = 7  # cells of stride 32 that decide whether there is oil: 224 pixels


def build_encoder(architecture: Architecture) -> MambaVision | ResNet34 | EfficientNetLite0:
    """Make the encoder that an architecture names: image to features at strides 2, 4, 8, 16 and 32.

    Raises `UsageError` for an unknown one, and for windows of an encoder that has none.
    """
    name = architecture.encoder or DEFAULT_ENCODER
    if name not in ENCODERS:
        raise UsageError(name, "no such encoder of SAROSS-Net", f"known are {', '.join(ENCODERS)}")
    if name in SIZES:
        return MambaVision(mambavision_size(name, architecture.windows), architecture.in_channels)
    if architecture.windows is not None:
        raise UsageError(name, "this encoder has no attention windows", "omit the windows")
    return PLAIN_ENCODERS[name](architecture.in_channels)


class SAROSSNet(nn.Module):
    """Segmentation network; logits at the input's resolution, for any input of at least 32 x 32.

    Rows are the strides 2, 4, 8, 16, 32 of the encoder. Node (i, j) of the UNet++ triangle sees node
    (i, j-1) and, from the row below, node (i+1, j-1): the inner nodes are CAFT blocks (or others of `SKIPS`), the last
    one of each row is a block of the convolutional decoder. Raises `UsageError` for an unknown encoder or skip module.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.skip not in SKIPS:
            raise UsageError(architecture.skip, "no such skip module", f"known are {', '.join(SKIPS)}")
        make_skip = SKIPS[architecture.skip]
        self.encoder = build_encoder(architecture)
        channels = self.encoder.channels
        rows = len(channels)
        self.skips = nn.ModuleDict(
            {
                f"{i}_{j}": make_skip(channels[i], channels[i + 1], i)
                for j in range(1, rows - 1)
                for i in range(rows - 1 - j)
            }
        )
        self.decoder = nn.ModuleList(DecoderBlock(channels[i], channels[i + 1]) for i in range(rows - 1))
        self.head = nn.Sequential(_conv3x3(channels[0], channels[0]), nn.Conv2d(channels[0], architecture.classes, 1))
        self.presence = Presence(self.encoder) if architecture.presence else None

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) normalised image to (B, classes, H, W) logits."""
        return self.with_presence(image)[0]

    def with_presence(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and, if the network has it, the logit of oil in the surroundings, (B, 1, h, w)."""
        column = self.encoder(image)
        presence = None if self.presence is None else self.presence(self.encoder, column[-1])
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
        return (logits if presence is None else _weighed(logits, presence)), presence


class Presence(nn.Module):
    """Whether the surroundings of a place show oil, classified as ImageNet's classifier does a picture.

    Raises `UsageError` for an encoder without such a classifier.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(encoder, EfficientNetLite0):
            raise UsageError("presence", "an encoder without a classifier's features", "take the encoder lite0")
        self.classifier = nn.Conv2d(TOP_CHANNELS, 1, 1)

    def forward(self, encoder: EfficientNetLite0, deepest: Tensor) -> Tensor:
        """(B, 320, h, w) to logits (B, 1, h, w)."""
        window = PRESENCE_WINDOW
        around = F.avg_pool2d(encoder.top(deepest), window, 1, window // 2, count_include_pad=False)
        logits: Tensor = self.classifier(around)
        return logits


def _weighed(logits: Tensor, presence: Tensor) -> Tensor:
    """Lower the logit of oil where the surroundings speak against it."""
    log_present = F.logsigmoid(F.interpolate(presence, size=logits.shape[-2:], mode="bilinear", align_corners=False))
    return torch.cat([logits[:, :OIL], logits[:, OIL : OIL + 1] + log_present, logits[:, OIL + 1 :]], dim=1)
