"""Finding slicks: which cells make one slick, and its outline.

Three thresholds on the probability of the class (hysteresis, as in SkyTruth Cerulean): cells at `grow` or above that
touch, also by a corner, form a group; a group is a slick where one of its cells reaches `keep`; its outline encloses
its cells at `outline` or above, each patch of them one part of the MultiPolygon. So a thin trail that fades in places
stays one slick, and a faint smear of which the model is nowhere certain is none.

Cells on land and without data are excluded before the grouping. Slicks are measured along the edges of their cells: no
slick extends onto land, into missing data or out of the scene, and its area is that of its cells. What is published is
the same outline smoothed for display (`outputs.smoothing`), out of which the cells can be had back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon

from outputs.coordinates import rounded
from outputs.options import SlickOptions
from outputs.probability import Mask, predicted_land
from outputs.smoothing import smoothed
from preprocess.geolocate import geodesic_area_perimeter
from preprocess.grid import Grid, Window

CORNERS_TOUCH = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of cells of one class in a scene, all arrays (line, pixel)."""

    plane: NDArray[np.floating]  # probability of the class
    blocked: Mask  # land or no data
    group: NDArray[np.int32]  # 0 where below `grow`
    grid: Grid

    @classmethod
    def of(cls, plane: NDArray[np.floating], blocked: Mask, taken: Mask, grow: float, grid: Grid) -> Groups:
        """Group the cells at `grow` or above that are neither blocked nor taken by another slick."""
        candidate = plane >= grow
        candidate &= ~blocked
        candidate &= ~taken
        group = np.empty(plane.shape, dtype=np.int32)
        ndimage.label(candidate, structure=CORNERS_TOUCH, output=group)
        return cls(plane, blocked, group, grid)

    def cells(self, group: int, window: Window, outline: float) -> Mask:
        """Cells of one group at `outline` or above, in a window."""
        mask: Mask = self.group[window] == group
        return mask & (self.plane[window] >= outline)


@dataclass(frozen=True, eq=False)
class Slick:
    """One group that is a slick; its cells are those at `outline` or above in `window`."""

    group: int
    window: Window
    image_outline: MultiPolygon  # along the cells' edges; x = pixel, y = line
    outline: MultiPolygon  # the same in lon/lat
    area: float  # m2
    perimeter: float  # m
    display: MultiPolygon  # the outline smoothed, lon/lat as published


def slicks_among(groups: Groups, options: SlickOptions) -> Iterator[Slick]:
    """Yield the groups that are slicks, in the order of their first lines."""
    boxes = ndimage.find_objects(groups.group)
    for group in _large_enough(groups, options):
        window = boxes[group - 1]
        cells = groups.cells(group, window, options.outline)
        rows, columns = window
        on_grid = polygonise(cells, Affine.translation(columns.start, rows.start))
        image_outline = _in_image(on_grid, groups.grid)
        outline = groups.grid.geolocation.to_lonlat(image_outline)
        area, perimeter = geodesic_area_perimeter(outline)
        if area >= options.minimum_area_m2:
            display = rounded(groups.grid.geolocation.to_lonlat(_in_image(smoothed(on_grid), groups.grid)))
            yield Slick(int(group), window, image_outline, outline, area, perimeter, display)


def blocked_cells(probability: xr.DataArray, land: Mask | None) -> Mask:
    """Cells where no slick can be: without data, on land, or land to the model; (line, pixel)."""
    blocked: Mask = np.isnan(np.asarray(probability[0].data))
    if land is not None:
        blocked |= land
    blocked |= predicted_land(probability)
    return blocked


def polygonise(cells: Mask, transform: Affine) -> MultiPolygon:
    """The outline of the True cells, holes kept; one part per patch of cells that share edges.

    `transform` takes (column, row) of cell corners to x, y. Patches that touch only by a corner become
    separate parts, which keeps the result valid. Rasterising it returns the cells.
    """
    patches = features.shapes(cells.view(np.uint8), mask=cells, connectivity=4, transform=transform)
    rings = [geometry["coordinates"] for geometry, _ in patches]
    return MultiPolygon([Polygon(exterior, holes) for exterior, *holes in rings])


def _large_enough(groups: Groups, options: SlickOptions) -> NDArray[np.int32]:
    """Groups that reach `keep` and have cells enough for the smallest area.

    One pass over the scene spares thousands of specks the polygons and geodesy, which decide the borderline cases.
    """
    counts = np.bincount(groups.group[groups.plane >= options.outline])
    kept = np.unique(groups.group[groups.plane >= options.keep])
    kept = kept[kept > 0]
    large: NDArray[np.int32] = kept[counts[kept] * groups.grid.largest_cell_area() >= 0.9 * options.minimum_area_m2]
    return large


def _in_image(outline: MultiPolygon, grid: Grid) -> MultiPolygon:
    """An outline of (column, row) as one of (pixel, line); cells that reach beyond the image end with it."""
    to_image, ends = grid.transform, grid.image_end
    scales, shifts = (to_image.a, to_image.e), (to_image.c, to_image.f)

    def image(at: NDArray[np.float64]) -> NDArray[np.float64]:
        axes = []
        for axis, count in enumerate(reversed(grid.shape)):
            corners = np.arange(count + 1)
            axes.append(np.interp(at[:, axis], corners, np.minimum(corners * scales[axis] + shifts[axis], ends[axis])))
        return np.column_stack(axes)

    inside: MultiPolygon = shapely.transform(outline, image)
    return inside
