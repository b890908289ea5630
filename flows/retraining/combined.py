"""The data a retraining trains on: configured sets and chips of reviewed slicks, as one folder of image pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.retraining.collected import ReviewedScene, chips_of, reviewed_scenes
from flows.retraining.plan import Plan
from flows.retraining.steps import Value, done_once
from ingest.errors import UsageError
from ingest.files import storage_errors
from ingest.progress import step
from models.classes import OIL
from models.datasets import (
    DATASETS,
    LabelledImages,
    Reduced,
    SimulatedChips,
    copy_group,
    grouped_folds,
    open_dataset,
)
from models.datasets.fingerprint import fingerprint

SIMULATED = 400  # chips of the set `simulated`, which has none of its own to train on
FOLDS = 20  # one of them is put aside to watch the learning on
CODE = (
    "flows/retraining/collected.py", "flows/retraining/combined.py", "models/datasets", "models/simulator",
    "preprocess", "ingest/safe/product.py",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A configured set, by its name, and what of it is trained on."""

    name: str
    images: LabelledImages
    sha256: str


@dataclass(frozen=True)
class Collected:
    """What a retraining trains on; `real` is what `open_dataset` opens."""

    real: str
    folder: Path
    sources: dict[str, str]  # hash of what was taken of each set, by name
    n_train: int
    sha256: str  # of the training pairs
    classes: tuple[str, ...]
    chips: int  # around reviewed slicks
    left_out: dict[str, int]  # how many slicks and chips, by reason

    @property
    def notes(self) -> list[str]:
        """What a reader should know of it, a line each."""
        said = [f"{count} {reason} left out" for reason, count in self.left_out.items()]
        return [f"{self.chips} chips around reviewed slicks", *said]


def collect(plan: Plan) -> Collected:
    """Open the configured sets and the catalogue and put together what is trained on; a step that is done once.

    A single set without reviewed slicks is taken as it is, with all its classes. Else all become one folder of 8-bit
    images with masks, which know oil and the rest alone. Raises what opening the sets and the catalogue raises, and
    `UsageError` where there is too little.
    """
    sources = training_sources(plan.datasets)
    scenes = reviewed_scenes(plan.catalogue)
    depends_on = {
        "sources": {source.name: source.sha256 for source in sources},
        "scenes": {scene.scene_id: scene.facts() for scene in scenes},
    }
    done = done_once(plan.folder, "data", depends_on, CODE, lambda folder: _combined(folder, sources, scenes))
    value = {**done.value, "classes": tuple(done.value["classes"])}
    real = value.pop("as_it_is") or str(done.folder)
    return Collected(real=real, folder=done.folder, **value)


def training_sources(names: Sequence[str]) -> list[Source]:
    """Open the training images of each set; all of a folder without train/ and test/. Raises `UsageError`."""
    sources = []
    for name in dict.fromkeys(names):
        split = open_dataset(name)
        images = split.train
        if images is None and name not in DATASETS:
            images = _to_train_on(split.test)
        elif images is None:
            images = _simulated(split.test)
        sources.append(Source(split.name, images, fingerprint(images)))
    return sources


def _to_train_on(images: LabelledImages) -> LabelledImages:
    unwrapped = images.images if isinstance(images, Reduced) else images
    return _simulated(images) if isinstance(unwrapped, SimulatedChips) else images


def _simulated(images: LabelledImages) -> LabelledImages:
    """Chips of the seeds that are never tested on, in place of those that are."""
    if isinstance(images, Reduced):
        return replace(images, images=_simulated(images.images))
    if isinstance(images, SimulatedChips):
        return replace(images, count=SIMULATED, first_seed=0)
    raise UsageError("retraining.datasets", "names a set without images to train on", "choose another one")


def _combined(folder: Path, sources: list[Source], scenes: list[ReviewedScene]) -> Value:
    left_out: Counter[str] = Counter()
    chips = 0
    with step("collect data") as advance:
        for chip in chips_of(scenes, left_out):
            write_pair(folder / "train", chip.name, chip.grey, chip.labels)
            chips += 1
        as_it_is = _as_it_is(sources, chips)
        if as_it_is is None:
            for done, (number, source) in enumerate(enumerate(sources), start=1):
                _write_source(folder, number, source.images)
                advance(done, len(sources))
    if as_it_is is None and not (folder / "test").is_dir():
        raise UsageError("retraining.datasets", "has too few pairs to watch the learning on", "give more of them")
    split = open_dataset(as_it_is or str(folder))
    assert split.train is not None
    return {
        "as_it_is": as_it_is,
        "sources": {source.name: source.sha256 for source in sources},
        "n_train": len(split.train),
        "sha256": fingerprint(split.train),
        "classes": split.train.classes,
        "chips": chips,
        "left_out": dict(left_out),
    }


def _as_it_is(sources: list[Source], chips: int) -> str | None:
    if chips or len(sources) > 1 or open_dataset(sources[0].name).train is None:
        return None
    return sources[0].name


def _write_source(folder: Path, number: int, images: LabelledImages) -> None:
    for part, chosen in zip(("train", "test"), _folds(images), strict=True):
        for i in chosen:
            name = f"{number}-{i:06d}-{images.name(i)}"
            write_pair(folder / part, name, *images.grey(i))


def _folds(images: LabelledImages) -> tuple[Iterable[int], Iterable[int]]:
    """Which images are trained on and which watched, copies of one place on one side; none where there is but one."""
    names = [images.name(i) for i in range(len(images))]
    groups = len({copy_group(name) or name for name in names})
    if groups < 2:
        return range(len(images)), ()
    seen, watched = grouped_folds(images, min(FOLDS, groups), seed=0)[0]
    return seen.indices, watched.indices


def write_pair(folder: Path, name: str, grey: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write images/NAME.png and masks/NAME.png below a folder, 255 = oil; no data is not oil."""
    file_name = re.sub(r"[^\w.-]+", "_", name) + ".png"
    layers = {"images": grey, "masks": np.where(labels == OIL, 255, 0).astype(np.uint8)}
    with storage_errors(folder):
        for kind, layer in layers.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(layer).save(folder / kind / file_name)
