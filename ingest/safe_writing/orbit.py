"""A circular orbit: fitted to the points it sees, its state vectors, and the WGS 84 points seen from it.

Positions are Earth-fixed in metres; all products are right-looking, as Sentinel-1 is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod, Transformer

from ingest.safe.metadata import Annotation, Floats

SPEED_OF_LIGHT = 299_792_458.0  # m/s
SEMI_MAJOR, SEMI_MINOR = 6_378_137.0, 6_356_752.314245  # m, WGS 84
_GRAVITATION = 3.986004418e14  # m3/s2
_EARTH_ROTATION = np.array([0.0, 0.0, 7.292115e-5])  # rad/s
_ELLIPSOID = Geod(ellps="WGS84")


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
    radius = curvature_radius(centre_lonlat[1], heading + 90.0)
    height = _height_over_sphere(radius, slant_range, incidence)
    ground = radius * (np.radians(incidence) - np.arcsin(radius / (radius + height) * np.sin(np.radians(incidence))))
    lon, lat, back = _ELLIPSOID.fwd(*centre_lonlat, heading - 90.0, ground)
    position = np.array(to_geocentric().transform(lon, lat, height))
    direction = _horizontal(position, lon, lat, back - 90.0)
    spin = np.cross(_EARTH_ROTATION, position)
    # |direction * v + spin| must be the speed of a circular orbit
    along, speed_squared = direction @ spin, _GRAVITATION / np.linalg.norm(position)
    speed = -along + np.sqrt(along**2 - spin @ spin + speed_squared)
    orbit = CircularOrbit(time, position, _perpendicular(direction * speed + spin, position))
    # On the ellipsoid the track is not quite level: shift along it so that the point is seen exactly at `time`
    seen = _zero_doppler_seconds(orbit, np.array(to_geocentric().transform(*centre_lonlat, 0.0)))
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


def intersect(orbit: CircularOrbit, seconds: Floats, slant_range: Floats) -> Floats:
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
                dot(sight, ahead) / SEMI_MAJOR,
                (dot(sight, sight) - slant_range**2) / SEMI_MAJOR**2,
                dot(point * scale, point * scale) - 1.0,
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


def _height_over_sphere(radius: float, slant_range: float, incidence: float) -> float:
    cosine = np.cos(np.radians(incidence))
    return float(np.sqrt(radius**2 + slant_range**2 + 2 * radius * slant_range * cosine) - radius)


def curvature_radius(latitude: float, azimuth: float) -> float:
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


def dot(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Return the scalar products (n,) of vectors (n, 3)."""
    return np.asarray((first * second).sum(axis=-1))


@cache
def to_geocentric() -> Transformer:
    """Return the transformation of longitude, latitude (degrees) and height (m) to Earth-fixed positions (m)."""
    return Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
