"""The catalogue over all scenes: what is published, again, in place of what, and what analysts say of it."""

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, box

from ingest.errors import UsageError
from ingest.ledger.supersession import CURRENT, Standing
from outputs.catalogue import Catalogue, Selection
from outputs.catalogue.blobs import bounds, from_blob, is_empty, to_blob
from outputs.catalogue.database import Database
from outputs.options import SlickOptions
from outputs.slicks import candidate_table
from tests.support.catalogue_results import (
    FOOTPRINT,
    OTHER_MODEL,
    SCENE,
    STARTED,
    flaws,
    found,
    record,
    scene_number,
    squares,
    table,
)

NOW = datetime(2021, 1, 20, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return Catalogue.open(tmp_path_factory.mktemp("empty") / "catalogue.gpkg").path


@pytest.fixture
def catalogue(empty, tmp_path):
    return Catalogue.open(shutil.copy(empty, tmp_path / "catalogue.gpkg"))


def publish(catalogue, run_id, outlines, scene=SCENE, supersedes=(), now=NOW, yields_to=None, **changes):
    standings = {id: Standing("superseded", scene.id) for id in supersedes}
    standings[scene.id] = Standing("superseded", yields_to.id) if yields_to else CURRENT
    weights, model = changes.get("weights_sha256", "ab" * 32), changes.get("model_id", "saross-1")
    slicks = table(run_id, outlines, scene, model, weights)
    return catalogue.publish(
        record(run_id, scene, len(outlines), **changes), scene, FOOTPRINT, slicks, standings=lambda: standings, now=now
    )


corners = st.floats(-180, 180) | st.sampled_from([-180.0, 0.0, 1 / 3])


@given(st.lists(st.tuples(corners, st.floats(-90, 89)), min_size=1, max_size=4))
def test_a_geometry_comes_back_with_its_bounds(places):
    geometry = MultiPolygon([box(x, y, x + 0.5, y + 0.25) for x, y in places])
    blob = to_blob(geometry)
    assert shapely.to_wkb(from_blob(blob)) == shapely.to_wkb(geometry)
    assert bounds(blob) == geometry.bounds
    without = blob[:3] + bytes([blob[3] & ~0b1110]) + blob[8 - 4 : 8] + blob[40:]
    assert bounds(without) == geometry.bounds, "programs may leave the bounds out"
    assert not is_empty(blob)


def test_only_polygons_are_kept():
    assert to_blob(None) is None
    assert to_blob(shapely.Polygon()) is None
    with pytest.raises(ValueError, match="Point"):
        to_blob(Point(1, 2))


def test_slicks_come_back_as_they_were_found(catalogue, tmp_path):
    slicks = found()
    run = record("run-1", slick_count=len(slicks))
    assert len(slicks) == 3
    published = catalogue.publish(run, SCENE, FOOTPRINT, slicks, result_folder=tmp_path / "results" / SCENE.id, now=NOW)
    assert (published.repeated, published.current, published.superseded) == (False, True, ())
    back = catalogue.slicks()
    expected = slicks.sort_values("id").reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(back[expected.columns].drop(columns="geometry")),
                                  pd.DataFrame(expected.drop(columns="geometry")))  # fmt: skip
    assert np.array_equal(shapely.to_wkb(back.geometry), shapely.to_wkb(expected.geometry))
    assert back.crs == "EPSG:4326"
    assert set(back.catalogued_at) == {pd.Timestamp(NOW)}
    (entry,) = catalogue.runs()
    assert entry.record == run
    assert (entry.state, entry.result_folder) == ("current", (tmp_path / "results" / SCENE.id).resolve())
    (scene,) = catalogue.scenes().to_dict("records")
    assert scene["scene_id"] == SCENE.id
    assert scene["polarisations"] == "VV+VH"
    assert scene["slick_count"] == 3
    assert scene["geometry"].equals(FOOTPRINT)
    assert flaws(catalogue.path) == []


def test_a_clean_scene_is_in_the_catalogue_too(catalogue):
    publish(catalogue, "run-1", {})
    publish(catalogue, "run-2", {}, scene_number(1))
    assert len(catalogue.slicks()) == 0
    assert catalogue.slicks().crs == "EPSG:4326"
    assert catalogue.scenes().scene_id.tolist() == [scene_number(1).id, SCENE.id]


def test_a_footprint_that_is_not_given_is_the_scenes_own(catalogue):
    catalogue.publish(record("a"), replace(SCENE, footprint=FOOTPRINT), None, table("a", {}))
    catalogue.publish(record("b", scene_number(1)), scene_number(1), None, table("b", {}))
    own, unknown = catalogue.scenes().sort_values("scene_id").geometry
    assert own.equals(FOOTPRINT)
    assert unknown is None


def test_the_same_result_again_is_not_doubled(catalogue):
    outlines = squares(3)
    first = publish(catalogue, "run-1", outlines)
    same = publish(catalogue, "run-1", outlines, now=LATER)
    rerun = publish(catalogue, "run-2", outlines, now=LATER, ended_at=STARTED + timedelta(hours=5))
    for again in (same, rerun):
        assert again == replace(first, repeated=True)
    assert set(catalogue.slicks().run_id) == {"run-1"}
    assert set(catalogue.slicks(Selection(current=False)).catalogued_at) == {pd.Timestamp(NOW)}
    (run,) = catalogue.runs()
    assert run.repeated_at == STARTED + timedelta(hours=5)
    assert flaws(catalogue.path) == []


@pytest.mark.parametrize(
    ("changes", "outlines", "why"),
    [
        ({"weights_sha256": OTHER_MODEL, "model_id": "saross-2"}, squares(2, prefix="t"), "different model, saross-2"),
        ({"config_hash": "decaf"}, squares(3), "different options"),
        ({}, squares(2), "different slicks from the same model and options"),
        ({"weights_sha256": OTHER_MODEL}, {}, "different model, saross-1"),
    ],
)
def test_another_result_takes_the_place_of_the_former_one(catalogue, changes, outlines, why):
    publish(catalogue, "run-1", squares(3))
    published = publish(catalogue, "run-2", outlines, now=LATER, **changes)
    assert (published.repeated, published.current, published.superseded) == (False, True, ("run-1",))
    former = catalogue.run("run-1")
    assert (former.state, former.superseded_by, former.superseded_at, former.why) == (
        "superseded",
        "run-2",
        LATER,
        why,
    )
    assert set(catalogue.slicks().id) == set(outlines)
    everything = catalogue.slicks(Selection(current=False))
    assert len(everything) == 3 + len(outlines)
    kept = everything[everything.run_id == "run-1"]
    assert set(kept.superseded_by) == {"run-2"}
    assert set(kept.superseded_at) == {pd.Timestamp(LATER)}
    assert len(catalogue.scenes(Selection(current=False))) == 1
    assert [run.record.run_id for run in catalogue.runs(SCENE.id) if run.state == "current"] == ["run-2"]
    # What is published once more after all is still the superseded result.
    stale = publish(catalogue, "run-1", squares(3))
    assert (stale.repeated, stale.current) == (True, False)
    assert set(catalogue.slicks().id) == set(outlines)
    assert flaws(catalogue.path) == []


REPROCESSED = replace(SCENE, id=SCENE.id[:-4] + "0FCC")


def test_a_product_processed_anew_takes_the_place_of_the_former_scene(catalogue):
    publish(catalogue, "run-1", squares(3))
    publish(catalogue, "run-2", squares(2, prefix="t"), REPROCESSED, supersedes=[SCENE.id], now=LATER)
    assert catalogue.scenes().scene_id.tolist() == [REPROCESSED.id]
    assert set(catalogue.scenes(Selection(current=False)).superseded_by.dropna()) == {REPROCESSED.id}
    assert set(catalogue.slicks().scene_id) == {REPROCESSED.id}
    assert catalogue.run("run-1").why == f"reprocessed as {REPROCESSED.id}"
    assert flaws(catalogue.path) == []


def test_a_result_that_comes_after_that_of_its_later_processing_is_kept_as_superseded(catalogue):
    publish(catalogue, "run-2", squares(2, prefix="t"), REPROCESSED, supersedes=[SCENE.id])
    late = publish(catalogue, "run-1", squares(3), now=LATER, yields_to=REPROCESSED)
    assert (late.repeated, late.current) == (False, False)
    assert publish(catalogue, "run-3", squares(3), now=LATER, yields_to=REPROCESSED) == replace(late, repeated=True)
    assert set(catalogue.slicks().scene_id) == {REPROCESSED.id}
    assert catalogue.run("run-1").superseded_by == "run-2"
    assert len(catalogue.slicks(Selection(current=False))) == 5
    assert flaws(catalogue.path) == []


def test_the_last_word_on_which_processing_goes_first_counts(catalogue):
    publish(catalogue, "run-1", squares(3))
    publish(catalogue, "run-2", squares(2, prefix="t"), REPROCESSED, supersedes=[SCENE.id])
    back = publish(catalogue, "run-3", squares(3), supersedes=[REPROCESSED.id])
    assert (back.current, back.run_id, back.repeated) == (True, "run-1", True)
    assert catalogue.scenes().scene_id.tolist() == [SCENE.id]
    assert set(catalogue.scenes(Selection(current=False)).scene_id) == {SCENE.id, REPROCESSED.id}
    assert flaws(catalogue.path) == []


def test_told_only_later_that_it_supersedes_another(catalogue):
    publish(catalogue, "run-1", squares(3))
    publish(catalogue, "run-2", squares(2, prefix="t"), REPROCESSED)
    assert len(catalogue.scenes()) == 2
    again = publish(catalogue, "run-3", squares(2, prefix="t"), REPROCESSED, supersedes=[SCENE.id])
    assert (again.run_id, again.repeated) == ("run-2", True)
    assert catalogue.run("run-1").superseded_by == "run-2"
    assert catalogue.scenes().scene_id.tolist() == [REPROCESSED.id]
    assert flaws(catalogue.path) == []


def test_results_are_current_as_the_ledger_says(catalogue):
    """Superseded, the later one forgotten, both forgotten, and back: nothing is lost, reviews neither."""
    publish(catalogue, "run-1", squares(3))
    catalogue.review("s1", "confirmed", "Ada")
    publish(catalogue, "run-2", squares(2, prefix="t"), REPROCESSED, supersedes=[SCENE.id])
    before = catalogue.slicks()
    gone, none = Standing("forgotten"), {}

    def settled(old, new):
        changed = catalogue.settle(lambda: {SCENE.id: old, REPROCESSED.id: new}, LATER)
        assert catalogue.settle(lambda: {SCENE.id: old, REPROCESSED.id: new}) == []
        assert flaws(catalogue.path) == []
        return changed, sorted(catalogue.slicks().id), catalogue.scenes().scene_id.tolist()

    assert settled(CURRENT, gone) == ([SCENE.id, REPROCESSED.id], ["s0", "s1", "s2"], [SCENE.id])
    assert catalogue.slick("s1").status.tolist() == ["confirmed"]
    assert (catalogue.run("run-1").why, catalogue.run("run-2").why) == (None, "forgotten")
    with pytest.raises(UsageError, match=f"its scene is forgotten; run slickwatch scenes retry {REPROCESSED.id}"):
        catalogue.review("t0", "rejected", "Ada")
    assert settled(gone, gone) == ([SCENE.id], [], [])
    assert catalogue.settle(lambda: none) == [], "of scenes that the ledger does not know it says nothing"
    assert settled(Standing("superseded", REPROCESSED.id), CURRENT)[1:] == (["t0", "t1"], [REPROCESSED.id])
    pd.testing.assert_frame_equal(pd.DataFrame(catalogue.slicks()), pd.DataFrame(before))


def test_rejected_candidates_are_kept_and_follow_their_result(catalogue):
    rejected = candidate_table(table("run-1", squares(2, west=3.0, prefix="c")).assign(lookalike_probability=0.75))

    def candidates(layer):
        with Database(catalogue.path).reading() as connection:
            query = f"SELECT id, rejected_by, oil_probability, superseded_by FROM {layer} ORDER BY id"
            return [tuple(row) for row in connection.execute(query)]

    def published(run_id, ids, **changes):
        slicks, run = table(run_id, squares(ids)), record(run_id, slick_count=ids, **changes)
        catalogue.publish(run, SCENE, FOOTPRINT, slicks, candidates=rejected.assign(run_id=run_id), now=NOW)
        assert flaws(catalogue.path) == []

    publish(catalogue, "run-0", squares(1))
    assert candidates("candidates") == []
    published("run-1", 1)  # the same result, published before by a version that did not keep them
    assert candidates("candidates") == [("c0", "object stage", 0.25, None), ("c1", "object stage", 0.25, None)]
    published("run-2", 1)
    assert len(candidates("candidates")) == 2
    published("run-3", 1, config_hash="decaf")
    assert [row[::3] for row in candidates("former_candidates")] == [("c0", "run-3"), ("c1", "run-3")]
    assert len(candidates("candidates")) == 2
    catalogue.settle(lambda: {SCENE.id: Standing("forgotten")}, LATER)
    assert (len(candidates("candidates")), len(candidates("former_candidates"))) == (0, 4)
    catalogue.settle(lambda: {SCENE.id: CURRENT}, LATER)
    assert candidates("candidates") == [("c0", "object stage", 0.25, None), ("c1", "object stage", 0.25, None)]
    assert flaws(catalogue.path) == []


results = st.tuples(
    st.sampled_from(["ab" * 32, OTHER_MODEL]),
    st.sampled_from(["c0ffee", "decaf"]),
    st.sets(st.sampled_from(sorted(squares(4)))),
    st.sampled_from([SCENE, REPROCESSED]),
    st.booleans(),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(results, min_size=1, max_size=6))
def test_whatever_is_published_the_last_word_is_current_and_all_of_it_is_kept(empty, published):
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Catalogue.open(shutil.copy(empty, Path(folder) / "catalogue.gpkg"))
        newest, doubled = SCENE, 0
        for number, (weights, options, ids, scene, supersedes) in enumerate(published):
            # An id is made from the scene and the model, too.
            outlines = {f"{id}-{weights[:2]}-{scene.id[-4:]}": squares(4)[id] for id in sorted(ids)}
            other = REPROCESSED if scene is SCENE else SCENE
            done = publish(
                catalogue, f"run-{number}", outlines, scene, [other.id] if supersedes else [],
                weights_sha256=weights, config_hash=options,
            )  # fmt: skip
            doubled += done.repeated
            if done.current:
                newest = scene
                of_scene = catalogue.slicks()
                assert set(of_scene[of_scene.scene_id == newest.id].id) == set(outlines)
            assert not supersedes or done.current
            assert not supersedes or catalogue.scenes().scene_id.tolist() == [scene.id]
        assert len(catalogue.runs()) == len(published) - doubled
        assert flaws(catalogue.path) == []


def test_a_review_is_journalled_and_stays_with_its_slick(catalogue):
    publish(catalogue, "run-1", squares(3))
    catalogue.review("s1", "rejected", "Ada", "low wind", now=NOW)
    catalogue.review("s1", "confirmed", " Grace ", now=LATER)
    assert [(r.status, r.reviewer, r.notes, r.reviewed_at) for r in catalogue.reviews("s1")] == [
        ("rejected", "Ada", "low wind", NOW),
        ("confirmed", "Grace", None, LATER),
    ]
    publish(catalogue, "run-2", squares(2), config_hash="decaf")
    publish(catalogue, "run-3", squares(2, prefix="t"), weights_sha256=OTHER_MODEL)
    publish(catalogue, "run-4", squares(3))
    (slick,) = catalogue.slicks(Selection(status="confirmed")).to_dict("records")
    assert (slick["id"], slick["run_id"], slick["reviewer"]) == ("s1", "run-4", "Grace")
    assert slick["reviewed_at"] == pd.Timestamp(LATER)
    assert slick["former_status"] is None
    assert len(catalogue.reviews("s1")) == 2, "being carried is no review"
    catalogue.review("s1", "unreviewed", "Ada")
    assert len(catalogue.slicks(Selection(status=("confirmed", "rejected")))) == 0
    assert len(catalogue.reviewed()) == 0


def test_a_review_is_only_suggested_for_another_slick_that_overlaps(catalogue):
    former = {"a": box(2, 57, 2.1, 57.1), "b": box(2.1, 57, 2.2, 57.1), "c": box(3, 57, 3.1, 57.1)}
    publish(catalogue, "run-1", former)
    catalogue.review("a", "confirmed", "Ada")
    catalogue.review("b", "rejected", "Ada")
    new = {
        "mostly a": box(2.0, 57, 2.12, 57.1),
        "mostly b": box(2.08, 57, 2.2, 57.1),
        "touches b": box(2.2, 57, 2.3, 57.1),
        "like c": box(3, 57, 3.1, 57.1),
    }
    publish(catalogue, "run-2", new, weights_sha256=OTHER_MODEL)
    slicks = catalogue.slicks().set_index("id")
    assert set(slicks.status) == {"unreviewed"}
    assert slicks.former_status.dropna().to_dict() == {"mostly a": "confirmed", "mostly b": "rejected"}
    # Nobody has looked at it, and yet another model comes.
    publish(catalogue, "run-3", {"still a": box(2.01, 57, 2.11, 57.1)}, weights_sha256="ef" * 32)
    assert catalogue.slick("still a").former_status.tolist() == ["confirmed"]
    catalogue.review("still a", "rejected", "Grace")
    # The reprocessed product has other ids, too.
    publish(catalogue, "run-4", {"anew": box(2.01, 57, 2.11, 57.1)}, REPROCESSED, supersedes=[SCENE.id])
    assert catalogue.slick("anew").former_status.tolist() == ["rejected"]


def test_reviewed_slicks_come_with_their_files_in_the_order_of_their_reviews(catalogue, tmp_path):
    outlines = squares(3)
    catalogue.publish(
        record("run-1", slick_count=3), SCENE, None, table("run-1", outlines), result_folder=tmp_path / "r"
    )
    for id, status in (("s2", "confirmed"), ("s0", "rejected"), ("s2", "rejected")):
        catalogue.review(id, status, "Ada")
    publish(catalogue, "run-2", {"t": squares(1)["s0"]}, weights_sha256=OTHER_MODEL)
    catalogue.review("t", "confirmed", "Ada")
    reviewed = catalogue.reviewed()
    assert reviewed.id.tolist() == ["s0", "s2", "t"]
    assert reviewed.status.tolist() == ["rejected", "rejected", "confirmed"]
    assert reviewed.result_folder.tolist() == [str((tmp_path / "r").resolve())] * 2 + [None]
    assert set(reviewed["product"]) == {f"inbox/{SCENE.id}.zip"}
    assert reviewed.crs == "EPSG:4326"
    publish(catalogue, "run-3", outlines)  # the first model again: each id once
    assert catalogue.reviewed().id.tolist() == ["s0", "s2", "t"]
    publish(catalogue, "run-4", {})  # and none of it current
    assert catalogue.reviewed().id.tolist() == ["s0", "s2", "t"]


def test_results_move_with_the_catalogue(empty, tmp_path):
    (tmp_path / "a").mkdir()
    catalogue = Catalogue.open(shutil.copy(empty, tmp_path / "a" / "catalogue.gpkg"))
    catalogue.publish(record("run-1"), SCENE, None, table("run-1", {}), result_folder=tmp_path / "a" / "results" / "x")
    catalogue.publish(
        record("run-2", scene_number(1)), scene_number(1), None, table("run-2", {}), result_folder=tmp_path / "far"
    )
    (tmp_path / "a").rename(tmp_path / "b")
    moved = Catalogue.open(tmp_path / "b" / "catalogue.gpkg")
    assert moved.run("run-1").result_folder == (tmp_path / "b" / "results" / "x").resolve()
    assert moved.run("run-2").result_folder == (tmp_path / "far").resolve()


def test_slicks_are_found_by_place_time_status_and_model(catalogue):
    for number in range(4):
        scene = scene_number(number)
        outlines = squares(10, west=2.0 + number, prefix=f"{number}-")
        publish(
            catalogue, f"run-{number}", outlines, scene, model_id=f"m{number % 2}", weights_sha256=f"{number % 2:064}"
        )
    catalogue.review("2-3", "confirmed", "Ada")
    assert catalogue.slicks().id.str[0].tolist() == ["3"] * 10 + ["2"] * 10 + ["1"] * 10 + ["0"] * 10
    start = [scene_number(number).acquired_start for number in range(4)]
    assert set(catalogue.slicks(Selection(since=start[1], until=start[2])).id.str[0]) == {"1", "2"}
    assert catalogue.slicks(Selection(status="confirmed")).id.tolist() == ["2-3"]
    assert (
        set(catalogue.slicks(Selection(model="m1")).id.str[0])
        == set(catalogue.slicks(Selection(model=f"{1:064}")).id.str[0])
        == {"1", "3"}
    )
    assert catalogue.slicks(Selection((3.0, 57.0, 3.015, 57.1))).id.tolist() == ["1-0"]
    assert len(catalogue.slicks(Selection((3.0, 57.0, 4.5, 57.1), model="m1", status="unreviewed"))) == 10
    assert catalogue.slicks(limit=7).id.tolist() == catalogue.slicks().id.tolist()[:7]
    assert len(catalogue.slicks(Selection((2.0, 57.0, 4.5, 57.1)))) == 30
    assert set(catalogue.scenes(Selection(model="m0")).scene_id) == {scene_number(0).id, scene_number(2).id}
    assert len(catalogue.scenes(Selection((10, 57, 11, 58)))) == 0
    assert [run.record.run_id for run in catalogue.runs()] == ["run-3", "run-2", "run-1", "run-0"]


def test_a_box_across_the_antimeridian(catalogue):
    split = MultiPolygon([box(179.5, 10, 180, 10.5), box(-180, 10, -179.5, 10.5)])
    publish(catalogue, "run-1", {"split": split, "east": box(170, 10, 171, 11), "zero": box(0, 10, 1, 11)})
    assert catalogue.slicks(Selection((179, 9, -179, 12))).id.tolist() == ["split"]
    assert catalogue.slicks(Selection((-1, 9, 2, 12))).id.tolist() == ["zero"], (
        "the bounds of the split one are not its place"
    )
    assert set(catalogue.slicks(Selection((170.5, 9, -179.9, 12))).id) == {"split", "east"}


def test_what_cannot_be_is_refused(catalogue):
    publish(catalogue, "run-1", squares(1))
    publish(catalogue, "run-2", squares(1, prefix="t"), weights_sha256=OTHER_MODEL)
    for refused, told in (
        (lambda: catalogue.review("t0", "perhaps", "Ada"), "perhaps: invalid status"),
        (lambda: catalogue.review("t0", "confirmed", " "), "missing name of the reviewer"),
        (lambda: catalogue.review("nonsense", "confirmed", "Ada"), "no such slick"),
        (lambda: catalogue.review("s0", "confirmed", "Ada"), "superseded by the result of run run-2"),
        (lambda: catalogue.slick("nonsense"), "no such slick"),
        (lambda: catalogue.run("nonsense"), "no such run"),
        (lambda: catalogue.slicks(Selection(status=["confirmed", "maybe"])), "maybe: invalid status"),
        (lambda: catalogue.slicks(Selection((0, 10, 1, 9))), "bbox"),
    ):
        with pytest.raises(UsageError, match=told):
            refused()
    assert catalogue.reviews("t0") == []
    with pytest.raises(ValueError, match="no time zone"):
        catalogue.slicks(Selection(since=datetime(2021, 1, 1)))


@pytest.mark.parametrize(
    ("run", "scene", "slicks", "told"),
    [
        (record("r", slick_count=2), SCENE, table("r", squares(1)), "has 2 slicks"),
        (record("r", slick_count=1), SCENE, table("q", squares(1)), "of run r"),
        (record("r", slick_count=1), scene_number(1), table("r", squares(1)), "not of one scene"),
        (record("r", slick_count=1), SCENE, table("r", squares(1)).to_crs("EPSG:3857"), "not in EPSG:4326"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(catalogue, run, scene, slicks, told):
    with pytest.raises(ValueError, match=told):
        catalogue.publish(run, scene, None, slicks)
    assert catalogue.runs() == []


def test_a_failure_amid_a_publication_leaves_the_former_state(catalogue):
    publish(catalogue, "run-1", squares(2))
    before = catalogue.slicks(Selection(current=False))
    slicks = table("run-2", squares(2, prefix="t"))
    slicks.loc[1, "id"] = "s0"
    slicks["scene_id"] = scene_number(1).id  # the id of another scene's slick: the last row cannot be written
    with pytest.raises(Exception, match="UNIQUE"):
        catalogue.publish(record("run-2", scene_number(1), 2), scene_number(1), None, slicks)
    pd.testing.assert_frame_equal(pd.DataFrame(catalogue.slicks(Selection(current=False))), pd.DataFrame(before))
    assert len(catalogue.runs()) == len(catalogue.scenes()) == 1
    assert flaws(catalogue.path) == []


def test_the_thresholds_of_a_slick_are_kept_as_they_were(catalogue):
    slicks = found()
    catalogue.publish(record("run-1", slick_count=3), SCENE, None, slicks)
    assert set(catalogue.slicks().thresholds) == {SlickOptions().thresholds()}
