"""Calibration of soft labels against known labels.

A synthetic image has no true labels. Soft labels can be compared with those of real images, restored from noise by the
label branch, or with the prediction of a segmentation network on the synthetic image, including its errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.classes import IGNORE, NOT_OIL, OIL
from models.datasets import class_indices
from models.evaluation.calibration import (
    PIXELS,
    brier,
    expected_calibration_error,
    maximum_calibration_error,
    oil_calibration,
    top_label_calibration,
)
from models.evaluation.metrics import Floats

BINS = 15


def soft_oil_counts(logits: NDArray[np.floating], labels: NDArray[np.integer], bins: int = BINS) -> Floats:
    """Return calibration counts of one pair's probabilities of oil, (bins, 4); counts of several pairs add up.

    logits (C, H, W), oil at index `OIL`; labels (H, W), where `IGNORE` does not count.
    """
    known = labels != IGNORE
    p = softmax(logits[:, known].astype(float), axis=0)[OIL]
    return oil_calibration(p, labels[known] == OIL, bins)


def soft_class_counts(logits: NDArray[np.floating], labels: NDArray[np.integer], bins: int = BINS) -> Floats:
    """Return calibration counts of one pair's likeliest classes, (bins, 4); arguments as for `soft_oil_counts`.

    Raises `ValueError` where labels have only oil (`NOT_OIL`) but the logits more than two classes.
    """
    if (labels == NOT_OIL).any() and len(logits) > 2:
        raise ValueError("labels with oil only cannot be compared with more than two classes")
    known = labels != IGNORE
    true = class_indices(labels.astype(np.int64))[known]
    return top_label_calibration(softmax(logits[:, known].astype(float), axis=0), true, bins)


def calibration_scores(counts: Floats) -> dict[str, float]:
    """Return pixels, expected and maximum calibration error and Brier score of counts (bins, 4)."""
    return {
        "pixels": float(counts[:, PIXELS].sum()),
        "ece": float(expected_calibration_error(counts)),
        "maximum_calibration_error": float(maximum_calibration_error(counts)),
        "brier": float(brier(counts)),
    }
