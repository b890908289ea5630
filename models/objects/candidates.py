"""Candidates: groups of cells that the network takes for oil."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
_CORNERS_TOUCH = np.ones((3, 3), np.bool_)


@dataclass(frozen=True)
class CandidateOptions:
    """Thresholds on the probability of oil: cells at `grow` that touch are one candidate if one reaches `keep`."""

    grow: float = 0.3
    keep: float = 0.5
    least_cells: int = 30


@dataclass(frozen=True, eq=False)
class Candidate:
    """One group of cells, on the image window that contains it."""

    rows: slice
    columns: slice
    cells: Mask  # on the window

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(np.count_nonzero(self.cells))

    @property
    def middle(self) -> tuple[int, int]:
        """Row and column of the middle of the window."""
        return (self.rows.start + self.rows.stop) // 2, (self.columns.start + self.columns.stop) // 2

    def widened(self, by: int, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the window with `by` cells more on each side, within an image of `shape`."""
        rows, columns = (
            slice(max(0, window.start - by), min(n, window.stop + by))
            for window, n in zip((self.rows, self.columns), shape, strict=True)
        )
        return rows, columns

    def on(self, rows: slice, columns: slice) -> Mask:
        """The cells on a wider window."""
        cells = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
        top, left = self.rows.start - rows.start, self.columns.start - columns.start
        height, width = self.cells.shape
        cells[top : top + height, left : left + width] = self.cells
        return cells


def find_candidates(oil: NDArray[np.floating], options: CandidateOptions) -> Iterator[Candidate]:
    """Yield the candidates of a plane (H, W) of the probability of oil, NaN = no data, from top to bottom."""
    groups = np.empty(oil.shape, np.int32)
    ndimage.label(oil >= options.grow, structure=_CORNERS_TOUCH, output=groups)
    reached = np.unique(groups[oil >= options.keep])
    counts = np.bincount(groups.ravel())
    boxes = ndimage.find_objects(groups)
    for group in reached[reached > 0]:
        if counts[group] >= options.least_cells:
            rows, columns = boxes[group - 1]
            yield Candidate(rows, columns, groups[rows, columns] == group)
