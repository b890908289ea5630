"""Texture of an 8-bit image: equivalent looks of its windows, its spectrum, the covariance of its speckle.

Grey is taken as amplitude, as by `chip_input`. 8-bit images have a contrast stretch: looks are those of the stretched
image, comparable between sets stretched in the same way, not with those of a product.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal.windows import hann

from models.evaluation.metrics import Floats

WINDOW = 8  # pixels a side of the windows whose looks are estimated
BLOCK = 32  # pixels a side of the blocks whose covariance is estimated
LAGS = 16
LOOK_EDGES = np.arange(-3, 8.025, 0.05)  # of ln(looks): 0.05 to 3000
_SMOOTH = 3  # bins; ln(looks) of windows of 64 pixels scatter by 4 or more


def window_looks(image: NDArray[np.uint8]) -> Floats:
    """Return mean**2 / variance of the intensity of each whole window that has contrast and no clipped pixel, (n,)."""
    windows = _tiles(image, WINDOW)
    seen = (windows.min(axis=1) > 0) & (windows.max(axis=1) < 255) & (np.ptp(windows, axis=1) > 0)
    intensity = windows[seen].astype(float) ** 2
    return np.asarray(intensity.mean(axis=1) ** 2 / intensity.var(axis=1, ddof=1))


def likeliest_looks(counts: NDArray[np.number]) -> float:
    """Return the mode of looks counted in `LOOK_EDGES`; NaN without any.

    Windows of homogeneous sea agree while those with edges scatter below, so the mode is that of the sea (Anfinsen et
    al. 2009, doi 10.1109/TGRS.2009.2019269); the smoothest windows alone would overestimate it.
    """
    if not counts.any():
        return float("nan")
    smooth = gaussian_filter1d(counts.astype(float), _SMOOTH, mode="constant")
    best = int(smooth.argmax())
    return float(np.exp((LOOK_EDGES[best] + LOOK_EDGES[best + 1]) / 2))


def power_spectrum(image: NDArray[np.uint8]) -> Floats:
    """Return the radially averaged power in grey levels squared at k / min(H, W) cycles a pixel, k = 1..min(H, W) / 2.

    White noise of variance v has v everywhere. A Hann window reduces leakage from the borders.
    """
    taper, rings, counts = _rings(*image.shape)
    centred = (image - (image * taper).sum() / taper.sum()) * taper
    power = np.abs(np.fft.fft2(centred)) ** 2 / (taper**2).sum()
    return np.bincount(rings, power.ravel(), minlength=len(counts))[1 : _last_ring(image.shape) + 1] / counts[1:]


def speckle_covariance(image: NDArray[np.uint8]) -> Floats:
    """Return the covariance in grey levels squared at lags 0..16 down and across, (2, 17), of the smoother blocks.

    Averaged over half of the complete blocks, at least one: those of the smallest deviation relative to their mean.
    """
    blocks = _tiles(image, BLOCK).astype(float).reshape(-1, BLOCK, BLOCK)
    level = blocks.mean(axis=(1, 2))
    order = np.argsort(blocks.std(axis=(1, 2)) / np.maximum(level, 0.5), kind="stable")
    chosen = order[: -(-len(order) // 2)]
    centred = blocks[chosen] - level[chosen, None, None]
    down = [(centred[:, : BLOCK - h] * centred[:, h:]).mean() for h in range(LAGS + 1)]
    across = [(centred[..., : BLOCK - h] * centred[..., h:]).mean() for h in range(LAGS + 1)]
    return np.array([down, across])


def _tiles(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reshape (H, W) to (tiles, side**2); incomplete tiles at the right and the bottom are left out."""
    lines, pixels = (n // side for n in image.shape)
    whole = image[: lines * side, : pixels * side].reshape(lines, side, pixels, side)
    return whole.swapaxes(1, 2).reshape(-1, side**2)


def _last_ring(shape: tuple[int, ...]) -> int:
    return min(shape) // 2


@lru_cache(maxsize=4)
def _rings(height: int, width: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return the taper (H, W), the ring of each frequency (H * W,), and the number of frequencies of each ring."""
    taper = np.outer(hann(height, sym=False), hann(width, sym=False))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    rings = np.rint(frequency * min(height, width)).astype(np.int64).ravel()
    return taper, rings, np.bincount(rings)[: _last_ring((height, width)) + 1]
