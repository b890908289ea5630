"""Scores of slicks as objects: 8-connected patches of oil, true and predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from models.evaluation.metrics import Floats, harmonic, ratio

TRUE, FOUND, MATCHED, PREDICTED, HITS, MATCHED_PREDICTED = range(6)  # the columns of `object_counts`
_EIGHT = np.ones((3, 3))


@dataclass(frozen=True)
class ObjectOptions:
    """Which patches count, when two match, and the area bins."""

    minimum_area: int = 10  # pixels; smaller patches, true or predicted, do not count
    matching_iou: float = 0.3
    area_edges: tuple[int, ...] = (100, 1000, 10_000)  # pixels


@dataclass(frozen=True)
class _Patches:
    """Labelled patches; label 0 is background, `counts` marks the large enough ones."""

    labels: NDArray[np.int64]
    areas: NDArray[np.int64]
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class _Pairs:
    """Overlapping true and predicted patches, by their labels, and their IoU."""

    true: NDArray[np.int64]
    found: NDArray[np.int64]
    iou: Floats


def object_counts(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], options: ObjectOptions) -> NDArray[np.int64]:
    """Count patches of one image by area, (bins, 6): `TRUE`, `FOUND`, `MATCHED`, `PREDICTED`, `HITS` and
    `MATCHED_PREDICTED`.

    truth, predicted: (H, W), True on oil. Bins are by true area in the first three columns, by predicted area in the
    others. Found: a predicted patch overlaps it; hit: it overlaps oil. Matched: one true and one predicted patch with
    an IoU of at least `matching_iou`, paired one to one for the most pairs and then the largest sum of IoU. A predicted
    patch that overlaps only true patches that are too small does not count.
    """
    true_patches, found_patches = _patches(truth, options.minimum_area), _patches(predicted, options.minimum_area)
    pairs = _overlaps(true_patches, found_patches)
    large = true_patches.counts[pairs.true]
    on_oil, on_large = _marked(pairs.found, found_patches), _marked(pairs.found[large], found_patches)
    counted = found_patches.counts & (on_large | ~on_oil)
    found = _marked(pairs.true[found_patches.counts[pairs.found]], true_patches)
    rows, columns = _one_to_one(pairs, true_patches.counts, found_patches.counts, options.matching_iou)
    counts = np.zeros((len(options.area_edges) + 1, 6), np.int64)
    for column, areas in (
        (TRUE, true_patches.areas[true_patches.counts]),
        (FOUND, true_patches.areas[true_patches.counts & found]),
        (MATCHED, true_patches.areas[rows]),
        (PREDICTED, found_patches.areas[counted]),
        (HITS, found_patches.areas[counted & on_large]),
        (MATCHED_PREDICTED, found_patches.areas[columns]),
    ):
        counts[:, column] = np.bincount(np.digitize(areas, options.area_edges), minlength=len(counts))
    return counts


def object_scores(counts: NDArray[np.number]) -> dict[str, Floats]:
    """Return precision, recall and F1 from counts (..., 6), by any overlap (`object_`) and one to one (`matched_`)."""
    scores: dict[str, Floats] = {}
    for name, found, hits in (("object", FOUND, HITS), ("matched", MATCHED, MATCHED_PREDICTED)):
        precision = ratio(counts[..., hits], counts[..., PREDICTED])
        recall = ratio(counts[..., found], counts[..., TRUE])
        scores |= {f"{name}_precision": precision, f"{name}_recall": recall, f"{name}_f1": harmonic(precision, recall)}
    return scores


def _patches(oil: NDArray[np.bool_], minimum_area: int) -> _Patches:
    labels, n = ndimage.label(oil, _EIGHT)
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    counts = areas >= max(minimum_area, 1)
    counts[0] = False
    return _Patches(labels.astype(np.int64), areas, counts)


def _overlaps(true: _Patches, found: _Patches) -> _Pairs:
    common = (true.labels > 0) & (found.labels > 0)
    index = true.labels[common] * len(found.areas) + found.labels[common]
    pairs, hits = np.unique(index, return_counts=True)
    i, j = np.divmod(pairs, len(found.areas))
    return _Pairs(i, j, hits / (true.areas[i] + found.areas[j] - hits))


def _marked(labels: NDArray[np.int64], patches: _Patches) -> NDArray[np.bool_]:
    marked = np.zeros(len(patches.areas), bool)
    marked[labels] = True
    return marked


def _one_to_one(
    pairs: _Pairs, true_counts: NDArray[np.bool_], found_counts: NDArray[np.bool_], matching_iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels of matched patches, true and predicted ones in the same order."""
    near = (pairs.iou >= matching_iou) & true_counts[pairs.true] & found_counts[pairs.found]
    rows, i = np.unique(pairs.true[near], return_inverse=True)
    columns, j = np.unique(pairs.found[near], return_inverse=True)
    gain = np.zeros((len(rows), len(columns)))
    gain[i, j] = 1 + pairs.iou[near] / (1 + min(gain.shape))  # one more pair outweighs any sum of IoU
    i, j = linear_sum_assignment(gain, maximize=True)
    kept = gain[i, j] > 0
    return rows[i[kept]], columns[j[kept]]
