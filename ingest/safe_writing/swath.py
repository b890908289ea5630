"""The viewing geometry of an image: the ellipsoid point seen at each line and sample, and the angles there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from ingest.safe.metadata import Floats, GeolocationGrid, Integers
from ingest.safe_writing.orbit import (
    SEMI_MAJOR,
    SEMI_MINOR,
    SPEED_OF_LIGHT,
    CircularOrbit,
    circular_orbit,
    curvature_radius,
    dot,
    intersect,
    to_geocentric,
)

_ALTITUDE = 700_000.0  # m


@dataclass(frozen=True, eq=False)
class Swath:
    """One image's geometry: lines at `interval` seconds, samples at given true and annotated slant ranges."""

    orbit: CircularOrbit  # epoch at the middle line
    start: datetime
    interval: float  # s
    shape: tuple[int, int]
    slant_range: Floats  # (samples,) m, for the positions
    annotated_range: Floats  # (samples,) m, for the angles and times

    @classmethod
    def over(
        cls,
        centre: tuple[float, float],
        heading: float,
        incidence: tuple[float, float | None],
        shape: tuple[int, int],
        spacing: float,
        start: datetime,
    ) -> Swath:
        """Lay a swath of `shape` (lines, samples) over a centre, `incidence` in degrees at its near and far edge."""
        lines, samples = shape
        radius = curvature_radius(centre[1], heading + 90.0)
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
        ground_speed = np.linalg.norm(np.diff(intersect(orbit, np.array([-0.5, 0.5]), np.full(2, middle)), axis=0))
        interval = spacing / float(ground_speed)
        epoch = start + timedelta(seconds=interval * (lines - 1) / 2)
        orbit = CircularOrbit(epoch, orbit.position, orbit.inertial_velocity)
        return cls(orbit, start, interval, shape, slant_range, annotated)

    def time(self, line: float) -> datetime:
        """Return the time at which a line was seen."""
        return self.start + timedelta(seconds=self.interval * float(line))

    def look(self, line: Integers, slant_range: Floats) -> tuple[Floats, Floats, Floats]:
        """Points (n, 3) seen at `line` (n,) and `slant_range` (n,), their incidence and elevation angles (n,)."""
        seconds = np.asarray((line - (self.shape[0] - 1) / 2) * self.interval, dtype=np.float64)
        point = intersect(self.orbit, seconds, slant_range)
        satellite, _ = self.orbit.state(seconds)
        sight = (satellite - point) / slant_range[:, None]
        normal = point / np.array([SEMI_MAJOR, SEMI_MAJOR, SEMI_MINOR]) ** 2
        incidence = np.arccos(dot(sight, normal) / np.linalg.norm(normal, axis=1))
        elevation = np.arccos(dot(sight, satellite) / np.linalg.norm(satellite, axis=1))
        return point, np.degrees(incidence), np.degrees(elevation)

    def incidence(self, pixel: Integers) -> Floats:
        """Incidence angle in degrees along the middle line."""
        return self.look(np.full(len(pixel), self.shape[0] // 2), self.annotated_range[pixel])[1]

    def geolocation_grid(self) -> GeolocationGrid:
        """Return the tie points."""
        line, pixel = _tie_points(self.shape[0], 10), _tie_points(self.shape[1], 21)
        shape = len(line), len(pixel)
        all_lines = np.repeat(line, len(pixel))
        point, _, _ = self.look(all_lines, np.tile(self.slant_range[pixel], len(line)))
        _, incidence, elevation = self.look(all_lines, np.tile(self.annotated_range[pixel], len(line)))
        x, y, z = point.T
        lon, lat, height = to_geocentric().transform(x, y, z, direction="INVERSE")
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


def _tie_points(size: int, count: int) -> Integers:
    return np.unique(np.linspace(0, size - 1, count).astype(np.int64))


def _ground_range(radius: float, incidence: float) -> float:
    """Distance on the sphere from nadir to where the satellite is seen at `incidence` degrees from zenith."""
    angle = np.radians(incidence)
    return float(radius * (angle - np.arcsin(radius / (radius + _ALTITUDE) * np.sin(angle))))


def _slant_range(radius: float, ground_range: Floats) -> Floats:
    orbit = radius + _ALTITUDE
    return np.asarray(np.sqrt(radius**2 + orbit**2 - 2 * radius * orbit * np.cos(ground_range / radius)))


def _incidence_of_range(radius: float, slant_range: float) -> float:
    cosine = ((radius + _ALTITUDE) ** 2 - radius**2 - slant_range**2) / (2 * radius * slant_range)
    return float(np.degrees(np.arccos(cosine)))


def _naive(time: datetime) -> datetime:
    return time.replace(tzinfo=None)
