"""The land mask: which cells of a grid are land.

Land polygons are clipped to the scene, their vertices converted to cells and filled there: the cost grows
with the length of the coast, not with the number of cells, and the open sea costs one query of a spatial
index. Figures are in docs/decisions/0010-land-mask.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from preprocess.coastline import land_polygons
from preprocess.grid import Grid

Progress = Callable[[int, int], None]  # done, in all

# Chords of this length stay within a metre of what a straight coast becomes in the image.
_LONGEST_EDGE = 0.05  # degrees


def land_mask(
    grid: Grid, coastline: Path | None = None, progress: Progress = lambda done, total: None
) -> NDArray[np.bool_]:
    """Land (True) and sea (False) on a grid, (rows, columns).

    A cell that land touches is land, so that no rock and no seam between polygons is lost. `coastline` is a file of
    land polygons, else the packaged ones are used; `progress` takes the polygons converted and all. Raises as
    `land_polygons` does.
    """
    rows, columns = grid.shape
    surroundings = grid.to_lonlat(shapely.box(-1.0, -1.0, columns + 1.0, rows + 1.0))
    land = _land_within(surroundings, coastline)
    mask = np.zeros(grid.shape, np.uint8)
    if land:
        on_grid = []
        for polygon in land:
            on_grid.append(grid.from_lonlat(shapely.segmentize(polygon, _LONGEST_EDGE)))
            progress(len(on_grid), len(land))
        rasterize(on_grid, out=mask, all_touched=True)
    return mask.astype(bool)


def _land_within(scene: shapely.MultiPolygon, coastline: Path | None) -> list[BaseGeometry]:
    """Land polygons clipped to the scene, as image coordinates are undefined not far outside it."""
    found: list[BaseGeometry] = []
    for part in scene.geoms:
        near = shapely.clip_by_rect(land_polygons(part.bounds, coastline), *part.bounds)
        near = shapely.make_valid(near[~shapely.is_empty(near)], method="structure", keep_collapsed=False)
        found.extend(shapely.get_parts(shapely.intersection(near, part)))
    return [polygon for polygon in found if polygon.area > 0.0]
