"""Radiometric calibration: sparse look-up tables interpolated to bands of lines, digital numbers to sigma nought.

ESA's tables are given at some lines and some pixels and are bilinear in between (Sentinel-1 Product
Specification, and "Radiometric Calibration of S-1 Level-1 Products", ESA-EOPG-CSCOP-TN-0002). Bilinear on
such a grid is separable: the two bracketing vectors are interpolated along the pixels once, then blended
line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ingest.safe.metadata import CalibrationVector, Floats, Integers

Float32s = NDArray[np.float32]
# Columns of the calibration table.
QUANTITIES = ("sigma_nought", "beta_nought", "gamma")


@dataclass(frozen=True, eq=False)
class Band:
    """The vectors of a table that enclose some lines, at every pixel."""

    line: Integers  # (k,) strictly ascending
    value: Float32s  # (k, samples)

    def weights(self, lines: Integers) -> Float32s:
        """Share of each vector in each line; (lines, k), rows add up to 1.

        Before the first and after the last vector the nearest one applies.
        """
        if self.line.size == 1:
            return np.ones((lines.size, 1), np.float32)
        left = np.clip(np.searchsorted(self.line, lines, side="right") - 1, 0, self.line.size - 2)
        step = self.line[left + 1] - self.line[left]
        right_share = np.clip((lines - self.line[left]) / step, 0.0, 1.0)
        weights = np.zeros((lines.size, self.line.size), np.float32)
        rows = np.arange(lines.size)
        weights[rows, left] = 1.0 - right_share
        weights[rows, left + 1] = right_share
        return weights

    def at(self, lines: Integers) -> Float32s:
        """Table values at some lines; (lines, samples)."""
        return self.weights(lines) @ self.value


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """A sparse table: vectors at ascending lines, each with its own pixels; constant outside of them.

    A product's vectors may start at negative lines and end beyond the image, differ in length, or
    come in any order; of several at one line the first is used.
    """

    line: Integers  # (n,) strictly ascending
    pixel: tuple[Integers, ...]  # n times ascending
    value: tuple[Floats, ...]

    @classmethod
    def from_vectors(cls, line: ArrayLike, pixel: Sequence[ArrayLike], value: Sequence[ArrayLike]) -> LookUpTable:
        """Sort the vectors of a product, at least one."""
        lines, first = np.unique(np.asarray(line, np.int64), return_index=True)
        pixels, values = [], []
        for index in first:
            one = np.asarray(pixel[index], np.int64)
            order = np.argsort(one, kind="stable")
            pixels.append(one[order])
            values.append(np.asarray(value[index], np.float64)[order])
        return cls(lines, tuple(pixels), tuple(values))

    def band(self, start: int, stop: int, samples: int) -> Band:
        """The vectors that lines start..stop-1 lie between, interpolated (in float64) at pixels 0..samples-1."""
        first = max(int(np.searchsorted(self.line, start, side="right")) - 1, 0)
        last = min(int(np.searchsorted(self.line, stop - 1, side="left")), self.line.size - 1)
        last = max(last, first)
        at = np.arange(samples, dtype=np.float64)
        value = np.empty((last - first + 1, samples), np.float32)
        for row, index in enumerate(range(first, last + 1)):
            value[row] = np.interp(at, self.pixel[index], self.value[index])
        return Band(self.line[first : last + 1], value)


def calibration_table(vectors: Sequence[CalibrationVector], quantity: str = "sigma_nought") -> LookUpTable:
    """The table A of one of `QUANTITIES`, in digital numbers: quantity = (DN^2 - noise) / A^2.

    The annotation's `absoluteCalibrationConstant` is already part of it and must not be applied again.
    """
    columns = {
        "sigma_nought": [vector.sigma_nought for vector in vectors],
        "beta_nought": [vector.beta_nought for vector in vectors],
        "gamma": [vector.gamma for vector in vectors],
    }
    return LookUpTable.from_vectors(
        [vector.line for vector in vectors], [vector.pixel for vector in vectors], columns[quantity]
    )


def calibrate(digital_number: NDArray[np.uint16], table: Float32s, noise: Float32s | None = None) -> Float32s:
    """(DN^2 - noise) / A^2 of a block, not below 0; NaN where DN = 0; linear power.

    All arrays are (lines, samples); `noise` is in DN^2. No data is decided by the digital number, never
    by the difference: a valid pixel below the noise is dark, not missing.
    """
    power = digital_number.astype(np.float32)
    np.multiply(power, power, out=power)
    if noise is not None:
        np.subtract(power, noise, out=power)
        np.maximum(power, 0.0, out=power)
    power /= table
    power /= table
    if not digital_number.all():
        power[digital_number == 0] = np.nan
    return power
