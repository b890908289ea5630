"""An ocean simulator: Sentinel-1-like scenes and chips with their truth, reproducible from a seed."""

from models.simulator.chips import CHIP_OPTIONS, observed, simulate_chip
from models.simulator.ocean import Ocean, OceanOptions, simulate_ocean
from models.simulator.speckle import GRD_CORRELATION, GRD_LOOKS, multilooked_speckle, speckled

__all__ = [
    "CHIP_OPTIONS",
    "GRD_CORRELATION",
    "GRD_LOOKS",
    "Ocean",
    "OceanOptions",
    "multilooked_speckle",
    "observed",
    "simulate_chip",
    "simulate_ocean",
    "speckled",
]
