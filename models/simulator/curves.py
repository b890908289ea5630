"""Curves over the sea, and the coordinates of pixels along and across them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.simulator.fields import Array, Grid, Window

Line = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Points about half a pixel apart: x, y in metres, heading in radians, distance along in metres."""

    x: Line
    y: Line
    heading: Line
    along: Line

    @property
    def length(self) -> float:
        return float(self.along[-1])


@dataclass(frozen=True)
class Ribbon:
    """Pixels near a curve: the nearest point's index, metres along the curve, signed metres across it."""

    window: Window
    index: NDArray[np.intp]
    along: Array
    across: Array


def centreline(
    rng: np.random.Generator,
    middle: tuple[float, float],
    heading: float,
    length: float,
    bend: float,
    step: float,
    hook: float = 0.0,
) -> Curve:
    """A bent line about `middle`, as currents leave it.

    `heading` in radians, `length` and `step` in metres; `bend` is the spread of the heading in radians;
    `hook` turns the last tenth by that many radians more.
    """
    along = np.arange(max(3, int(length / step)), dtype=np.float64) * step
    fraction = along / along[-1]
    turned = np.full(along.shape, heading)
    for order in (1, 2, 3, 5):
        wave = np.sin(np.pi * order * fraction + rng.uniform(0, 2 * np.pi))
        turned += rng.normal(0, bend / order) * (wave - wave.mean())
    if hook:
        turned += hook * np.clip((fraction - 0.88) / 0.08, 0, 1)
    x, y = np.cumsum(np.cos(turned)) * step, np.cumsum(np.sin(turned)) * step
    return Curve(x - x.mean() + middle[0], y - y.mean() + middle[1], turned, along)


def ribbon(grid: Grid, curve: Curve, reach: float) -> Ribbon | None:
    """Coordinates along and across the curve for the pixels of its box widened by `reach` metres.

    None where the curve passes the grid by more than `reach`. The nearest point is found by a distance transform
    on the pixel grid; the coordinates are then exact for the tangent there.
    """
    window = grid.window((curve.x.min() - reach, curve.x.max() + reach), (curve.y.min() - reach, curve.y.max() + reach))
    if window is None:
        return None
    margin = int(np.ceil(reach / grid.spacing))  # points just outside the grid still reach into it
    rows, cols = window.shape
    row = np.rint(curve.y / grid.spacing).astype(np.intp) - window.rows.start + margin
    col = np.rint(curve.x / grid.spacing).astype(np.intp) - window.cols.start + margin
    inside = (row >= 0) & (row < rows + 2 * margin) & (col >= 0) & (col < cols + 2 * margin)
    if not inside.any():
        return None
    nearest = np.full((rows + 2 * margin, cols + 2 * margin), -1, np.intp)
    nearest[row[inside], col[inside]] = np.flatnonzero(inside)
    places = ndimage.distance_transform_edt(nearest < 0, return_distances=False, return_indices=True)
    crop = (slice(margin, margin + rows), slice(margin, margin + cols))
    index = nearest[places[0][crop], places[1][crop]]
    dx = window.x - curve.x.astype(np.float32)[index]
    dy = window.y - curve.y.astype(np.float32)[index]
    cosine = np.cos(curve.heading).astype(np.float32)[index]
    sine = np.sin(curve.heading).astype(np.float32)[index]
    along = curve.along.astype(np.float32)[index] + dx * cosine + dy * sine
    return Ribbon(window, index, along, dy * cosine - dx * sine)
