"""Agreement of the image and labels of a pair: oil is darker than the sea around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from models.classes import IGNORE, OIL
from models.evaluation.metrics import Floats
from models.quality.measures import Measure, mean, wasserstein

RING = 1 / 16  # of the image's shorter side: width of the surroundings of oil
_FEWEST = 10  # pixels of oil and of surroundings that an image must have
_DARKEST = 0.5  # grey level below which rounding gives 0


class Agreement:
    """Takes pairs one at a time; keeps three numbers of each that has oil and surroundings."""

    def __init__(self) -> None:
        self._contrasts: list[tuple[float, float, float]] = []

    def add(self, image: NDArray[np.uint8], labels: NDArray[np.integer]) -> None:
        """Take an image (H, W) and its labels (H, W)."""
        oil, around = labels == OIL, surroundings(labels)
        if min(oil.sum(), around.sum()) >= _FEWEST:
            self._contrasts.append(contrast(image[oil], image[around]))

    @property
    def contrasts(self) -> Floats:
        """Contrast of each image that counts, (n, 3): decibels, grey levels, fraction of pixel pairs in order."""
        return np.array(self._contrasts, float).reshape(-1, 3)

    def measures(self, synthetic: Agreement) -> dict[str, Measure]:
        """Compare these real pairs with synthetic ones.

        `agreement` is the probability that a pixel of oil is darker than one of its surroundings, 0.5 where labels and
        image are unrelated.
        """
        units = {"contrast_db": "dB", "contrast_grey": "grey levels", "agreement": "of pixel pairs"}
        both = zip(units.items(), self.contrasts.T, synthetic.contrasts.T, strict=True)
        return {
            name: Measure(mean(real), mean(other), unit, wasserstein(real, other), unit)
            for (name, unit), real, other in both
        }


def surroundings(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of pixels without oil that have some within `RING`."""
    oil = labels == OIL
    if not oil.any():
        return np.zeros(labels.shape, bool)
    reach = RING * min(labels.shape)
    return np.asarray((distance_transform_edt(~oil) <= reach) & ~oil & (labels != IGNORE))


def contrast(oil: NDArray[np.uint8], around: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return how much darker oil pixels (n,) are than those around (m,).

    In decibels of mean intensity (grey squared), in mean grey levels, and as the fraction of pairs of one pixel each
    where oil is the darker one, ties counting half (the area under the ROC curve of grey as a detector).
    """
    power = [max(float(np.mean(pixels.astype(float) ** 2)), _DARKEST**2) for pixels in (around, oil)]
    dark, bright = (np.bincount(pixels, minlength=256) / len(pixels) for pixels in (oil, around))
    in_order = float(np.sum(dark * (1 - np.cumsum(bright) + bright / 2)))
    return float(10 * np.log10(power[0] / power[1])), float(around.mean() - oil.mean()), in_order
