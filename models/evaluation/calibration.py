"""Calibration: predicted probabilities compared with observed frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Floats, ratio

PIXELS, CONFIDENCE, CORRECT, SQUARED_ERROR = range(4)  # the columns of calibration counts


def oil_calibration(p: NDArray[np.floating], oil: NDArray[np.bool_], bins: int) -> Floats:
    """Sum pixels, their probability of oil, the oil among them and (p - y)**2 by bins of equal width, (bins, 4).

    p, oil: (n,), one entry a pixel.
    """
    return _binned(p, oil, (p - oil) ** 2, bins)


def top_label_calibration(p: NDArray[np.floating], labels: NDArray[np.integer], bins: int) -> Floats:
    """Sum pixels, the probability of their likeliest class, its hits, and the Brier score's sum over classes of
    (p - y)**2 by bins of equal width, (bins, 4).

    p: (C, n); labels: (n,) of 0..C-1.
    """
    top = p.argmax(axis=0)
    true = np.take_along_axis(p, labels[None], axis=0)[0]
    squared_error = (p**2).sum(axis=0) - 2 * true + 1
    return _binned(p.max(axis=0), top == labels, squared_error, bins)


def expected_calibration_error(counts: NDArray[np.number]) -> Floats:
    """Mean over pixels of |observed frequency - mean confidence| of their bin (Naeini et al. 2015), (...).

    counts: (..., bins, 4).
    """
    gap = np.abs(counts[..., CORRECT] - counts[..., CONFIDENCE])
    return ratio(gap.sum(axis=-1), counts[..., PIXELS].sum(axis=-1))


def maximum_calibration_error(counts: NDArray[np.number]) -> Floats:
    """Largest |observed frequency - mean confidence| of any non-empty bin, (...); counts (..., bins, 4)."""
    gap = ratio(np.abs(counts[..., CORRECT] - counts[..., CONFIDENCE]), counts[..., PIXELS])
    return np.where(np.isnan(gap).all(axis=-1), np.nan, np.nan_to_num(gap).max(axis=-1))


def brier(counts: NDArray[np.number]) -> Floats:
    """Mean squared error of the probabilities, (...); counts (..., bins, 4)."""
    return ratio(counts[..., SQUARED_ERROR].sum(axis=-1), counts[..., PIXELS].sum(axis=-1))


def _binned(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], squared_error: NDArray[np.floating], bins: int
) -> Floats:
    index = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)  # 1 belongs to the last bin
    columns = (None, confidence, correct, squared_error)
    return np.stack([np.bincount(index, column, minlength=bins) for column in columns], axis=1).astype(float)
