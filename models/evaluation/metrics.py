"""Scores of pixels and outlines; means over classes are those of the DAKD paper (docs/decisions/0007-scores.md).

Confusion matrices are (..., C, C), true class by predicted class; leading axes, such as that of bootstrap samples,
are kept. Classes absent from both truth and prediction are NaN and are left out of means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]


def confusion_matrix(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count pixels (true class, predicted class); labels outside 0..classes-1 are left out."""
    counted = (truth >= 0) & (truth < classes)
    index = truth[counted].astype(np.int64) * classes + predicted[counted].astype(np.int64)
    return np.bincount(index, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(confusion: NDArray[np.number]) -> Floats:
    """Return IoU by class, (..., C)."""
    hits, true, predicted = _margins(confusion)
    return ratio(hits, true + predicted - hits)


def class_f1(confusion: NDArray[np.number]) -> Floats:
    """Return F1, which is Dice and 2 IoU / (1 + IoU), by class, (..., C)."""
    hits, true, predicted = _margins(confusion)
    return ratio(2 * hits, true + predicted)


def class_precision(confusion: NDArray[np.number]) -> Floats:
    """Return precision by class, (..., C); 0, like F1 and IoU, for a class that is present and never predicted."""
    return _share(confusion, axis=-2)


def class_recall(confusion: NDArray[np.number]) -> Floats:
    """Return recall by class, (..., C); 0 for a class that is predicted and never present."""
    return _share(confusion, axis=-1)


def pixel_scores(confusion: NDArray[np.number]) -> dict[str, Floats]:
    """Return mIoU, F1, precision, recall, each the mean over classes, and two accuracies, each (...).

    `accuracy` is the fraction of correct pixels; `accuracy_one_vs_rest` the mean over classes of the fraction of pixels
    correct about this class, which is what the paper's A on OSD must be. With two classes they agree.
    """
    hits, true, predicted = _margins(confusion)
    pixels, right = true.sum(axis=-1), hits.sum(axis=-1)
    present = (true + predicted > 0).sum(axis=-1)
    return {
        "miou": mean_present(intersection_over_union(confusion)),
        "f1": mean_present(class_f1(confusion)),
        "precision": mean_present(class_precision(confusion)),
        "recall": mean_present(class_recall(confusion)),
        "accuracy": ratio(right, pixels),
        "accuracy_one_vs_rest": 1 - ratio(2 * (pixels - right), present * pixels),  # an error counts in two classes
    }


def harmonic(precision: Floats, recall: Floats) -> Floats:
    """Return F1 of a precision and a recall; 0 where only one of them is defined, NaN where neither is."""
    p, r = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.where(p + r > 0, ratio(2 * p * r, p + r), 0.0)
    return np.asarray(np.where(np.isnan(precision) & np.isnan(recall), np.nan, f1))


def ratio(part: NDArray[np.number] | np.number, whole: NDArray[np.number] | np.number) -> Floats:
    """Divide; NaN where the divisor is 0."""
    parts, wholes = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.asarray(np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0))


def mean_present(values: Floats) -> Floats:
    """Return the mean over the last axis, ignoring NaN; NaN where all are."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def _margins(confusion: NDArray[np.number]) -> tuple[Floats, Floats, Floats]:
    """Return pixels by class, (..., C): correct, true, predicted."""
    counts = np.asarray(confusion, float)
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)


def _share(confusion: NDArray[np.number], axis: int) -> Floats:
    hits, true, predicted = _margins(confusion)
    share = ratio(hits, np.asarray(confusion, float).sum(axis=axis))
    return np.where(true + predicted > 0, np.nan_to_num(share), np.nan)


_EIGHT = np.ones((3, 3), bool)


def boundary_counts(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], known: NDArray[np.bool_], tolerance: float
) -> NDArray[np.int64]:
    """Count outline pixels of one image: true, true near a predicted one, predicted, predicted near a true one.

    truth, predicted, known: (H, W); near: at most `tolerance` pixels away. Outlines are the pixels of oil with one of
    eight neighbours known not to be oil; the edges of the image and of the labelled area are no outlines.
    """
    true, found = (_outline(mask, known) for mask in (truth, predicted))
    true_near, found_near = true & _near(found, tolerance), found & _near(true, tolerance)
    return np.array([outline.sum() for outline in (true, true_near, found, found_near)])


def boundary_scores(counts: NDArray[np.number]) -> dict[str, Floats]:
    """Return precision, recall and F1 of the outlines from counts (..., 4)."""
    recall, precision = ratio(counts[..., 1], counts[..., 0]), ratio(counts[..., 3], counts[..., 2])
    return {
        "boundary_precision": precision,
        "boundary_recall": recall,
        "boundary_f1": harmonic(precision, recall),
    }


def _outline(mask: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inside = ndimage.binary_erosion(mask | ~known, _EIGHT, border_value=1)
    return np.asarray(mask & known & ~inside)


def _near(outline: NDArray[np.bool_], tolerance: float) -> NDArray[np.bool_]:
    if not outline.any():
        return outline
    return np.asarray(ndimage.distance_transform_edt(~outline) <= tolerance)
