"""The catalogue's file: readers beside a writer, other programs, damage, and whether its indexes are used."""

import json
import re
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pyogrio
import pytest
import shapely
from shapely.geometry import MultiPolygon, box

from ingest.errors import StorageError, UnreadableInput, UsageError
from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS
from outputs.catalogue import Catalogue, schema
from outputs.catalogue.database import Database
from outputs.catalogue.rows import CANDIDATE_EXTRAS, COVERAGE_COLUMNS, SCENE_COLUMNS
from outputs.catalogue.selection import Selection, select_rows
from outputs.coverage import Coverage
from outputs.style import LOOKS, SCENES_QML
from outputs.vectors import write_geopackage
from tests.outputs.test_qgis import PYTHON, with_qgis
from tests.support.catalogue_results import (
    FOOTPRINT,
    OTHER_MODEL,
    SCENE,
    flaws,
    found,
    record,
    scene_number,
    squares,
    table,
)
from tests.support.full_disk import full_after


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Two scenes, one of them analysed twice, one clean."""
    catalogue = Catalogue.open(tmp_path_factory.mktemp("filled") / "catalogue.gpkg")
    slicks = found("run-1")
    catalogue.publish(record("run-1", slick_count=3), SCENE, FOOTPRINT, slicks)
    again = found("run-2").iloc[:2]
    catalogue.publish(record("run-2", slick_count=2, config_hash="decaf"), SCENE, FOOTPRINT, again)
    clean = scene_number(1)
    catalogue.publish(record("run-3", clean), clean, FOOTPRINT, table("run-3", {}))
    return catalogue.path


@pytest.fixture
def copy(filled, tmp_path):
    return shutil.copy(filled, tmp_path / "catalogue.gpkg")


def ask(path, query, *values):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query, values).fetchall()


def test_readers_and_the_writer_do_not_wait_for_each_other(copy):
    catalogue = Catalogue.open(copy, lock_timeout_s=0.05)
    database = Database(copy, 0.05)
    with database.reading() as reader:
        before = tuple(reader.execute("SELECT count(*) FROM slicks").fetchone())
        catalogue.publish(record("run-9", slick_count=1), SCENE, None, table("run-9", squares(1)))
        assert tuple(reader.execute("SELECT count(*) FROM slicks").fetchone()) == before, "one state for one reader"
    assert len(catalogue.slicks()) == 1


def test_a_second_writer_waits_its_turn_and_says_so_when_it_takes_too_long(copy):
    with Database(copy).writing() as first:
        first.execute("SELECT 1")
        with pytest.raises(StorageError, match=r"catalogue\.gpkg: locked by another process; wait"):
            Catalogue.open(copy, lock_timeout_s=0.05).review("x", "confirmed", "Ada")
        patient = Catalogue.open(copy, lock_timeout_s=30)
        told = []
        waiting = threading.Thread(target=lambda: told.append(publish_one(patient)))
        waiting.start()
    waiting.join()
    assert told[0].current
    assert flaws(copy) == []


def publish_one(catalogue):
    return catalogue.publish(record("run-9", slick_count=1), SCENE, None, table("run-9", squares(1)))


def test_gdal_reads_every_layer(filled, copy):
    layers = dict(pyogrio.list_layers(copy).tolist())
    assert {name for name, kind in layers.items() if kind == "MultiPolygon"} == {
        "slicks", "candidates", "scenes", "former_slicks", "former_candidates", "former_scenes",
    }  # fmt: skip
    assert {"runs", "reviews", "layer_styles"} <= set(layers)
    assert "slickwatch_catalogue" not in layers
    for layer, count in (("slicks", 2), ("former_slicks", 3), ("scenes", 2), ("former_scenes", 0)):
        info = pyogrio.read_info(copy, layer=layer)
        assert (info["crs"], info["geometry_type"], info["features"]) == ("EPSG:4326", "MultiPolygon", count)
    assert pyogrio.read_info(copy, layer="runs")["features"] == 3
    theirs = pyogrio.read_dataframe(copy, layer="slicks").sort_values("id")
    ours = Catalogue.open(filled).slicks()
    assert theirs.id.tolist() == ours.id.tolist()
    assert shapely.to_wkb(theirs.geometry.array).tolist() == shapely.to_wkb(ours.geometry.array).tolist()
    assert theirs.area_m2.tolist() == ours.area_m2.tolist()
    assert theirs.edge_touching.tolist() == ours.edge_touching.tolist()
    assert set(theirs.acquired_start.astype("datetime64[ms, UTC]")) == set(ours.acquired_start)
    one = ours.geometry.iloc[1]
    near = pyogrio.read_dataframe(copy, layer="slicks", bbox=one.bounds)
    assert near.id.tolist() == Catalogue.open(filled).slicks(Selection(one.bounds)).id.tolist() == [ours.id.iloc[1]]
    assert box(*pyogrio.read_info(copy, layer="slicks", force_total_bounds=True)["total_bounds"]).covers(
        shapely.union_all(ours.geometry.to_numpy())
    )
    assert pyogrio.read_dataframe(copy, layer="scenes").geometry.iloc[0].equals(MultiPolygon([FOOTPRINT]))


def test_the_columns_are_those_of_the_attributes(filled):
    def columns(layer):
        return [name for (name,) in ask(filled, f"SELECT name FROM pragma_table_info('{layer}')")][2:]

    attributes = [attribute.name for attribute in (*ATTRIBUTES, *SLICK_EXTRAS)]
    assert columns("slicks") == columns("former_slicks") == attributes
    further = [attribute.name for attribute in CANDIDATE_EXTRAS]
    assert columns("candidates") == columns("former_candidates") == attributes + further
    assert columns("scenes") == columns("former_scenes") == [attribute.name for attribute in SCENE_COLUMNS]
    styles = ask(filled, "SELECT f_table_name, useAsDefault FROM layer_styles ORDER BY 1")
    layers = ("candidates", "former_candidates", "former_scenes", "former_slicks", "scenes", "slicks")
    assert styles == [(layer, 1) for layer in layers]
    assert ask(filled, "PRAGMA application_id") == [(int.from_bytes(b"GPKG", "big"),)]
    assert ask(filled, "PRAGMA user_version") == [(10300,)]
    assert ask(filled, "PRAGMA foreign_key_check") == []


def ogrinfo_runs():
    """Whether GDAL's program is here with the libraries that it needs; a package half installed lacks some."""
    found = shutil.which("ogrinfo")
    return found is not None and subprocess.run([found, "--version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not ogrinfo_runs(), reason="ogrinfo does not run here (Debian: apt-get install gdal-bin)")
def test_another_gdal_finds_it_sound_and_its_edits_are_journalled(copy):
    def ogrinfo(*arguments):
        return subprocess.run(["ogrinfo", *arguments], capture_output=True, text=True, timeout=60, check=True)

    told = ogrinfo("-ro", "-so", "-al", str(copy))
    assert told.stderr == ""
    id = Catalogue.open(copy).slicks().id.iloc[0]
    ogrinfo(str(copy), "-sql", f"UPDATE slicks SET status = 'rejected', reviewer = 'Ada' WHERE id = '{id}'")
    catalogue = Catalogue.open(copy)
    assert [(review.status, review.reviewer) for review in catalogue.reviews(id)] == [("rejected", "Ada")]
    assert catalogue.reviewed().id.tolist() == [id]
    refused = ogrinfo(str(copy), "-sql", "UPDATE slicks SET status = 'perhaps'")
    assert "status must be unreviewed, confirmed or rejected" in refused.stderr
    ogrinfo(str(copy), "-sql", f"DELETE FROM slicks WHERE id <> '{id}'")
    assert catalogue.slicks(Selection((2, 57, 4, 59))).id.tolist() == [id]
    publish_one(catalogue)
    assert catalogue.slicks(Selection((2, 57, 4, 59))).id.tolist() == ["s0"]


def test_qgis_shows_it_with_its_style_and_reviews_in_it_are_journalled(copy, tmp_path):
    if not PYTHON.exists() or with_qgis("-c", "import qgis.core", home=tmp_path).returncode:
        pytest.skip("QGIS cannot be imported by /usr/bin/python3 (Debian: apt-get install python3-qgis)")
    id = Catalogue.open(copy).slicks().id.iloc[0]
    script = str(Path(__file__).parents[2] / "support" / "qgis_catalogue.py")
    run = with_qgis(script, str(copy), id, home=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "only be partially supported" not in run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])
    assert all(layer["valid"] and layer["count"] == layer["there"] for layer in seen["layers"].values())
    counts = {name: layer["count"] for name, layer in seen["layers"].items()}
    assert counts == {"slicks": 2, "scenes": 2, "former_slicks": 3, "runs": 3, "reviews": 0}
    for name, renderer, entries in (("slicks", "RuleRenderer", len(LOOKS)), ("scenes", "singleSymbol", 1)):
        layer = seen["layers"][name]
        assert (layer["crs"], layer["renderer"], layer["legend"]) == ("EPSG:4326", renderer, entries)
        assert 2.0 <= layer["extent"][0] < layer["extent"][1] < 4.6
    assert seen["saved"]
    catalogue = Catalogue.open(copy)
    assert catalogue.slicks(Selection(status="confirmed")).id.tolist() == [id]
    assert {(review.status, review.reviewer) for review in catalogue.reviews(id)} == {("confirmed", "Ada")}
    assert publish_one(catalogue).superseded == ("run-2",)
    assert flaws(copy) == []


def test_a_place_is_looked_up_in_the_spatial_index(tmp_path):
    catalogue = Catalogue.open(tmp_path / "catalogue.gpkg")
    for number in range(10):
        scene, run = scene_number(number), f"run-{number}"
        outlines = squares(500, west=2.0 + number, prefix=f"{number}-")
        catalogue.publish(record(run, scene, 500), scene, None, table(run, outlines, scene))
    wanted = box(3.4, 57.03, 3.9, 57.095)
    every = catalogue.slicks()
    assert len(every) == 5000
    expected = every[shapely.intersects(every.geometry.to_numpy(), wanted)]
    assert 0 < len(expected) < 500
    assert catalogue.slicks(Selection(wanted.bounds)).id.tolist() == expected.id.tolist()
    for selection in (Selection(wanted.bounds), Selection((179, 57, 3.0, 57.1), current=False)):
        asked = []
        with Database(catalogue.path).reading() as connection:
            connection.set_trace_callback(asked.append)
            select_rows(connection, "slicks", selection, "id, run_id", 10)
            connection.set_trace_callback(None)
            (query,) = {one for one in asked if "ORDER BY acquired_start" in one}
            plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert any(step.startswith("SCAN rtree_slicks_geom VIRTUAL TABLE INDEX 2:") for step in plan), plan
        assert any(step.startswith("SEARCH slicks USING INTEGER PRIMARY KEY") for step in plan), plan
        assert not any(step.startswith("SCAN slicks") for step in plan), plan
    assert flaws(catalogue.path) == []


def test_the_journal_is_only_added_to(copy):
    catalogue = Catalogue.open(copy)
    catalogue.review(catalogue.slicks().id.iloc[0], "confirmed", "Ada")
    with closing(sqlite3.connect(copy)) as database:
        for change in ("UPDATE reviews SET status = 'rejected'", "DELETE FROM reviews"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                database.execute(change)


def test_another_file_is_no_catalogue(tmp_path):
    text, database, slicks = tmp_path / "a.gpkg", tmp_path / "b.gpkg", tmp_path / "c.gpkg"
    text.write_text("type,of\n" * 1000)
    ask(database, "CREATE TABLE t (x)")
    write_geopackage(found(), slicks)
    for path, told in (
        (text, "not an SQLite database"),
        (database, "not a catalogue of Slickwatch"),
        (slicks, "not a catalogue of Slickwatch"),
    ):
        content = path.read_bytes()
        with pytest.raises(UnreadableInput, match=told) as refusal:
            Catalogue.open(path)
        assert "\n" not in str(refusal.value)
        assert path.read_bytes() == content
    with pytest.raises(UsageError, match="no such catalogue"):
        Catalogue.open(tmp_path / "missing.gpkg", create=False)
    with pytest.raises(StorageError):
        Catalogue.open(tmp_path)


def test_a_damaged_file_is_said_to_be_so(copy):
    content = bytearray(copy.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    copy.write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"catalogue\.gpkg: the file is damaged; restore a backup"):
        Catalogue.open(copy).slicks()


def test_a_newer_catalogue_is_refused_and_an_older_one_upgraded(copy, monkeypatch):
    upgrades = (*schema._UPGRADES, ('ALTER TABLE runs ADD COLUMN "mood" TEXT',))
    monkeypatch.setattr(schema, "_UPGRADES", upgrades)
    Catalogue.open(copy)
    assert len(Catalogue.open(copy).slicks()) == 2
    assert ("mood",) in ask(copy, "SELECT name FROM pragma_table_info('runs')")
    assert ask(copy, "SELECT version FROM slickwatch_catalogue") == [(len(upgrades) + 1,)]
    monkeypatch.undo()
    with pytest.raises(UnreadableInput, match=r"newer version of Slickwatch \(catalogue \d\); upgrade Slickwatch"):
        Catalogue.open(copy)


def test_a_catalogue_of_version_1_gets_the_columns_of_coverage(tmp_path, monkeypatch):
    path, coverage = tmp_path / "old.gpkg", Coverage(0.0, 60.0, 40.0, None)
    names = {column.name for column in COVERAGE_COLUMNS}
    former = tuple(column for column in SCENE_COLUMNS if column.name not in names)
    tip = '"scene_id" %], [% "slick_count" %] slicks</mapTip>'
    with monkeypatch.context() as old:
        old.setattr(schema, "_UPGRADES", ())
        old.setattr(schema, "_add_candidates", lambda connection: None)
        old.setattr(schema, "SCENE_COLUMNS", former)
        old.setattr(schema, "SCENES_QML", re.sub(r'"scene_id" %\].*</mapTip>', tip, SCENES_QML))
        schema.create_file(path)
    assert tip in ask(path, "SELECT styleQML FROM layer_styles WHERE f_table_name = 'scenes'")[0][0]
    catalogue = Catalogue.open(path)
    catalogue.publish(record("run-1"), SCENE, FOOTPRINT, table("run-1", {}))
    assert catalogue.scenes().nothing_to_see.isna().all()
    catalogue.publish(record("run-2", coverage=coverage), SCENE, FOOTPRINT, table("run-2", {}))  # the same again
    (scene,) = catalogue.scenes().to_dict("records")
    assert (scene["run_id"], scene["land_km2"]) == ("run-1", 60.0)
    assert scene["nothing_to_see"] == coverage.nothing_to_see
    assert ask(path, "SELECT styleQML FROM layer_styles WHERE f_table_name = 'scenes'") == [(SCENES_QML,)]
    assert set(pyogrio.read_info(path, layer="former_scenes")["fields"]) >= names
    described = set(ask(path, "SELECT table_name, column_name FROM gpkg_data_columns"))
    assert {("scenes", "sea_km2"), ("former_candidates", "oil_probability"), ("slicks", "former_status")} <= described
    candidates = pyogrio.read_info(path, layer="candidates")
    assert (candidates["crs"], candidates["geometry_type"], candidates["features"]) == ("EPSG:4326", "MultiPolygon", 0)
    assert flaws(path) == []


def test_a_full_disk_is_a_storage_error_and_nothing_is_half_written(copy):
    catalogue, before = Catalogue.open(copy), copy.read_bytes()
    changes = {"weights_sha256": OTHER_MODEL}
    with full_after(len(before) - 4096), pytest.raises(StorageError) as failure:
        catalogue.publish(record("run-9", slick_count=900, **changes), SCENE, None, table("run-9", squares(900)))
    assert "\n" not in str(failure.value)
    assert flaws(copy) == []
    assert len(catalogue.slicks()) == 2
    assert len(catalogue.runs()) == 3


def test_no_room_to_begin_leaves_nothing(tmp_path):
    with full_after(20_000), pytest.raises(StorageError):
        Catalogue.open(tmp_path / "catalogue.gpkg")
    assert not (tmp_path / "catalogue.gpkg").exists()
    assert len(Catalogue.open(tmp_path / "catalogue.gpkg").slicks()) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["catalogue.gpkg"]
