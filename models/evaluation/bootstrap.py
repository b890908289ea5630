"""Confidence intervals by resampling images with replacement (Efron's percentile bootstrap)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from models.evaluation.metrics import Floats

Counts = dict[str, Floats]  # by name: one entry an image along axis 0, or sums over images
Score = Callable[[Counts], dict[str, Floats]]  # from sums with any leading axes, which are kept

FEWEST = 10  # images; of fewer, resamples say little of other images
_BLOCK = 50  # samples at a time, to bound memory


def total(counts: Counts) -> Counts:
    """Sum over images."""
    return {name: values.sum(axis=0) for name, values in counts.items()}


def grouped(counts: Counts, groups: Sequence[Hashable]) -> Counts:
    """Sum over the images of each group, so that a bootstrap draws whole groups of copies."""
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    index = np.array([numbers[group] for group in groups])
    sums = {name: np.zeros((len(numbers), *values.shape[1:])) for name, values in counts.items()}
    for name, values in counts.items():
        np.add.at(sums[name], index, values)
    return sums


def bootstrap(counts: Counts, score: Score, samples: int, seed: int) -> dict[str, Floats]:
    """Compute the scores of `samples` resamples of the images, each as large as the set, (samples,) by name.

    A seed draws the same images whatever the counts, so the samples of two models are paired.
    """
    n = len(next(iter(counts.values())))
    blocks = [
        score({name: np.tensordot(times, values, axes=1) for name, values in counts.items()})
        for times in _times_drawn(n, samples, seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(values: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentiles that enclose `confidence` of the values; NaN values are left out."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _times_drawn(n: int, samples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each image is in each sample, (samples of a block, n)."""
    rng = np.random.default_rng(seed)
    for first in range(0, samples, _BLOCK):
        draws = [rng.integers(n, size=n) for _ in range(min(_BLOCK, samples - first))]
        yield np.stack([np.bincount(draw, minlength=n) for draw in draws]).astype(float)
