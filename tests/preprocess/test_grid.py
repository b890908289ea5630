"""The grid of a raster: round trips between cells, image and Earth, windows, areas and spacings."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely import box

from preprocess.geolocate import Geolocation
from preprocess.grid import Grid
from tests.support.grids import geolocation_grid

LINES, SAMPLES = 2_001, 2_503
SPACING = 10.0  # m
GEOLOCATIONS = {
    place: Geolocation(geolocation_grid(*centre, lines=LINES, samples=SAMPLES, spacing=SPACING, shape=(5, 8)))
    for place, centre in {
        "north sea": (4.0, 55.0),
        "antimeridian": (179.95, -17.0),
        "north pole": (30.0, 89.9),
    }.items()
}
looks = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """A window of an image's grid, of two cells a side at least."""
    whole = Grid.of_image((LINES, SAMPLES), GEOLOCATIONS[draw(st.sampled_from([*GEOLOCATIONS]))], draw(looks))
    rows, columns = (slice(*sorted(draw(_ends(length)))) for length in whole.shape)
    return whole[rows, columns]


def _ends(length: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, length), st.integers(0, length)).filter(lambda ends: abs(ends[0] - ends[1]) > 1)


fractions = st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=20).map(np.array)


@settings(deadline=None, max_examples=50)
@given(grids(), fractions)
def test_cells_come_back_from_longitude_and_latitude(grid: Grid, places: np.ndarray) -> None:
    row, column = (places * grid.shape).T
    there = grid.row_column(*grid.lonlat(row, column))
    np.testing.assert_allclose(there, (row, column), atol=1e-5)  # 0.1 mm


@settings(deadline=None, max_examples=50)
@given(grids(), fractions)
def test_cells_map_to_the_image_as_the_affine_transform_says(grid: Grid, places: np.ndarray) -> None:
    row, column = (places * grid.shape).T
    to_image = grid.transform
    pixel, line = to_image.a * column + to_image.c, to_image.e * row + to_image.f
    np.testing.assert_array_equal(grid.lonlat(row, column), grid.geolocation.lonlat(line, pixel))


@settings(deadline=None, max_examples=50)
@given(grids())
def test_centres_lie_half_a_cell_behind_corners(grid: Grid) -> None:
    rows, columns = (np.arange(length) + 0.5 for length in grid.shape)
    to_image = grid.transform
    np.testing.assert_array_equal(grid.line, to_image.e * rows + to_image.f)
    np.testing.assert_array_equal(grid.pixel, to_image.a * columns + to_image.c)
    assert (grid.line.size, grid.pixel.size) == grid.shape


@settings(deadline=None, max_examples=50)
@given(grids(), st.data())
def test_a_window_of_a_window_is_a_window(grid: Grid, data: st.DataObject) -> None:
    rows, columns = (slice(*sorted(data.draw(_ends(length)))) for length in grid.shape)
    part = grid[rows, columns]
    np.testing.assert_array_equal(part.line, grid.line[rows])
    np.testing.assert_array_equal(part.pixel, grid.pixel[columns])
    assert grid[rows].shape == (part.shape[0], grid.shape[1])


@settings(deadline=None, max_examples=20)
@given(grids())
def test_a_polygon_comes_back_from_the_earth(grid: Grid) -> None:
    if abs(grid.lonlat(0, 0)[1]) > 85.0 or np.ptp(grid.lonlat([0, 0], [0, grid.shape[1]])[0]) > 180.0:
        return  # polygons that are cut at the antimeridian come back in parts
    cell = box(0.25, 0.25, grid.shape[1] - 0.25, grid.shape[0] - 0.25)
    back = shapely.union_all(grid.from_lonlat(np.array(grid.to_lonlat(cell).geoms)))
    assert back.symmetric_difference(cell).area < 1e-3 * cell.area


@given(looks)
def test_the_grid_covers_the_image_and_no_cell_lies_outside(looks: tuple[int, int]) -> None:
    grid = Grid.of_image((LINES, SAMPLES), GEOLOCATIONS["north sea"], looks)
    to_image = grid.transform
    end = to_image.a * grid.shape[1] + to_image.c, to_image.e * grid.shape[0] + to_image.f
    for reached, last, look in zip(end, grid.image_end, reversed(looks), strict=True):
        assert 0 <= reached - last < look


@pytest.mark.parametrize("place", GEOLOCATIONS)
def test_spacing_and_areas_are_those_on_the_ground(place: str) -> None:
    grid = Grid.of_image((LINES, SAMPLES), GEOLOCATIONS[place], (4, 8))
    assert grid.spacing == pytest.approx((40.0, 80.0), rel=2e-3)
    assert grid.cell_area(100, 100) == pytest.approx(40.0 * 80.0, rel=5e-3)
    assert grid.cell_area(250, 156) <= grid.largest_cell_area() == pytest.approx(40.0 * 80.0, rel=5e-3)


def test_axes_point_along_rows_and_columns() -> None:
    grid = Grid.of_image((LINES, SAMPLES), GEOLOCATIONS["north sea"], (4, 4))
    longitude, latitude = grid.lonlat([0, grid.shape[0]], grid.shape[1] / 2)
    azimuth, _, distance = Geod(ellps="WGS84").inv(longitude[0], latitude[0], longitude[1], latitude[1])
    east, north = grid.axes[0]
    assert np.hypot(east, north) == pytest.approx(distance)
    assert np.degrees(np.arctan2(east, north)) == pytest.approx(azimuth)
    down, across = np.array(grid.axes)
    assert down @ across == pytest.approx(0.0, abs=5e-3 * np.hypot(*down) * np.hypot(*across))


def test_beyond_the_geolocation_grid_there_is_no_cell() -> None:
    grid = Grid.of_image((LINES, SAMPLES), GEOLOCATIONS["north sea"])
    assert np.isnan(grid.row_column(10.0, 40.0)).all()
    with pytest.raises(ValueError, match="beyond the geolocation grid"):
        grid.from_lonlat(box(10.0, 40.0, 11.0, 41.0))


def test_another_process_gets_the_same_grid() -> None:
    grid = Grid.of_image((LINES, SAMPLES), GEOLOCATIONS["north sea"], (4, 4))[3:50, 7:90]
    there = pickle.loads(pickle.dumps(grid))
    assert (there.shape, there.looks, there.origin) == (grid.shape, grid.looks, grid.origin)
    np.testing.assert_array_equal(there.lonlat(3.5, 8.25), grid.lonlat(3.5, 8.25))
