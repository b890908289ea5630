"""Training chips: the model's view of a small ocean, its truth, and both as image files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingest.files import whole_file
from models.simulator import sea
from models.simulator.ocean import Ocean, OceanOptions, simulate_ocean
from models.simulator.speckle import GRD_CORRELATION, GRD_LOOKS, multilooked_speckle, speckled

GRD_SPACING = 10.0  # m, pixels of an IW GRDH image
CHIP_OPTIONS = OceanOptions(
    slicks_per_100_km2=0.9,
    lookalikes_per_100_km2=0.48,
    ships_per_100_km2=0.16,
    land_probability=0.15,
    land_fraction=(0.04, 0.6),
    border_probability=0.08,
    polarisations=("VV",),
)
_SPECKLE_STREAM, _GEOMETRY_STREAM = 100, 101


def observed(ocean: Ocean, polarisation: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Denoised sigma nought as an instrument gives it: (signal + noise) x speckle - noise, at least 0, NaN = no data.

    The speckle is that of IW GRDH averaged to the ocean's spacing.
    """
    factor = max(1, round(ocean.spacing / GRD_SPACING))
    looks, correlation = multilooked_speckle(GRD_LOOKS, GRD_CORRELATION, factor)
    noise = ocean.noise_equivalent[polarisation][None, :]
    power = speckled(ocean.sigma_nought[polarisation] + noise, looks, correlation, rng)
    return np.where(ocean.valid, np.maximum(power - noise, np.float32(0)), np.float32(np.nan)).astype(np.float32)


def simulate_chip(
    seed: int,
    size: int = 256,
    options: OceanOptions = CHIP_OPTIONS,
    margin: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Simulate a square chip: VV sigma nought (size, size), linear m2 m-2, NaN = no data, and its five-class truth.

    The chip lies at a random place of the range of incidence angles in `options`. With a `margin` it is the middle of
    an ocean that much wider on every side, whose slicks and calms reach into it as they do into a tile of a scene.
    The same seed (>= 0), size, options and margin give the same bytes.
    """
    whole, middle = size + 2 * margin, slice(margin, margin + size)
    rng = np.random.default_rng([seed, _GEOMETRY_STREAM])
    near, far = (np.tan(np.radians(angle)) for angle in options.incidence_near_far)
    span = min(whole * options.spacing / sea.EFFECTIVE_HEIGHT, far - near)
    start = rng.uniform(near, far - span) if far - near > span else near
    angles = (float(np.degrees(np.arctan(start))), float(np.degrees(np.arctan(start + span))))
    ocean = simulate_ocean((whole, whole), seed, replace(options, incidence_near_far=angles, polarisations=("VV",)))
    image = observed(ocean, "VV", np.random.default_rng([seed, _SPECKLE_STREAM]))
    return image[middle, middle], ocean.truth[middle, middle]


DARKEST_DB, BRIGHTEST_DB = -30.0, 0.0  # sigma nought at grey 1 and 255; 0 is no data


def write_chip(out: Path, seed: int, size: int) -> Path:
    """Write images/<seed>.png, masks/<seed>.png (255 = oil) and classes/<seed>.png (0..4); returns the image."""
    sigma_nought, truth = simulate_chip(seed, size)
    sigma_nought_db = 10 * np.log10(np.maximum(sigma_nought, 1e-4))
    grey = 1 + 254 * np.clip((sigma_nought_db - DARKEST_DB) / (BRIGHTEST_DB - DARKEST_DB), 0, 1)
    layers = {
        "images": np.where(np.isnan(sigma_nought), 0, grey),
        "masks": np.where(truth == 1, 255, 0),
        "classes": truth,
    }
    for name, layer in layers.items():
        with whole_file(out / name / f"{seed:08d}.png") as hidden:
            Image.fromarray(layer.astype(np.uint8)).save(hidden)
    return out / "images" / f"{seed:08d}.png"
