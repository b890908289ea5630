"""The sea surface as C-band radar sees it: geometry, wind, backscatter, thermal noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.simulator.fields import (
    Array,
    Grid,
    gaussian_field,
    normalised,
    padded_shape,
    power_law,
    rotated,
    smoothstep,
    wavenumbers,
)

# tan(incidence) grows by 1 over this ground distance (flat Earth): 30..46 degrees over Sentinel-1 IW's 250 km.
EFFECTIVE_HEIGHT = 545e3  # m
# Incidence angles at which the merged image passes from IW1 to IW2 to IW3
# (Sentinel-1 Product Definition, S1-RS-MDA-52-7440; middle of the overlaps).
SUBSWATH_LIMITS = (29.1, 35.7, 41.0, 46.1)  # degrees
SUBSWATH_OFFSET_DB = (0.6, -0.7, 0.4)


@dataclass(frozen=True)
class Weather:
    """Wind and waves over a grid: speed in m/s, directions in radians from range towards azimuth."""

    mean_speed: float
    direction: float  # towards which the wind blows
    log_speed: Array  # (rows, cols) natural logarithm of speed in m/s
    swell_db: Array  # (rows, cols)


def incidence_angles(near: float, far: float, cols: int) -> Array:
    """Incidence angle of every column in degrees, between `near` and `far`; its tangent is linear in ground range."""
    tangent = np.linspace(np.tan(np.radians(near)), np.tan(np.radians(far)), cols)
    return np.asarray(np.degrees(np.arctan(tangent)), np.float32)


def noise_equivalent_sigma(incidence: Array, floor_db: float, scallop_db: float) -> Array:
    """Noise-equivalent sigma nought (linear) by incidence angle in degrees: a bowl in each sub-swath, IW1 to IW3.

    The elevation pattern makes the noise rise by `scallop_db` from the middle of a sub-swath to its edges, with a
    step between sub-swaths. The specification asks for -22 dB at worst; products show about -30..-23 dB
    (Sentinel-1 annual performance reports).
    """
    swath = np.clip(np.searchsorted(SUBSWATH_LIMITS, incidence) - 1, 0, 2)
    limits = np.asarray(SUBSWATH_LIMITS, np.float32)
    place = np.clip((incidence - limits[swath]) / (limits[swath + 1] - limits[swath]), 0, 1)
    noise_db = floor_db + np.asarray(SUBSWATH_OFFSET_DB)[swath] + scallop_db * (2 * place - 1) ** 2
    return np.asarray(10 ** (noise_db / 10), np.float32)


def backscatter_vv_db(
    speed: NDArray[np.float32], incidence: NDArray[np.float32], azimuth: float = np.pi / 4
) -> NDArray[np.float32]:
    """Mean VV sigma nought of open sea in dB.

    speed: m/s at 10 m; incidence: degrees, 20..50; azimuth: radians between wind and look (0 upwind, pi/2 crosswind).
    A compact formula of our own, not CMOD: a power law of wind (exponent about 1.4), -0.41..-0.54 dB per degree,
    two harmonics in azimuth, and a collapse below about 2 m/s where no Bragg waves grow. Compared with
    CMOD5.N (Hersbach 2010, doi 10.1175/2009JTECHO698.1) at 30..46 degrees and 3..15 m/s it lies within 1.2 dB averaged
    over directions and within 2 dB upwind and crosswind; the threshold
    follows Donelan and Pierson (1987, doi 10.1029/JC092iC05p04971).
    """
    tilt = incidence - np.float32(35)
    exponent = np.float32(1.4) + np.float32(0.01) * tilt
    trend = np.float32(-12.2) - np.float32(0.5) * tilt + np.float32(0.004) * tilt * tilt
    bounded = np.maximum(speed, np.float32(0.2))
    growth = np.log10(bounded / 10) * (10 * exponent)
    threshold = np.float32(10) * np.log10(1 + (np.float32(1.8) / bounded) ** 4)
    harmonics = 10 * np.log10(1 + 0.08 * np.cos(azimuth) + 0.32 * np.cos(2 * azimuth))
    # Even without waves the surface keeps a little backscatter; it also keeps the decibels finite.
    return np.asarray(np.maximum(trend + growth - threshold + np.float32(harmonics), np.float32(-36)), np.float32)


def backscatter_vh_db(speed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean VH sigma nought of open sea in dB: 0.592 U - 35.6 (Vachon and Wolfe 2011, doi 10.1109/LGRS.2010.2085417)."""
    return np.asarray(np.float32(0.592) * speed - np.float32(35.6), np.float32)


def draw_weather(grid: Grid, rng: np.random.Generator, speeds: tuple[float, float]) -> Weather:
    """Draw a wind field with turbulence, streaks and at times a front, and a swell.

    Turbulence has the k^-5/3 line spectrum of the mesoscale (Nastrom and Gage 1985), its spread growing with the cube
    root of the extent; streaks lie along the wind, 1-3 km apart (Lehner et al. 1998).
    """
    mean_speed = float(rng.uniform(*speeds))
    direction = float(rng.uniform(0, 2 * np.pi))
    shape = padded_shape(grid.shape)
    kx, ky = wavenumbers(shape, grid.spacing)
    extent = max(grid.height, grid.width)
    turbulence = rng.uniform(0.03, 0.12) * min((extent / 10e3) ** (1 / 3), 2.5)
    streaks = rng.uniform(0.01, 0.09) * np.clip((mean_speed - 3) / 3, 0.1, 1)
    power = turbulence**2 * normalised(power_law(kx, ky, 8 / 3, 60e3), shape[1])
    power += streaks**2 * normalised(_streak_spectrum(kx, ky, direction, rng.uniform(1e3, 3e3)), shape[1])
    log_speed = gaussian_field(power.astype(np.float32), shape, rng)[: grid.rows, : grid.cols]
    log_speed = log_speed + np.float32(np.log(mean_speed) - (turbulence**2 + streaks**2) / 2)
    if rng.random() < 0.25:
        log_speed += _front(grid, rng, direction)
    return Weather(mean_speed, direction, log_speed, _swell(grid, shape, rng, direction))


def _streak_spectrum(kx: Array, ky: Array, direction: float, apart: float) -> Array:
    along, across = rotated(kx, ky, direction)
    centre, width = np.float32(1 / apart), np.float32(0.45 / apart)
    rolls = np.exp(-(((np.abs(across) - centre) / width) ** 2) - (along * np.float32(6 * apart)) ** 2)
    rolls[0, 0] = 0
    return np.asarray(rolls + np.float32(1e-9), np.float32)


def _swell(grid: Grid, shape: tuple[int, int], rng: np.random.Generator, wind_direction: float) -> Array:
    """Modulation in dB by waves of 100-400 m, weakly seen: rms below half a decibel."""
    length = max(float(rng.uniform(100, 400)), 2.5 * grid.spacing)
    direction = wind_direction + rng.normal(0, 0.6)
    strength = rng.uniform(0.0, 0.45)
    kx, ky = wavenumbers(shape, grid.spacing)
    along, across = rotated(kx, ky, direction)
    k = np.float32(1 / length)
    # The half plane of a real transform holds every wave once, so both signs of the direction are meant.
    ring = np.exp(-(((np.abs(along) - k) / (0.18 * k)) ** 2) - (across / (0.3 * k)) ** 2)
    power = strength**2 * normalised(np.asarray(ring + np.float32(1e-9), np.float32), shape[1])
    return gaussian_field(power.astype(np.float32), shape, rng)[: grid.rows, : grid.cols]


def _front(grid: Grid, rng: np.random.Generator, wind_direction: float) -> Array:
    """A line behind which the wind is weaker: the change of its logarithm (rows, cols)."""
    x = np.arange(grid.cols, dtype=np.float32)[None, :] * np.float32(grid.spacing) - rng.uniform(0, grid.width)
    y = np.arange(grid.rows, dtype=np.float32)[:, None] * np.float32(grid.spacing) - rng.uniform(0, grid.height)
    along, across = rotated(x, y, wind_direction + rng.normal(np.pi / 2, 0.5))
    bowed = across + np.float32(rng.uniform(200, 900)) * np.sin(along / np.float32(rng.uniform(1.5e3, 5e3)))
    bowed += np.float32(rng.uniform(-1, 1) / 20e3) * along**2
    return np.float32(np.log(rng.uniform(0.75, 0.92))) * smoothstep(bowed / np.float32(rng.uniform(100, 900)))
