"""Copies of training images among synthetic ones, by their correlation with the nearest training image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.evaluation.metrics import Floats

SIDE = 32  # pixels of the averaged images
STRUCTURE = 1 / 16  # of their side; smoother structure is removed, as images with similar shading would correlate
COPY = 0.8  # correlation above which an image counts as a copy


class Nearest:
    """Training images in small (4 kB each), with which other images are compared, rotated and mirrored.

    Shifted or cropped copies are not found: `slickwatch screen` looks for those, at a thousand times the cost.
    """

    def __init__(self) -> None:
        self._known: list[NDArray[np.float32]] = []
        self._matrix: NDArray[np.float32] | None = None

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take a training image (H, W)."""
        self._known.append(structure(image).ravel())
        self._matrix = None

    def correlation(self, image: NDArray[np.uint8]) -> float:
        """Return the correlation of an image (H, W) with the nearest training image in any of eight orientations."""
        if self._matrix is None:
            self._matrix = np.stack(self._known)
        small = structure(image)
        turned = [np.rot90(one, turn).ravel() for one in (small, small.T) for turn in range(4)]
        return float((self._matrix @ np.stack(turned, axis=1)).max())


def structure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the structure (32, 32) of an image (H, W), of mean 0 and length 1; all 0 where there is none."""
    small = _averaged(_averaged(image.astype(float)).T).T
    fine = small - gaussian_filter(small, SIDE * STRUCTURE)
    fine -= fine.mean()
    length = np.linalg.norm(fine)
    return np.asarray(fine / length if length > 1e-6 else 0 * fine, np.float32)


def _averaged(values: Floats) -> Floats:
    """Average (H, W) over H to (32, W), with fractions of rows where H is no multiple of 32."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    edges = np.linspace(0, len(values), SIDE + 1)
    below = np.minimum(edges.astype(int), len(values) - 1)
    at = sums[below] + (edges - below)[:, None] * values[below]
    return np.asarray(np.diff(at, axis=0) * SIDE / len(values))


def copies(correlations: NDArray[np.floating]) -> float:
    """Return the fraction of correlations above `COPY`."""
    return float((correlations > COPY).mean())
