"""Contrast against the surrounding sea, independent of an image's gain, stretch or incidence angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_BLOCK = 16  # pixels a side of the blocks whose medians the trend is fitted to
_SPREAD_OF_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_LEAST_SPREAD_DB = 1e-3
_ROUNDS, _HUBER = 5, 1.5  # of the robust fit: reweightings, and where a residual begins to count less, in spreads


def sea_contrast(image_db: Floats, limit: float) -> NDArray[np.float32]:
    """Return how far each pixel lies above the sea around it, in robust spreads of the image, within +-`limit`.

    image_db: (H, W) decibels, NaN = no data, -inf = nothing came back. Arguments and level as of `sea_level`. A gain, a
    ramp, or another unit of the decibels changes nothing.
    """
    level, spread = sea_level(image_db)
    contrast = np.clip(level / spread, -limit, limit)
    return np.where(np.isneginf(image_db), -limit, contrast).astype(np.float32)


def sea_level(image_db: Floats) -> tuple[Floats, float]:
    """Return how many decibels each pixel (H, W) lies above the sea around it, and the robust spread of that.

    A robustly fitted plane, the trend over range and azimuth, is subtracted, then the median. The spread is 1.4826
    times the median absolute deviation. Where nothing came back (-inf) or there is no data the level is NaN.
    """
    level = np.where(np.isfinite(image_db), image_db, np.nan)
    if np.isnan(level).all():
        return level, 1.0
    level = level - _trend(level)
    level -= np.nanmedian(level)
    return level, max(_SPREAD_OF_MAD * float(np.nanmedian(np.abs(level))), _LEAST_SPREAD_DB)


def _trend(image: Floats) -> NDArray[np.float64]:
    """Plane over the image (H, W), fitted to the medians of its blocks; Huber weights suppress slicks and land."""
    rows, columns, medians = _block_medians(image)
    lines, pixels = (np.arange(n, dtype=np.float64) for n in image.shape)
    if len(medians) < 9:  # too few to tell a trend from what lies on the sea
        return np.zeros(image.shape)
    design = np.stack([np.ones_like(rows), rows, columns], axis=1)
    weights = np.ones(len(medians))
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        plane = np.linalg.lstsq(design * root[:, None], medians * root, rcond=None)[0]
        residual = np.abs(medians - design @ plane)
        scale = max(_SPREAD_OF_MAD * float(np.median(residual)), _LEAST_SPREAD_DB)
        weights = np.minimum(1, _HUBER * scale / np.maximum(residual, _LEAST_SPREAD_DB))
    return np.asarray(plane[1] * lines[:, None] + plane[2] * pixels[None, :])


def _block_medians(image: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre row, centre column and median of each whole block of which half is valid, one value a block."""
    lines, pixels = (n // _BLOCK for n in image.shape)
    whole = image[: lines * _BLOCK, : pixels * _BLOCK].reshape(lines, _BLOCK, pixels, _BLOCK)
    blocks = whole.swapaxes(1, 2).reshape(lines * pixels, _BLOCK**2)
    used = np.isfinite(blocks).mean(axis=1) >= 0.5
    row, column = np.divmod(np.flatnonzero(used), max(pixels, 1))
    middle = (_BLOCK - 1) / 2
    medians = np.nanmedian(blocks[used], axis=1) if used.any() else np.empty(0)
    return row * _BLOCK + middle, column * _BLOCK + middle, medians.astype(np.float64)
