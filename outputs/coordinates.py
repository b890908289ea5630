"""Coordinates as they are published: six decimals, as RFC 7946 recommends, in every format."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

DECIMALS = 6  # 0.1 m


def rounded(outline: MultiPolygon) -> MultiPolygon:
    """An outline to `DECIMALS`, valid, exteriors counter-clockwise."""
    near = _with_decimals(outline)
    if not near.is_valid:
        near = _with_decimals(shapely.set_precision(outline, 10.0**-DECIMALS))
    polygons = [part for part in shapely.get_parts(near) if isinstance(part, Polygon)]
    return shapely.orient_polygons(MultiPolygon(polygons))


def bounding_box(outline: BaseGeometry) -> list[float]:
    """West, south, east, north; west is the greater where the outline crosses the antimeridian (RFC 7946, 5.2)."""
    west, south, east, north = outline.bounds
    if west <= -180.0 and east >= 180.0:
        bounds = shapely.bounds(shapely.get_parts(outline))
        eastern = bounds[:, 0] >= 0.0
        if eastern.any() and not eastern.all():
            west, east = bounds[eastern, 0].min(), bounds[~eastern, 2].max()
    return [round(float(value), DECIMALS) for value in (west, south, east, north)]


def _with_decimals(outline: BaseGeometry) -> BaseGeometry:
    return shapely.set_coordinates(outline, np.round(shapely.get_coordinates(outline), DECIMALS))
