"""Held-out data: what decides between two models must never have been trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence

from flows.retraining.combined import Collected, training_sources
from ingest.errors import UsageError
from ingest.progress import step
from models.datasets import (
    LabelledImages,
    Reduced,
    Selection,
    SimulatedChips,
    open_dataset,
)
from models.datasets.fingerprint import fingerprint


def heldout_fingerprints(names: Sequence[str]) -> dict[str, str]:
    """Return the hash of the test images of each held-out set, by name."""
    return {name: fingerprint(open_dataset(name).test) for name in dict.fromkeys(names)}


def require_apart(datasets: Sequence[str], data: Collected, heldout: Sequence[str]) -> None:
    """Raise `UsageError` where an image that is trained on is also held out.

    Two images are the same where they have the same pixels, under whatever name, or where their data set knows them as
    copies of one place.
    """
    trained_on: set[Hashable] = set()
    with step("compare with held-out data"):
        for source in training_sources(datasets):
            trained_on.update(_identities(source.images))
        collected = open_dataset(data.real)
        if collected.train is not None:
            trained_on.update(_identities(collected.train))
        for name in dict.fromkeys(heldout):
            _require_none_of(trained_on, name)


def _require_none_of(trained_on: set[Hashable], name: str) -> None:
    images = open_dataset(name).test
    same = [i for i in range(len(images)) if not trained_on.isdisjoint(_identity(images, i))]
    if same:
        problem = f"{len(same)} of {len(images)} held-out images are trained on too, such as {images.name(same[0])}"
        raise UsageError(name, problem, "hold out others, or train on a set without them, such as sos-clean")


def _identities(images: LabelledImages) -> Iterator[Hashable]:
    for index in range(len(images)):
        yield from _identity(images, index)


def _identity(images: LabelledImages, index: int) -> tuple[Hashable, ...]:
    """What an image shares with each of its copies."""
    if _is_simulated(images):
        return (fingerprint(Selection(images, (index,))),)
    grey, _ = images.grey(index)
    pixels = hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).hexdigest()
    return pixels, *(Selection(images, (index,)).groups or ())


def _is_simulated(images: LabelledImages) -> bool:
    """Whether the simulator makes the images anew each time, which takes far longer than to say which ones they are."""
    while isinstance(images, Selection | Reduced):
        images = images.images
    return isinstance(images, SimulatedChips)
