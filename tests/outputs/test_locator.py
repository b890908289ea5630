import geopandas as gpd
import numpy as np
import pytest
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from shapely.geometry import Polygon, box

from outputs.locator import LAND, SEA, draw_locator, land_around
from tests.support.slick_scenes import image_grid


def drawn(grid, land):
    """The locator map, seen from its upper left corner, (row, column, RGB)."""
    figure = Figure(figsize=(8.5, 4.0), dpi=100)
    draw_locator(figure, grid, land)
    page = FigureCanvasAgg(figure)
    page.draw()
    return np.asarray(page.buffer_rgba())[10:125, 725:840, :3] / 255.0


def share(picture, colour):
    return float((np.abs(picture - to_rgb(colour)).max(axis=2) < 0.02).mean())


@pytest.mark.parametrize("longitude", [3.0, 180.0, -179.9])
def test_land_lies_where_it_is_and_lakes_stay_empty(tmp_path, longitude):
    grid = image_grid(4000, 4000, (longitude, 30.0))
    west, east = longitude - 30.0, longitude + 30.0
    north = shapely.difference(box(west, 31.0, east, 60.0), box(longitude - 3.0, 32.0, longitude + 3.0, 34.0))
    land = (
        [north]
        if abs(longitude) < 100
        else [
            shapely.affinity.translate(shapely.intersection(north, box(-180 - t, -90, 180 - t, 90)), t)
            for t in (-360, 0, 360)
        ]
    )
    path = tmp_path / "land.fgb"
    gpd.GeoDataFrame(geometry=[one for one in land if not one.is_empty], crs="EPSG:4326").explode().to_file(path)
    found = land_around(grid, path)
    assert shapely.union_all(found).area == pytest.approx(4.0 * 10 / np.cos(np.radians(30.0)) - 12.0, rel=0.01)
    picture = drawn(grid, found)
    rows = len(picture)
    assert share(picture[: rows // 3], LAND) > 0.5
    assert share(picture[rows * 45 // 100 :], LAND) == 0.0
    assert share(picture[rows * 22 // 100 : rows * 26 // 100, 45:70], SEA) == 1.0  # the lake
    assert share(picture[50:65, 50:65], "#d7191c") > 0.02  # the scene, in the middle


def test_small_islands_and_the_open_sea_do_no_harm(tmp_path):
    path = tmp_path / "land.fgb"
    gpd.GeoDataFrame(geometry=[Polygon([(3, 58), (3.001, 58), (3, 58.001)])], crs="EPSG:4326").to_file(path)
    grid = image_grid(4000, 4000)
    assert land_around(grid, path) == []
    assert share(drawn(grid, []), SEA) > 0.8
