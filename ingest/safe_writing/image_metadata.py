"""Physically consistent metadata of a GRD image: tie points, calibration and thermal noise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from ingest.errors import UsageError
from ingest.safe.metadata import (
    Annotation,
    CalibrationVector,
    Floats,
    ImageMetadata,
    Integers,
    NoiseAzimuthBlock,
    NoiseRangeVector,
    ThermalNoise,
)
from ingest.safe_writing.swath import Swath

_BETA_NOUGHT = 474.0  # A_beta of the standard IW and EW tables
_SCALLOPING = 0.12  # rise of the noise from the middle of a burst to its ends
_BURST_SECONDS = {"IW": 2.758, "EW": 3.038}
_PIXEL_STEP, _VECTOR_SECONDS, _AZIMUTH_NOISE_STEP = 40, 1.0, 10


@dataclass(frozen=True)
class _Mode:
    swaths: tuple[str, ...]
    spacing: float  # m
    incidence: tuple[float, float]  # degrees at the near and far edge
    name: str  # of the merged swath


_MODES = {
    "IW": _Mode(("IW1", "IW2", "IW3"), 10.0, (30.5, 46.0), "IW"),
    "EW": _Mode(("EW1", "EW2", "EW3", "EW4", "EW5"), 40.0, (18.9, 47.0), "EW"),
    "SM": _Mode(("S3",), 10.0, (27.6, 34.9), "S3"),
}


def grd_metadata(
    polarisation: str,
    lines: int,
    samples: int,
    *,
    platform: str = "S1A",
    mode: str = "IW",
    start: datetime = datetime(2024, 6, 1, 5, 30, tzinfo=UTC),
    centre_lonlat: tuple[float, float] = (3.0, 56.0),
    heading_deg: float = -12.0,
    incidence_near_far: tuple[float, float | None] | None = None,
    spacing: float | None = None,
    noise_equivalent: Floats | None = None,
    absolute_orbit: int = 54_100,
    datatake: int = 0x069A3C,
    image_number: int | None = None,
    noise_schema: str = "azimuth",
) -> ImageMetadata:
    """Make the physically consistent metadata of one polarisation's image at sea level.

    `heading_deg` is the flight direction (-12 ascending, -168 descending). `incidence_near_far` in degrees
    defaults to the mode's whole swath; a narrower image then has the swath's angles, slant ranges, calibration
    and noise squeezed into it, while its positions keep `spacing` metres. A far angle of None is derived from
    the width, so that positions, slant ranges and orbit agree exactly. `noise_equivalent` is the linear
    noise-equivalent sigma nought (samples,); `noise_schema` "vector" gives metadata as before IPF 2.90.
    Raises `UsageError` for an unknown mode.
    """
    if mode not in _MODES:
        raise UsageError(mode, "not a mode with GRD products", f"use one of {', '.join(_MODES)}")
    layout = _MODES[mode]
    spacing = layout.spacing if spacing is None else spacing
    near, far = layout.incidence if incidence_near_far is None else incidence_near_far
    swath = Swath.over(centre_lonlat, heading_deg, (near, far), (lines, samples), spacing, start)
    grid = swath.geolocation_grid()
    annotation = Annotation(
        platform=platform,
        mode=mode,
        swath=layout.name,
        product_type="GRD",
        polarisation=polarisation,
        start=start,
        stop=swath.time(lines - 1),
        absolute_orbit=absolute_orbit,
        datatake=datatake,
        image_number=image_number if image_number is not None else 1 + (polarisation in ("VH", "HV")),
        pass_direction="Ascending" if np.cos(np.radians(heading_deg)) > 0 else "Descending",
        number_of_lines=lines,
        number_of_samples=samples,
        azimuth_pixel_spacing=spacing,
        range_pixel_spacing=spacing,
        geolocation_grid=grid,
    )
    edges = np.linspace(0, samples, len(layout.swaths) + 1).round().astype(np.int64)
    if noise_equivalent is None:
        noise_equivalent = _typical_noise_equivalent(edges)
    calibration = _calibration(swath)
    noise = ThermalNoise(
        _noise_vectors(swath, calibration[0], np.asarray(noise_equivalent, dtype=np.float64)),
        () if noise_schema == "vector" else _azimuth_blocks(swath, mode, edges),
    )
    return ImageMetadata(annotation, calibration, noise)


def _calibration(swath: Swath) -> tuple[CalibrationVector, ...]:
    lines, samples = swath.shape
    pixel = _vector_pixels(samples)
    incidence = np.radians(swath.incidence(pixel))
    beta = np.full(len(pixel), _BETA_NOUGHT)
    sigma = beta / np.sqrt(np.sin(incidence))  # sigma0 = beta0 sin(incidence)
    gamma = sigma * np.sqrt(np.cos(incidence))  # gamma0 = sigma0 / cos(incidence)
    step = _VECTOR_SECONDS / swath.interval
    # The tables' last vector lies beyond the last line
    rows = (np.arange(int(np.ceil((lines - 1) / step)) + 1) * step).round().astype(int)
    return tuple(CalibrationVector(swath.time(row), int(row), pixel, sigma, beta, gamma, beta) for row in rows)


def _noise_vectors(
    swath: Swath, calibration: CalibrationVector, noise_equivalent: Floats
) -> tuple[NoiseRangeVector, ...]:
    pixel = calibration.pixel
    noise = noise_equivalent[pixel] * calibration.sigma_nought**2  # DN^2
    step = _VECTOR_SECONDS / swath.interval
    rows = sorted({*np.arange(0, swath.shape[0], step).round().astype(int).tolist(), swath.shape[0] - 1})
    return tuple(NoiseRangeVector(swath.time(row), row, pixel, noise) for row in rows if row < swath.shape[0])


def _azimuth_blocks(swath: Swath, mode: str, edges: Integers) -> tuple[NoiseAzimuthBlock, ...]:
    """One block per sub-swath, scalloped by burst; StripMap has no bursts, hence no blocks."""
    if mode not in _BURST_SECONDS:
        return ()
    last = swath.shape[0] - 1
    line = np.unique(np.append(np.arange(0, last, _AZIMUTH_NOISE_STEP), last))
    blocks = []
    for number, (first, end) in enumerate(pairwise(edges.tolist())):
        burst = line * swath.interval / _BURST_SECONDS[mode] + number / 3
        factor = 1.0 + _SCALLOPING * (2.0 * (burst % 1.0) - 1.0) ** 2
        blocks.append(NoiseAzimuthBlock(f"{mode}{number + 1}", 0, last, first, end - 1, line, factor))
    return tuple(blocks)


def _typical_noise_equivalent(edges: Integers) -> Floats:
    """-30 dB in the middle of a sub-swath to -25 dB at its edges, where the antenna gain falls off."""
    pieces = [-30.0 + 5.0 * np.linspace(-1.0, 1.0, end - first) ** 2 for first, end in pairwise(edges.tolist())]
    return np.asarray(10.0 ** (np.concatenate(pieces) / 10.0))


def _vector_pixels(samples: int) -> Integers:
    return np.unique(np.append(np.arange(0, samples, _PIXEL_STEP), samples - 1)).astype(np.int64)
