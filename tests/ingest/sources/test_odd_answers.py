"""Odd answers of catalogues: whatever one entry holds, the others are found, and only our own errors are raised."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.areas import box_area, read_areas
from ingest.errors import UnreadableInput, UsageError
from ingest.scene import scene_from_name
from ingest.sources.dhus import _scene_of as dhus_scene
from ingest.sources.http import content_range, retry_after
from ingest.sources.odata import read_page
from ingest.sources.odata import scene_of as odata_scene
from ingest.sources.source import Query
from ingest.sources.stac_items import archive_of, published, read_item
from ingest.sources.stac_items import scene_of as stac_scene

NAME = "S1A_IW_GRDH_1SDV_20240601T053000_20240601T053025_054100_069A3C_E422"
RING = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}
HERE = Query(area=box_area(1.2, 1.2, 1.4, 1.4))
ODD = st.sampled_from(
    [
        None, "", "x", 0, -1, 1.5, True, [], {}, [None], [{}], {"x": None}, "2024-06-01T06:00:00", "5", 10**400,
        "2016-12-31T23:59:60Z", "d50110", "1e20zz", "http://[::1", "s3://x", f"{NAME}\n", "S1A_AUX_INS.SAFE",
    ]
)  # fmt: skip
NUMBER = st.sampled_from([0, 1, 2.5, -181, 360, 1e308, float("nan"), None, "1", 10**400])
POINT = st.lists(NUMBER, max_size=4) | st.just([1, 1, 0]) | st.just([2, 1])
GEOMETRY = ODD | st.builds(
    lambda kind, inner: {"type": kind, "coordinates": inner},
    st.sampled_from(["Polygon", "MultiPolygon", "Point", "GeometryCollection", "polygon", None]),
    st.lists(st.lists(POINT, max_size=5), max_size=2) | ODD,
)  # fmt: skip


def changed(entry: dict[str, Any], geometry: str) -> st.SearchStrategy[dict[str, Any]]:
    """The entry with some members replaced or missing."""
    members = {name: GEOMETRY if name == geometry else ODD for name in entry}
    missing = st.sets(st.sampled_from(sorted(entry)), max_size=2)
    odd = st.fixed_dictionaries({}, optional=members)
    return st.builds(lambda one, gone: {k: v for k, v in {**entry, **one}.items() if k not in gone}, odd, missing)


PRODUCT = {
    "Id": "a", "Name": f"{NAME}.SAFE", "PublicationDate": "2024-06-01T06:00:00.000Z", "Online": True,
    "ContentLength": 5, "Checksum": [{"Value": "00", "Algorithm": "MD5"}], "S3Path": "/x", "GeoFootprint": POLYGON,
}  # fmt: skip


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@given(changed(PRODUCT, "GeoFootprint"))
@settings(max_examples=150, deadline=None)
def test_one_product_never_costs_its_page_or_its_scene(odd: dict[str, Any]) -> None:
    page = read_page(as_json({"value": [odd, PRODUCT | {"Id": "b"}]}), "the catalogue")
    assert len(page.entries) == 2
    scenes = [odata_scene(product, "cdse") for product in page.products]
    found = [scene for scene in scenes if scene is not None and HERE.matches(scene)]
    assert found[-1].key == "b"
    is_whole = {"Id": "a", "Name": f"{NAME}.SAFE", "GeoFootprint": POLYGON}.items() <= odd.items()
    assert len(found) == 2 or not is_whole


@pytest.mark.parametrize(
    "odd",
    [
        {"Id": 7}, {"Online": None}, {"PublicationDate": None}, {"ContentLength": "much"}, {"Checksum": [None]},
        {"S3Path": 5},
        {"GeoFootprint": {"type": "Polygon", "coordinates": []}}, {"GeoFootprint": {"type": "Polygon"}},
        {"GeoFootprint": {"type": "Polygon", "coordinates": [[[1, 1, 0], [2, 1], [2, 2], [1, 2], [1, 1, 0]]]}},
    ],
)  # fmt: skip
def test_a_scene_with_one_odd_field_is_found(odd: dict[str, Any]) -> None:
    (product,) = read_page(as_json({"value": [PRODUCT | odd]}), "the catalogue").products
    scene = odata_scene(product, "cdse")
    assert scene is not None
    assert product.online is not False
    assert HERE.matches(scene)


def test_a_mixed_footprint_still_tells_where_a_scene_is_not() -> None:
    far = {"type": "Polygon", "coordinates": [[[100, 1, 0], [101, 1], [101, 2], [100, 1, 0]]]}
    (product,) = read_page(as_json({"value": [PRODUCT | {"GeoFootprint": far}]}), "the catalogue").products
    scene = odata_scene(product, "cdse")
    assert scene is not None
    assert not HERE.matches(scene)


ASSET = {"href": f"https://x/{NAME}.zip", "type": "application/zip", "file:checksum": "d50110" + "00" * 16}
ITEM = {"id": NAME, "geometry": POLYGON, "properties": {}, "assets": {"product": ASSET}, "links": []}
ITEMS = st.builds(
    lambda item, asset, properties: {**item, **properties} | ({"assets": {"x": asset}} if "assets" in item else {}),
    changed(ITEM, "geometry"),
    changed(ASSET, ""),
    st.fixed_dictionaries({}, optional={"properties": changed({"published": "", "sat:relative_orbit": 1}, "")}),
)


@given(ITEMS | changed(ITEM, "geometry"))
@settings(max_examples=150, deadline=None)
def test_a_stac_item_is_a_scene_or_passed_over(odd: dict[str, Any]) -> None:
    item = read_item(odd)
    if item is not None:
        archive_of(item)
        published(item, None)
        scene = stac_scene(item, "stac", None)
        assert scene is None or HERE.matches(scene) in (True, False)


@pytest.mark.parametrize("value", [None, [], "x", 0])
@pytest.mark.parametrize("member", ["properties", "assets", "links", "geometry"])
def test_a_stac_item_with_one_odd_member_is_found(member: str, value: Any) -> None:
    item = read_item(ITEM | {member: value})
    assert item is not None
    scene = stac_scene(item, "stac", None)
    assert scene is not None
    assert scene.id == NAME
    assert HERE.matches(scene)


PROPERTIES = {
    "identifier": NAME, "title": NAME, "footprint": "POLYGON((1 1,2 1,2 2,1 1))", "relativeorbitnumber": 1,
    "ingestiondate": datetime(2024, 6, 1, tzinfo=UTC),
}  # fmt: skip


@given(changed(PROPERTIES, ""))
@settings(max_examples=100, deadline=None)
def test_a_product_of_a_dhus_node_is_a_scene_or_passed_over(odd: dict[str, Any]) -> None:
    scene = dhus_scene("uuid", odd, "dhus")
    assert scene is None or HERE.matches(scene) in (True, False)
    assert scene is None or isinstance(scene.relative_orbit, int)


@given(st.text(max_size=40) | ODD.map(str) | st.from_regex(r"bytes [0-9*²٣]{1,3}-?[0-9²]{0,3}/[0-9*²]{1,3}\n?"))
def test_headers_are_understood_or_ignored(value: str) -> None:
    wait = retry_after(value)
    assert wait is None or wait >= 0
    content_range(value)


@given(GEOMETRY)
@settings(max_examples=150, deadline=None)
def test_an_area_is_read_or_refused(geometry: Any) -> None:
    try:
        (area,) = read_areas(json.dumps({"type": "Feature", "geometry": geometry}))
    except UsageError:
        return
    assert area.geometry.is_valid


@given(st.from_regex(r"S1[A-Z]_IW_GRDH_1SDV_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}(\.SAFE)?\n?\Z"))
def test_a_name_is_a_scene_or_refused(name: str) -> None:
    try:
        scene = scene_from_name(name)
    except UnreadableInput:
        return
    assert scene.id.isascii()
    assert scene.id.isprintable()
