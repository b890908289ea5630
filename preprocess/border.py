"""The border of products before IPF 2.90: low numbers along the edges of the image where nothing was measured.

Since IPF 2.90 these samples are 0. Before, they are a few digital numbers, far below the thermal noise that every
measured sample carries, however dark the sea (docs/decisions/0015-border-noise.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_closing, grey_opening

from ingest.safe.metadata import Integers
from preprocess.calibrate import Float32s
from preprocess.grd import Measurement
from preprocess.noise import NoiseTable

FIRST_IPF_WITHOUT = 2.90
_MARGIN = 2000  # lines and pixels from each edge that are searched
_GROUP = 8  # lines or pixels along an edge that are averaged
# In groups: shorter notches in a border, left by something bright in it, are closed; shorter pieces are chance.
_CLOSED, _SHORTEST = 9, 3
_SHARE_OF_NOISE = 0.5
# In DN^2: numbers of 1 to 20 at random have a mean square of 144, half the square of SNAP's limit of 30 is 450.
_LOWEST_LIMIT, _LIMIT_WITHOUT_NOISE = 180.0, 450.0
_MEASURED, _EMPTY, _LOW = range(3)


@dataclass(frozen=True, eq=False)
class Border:
    """How far the border reaches inwards from each edge, by groups of `_GROUP` lines or pixels along it."""

    shape: tuple[int, int]  # lines and samples of the image
    near: Integers  # pixels from the first on, by group of lines
    far: Integers  # pixels from the last on
    first: Integers  # lines from the first on, by group of pixels
    last: Integers  # lines from the last on

    @property
    def width(self) -> int:
        """The largest distance of a sample of the border from the nearest edge, in lines or pixels; 0: no border."""
        lines, samples = self.shape
        by_line = np.minimum(np.maximum(self.near, self.far), _from_ends(lines))
        by_pixel = np.minimum(np.maximum(self.first, self.last), _from_ends(samples))
        return int(max(by_line.max(), by_pixel.max()))

    def clear(self, digital_number: NDArray[np.uint16], start: int) -> None:
        """Set the border to 0, no data, in consecutive lines of the image from `start` on; (lines, samples)."""
        lines, samples = self.shape
        line = np.arange(start, start + len(digital_number))
        for row, group in zip(digital_number, line // _GROUP, strict=True):
            row[: self.near[group]] = 0
            row[samples - self.far[group] :] = 0
        if line[0] < self.first.max() or line[-1] >= lines - self.last.max():
            first, last = (np.repeat(one, _GROUP)[:samples] for one in (self.first, self.last))
            digital_number[(line[:, None] < first) | (line[:, None] >= lines - last)] = 0


def find_border(measurement: Measurement, noise: NoiseTable | None, rows_per_block: int = 512) -> Border | None:
    """The border of an image, which is read once, in bands; None where it has none.

    Raises `UnreadableInput` as `Measurement.read` does.
    """
    lines, samples = measurement.lines, measurement.samples
    height, width = min(_MARGIN, lines), min(_MARGIN, samples)
    near, far = [], []
    first, last = (np.empty((height, -(-samples // _GROUP)), np.int8) for _ in range(2))
    rows = measurement.band_lines(rows_per_block, multiple_of=_GROUP)
    for start in range(0, lines, rows):
        stop = min(start + rows, lines)
        band = measurement.read(start, stop)
        limit = _limit(noise, np.arange(start, stop)[_centres(stop - start)], samples)
        near.append(_depth(_marks(band[:, :width], limit[:, :width], axis=0)))
        far.append(_depth(_marks(band[:, -width:], limit[:, -width:], axis=0)[:, ::-1]))
        across = np.repeat(limit[:, _centres(samples)], _GROUP, axis=0)
        for end, begin in ((first, 0), (last, lines - height)):
            inside = slice(max(begin - start, 0), min(begin + height, stop) - start)
            if inside.start < inside.stop:
                at = start + inside.start - begin
                end[at : at + inside.stop - inside.start] = _marks(band[inside], across[inside], axis=1)
    found = (np.concatenate(near), np.concatenate(far), _depth(first.T), _depth(last[::-1].T))
    smooth = (grey_opening(grey_closing(depth, (_CLOSED,)), (_SHORTEST,)) for depth in found)
    border = Border((lines, samples), *smooth)
    return border if border.width else None


def _limit(noise: NoiseTable | None, lines: Integers, samples: int) -> Float32s:
    """The mean DN^2 below which nothing was measured; (lines, samples)."""
    if noise is None:
        return np.full((lines.size, samples), _LIMIT_WITHOUT_NOISE, np.float32)
    limit = noise.band(int(lines[0]), int(lines[-1]) + 1, samples).at(lines)
    limit *= _SHARE_OF_NOISE
    return limit.clip(_LOWEST_LIMIT)


def _marks(digital_number: NDArray[np.uint16], limit: Float32s, axis: int) -> NDArray[np.int8]:
    """Which means of `_GROUP` samples along an axis are measured, empty (mostly 0) or low."""
    size = digital_number.shape[axis]
    starts = np.arange(0, size, _GROUP)
    power = np.square(digital_number, dtype=np.float32)
    count = np.add.reduceat(digital_number > 0, starts, axis=axis, dtype=np.uint8)
    mean = np.add.reduceat(power, starts, axis=axis) / np.maximum(count, 1)
    sizes = np.diff(starts, append=size)
    empty = 2 * count < (sizes[:, None] if axis == 0 else sizes)
    return np.where(empty, _EMPTY, np.where(mean < limit, _LOW, _MEASURED)).astype(np.int8)


def _depth(marks: NDArray[np.int8]) -> Integers:
    """How far the border reaches in each row of marks, which begins at the edge; (rows,).

    To the last low mark with more that are low or empty than measured before it, so that nothing bright in the
    border ends it, and nothing dark in the sea makes it longer; what begins with measured samples has none.
    """
    surplus = np.cumsum(np.where(marks == _MEASURED, -1, 1), axis=1)
    inside = (marks == _LOW) & (surplus > 0) & (np.minimum.accumulate(surplus, axis=1) > -_GROUP)
    reach = marks.shape[1] - np.argmax(inside[:, ::-1], axis=1)
    return np.where(inside.any(axis=1), reach, 0).astype(np.int64)


def _centres(size: int) -> Integers:
    """The middle of each group of `_GROUP`."""
    return np.minimum(np.arange(_GROUP // 2, size + _GROUP // 2, _GROUP), size - 1)


def _from_ends(size: int) -> Integers:
    """The distance of each group's far side from the nearer end."""
    end = np.minimum(np.arange(_GROUP, size + _GROUP, _GROUP), size)
    nearer: Integers = np.minimum(end, size - (end - 1) // _GROUP * _GROUP)
    return nearer
