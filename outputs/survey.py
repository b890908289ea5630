"""Measuring how much of a scene was looked at, and over how much of it slicks would not show for want of wind."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from outputs.coverage import Coverage
from outputs.measurements import Progress
from outputs.probability import Mask, predicted_land
from preprocess.grid import Grid
from preprocess.pipeline import CalibratedScene

_BLOCK = 1000.0  # m, over which sigma nought is averaged
_MOST = 4.0  # times the limit that a cell counts at most, so that a ship does not make a block rough
# VV sigma nought in dB of CMOD5.N (Hersbach 2010, doi 10.1175/2009JTECHO698.1) at 3 m/s, averaged over directions, as a
# polynomial of (incidence - 35) degrees: within 0.05 dB from 18 to 46 degrees.
_CALM_VV_DB = (-3.4e-4, 1.714e-2, -0.6096, -20.343)


def measure_coverage(
    calibrated: CalibratedScene,
    class_probability: xr.DataArray,
    land: Mask | None,
    progress: Progress = lambda done, total: None,
) -> Coverage:
    """Measure what of a scene was looked at; `land` is True on land, (line, pixel); `progress` takes lines, and all.

    Land is also what the model takes for land. The sea is calm where the sigma nought of a square kilometre is below
    that of CMOD5.N at a wind of 3 m/s, below which slicks and calm sea look alike.
    """
    ground = predicted_land(class_probability)
    if land is not None:
        ground |= land
    missing = np.isnan(np.asarray(class_probability[0].data)) & ~ground
    sea = ~(ground | missing)
    down, across = calibrated.grid.spacing
    cell_km2 = down * across / 1e6
    sea_km2, land_km2, no_data_km2 = (round(np.count_nonzero(one) * cell_km2, 3) for one in (sea, ground, missing))
    return Coverage(sea_km2, land_km2, no_data_km2, _low_wind_share(calibrated, sea, progress))


def _low_wind_share(calibrated: CalibratedScene, sea: Mask, progress: Progress) -> float | None:
    polarisations = [str(name) for name in calibrated.sigma_nought.polarisation.values]
    known = [index for index, name in enumerate(polarisations) if name in ("VV", "HH")]
    if not known or not sea.any():
        return None
    power, grid = calibrated.sigma_nought[known[0]], calibrated.grid
    down, across = (max(1, round(_BLOCK / spacing)) for spacing in grid.spacing)
    columns = np.arange(0, grid.shape[1], across)
    calm = 0
    for row in range(0, grid.shape[0], down):
        limit = _calm_limit(grid, row + down // 2, columns + across // 2, polarisations[known[0]])
        wet = sea[row : row + down]
        block = np.asarray(power[row : row + down].data)
        block = np.where(wet, np.fmin(block, _MOST * np.repeat(limit, across)[: grid.shape[1]]), 0.0)
        count = np.add.reduceat(wet, columns, axis=1, dtype=np.int64).sum(axis=0)
        mean = np.add.reduceat(block, columns, axis=1).sum(axis=0) / np.maximum(count, 1)
        calm += int(count[mean < limit].sum())
        progress(row + len(wet), grid.shape[0])
    return round(calm / int(np.count_nonzero(sea)), 4)


def _calm_limit(grid: Grid, row: int, columns: NDArray[np.integer], polarisation: str) -> NDArray[np.float64]:
    """Sigma nought at 3 m/s, linear; of HH with the polarisation ratio of Thompson et al. (1998), alpha = 1."""
    line, pixel = grid.line[min(row, grid.shape[0] - 1)], grid.pixel[np.minimum(columns, grid.shape[1] - 1)]
    incidence = grid.geolocation.incidence_angle(line, pixel)
    limit = 10 ** (np.polyval(_CALM_VV_DB, np.clip(incidence, 18.0, 47.0) - 35.0) / 10)
    if polarisation == "HH":
        slope = np.tan(np.radians(incidence)) ** 2
        limit *= ((1 + slope) / (1 + 2 * slope)) ** 2
    return np.asarray(limit)
