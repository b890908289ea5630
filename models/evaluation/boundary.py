"""Scores of outlines, independent of the area within them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.evaluation.metrics import Floats, harmonic, ratio

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
