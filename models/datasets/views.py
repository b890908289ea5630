"""Any data set with its images cut to a square, or averaged to fewer pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from models.classes import IGNORE, OIL
from models.datasets.pairs import GreyPair, LabelledImages, Pair, Selection, View, chip_input
from models.datasets.simulated import SimulatedChips
from preprocess.options import PreprocessOptions, normalised_db

_DECIBELS = PreprocessOptions(floor_db=-np.inf, mean_db=0.0, std_db=1.0)


@dataclass(frozen=True)
class Reduced(View):
    """Images averaged over blocks of `factor` x `factor` pixels; incomplete blocks are cut off.

    A label is the most frequent one of its block, oil where it is among the most frequent, else the first class of
    them, and `IGNORE` where more than half of the block is. Pixels labelled `IGNORE` count in no mean.
    """

    factor: int

    @property
    def pixel_spacing(self) -> float | None:
        spacing = self.images.pixel_spacing
        return None if spacing is None else spacing * self.factor

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Return `chip_input` of the reduced grey, NaN where it is labelled `IGNORE`.

        Of calibrated images the linear power is averaged instead, as multilooking does, so that they stay calibrated.
        Raises `UsageError` for an image smaller than a block.
        """
        if _calibrated(self.images):
            image_db, whole = self.images.pair(index, _DECIBELS)
            power, labels = self._reduced(index, 10 ** (image_db[0] / 10), whole)
            return normalised_db(_without_ignored(power, labels), options)[None], labels
        grey, labels = self.grey(index)
        return chip_input(_without_ignored(grey, labels), options)[None], labels

    def grey(self, index: int) -> GreyPair:
        """Return the means of the blocks, rounded, 0 where nothing in a block counts; raises what `pair` raises."""
        grey, labels = self._reduced(index, *self.images.grey(index))
        return np.rint(grey).astype(np.uint8), labels

    def power(self, index: int) -> NDArray[np.float32]:
        """Return the means of the blocks, NaN where labelled `IGNORE`; raises what `pair` raises."""
        _, labels = self.images.grey(index)
        return _without_ignored(*self._reduced(index, self.images.power(index), labels))

    def _reduced(
        self, index: int, image: NDArray[np.generic], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if min(labels.shape) < self.factor:
            size, block = (f"{lines} x {pixels}" for lines, pixels in (labels.shape, 2 * [self.factor]))
            raise UsageError(self.name(index), f"is {size} pixels, less than a block of {block}", "reduce by less")
        return block_means(image, labels, self.factor), block_labels(labels, self.factor)


def block_means(image: NDArray[np.generic], labels: NDArray[np.int64], factor: int) -> NDArray[np.float32]:
    """Return the mean of each block over the pixels not labelled `IGNORE`, 0 where there is none."""
    counts = _blocks(labels, factor) != IGNORE
    total = np.where(counts, _blocks(image, factor), 0).sum(axis=-1, dtype=np.float64)
    return np.asarray(total / np.maximum(counts.sum(axis=-1), 1), np.float32)


def block_labels(labels: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    """Return the most frequent label of each block as `Reduced` says."""
    blocks = _blocks(labels, factor)
    present = np.array([OIL, *np.setdiff1d(blocks, (OIL, IGNORE))])
    frequency = np.stack([(blocks == label).sum(axis=-1) for label in present])
    ignored = (blocks == IGNORE).sum(axis=-1)
    return np.where(2 * ignored > factor**2, IGNORE, present[frequency.argmax(axis=0)])


def _blocks(values: NDArray[np.generic], factor: int) -> NDArray[np.generic]:
    """Return the pixels of each whole block of (H, W) values as (H // factor, W // factor, factor**2)."""
    lines, pixels = (n // factor for n in values.shape)
    whole = values[: lines * factor, : pixels * factor].reshape(lines, factor, pixels, factor)
    return whole.swapaxes(1, 2).reshape(lines, pixels, factor**2)


def _without_ignored(image: NDArray[np.generic], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(labels == IGNORE, np.nan, image).astype(np.float32)


def _calibrated(images: LabelledImages) -> bool:
    while isinstance(images, Selection | Reduced):
        images = images.images
    return isinstance(images, SimulatedChips)


@dataclass(frozen=True)
class Cut(View):
    """Squares of `size` pixels a side, each at a place drawn for its index; images no larger are left as they are."""

    size: int
    seed: int = 0

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Return the square of the image as a network sees it; raises what the whole image raises."""
        image, labels = self.images.pair(index, options)
        window = self._window(index, labels)
        return image[:, *window], labels[window]

    def grey(self, index: int) -> GreyPair:
        """Return the square of the 8-bit image; raises what the whole image raises."""
        grey, labels = self.images.grey(index)
        window = self._window(index, labels)
        return grey[window], labels[window]

    def power(self, index: int) -> NDArray[np.float32]:
        """Return the square of the power; raises what the whole image raises."""
        power = self.images.power(index)
        return power[self._window(index, power)]

    def _window(self, index: int, labels: NDArray[np.generic]) -> tuple[slice, slice]:
        rng = np.random.default_rng((self.seed, index))
        top, left = (int(rng.integers(max(0, n - self.size) + 1)) for n in labels.shape)
        return slice(top, top + self.size), slice(left, left + self.size)
