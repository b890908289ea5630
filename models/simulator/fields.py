"""Grids, windows on them, and the random fields used throughout the simulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Array = NDArray[np.float32]
Floats = NDArray[np.floating]
OUTER_SCALE = 42.0  # of a texture, in tile pixels


@dataclass(frozen=True)
class Window:
    """A rectangle of a grid: its slices, and the coordinates of its pixels in metres, x (1, n) and y (m, 1)."""

    rows: slice
    cols: slice
    x: Array
    y: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.y.shape[0], self.x.shape[1]


@dataclass(frozen=True)
class Grid:
    """An image of `rows` x `cols` pixels, `spacing` metres apart; x grows with range, y with azimuth."""

    rows: int
    cols: int
    spacing: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.cols

    @property
    def height(self) -> float:
        return self.rows * self.spacing

    @property
    def width(self) -> float:
        return self.cols * self.spacing

    def window(self, x: tuple[float, float], y: tuple[float, float]) -> Window | None:
        """The pixels between the given metres in x and y, or None where the grid has none there."""
        left, right = max(0, int(x[0] / self.spacing)), min(self.cols, int(x[1] / self.spacing) + 2)
        top, bottom = max(0, int(y[0] / self.spacing)), min(self.rows, int(y[1] / self.spacing) + 2)
        if left >= right or top >= bottom or x[1] < 0 or y[1] < 0:
            return None
        across = np.arange(left, right, dtype=np.float32)[None, :] * np.float32(self.spacing)
        down = np.arange(top, bottom, dtype=np.float32)[:, None] * np.float32(self.spacing)
        return Window(slice(top, bottom), slice(left, right), across, down)

    def around(self, x: float, y: float, reach: float) -> Window | None:
        """The pixels within a square of half-side `reach` metres about (x, y)."""
        return self.window((x - reach, x + reach), (y - reach, y + reach))


def smoothstep(x: NDArray[np.floating]) -> Array:
    """0 below 0, 1 above 1, and the cubic 3 x^2 - 2 x^3 between."""
    clipped = np.clip(x, np.float32(0), np.float32(1))
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)


def rotated(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates along and across a direction; `angle` in radians from x towards y."""
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def swirled(x: Array, y: Array, centre: tuple[float, float], radius: float, turn: float) -> tuple[Array, Array]:
    """Where the water now at (x, y) was before an eddy turned it: `turn` radians at the centre, none far away."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    angle = np.float32(-turn) * np.exp(-(dx * dx + dy * dy) / np.float32(radius * radius))
    cosine, sine = np.cos(angle), np.sin(angle)
    return centre[0] + dx * cosine - dy * sine, centre[1] + dx * sine + dy * cosine


def wavenumbers(shape: tuple[int, int], spacing: float) -> tuple[Array, Array]:
    """Wavenumbers in cycles per metre of a real transform: kx (1, cols // 2 + 1) and ky (rows, 1)."""
    kx = np.fft.rfftfreq(shape[1], spacing).astype(np.float32)[None, :]
    ky = np.fft.fftfreq(shape[0], spacing).astype(np.float32)[:, None]
    return kx, ky


def power_law(kx: Array, ky: Array, exponent: float, outer_scale: float) -> Array:
    """Isotropic spectrum (k^2 + 1/outer_scale^2)^(-exponent / 2); metres, no power at k = 0."""
    floor = np.float32(1 / outer_scale**2)
    power = (kx * kx + ky * ky + floor) ** np.float32(-exponent / 2)
    power[0, 0] = 0
    return np.asarray(power, np.float32)


def normalised(power: Array, cols: int) -> Array:
    """The half-plane power spectrum scaled so that its field has unit variance."""
    total = 2 * float(power.sum(dtype=np.float64)) - float(power[:, 0].sum(dtype=np.float64))
    if cols % 2 == 0:
        total -= float(power[:, -1].sum(dtype=np.float64))
    return power / np.float32(total)


def gaussian_field(power: Array, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """A periodic Gaussian field of the given half-plane power spectrum, whose sum over the plane is its variance."""
    white = rng.standard_normal((2, *power.shape), dtype=np.float32)
    amplitude = np.sqrt(power / 2) * np.float32(shape[0] * shape[1])
    # The inverse transform reads only the real parts of what these two columns become.
    amplitude[:, 0] *= np.float32(np.sqrt(2))
    if shape[1] % 2 == 0:
        amplitude[:, -1] *= np.float32(np.sqrt(2))
    spectrum = (white[0] + 1j * white[1]) * amplitude
    return np.asarray(fft.irfft2(spectrum, s=shape, overwrite_x=True), np.float32)


def padded_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """A quick transform size about a quarter larger, so that a crop does not show the field's period."""
    return fft.next_fast_len(shape[0] * 5 // 4, real=True), fft.next_fast_len(shape[1] * 5 // 4, real=True)


def without_crumbs(mask: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """The mask less its connected parts (diagonals connect) of fewer than `least` pixels, which nobody would draw."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    if count == 0:
        return mask
    large = np.bincount(labels.ravel()) >= least
    large[0] = False
    return np.asarray(large[labels], np.bool_)


class Texture:
    """A periodic tile of fractal noise (zero mean, unit variance), sampled at any place, scale and stretch."""

    def __init__(self, rng: np.random.Generator, size: int = 256, exponent: float = 3.0) -> None:
        self.size = size
        kx, ky = wavenumbers((size, size), 1.0)
        power = normalised(power_law(kx, ky, exponent, OUTER_SCALE), size)
        self.tile = gaussian_field(power, (size, size), rng)

    def sample(self, u: Floats, v: Floats, offset: tuple[float, float]) -> Array:
        """Noise at (u, v), in tile pixels, bilinear; `offset` picks the place, so that callers differ."""
        u, v = np.broadcast_arrays(u + np.float32(offset[0]), v + np.float32(offset[1]))
        sampled = ndimage.map_coordinates(self.tile, [v, u], output=np.float32, order=1, mode="grid-wrap")
        return np.asarray(sampled, np.float32)

    def draw(self, rng: np.random.Generator, u: Floats, v: Floats) -> Array:
        """Noise at (u, v) from a place of the tile that `rng` picks."""
        return self.sample(u, v, (float(rng.uniform(0, self.size)), float(rng.uniform(0, self.size))))


def wander(rng: np.random.Generator, length: float, knot: float, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth noise (zero mean, about unit variance) along 0..length with a knot about every `knot`, read at `at`."""
    count = max(2, int(np.ceil(length / knot)) + 1)
    fraction = np.clip(at / max(length, 1e-6), 0, 1) * (count - 1)
    below = np.minimum(fraction.astype(np.intp), count - 2)
    rise = fraction - below
    rise = rise * rise * (3 - 2 * rise)
    knots = rng.standard_normal(count)
    return np.asarray(knots[below] * (1 - rise) + knots[below + 1] * rise, np.float64)
