"""The cost of a network: parameters and multiply-accumulates counted from shapes alone, and the paper's Table 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.networks.architecture import Architecture
from models.networks.mambavision import MambaVisionMixer
from models.networks.saross import SKIPS, SAROSSNet
from models.networks.selective_scan import scan_with

# Scan, per state and step: decay, drive, recurrence and read-out. The exponential is not counted.
SCAN_MACS = 4

# Table 7: millions of parameters and G "FLOPs" above no module, ms on an RTX 2080, MB above no module.
PAPER_TABLE_7: dict[str, dict[str, float | None]] = {
    "none": {"paper_params_m": None, "paper_gflops": None, "paper_ms": 39.52, "paper_mb": None},
    "conv": {"paper_params_m": 6.95, "paper_gflops": 37.06, "paper_ms": 48.36, "paper_mb": 37.0},
    "caft": {"paper_params_m": 0.89, "paper_gflops": 11.45, "paper_ms": 45.28, "paper_mb": 11.0},
}


@dataclass(frozen=True)
class Cost:
    """Parameters, multiply-accumulates for one image, and the selective scans' share of them.

    A multiply-accumulate (MAC) is one multiplication and one addition. Counted are convolutions, matrix
    products, attention and the scan; norms, activations, softmax and interpolation are not. What papers call
    FLOPs are mostly MACs: the authors of MambaVision give 15.0 G for B at 224 x 224, this count is 15.2 G.
    """

    parameters: int
    macs: int
    scan_macs: int


def network_cost(make: Callable[[], nn.Module], shape: tuple[int, int, int, int]) -> Cost:
    """Count the network that `make()` returns for an input (B, C, H, W), without computing anything."""
    scans: list[int] = []
    with torch.device("meta"):
        network = make().eval()
        image = torch.empty(shape)
    for mixer in network.modules():
        if isinstance(mixer, MambaVisionMixer):
            mixer.register_forward_hook(lambda mixer, inputs, output: scans.append(_scan_macs(mixer, inputs[0])))
    counter = FlopCounterMode(display=False)
    # The plain loop has no matrix product for the counter to see, so nothing in the scan counts twice.
    with torch.inference_mode(), scan_with("loop"), counter:
        network(image)
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2 + sum(scans), sum(scans))


def _scan_macs(mixer: MambaVisionMixer, tokens: Tensor) -> int:
    windows, length, _ = tokens.shape
    channels = mixer.D.numel()
    return windows * length * channels * (SCAN_MACS * mixer.states + 1)  # and D u_t


def table_7(encoder: str = "B", size: int = 512, in_channels: int = 1) -> list[dict[str, Any]]:
    """Count SAROSS-Net with each skip module of the paper's Table 7; one row per module, with the paper's figures.

    `params_m` and `gmacs` are of the whole network, `more_params_m` and `more_gmacs` what the module adds.
    """
    architecture = Architecture(encoder=encoder, in_channels=in_channels)
    costs = {
        skip: network_cost(partial(SAROSSNet, replace(architecture, skip=skip)), (1, in_channels, size, size))
        for skip in SKIPS
    }
    without = costs["none"]
    return [
        {
            "skip": skip,
            "params_m": round(cost.parameters / 1e6, 2),
            "gmacs": round(cost.macs / 1e9, 2),
            "more_params_m": round((cost.parameters - without.parameters) / 1e6, 2),
            "more_gmacs": round((cost.macs - without.macs) / 1e9, 2),
            **PAPER_TABLE_7[skip],
        }
        for skip, cost in costs.items()
    ]
