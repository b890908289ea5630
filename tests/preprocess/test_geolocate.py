"""Geolocation: round trips, accuracy in metres, and polygons at the antimeridian and the poles."""

from __future__ import annotations

import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely import MultiPolygon, Point, Polygon, box

from ingest.errors import UnreadableInput
from ingest.safe.metadata import GeolocationGrid
from ingest.safe.product import SafeProduct
from preprocess.geolocate import Geolocation, geodesic_area_perimeter
from tests.support.grids import geolocation_grid

LINES, SAMPLES = 16_001, 25_001
SAFES = Path(__file__).parents[3] / "shared" / "data" / "s1" / "safe"
WGS84 = Geod(ellps="WGS84")
SCENES = {
    "north sea": geolocation_grid(4.0, 55.0),
    "antimeridian": geolocation_grid(179.6, -17.0, heading=-165.0),
    "north pole": geolocation_grid(30.0, 89.6),
    "south pole": geolocation_grid(-100.0, -89.9, heading=50.0),
    "antimeridian near the pole": geolocation_grid(-179.0, 87.5, heading=80.0),
    "smallest grid": geolocation_grid(4.0, 55.0, lines=2_001, samples=2_501, shape=(2, 2)),
    "two columns": geolocation_grid(4.0, 55.0, lines=2_001, samples=2_501, shape=(5, 2)),
}
GEOLOCATIONS = {name: Geolocation(grid) for name, grid in SCENES.items()}
PLACES = sorted(GEOLOCATIONS)


def metres(longitude_1, latitude_1, longitude_2, latitude_2):
    return np.asarray(WGS84.inv(longitude_1, latitude_1, longitude_2, latitude_2)[2])


@given(place=st.sampled_from(PLACES), across=st.floats(-0.02, 1.02), along=st.floats(-0.02, 1.02))
def test_line_pixel_undoes_lonlat(place: str, across: float, along: float) -> None:
    geolocation = GEOLOCATIONS[place]
    line, pixel = along * geolocation.grid.line[-1], across * geolocation.grid.pixel[-1]
    again = geolocation.line_pixel(*geolocation.lonlat(line, pixel))
    np.testing.assert_allclose(again, (line, pixel), rtol=0.0, atol=0.01)


@pytest.mark.parametrize("place", PLACES)
def test_tie_points_at_sea_level_are_met(place: str) -> None:
    grid = SCENES[place]
    longitude, latitude = GEOLOCATIONS[place].lonlat(grid.line[:, None], grid.pixel)
    assert metres(longitude, latitude, grid.longitude, grid.latitude).max() < 0.1
    assert np.all((longitude >= -180.0) & (longitude < 180.0))


@pytest.mark.parametrize("place", ["north sea", "antimeridian", "north pole"])
def test_between_tie_points_the_sea_is_met_within_half_a_metre(place: str) -> None:
    grid, (lon_0, lat_0, heading) = SCENES[place], {
        "north sea": (4.0, 55.0, -15.0), "antimeridian": (179.6, -17.0, -165.0), "north pole": (30.0, 89.6, -15.0)
    }[place]  # fmt: skip
    dense = geolocation_grid(lon_0, lat_0, heading, shape=(64, 101))
    longitude, latitude = Geolocation(grid).lonlat(dense.line[:, None], dense.pixel)
    assert metres(longitude, latitude, dense.longitude, dense.latitude).max() < 0.5


def test_terrain_does_not_displace_the_sea() -> None:
    terrain = np.random.default_rng(3).uniform(0.0, 1500.0, (10, 21))
    flat, rough = geolocation_grid(), geolocation_grid(height=terrain)
    assert metres(flat.longitude, flat.latitude, rough.longitude, rough.latitude).max() > 1000.0
    at_sea = Geolocation(rough).lonlat(rough.line[:, None], rough.pixel)
    assert metres(*at_sea, flat.longitude, flat.latitude).max() < 3.0
    incidence = Geolocation(rough).incidence_angle(rough.line[:, None], rough.pixel)
    assert np.abs(rough.incidence_angle - flat.incidence_angle).max() > 0.1
    np.testing.assert_allclose(incidence, flat.incidence_angle, rtol=0.0, atol=1e-4)


def test_outside_and_not_a_number_have_no_image_coordinates() -> None:
    geolocation = GEOLOCATIONS["north sea"]
    longitude, latitude = geolocation.lonlat(8_000.0, 12_000.0)
    antipode = longitude - 180.0, -latitude
    outside = geolocation.line_pixel([antipode[0], 40.0, np.nan, 4.0], [antipode[1], 55.0, 55.0, np.inf])
    assert np.isnan(outside).all()
    beyond = geolocation.lonlat([-3_000.0, 8_000.0], [100.0, 29_000.0])
    assert np.isnan(geolocation.line_pixel(*beyond)).all()
    assert np.isfinite(geolocation.line_pixel(longitude, latitude)).all()


def test_a_geolocation_survives_pickling() -> None:
    geolocation = GEOLOCATIONS["antimeridian"]
    again = pickle.loads(pickle.dumps(geolocation))
    np.testing.assert_array_equal(again.lonlat([3.5, -0.5], 77.0), geolocation.lonlat([3.5, -0.5], 77.0))


def _spoilt() -> dict[str, GeolocationGrid]:
    grid = geolocation_grid()
    hole = grid.latitude.copy()
    hole[3, 4] = np.nan
    return {
        "too few": replace(grid, line=grid.line[:1]),
        "ascending": replace(grid, pixel=grid.pixel[::-1]),
        "fill": replace(grid, height=grid.height[:-1]),
        "finite": replace(grid, latitude=hole),
        "incidence": replace(grid, incidence_angle=np.zeros_like(grid.incidence_angle)),
    }


@pytest.mark.parametrize(("problem", "grid"), _spoilt().items())
def test_an_unusable_grid_is_refused(problem: str, grid: GeolocationGrid) -> None:
    with pytest.raises(UnreadableInput, match=problem):
        Geolocation(grid)


def assert_rfc_7946(geometry: Polygon | MultiPolygon) -> None:
    assert geometry.is_valid
    west, south, east, north = geometry.bounds
    assert -180.0 <= west <= east <= 180.0
    assert -90.0 <= south <= north <= 90.0
    for polygon in shapely.get_parts(geometry):
        assert polygon.geom_type == "Polygon"
        assert polygon.exterior.is_ccw
        assert not any(hole.is_ccw for hole in polygon.interiors)


@pytest.mark.parametrize("place", PLACES)
def test_the_footprint_is_the_outline_of_the_image(place: str) -> None:
    geolocation = GEOLOCATIONS[place]
    lines, samples = int(geolocation.grid.line[-1]) + 1, int(geolocation.grid.pixel[-1]) + 1
    footprint = geolocation.footprint(lines, samples)
    assert_rfc_7946(footprint)
    area, perimeter = geodesic_area_perimeter(footprint)
    # Scale of the stereographic map and of the sphere in the builder: below 0.5 %.
    assert area == pytest.approx(lines * samples * 100.0, rel=5e-3)
    assert perimeter == pytest.approx(2.0 * (lines + samples) * 10.0, rel=5e-3)
    rng = np.random.default_rng(0)
    line, pixel = rng.uniform(-0.5, lines - 0.5, 200), rng.uniform(-0.5, samples - 0.5, 200)
    assert shapely.contains_xy(footprint, *geolocation.lonlat(line, pixel)).all()
    assert not shapely.contains_xy(footprint, *geolocation.lonlat(lines + 5.0, pixel)).any()


def test_footprints_are_split_at_the_antimeridian_and_closed_over_the_poles() -> None:
    split = GEOLOCATIONS["antimeridian"].footprint(LINES, SAMPLES)
    assert split.geom_type == "MultiPolygon"
    assert len(split.geoms) == 2
    assert GEOLOCATIONS["north sea"].footprint(LINES, SAMPLES).geom_type == "Polygon"
    for place, pole in (("north pole", 90.0), ("south pole", -90.0)):
        footprint = GEOLOCATIONS[place].footprint(LINES, SAMPLES)
        assert all(footprint.intersects(Point(longitude, pole)) for longitude in (-180.0, -33.0, 0.0, 180.0))


@pytest.mark.parametrize("place", ["north sea", "antimeridian", "antimeridian near the pole"])
def test_long_straight_edges_stay_straight(place: str) -> None:
    geolocation = GEOLOCATIONS[place]
    outline = geolocation.to_lonlat(box(0.0, 0.0, SAMPLES, LINES)).boundary
    longitude, latitude = geolocation.lonlat(0.0, np.linspace(100.0, SAMPLES - 100.0, 333))
    nearest = [outline.interpolate(outline.project(Point(xy))) for xy in zip(longitude, latitude, strict=True)]
    assert metres(longitude, latitude, [p.x for p in nearest], [p.y for p in nearest]).max() < 5.0


@pytest.mark.parametrize("place", ["north sea", "antimeridian"])
def test_holes_and_parts_are_kept(place: str) -> None:
    geolocation = GEOLOCATIONS[place]
    ring = Polygon(box(5_000, 5_000, 20_000, 11_000).exterior, [box(8_000, 6_000, 18_000, 10_000).exterior])
    island = box(9_000, 7_000, 17_000, 9_000)
    both = geolocation.to_lonlat(MultiPolygon([ring, island]))
    assert_rfc_7946(both)
    area, perimeter = geodesic_area_perimeter(both)
    assert area == pytest.approx((ring.area + island.area) * 100.0, rel=2e-3)
    assert perimeter == pytest.approx((ring.length + island.length) * 10.0, rel=2e-3)
    assert shapely.contains_xy(both, *geolocation.lonlat([5_500.0, 8_000.0], 13_000.0)).all()
    assert not shapely.contains_xy(both, *geolocation.lonlat([6_500.0, 9_500.0], 13_000.0)).any()


def test_a_square_of_100_square_kilometres_has_that_area() -> None:
    geolocation = GEOLOCATIONS["north sea"]
    square = box(12_000, 7_500, 13_000, 8_500)
    area, perimeter = geodesic_area_perimeter(geolocation.to_lonlat(square))
    assert area == pytest.approx(100e6, rel=1e-3)
    assert perimeter == pytest.approx(40e3, rel=1e-3)


def test_nothing_gives_nothing() -> None:
    nothing = GEOLOCATIONS["north sea"].to_lonlat(Polygon())
    assert nothing.is_empty
    assert nothing.geom_type == "MultiPolygon"
    assert geodesic_area_perimeter(nothing) == (0.0, 0.0)


@st.composite
def slicks(draw: st.DrawFn) -> Polygon:
    """Staircase-free blobs with a similar hole, somewhere in the image."""
    corners = draw(st.integers(3, 24))
    radii = np.array(draw(st.lists(st.floats(200.0, 6_000.0), min_size=corners, max_size=corners)))
    angles = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False)
    centre = draw(st.floats(7_000, 18_000)), draw(st.floats(7_000, 9_000))
    blob = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * radii[:, None]
    return Polygon(centre + blob, [centre + 0.5 * blob])


@settings(deadline=None)
@given(slick=slicks(), turn=st.floats(-180.0, 180.0))
def test_the_antimeridian_changes_neither_area_nor_outline(slick: Polygon, turn: float) -> None:
    grid = SCENES["north sea"]
    turned = Geolocation(replace(grid, longitude=(grid.longitude + 176.0 + 0.01 * turn) % 360.0 - 180.0))
    here, there = (where.to_lonlat(slick) for where in (GEOLOCATIONS["north sea"], turned))
    assert_rfc_7946(there)
    np.testing.assert_allclose(geodesic_area_perimeter(there), geodesic_area_perimeter(here), rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(slick=slicks())
def test_slicks_around_a_pole_keep_their_area(slick: Polygon) -> None:
    grid = geolocation_grid(0.0, 90.0, heading=0.0)
    there = Geolocation(grid).to_lonlat(slick)
    assert_rfc_7946(there)
    assert geodesic_area_perimeter(there)[0] == pytest.approx(100.0 * slick.area, rel=1e-3, abs=2e4)


@pytest.fixture(scope="module")
def real_products(tmp_path_factory: pytest.TempPathFactory) -> list[SafeProduct]:
    archives = sorted(SAFES.glob("*.SAFE.tar.gz")) if SAFES.is_dir() else []
    if not archives:
        pytest.skip("the real products of ../shared/data/s1/safe are not here")
    folder = tmp_path_factory.mktemp("safe")
    for archive in archives:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if not m.name.endswith(".tiff")]
            tar.extractall(folder, members, filter="data")
            for image in (m for m in tar.getmembers() if m.name.endswith(".tiff")):
                (folder / image.name).parent.mkdir(exist_ok=True)
                (folder / image.name).touch()  # the names of the images are enough here
    return [SafeProduct.open(path) for path in sorted(folder.glob("*.SAFE"))]


def test_real_corners_agree_with_the_manifest_and_the_tie_points(real_products: list[SafeProduct]) -> None:
    for product in real_products:
        grid = product.image("VV").annotation.geolocation_grid
        longitude, latitude = Geolocation(grid).lonlat(grid.line[[0, -1], None], grid.pixel[[0, -1]])
        corner = np.ix_([0, -1], [0, -1])
        distance = metres(longitude, latitude, grid.longitude[corner], grid.latitude[corner])
        terrain = grid.height[corner] / np.tan(np.radians(grid.incidence_angle[corner]))
        np.testing.assert_allclose(distance, terrain, rtol=0.005, atol=0.1)
        assert product.scene.footprint is not None
        outline = shapely.get_coordinates(product.scene.footprint)[:, :2].T[:, :, None]
        nearest = metres(*np.broadcast_arrays(longitude.ravel(), latitude.ravel(), *outline)).min(axis=0)
        assert nearest.max() < 500.0  # the manifest's corners lie at a mean terrain height


def test_left_out_tie_points_of_real_products_are_predicted(real_products: list[SafeProduct]) -> None:
    for product in real_products:
        grid = product.image("VV").annotation.geolocation_grid
        kept = np.r_[0 : len(grid.pixel) : 2]
        fields = ("slant_range_time", "latitude", "longitude", "height", "incidence_angle", "elevation_angle")
        thinned = {name: getattr(grid, name)[:, kept] for name in (*fields, "azimuth_time")}
        sparse = Geolocation(replace(grid, pixel=grid.pixel[kept], **thinned))
        every = grid.line[:, None], grid.pixel
        distance = metres(*sparse.lonlat(*every), *Geolocation(grid).lonlat(*every))
        assert distance.max() < 3.0
