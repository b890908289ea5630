"""From a product to calibrated, denoised and multilooked sigma nought."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from ingest.errors import UnreadableInput, UsageError
from ingest.safe.metadata import ImageMetadata, Integers
from ingest.safe.product import SafeProduct
from ingest.scene import Scene
from preprocess.border import FIRST_IPF_WITHOUT, Border, find_border
from preprocess.calibrate import Float32s, LookUpTable, calibrate, calibration_table
from preprocess.grd import Measurement, lazy_bands, lines_and_pixels, open_measurement
from preprocess.grid import Grid, image_grid
from preprocess.noise import NoiseTable, removable_noise
from preprocess.options import PreprocessOptions

# Lines computed at a time, so that their float32 temporaries stay in a core's cache.
_LINES_AT_A_TIME = 16
_ROWS_OF_NOISE = 64  # computed at a time
# Substitutes for polarisations that a product does not have.
_SAME_ROLE = {"VV": "HH", "HH": "VV", "VH": "HV", "HV": "VH"}


@dataclass(frozen=True)
class CalibratedScene:
    """A scene as models take it: linear sigma nought on the model's grid."""

    scene: Scene
    sigma_nought: xr.DataArray  # (polarisation, line, pixel), lazy float32, m2 m-2, NaN = no data
    grid: Grid
    flags: tuple[str, ...]  # warnings for readers of the results
    noise_floor: xr.DataArray | None = None  # as sigma_nought: its noise equivalent, NaN where unknown; None: unknown


def calibrated_scene(
    product: SafeProduct, options: PreprocessOptions, polarisation: str | None = None, force: bool = False
) -> CalibratedScene:
    """Prepare a product as `options` say, in `polarisation` if one is given.

    Without `polarisation`, a missing one is replaced by the one of the same role (VV and HH, VH and HV), with a flag.
    One of another role than the model was trained on is refused, or with `force` flagged. The whole image is read once
    for its border, if the product may have one (`preprocess.border`). Raises `UsageError` where neither exists, and
    `UnreadableInput` where the product's data contradict its annotation.
    """
    chosen, flags = usable_polarisations(product, options, polarisation, force)
    grid = image_grid(product.image(chosen[0]).annotation, options.pixel_spacing)
    images = [sigma_nought(product, one, options.denoise, grid.looks) for one in chosen]
    stacked = xr.concat(images, xr.DataArray(list(chosen), dims="polarisation", name="polarisation"), join="exact")
    flags += tuple(f"{one}: {flag}" for one, image in zip(chosen, images, strict=True) for flag in image.attrs["flags"])
    stacked = stacked.rename("sigma_nought").assign_attrs({**images[0].attrs, "flags": flags})
    floors = [noise_floor(product, one, grid.looks) for one in chosen]
    floor = xr.concat(floors, stacked.polarisation, join="exact").rename("noise_floor")
    return CalibratedScene(product.scene, stacked, grid, flags, floor)


def usable_polarisations(
    product: SafeProduct, options: PreprocessOptions, polarisation: str | None = None, force: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The polarisations that `calibrated_scene` uses, with its flags on them, and without reading any image.

    Raises as that does.
    """
    chosen, flags = _choose(product, options, polarisation, force)
    measurements = [open_measurement(product, one) for one in chosen]
    if len({(one.lines, one.samples) for one in measurements}) > 1:
        raise UnreadableInput(product.path, "its polarisations differ in size", "fetch the product again")
    return chosen, flags


def sigma_nought(
    product: SafeProduct,
    polarisation: str,
    denoise: bool = True,
    looks: tuple[int, int] = (1, 1),
    rows_per_block: int = 512,
    quantity: str = "sigma_nought",
) -> xr.DataArray:
    """Calibrated backscatter of one polarisation; lazy (line, pixel), float32, linear m2 m-2, NaN = no data.

    `looks` lines and pixels are averaged into one cell while a band is read, so that nothing at full
    resolution is ever kept; `rows_per_block` counts full-resolution lines. `quantity` is one of
    `preprocess.calibrate.QUANTITIES`. The attribute `flags` lists gaps of the noise table and a border of
    no data. Raises `UsageError` for a missing polarisation, `UnreadableInput` for data that contradict the annotation.
    """
    measurement = open_measurement(product, polarisation)
    image = product.image(polarisation)
    noise, noise_flags = removable_noise(image, product.ipf_version)
    flags = noise_flags if denoise else ()
    border = find_border(measurement, noise) if _may_have_border(product, image) else None
    if border is not None:
        flags += (f"border noise, up to {border.width} pixels wide, taken as no data",)
    table = calibration_table(image.calibration, quantity)
    bands = _CalibratedBands(measurement, border, table, noise if denoise else None, looks)
    rows = measurement.band_lines(rows_per_block, multiple_of=looks[0]) // looks[0]
    shape = (-(-measurement.lines // looks[0]), -(-measurement.samples // looks[1]))
    attrs = {
        "units": "m2 m-2",
        "long_name": f"{polarisation} {quantity.replace('_', ' ')}",
        "flags": flags,
    }
    return lines_and_pixels(lazy_bands(bands, shape, np.float32, rows), quantity, looks).assign_attrs(attrs)


def noise_floor(product: SafeProduct, polarisation: str, looks: tuple[int, int] = (1, 1)) -> xr.DataArray:
    """Noise-equivalent sigma nought at the centres of cells of `looks` lines and pixels of one polarisation.

    Lazy (line, pixel), float32, linear m2 m-2; NaN where the product has no usable noise table. It holds whether or
    not that noise is removed. Raises `UsageError` for a missing polarisation.
    """
    image = product.image(polarisation)
    noise, _ = removable_noise(image, product.ipf_version)
    lines, samples = image.annotation.number_of_lines, image.annotation.number_of_samples
    shape = (-(-lines // looks[0]), -(-samples // looks[1]))
    line, pixel = (
        np.minimum(np.arange(count) * look + look // 2, length - 1)
        for count, look, length in zip(shape, looks, (lines, samples), strict=True)
    )
    bands = _NoiseBands(noise, calibration_table(image.calibration), line, pixel, samples)
    return lines_and_pixels(lazy_bands(bands, shape, np.float32, _ROWS_OF_NOISE), "noise_floor", looks)


@dataclass(frozen=True)
class _NoiseBands:
    """Noise-equivalent sigma nought of rows of cells, at their centres."""

    noise: NoiseTable | None
    table: LookUpTable
    line: Integers
    pixel: Integers
    samples: int

    def __call__(self, start: int, stop: int) -> Float32s:
        lines = self.line[start:stop]
        if self.noise is None:
            return np.full((lines.size, self.pixel.size), np.nan, np.float32)
        reach = int(lines[0]), int(lines[-1]) + 1, self.samples
        gain = self.table.band(*reach).at(lines)[:, self.pixel]
        floor: Float32s = self.noise.band(*reach).at(lines)[:, self.pixel] / gain**2
        return floor


def multilook(power: Float32s, looks: tuple[int, int]) -> Float32s:
    """Mean power of the valid pixels of each cell of `looks` lines and pixels; NaN where fewer than half are valid.

    The shape is rounded up: cells at the far edges average the pixels that remain.
    """
    if looks == (1, 1):
        return power
    missing = np.isnan(power)
    size = _cell_sums(np.ones(power.shape[0], np.float32), looks[0])[:, None] * _cell_sums(
        np.ones(power.shape[1], np.float32), looks[1]
    )
    if not missing.any():
        return _cell_sums(_cell_sums(power, looks[0]).T, looks[1]).T / size
    valid = np.subtract(1.0, missing, dtype=np.float32)
    total = _cell_sums(_cell_sums(np.where(missing, np.float32(0), power), looks[0]).T, looks[1]).T
    count = _cell_sums(_cell_sums(valid, looks[0]).T, looks[1]).T
    return np.where(2 * count >= size, total / np.maximum(count, 1), np.float32(np.nan))


def _cell_sums(values: Float32s, look: int) -> Float32s:
    """Sums of `look` consecutive rows; the last may have fewer."""
    sums = values[::look].copy()
    for offset in range(1, look):
        rows = values[offset::look]
        sums[: len(rows)] += rows
    return sums


@dataclass(frozen=True)
class _CalibratedBands:
    """Reads, calibrates, denoises and multilooks bands of rows of the multilooked image."""

    measurement: Measurement
    border: Border | None
    table: LookUpTable
    noise: NoiseTable | None
    looks: tuple[int, int]

    def __call__(self, start: int, stop: int) -> Float32s:
        first, last = start * self.looks[0], min(stop * self.looks[0], self.measurement.lines)
        samples = self.measurement.samples
        digital_number = self.measurement.read(first, last)
        if self.border is not None:
            self.border.clear(digital_number, first)
        table = self.table.band(first, last, samples)
        noise = None if self.noise is None else self.noise.band(first, last, samples)
        result = np.empty((stop - start, -(-samples // self.looks[1])), np.float32)
        rows_at_a_time = max(1, _LINES_AT_A_TIME // self.looks[0])
        for row in range(0, stop - start, rows_at_a_time):
            lines = np.arange(first + row * self.looks[0], min(first + (row + rows_at_a_time) * self.looks[0], last))
            block = digital_number[lines[0] - first : lines[-1] + 1 - first]
            power = calibrate(block, table.at(lines), None if noise is None else noise.at(lines))
            result[row : row + rows_at_a_time] = multilook(power, self.looks)
        return result


def require_trained(subject: str | Path, options: PreprocessOptions, polarisation: str) -> None:
    """Raise `UsageError` for one polarisation of a model of several, and one of another role than the model's."""
    trained = " and ".join(options.polarisations)
    if len(options.polarisations) > 1:
        problem = f"only {polarisation} is selected, the model needs {trained}"
        raise UsageError(subject, problem, "omit the polarisation")
    if polarisation not in (trained, _SAME_ROLE.get(trained)):
        problem = (
            f"{polarisation} is selected, the model was trained on {trained} and would miss slicks in {polarisation}"
        )
        raise UsageError(subject, problem, "omit the polarisation, or use detect --force-polarisation")


def _choose(
    product: SafeProduct, options: PreprocessOptions, polarisation: str | None, force: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The polarisations to use, and flags for those that the model was not trained on."""
    if polarisation is not None:
        product.require(polarisation)
        if not force or len(options.polarisations) > 1:
            require_trained(product.path, options, polarisation)
        trained = options.polarisations[0]
        flag = f"{polarisation} used as asked, the model was trained on {trained}"
        return (polarisation,), (() if polarisation == trained else (flag,))
    chosen, flags = [], []
    for wanted in options.polarisations:
        there = wanted
        if product.has_traces_of(_SAME_ROLE.get(wanted, wanted)) and not product.has_traces_of(wanted):
            there = _SAME_ROLE[wanted]
            flags.append(f"{wanted} is not in the product, {there} used in its place")
        product.require(there)
        chosen.append(there)
    return tuple(chosen), tuple(flags)


def _may_have_border(product: SafeProduct, image: ImageMetadata) -> bool:
    """Whether the product is older than IPF 2.90: by its manifest, else by its noise table."""
    if product.ipf_version is None:
        return not image.noise.azimuth_blocks
    return product.ipf_version < FIRST_IPF_WITHOUT
