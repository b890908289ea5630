"""`slickwatch slicks`: what it prints, writes and refuses."""

import csv
import io
import json
from datetime import UTC, datetime

import pyogrio
import pytest
from shapely import from_wkt
from shapely.geometry import shape

from flows.cli import app
from ingest.errors import SlickwatchError
from outputs.attributes import ATTRIBUTES
from outputs.catalogue import Catalogue, Selection
from outputs.coverage import Coverage
from tests.support.catalogue_results import FOOTPRINT, OTHER_MODEL, SCENE, found, record, scene_number, squares, table

SUFFIXES = ".geojson, .gpkg, .fgb, .parquet, .csv"
HEADER = ["id", "acquired", "(UTC)", "status", "class", "confidence", "level", "area", "km2", "latitude", "longitude"]
NOW = datetime(2021, 1, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def catalogue(tmp_path):
    catalogue = Catalogue.open(tmp_path / "catalogue.gpkg")
    catalogue.publish(
        record("run-1", slick_count=3), SCENE, FOOTPRINT, found(), result_folder=tmp_path / "results", now=NOW
    )
    later = scene_number(5)
    catalogue.publish(record("run-2", later, 2), later, None, table("run-2", squares(2, west=20.0), later), now=NOW)
    return catalogue


@pytest.fixture
def slicks(catalogue, capsys):
    """Run a command on the catalogue; returns what it prints."""

    def run(*arguments):
        app(["slicks", *map(str, arguments), "--catalogue", str(catalogue.path)], standalone_mode=False)
        return capsys.readouterr().out

    return run


def ids(listed):
    """Of the slicks in a list for people."""
    return [line.split()[0] for line in listed.splitlines()[1:] if line != "0 slicks"]


def test_the_list_is_a_line_a_slick_the_latest_first(slicks, catalogue):
    header, *lines = slicks("list").splitlines()
    assert [line.split()[0] for line in lines] == catalogue.slicks().id.tolist()
    assert header.split() == HEADER
    *words, area, latitude, longitude = lines[0].split()
    assert words == ["s0", "2021-01-19", "03:21:53", "unreviewed", "oil", "-", "High"]
    assert (float(area), float(latitude), float(longitude)) == (1.0, 57.005, 20.005)
    assert ids(slicks("list", "--bbox", "19,56,21,58", "--limit", 1)) == ["s0"]
    assert ids(slicks("list", "--since", "2021-01-19T03:20")) == catalogue.slicks().id.tolist()[:2]
    assert ids(slicks("list", "--until", "2021-01-19T03:20")) == catalogue.slicks().id.tolist()[2:]


@pytest.mark.parametrize("wanted", [("--status", "Confirmed"), ("--model", "saross-2"), ("--minimum-area", "900")])
def test_a_list_of_nothing_has_headers_and_says_so(slicks, wanted):
    header, count = slicks("list", *wanted).splitlines()
    assert header.split() == HEADER
    assert count == "0 slicks"
    assert slicks("list", *wanted, "--json") == "[]\n"
    assert slicks("list", *wanted, "--csv").count("\n") == 1


def test_json_csv_and_geojson_tell_the_same(slicks, catalogue, tmp_path):
    listed = json.loads(slicks("list", "--json"))
    rows = list(csv.DictReader(io.StringIO(slicks("list", "--csv"))))
    assert slicks("list", "--geojson", tmp_path / "out.txt") == f"{tmp_path / 'out.txt'}\n"
    features = json.loads((tmp_path / "out.txt").read_text())["features"]
    ids = catalogue.slicks().id.tolist()
    assert [row["id"] for row in listed] == [row["id"] for row in rows] == [one["id"] for one in features] == ids
    assert {attribute.name for attribute in ATTRIBUTES} < set(listed[0])
    for one, row, feature in zip(listed, rows, features, strict=True):
        assert one.pop("bbox") == feature["bbox"] == pytest.approx(shape(feature["geometry"]).bounds)
        assert one == feature["properties"]
        assert row == {name: "" if value is None else str(value) for name, value in one.items()}
    assert listed[2]["acquired_start"] == "2021-01-19T03:16:53.000Z"
    assert listed[2]["edge_touching"] is False
    assert listed[2]["wind_speed_ms"] is None
    assert json.loads(slicks("list", "--status", "rejected", "--json")) == []


def test_a_review_is_told_listed_and_shown(slicks, catalogue):
    assert slicks("review", "s1", "rejected", "--reviewer", "Ada", "--notes", "low\nwind") == "s1: rejected by Ada\n"
    assert ids(slicks("list", "--status", "rejected")) == ["s1"]
    shown = slicks("show", "s1")
    values = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert values["status"] == "rejected"
    assert values["notes"] == "low wind"
    assert values["run_id"] == "run-2"
    assert values["state"] == "current"
    assert "blake3:00" in values["inputs"]
    assert values["durations_s"] == "predict 100.5 s"
    assert not any(word in shown for word in ("{", "}", "None", "True", "False", "nan"))
    assert "wind_speed_ms" not in values
    assert values["review"].endswith("rejected Ada low wind")
    document = json.loads(slicks("show", "s1", "--json"))
    assert document["slick"]["notes"] == "low\nwind"
    assert shape(document["geometry"]).bounds == catalogue.slick("s1").geometry.iloc[0].bounds
    assert document["run"]["durations_s"] == {"predict": 100.5}
    assert [review["status"] for review in document["reviews"]] == ["rejected"]
    slicks("review", "s1", "unreviewed", "--reviewer", "Ada")
    assert ids(slicks("list", "--status", "rejected")) == []


def test_a_scene_is_shown_with_what_could_be_seen_of_it(slicks, catalogue, capsys):
    blank = scene_number(7)
    coverage = Coverage(0.0, 75.0, 25.0, None)
    nothing = record("run-7", blank, coverage=coverage, flags=("nothing to see: all of it",))
    catalogue.publish(nothing, blank, None, table("run-7", {}, blank), now=NOW)
    shown = dict(line.split(maxsplit=1) for line in slicks("show", blank.id).splitlines())
    assert shown["result"] == "nothing to see (75 % land, 25 % no data, 0 % calm sea)"
    assert (shown["land_km2"], shown["run_id"]) == ("75.0", "run-7")
    assert json.loads(slicks("show", blank.id, "--json"))["run"]["flags"] == ["nothing to see: all of it"]
    assert json.loads(slicks("show", scene_number(5).id, "--json"))["scene"]["result"] == "2 slicks"
    app(["slicks", "list", "--since", "2021-01-19T03:23", "--catalogue", str(catalogue.path)], standalone_mode=False)
    assert capsys.readouterr().err == "1 scene analysed, 1 of them with nothing to see\n"


def test_slicks_are_selected_by_area_confidence_class_and_place_in_list_and_export(slicks, catalogue, tmp_path):
    known = catalogue.slicks()
    real = known[known.confidence_mean.notna()]  # the three of unequal area and confidence
    area, confidence = sorted(real.area_m2 / 1e6)[1], sorted(real.confidence_mean)[1]
    cases = {
        ("--minimum-area", area): known.area_m2 >= area * 1e6,
        ("--maximum-area", area): known.area_m2 <= area * 1e6,
        ("--minimum-confidence", confidence): known.confidence_mean >= confidence,
        ("--class", "Oil"): known["class"] == "oil",
        ("--class", "look-alike"): known["class"] == "look-alike",
        ("--minimum-area", area, "--bbox", "19,56,21,58"): (known.area_m2 >= area * 1e6) & (known.centroid_lon > 19),
    }
    for options, wanted in cases.items():
        expected = known.id[wanted].tolist()
        assert ids(slicks("list", *options)) == expected, options
        file = tmp_path / "out.csv"
        assert slicks("export", file, *options) == f"{file}: {len(expected)} slick{'s' * (len(expected) != 1)}\n"
        assert [row["id"] for row in csv.DictReader(io.StringIO(file.read_text()))] == expected
    assert 0 < sum(known.area_m2 >= area * 1e6) < len(known)


def test_slicks_are_selected_by_the_area_of_a_watch(slicks, catalogue, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = '[[watch]]\nname = "{}"\nsource = "inbox"\n{}'
    (tmp_path / "slickwatch.toml").write_text(
        '[sources.inbox]\nfolder = "inbox"\n' + watch.format("east", 'area = "19,56,21,58"\n') + watch.format("all", "")
    )
    known = catalogue.slicks()
    assert ids(slicks("list", "--watch", "east")) == known.id[known.centroid_lon > 19].tolist()
    assert ids(slicks("list", "--watch", "all")) == known.id.tolist()
    assert ids(slicks("list", "--watch", "east", "--bbox", "2.9,57.9,3.1,58.1")) == []
    with pytest.raises(SlickwatchError, match="no watch 'west' in the settings; choose from east, all"):
        slicks("list", "--watch", "west")


def test_csv_holds_all_attributes_and_the_outlines_as_wkt(slicks, catalogue, tmp_path):
    file = tmp_path / "out.CSV"
    slicks("review", "s0", "confirmed", "--reviewer", "Ada", "--notes", 'a "trail",\nlong')
    assert slicks("export", file) == f"{file}: 5 slicks\n"
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(file.read_bytes().decode()))}
    for listed in json.loads(slicks("list", "--json")):
        row, outline = rows[listed["id"]], catalogue.slick(listed.pop("id")).geometry.iloc[0]
        del listed["bbox"]
        assert {name: "" if value is None else str(value) for name, value in listed.items()}.items() <= row.items()
        assert from_wkt(row["wkt"]).equals_exact(outline, 1e-6)


def test_superseded_slicks_are_shown_only_when_asked_for(slicks, catalogue):
    later = scene_number(5)
    slicks("review", "s0", "confirmed", "--reviewer", "Ada")
    new = table("run-3", squares(1, west=20.0, prefix="t"), later, weights=OTHER_MODEL)
    catalogue.publish(record("run-3", later, 1, weights_sha256=OTHER_MODEL), later, None, new)
    assert slicks("list", "--limit", 1).endswith("  once confirmed\n")
    assert slicks("list", "--limit", 1).splitlines()[0].endswith("longitude")
    told = [line for line in slicks("list", "--superseded").splitlines() if line.startswith("s") and " oil " in line]
    assert len(told) == 2
    assert all(line.endswith("superseded by run-3") for line in told)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb"])
def test_export_writes_what_is_asked_for_in_the_format_of_the_suffix(slicks, catalogue, tmp_path, suffix):
    file = tmp_path / f"out{suffix}"
    file.write_text("former")
    box = (2.9, 57.9, 3.1, 58.1)
    assert slicks("export", file, "--bbox", ",".join(map(str, box))) == f"{file}: 3 slicks\n"
    read, expected = (
        pyogrio.read_dataframe(file, layer=0).set_index("id"),
        catalogue.slicks(Selection(box)).set_index("id"),
    )
    assert set(read.index) == set(expected.index)
    assert pyogrio.read_info(file, layer=0)["crs"] == "EPSG:4326"
    for id, outline in expected.geometry.items():
        assert read.geometry[id].equals_exact(outline, 1e-7)
    assert read.confidence_mean.sort_index().tolist() == pytest.approx(expected.confidence_mean.sort_index().tolist())
    assert slicks("export", file, "--status", "confirmed") == f"{file}: 0 slicks\n"
    assert pyogrio.read_info(file, layer=0, force_feature_count=True)["features"] == 0


def test_geoparquet_where_its_library_is(slicks, catalogue, tmp_path):
    geopandas, file = pytest.importorskip("geopandas"), tmp_path / "out.parquet"
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(SlickwatchError, match=r"GeoParquet needs pyarrow; pip install pyarrow, or use \.geojson"):
            slicks("export", file)
        assert not file.exists()
    else:
        slicks("export", file)
        assert geopandas.read_parquet(file).id.tolist() == catalogue.slicks().id.tolist()


def test_what_is_wrong_is_told_in_one_line(slicks, catalogue, tmp_path):
    content = catalogue.path.read_bytes()
    for arguments, code, told in (
        (("list", "--bbox", "1,2,3"), 2, "--bbox: '1,2,3' is not four numbers; give west,south,east,north in degrees"),
        (("list", "--since", "soon"), 2, "soon: not a time; give"),
        (("list", "--status", "maybe"), 2, "maybe: invalid status; use unreviewed, confirmed, rejected"),
        (("show", "nonsense"), 2, "nonsense: no such slick in the catalogue; see slickwatch slicks list"),
        (("review", "s0", "perhaps", "--reviewer", "Ada"), 2, "perhaps: invalid status"),
        (("export", tmp_path / "out.shp"), 2, f"{tmp_path / 'out.shp'}: unknown file suffix; use {SUFFIXES}"),
        (("export", tmp_path / "out"), 2, f"{tmp_path / 'out'}: unknown file suffix; use {SUFFIXES}"),
        (("list", "--class", "ship"), 2, "ship: not a class of slicks; use oil or look-alike"),
        (("list", "--minimum-area", "3", "--maximum-area", "2"), 2, "area: nothing is between 3.0 and 2.0; give"),
        (
            ("export", tmp_path / "o.csv", "--since", "2026-02-01", "--until", "2026-01-01"),
            2,
            "time: nothing is between",
        ),
        (("export", catalogue.path), 2, f"{catalogue.path}: is the catalogue itself; choose another file"),
        (("list", "--geojson", catalogue.path), 2, f"{catalogue.path}: is the catalogue itself; choose another file"),
    ):
        with pytest.raises(SlickwatchError) as failure:
            slicks(*arguments)
        assert str(failure.value).startswith(told)
        assert "\n" not in str(failure.value)
        assert failure.value.exit_code == code
    assert catalogue.path.read_bytes() == content


def test_the_catalogue_is_that_of_the_settings(catalogue, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLICKWATCH_MONITOR__CATALOGUE", str(catalogue.path))
    app(["slicks", "list", "--limit", "1"], standalone_mode=False)
    assert ids(capsys.readouterr().out) == ["s0"]
    monkeypatch.setenv("SLICKWATCH_MONITOR__CATALOGUE", str(tmp_path / "missing.gpkg"))
    with pytest.raises(SlickwatchError, match=r"missing\.gpkg: no such catalogue; set --catalogue"):
        app(["slicks", "list"], standalone_mode=False)
    assert not (tmp_path / "missing.gpkg").exists()
