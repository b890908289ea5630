"""Multi-look speckle with spatial correlation, and its statistics after averaging."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

# Sentinel-1 IW GRDH: pixels of 10 m, resolution of about 20 x 22 m, equivalent number of looks 4.4
# (Sentinel-1 Product Definition, S1-RS-MDA-52-7440).
GRD_LOOKS = 4.4
GRD_CORRELATION = 2.1  # full width at half maximum of the intensity's autocorrelation, pixels of 10 m
_LEAST_CORRELATION = 0.1  # pixels; below it neighbours are independent


def speckled(
    mean_power: NDArray[np.floating], looks: float, correlation_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Multiply a mean power (rows, cols) by correlated gamma speckle of unit mean.

    looks: equivalent number of looks, mean^2 / variance, any positive number. correlation_px: full width at half
    maximum of the Gaussian autocorrelation of the speckle, in pixels; 0 gives independent pixels. The marginal
    distribution is gamma (Ulaby, Moore and Fung 1986), the correlation comes from a Gaussian copula.
    """
    gaussian = _correlated(mean_power.shape, correlation_px, rng)
    return np.asarray(mean_power * _gamma_of(gaussian, looks), np.float32)


def multilooked_speckle(looks: float, correlation_px: float, factor: int) -> tuple[float, float]:
    """Looks and correlation width of speckle averaged by `factor` x `factor`, in pixels of the average.

    The sum of the autocovariance over all pairs of averaged pixels gives the variance left; the same sum between
    neighbouring cells gives their correlation, to which a Gaussian of equal value at lag 1 is matched.
    """
    own, next_ = _pair_mean(correlation_px, factor, 0), _pair_mean(correlation_px, factor, factor)
    neighbour = next_ / own
    width = 0.0 if neighbour < 1e-6 else 2 * np.sqrt(np.log(2) / -np.log(neighbour))
    return looks / own**2, float(width)


def _pair_mean(correlation_px: float, factor: int, shift: int) -> float:
    lag = np.arange(1 - factor, factor)
    weight = (factor - np.abs(lag)) / factor**2
    return float(np.sum(weight * _autocorrelation(lag + shift, correlation_px)))


def _autocorrelation(lag: NDArray[np.integer], correlation_px: float) -> NDArray[np.float64]:
    if correlation_px < _LEAST_CORRELATION:
        return np.asarray(lag == 0, np.float64)
    return np.asarray(np.exp(-4 * np.log(2) * (lag / correlation_px) ** 2), np.float64)


@lru_cache(maxsize=32)
def _kernel(correlation_px: float) -> NDArray[np.float32]:
    """Weights whose autocorrelation is the Gaussian asked for; their squares sum to 1."""
    size = 64 * int(np.ceil(max(correlation_px, 1)))
    lag = np.minimum(np.arange(size), size - np.arange(size))
    spectrum = np.fft.fft(_autocorrelation(lag, correlation_px)).real
    weights = np.fft.ifft(np.sqrt(np.maximum(spectrum, 0))).real
    half = int(np.ceil(2 * correlation_px)) + 1
    kernel = np.concatenate([weights[-half:], weights[: half + 1]])
    return np.asarray(kernel / np.sqrt(np.sum(kernel**2)), np.float32)


def _correlated(shape: tuple[int, ...], correlation_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    white = rng.standard_normal(shape, dtype=np.float32)
    if correlation_px < _LEAST_CORRELATION:
        return white
    for axis in (0, 1):
        white = ndimage.convolve1d(white, _kernel(float(correlation_px)), axis=axis, mode="wrap")
    return np.asarray(white, np.float32)


@lru_cache(maxsize=32)
def _quantiles(looks: float) -> NDArray[np.float32]:
    """Gamma quantiles (shape `looks`, mean 1) at normal deviates -6..6 in steps of 1/256."""
    deviate = np.arange(-6 * 256, 6 * 256 + 2) / 256
    return np.asarray(special.gammaincinv(looks, special.ndtr(deviate)) / looks, np.float32)


def _gamma_of(gaussian: NDArray[np.float32], looks: float) -> NDArray[np.float32]:
    table = _quantiles(float(looks))
    place = np.clip((gaussian + np.float32(6)) * np.float32(256), 0, len(table) - 2)
    below = place.astype(np.int32)
    rise = place - below
    return np.asarray(table[below] * (1 - rise) + table[below + 1] * rise, np.float32)
