"""What lies around slicks: the nearest coast, and the ships that the model sees.

Distances are geodesic. What is nearest is found in an azimuthal equidistant plane around the slicks, whose scale is
within 0.2 % over the distances that are searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon

from outputs.probability import Mask, class_names, class_plane
from preprocess.coastline import Bounds, land_polygons
from preprocess.grid import Grid

SHIPS_NEARBY = 10_000.0  # m from the outline
FARTHEST_COAST = 400_000.0  # m, more than the 200 nautical miles of an exclusive economic zone
Geometries = NDArray[np.object_]
Floats = NDArray[np.float64]

_REACHES = (25_000.0, 100_000.0, FARTHEST_COAST)  # m; most coasts are near, and a wide search reads many polygons
_LONGEST_EDGE = 0.05  # degrees; longer edges of land polygons would not be straight in the plane
_STEP = 50_000.0  # m along the rim of the area that is searched
_CORNERS_TOUCH = np.ones((3, 3), dtype=bool)
_WGS84 = pyproj.Geod(ellps="WGS84")


def coast_distances(outlines: Sequence[MultiPolygon], coastline: Path | None = None) -> Floats:
    """Distance in m from each outline, in degrees, to the nearest coast; NaN beyond `FARTHEST_COAST`.

    The coast is that of the land polygons of `coastline`, else of the packaged ones. Raises as
    `preprocess.coastline.land_polygons` does.
    """
    everything = np.array(outlines, dtype=object)
    distances = np.full(len(outlines), np.nan)
    for reach in _REACHES:
        open_sea = np.flatnonzero(np.isnan(distances))
        if not open_sea.size:
            break
        slicks = everything[open_sea]
        plane = _Plane.around(slicks)
        coast = _coast_edges(plane, shapely.box(*shapely.total_bounds(plane.flat(slicks))).buffer(reach), coastline)
        if coast.size:
            found = _nearest(plane, slicks, coast)
            distances[open_sea] = np.where(found <= reach, found, np.nan)
    return distances


def ship_positions(probability: xr.DataArray, blocked: Mask, grid: Grid) -> tuple[Floats, Floats] | None:
    """Longitudes and latitudes of ships; None where the model does not know ships.

    A ship is a patch of cells of which ship is the likeliest class, neither on land nor without data.
    """
    names = class_names(probability)
    if "ship" not in names:
        return None
    plane = class_plane(probability, "ship")
    bright = (plane >= 1.0 / len(names)) & ~blocked  # the likeliest of n classes has at least 1 / n
    rows, columns = np.nonzero(bright)
    if rows.size:
        likelier = [class_plane(probability, name)[rows, columns] > plane[rows, columns] for name in names]
        bright[rows, columns] = ~np.any(likelier, axis=0)
    patch, count = ndimage.label(bright, structure=_CORNERS_TOUCH)
    rows, columns = np.nonzero(bright)
    number = patch[rows, columns] - 1
    cells = np.bincount(number, minlength=count)
    row, column = (np.bincount(number, one + 0.5, minlength=count) / cells for one in (rows, columns))
    return grid.lonlat(row, column)


def ship_attributes(
    outlines: Sequence[MultiPolygon], ships: tuple[Floats, Floats] | None
) -> list[dict[str, int | float | None]]:
    """The number of ships within `SHIPS_NEARBY` of each outline, and the distance to the nearest one of the scene."""
    if ships is None:
        return [{"ships_nearby": None, "nearest_ship_m": None} for _ in outlines]
    if not outlines or not ships[0].size:
        return [{"ships_nearby": 0, "nearest_ship_m": None} for _ in outlines]
    slicks = np.array(outlines, dtype=object)
    plane = _Plane.around(slicks)
    points: Geometries = np.asarray(shapely.points(np.column_stack(plane.project(*ships))))
    near, _ = shapely.STRtree(points).query(plane.flat(slicks), predicate="dwithin", distance=SHIPS_NEARBY)
    counts = np.bincount(near, minlength=len(slicks))
    return [
        {"ships_nearby": int(count), "nearest_ship_m": float(distance)}
        for count, distance in zip(counts, _nearest(plane, slicks, points), strict=True)
    ]


@dataclass(frozen=True)
class _Plane:
    """Metres east and north of a place."""

    longitude: float
    latitude: float
    project: Any  # lon, lat to x, y

    @classmethod
    def around(cls, outlines: Geometries) -> _Plane:
        """The plane around the middle of outlines, wherever the antimeridian is."""
        west, south, east, north = shapely.bounds(shapely.get_parts(outlines)).T
        longitude, latitude = np.radians((west + east) / 2), np.radians((south + north) / 2)
        x = np.sum(np.cos(latitude) * np.cos(longitude))
        y = np.sum(np.cos(latitude) * np.sin(longitude))
        middle = (
            float(np.degrees(np.arctan2(y, x))),
            float(np.degrees(np.arctan2(np.sum(np.sin(latitude)), np.hypot(x, y)))),
        )
        return cls(*middle, pyproj.Proj(proj="aeqd", lon_0=middle[0], lat_0=middle[1], ellps="WGS84"))

    def flat(self, geometries: Geometries) -> Geometries:
        """Geometries in degrees as geometries of the plane."""
        flat: Geometries = shapely.transform(geometries, lambda lonlat: np.column_stack(self.project(*lonlat.T)))
        return flat

    def windows(self, area: shapely.Polygon) -> Iterator[Bounds]:
        """Boxes in degrees, on either side of the antimeridian, that hold an area of the plane."""
        rim = shapely.get_coordinates(shapely.segmentize(area, _STEP))
        longitude, latitude = self.project(*rim.T, inverse=True)
        turn = (longitude - self.longitude + 180.0) % 360.0 - 180.0
        west, east, south, north = turn.min(), turn.max(), latitude.min(), latitude.max()
        for pole in (-90.0, 90.0):
            if area.contains(shapely.Point(self.project(self.longitude, pole))):
                west, east, south, north = -180.0, 180.0, min(south, pole), max(north, pole)
        for start in (-360.0, 0.0, 360.0):
            first, last = max(self.longitude + west + start, -180.0), min(self.longitude + east + start, 180.0)
            if first < last:
                yield float(first), float(south), float(last), float(north)


def _coast_edges(plane: _Plane, area: shapely.Polygon, coastline: Path | None) -> Geometries:
    """The edges of the land polygons in an area of the plane, as lines of two points there."""
    edges = []
    for window in plane.windows(area):
        coast = shapely.clip_by_rect(shapely.boundary(land_polygons(window, coastline)), *window)
        lines = shapely.segmentize(shapely.get_parts(coast[~shapely.is_empty(coast)]), _LONGEST_EDGE)
        lonlat, line = shapely.get_coordinates(lines, return_index=True)
        at = np.column_stack(plane.project(*lonlat.T))
        edges.append(np.stack([at[:-1], at[1:]], axis=1)[line[:-1] == line[1:]])
    found: Geometries = np.asarray(shapely.linestrings(np.concatenate(edges)))
    return found


def _nearest(plane: _Plane, outlines: Geometries, targets: Geometries) -> Floats:
    """Geodesic distance in m from each outline, in degrees, to the nearest target, in the plane."""
    flat = plane.flat(outlines)
    _, nearest = shapely.STRtree(targets).query_nearest(flat, all_matches=False)
    ends = shapely.get_coordinates(shapely.shortest_line(flat, targets[nearest]))
    longitude, latitude = plane.project(*ends.T, inverse=True)
    _, _, distance = _WGS84.inv(longitude[::2], latitude[::2], longitude[1::2], latitude[1::2])
    return np.asarray(distance)
