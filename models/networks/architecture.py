"""The description of a segmentation network, as stored in a checkpoint, and the classes it distinguishes."""

from __future__ import annotations

from dataclasses import dataclass

from models.classes import CLASSES


@dataclass(frozen=True)
class Architecture:
    """Which network, and its options; `models.networks.build.build_network` makes it."""

    network: str = "saross"  # a key of models.networks.build.NETWORKS
    encoder: str | None = None  # None: the network's own default
    in_channels: int = 1
    classes: int = len(CLASSES)
    skip: str = "caft"  # of SAROSS-Net: a key of models.networks.saross.SKIPS
    presence: bool = False  # of SAROSS-Net with EfficientNet: weigh oil by whether the surroundings show any
    windows: tuple[int, int] | None = None  # of MambaVision at strides 16 and 32; None: the size's own
