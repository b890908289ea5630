"""Smoothed outlines stay within half a cell, and keep every cell, part and hole."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features
from shapely.geometry import MultiPolygon

from outputs.coordinates import rounded
from outputs.outlines import polygonise
from outputs.smoothing import smoothed


def outlines(cells: np.ndarray) -> tuple[MultiPolygon, MultiPolygon]:
    outline = polygonise(cells, Affine.translation(7, 3))
    return outline, smoothed(outline)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))).filter(np.any))
def test_any_cells_keep_their_parts_and_holes_within_half_a_cell(cells):
    outline, smooth = outlines(cells)
    assert smooth.is_valid
    assert [len(part.interiors) for part in smooth.geoms] == [len(part.interiors) for part in outline.geoms]
    assert shapely.hausdorff_distance(outline.boundary, smooth.boundary, densify=0.1) < 0.4
    drawn = features.rasterize([(smooth, 1)], cells.shape, transform=Affine.translation(7, 3))
    np.testing.assert_array_equal(drawn.astype(bool), cells)
    published = rounded(smooth)
    assert published.is_valid
    assert len(published.geoms) == len(outline.geoms)


def test_a_trail_one_cell_wide_survives():
    cells = np.zeros((20, 40), bool)
    cells[10, 5:35] = True
    _, smooth = outlines(cells)
    assert smooth.buffer(0.01).covers(shapely.LineString([(12.5, 13.5), (41.5, 13.5)]))
    assert smooth.area == pytest.approx(30, abs=1)  # its ends are rounded
    alone = np.ones((1, 1), bool)
    assert 0.4 < outlines(alone)[1].area < 0.6


def test_a_staircase_becomes_a_straight_edge():
    cells = np.tril(np.ones((30, 30), bool))
    outline, smooth = outlines(cells)
    assert len(outline.geoms[0].exterior.coords) > 60
    assert len(smooth.geoms[0].exterior.coords) < 15
    assert smooth.area == pytest.approx(cells.sum(), rel=0.04)
