"""Features of a candidate: its appearance, its edge, and the sea around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.classes import LOOK_ALIKE, OIL
from models.objects.candidates import Candidate, Mask

Floats = NDArray[np.floating]
FEATURES = (
    "surroundings",  # logit of `models.objects.surroundings.Surroundings`
    "log_cells",
    "mean_probability",
    "highest_probability",
    "mean_lookalike",
    "contrast",  # median inside less median around, in spreads of the sea around
    "edge",  # mean step across the outline, in the same unit
    "texture",  # ln of the spread inside over the spread around
    "compactness",  # 4 pi area / perimeter^2, 1 for a disc
    "at_border",  # share of the cells' outline at the border of the image or of no data
    "share_of_surroundings",  # share of the cells around that belong to any candidate
    "wind_roughness",  # spread of the sea around in decibels
)
_GAP, _RING = 2, 12  # cells between outline and ring, and of the ring
REACH = _GAP + _RING
_SMOOTH = 3  # cells averaged, both ways, before anything is measured
_LEAST_SHARE = 1e-4  # of the median power; below this, dark is dark
_SPREAD_OF_MAD = 1.4826
_LEAST_SPREAD_DB = 1e-2


def candidate_features(
    candidate: Candidate,
    around: tuple[slice, slice],
    probability: Floats,
    power: Floats,
    surroundings: float,
    share: float,
) -> NDArray[np.float64]:
    """Measure a candidate, in the order of `FEATURES`.

    around: rows and columns, the candidate's widened by `REACH`; probability: (classes, H, W) of the image; power: that
    of `around`, linear, NaN = no data or land; `surroundings` and `share` are those of the wider surroundings.
    """
    rows, columns = around
    inside = candidate.on(rows, columns)
    values = _smoothed_db(power)
    valid = np.isfinite(values)
    ring = ndimage.binary_dilation(inside, iterations=REACH) & ~ndimage.binary_dilation(inside, iterations=_GAP)
    ring &= valid & (probability[OIL, rows, columns] < 0.3)
    middle, spread = _level_and_spread(values[ring])
    inner, inner_spread = _level_and_spread(values[inside & valid])
    outline = inside & ~ndimage.binary_erosion(inside, border_value=1)
    perimeter = max(1, int(np.count_nonzero(inside & ~ndimage.binary_erosion(inside))))
    oil = probability[OIL, rows, columns][inside]
    return np.array(
        [
            surroundings,
            np.log(candidate.size),
            float(np.mean(oil)),
            float(np.max(oil)),
            float(np.mean(probability[LOOK_ALIKE, rows, columns][inside])),
            (inner - middle) / spread,
            _edge_step(values, outline) / spread,
            float(np.log(inner_spread / spread)),
            min(1.0, 4 * np.pi * candidate.size / perimeter**2),
            1 - np.count_nonzero(outline & ~_beside(~valid)) / perimeter,
            share,
            spread,
        ]
    )


def _smoothed_db(power: Floats) -> Floats:
    """Decibels of the mean power of the valid among 3 x 3 cells, NaN where the middle one is not."""
    valid = np.isfinite(power)
    total = ndimage.uniform_filter(np.where(valid, power, 0).astype(np.float64), _SMOOTH)
    mean = total / np.maximum(ndimage.uniform_filter(valid.astype(np.float64), _SMOOTH), 1e-9)
    least = float(np.median(mean[valid])) * _LEAST_SHARE + 1e-12 if valid.any() else 1.0
    return np.where(valid, 10 * np.log10(np.maximum(mean, least)), np.nan)


def _level_and_spread(values: Floats) -> tuple[float, float]:
    """Median and robust spread in decibels; for too few values, 0 and a wide spread: they carry no information."""
    if values.size < 10:
        return 0.0, 10.0
    middle = float(np.median(values))
    return middle, max(_SPREAD_OF_MAD * float(np.median(np.abs(values - middle))), _LEAST_SPREAD_DB)


def _edge_step(values: Floats, outline: Mask) -> float:
    """Mean rise of the image over two cells across the outline, 0 if unknown."""
    if not outline.any() or not np.isfinite(values).any():
        return 0.0
    down, across = np.gradient(np.nan_to_num(values, nan=float(np.nanmedian(values))))
    rise = np.hypot(down, across)
    return float(rise[outline].mean())


def _beside(mask: Mask) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, np.ones((3, 3), np.bool_)), np.bool_)
