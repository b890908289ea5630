"""Pixel scores from a confusion matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count pixels (true class, predicted class); labels outside 0..classes-1 are left out."""
    counted = (truth >= 0) & (truth < classes)
    index = truth[counted].astype(np.int64) * classes + predicted[counted].astype(np.int64)
    return np.bincount(index, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return IoU by class, NaN for classes that neither truth nor prediction has."""
    hits = np.diag(confusion).astype(float)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def precision(confusion: NDArray[np.int64], class_index: int) -> float:
    """Share of the pixels predicted as the class that are of the class."""
    return _ratio(confusion[class_index, class_index], confusion[:, class_index].sum())


def recall(confusion: NDArray[np.int64], class_index: int) -> float:
    """Share of the pixels of the class that are predicted as the class."""
    return _ratio(confusion[class_index, class_index], confusion[class_index].sum())


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part) / float(whole) if whole else float("nan")
