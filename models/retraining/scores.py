"""The part of an evaluation that a retraining keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEPT = (
    "n_images", "miou", "oil_iou", "f1", "precision", "recall", "object_precision", "object_recall", "object_f1",
    "false_alarms_per_image", "ece",
)  # fmt: skip


def heldout_record(evaluation: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """Return what an evaluation's record says about its held-out set."""
    dataset = evaluation["dataset"]
    return {
        "sha256": fingerprint, "n_images": dataset["n_images"], "note": dataset["note"],
        "compared_on": list(dataset["compared_on"]),
    }  # fmt: skip


def kept_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a model that are stored with it, with their intervals."""
    intervals = {name: scores["intervals"].get(name) for name in KEPT if name != "n_images"}
    return {**{name: scores[name] for name in KEPT}, "intervals": intervals}
