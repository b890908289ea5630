"""A measure of a comparison: its value for both sets, and their distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

Numbers = NDArray[np.integer] | NDArray[np.floating]


@dataclass(frozen=True)
class Measure:
    """A typical value of each set in `unit`, and their distance in `distance_unit`; NaN where undefined."""

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
    """Return the first Wasserstein distance of two samples (or weighted values); NaN where one is empty."""
    mass = (len(one), len(other)) if weights is None else (weights[0].sum(), weights[1].sum())
    if not all(mass):
        return float("nan")
    return float(wasserstein_distance(one, other, *(weights or ())))


def mean(values: Numbers) -> float:
    """Return the mean; NaN where there are no values."""
    return float(values.mean()) if len(values) else float("nan")
