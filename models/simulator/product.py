"""Whole simulated products: an ocean as the instrument and ESA's processor would deliver it, with its truth.

Everything at full resolution is made band by band of rows, so that memory stays small at any size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from ingest.errors import StorageError, UsageError
from ingest.files import whole_file
from ingest.safe.metadata import ImageMetadata
from ingest.safe_writing.image_metadata import grd_metadata
from ingest.safe_writing.writer import ground_control_points, write_safe
from models.classes import LAND, LOOK_ALIKE, OIL, SEA, SHIP
from models.simulator import sea, speckle
from models.simulator.ocean import Ocean, OceanOptions, simulate_ocean

Scalar = TypeVar("Scalar", bound=np.generic)

NO_DATA = 255
TRUTH_COLOURS = {
    SEA: (0, 0, 0, 255),
    OIL: (0, 255, 255, 255),
    LOOK_ALIKE: (255, 0, 0, 255),
    SHIP: (153, 76, 0, 255),
    LAND: (0, 153, 0, 255),
    NO_DATA: (0, 0, 0, 0),
}
# Open sea with oil production or traffic, far from land: the simulated land is fictitious
MONITORED = {
    "North Sea": (3.0, 56.0),
    "Gulf of Mexico": (-90.5, 25.5),
    "Arabian Sea": (64.0, 16.0),
    "Gulf of Guinea": (3.0, 2.0),
    "Eastern Mediterranean": (29.5, 33.3),
}
LATITUDE = 75  # degrees; nearer to the poles the passes run along the parallels
_HEADINGS = (-12.0, -168.0)  # ascending, descending
_SCENE_STREAM, _SPECKLE_STREAM, _TIME_STREAM = 200, 201, 202
# S1A's orbit at a time; 175 orbits take 12 days
_ORBIT, _ORBIT_BEGAN, _ORBIT_TIME = 54_100, datetime(2024, 6, 1, 5, 30, tzinfo=UTC), timedelta(days=12) / 175
_YEARS = 2015, 2099  # in which the orbit's number is a product's
_INCIDENCE = (30.5, 46.0)  # degrees, of the whole IW swath
_BAND = 512  # rows


@dataclass(frozen=True)
class SimulatedProduct:
    """Where a simulated product and its truth lie."""

    safe: Path
    truth: Path  # uint8 classes at full resolution, 255 = no data
    centre: tuple[float, float]  # longitude, latitude
    start: datetime

    @property
    def where(self) -> str:
        """Place and time for people."""
        longitude, latitude = self.centre
        east, north = "W" if longitude < 0 else "E", "S" if latitude < 0 else "N"
        return f"{abs(latitude):.2f} {north}, {abs(longitude):.2f} {east}, {self.start:%Y-%m-%d %H:%M} UTC"


def simulate_product(
    folder: Path,
    seed: int,
    size: tuple[int, int] = (4096, 4096),
    *,
    polarisations: tuple[str, ...] = ("VV", "VH"),
    platform: str = "S1A",
    mode: str = "IW",
    start: datetime | None = None,
    centre_lonlat: tuple[float, float] | None = None,
    clean: bool = False,
    options: OceanOptions | None = None,
) -> SimulatedProduct:
    """Simulate a GRD product of `size` (lines, samples) in `folder`, and its truth as NAME.truth.tif beside it.

    Place (one of `MONITORED`), time, datatake, pass and incidence angles are drawn by the seed where they are not
    given; the orbit follows from the time. `clean` leaves all oil out. The same arguments give the same bytes. Raises
    `UsageError` for polarisations other than VV and VH, and for a place or time where Sentinel-1 is not simulated.
    """
    if not set(polarisations) <= {"VV", "VH"}:
        raise UsageError(" ".join(polarisations), "cannot be simulated", "choose from VV and VH")
    _require_seen(centre_lonlat, start)
    rng = np.random.default_rng([seed, _SCENE_STREAM])
    heading = _HEADINGS[int(rng.integers(2))]
    place = list(MONITORED.values())[int(rng.integers(len(MONITORED)))]
    drift, share = rng.uniform(-0.2, 0.2, 2), float(rng.uniform())
    centre = centre_lonlat or (place[0] + float(drift[0]), place[1] + float(drift[1]))
    drawn, datatake = _time_and_datatake(seed, centre[0], heading)
    start = start or drawn
    spacing = 40.0 if mode == "EW" else 10.0
    options = options or OceanOptions(incidence_near_far=_incidence_range(size[1] * spacing, share))
    options = replace(options, polarisations=polarisations, clean=clean or options.clean)
    factor = max(1, round(options.spacing / spacing))
    ocean = simulate_ocean((-(-size[0] // factor), -(-size[1] // factor)), seed, options)
    images = {}
    for number, polarisation in enumerate(polarisations):
        metadata = grd_metadata(
            polarisation,
            *size,
            platform=platform,
            mode=mode,
            start=start,
            centre_lonlat=centre,
            heading_deg=heading,
            incidence_near_far=(float(ocean.incidence_angle[0]), float(ocean.incidence_angle[-1])),
            spacing=spacing,
            noise_equivalent=_refined(ocean.noise_equivalent[polarisation], factor, np.arange(size[1])),
            absolute_orbit=_ORBIT + (start - _ORBIT_BEGAN) // _ORBIT_TIME,
            datatake=datatake,
        )
        images[polarisation] = _Image.of(ocean, metadata, factor, seed, number), metadata
    safe = write_safe(folder, None, images)
    truth = safe.with_name(f"{safe.name.removesuffix('.SAFE')}.truth.tif")
    _write_truth(truth, ocean, factor, next(iter(images.values()))[1])
    return SimulatedProduct(safe, truth, centre, start)


def _require_seen(centre: tuple[float, float] | None, start: datetime | None) -> None:
    if centre is not None and not (abs(centre[0]) <= 180 and abs(centre[1]) <= LATITUDE):
        problem = f"{centre[0]:g},{centre[1]:g} is no place that Sentinel-1 images"
        raise UsageError("place", problem, f"give longitude -180 to 180, latitude -{LATITUDE} to {LATITUDE}")
    if start is not None and not _YEARS[0] <= start.year <= _YEARS[1]:
        raise UsageError(f"time {start:%Y-%m-%d}", "not simulated", f"give a year from {_YEARS[0]} to {_YEARS[1]}")


def _time_and_datatake(seed: int, longitude: float, heading: float) -> tuple[datetime, int]:
    """A day of 2024 at the local time of the pass (18 h ascending, 6 h descending), and the datatake's number."""
    rng = np.random.default_rng([seed, _TIME_STREAM])
    hours = (18 if heading == _HEADINGS[0] else 6) - longitude / 15
    day = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(366)))
    seconds = int(3600 * hours) + int(rng.integers(-1200, 1201))
    return day + timedelta(seconds=seconds), int(rng.integers(1, 1 << 24))


@dataclass(frozen=True, eq=False)
class _Image:
    """Digital numbers of one polarisation, made when rows are asked for."""

    shape: tuple[int, int]
    ocean: Ocean
    polarisation: str
    factor: int  # image pixels to an ocean pixel
    gain: NDArray[np.float32]  # (samples,) A_sigma^2
    thermal: NDArray[np.float32]  # (samples,) range noise, DN^2
    metadata: ImageMetadata
    key: int  # of the speckle

    @classmethod
    def of(cls, ocean: Ocean, metadata: ImageMetadata, factor: int, seed: int, number: int) -> _Image:
        annotation, columns = metadata.annotation, np.arange(metadata.annotation.number_of_samples)
        table, noise = metadata.calibration[0], metadata.noise.range_vectors[0]
        return cls(
            shape=(annotation.number_of_lines, annotation.number_of_samples),
            ocean=ocean,
            polarisation=annotation.polarisation,
            factor=factor,
            gain=np.square(np.interp(columns, table.pixel, table.sigma_nought)).astype(np.float32),
            thermal=np.interp(columns, noise.pixel, noise.noise).astype(np.float32),
            metadata=metadata,
            key=int(np.random.SeedSequence([seed, _SPECKLE_STREAM, number]).generate_state(1, np.uint64)[0]),
        )

    def __getitem__(self, rows: slice) -> NDArray[np.uint16]:
        lines = np.arange(*rows.indices(self.shape[0]))
        power = _upsampled(self.ocean.sigma_nought[self.polarisation], self.factor, lines, self.shape[1])
        power *= self.gain
        self._add_thermal(power, lines)
        power *= row_speckle(lines[0], lines[-1] + 1, self.shape[1], self.key)
        numbers = np.clip(np.rint(np.sqrt(power)), 1, 65535).astype(np.uint16)
        numbers[~_nearest(self.ocean.valid, self.factor, lines, self.shape[1])] = 0
        return numbers

    def _add_thermal(self, power: NDArray[np.float32], lines: NDArray[np.int64]) -> None:
        blocks = self.metadata.noise.azimuth_blocks
        if not blocks:
            power += self.thermal
        for block in blocks:  # they cover the image without overlap
            part = slice(block.first_pixel, block.last_pixel + 1)
            scallop = np.interp(lines, block.line, block.noise).astype(np.float32)
            power[:, part] += scallop[:, None] * self.thermal[part]


def row_speckle(first: int, stop: int, samples: int, key: int) -> NDArray[np.float32]:
    """Speckle of unit mean in rows first..stop-1 of an endless image; any rows agree with any larger set of them.

    Each row's white noise has a counter-based generator of its own; a halo of rows feeds the correlation.
    """
    kernel = speckle._kernel(speckle.GRD_CORRELATION)
    halo = len(kernel) // 2
    white = np.empty((stop - first + 2 * halo, samples), np.float32)
    for index in range(len(white)):
        # Rows count from -halo; the lowest word of the counter runs along the row
        stream = np.random.Philox(key=key, counter=[0, first + index, 0, 0])
        np.random.Generator(stream).standard_normal(out=white[index], dtype=np.float32)
    along = ndimage.convolve1d(white, kernel, axis=0, mode="constant")[halo:-halo]
    return speckle._gamma_of(ndimage.convolve1d(along, kernel, axis=1, mode="wrap"), speckle.GRD_LOOKS)


def _incidence_range(width: float, share: float) -> tuple[float, float]:
    """Near and far incidence of `width` metres, `share` of the way through what the swath leaves free."""
    near, far = (float(np.tan(np.radians(angle))) for angle in _INCIDENCE)
    span = min(width / sea.EFFECTIVE_HEIGHT, far - near)
    start = near + share * (far - near - span)
    return float(np.degrees(np.arctan(start))), float(np.degrees(np.arctan(start + span)))


def _upsampled(values: NDArray[np.float32], factor: int, lines: NDArray[np.int64], samples: int) -> NDArray[np.float32]:
    """Linear between the centres of coarse pixels, constant beyond the outermost; (lines, samples)."""
    below, share = _between(values.shape[0], factor, lines)
    first = int(below[0])
    needed = values[first : int(below[-1]) + 2]
    wide = np.stack([_refined(row, factor, np.arange(samples)) for row in needed]).astype(np.float32)
    if len(wide) == 1:
        return np.repeat(wide, len(lines), axis=0)
    lower = below - first
    rise = wide[lower + 1]
    rise -= wide[lower]
    rise *= share[:, None]
    rise += wide[lower]
    return np.asarray(rise)


def _between(size: int, factor: int, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The coarse pixel before each fine one, and the share of the next."""
    place = np.clip((index + 0.5) / factor - 0.5, 0, size - 1)
    below = np.minimum(place.astype(np.int64), max(size - 2, 0))
    return below, (place - below).astype(np.float32)


def _refined(row: NDArray[np.float32], factor: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.interp((index + 0.5) / factor - 0.5, np.arange(len(row)), row))


def _nearest(values: NDArray[Scalar], factor: int, lines: NDArray[np.int64], samples: int) -> NDArray[Scalar]:
    return values[np.ix_(lines // factor, np.arange(samples) // factor)]


def _write_truth(path: Path, ocean: Ocean, factor: int, metadata: ImageMetadata) -> None:
    classes = np.where(ocean.valid, ocean.truth, NO_DATA).astype(np.uint8)
    annotation = metadata.annotation
    samples = annotation.number_of_samples
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": NO_DATA, "crs": "EPSG:4326",
        "width": samples, "height": annotation.number_of_lines, "gcps": ground_control_points(metadata),
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
    }  # fmt: skip
    try:
        with whole_file(path) as hidden, rasterio.open(hidden, "w", **profile) as target:
            target.write_colormap(1, TRUTH_COLOURS)
            target.update_tags(classes="0 sea, 1 oil, 2 look-alike, 3 ship, 4 land")
            for first in range(0, annotation.number_of_lines, _BAND):
                lines = np.arange(first, min(first + _BAND, annotation.number_of_lines))
                band = _nearest(classes, factor, lines, samples)
                target.write(band, 1, window=Window(0, first, samples, len(lines)))
    except OSError as error:
        raise StorageError(path, f"cannot write the truth ({error})", "check space and permissions") from error
