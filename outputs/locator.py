"""The locator map of a picture: where the scene lies on the coast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Curve
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from preprocess.coastline import land_polygons
from preprocess.grid import Grid

LAND, SEA = "#b9ad93", "#eef4f8"
_REACH = 5.0  # degrees of latitude north and south of the scene's middle, and as far east and west
_SIDE, _MARGIN = 1.15, 0.1  # inches
LOCATOR = _SIDE + 2 * _MARGIN  # inches that it takes at the right of a page's header
_COARSENESS = 0.02  # degrees, less than a pixel
_HARDLY = 2e-3  # share of the map that is land where it shows nothing but sea
_SMALLEST = 1e-3  # square degrees of land, of a few pixels


def land_around(grid: Grid, coastline: Path | None = None) -> list[BaseGeometry]:
    """Coarse land polygons around a scene, longitudes continuous across the antimeridian.

    Raises as `preprocess.coastline.land_polygons` does.
    """
    west, south, east, north = _window(grid)
    found: list[BaseGeometry] = []
    for turn in (-360.0, 0.0, 360.0):
        box = max(west + turn, -180.0), max(south, -90.0), min(east + turn, 180.0), min(north, 90.0)
        if box[0] < box[2]:
            land = shapely.clip_by_rect(land_polygons(box, coastline), *box)
            coarse = shapely.simplify(land[shapely.area(land) > _SMALLEST], _COARSENESS)
            parts = shapely.get_parts(shapely.make_valid(coarse))
            found += [translate(part, -turn) for part in parts if part.area > 0.0]
    return found


def draw_locator(figure: Figure, grid: Grid, land: Sequence[BaseGeometry]) -> None:
    """A small map in the upper right corner of a page, with the scene outlined."""
    west, south, east, north = _window(grid)
    width, height = figure.get_size_inches()
    place = (1 - (_SIDE + _MARGIN) / width, 1 - (_SIDE + _MARGIN) / height, _SIDE / width, _SIDE / height)
    axes = figure.add_axes(place, facecolor=SEA, xticks=[], yticks=[], xlim=(west, east), ylim=(south, north))
    for polygon in shapely.get_parts(np.array([*land], dtype=object)):
        if polygon.geom_type == "Polygon":
            turned = shapely.orient_polygons(polygon)  # holes the other way round stay empty
            rings = [Curve(shapely.get_coordinates(ring)) for ring in (turned.exterior, *turned.interiors)]
            axes.add_patch(PathPatch(Curve.make_compound_path(*rings), facecolor=LAND, edgecolor="none"))
    if sum(shapely.area(part) for part in land) < _HARDLY * (east - west) * (north - south):
        axes.text(0.5, 0.06, "open sea", transform=axes.transAxes, ha="center", fontsize=7, color="#5f6b74")
    rows, columns = grid.shape
    longitude, latitude = grid.lonlat([0, 0, rows, rows], [0, columns, columns, 0])
    middle = (west + east) / 2
    corners = np.column_stack([middle + (longitude - middle + 180) % 360 - 180, latitude])
    axes.add_patch(Polygon(corners, facecolor="none", edgecolor="#d7191c", linewidth=1.4, joinstyle="miter"))
    for spine in axes.spines.values():
        spine.set(color="#7d8890", linewidth=0.8)


def _window(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north of a map that is about as wide as it is high; west may be below -180."""
    longitude, latitude = grid.lonlat(grid.shape[0] / 2, grid.shape[1] / 2)
    across = min(_REACH / max(float(np.cos(np.radians(latitude))), 0.03), 170.0)
    return (
        float(longitude) - across, float(latitude) - _REACH, float(longitude) + across, float(latitude) + _REACH,
    )  # fmt: skip
