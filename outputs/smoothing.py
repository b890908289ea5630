"""Smoothing of outlines for display, by less than half a cell.

No library does this within a bound: buffering out and in loses slicks one cell wide, and cutting or splining whole
edges moves a long edge by more than a cell.
"""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon


def smoothed(outline: MultiPolygon) -> MultiPolygon:
    """The outline of cells, their corners at integers, without its steps.

    It goes from the middle of one edge of a cell to the middle of the next, and the corners that this leaves are cut
    once more (Chaikin). So it stays within 0.36 of a cell of the edges, and the middle of every cell on its side of it:
    rasterising it gives the same cells. Parts and holes stay what they are, valid and apart.
    """
    return MultiPolygon(
        [Polygon(_cut(part.exterior), [_cut(hole) for hole in part.interiors]) for part in outline.geoms]
    )


def _cut(ring: shapely.LinearRing) -> shapely.LinearRing:
    corners = shapely.get_coordinates(shapely.segmentize(ring, 1.0))  # one edge of a cell at a time
    middles = (corners[:-1] + corners[1:]) / 2
    before, after = np.roll(middles, 1, axis=0), np.roll(middles, -1, axis=0)
    cut = np.stack([0.75 * middles + 0.25 * before, 0.75 * middles + 0.25 * after], axis=1).reshape(-1, 2)
    onwards = np.roll(cut, -1, axis=0) - cut
    since = np.roll(onwards, 1, axis=0)
    turns = since[:, 0] * onwards[:, 1] != since[:, 1] * onwards[:, 0]
    return shapely.LinearRing(cut[turns])
