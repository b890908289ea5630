"""Simulated slicks and look-alikes inserted into real seas: exact outlines in real surroundings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.classes import LOOK_ALIKE, NOT_OIL, OIL
from models.simulator.fields import Grid, Texture, without_crumbs
from models.simulator.lookalikes import draw_lookalikes
from models.simulator.slicks import FULL_DAMPING_DB, OUTLINE, Setting, draw_slicks

Array = NDArray[np.float32]
_SPACING = 40.0  # m, grid on which slicks are drawn
_DB_PER_LOG_WIND = 14 / np.log(10)  # of backscatter, whose wind exponent is about 1.4
_CALM_WIND, _FRESH_WIND = 4.0, 8.0  # m/s; films are drawn only in calm wind
_OIL_DEPTH, _OTHER_DEPTH = (1.5, 7.0), (1.0, 4.0)  # of the darkest place, in spreads of the sea
_LEAST_DEPTH = 0.7  # spreads; less is not labelled
_LEAST_PIXELS = 6


def setting(shape: tuple[int, int], rng: np.random.Generator) -> Setting:
    """Draw the textures and wind for the slicks of an image (H, W)."""
    grid = Grid(*shape, _SPACING)
    return Setting(grid, Texture(rng, 128), Texture(rng, 128, exponent=5.0), rng.uniform(0, 2 * np.pi))


def with_slicks(
    image_db: Array, labels: NDArray[np.int64], spread: float, where: Setting, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Insert one to three oil slicks into a real sea (H, W) in decibels; returns it and its labels with `OIL`.

    `spread` is that of the sea in decibels: uncalibrated images of any stretch have no other unit of contrast. Where
    labels are neither `NOT_OIL` nor `LOOK_ALIKE` nothing is marked.
    """
    damping = np.zeros_like(image_db)
    for slick in draw_slicks(where, rng, int(rng.integers(1, 4))):
        depth = np.float32(rng.uniform(*_OIL_DEPTH) / FULL_DAMPING_DB[1]) * slick.damping_db
        place = (slick.window.rows, slick.window.cols)
        damping[place] = np.maximum(damping[place], depth)
        visible = without_crumbs((slick.profile > OUTLINE) & (depth > _LEAST_DEPTH), _LEAST_PIXELS)
        _mark(labels[place], visible, OIL)
    return image_db - np.float32(spread) * damping, labels


def with_lookalikes(
    image_db: Array, labels: NDArray[np.int64], spread: float, where: Setting, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Insert one or two simulated look-alikes into a real sea; arguments and result as those of `with_slicks`."""
    change = np.zeros_like(image_db)
    wind = _CALM_WIND if rng.random() < 0.5 else _FRESH_WIND
    for found in draw_lookalikes(where, rng, int(rng.integers(1, 3)), wind):
        change_db = found.change_db if found.log_wind is None else found.log_wind * np.float32(_DB_PER_LOG_WIND)
        assert change_db is not None, "a look-alike changes wind or backscatter"
        deepest = max(float(-change_db.min()), 1e-3)
        depth = change_db * np.float32(rng.uniform(*_OTHER_DEPTH) / deepest)
        place = (found.window.rows, found.window.cols)
        change[place] += depth
        limit = max(_LEAST_DEPTH, float(-depth.min()) * OUTLINE)
        _mark(labels[place], without_crumbs(depth < -limit, _LEAST_PIXELS), LOOK_ALIKE)
    return image_db + np.float32(spread) * change, labels


def _mark(labels: NDArray[np.int64], visible: NDArray[np.bool_], label: int) -> None:
    labels[visible & ((labels == NOT_OIL) | (labels == LOOK_ALIKE))] = label
