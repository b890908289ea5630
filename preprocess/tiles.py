"""Splitting a raster into overlapping tiles and blending tiles into a raster, an inverse pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """Square tiles of `size` cells that share `overlap` cells with each neighbour."""

    size: int = 256
    overlap: int = 128

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"overlap {self.overlap} must lie between 0 and half the tile size {self.size}")

    def starts(self, length: int) -> list[int]:
        """First cells of the tiles along one axis; the last of several tiles ends at the raster's edge."""
        if length <= self.size:
            return [0]
        step = self.size - self.overlap
        return [*range(0, length - self.size, step), length - self.size]

    def weight(self) -> NDArray[np.float32]:
        """Blending weight over one tile, (size, size): a raised cosine over the overlap, never zero.

        Separable; the sum over all tiles that cover a cell is divided out by `blend_rows`, so it need not be one.
        """
        ramp = np.ones(self.size)
        if self.overlap:
            rise = np.sin(0.5 * np.pi * (np.arange(self.overlap) + 0.5) / self.overlap) ** 2
            ramp[: self.overlap] = rise
            ramp[-self.overlap :] = np.minimum(ramp[-self.overlap :], rise[::-1])
        return np.outer(ramp, ramp).astype(np.float32)


def split(raster: NDArray[np.float32], tiling: Tiling) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (row, column, tile) of a raster (..., rows, columns), row by row; edge tiles may be smaller than `size`."""
    for row in tiling.starts(raster.shape[-2]):
        for column in tiling.starts(raster.shape[-1]):
            yield row, column, raster[..., row : row + tiling.size, column : column + tiling.size]


def blend_rows(
    tiles: Iterable[tuple[int, int, NDArray[np.floating]]], shape: tuple[int, int, int], tiling: Tiling
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Blend tiles that come row by row into finished bands of a raster, holding one row of tiles at a time.

    tiles: (row, column, tile (layers, h, w)) in the order of `split`; shape: (layers, rows, columns) of the raster.
    Yields (first row, band (layers, n, columns)) from top to bottom; cells that no tile covers are NaN.
    """
    layers, rows, columns = shape
    weight = tiling.weight()
    total = np.zeros((layers, tiling.size, columns), np.float32)
    weights = np.zeros((tiling.size, columns), np.float32)
    top = 0
    for row, column, tile in tiles:
        if row > top:
            yield from _finished(total, weights, top, row)
            total, weights = _moved_up(total, row - top), _moved_up(weights, row - top)
            top = row
        height, width = tile.shape[-2:]
        total[:, :height, column : column + width] += tile * weight[:height, :width]
        weights[:height, column : column + width] += weight[:height, :width]
    yield from _finished(total, weights, top, rows)


def blend(
    tiles: Iterable[tuple[int, int, NDArray[np.floating]]], shape: tuple[int, int, int], tiling: Tiling
) -> NDArray[np.float32]:
    """Blend tiles into a raster of the given shape (layers, rows, columns), the inverse of `split`."""
    raster = np.full(shape, np.nan, np.float32)
    for row, band in blend_rows(tiles, shape, tiling):
        raster[:, row : row + band.shape[1]] = band
    return raster


def _finished(
    total: NDArray[np.float32], weights: NDArray[np.float32], top: int, stop: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the rows from top to stop; rows below those held, where whole rows of tiles were skipped, are NaN."""
    held = len(weights)
    for row in range(top, stop, held):
        n = min(held, stop - row)
        band = np.full((len(total), n, total.shape[-1]), np.nan, np.float32)
        if row == top:
            np.divide(total[:, :n], weights[:n], out=band, where=weights[:n] > 0)
        yield row, band


def _moved_up(array: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Drop the first n rows of the second to last axis and append empty ones."""
    moved = np.zeros_like(array)
    if n < array.shape[-2]:
        moved[..., : array.shape[-2] - n, :] = array[..., n:, :]
    return moved
