"""Bright targets: ships with their sidelobes, and land with its coast, relief and sheltered water."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.simulator.fields import (
    Array,
    Grid,
    Texture,
    Window,
    gaussian_field,
    normalised,
    padded_shape,
    power_law,
    rotated,
    wavenumbers,
)


@dataclass(frozen=True)
class Ship:
    """A ship: its power on its window relative to the sea around, its place in metres and heading in radians."""

    window: Window
    ratio: Array
    place: tuple[float, float]
    heading: float


@dataclass(frozen=True)
class Land:
    """Land over a grid: where, its backscatter in dB, and the change of ln(wind speed) in its lee."""

    mask: NDArray[np.bool_]
    sigma_db: Array
    log_wind: Array


def draw_ship(grid: Grid, rng: np.random.Generator, place: tuple[float, float]) -> Ship | None:
    """A bright body of 60-350 m with star arms along azimuth and range; 10-30 dB above the sea at its peak.

    The arms are the sidelobes of the impulse response, whose envelope falls with the square of the distance
    (Cumming and Wong 2005).
    """
    window = grid.around(*place, 16 * grid.spacing)
    if window is None:
        return None
    heading = rng.uniform(0, 2 * np.pi)
    peak = 10 ** (rng.uniform(12, 30) / 10)
    x, y = window.x - np.float32(place[0]), window.y - np.float32(place[1])
    along, across = rotated(x, y, heading)
    blur = 0.45 * grid.spacing
    body = peak * _bell(along, np.hypot(rng.uniform(60, 350) / 4, blur)) * _bell(across, np.hypot(12, blur))
    arms = rng.uniform(-17, -12)  # dB below the peak
    decay = np.float32(55)
    cross = _bell(y, blur) / (1 + (x / decay) ** 2) + _bell(x, blur) / (1 + (y / decay) ** 2)
    return Ship(window, np.asarray(body + peak * 10 ** (arms / 10) * cross, np.float32), place, heading)


def _bell(distance: Array, width: float) -> Array:
    return np.asarray(np.exp(-0.5 * (distance / np.float32(width)) ** 2), np.float32)


def draw_land(grid: Grid, texture: Texture, rng: np.random.Generator, fraction: float, wind_direction: float) -> Land:
    """Land over about `fraction` of the grid: a fractal coast with islands, textured hills, a sheltered lee."""
    height = _relief(grid, rng)
    count = height.size
    sea_level = np.partition(height.ravel(), int((1 - fraction) * (count - 1)))[int((1 - fraction) * (count - 1))]
    mask = height > sea_level
    y = np.arange(grid.rows, dtype=np.float32)[:, None] * np.float32(grid.spacing / 60)
    x = np.arange(grid.cols, dtype=np.float32)[None, :] * np.float32(grid.spacing / 60)
    hills = texture.draw(rng, x, y)
    cover = texture.draw(rng, x / 6, y / 6)
    if mask.any():  # land that is smaller than the patches of cover may lie in an extreme one
        middle = np.median(cover[mask])
        cover += np.clip(middle, -1, 1) - middle
    # Slopes facing the radar, at the near side, are bright; those facing away dark.
    facing = np.zeros_like(hills)
    facing[:, 1:] = np.diff(hills, axis=1)
    steep = np.float32(rng.uniform(1, 7))
    sigma_db = np.float32(rng.uniform(-12, -6)) + np.float32(1.8) * cover + steep * np.clip(facing, -1.5, 1.5)
    towns = texture.draw(rng, 3 * x, 3 * y) + cover > np.float32(rng.uniform(2.2, 4))
    sigma_db = np.where(towns, sigma_db + 7, sigma_db)
    return Land(mask, np.asarray(sigma_db, np.float32), _lee(grid, mask, rng, wind_direction))


def _relief(grid: Grid, rng: np.random.Generator) -> Array:
    """A fractal surface (coast dimension about 1.1-1.35) tilted towards a random side."""
    shape = padded_shape(grid.shape)
    kx, ky = wavenumbers(shape, grid.spacing)
    power = normalised(power_law(kx, ky, rng.uniform(3.3, 4.2), max(grid.height, grid.width) / 1.5), shape[1])
    rough = gaussian_field(power, shape, rng)[: grid.rows, : grid.cols]
    x = np.linspace(-1, 1, grid.cols, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, grid.rows, dtype=np.float32)[:, None]
    tilt, _ = rotated(x, y, rng.uniform(0, 2 * np.pi))
    return np.asarray(rough + np.float32(rng.uniform(0.5, 3)) * tilt, np.float32)


def _lee(grid: Grid, mask: NDArray[np.bool_], rng: np.random.Generator, wind_direction: float) -> Array:
    """Change of ln(wind speed) downwind of land, over about 2 km; computed on a grid four times coarser."""
    coarse = mask[::4, ::4].astype(np.float32)
    reach = float(rng.uniform(600, 2000))
    smooth = ndimage.gaussian_filter(coarse, reach / (4 * grid.spacing), mode="nearest")
    shift = np.array([np.sin(wind_direction), np.cos(wind_direction)]) * reach / (4 * grid.spacing)
    rows = (np.arange(grid.rows, dtype=np.float32) / 4 - np.float32(shift[0]))[:, None]
    cols = (np.arange(grid.cols, dtype=np.float32) / 4 - np.float32(shift[1]))[None, :]
    places = np.broadcast_arrays(rows, cols)
    sheltered = ndimage.map_coordinates(smooth, places, output=np.float32, order=1, mode="nearest")
    return np.asarray(np.float32(-rng.uniform(0.3, 1.4)) * sheltered, np.float32)
