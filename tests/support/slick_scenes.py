"""Small made-up scenes and class probabilities for the tests of `outputs`."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import xarray as xr

from ingest.scene import scene_from_name
from preprocess.geolocate import Geolocation
from preprocess.grid import Grid
from preprocess.pipeline import CalibratedScene
from tests.support.grids import geolocation_grid

CLASSES = ("sea", "oil", "look-alike", "ship", "land")
NAME = "S1A_IW_GRDH_1SDV_20210119T031653_20210119T031718_036201_043ED0_8255"
PROCESSED_AT = datetime(2021, 1, 19, 4, 0, 0, tzinfo=UTC)
SPACING = 10.0  # m, of the full-resolution image
LOOKS = (4, 4)


def image_grid(
    lines: int,
    samples: int,
    centre: tuple[float, float] = (3.0, 58.0),
    heading: float = 193.0,
    looks: tuple[int, int] = LOOKS,
) -> Grid:
    """The grid of an image of 10 m pixels around `centre` (lon, lat)."""
    points = geolocation_grid(*centre, heading, lines=lines, samples=samples, spacing=SPACING, shape=(6, 9))
    return Grid.of_image((lines, samples), Geolocation(points), looks)


def coordinates(shape: tuple[int, int], looks: tuple[int, int] = LOOKS) -> dict[str, np.ndarray]:
    """`line` and `pixel` of the cells of a multilooked raster."""
    (height, width), (a, r) = shape, looks
    return {"line": np.arange(height) * a + (a - 1) / 2, "pixel": np.arange(width) * r + (r - 1) / 2}


def scene(
    power: np.ndarray,
    polarisations: tuple[str, ...] = ("VV",),
    centre: tuple[float, float] = (3.0, 58.0),
    heading: float = 193.0,
) -> CalibratedScene:
    """A calibrated scene whose first polarisation has `power` (line, pixel), the others a tenth of it."""
    power = np.asarray(power, np.float32)
    stack = np.stack([power * np.float32(0.1 if i else 1.0) for i in range(len(polarisations))])
    sigma_nought = xr.DataArray(
        stack,
        dims=("polarisation", "line", "pixel"),
        coords={"polarisation": list(polarisations), **coordinates(power.shape)},
        name="sigma_nought",
    ).chunk({"polarisation": 1, "line": 64, "pixel": -1})
    grid = image_grid(power.shape[0] * LOOKS[0], power.shape[1] * LOOKS[1], centre, heading)
    return CalibratedScene(scene_from_name(NAME), sigma_nought, grid, ())


def probabilities(**planes: np.ndarray) -> xr.DataArray:
    """Class probabilities from planes by class name (`look_alike` for look-alike); sea takes the rest, NaN stays."""
    given = {name.replace("_", "-"): np.asarray(plane, np.float32) for name, plane in planes.items()}
    shape = next(iter(given.values())).shape
    rest = 1.0 - sum(given.values())
    missing = np.isnan(rest)
    stack = np.stack([given.get(name, np.zeros(shape, np.float32)) for name in CLASSES]).astype(np.float32)
    stack[0] = rest
    stack[:, missing] = np.nan
    return xr.DataArray(
        stack, dims=("class", "line", "pixel"), coords={"class": list(CLASSES), **coordinates(shape)}, name="p"
    )
