"""Any data set with one square cut out of each of its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.datasets.pairs import GreyPair, Pair, View
from preprocess.options import PreprocessOptions


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

    def _window(self, index: int, labels: NDArray[np.int64]) -> tuple[slice, slice]:
        rng = np.random.default_rng((self.seed, index))
        top, left = (int(rng.integers(max(0, n - self.size) + 1)) for n in labels.shape)
        return slice(top, top + self.size), slice(left, left + self.size)
