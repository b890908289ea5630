"""The networks by name: SAROSS-Net and its baselines."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ingest.errors import UsageError
from models.networks.architecture import Architecture
from models.networks.baselines.cbdnet import CBDNet
from models.networks.baselines.deeplabv2 import DeepLabV2, MultiScaleDeepLabV2
from models.networks.baselines.library import LibraryModel
from models.networks.saross import SAROSSNet

NETWORKS: dict[str, Callable[[Architecture], nn.Module]] = {
    "saross": SAROSSNet,
    "unet": LibraryModel("Unet"),
    "unet++": LibraryModel("UnetPlusPlus"),
    "linknet": LibraryModel("Linknet"),
    # All of the encoder, dilated to stride 8 as in its paper; the library's default stops after two stages.
    "pspnet": LibraryModel("PSPNet", settings={"encoder_depth": 5, "output_stride": 8}),
    "deeplabv2": DeepLabV2,
    "deeplabv2-msc": MultiScaleDeepLabV2,
    "deeplabv3+": LibraryModel("DeepLabV3Plus"),
    "segformer": LibraryModel("Segformer", encoder="mit_b0"),
    "cbdnet": CBDNet,
}


def build_network(architecture: Architecture) -> nn.Module:
    """Make a network with random weights: (B, in_channels, H, W) to logits (B, classes, H, W), any H and W >= 32.

    One with a loss of its own has `auxiliary_loss(labels)`: labels (B, H, W) of the images of the last forward in
    training mode to a scalar, already weighted. Raises `UsageError` for an unknown network, encoder or skip module.
    """
    try:
        make = NETWORKS[architecture.network]
    except KeyError:
        known = ", ".join(sorted(NETWORKS))
        raise UsageError(architecture.network, "no such network", f"known are {known}") from None
    return make(architecture)
