"""What `slickwatch bench teacher` does: hold SAR-JointNet's soft labels of real images to their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flows.progress import step
from ingest.errors import UsageError
from models.datasets import Selection, open_dataset
from models.jointnet.checkpoint import load_jointnet
from models.jointnet.labelling import labelled
from models.losses import IGNORE
from models.metrics import confusion_matrix, intersection_over_union
from models.quality.calibration import BINS, calibration_scores, soft_class_counts


def label_test_images(model: Path, dataset: str, count: int | None, solver: str, steps: int) -> dict[str, Any]:
    """Label the first `count` test images and score that: IoU by class, ECE and Brier score of the likeliest class.

    Raises `UsageError` for a data set of other classes, `ModelError`, and what opening the data set raises.
    """
    network, checkpoint = load_jointnet(model)
    split = open_dataset(dataset)
    if split.test.classes != checkpoint.classes:
        known = ", ".join(checkpoint.classes)
        raise UsageError(dataset, f"has classes {', '.join(split.test.classes)}", f"the model knows {known}")
    images = Selection(split.test, tuple(range(min(count or len(split.test), len(split.test)))))
    classes = len(checkpoint.classes)
    confusion, counts = np.zeros((classes, classes), np.int64), np.zeros((BINS, 4))
    with step("label images") as advance:
        found = labelled(network, images, checkpoint.balanced, solver=solver, steps=steps)
        for done, (logits, labels) in enumerate(found, start=1):
            known = labels != IGNORE
            confusion += confusion_matrix(labels[known], logits.argmax(axis=0)[known], classes)
            counts += soft_class_counts(logits, labels)
            advance(done, len(images))
    iou = intersection_over_union(confusion)
    by_class = {f"{name}_iou": round(float(one), 4) for name, one in zip(checkpoint.classes, iou, strict=True)}
    scores = {name: round(value, 4) for name, value in calibration_scores(counts).items()}
    made = {"model": checkpoint.id, "weights_sha256": checkpoint.weights_sha256, "solver": solver, "steps": steps}
    return {
        "dataset": split.name,
        "n_images": len(images),
        "miou": round(float(iou.mean()), 4),
        **by_class,
        **scores,
        **made,
    }
