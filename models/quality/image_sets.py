"""The two sets of a comparison: real images, and synthetic or other images to compare with them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.datasets.catalogue import open_dataset
from models.datasets.pairs import LabelledImages, Selection
from models.datasets.views import Cut
from models.synthesis.shards import SyntheticPairs


@dataclass(frozen=True)
class ImageSet:
    """Chosen images of a data set; `groups` has a key for each, equal for images of one place, where that is known."""

    name: str
    images: LabelledImages
    indices: tuple[int, ...]
    groups: tuple[Hashable, ...] | None

    @property
    def synthetic(self) -> SyntheticPairs | None:
        """The folder of synthetic pairs that the images are from; None for other data sets."""
        return self.images if isinstance(self.images, SyntheticPairs) else None

    def evenly(self, count: int) -> list[int]:
        """Return up to `count` of the indices, spread evenly."""
        n = min(count, len(self.indices))
        return [self.indices[int(i)] for i in np.linspace(0, len(self.indices), n, endpoint=False)]


def real_set(name: str, count: int | None) -> ImageSet:
    """Open the training images of a data set, or its test images where there are no others."""
    split = open_dataset(name)
    part, images = split.to_learn()
    return _image_set(f"{split.name} {part}", images, count)


def synthetic_set(name: str, count: int | None) -> ImageSet:
    """Open a folder of synthetic pairs, complete or not, or the test images of a data set."""
    if (Path(name) / "manifest.json").is_file():
        return _image_set(Path(name).resolve().name, SyntheticPairs.open(Path(name), allow_partial=True), count)
    split = open_dataset(name)
    return _image_set(f"{split.name} test", split.test, count)


def cut_to_size(real: ImageSet, synthetic: ImageSet) -> ImageSet:
    """Cut real images to the size of square synthetic ones where they are larger, each at a place of its own."""
    if not (real.indices and synthetic.indices):
        return real
    whole, wanted = (one.images.grey(one.indices[0])[0].shape for one in (real, synthetic))
    if wanted[0] != wanted[1] or min(whole) < wanted[0] or whole == wanted:
        return real
    name = f"{real.name}, cut to {wanted[0]} x {wanted[1]}"
    return replace(real, name=name, images=Cut(real.images, wanted[0]))


def _image_set(name: str, images: LabelledImages, count: int | None) -> ImageSet:
    n = len(images) if count is None else min(count, len(images))
    indices = tuple(int(i) for i in np.linspace(0, len(images), n, endpoint=False))
    return ImageSet(name, images, indices, Selection(images, indices).groups)
