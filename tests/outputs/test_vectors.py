import json
import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing

import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from ingest.errors import StorageError
from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS
from outputs.options import SlickOptions
from outputs.slicks import find_slicks
from outputs.style import LOOKS
from outputs.vectors import write_geojson, write_geopackage, write_style
from tests.support.full_disk import full_after
from tests.support.slick_scenes import PROCESSED_AT, probabilities, scene


def slicks(centre=(3.0, 58.0), threshold=0.5):
    rng = np.random.default_rng(5)
    plane = np.kron(rng.random((12, 15)), np.ones((8, 8)))
    plane[30:60, 40:80] = 0.9
    plane[40:50, 50:60] = 0.0
    options = SlickOptions(minimum_area_m2=0.0, outline=threshold)
    calibrated = scene(np.full(plane.shape, 0.05), centre=centre)
    return find_slicks(
        probabilities(oil=plane), calibrated, land=None, options=options, model_id="m", processed_at=PROCESSED_AT
    )


def check_rfc_7946(text: str) -> list[dict]:
    """The rules of RFC 7946 that a reader relies on, checked on the text itself."""
    document = json.loads(text, parse_float=str, parse_constant=pytest.fail)
    assert set(document) == {"type", "features"}
    assert document["type"] == "FeatureCollection"
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        assert isinstance(feature["id"], str)
        assert feature["geometry"]["type"] == "MultiPolygon"
        west, south, east, north = map(float, feature["bbox"])
        longitudes, latitudes = [], []
        for polygon in feature["geometry"]["coordinates"]:
            for i, ring in enumerate(polygon):
                assert len(ring) >= 4
                assert ring[0] == ring[-1]
                assert all(len(str(number).partition(".")[2]) <= 6 for position in ring for number in position)
                x, y = np.array(ring, float).T
                signed = np.sum((x[1:] - x[0]) * (y[:-1] - y[0]) - (x[:-1] - x[0]) * (y[1:] - y[0]))
                assert (signed < 0) == (i == 0), "exteriors counter-clockwise, holes clockwise"
                assert np.abs(np.diff(x)).max() < 180, "no edge crosses the antimeridian"
                longitudes += x.tolist()
                latitudes += y.tolist()
        assert (south, north) == (min(latitudes), max(latitudes))
        assert max(map(abs, longitudes)) <= 180
        inside = [west <= x <= east if west <= east else x >= west or x <= east for x in longitudes]
        assert all(inside)
    features = json.loads(text)["features"]
    assert all(shapely.from_geojson(json.dumps(feature["geometry"])).is_valid for feature in features)
    return features


@pytest.mark.parametrize("longitude", [3.0, 180.0, -179.99])
def test_geojson_obeys_rfc_7946(tmp_path, longitude):
    table = slicks((longitude, 58.0))
    write_geojson(table, tmp_path / "slicks.geojson")
    features = check_rfc_7946((tmp_path / "slicks.geojson").read_text())
    assert len(features) == len(table) > 0
    assert [feature["id"] for feature in features] == table.id.tolist()
    properties = features[0]["properties"]
    assert [*properties] == [a.name for a in ATTRIBUTES]
    assert properties["acquired_start"] == "2021-01-19T03:16:53.000Z"
    assert properties["wind_speed_ms"] is None
    assert properties["ships_nearby"] == 0
    assert properties["edge_touching"] in (True, False)
    assert properties["area_m2"] == table.area_m2[0]
    if longitude == 180.0:
        assert any(feature["bbox"][0] > feature["bbox"][2] for feature in features)


def test_an_independent_reader_finds_the_same_in_geojson_and_geopackage(tmp_path):
    table = slicks()
    write_geojson(table, tmp_path / "slicks.geojson")
    write_geopackage(table, tmp_path / "slicks.gpkg")
    for name in ("slicks.geojson", "slicks.gpkg"):
        read = pyogrio.read_dataframe(tmp_path / name, layer="slicks", datetime_as_string=False)
        assert read.crs == "EPSG:4326"
        assert set(read.geom_type) == {"MultiPolygon"}
        assert read.geometry.is_valid.all()
        assert np.array_equal(shapely.to_wkb(read.geometry.normalize()), shapely.to_wkb(table.geometry.normalize()))
        assert read.id.tolist() == table.id.tolist()
        assert read.confidence_mean.tolist() == pytest.approx(table.confidence_mean.tolist(), abs=1e-12)
        assert pd.to_datetime(read.acquired_end, utc=True).tolist() == table.acquired_end.tolist()
        assert read.reviewer.isna().all()


def test_outlines_of_former_versions_are_rounded_and_stay_valid(tmp_path):
    """Two rings closer than the last decimal, which rounding alone would make touch."""
    thread = shapely.Polygon([(3, 58), (3.1, 58), (3.1, 58.1), (3.05, 58.0000002), (3, 58.1)])
    table = slicks()[:1].set_geometry([shapely.MultiPolygon([thread])], crs="EPSG:4326")
    write_geojson(table, tmp_path / "slicks.geojson")
    (feature,) = check_rfc_7946((tmp_path / "slicks.geojson").read_text())
    assert shapely.from_geojson(json.dumps(feature["geometry"])).area == pytest.approx(thread.area, rel=1e-3)


@pytest.mark.parametrize("count", [0, None])
def test_the_geopackage_brings_its_style(tmp_path, count):
    table = slicks()[:count]
    path = tmp_path / "slicks.gpkg"
    write_geopackage(table, path)
    with closing(sqlite3.connect(path)) as database:
        contents = dict(database.execute("SELECT table_name, data_type FROM gpkg_contents").fetchall())
        assert contents == {"slicks": "features", "layer_styles": "attributes"}
        geometry = database.execute("SELECT column_name, geometry_type_name, srs_id FROM gpkg_geometry_columns")
        assert geometry.fetchall() == [("geom", "MULTIPOLYGON", 4326)]
        (row,) = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML, styleSLD FROM layer_styles"
        ).fetchall()
        columns = {name: kind for _, name, kind, *_ in database.execute("PRAGMA table_info(slicks)")}
        (found,) = database.execute("SELECT count(*) FROM slicks").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        times = [time for (time,) in database.execute("SELECT acquired_start FROM slicks")]
    assert version == 10300, "older QGIS warns of later versions"
    assert all(time == "2021-01-19T03:16:53.000Z" for time in times), "older GDAL wants milliseconds"
    assert row[:3] == ("slicks", "geom", 1)
    assert found == len(table)
    assert columns["relative_orbit"] == "INTEGER"
    assert columns["edge_touching"] == "BOOLEAN"
    assert columns["acquired_start"] == "DATETIME"
    qml, sld = ET.fromstring(row[3].partition("\n")[2]), ET.fromstring(row[4])
    assert [rule.get("label") for rule in qml.iter("rule")] == [look.label for look in LOOKS]
    assert {rule.get("symbol") for rule in qml.iter("rule")} == {symbol.get("name") for symbol in qml.iter("symbol")}
    assert len(sld.findall(".//{http://www.opengis.net/se}Rule")) == len(LOOKS)


def test_fields_that_the_catalogue_adds_are_described_too(tmp_path):
    extras = {one.name: pd.Series([None] * len(slicks()), dtype="object") for one in SLICK_EXTRAS}
    write_geopackage(slicks().assign(**extras), tmp_path / "slicks.gpkg")
    with closing(sqlite3.connect(tmp_path / "slicks.gpkg")) as database:
        rows = database.execute("SELECT column_name, description FROM gpkg_data_columns").fetchall()
    assert {one.name: one.description for one in SLICK_EXTRAS}.items() <= dict(rows).items()


def test_fields_have_names_and_descriptions(tmp_path):
    write_geopackage(slicks(), tmp_path / "slicks.gpkg")
    with closing(sqlite3.connect(tmp_path / "slicks.gpkg")) as database:
        rows = database.execute("SELECT column_name, name, title, description FROM gpkg_data_columns").fetchall()
        extension = database.execute(
            "SELECT table_name, scope FROM gpkg_extensions WHERE extension_name = 'gpkg_schema' ORDER BY table_name"
        ).fetchall()
    named = {column: (name, title, description) for column, name, title, description in rows}
    assert [*named] == [a.name for a in ATTRIBUTES]
    assert named["distance_to_coast_m"][:2] == ("Distance to coast (m)",) * 2
    assert named["area_m2"][0] == "Area (m\N{SUPERSCRIPT TWO})"
    assert named["wind_speed_ms"] == ("Wind speed (m/s)",) * 2 + ("Wind speed at 10 m; not computed yet, always null",)
    assert len({name for name, _, _ in named.values()}) == len(named)
    assert extension == [("gpkg_data_column_constraints", "read-write"), ("gpkg_data_columns", "read-write")]
    read = pyogrio.read_dataframe(tmp_path / "slicks.gpkg", layer="slicks")
    assert [*read.columns] == [a.name for a in ATTRIBUTES] + ["geometry"]


def test_the_rules_of_the_style_cover_every_slick_once(tmp_path):
    table = slicks()
    write_geopackage(table, tmp_path / "slicks.gpkg")
    write_style(tmp_path / "slicks.qml")
    qml = ET.fromstring((tmp_path / "slicks.qml").read_text().partition("\n")[2])
    with closing(sqlite3.connect(tmp_path / "slicks.gpkg")) as database:
        hits = [
            database.execute(f"SELECT count(*) FROM slicks WHERE {rule.get('filter')}").fetchone()[0]
            for rule in qml.iter("rule")
        ]
    assert sum(hits) == len(table)


def test_no_slicks_give_valid_empty_files(tmp_path):
    empty = slicks()[:0]
    write_geojson(empty, tmp_path / "slicks.geojson")
    write_geopackage(empty, tmp_path / "slicks.gpkg")
    assert check_rfc_7946((tmp_path / "slicks.geojson").read_text()) == []
    info = pyogrio.read_info(tmp_path / "slicks.gpkg", layer="slicks")
    assert info["features"] == 0
    assert info["geometry_type"] == "MultiPolygon"
    assert [*info["fields"]] == [a.name for a in ATTRIBUTES]


@pytest.mark.parametrize(("write", "room"), [(write_geojson, 2000), (write_geopackage, 20_000), (write_geopackage, 0)])
def test_a_full_disk_is_a_storage_error_and_leaves_the_former_file(tmp_path, write, room):
    path = tmp_path / "slicks.gpkg"
    path.write_text("former")
    with full_after(room), pytest.raises(StorageError):
        write(slicks(), path)
    assert path.read_text() == "former"
    assert [*tmp_path.iterdir()] == [path]
