"""Scores of the soft labels that SAR-JointNet gives real images, and their calibration, against true labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ingest.errors import ModelError, UsageError
from ingest.progress import step
from models.classes import IGNORE, NOT_OIL
from models.datasets.catalogue import open_dataset
from models.datasets.pairs import LabelledImages, Selection, class_indices
from models.evaluation.calibration import (
    PIXELS,
    brier,
    expected_calibration_error,
    maximum_calibration_error,
    top_label_calibration,
)
from models.evaluation.evaluate import number
from models.evaluation.metrics import Floats, confusion_matrix, intersection_over_union, mean_present
from models.jointnet.checkpoint import JointCheckpoint, load_jointnet
from models.jointnet.diffusion import Predict
from models.jointnet.labelling import Label, drawn, labelled, restored
from models.jointnet.overlapped import of_any_size, require_shape

BINS = 15


def soft_class_counts(logits: NDArray[np.floating], labels: NDArray[np.integer], bins: int = BINS) -> Floats:
    """Return calibration counts of one pair's likeliest classes, (bins, 4); of its pixels not labelled `IGNORE`.

    logits (C, H, W); labels (H, W). Counts of several pairs add up.

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


def score_soft_labels(
    model: Path, dataset: str, count: int | None, solver: str, steps: int, timestep: int | None = None
) -> dict[str, Any]:
    """Label the first `count` test images; returns IoU by class, and ECE and Brier score of the likeliest class.

    Labels are sampled with a solver beside the image or, with `timestep`, restored in one step from image and true
    labels noised to that timestep. Scores of absent classes are null. Raises `UsageError` for a data set of other
    classes or of sizes that the model cannot take, `ModelError` also for a model not yet trained on labels, and what
    opening the data set raises.
    """
    network, checkpoint = load_jointnet(model)
    if checkpoint.stage < 2:
        raise ModelError(model, "is trained on images alone", "go on training: slickwatch train jointnet --resume")
    split = open_dataset(dataset)
    if split.test.classes != checkpoint.classes:
        known = ", ".join(checkpoint.classes)
        raise UsageError(dataset, f"has classes {', '.join(split.test.classes)}", f"the model has {known}")
    images = Selection(split.test, tuple(range(min(count or len(split.test), len(split.test)))))
    _require_shapes(images, checkpoint)
    label = _labeller(of_any_size(network, checkpoint.size), checkpoint, solver, steps, timestep)
    confusion, counts = _counts(label, images, len(checkpoint.classes))
    iou = intersection_over_union(confusion)
    how = {"solver": solver, "steps": steps} if timestep is None else {"timestep": timestep}
    return {
        "dataset": split.name,
        "n_images": len(images),
        "miou": _rounded(mean_present(iou)),
        **{f"{name}_iou": _rounded(one) for name, one in zip(checkpoint.classes, iou, strict=True)},
        **{name: _rounded(value) for name, value in calibration_scores(counts).items()},
        "model": checkpoint.id,
        "weights_sha256": checkpoint.weights_sha256,
        **how,
    }


def _counts(label: Label, images: LabelledImages, classes: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the confusion matrix (classes, classes) and calibration counts (bins, 4) over all images."""
    confusion, counts = np.zeros((classes, classes), np.int64), np.zeros((BINS, 4))
    with step("label images") as advance:
        for done, (logits, labels) in enumerate(labelled(label, images), start=1):
            known = labels != IGNORE
            confusion += confusion_matrix(labels[known], logits.argmax(axis=0)[known], classes)
            counts += soft_class_counts(logits, labels)
            advance(done, len(images))
    return confusion, counts


def _labeller(predict: Predict, checkpoint: JointCheckpoint, solver: str, steps: int, timestep: int | None) -> Label:
    balanced = checkpoint.balanced
    if timestep is None:
        return drawn(predict, balanced, solver, steps)
    if not 0 <= timestep < balanced.timesteps:
        raise UsageError("--timestep", f"{timestep} is out of range", f"give 0 to {balanced.timesteps - 1}")
    return restored(predict, balanced, timestep)


def _require_shapes(images: LabelledImages, checkpoint: JointCheckpoint) -> None:
    """Check all sizes before labelling, which takes minutes, begins."""
    for i in range(len(images)):
        height, width = images.grey(i)[0].shape
        require_shape(images.name(i), (height, width), checkpoint.size, checkpoint.architecture.divisor)


def _rounded(value: Any) -> float | None:
    return number(round(float(value), 4))
