"""What lies around slicks, against distances laid out with geodesics."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import Geod
from shapely import MultiPolygon, box

from outputs.options import SlickOptions
from outputs.slicks import find_slicks
from outputs.surroundings import FARTHEST_COAST, coast_distances
from tests.support.slick_scenes import PROCESSED_AT, probabilities, scene

WGS84 = Geod(ellps="WGS84")
SHAPE = (400, 500)  # cells of 40 m


def coastline(folder: Path, *land: shapely.Polygon) -> Path:
    path = folder / "land.fgb"
    gpd.GeoDataFrame(geometry=list(land), crs="EPSG:4326").to_file(path, driver="FlatGeobuf")
    return path


def place(longitude: float, latitude: float, azimuth: float, distance: float) -> tuple[float, float]:
    east, north, _ = WGS84.fwd(longitude, latitude, azimuth, distance)
    return float(east), float(north)


def disc(longitude: float, latitude: float, radius: float) -> shapely.Polygon:
    """A disc on the ground, its rim in 720 chords that stay within 1e-5 of the radius; not across 180 degrees."""
    around = [place(longitude, latitude, azimuth, radius) for azimuth in np.arange(0.0, 360.0, 0.5)]
    return shapely.Polygon(around)


@pytest.mark.parametrize("distance", [300.0, 12_000.0, 60_000.0, 250_000.0, 390_000.0])
@pytest.mark.parametrize(
    ("longitude", "latitude", "azimuth"), [(3.0, 58.0, 110.0), (-40.0, -5.0, 265.0), (20.0, 78.0, 5.0)]
)
def test_the_coast_is_as_far_as_it_was_laid_out(tmp_path, longitude, latitude, azimuth, distance):
    slick = MultiPolygon([disc(longitude, latitude, 1000.0)])
    island = disc(*place(longitude, latitude, azimuth, 1000.0 + distance + 8000.0), 8000.0)
    further = disc(*place(longitude, latitude, azimuth + 150, 2500.0 + 1.3 * distance), 500.0)
    found = coast_distances([slick], coastline(tmp_path, further, island))
    assert found == pytest.approx([distance], rel=2e-3, abs=5.0)


def test_each_slick_has_its_own_coast(tmp_path):
    land = coastline(tmp_path, disc(3.0, 58.0, 5000.0))
    at = [place(3.0, 58.0, 40.0 * i, 5000.0 + 500.0 + distance) for i, distance in enumerate((2e3, 9e4, 2e4, 3e5))]
    slicks = [MultiPolygon([disc(*one, 500.0)]) for one in at]
    assert coast_distances(slicks, land) == pytest.approx([2e3, 9e4, 2e4, 3e5], rel=2e-3)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_coast_beyond_the_antimeridian_counts(tmp_path, side):
    """Land begins half a degree beyond it, on the equator, where a degree of longitude is 111.32 km."""
    land = box(-179.5, -3.0, -178.0, 3.0) if side > 0 else box(178.0, -3.0, 179.5, 3.0)
    west, east = sorted((side * 179.8, side * 179.9))
    slick = MultiPolygon([box(west, -0.05, east, 0.05)])
    assert coast_distances([slick], coastline(tmp_path, land)) == pytest.approx([0.6 * 111_319.5], rel=1e-3)
    split = MultiPolygon([box(179.9, -0.05, 180.0, 0.05), box(-180.0, -0.05, -179.9, 0.05)])
    assert coast_distances([split], coastline(tmp_path, land)) == pytest.approx([0.4 * 111_319.5], rel=1e-3)


def test_the_coast_across_the_pole_counts(tmp_path):
    slick = MultiPolygon([disc(10.0, 89.0, 1000.0)])
    land = disc(-170.0, 88.0, 5000.0)
    apart = WGS84.inv(10.0, 89.0, -170.0, 88.0)[2] - 6000.0
    assert coast_distances([slick], coastline(tmp_path, land)) == pytest.approx([apart], rel=2e-3)


def test_long_straight_edges_are_straight_in_degrees(tmp_path):
    """A parallel of latitude as a coast: the shortest way is along the meridian, not to a great circle's bulge."""
    slick = MultiPolygon([disc(0.0, 61.5, 1000.0)])
    apart = WGS84.inv(0.0, 61.5, 0.0, 60.0)[2] - 1000.0
    assert coast_distances([slick], coastline(tmp_path, box(-8.0, 50.0, 8.0, 60.0))) == pytest.approx([apart], rel=2e-3)


def test_no_coast_within_reach_is_unknown_not_far(tmp_path):
    slick = MultiPolygon([disc(-30.0, 20.0, 1000.0)])
    island = disc(*place(-30.0, 20.0, 90.0, FARTHEST_COAST + 10_000.0), 2000.0)
    assert np.isnan(coast_distances([slick], coastline(tmp_path, island))).all()
    nothing = tmp_path / "nothing.geojson"
    nothing.write_text('{"type": "FeatureCollection", "features": []}')
    assert np.isnan(coast_distances([slick], nothing)).all()
    assert coast_distances([], nothing).shape == (0,)


def find(land=None, coast=None, calibrated=None, **planes):
    calibrated = scene(np.full(SHAPE, 0.05)) if calibrated is None else calibrated
    return find_slicks(
        probabilities(**planes), calibrated, land=land, options=SlickOptions(minimum_area_m2=0.0), model_id="m",
        processed_at=PROCESSED_AT, coast_distances=coast,
    )  # fmt: skip


def test_slicks_carry_the_distance_of_their_own_outlines(tmp_path):
    oil = np.zeros(SHAPE)
    oil[200:210, 100:110] = oil[200:210, 300:310] = 0.9
    calibrated = scene(np.full(SHAPE, 0.05))
    cape = box(*calibrated.grid.to_lonlat(box(399.0, 150.0, 520.0, 260.0)).bounds)  # a box in degrees around it
    land = coastline(tmp_path, cape)
    slicks = find(oil=oil, coast=lambda outlines: coast_distances(outlines, land), calibrated=calibrated)
    metres = shapely.transform(cape, lambda at: np.column_stack(calibrated.grid.row_column(*at.T)[::-1]) * 40.0)
    expected = [
        shapely.distance(box(4000.0, 8000.0, 4400.0, 8400.0), metres),
        shapely.distance(box(12_000.0, 8000.0, 12_400.0, 8400.0), metres),
    ]
    assert slicks.distance_to_coast_m.tolist() == pytest.approx(expected, rel=5e-3)
    assert find(oil=oil).distance_to_coast_m.isna().all()


def test_ships_are_counted_within_ten_kilometres():
    oil, ship = np.zeros((2, *SHAPE))
    oil[190:210, 20:40] = 0.9
    ship[199:201, 139:142] = 0.8  # 3960 m east of the outline along the row, in one patch
    ship[201, 142] = 0.6  # touches it by a corner
    ship[200, 280] = 0.9  # 9.6 km
    ship[200, 300] = 0.9  # 10.4 km
    ship[100, 60] = 0.3  # less likely than sea
    ship[105:108, 60:63] = 0.9  # on land
    ashore = np.zeros(SHAPE, bool)
    ashore[104:110, 55:66] = True
    slick = find(ashore, oil=oil, ship=ship)
    assert slick.ships_nearby.tolist() == [2]
    centre = np.array([139.5, 140.5, 141.5, 139.5, 140.5, 141.5, 142.5]).mean()
    assert slick.nearest_ship_m.tolist() == pytest.approx([(centre - 40) * 40.0], rel=5e-3)


def test_a_ship_in_the_middle_of_its_slick_is_near():
    oil, ship = np.zeros((2, *SHAPE))
    oil[190:221, 20:51] = 0.9
    oil[200:211, 30:41] = 0.0
    ship[205, 35] = 0.9
    slick = find(oil=oil, ship=ship)
    assert slick.ships_nearby.tolist() == [1]
    assert slick.nearest_ship_m.tolist() == pytest.approx([5.5 * 40.0], rel=5e-3)


def test_no_ship_is_zero_and_a_model_without_ships_says_nothing():
    oil = np.zeros(SHAPE)
    oil[190:210, 20:40] = 0.9
    slick = find(oil=oil)
    assert slick.ships_nearby.tolist() == [0]
    assert slick.nearest_ship_m.isna().all()
    without = probabilities(oil=oil).sel({"class": ["sea", "oil"]})
    slick = find_slicks(without, scene(np.full(SHAPE, 0.05)), land=None, options=SlickOptions(), model_id="m")
    assert slick.ships_nearby.isna().all()
    assert slick.nearest_ship_m.isna().all()
