"""Typed records of a Sentinel-1 GRD product's metadata.

`ingest.safe.product` reads them from a product, `ingest.safe_writing.writer` writes a product from them. Lines and
pixels are zero-based indices of the full-resolution image; integers stand for pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GeolocationGrid:
    """The annotation's tie points: G azimuth rows by R range columns, heights being terrain heights."""

    line: Integers  # (G,) ascending
    pixel: Integers  # (R,) ascending
    azimuth_time: NDArray[np.datetime64]  # (G, R) UTC
    slant_range_time: Floats  # (G, R) two-way, s
    latitude: Floats  # (G, R) degrees
    longitude: Floats  # (G, R) degrees, -180..180, may jump at the antimeridian
    height: Floats  # (G, R) m
    incidence_angle: Floats  # (G, R) degrees
    elevation_angle: Floats  # (G, R) degrees


@dataclass(frozen=True, eq=False)
class CalibrationVector:
    """One row of the calibration look-up table; vectors of a product may differ in length."""

    azimuth_time: datetime
    line: int  # may lie before the image's first line or after its last
    pixel: Integers  # (n,)
    sigma_nought: Floats  # (n,) A_sigma, in DN
    beta_nought: Floats  # (n,)
    gamma: Floats  # (n,)
    dn: Floats  # (n,)


@dataclass(frozen=True, eq=False)
class NoiseRangeVector:
    """One row of the thermal-noise table (`noiseRangeVector`, or `noiseVector` before IPF 2.90)."""

    azimuth_time: datetime
    line: int
    pixel: Integers  # (n,)
    noise: Floats  # (n,) in DN^2


@dataclass(frozen=True, eq=False)
class NoiseAzimuthBlock:
    """Azimuth scaling of the noise over one block of one sub-swath (IPF 2.90 and later)."""

    swath: str
    first_line: int
    last_line: int  # inclusive
    first_pixel: int
    last_pixel: int  # inclusive
    line: Integers  # (m,)
    noise: Floats  # (m,) factor on the range noise


@dataclass(frozen=True, eq=False)
class ThermalNoise:
    """Thermal noise of one image; `azimuth_blocks` is empty in the old schema and in some StripMap products."""

    range_vectors: tuple[NoiseRangeVector, ...]
    azimuth_blocks: tuple[NoiseAzimuthBlock, ...]


@dataclass(frozen=True, eq=False)
class Annotation:
    """The annotation of one polarisation."""

    platform: str  # S1A, S1B, ...
    mode: str  # IW, EW, SM
    swath: str  # IW, EW, S1..S6
    product_type: str  # GRD
    polarisation: str  # VV, VH, HH, HV
    start: datetime  # UTC, first line
    stop: datetime
    absolute_orbit: int
    datatake: int
    image_number: int
    pass_direction: str  # Ascending, Descending
    number_of_lines: int
    number_of_samples: int
    azimuth_pixel_spacing: float  # m
    range_pixel_spacing: float  # m
    geolocation_grid: GeolocationGrid
    noise_removed: bool = False  # by the processor (`thermalNoiseCorrectionPerformed`)


@dataclass(frozen=True, eq=False)
class ImageMetadata:
    """All metadata of one polarisation's image."""

    annotation: Annotation
    calibration: tuple[CalibrationVector, ...]
    noise: ThermalNoise
