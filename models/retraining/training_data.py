"""The training set of a retraining: configured data sets and chips of reviewed slicks, as one folder of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.errors import UsageError
from ingest.progress import step
from models.datasets.catalogue import DATASETS, open_dataset
from models.datasets.fingerprint import fingerprint
from models.datasets.folder import write_pair
from models.datasets.pairs import LabelledImages, held_out_fold
from models.datasets.reviewed import ReviewedScene, reviewed_chips
from models.datasets.simulated import SimulatedChips
from models.datasets.views import Reduced
from models.retraining.steps import TrainingData, Value, run_step

SIMULATED = 400  # chips of the set `simulated`, which has no training images of its own
FOLDS = 20  # one of them is for validation


@dataclass(frozen=True)
class TrainingSource:
    """A configured data set, by name, and the images of it to train on."""

    name: str
    images: LabelledImages
    sha256: str


def collect_training_data(work: Path, datasets: Sequence[str], scenes: list[ReviewedScene]) -> TrainingData:
    """Combine data sets, by name or folder, and chips of reviewed slicks into one training set, as a cached step.

    A single data set without reviewed slicks is used directly, with all its classes. Else all become one folder of
    8-bit images with masks, where only oil is labelled. Raises what opening the data sets raises, and `UsageError`
    where there is too little to train on.
    """
    sources = training_sources(datasets)
    depends_on = {
        "sources": {source.name: source.sha256 for source in sources},
        "scenes": {scene.scene_id: scene.facts() for scene in scenes},
    }
    result = run_step(work, "data", depends_on, lambda folder: _combine(folder, sources, scenes))
    value = {**result.value, "classes": tuple(result.value["classes"])}
    real = value.pop("as_it_is") or str(result.folder)
    return TrainingData(real=real, folder=result.folder, **value)


def training_sources(names: Sequence[str]) -> list[TrainingSource]:
    """Open the training images of each data set; all images of a folder without train/ and test/.

    Raises `UsageError` for a data set without training images.
    """
    sources = []
    for name in dict.fromkeys(names):
        split = open_dataset(name)
        images = split.train
        if images is None and name not in DATASETS:
            images = _folder_images(split.test)
        elif images is None:
            images = _simulated(split.test)
        sources.append(TrainingSource(name, images, fingerprint(images)))
    return sources


def _folder_images(images: LabelledImages) -> LabelledImages:
    unreduced = images.images if isinstance(images, Reduced) else images
    return _simulated(images) if isinstance(unreduced, SimulatedChips) else images


def _simulated(images: LabelledImages) -> LabelledImages:
    """Replace the simulated test chips by chips of other seeds."""
    if isinstance(images, Reduced):
        return replace(images, images=_simulated(images.images))
    if isinstance(images, SimulatedChips):
        return replace(images, count=SIMULATED, first_seed=0)
    raise UsageError("retraining.datasets", "has a data set without training images", "choose another one")


def _combine(folder: Path, sources: list[TrainingSource], scenes: list[ReviewedScene]) -> Value:
    left_out: Counter[str] = Counter()
    chips = 0
    with step("collect data") as advance:
        for chip in reviewed_chips(scenes, left_out):
            write_pair(folder / "train", chip.name, chip.grey, chip.labels)
            chips += 1
        single = _single_set(sources, chips)
        if single is None:
            for done, (number, source) in enumerate(enumerate(sources), start=1):
                _write_source(folder, number, source.images)
                advance(done, len(sources))
    if single is None and not (folder / "test").is_dir():
        raise UsageError("retraining.datasets", "has too few pairs to validate on", "add more")
    split = open_dataset(single or str(folder))
    assert split.train is not None
    return {
        "as_it_is": single,
        "sources": {source.name: source.sha256 for source in sources},
        "n_train": len(split.train),
        "sha256": fingerprint(split.train),
        "classes": split.train.classes,
        "chips": chips,
        "left_out": dict(left_out),
    }


def _single_set(sources: list[TrainingSource], chips: int) -> str | None:
    """Return the name of the only data set where it can be used directly."""
    if chips or len(sources) > 1 or open_dataset(sources[0].name).train is None:
        return None
    return sources[0].name


def _write_source(folder: Path, number: int, images: LabelledImages) -> None:
    for part, chosen in zip(("train", "test"), _folds(images), strict=True):
        for i in chosen:
            name = f"{number}-{i:06d}-{images.name(i)}"
            write_pair(folder / part, name, *images.grey(i))


def _folds(images: LabelledImages) -> tuple[Iterable[int], Iterable[int]]:
    """Return indices to train and to validate on, copies of one place on one side; none of the latter for one place."""
    fold = held_out_fold(images, FOLDS, seed=0)
    return (range(len(images)), ()) if fold is None else (fold[0].indices, fold[1].indices)
