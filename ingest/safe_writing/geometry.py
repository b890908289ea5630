"""The imaging geometry of a GRD product: a circular orbit, the tie points it sees, and an image's metadata.

`ingest.safe_writing.writer` needs the orbit for the annotation; the simulator and tests need whole `ImageMetadata`.
Positions are Earth-fixed WGS 84 in metres; every product looks to the right, as Sentinel-1 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod, Transformer

from ingest.errors import UsageError
from ingest.safe.metadata import (
    Annotation,
    CalibrationVector,
    Floats,
    GeolocationGrid,
    ImageMetadata,
    Integers,
    NoiseAzimuthBlock,
    NoiseRangeVector,
    ThermalNoise,
)

SPEED_OF_LIGHT = 299_792_458.0  # m/s
SEMI_MAJOR, SEMI_MINOR = 6_378_137.0, 6_356_752.314245  # m, WGS 84
_GRAVITATION = 3.986004418e14  # m3/s2
_EARTH_ROTATION = np.array([0.0, 0.0, 7.292115e-5])  # rad/s
_ELLIPSOID = Geod(ellps="WGS84")
_ALTITUDE = 700_000.0  # m
_BETA_NOUGHT = 474.0  # A_beta of the standard IW and EW tables
_SCALLOPING = 0.12  # what the noise gains from a burst's middle to its ends
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


@dataclass(frozen=True, eq=False)
class CircularOrbit:
    """A circular orbit, by its Earth-fixed state at `epoch`."""

    epoch: datetime
    position: Floats  # (3,) m
    inertial_velocity: Floats  # (3,) m/s, in the inertial frame that coincides with the Earth-fixed one at epoch

    def state(self, seconds: Floats) -> tuple[Floats, Floats]:
        """Give Earth-fixed position (n, 3) in m and velocity (n, 3) in m/s, `seconds` (n,) after the epoch."""
        radius, speed = np.linalg.norm(self.position), np.linalg.norm(self.inertial_velocity)
        phase = (np.asarray(seconds) * speed / radius)[:, None]
        out, along = self.position / radius, self.inertial_velocity / speed
        position = radius * (np.cos(phase) * out + np.sin(phase) * along)
        velocity = speed * (np.cos(phase) * along - np.sin(phase) * out)
        turned = _turn(position, -_EARTH_ROTATION[2] * np.asarray(seconds))
        return turned, _turn(velocity, -_EARTH_ROTATION[2] * np.asarray(seconds)) - np.cross(_EARTH_ROTATION, turned)

    @property
    def ascending_node(self) -> datetime:
        """When the satellite last crossed the equator northwards before the epoch."""
        radius, speed = np.linalg.norm(self.position), np.linalg.norm(self.inertial_velocity)
        latitude_argument = np.arctan2(self.position[2] / radius, self.inertial_velocity[2] / speed) % (2 * np.pi)
        return self.epoch - timedelta(seconds=float(latitude_argument * radius / speed))


def circular_orbit(
    centre_lonlat: tuple[float, float], heading: float, slant_range: float, incidence: float, time: datetime
) -> CircularOrbit:
    """Find the circular orbit that sees a sea-level point at zero Doppler at a time.

    `heading` is the look direction at that point less 90 degrees, `slant_range` is in m, `incidence` in degrees.
    """
    radius = _curvature_radius(centre_lonlat[1], heading + 90.0)
    height = _height_over_sphere(radius, slant_range, incidence)
    ground = radius * (np.radians(incidence) - np.arcsin(radius / (radius + height) * np.sin(np.radians(incidence))))
    lon, lat, back = _ELLIPSOID.fwd(*centre_lonlat, heading - 90.0, ground)
    position = np.array(_to_geocentric().transform(lon, lat, height))
    direction = _horizontal(position, lon, lat, back - 90.0)
    spin = np.cross(_EARTH_ROTATION, position)
    # |direction * v + spin| must be the speed of a circular orbit
    along, speed_squared = direction @ spin, _GRAVITATION / np.linalg.norm(position)
    speed = -along + np.sqrt(along**2 - spin @ spin + speed_squared)
    orbit = CircularOrbit(time, position, _perpendicular(direction * speed + spin, position))
    # On the ellipsoid the track is not quite level: shift it along so that the point is seen exactly at `time`
    seen = _zero_doppler_seconds(orbit, np.array(_to_geocentric().transform(*centre_lonlat, 0.0)))
    moved_position, moved_velocity = (vectors[0] for vectors in orbit.state(np.array([seen])))
    return CircularOrbit(time, moved_position, moved_velocity + np.cross(_EARTH_ROTATION, moved_position))


def orbit_of(annotation: Annotation) -> CircularOrbit:
    """Recover the circular orbit from which the annotation's tie points are seen."""
    grid = annotation.geolocation_grid
    row, column = len(grid.line) // 2, len(grid.pixel) // 2
    centre = float(grid.longitude[row, column]), float(grid.latitude[row, column])
    nearer = float(grid.longitude[row, column - 1]), float(grid.latitude[row, column - 1])
    look = _ELLIPSOID.inv(*centre, *nearer)[0] + 180.0
    slant_range = float(grid.slant_range_time[row, column]) * SPEED_OF_LIGHT / 2
    time = grid.azimuth_time[row, column].astype("datetime64[us]").item().replace(tzinfo=UTC)
    return circular_orbit(centre, look - 90.0, slant_range, float(grid.incidence_angle[row, column]), time)


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
    and noise squeezed into it, while its positions keep `spacing` metres. A far angle of None takes what the
    width gives instead, so that positions, slant ranges and orbit agree exactly. `noise_equivalent` is the
    noise-equivalent sigma nought (samples,), linear; `noise_schema` "vector" makes metadata as before IPF 2.90.
    Raises `UsageError` for an unknown mode.
    """
    if mode not in _MODES:
        raise UsageError(mode, "not a mode with GRD products", f"use one of {', '.join(_MODES)}")
    layout = _MODES[mode]
    spacing = layout.spacing if spacing is None else spacing
    near, far = layout.incidence if incidence_near_far is None else incidence_near_far
    swath = _Swath.over(centre_lonlat, heading_deg, (near, far), (lines, samples), spacing, start)
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


@dataclass(frozen=True, eq=False)
class _Swath:
    """One image's geometry: lines at `interval` seconds, samples at given true and annotated slant ranges."""

    orbit: CircularOrbit  # epoch at the middle line
    start: datetime
    interval: float  # s
    shape: tuple[int, int]
    slant_range: Floats  # (samples,) m, by which the positions are found
    annotated_range: Floats  # (samples,) m, by which angles and times are told

    @classmethod
    def over(
        cls,
        centre: tuple[float, float],
        heading: float,
        incidence: tuple[float, float | None],
        shape: tuple[int, int],
        spacing: float,
        start: datetime,
    ) -> _Swath:
        lines, samples = shape
        radius = _curvature_radius(centre[1], heading + 90.0)
        near = _ground_range(radius, incidence[0])
        width = (samples - 1) * spacing
        # A width of one pixel still needs a step to tell near from far
        told = max(width, spacing) if incidence[1] is None else _ground_range(radius, incidence[1]) - near
        fraction = np.linspace(0.0, 1.0, samples)
        slant_range = _slant_range(radius, near + told / 2 + (fraction - 0.5) * width)
        annotated = _slant_range(radius, near + told * fraction)
        middle = float(_slant_range(radius, np.array(near + told / 2)))
        angle = _incidence_of_range(radius, middle)
        orbit = circular_orbit(centre, heading, middle, angle, start)
        ground_speed = np.linalg.norm(np.diff(_intersect(orbit, np.array([-0.5, 0.5]), np.full(2, middle)), axis=0))
        interval = spacing / float(ground_speed)
        epoch = start + timedelta(seconds=interval * (lines - 1) / 2)
        orbit = CircularOrbit(epoch, orbit.position, orbit.inertial_velocity)
        return cls(orbit, start, interval, shape, slant_range, annotated)

    def time(self, line: float) -> datetime:
        return self.start + timedelta(seconds=self.interval * float(line))

    def look(self, line: Integers, slant_range: Floats) -> tuple[Floats, Floats, Floats]:
        """Points (n, 3) seen at `line` (n,) and `slant_range` (n,), their incidence and elevation angles (n,)."""
        seconds = np.asarray((line - (self.shape[0] - 1) / 2) * self.interval, dtype=np.float64)
        point = _intersect(self.orbit, seconds, slant_range)
        satellite, _ = self.orbit.state(seconds)
        sight = (satellite - point) / slant_range[:, None]
        normal = point / np.array([SEMI_MAJOR, SEMI_MAJOR, SEMI_MINOR]) ** 2
        incidence = np.arccos(_dot(sight, normal) / np.linalg.norm(normal, axis=1))
        elevation = np.arccos(_dot(sight, satellite) / np.linalg.norm(satellite, axis=1))
        return point, np.degrees(incidence), np.degrees(elevation)

    def incidence(self, pixel: Integers) -> Floats:
        """Incidence angle in degrees along the middle line."""
        return self.look(np.full(len(pixel), self.shape[0] // 2), self.annotated_range[pixel])[1]

    def geolocation_grid(self) -> GeolocationGrid:
        line, pixel = _tie_points(self.shape[0], 10), _tie_points(self.shape[1], 21)
        shape = len(line), len(pixel)
        all_lines = np.repeat(line, len(pixel))
        point, _, _ = self.look(all_lines, np.tile(self.slant_range[pixel], len(line)))
        _, incidence, elevation = self.look(all_lines, np.tile(self.annotated_range[pixel], len(line)))
        x, y, z = point.T
        lon, lat, height = _to_geocentric().transform(x, y, z, direction="INVERSE")
        return GeolocationGrid(
            line=line,
            pixel=pixel,
            azimuth_time=np.array([[_naive(self.time(row))] * len(pixel) for row in line], dtype="datetime64[us]"),
            slant_range_time=np.tile(2 * self.annotated_range[pixel] / SPEED_OF_LIGHT, (len(line), 1)),
            latitude=np.reshape(lat, shape),
            longitude=np.reshape(lon, shape),
            height=np.reshape(height, shape),
            incidence_angle=incidence.reshape(shape),
            elevation_angle=elevation.reshape(shape),
        )


def _calibration(swath: _Swath) -> tuple[CalibrationVector, ...]:
    lines, samples = swath.shape
    pixel = _vector_pixels(samples)
    incidence = np.radians(swath.incidence(pixel))
    beta = np.full(len(pixel), _BETA_NOUGHT)
    sigma = beta / np.sqrt(np.sin(incidence))  # sigma0 = beta0 sin(incidence)
    gamma = sigma * np.sqrt(np.cos(incidence))  # gamma0 = sigma0 / cos(incidence)
    step = _VECTOR_SECONDS / swath.interval
    # The tables' last vector lies behind the last line
    rows = (np.arange(int(np.ceil((lines - 1) / step)) + 1) * step).round().astype(int)
    return tuple(CalibrationVector(swath.time(row), int(row), pixel, sigma, beta, gamma, beta) for row in rows)


def _noise_vectors(
    swath: _Swath, calibration: CalibrationVector, noise_equivalent: Floats
) -> tuple[NoiseRangeVector, ...]:
    pixel = calibration.pixel
    noise = noise_equivalent[pixel] * calibration.sigma_nought**2  # DN^2
    step = _VECTOR_SECONDS / swath.interval
    rows = sorted({*np.arange(0, swath.shape[0], step).round().astype(int).tolist(), swath.shape[0] - 1})
    return tuple(NoiseRangeVector(swath.time(row), row, pixel, noise) for row in rows if row < swath.shape[0])


def _azimuth_blocks(swath: _Swath, mode: str, edges: Integers) -> tuple[NoiseAzimuthBlock, ...]:
    """One block a sub-swath, scalloped by burst; StripMap has no bursts, hence no blocks."""
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
    """-30 dB in the middle of a sub-swath to -25 dB at its edges, where the antenna's gain falls off."""
    pieces = [-30.0 + 5.0 * np.linspace(-1.0, 1.0, end - first) ** 2 for first, end in pairwise(edges.tolist())]
    return np.asarray(10.0 ** (np.concatenate(pieces) / 10.0))


def _tie_points(size: int, count: int) -> Integers:
    return np.unique(np.linspace(0, size - 1, count).astype(np.int64))


def _vector_pixels(samples: int) -> Integers:
    return np.unique(np.append(np.arange(0, samples, _PIXEL_STEP), samples - 1)).astype(np.int64)


def _intersect(orbit: CircularOrbit, seconds: Floats, slant_range: Floats) -> Floats:
    """Points (n, 3) of the ellipsoid at `slant_range` (n,) in the zero-Doppler plane, to the right, by Newton."""
    satellite, velocity = orbit.state(seconds)
    ahead = velocity / np.linalg.norm(velocity, axis=1)[:, None]
    down = -satellite / np.linalg.norm(satellite, axis=1)[:, None]
    right = np.cross(down, ahead)
    point = satellite + slant_range[:, None] * (np.sqrt(0.7) * down + np.sqrt(0.3) * right)
    scale = 1.0 / np.array([SEMI_MAJOR, SEMI_MAJOR, SEMI_MINOR])
    for _ in range(20):
        sight = point - satellite
        residual = np.stack(
            [
                _dot(sight, ahead) / SEMI_MAJOR,
                (_dot(sight, sight) - slant_range**2) / SEMI_MAJOR**2,
                _dot(point * scale, point * scale) - 1.0,
            ],
            axis=-1,
        )
        slope = np.stack([ahead / SEMI_MAJOR, 2 * sight / SEMI_MAJOR**2, 2 * point * scale**2], axis=-2)
        step = np.linalg.solve(slope, residual[..., None])[..., 0]
        point = point - step
        if np.abs(step).max() < 1e-5:  # m
            break
    return np.asarray(point)


def _zero_doppler_seconds(orbit: CircularOrbit, point: Floats) -> float:
    seconds = 0.0
    for _ in range(5):
        position, velocity = (vectors[0] for vectors in orbit.state(np.array([seconds])))
        seconds += float((point - position) @ velocity / (velocity @ velocity) * np.linalg.norm(position) / SEMI_MAJOR)
    return seconds


def _ground_range(radius: float, incidence: float) -> float:
    """Distance on the sphere from the nadir to where the satellite is seen at `incidence` degrees from zenith."""
    angle = np.radians(incidence)
    return float(radius * (angle - np.arcsin(radius / (radius + _ALTITUDE) * np.sin(angle))))


def _slant_range(radius: float, ground_range: Floats) -> Floats:
    orbit = radius + _ALTITUDE
    return np.asarray(np.sqrt(radius**2 + orbit**2 - 2 * radius * orbit * np.cos(ground_range / radius)))


def _incidence_of_range(radius: float, slant_range: float) -> float:
    cosine = ((radius + _ALTITUDE) ** 2 - radius**2 - slant_range**2) / (2 * radius * slant_range)
    return float(np.degrees(np.arccos(cosine)))


def _height_over_sphere(radius: float, slant_range: float, incidence: float) -> float:
    cosine = np.cos(np.radians(incidence))
    return float(np.sqrt(radius**2 + slant_range**2 + 2 * radius * slant_range * cosine) - radius)


def _curvature_radius(latitude: float, azimuth: float) -> float:
    """Radius in m of the ellipsoid's normal section (Euler)."""
    squared = 1.0 - (SEMI_MINOR / SEMI_MAJOR) ** 2
    root = np.sqrt(1.0 - squared * np.sin(np.radians(latitude)) ** 2)
    meridian, prime = SEMI_MAJOR * (1.0 - squared) / root**3, SEMI_MAJOR / root
    turn = np.radians(azimuth)
    return float(1.0 / (np.cos(turn) ** 2 / meridian + np.sin(turn) ** 2 / prime))


def _horizontal(position: Floats, lon: float, lat: float, azimuth: float) -> Floats:
    """Unit vector across `position` that points to `azimuth` degrees from north."""
    lam, phi, turn = np.radians([lon, lat, azimuth])
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    north = np.array([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    across = _perpendicular(np.cos(turn) * north + np.sin(turn) * east, position)
    return np.asarray(across / np.linalg.norm(across))


def _perpendicular(vector: Floats, other: Floats) -> Floats:
    return np.asarray(vector - other * (vector @ other) / (other @ other))


def _turn(vectors: Floats, angle: Floats) -> Floats:
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=-1)


def _dot(first: Floats, second: Floats) -> NDArray[np.float64]:
    return np.asarray((first * second).sum(axis=-1))


@cache
def _to_geocentric() -> Transformer:
    return Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


def _naive(time: datetime) -> datetime:
    return time.replace(tzinfo=None)
