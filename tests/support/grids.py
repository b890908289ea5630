"""Geolocation grids of made-up scenes anywhere on Earth, seen by a radar on a circular orbit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from pyproj import Transformer

from ingest.safe.metadata import GeolocationGrid

EARTH_RADIUS = 6_371_000.0
ORBIT_RADIUS = EARTH_RADIUS + 700_000.0
NEAR_GROUND_RANGE = 385_000.0  # m from the point below the sensor: 30 degrees of incidence
SPEED_OF_LIGHT = 299_792_458.0


def geolocation_grid(
    longitude: float = 4.0,
    latitude: float = 55.0,
    heading: float = -15.0,
    *,
    lines: int = 16_001,
    samples: int = 25_001,
    spacing: float = 10.0,
    shape: tuple[int, int] = (10, 21),
    height: ArrayLike = 0.0,
) -> GeolocationGrid:
    """Tie points (shape) of a right-looking scene about a centre, in degrees, m; `height` in m broadcasts.

    The map is stereographic about the centre. A tie point at height h lies where a sphere raised by h
    meets the slant range that its pixel has at sea level.
    """
    line = np.linspace(0, lines - 1, shape[0]).round().astype(np.int64)
    pixel = np.linspace(0, samples - 1, shape[1]).round().astype(np.int64)
    heights = np.broadcast_to(np.asarray(height, np.float64), shape)
    nadir_angle = np.broadcast_to((NEAR_GROUND_RANGE + pixel * spacing) / EARTH_RADIUS, shape)
    slant_range = _third_side(EARTH_RADIUS, nadir_angle)
    raised = EARTH_RADIUS + heights
    displaced = np.arccos((raised**2 + ORBIT_RADIUS**2 - slant_range**2) / (2.0 * raised * ORBIT_RADIUS))
    cosine = (ORBIT_RADIUS**2 - raised**2 - slant_range**2) / (2.0 * raised * slant_range)
    across = EARTH_RADIUS * displaced - NEAR_GROUND_RANGE - 0.5 * (samples - 1) * spacing
    along = (0.5 * (lines - 1) - line[:, None]) * -spacing
    turn = np.radians(heading)
    east = across * np.cos(turn) + along * np.sin(turn)
    north = along * np.cos(turn) - across * np.sin(turn)
    stereographic = f"+proj=stere +lat_0={latitude} +lon_0={longitude} +ellps=WGS84"
    lon, lat = Transformer.from_crs(stereographic, "EPSG:4326", always_xy=True).transform(east, north)
    seconds = np.broadcast_to((line * 1.5e-3 * 1e6).astype("timedelta64[us]")[:, None], shape)
    incidence = np.degrees(np.arccos(cosine))
    return GeolocationGrid(
        line=line,
        pixel=pixel,
        azimuth_time=np.datetime64("2024-01-01T00:00:00", "us") + seconds,
        slant_range_time=2.0 * slant_range / SPEED_OF_LIGHT,
        latitude=lat,
        longitude=lon,
        height=heights,
        incidence_angle=incidence,
        elevation_angle=incidence - np.degrees(displaced),
    )


def _third_side(radius: float, angle: np.ndarray) -> np.ndarray:
    return np.sqrt(radius**2 + ORBIT_RADIUS**2 - 2.0 * radius * ORBIT_RADIUS * np.cos(angle))
