"""The networks by name: SAROSS-Net and those it is compared with."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ingest.errors import UsageError
from models.architecture import Architecture
from models.saross import SAROSSNet

NETWORKS: dict[str, Callable[[Architecture], nn.Module]] = {
    "saross": SAROSSNet,
}


def build_network(architecture: Architecture) -> nn.Module:
    """Make a network with random weights: (B, in_channels, H, W) to logits (B, classes, H, W), any H and W >= 32.

    Raises `UsageError` for an unknown network, encoder or skip module.
    """
    try:
        make = NETWORKS[architecture.network]
    except KeyError:
        known = ", ".join(sorted(NETWORKS))
        raise UsageError(architecture.network, "no such network", f"known are {known}") from None
    return make(architecture)
