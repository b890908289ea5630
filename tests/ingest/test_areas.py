"""Areas of interest: every way of giving one, every mistake as one line, and division at the antimeridian."""

from __future__ import annotations

import json
import math
from pathlib import Path

import antimeridian
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box, mapping

from ingest.areas import read_areas, read_footprint, together
from ingest.errors import UsageError

BALTIC = [[10.0, 54.0], [15.0, 54.0], [15.0, 56.0], [10.0, 56.0], [10.0, 54.0]]


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def feature(coordinates: object, kind: str = "Polygon", **members: object) -> dict[str, object]:
    return {"type": "Feature", "properties": {}, "geometry": {"type": kind, "coordinates": coordinates}, **members}


def only(given: str | Path) -> shapely.Geometry:
    (area,) = read_areas(given)
    return area.geometry


def polygon_text(points: list[tuple[float, float]]) -> str:
    return json.dumps({"type": "Polygon", "coordinates": [[*map(list, points), list(points[0])]]})


# -- the ways of giving one ------------------------------------------------------------------------------------------


def test_collection_gives_each_feature_with_its_name(tmp_path: Path) -> None:
    features = [
        feature([BALTIC], properties={"Name": "  Baltic \n proper "}),
        feature([[[0, 50], [1, 50], [1, 51]]], id="channel"),
        feature([[[20, 60], [21, 60], [21, 61], [20, 60]]], properties=None),
    ]
    areas = read_areas(write(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features}))
    assert [area.name for area in areas] == ["Baltic proper", "channel", "area 3"]
    assert [area.geometry.area for area in areas] == [10.0, 0.5, 0.5]
    assert together(areas).area == 11.0
    assert all(part.exterior.is_ccw for area in areas for part in shapely.get_parts(area.geometry))


@pytest.mark.parametrize(
    "document",
    [
        feature([BALTIC]),
        {"type": "Polygon", "coordinates": [BALTIC]},
        {"type": "MultiPolygon", "coordinates": [[BALTIC]]},
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [BALTIC]}]},
        {"type": "Polygon", "coordinates": [[[x, y, 7.0] for x, y in BALTIC[::-1]]]},
        feature([BALTIC], crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}),
    ],
)
def test_one_feature_or_bare_geometry_is_an_area_named_as_its_file(tmp_path: Path, document: object) -> None:
    (area,) = read_areas(write(tmp_path / "baltic.json", document))
    assert area.name == "baltic"
    assert area.geometry.equals(box(10, 54, 15, 56))
    assert not area.geometry.has_z


def test_wkt_and_box_and_geojson_as_text_or_file(tmp_path: Path) -> None:
    expected = box(10, 54, 15, 56)
    (tmp_path / "a.wkt").write_text("\ufeff" + expected.wkt + "\n", encoding="utf-8")
    texts = [expected.wkt, f"SRID=4326;{expected.wkt}", "10,54,15,56", " 10.0, 54, 1.5e1,+56", polygon_text(BALTIC[:4])]
    for text in [*texts, str(tmp_path / "a.wkt"), tmp_path / "a.wkt"]:
        assert only(text).equals(expected)


def test_box_from_a_greater_west_crosses_the_antimeridian() -> None:
    crossing = only("170,-20,-170,10")
    assert crossing.equals(shapely.union_all([box(170, -20, 180, 10), box(-180, -20, -170, 10)]))
    assert only("-180,-90,180,90").equals(box(-180, -90, 180, 90))
    assert only("-170,0,170,1").area == 340
    assert only("170,0,190,1").equals(only("170,0,-170,1"))


def test_border_of_the_whole_map_is_no_jump() -> None:
    assert only("POLYGON ((-180 -60, 180 -60, 180 60, -180 60, -180 -60))").equals(box(-180, -60, 180, 60))


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nowhere.geojson", "no such file"),
        ("10,56,15,54", "invalid latitudes"),
        ("10,54,10,56", "west and east are the same"),
        ("10,54,15,96", "invalid latitudes"),
        ("400,54,15,56", "invalid longitude"),
        ("POINT (1 2)", "is a Point, which has no area"),
        ("LINESTRING (1 2, 3 4)", "is a LineString"),
        ("POLYGON EMPTY", "is empty"),
        ("POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))", "Self-intersection"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 1", "not valid WKT"),
        ("SRID=3857;POLYGON ((0 0, 1 0, 1 1, 0 0))", "EPSG:3857"),
        ("POLYGON ((54 110, 56 110, 56 115, 54 110))", "54, 110, outside the range of coordinates"),
        ("POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (20 1, 21 1, 21 2, 20 1))", "hole outside"),
        ("POLYGON ((0 0, 1 1, 2 2, 0 0))", "invalid polygon"),
        ("{", "not valid JSON"),
        ('{"type": "Polygon"}', "not a GeoJSON geometry"),
        ('{"type": "Polygon", "coordinates": [[["a", "b"], ["c", "d"], ["e", "f"]]]}', "not a GeoJSON geometry"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 1], [2, 3], [4, 9]]]}', "not a GeoJSON geometry"),
        ("POLYGON ((0 0, nan 0, 1 1, 0 0))", "outside the range of coordinates"),
        ('{"type": "FeatureCollection", "features": []}', "no features"),
        ('{"type": "FeatureCollection"}', "no features"),
        ('{"type": "FeatureCollection", "features": [5]}', "feature 1: has no geometry"),
        ('{"type": "Feature", "geometry": null}', "has no geometry"),
        ('{"type": "Topology", "arcs": []}', "not a GeoJSON geometry"),
        ('{"a":' * 100_000, "not valid JSON"),
    ],
)
def test_mistakes_are_one_line(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_areas(text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistake_in_a_file_names_the_file_and_the_feature(tmp_path: Path) -> None:
    bow_tie = feature([[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]], properties={"name": "Skagerrak"})
    path = write(tmp_path / "seas.geojson", {"type": "FeatureCollection", "features": [feature([BALTIC]), bow_tie]})
    with pytest.raises(UsageError, match=r"seas\.geojson, feature 2 \(Skagerrak\): invalid polygon"):
        read_areas(path)
    projected = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    with pytest.raises(UsageError, match="EPSG::3857"):
        read_areas(write(path, feature([BALTIC], crs=projected)))
    twins = [feature([BALTIC], id="x"), feature([BALTIC], id="x")]
    with pytest.raises(UsageError, match="several areas named 'x'"):
        read_areas(write(path, {"type": "FeatureCollection", "features": twins}))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        read_areas(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_areas(tmp_path)


# -- the antimeridian and the poles ----------------------------------------------------------------------------------


def test_hole_across_the_antimeridian_stays_a_hole() -> None:
    area = only("POLYGON ((170 10, 190 10, 190 20, 170 20, 170 10), (175 12, 185 12, 185 18, 175 18, 175 12))")
    assert area.area == pytest.approx(200 - 60)
    assert not area.contains(Point(-179, 15))
    assert area.contains(Point(-174, 15))


@pytest.mark.parametrize("winding", [1, -1])
@pytest.mark.parametrize("side", [1, -1])
def test_ring_around_a_pole_encloses_it(winding: int, side: int) -> None:
    ring = [(float(lon), side * 70.0) for lon in (10, 100, 170, -90)][::winding]
    cap = only(polygon_text(ring))
    assert cap.area == pytest.approx(360 * 20)
    assert cap.contains(Point(123.4, side * 89.9))
    assert not cap.intersects(Point(123.4, side * 60))


def test_hole_around_a_pole_leaves_a_belt() -> None:
    outer, inner = ([[lon, lat] for lon in (0, 90, 180, -90, 0)] for lat in (60, 80))
    belt = only(json.dumps({"type": "Polygon", "coordinates": [outer, inner]}))
    assert belt.area == pytest.approx(360 * 20)
    assert not belt.intersects(Point(45, 85))


convex = st.builds(
    lambda lon, lat, radius, angles: [
        (lon + radius * math.cos(angle), lat + radius * math.sin(angle)) for angle in sorted(angles)
    ],
    st.floats(-180, 180),
    st.floats(-60, 60),
    st.floats(0.5, 25),
    st.lists(st.integers(0, 359).map(math.radians), min_size=3, max_size=12, unique=True),
)


def jumping(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [((lon + 180) % 360 - 180, lat) for lon, lat in points]


@settings(max_examples=60, deadline=None)
@given(convex)
def test_jumping_and_running_on_give_the_same_area_within_the_map(points: list[tuple[float, float]]) -> None:
    whole = Polygon(points)
    assume(whole.is_valid and whole.area > 1e-3)
    running, jumped = only(polygon_text(points)), only(polygon_text(jumping(points)))
    for area in (running, jumped):
        assert area.is_valid
        assert area.area == pytest.approx(whole.area, rel=1e-9)
        assert -180 <= area.bounds[0] <= area.bounds[2] <= 180
    assert running.symmetric_difference(jumped).area == pytest.approx(0, abs=1e-9)
    # What lies inside before lies inside afterwards, one turn away or not.
    inside = whole.representative_point()
    assert running.buffer(1e-9).contains(Point(jumping([(inside.x, inside.y)])[0]))


@settings(max_examples=60, deadline=None)
@given(convex)
def test_agrees_with_the_antimeridian_package(points: list[tuple[float, float]]) -> None:
    assume(Polygon(points).is_valid and Polygon(points).area > 1e-3)
    jumped = jumping(points)
    # The package is left out where a corner lies on the meridian itself: there it gives invalid pieces.
    assume(all(abs(abs(lon) - 180) > 1e-6 for lon, _ in jumped))
    theirs = antimeridian.fix_polygon(Polygon(jumped), fix_winding=True, great_circle=False)
    # It rounds the latitude of a crossing to seven decimals, which moves whole edges.
    ours = only(polygon_text(jumped))
    assert ours.symmetric_difference(theirs).area == pytest.approx(0, abs=1e-7 * Polygon(points).length)


@settings(max_examples=40, deadline=None)
@given(convex)
def test_reading_what_was_read_changes_nothing(points: list[tuple[float, float]]) -> None:
    assume(Polygon(points).is_valid and Polygon(points).area > 1e-3)
    once = only(polygon_text(points))
    again = only(json.dumps(mapping(once)))
    assert again.symmetric_difference(once).area == pytest.approx(0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 180), st.floats(-180, 180), st.floats(-90, 89), st.floats(0.01, 1))
def test_box_is_as_wide_as_its_meridians_say(west: float, east: float, south: float, height: float) -> None:
    assume(abs(west - east) > 1e-6)
    area = only(f"{west!r},{south!r},{east!r},{south + height!r}")
    width = east - west if west < east else east - west + 360
    assert area.area == pytest.approx(width * (south + height - south), rel=1e-6)
    assert area.is_valid
    assert area.bounds[0] >= -180
    assert area.bounds[2] <= 180


@pytest.mark.parametrize("heights", ["2.5", "2.5, 1", "null"])
def test_heights_are_left_out_even_where_only_some_points_have_them(heights: str) -> None:
    ring = f"[[50, 25, {heights}], [52, 25], [52, 27], [50, 27, {heights}], [50, 25, {heights}]]"
    mixed = f'{{"type": "Polygon", "coordinates": [{ring}]}}'
    (area,) = read_areas(mixed)
    assert area.geometry.equals(box(50, 25, 52, 27))
    collection = f'{{"type": "GeometryCollection", "geometries": [{mixed}]}}'
    assert read_areas(collection)[0].geometry.equals(area.geometry)
    assert read_footprint(mixed).equals(area.geometry)


def test_a_footprint_is_text_and_never_a_file(tmp_path: Path) -> None:
    (tmp_path / "area.wkt").write_text("POLYGON((50 25,52 25,52 27,50 25))")
    assert read_footprint(str(tmp_path / "area.wkt")) is None


@pytest.mark.parametrize(
    "properties",
    [
        {"name": "urn:ogc:def:crs:EPSG::4326"}, {"name": "urn:ogc:def:crs:EPSG:9.9:4326"}, {"name": "EPSG:4326"},
        {"name": "http://www.opengis.net/def/crs/EPSG/0/4326"}, {"name": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"},
        {"name": "urn:ogc:def:crs:OGC::CRS84h"}, {"name": "urn:ogc:def:crs:EPSG::4979"}, {"code": 4326},
    ],
)  # fmt: skip
def test_every_way_to_say_longitude_and_latitude(tmp_path, properties):
    kind = "EPSG" if "code" in properties else "name"
    document = feature([BALTIC], crs={"type": kind, "properties": properties})
    (area,) = read_areas(write(tmp_path / "a.geojson", document))
    assert area.geometry.area > 0


@pytest.mark.parametrize("name", ["EPSG:3857", "EPSG:14326", "EPSG:43260", "CRS83", ""])
def test_other_coordinate_systems_are_refused(tmp_path, name):
    document = feature([BALTIC], crs={"type": "name", "properties": {"name": name}})
    with pytest.raises(UsageError, match=r"is in the coordinate system"):
        read_areas(write(tmp_path / "a.geojson", document))


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_area_at_all_is_said(text):
    with pytest.raises(UsageError, match="the area: is empty; give a GeoJSON"):
        read_areas(text)
