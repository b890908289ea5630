"""Cross-validation folds that keep copies of one place together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from models.datasets.pairs import LabelledImages, Selection, groups_or_names


def grouped_folds(images: LabelledImages, k: int, seed: int) -> tuple[tuple[Selection, Selection], ...]:
    """Divide images into `k` folds of (training, validation), every image validated once, no group of copies divided.

    A validation part consists of consecutive groups, since neighbouring images may overlap; `seed` chooses where the
    first one begins. Raises `UsageError` for fewer than two folds or fewer groups than folds.
    """
    groups = groups_or_names(images)
    in_order = sorted(set(groups))  # type: ignore[type-var]  # keys of one data set are of one type
    if not 2 <= k <= len(in_order):
        raise UsageError(f"{k} folds", f"there are {len(in_order)} groups of images", f"give 2 to {len(in_order)}")
    first = int(np.random.default_rng(seed).integers(len(in_order)))
    fold_of = {group: (place - first) % len(in_order) * k // len(in_order) for place, group in enumerate(in_order)}
    folds = np.array([fold_of[group] for group in groups])
    return tuple((Selection(images, _indices(folds != n)), Selection(images, _indices(folds == n))) for n in range(k))


def held_out_fold(images: LabelledImages, most: int, seed: int) -> tuple[Selection, Selection] | None:
    """Divide images into (training, validation), one of up to `most` folds held out; None for a single group."""
    folds = min(most, len(set(groups_or_names(images))))
    return grouped_folds(images, folds, seed)[0] if folds > 1 else None


def _indices(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(chosen))
