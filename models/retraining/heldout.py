"""Held-out data sets: their hashes, that no image of theirs is trained on, and the scores kept of an evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from ingest.errors import UsageError
from ingest.progress import step
from models.datasets.catalogue import open_dataset
from models.datasets.fingerprint import fingerprint
from models.datasets.pairs import LabelledImages, Selection
from models.datasets.simulated import SimulatedChips
from models.datasets.views import Reduced
from models.retraining.steps import TrainingData
from models.retraining.training_data import training_sources


def heldout_fingerprints(names: Sequence[str]) -> dict[str, str]:
    """Return the hash of the test images of each held-out set, by name."""
    return {name: fingerprint(open_dataset(name).test) for name in dict.fromkeys(names)}


def require_disjoint(datasets: Sequence[str], data: TrainingData, heldout: Sequence[str]) -> None:
    """Raise `UsageError` where a held-out image is trained on.

    Two images are the same where they have the same pixels, under whatever name, or where their data set knows them as
    copies of one place.
    """
    trained_on: set[Hashable] = set()
    with step("compare with held-out data"):
        for source in training_sources(datasets):
            trained_on.update(_identities(source.images))
        training = open_dataset(data.real).train
        if training is not None:
            trained_on.update(_identities(training))
        for name in dict.fromkeys(heldout):
            _require_none_of(trained_on, name)


def _require_none_of(trained_on: set[Hashable], name: str) -> None:
    images = open_dataset(name).test
    same = [i for i in range(len(images)) if not trained_on.isdisjoint(_identity(images, i))]
    if same:
        problem = f"{len(same)} of {len(images)} held-out images are also trained on, such as {images.name(same[0])}"
        raise UsageError(name, problem, "hold out others, or train on a set without them, such as sos-clean")


def _identities(images: LabelledImages) -> Iterator[Hashable]:
    for index in range(len(images)):
        yield from _identity(images, index)


def _identity(images: LabelledImages, index: int) -> tuple[Hashable, ...]:
    """Return what an image has in common with each of its copies."""
    if _is_simulated(images):  # its seed identifies it, without the time to simulate it again
        return (fingerprint(Selection(images, (index,))),)
    grey, _ = images.grey(index)
    pixels = hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).hexdigest()
    return pixels, *(Selection(images, (index,)).groups or ())


def _is_simulated(images: LabelledImages) -> bool:
    while isinstance(images, Selection | Reduced):
        images = images.images
    return isinstance(images, SimulatedChips)


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
