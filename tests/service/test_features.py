"""OGC API - Features as clients meet it: documents, pages of features, filters, formats, and refusals."""

import csv
import io
import json
import re
import shutil
import sqlite3
from contextlib import closing
from urllib.parse import quote, urlsplit

import geopandas as gpd
import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from shapely.geometry import box, shape

from outputs.catalogue import Catalogue
from outputs.catalogue.database import Database
from outputs.catalogue.schema import version
from service.app import Options, make_app
from service.collections import COLLECTIONS
from service.parameters import CRS84, LARGEST_LIMIT
from tests.service.conftest import PRIVATE, Client
from tests.support.catalogue_results import FOOTPRINT, SCENE

ITEMS = "/collections/slicks/items"


@pytest.fixture(scope="module")
def found(ask):
    """The features that a query finds, by their ids in order."""

    def asked(query="", collection="slicks"):
        answer = ask(f"/collections/{collection}/items?limit=1000&{query}")
        assert answer.status_code == 200, answer.text
        return [feature["id"] for feature in answer.json()["features"]]

    return asked


def filtered(text, language="cql2-text"):
    return f"filter={quote(text)}&filter-lang={language}"


def links(document):
    return {one["rel"]: one["href"] for one in document["links"]}


def path_of(address):
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def test_the_landing_page_leads_everywhere(ask):
    landing = ask("/").json()
    assert {"self", "service-desc", "service-doc", "conformance", "data"} <= set(links(landing))
    for one in landing["links"]:
        answer = ask(path_of(one["href"]))
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == one["type"].partition(";")[0]
    conformance = ask("/conformance").json()["conformsTo"]
    assert "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core" in conformance
    assert ask("/collections").json()["collections"][0]["crs"] == [CRS84]


def test_the_openapi_document_is_valid_and_has_each_address(ask):
    answer = ask("/api")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json;version=3.0"
    document = answer.json()
    validate(document)
    for path in document["paths"]:
        assert ask(path.replace("{collectionId}", "slicks").replace("{featureId}", "s1")).status_code == 200
    names = {one["name"] for one in document["paths"]["/collections/{collectionId}/items"]["get"]["parameters"]}
    assert names == {"collectionId", "bbox", "datetime", "limit", "offset", "sortby", "filter", "filter-lang",
                     "filter-crs", "f"}  # fmt: skip


def test_a_collection_says_where_and_when_it_lies(ask):
    one = ask("/collections/scenes").json()
    assert one["extent"]["temporal"]["interval"] == [["2021-01-19T03:16:53.000Z", "2021-01-19T05:16:53.000Z"]]
    assert one["extent"]["spatial"]["bbox"] == [list(FOOTPRINT.bounds)]
    queryables = ask(path_of(links(one)["http://www.opengis.net/def/rel/ogc/1.0/queryables"])).json()
    assert queryables["properties"]["slick_count"]["type"] == "integer"
    assert queryables["properties"]["acquired_start"]["format"] == "date-time"
    assert "result_folder" not in queryables["properties"]


def test_features_are_those_of_the_catalogue(ask, catalogue):
    document = ask(f"{ITEMS}?limit=1000").json()
    assert document["numberMatched"] == document["numberReturned"] == 123
    expected = Catalogue.open(catalogue).slicks().set_index("id")
    for feature in document["features"]:
        row = expected.loc[feature["id"]]
        assert shape(feature["geometry"]).equals_exact(row.geometry, 1e-6)
        assert feature["properties"]["scene_id"] == row.scene_id
        assert feature["properties"]["edge_touching"] in (None, True)
        assert all(ring.is_ccw for part in shape(feature["geometry"]).geoms for ring in [part.exterior])
    assert document["features"][-1]["properties"]["area_m2"] == expected.area_m2[document["features"][-1]["id"]]
    across = ask(f"{ITEMS}/across").json()
    assert across["bbox"] == [179.9, 10, -179.95, 10.1], "as of RFC 7946 across the antimeridian"


def test_pages_neither_overlap_nor_leave_gaps(ask, found):
    everything = found("sortby=-status,confidence_mean")
    seen, address, back = [], f"{ITEMS}?limit=50&sortby=-status,confidence_mean", []
    while address:
        page = ask(address).json()
        seen += [feature["id"] for feature in page["features"]]
        back.append(links(page).get("prev"))
        address = path_of(links(page)["next"]) if "next" in links(page) else None
    assert seen == everything
    assert len(set(seen)) == 123
    assert back[0] is None
    first = ask(path_of(back[1])).json()
    assert [feature["id"] for feature in first["features"]] == everything[:50]
    assert 'rel="next"' in ask(f"{ITEMS}?limit=50").headers["link"]


def test_sorting_takes_several_attributes_in_both_directions(found):
    assert found("sortby=area_m2&bbox=2,57,2.05,57.01") == ["s0", "s1", "s2"]
    assert found("sortby=-area_m2&bbox=2,57,2.05,57.01") == ["s2", "s1", "s0"]
    assert found("sortby=%2Bstatus,-area_m2&bbox=2,57,2.05,57.01") == ["s1", "s2", "s0"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("bbox=2.021,57.001,2.029,57.009", ["s1"]),
        ("bbox=2.021,57.001,0,2.029,57.009,100", ["s1"]),
        ("bbox=179,0,-179,20", ["across"]),
        ("bbox=19,50,22,60&datetime=2021-01-19T04:16:53Z", ["east", "straße"]),
        ("bbox=19,50,22,60&datetime=2021-01-19", ["east", "straße"]),
        ("bbox=19,50,22,60&datetime=2021-01-19T04:17:18.001Z/..", []),
        ("bbox=19,50,22,60&datetime=2021-01-19T04:17:18Z/..", ["east", "straße"]),
        ("bbox=19,50,22,60&datetime=../2021-01-19T04:16:52Z", []),
        ("bbox=19,50,22,60&datetime=/2021-01-19T04:16:53Z", ["east", "straße"]),
        ("bbox=19,50,22,60&datetime=2021-01-19T05:16:53%2B01:00", ["east", "straße"]),
        ("bbox=2.0105,57.0105,2.0195,57.0195", []),
    ],
)  # fmt: skip
def test_places_and_times(found, query, ids):
    assert found(query) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("area_m2 >= 1.18e6", {"s118", "s119"}),
        ("area_m2 > 1.17e6 AND NOT id = 's119'", {"s118"}),
        ("id = 'east' OR id = 's3' AND area_m2 < 0", {"east"}),
        ("status = 'confirmed'", {"s1"}),
        ("notes LIKE '%Öl, 50 \\%'", {"s1"}),
        ("notes LIKE '%öl%'", set()),
        ("CASEI(notes) LIKE CASEI('%öL%')", {"s1"}),
        ("CASEI(id) = CASEI('STRASSE')", {"straße"}),
        ("id LIKE 'eas_'", {"east"}),
        ("id LIKE 'ea[s]t' OR id LIKE 'e*'", set()),
        ("id IN ('east', 's7', 'nobody')", {"east", "s7"}),
        ("area_m2 BETWEEN 50000 AND 60000", {"s5", "s6"}),
        ("area_m2 / 2 = 30000", {"s6"}),
        ("area_m2 = area_m2 AND id = 's2'", {"s2"}),
        ("reviewed_at IS NOT NULL", {"s1"}),
        ("edge_touching AND area_m2 < 30000", {"s1"}),
        ("edge_touching = TRUE AND area_m2 < 20000", {"s1"}),
        ("reviewed_at > '2021-01-20'", {"s1"}),
        ("acquired_start > TIMESTAMP('2021-01-19T04:00:00Z')", {"east", "straße", "across"}),
        ("T_AFTER(acquired_start, TIMESTAMP('2021-01-19T04:00:00Z'))", {"east", "straße", "across"}),
        ("T_DURING(acquired_start, INTERVAL('2021-01-19T04:00:00Z', '..'))", {"east", "straße", "across"}),
        ("T_INTERSECTS(INTERVAL(acquired_start, acquired_end), DATE('2021-01-18'))", set()),
        ("T_EQUALS(reviewed_at, TIMESTAMP('2021-01-20T14:00:00+01:00'))", {"s1"}),
        ("S_INTERSECTS(geometry, POINT(20.005 57.005))", {"east"}),
        ("S_INTERSECTS(geometry, BBOX(179, 0, -179, 20))", {"across"}),
        ("S_WITHIN(geometry, POLYGON((19 56, 22 56, 22 58, 19 58, 19 56)))", {"east", "straße"}),
        ("S_CONTAINS(geometry, POINT(20.005 57.005))", {"east"}),
        ("S_CONTAINS(POLYGON((19 56, 22 56, 22 58, 19 58, 19 56)), geometry)", {"east", "straße"}),
        ("S_DISJOINT(geometry, BBOX(-10, 0, 30, 80))", {"across"}),
        ("S_CROSSES(geometry, LINESTRING(20.005 56, 20.005 58))", {"east"}),
    ],
)  # fmt: skip
def test_filters_in_text(found, text, ids):
    assert set(found(filtered(text))) == ids


def test_filters_in_json(found):
    condition = {
        "op": "and",
        "args": [
            {"op": "<", "args": [{"property": "area_m2"}, 30000]},
            {
                "op": "s_intersects",
                "args": [{"property": "geometry"}, {"type": "Point", "coordinates": [2.025, 57.005]}],
            },
        ],
    }
    assert found(filtered(json.dumps(condition), "cql2-json")) == ["s1"]


def test_candidates_and_scenes_are_collections_too(ask, found):
    assert found(filtered("oil_probability < 0.2 AND rejected_by = 'object stage'"), "candidates") == ["c1"]
    assert found("datetime=2021-01-19T03:17:00Z", "scenes") == [SCENE.id]
    scenes = ask("/collections/scenes/items").json()["features"]
    assert [feature["properties"]["slick_count"] for feature in scenes] == [0, 3, 120]
    assert scenes[1]["geometry"] is None or shape(scenes[1]["geometry"]).area > 0


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/collections/ships/items", 404, "no such collection; there are slicks, candidates, scenes"),
        (f"{ITEMS}/nobody", 404, "no feature of this id"),
        ("/nowhere", 404, "nothing at this address"),
        (f"{ITEMS}?bbox=1,2,3", 400, "bbox takes four numbers"),
        (f"{ITEMS}?bbox=1,2,3,nan", 400, "bbox"),
        (f"{ITEMS}?bbox=1,2,3,-2", 400, "south below north"),
        (f"{ITEMS}?datetime=yesterday", 400, "datetime takes a time"),
        (f"{ITEMS}?datetime=9999-12-31T23:59:59-23:00", 400, "datetime takes a time"),
        (f"{ITEMS}?datetime=2022-01-01/2021-01-01", 400, "ends before it begins"),
        (f"{ITEMS}?limit=0", 400, "at least 1"),
        (f"{ITEMS}?limit=ten", 400, "limit is a whole number"),
        (f"{ITEMS}?offset=-1", 400, "offset is a whole number"),
        (f"{ITEMS}?offset=99999999999999999999", 400, "offset is a whole number"),
        (f"{ITEMS}?sortby=colour", 400, "no attribute 'colour'"),
        (f"{ITEMS}?sortby=result_folder", 400, "no attribute"),
        (f"{ITEMS}?f=shp", 400, "f is one of geojson, html, csv, fgb"),
        (f"{ITEMS}?colour=red", 400, "no parameter 'colour'"),
        (f"{ITEMS}?limit=1&limit=2", 400, "given twice"),
        (f"{ITEMS}?filter=a%00b", 400, "null character"),
        (f"{ITEMS}?filter-lang=ecql", 400, "filter-lang is one of"),
        (f"{ITEMS}?filter-crs=EPSG:3857", 400, "filter-crs is"),
        (f"{ITEMS}?{filtered('area_m2 >')}", 400, "not cql2-text"),
        (f"{ITEMS}?{filtered('colour = 1')}", 400, "no attribute 'colour', see queryables"),
        (f"{ITEMS}?{filtered('area_m2 = 7 OR 1')}", 400, "states no condition"),
        (f"{ITEMS}?{filtered(chr(39) + 'x' + chr(39) + ' = area_m2')}", 400, "compares a text with a number"),
        (f"{ITEMS}?{filtered('load_extension(id) = 1')}", 400, "not supported"),
        (f"{ITEMS}?{filtered('S_INTERSECTS(geometry, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))')}", 400, "empty or invalid"),
        (f"{ITEMS}?{filtered('(' * 500 + 'area_m2 = 1' + ')' * 500)}", 400, "nested too deeply"),
        (f"{ITEMS}?{filtered('not ' * 900 + 'edge_touching')}", 400, "nested too deeply"),
        (f"{ITEMS}?{filtered('area_m2 = 1' + ' - 1' * 900)}", 400, "nested too deeply"),
        (f"{ITEMS}?{filtered('id = ' + chr(39) + 'x' * 5000 + chr(39))}", 400, "longer than"),
        (f"{ITEMS}?{filtered('[' * 3000, 'cql2-json')}", 400, "nested too deeply"),
    ],
)
def test_what_is_malformed_is_refused_with_a_reason(ask, path, status, said):
    answer = ask(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert said in problem["detail"]


def test_other_methods_are_refused(ask):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = ask(ITEMS, method=method)
        assert (answer.status_code, answer.json()["title"]) == (405, "Method Not Allowed")
    assert ask(ITEMS, method="HEAD").status_code == 200


def test_the_header_accept_chooses_the_format(ask):
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for accept, media_type in (
        (browser, "text/html; charset=utf-8"),
        ("*/*", "application/geo+json"),
        ("application/json", "application/geo+json"),
        ("text/html;q=0.1, text/csv", "text/csv; charset=utf-8"),
        ("application/flatgeobuf", "application/flatgeobuf"),
        ("image/png, */*;q=0.1", "application/geo+json"),
    ):
        assert ask(ITEMS, {"Accept": accept}).headers["content-type"] == media_type
    assert ask(f"{ITEMS}?f=csv", {"Accept": browser}).headers["content-type"] == "text/csv; charset=utf-8"
    assert ask(ITEMS, {"Accept": "image/png"}).status_code == 406
    assert ask(ITEMS, {"Accept": "nonsense"}).status_code == 406


def test_every_format_has_the_same_features(ask, tmp_path):
    query = "limit=1000&bbox=2,57,2.2,57.2&sortby=id"
    features = ask(f"{ITEMS}?{query}").json()["features"]
    rows = list(csv.DictReader(io.StringIO(ask(f"{ITEMS}?{query}&f=csv").text, newline="")))
    (tmp_path / "slicks.fgb").write_bytes(ask(f"{ITEMS}?{query}&f=fgb").content)
    layer = gpd.read_file(tmp_path / "slicks.fgb").sort_values("id")
    assert [row["id"] for row in rows] == layer.id.tolist() == [feature["id"] for feature in features]
    assert layer.crs == "EPSG:4326"
    for feature, row, outline in zip(features, rows, layer.geometry, strict=True):
        assert shape(feature["geometry"]).equals_exact(outline, 1e-6)
        assert shapely.from_wkt(row["geometry"]).equals_exact(outline, 1e-6)
        assert float(row["area_m2"]) == feature["properties"]["area_m2"]
    assert layer.acquired_start.dt.tz_convert("UTC").dt.strftime("%H:%M:%S").unique().tolist() == ["03:16:53"]
    empty = ask(f"{ITEMS}?bbox=-30,-30,-29,-29&f=fgb")
    (tmp_path / "empty.fgb").write_bytes(empty.content)
    assert len(gpd.read_file(tmp_path / "empty.fgb")) == 0
    (tmp_path / "scenes.fgb").write_bytes(ask("/collections/scenes/items?f=fgb&sortby=scene_id").content)
    scenes = gpd.read_file(tmp_path / "scenes.fgb").sort_values("scene_id")
    known = [feature["geometry"] for feature in ask("/collections/scenes/items?sortby=scene_id").json()["features"]]
    assert scenes.geometry.isna().tolist() == [geometry is None for geometry in known]
    assert None in known


def test_pages_escape_what_people_wrote(ask):
    page = ask(f"{ITEMS}/s1?f=html").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Öl, 50 %" in page
    assert "<script>" not in page
    listed = ask(f"{ITEMS}?f=html&limit=7&offset=7").text
    assert "8 to 14 of 123" in listed
    assert ">Next page</a>" in listed
    assert ">Previous page</a>" in listed
    for path in ("/", "/conformance", "/api", "/collections", *(f"/collections/{id}" for id in COLLECTIONS)):
        assert re.search(r"<h1>.+</h1>", ask(f"{path}?f=html").text)


def test_a_large_limit_is_lowered_not_refused(ask):
    answer = ask(f"{ITEMS}?limit=100000000&bbox=2,57,2.05,57.01").json()
    assert answer["numberReturned"] == 3
    assert LARGEST_LIMIT == 10_000


def test_no_answer_names_a_place_on_this_machine(ask):
    for path in ("/", "/api", "/collections", ITEMS, "/collections/scenes/items", "/collections/candidates/items"):
        for form in ("json", "html"):
            assert PRIVATE not in ask(f"{path}?f={form}").text
    assert PRIVATE not in ask(f"/collections/scenes/items/{SCENE.id}?f=html").text


def test_a_catalogue_that_cannot_be_read_is_a_state_not_a_crash(catalogue, tmp_path):
    path = tmp_path / PRIVATE / "catalogue.gpkg"
    app = make_app(path, Options())

    def told(said):
        for address in (ITEMS, f"{ITEMS}/s1", "/collections"):
            answer = Client(app)(address)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.headers["retry-after"]
            assert said in answer.json()["detail"]
            assert PRIVATE not in answer.text
        assert Client(app)("/").status_code == 200

    told("no such file")
    path.parent.mkdir()
    path.write_text("no database\n" * 1000)
    told("not an SQLite database")
    shutil.copy(catalogue, path)
    assert Client(app)(ITEMS).status_code == 200, "it is there now"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE slickwatch_catalogue SET version = ?", (version() + 1,))
    told("newer version of Slickwatch")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE slickwatch_catalogue SET version = 1")
    told("older version of Slickwatch")
    path.unlink()
    told("no such file")


def test_a_writer_does_not_hold_up_readers_and_a_lock_is_said(catalogue, tmp_path):
    path = shutil.copy(catalogue, tmp_path / "catalogue.gpkg")
    ask = Client(make_app(path, Options()))
    with Database(path).writing() as writer:
        writer.execute("UPDATE slicks SET notes = 'being written'")
        assert ask(ITEMS).json()["numberMatched"] == 123
    with closing(sqlite3.connect(path, isolation_level=None)) as other:  # as GIS programs may do
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        answer = ask(ITEMS)
        assert (answer.status_code, "locked" in answer.json()["detail"]) == (503, True)
    assert ask(ITEMS).status_code == 200


texts = st.text(max_size=30) | st.sampled_from(["", "..", "1,2,3,4", "2021-01-19", "-1", "1e400", "'", "%", "NaN"])
PIECES = """
area_m2 id acquired_start geometry edge_touching 1 -1 1e308 1e400 'a' '' TRUE NULL AND OR NOT ( ) , = <> < > + - * / %
^ LIKE IN BETWEEN CASEI( S_INTERSECTS( POINT(1.0 BBOX(0,0,1,1) T_AFTER( DATE('2021-01-19') INTERVAL( .. [ ] { } \\ ' "
"""
OPERATORS = "and or not = < in like isNull between s_within t_during casei +"
pieces = st.sampled_from(PIECES.split())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.builds(
        lambda op, arguments: {"op": op, "args": arguments},
        st.sampled_from(OPERATORS.split()),
        st.lists(inner, max_size=3),
    )
    | st.builds(lambda name: {"property": name}, st.sampled_from(["area_m2", "id", "geometry", "acquired_start", "x"]))
    | st.dictionaries(st.sampled_from(["type", "coordinates", "bbox", "interval", "timestamp"]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip
queries = st.fixed_dictionaries(
    {},
    optional={
        "bbox": texts | st.lists(st.floats(), min_size=3, max_size=6).map(lambda box: ",".join(map(str, box))),
        "datetime": texts | st.datetimes().map(lambda time: f"{time.isoformat()}Z/.."),
        "limit": texts | st.integers().map(str),
        "offset": texts | st.integers().map(str),
        "sortby": texts | st.sampled_from(["-area_m2", "id,id", "geom", "fid"]),
        "filter": texts | st.lists(pieces, max_size=12).map(" ".join) | json_values.map(json.dumps),
        "filter-lang": st.sampled_from(["cql2-text", "cql2-json"]) | texts,
        "f": st.sampled_from(["json", "html", "csv", "fgb"]) | texts,
        "colour": texts,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(queries, st.sampled_from([*COLLECTIONS, "ships"]), texts)
@example(
    {"filter": '{"op":"t_during","args":[{"interval":[1,2]},{"bbox":[]}]}', "filter-lang": "cql2-json"}, "slicks", ""
)
def test_whatever_is_asked_the_service_does_not_fail(ask, query, collection, id):
    query = {name: value.encode(errors="replace").decode() for name, value in query.items()}
    answer = ask(f"/collections/{collection}/items", params=query)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert answer.json()["status"] == answer.status_code
    one = ask(f"/collections/{collection}/items/{quote(id.encode(errors='replace').decode(), safe='')}")
    assert one.status_code in (200, 400, 404), one.text


def test_the_spatial_index_finds_what_a_look_at_every_slick_finds(catalogue, found):
    every = Catalogue.open(catalogue).slicks()
    for wanted in (box(2.1, 57, 2.31, 57.013), box(2.015, 57, 2.6, 57.015), box(-180, -90, 180, 90)):
        expected = every[shapely.intersects(every.geometry.to_numpy(), wanted)].id
        assert set(found(f"bbox={','.join(map(str, wanted.bounds))}")) == set(expected)
