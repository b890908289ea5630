"""One figure of a comparison: what it is of the real set, of the synthetic one, and how far these are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

Numbers = NDArray[np.integer] | NDArray[np.floating]


@dataclass(frozen=True)
class Measure:
    """A typical value of each set in `unit`, and their distance in `distance_unit`; NaN where nothing defines it."""

    real: float
    synthetic: float
    unit: str
    distance: float
    distance_unit: str


def wasserstein(
    one: Numbers,
    other: Numbers,
    weights: tuple[Numbers, Numbers] | None = None,
) -> float:
    """Return the first Wasserstein distance of two samples (or weighted values); NaN where one of them is empty."""
    mass = (len(one), len(other)) if weights is None else (weights[0].sum(), weights[1].sum())
    if not all(mass):
        return float("nan")
    return float(wasserstein_distance(one, other, *(weights or ())))


def mean(values: Numbers) -> float:
    """Return the mean, NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")
