"""Land masks: drawn coasts come back cell by cell, the packaged coastline knows land from sea."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely import LineString, MultiPolygon, Polygon, box
from shapely.affinity import scale, translate
from shapely.geometry.base import BaseGeometry

from ingest.errors import StorageError, UnreadableInput, UsageError
from preprocess.geolocate import Geolocation
from preprocess.grid import Grid
from preprocess.mask import land_mask
from tests.support.full_disk import full_after
from tests.support.grids import geolocation_grid

LOOKS = 40
SIZE = (16_000, 25_000)
PLACES = {"north sea": (4.0, 55.0), "antimeridian": (179.9, -17.0), "antarctica": (179.0, -77.0)}


def coastline(folder: Path, *land: BaseGeometry, crs: str = "EPSG:4326") -> Path:
    path = folder / "land.fgb"
    gpd.GeoDataFrame(geometry=list(land), crs=crs).to_file(path, driver="FlatGeobuf")
    return path


def grid_at(place: str) -> Grid:
    """A grid of 400 x 625 cells."""
    return Grid.of_image(SIZE, Geolocation(geolocation_grid(*PLACES[place])), (LOOKS, LOOKS))


def on_the_ground(grid: Grid, cells: Polygon) -> MultiPolygon:
    """A polygon of (column, row) of the raster, corners at integers, in longitude and latitude."""
    return grid.geolocation.to_lonlat(translate(scale(cells, LOOKS, LOOKS, origin=(0.0, 0.0)), -0.5, -0.5))


@pytest.mark.parametrize("place", PLACES)
def test_a_drawn_island_comes_back_cell_by_cell(place: str, tmp_path: Path) -> None:
    grid = grid_at(place)
    # A little inside the cells' borders: land that touches a cell claims it.
    island = Polygon(box(100.1, 50.1, 499.9, 299.9).exterior, [box(200.1, 100.1, 399.9, 199.9).exterior])
    land = on_the_ground(grid, island)
    mask = land_mask(grid, coastline(tmp_path, *land.geoms))
    expected = np.zeros((400, 625), bool)
    expected[50:300, 100:500] = True
    expected[101:199, 201:399] = False
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_land_far_beyond_the_scene_covers_all_of_it_without_a_seam(tmp_path: Path) -> None:
    grid = grid_at("antimeridian")
    land = coastline(tmp_path, box(170.0, -40.0, 180.0, 0.0), box(-180.0, -40.0, -170.0, 0.0))
    assert land_mask(grid, land).all()


def test_a_part_of_a_scene_gets_its_part_of_the_mask(tmp_path: Path) -> None:
    grid = grid_at("north sea")
    land = on_the_ground(grid, Polygon([(50.3, 20.2), (590.7, 130.4), (300.2, 390.9)]))
    path = coastline(tmp_path, *land.geoms)
    whole = land_mask(grid, path)
    np.testing.assert_array_equal(land_mask(grid[100:200, 250:400], path), whole[100:200, 250:400])
    assert 0.2 < whole.mean() < 0.6


def test_the_open_sea_is_all_sea(tmp_path: Path) -> None:
    grid = grid_at("north sea")
    mask = land_mask(grid, coastline(tmp_path, box(100.0, 0.0, 110.0, 10.0)))
    assert mask.shape == (400, 625)
    assert not mask.any()


def test_unfit_coastlines_are_refused(tmp_path: Path) -> None:
    grid = grid_at("north sea")
    with pytest.raises(UnreadableInput, match=r"missing\.fgb"):
        land_mask(grid, tmp_path / "missing.fgb")
    projected = coastline(tmp_path, box(0.0, 0.0, 1e6, 1e6), crs="EPSG:32631")
    with pytest.raises(UsageError, match="reproject"):
        land_mask(grid, projected)
    # A coast drawn as lines has no inside: without a word, nothing would be masked.
    lines = coastline(tmp_path, LineString([(2.0, 53.0), (6.0, 57.0)]))
    with pytest.raises(UsageError, match="polygons"):
        land_mask(grid, lines)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("roaring_landmask", reason="the packaged coastline needs roaring-landmask")
    return tmp_path_factory.mktemp("cache")


POINTS = {
    # the Gulf of Corinth at 22.5 E 38.2 N, the Peloponnese, the Greek mainland
    "greece": ((22.5, 38.2), False), "peloponnese": ((22.3, 37.7), True), "parnassus": ((22.6, 38.55), True),
    "caspian": ((51.0, 40.0), False), "absheron": ((49.6, 40.4), True),
    "fiji": ((178.0, -17.8), True), "koro sea": ((179.9, -18.2), False),
    "atlantic": ((-30.0, 40.0), False),
}  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_the_packaged_coastline_knows_land_from_sea(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (longitude, latitude), is_land = POINTS[name]
    geolocation = Geolocation(geolocation_grid(longitude, latitude, lines=1001, samples=1001, shape=(4, 4)))
    mask = land_mask(Grid.of_image((1001, 1001), geolocation))
    assert mask[500, 500] == is_land
    assert [path.suffix for path in (cache / "slickwatch").iterdir()] == [".fgb"]


def test_a_cache_that_cannot_be_written_is_a_storage_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    grid = grid_at("north sea")
    with pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        land_mask(grid)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "preprocess.coastline._packaged_polygons", lambda: shapely.to_wkb([box(0.0, 0.0, 1.0, 1.0)] * 100)
    )
    with full_after(1000), pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        land_mask(grid)
    assert list((tmp_path / "slickwatch").iterdir()) == []
