"""The scene ledger, in SQLite and in a real PostgreSQL."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import StatementError

from ingest.errors import SlickwatchError, SourceError, StorageError, UnreadableInput, UsageError
from ingest.ledger.database import REVISIONS, Database, migrate, parse_url, redacted
from ingest.ledger.ledger import RETRIES, Ledger, keep_lease
from ingest.ledger.records import LeaseLost
from ingest.ledger.supersession import Member, ProductName, Standing, standings
from ingest.ledger.tables import VERSION_TABLE, Base
from ingest.retries import RetryPolicy
from ingest.scene import Scene, scene_from_name
from tests.support import postgres
from tests.support.full_disk import full_after

ROOT = Path(__file__).parents[3]
T0 = datetime(2026, 7, 30, 20, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        self.now += timedelta(**time)


def name(slice: int = 0, unique: str = "0863", cog: bool = False, shift: int = 0) -> str:
    start = datetime(2026, 7, 30, 18, 0, tzinfo=UTC) + timedelta(seconds=25 * slice + shift)
    times = "_".join(f"{t:%Y%m%dT%H%M%S}" for t in (start, start + timedelta(seconds=25)))
    return f"S1D_IW_GRDH_1SDV_{times}_003907_00710E_{unique}{'_COG' * cog}"


def scene(slice: int = 0, unique: str = "0863", cog: bool = False, shift: int = 0, **values: Any) -> Scene:
    fresh: dict[str, Any] = {"published": T0, "source": "cdse", "key": "k1", "checksum": "md5:" + "a" * 32}
    return replace(scene_from_name(name(slice, unique, cog, shift)), **(fresh | values))


@pytest.fixture(scope="session")
def postgresql():
    with postgres.server() as url:
        yield url


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The address of an empty database, or of an empty schema in one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    base = request.getfixturevalue("postgresql")
    import psycopg

    schema = f"test{next(_numbers)}"
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return f"{base}/postgres?options=-csearch_path%3D{schema}"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A file with the tables made, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "ledger.sqlite"
    Ledger.open(str(path)).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def made(request, empty, tmp_path):
    """The address of a ledger with nothing in it; making its tables anew for each test would take most of the time."""
    if request.param == "sqlite":
        return str(shutil.copy(empty, tmp_path / "ledger.sqlite"))
    base = request.getfixturevalue("postgresql")
    import psycopg

    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS made")
        Ledger.open(url := f"{base}/postgres?options=-csearch_path%3Dmade").close()
        connection.execute("TRUNCATE made.scenes, made.scene_offers, made.scene_finds, made.scene_watermarks")
    return url


@pytest.fixture
def ledger(made, clock):
    with Ledger.open(made, clock=clock, retries=replace(RETRIES, attempts=3), crashes=3) as ledger:
        yield ledger


def found(ledger: Ledger, *scenes: Scene, watermark: datetime | None = None) -> list[str]:
    """Record scenes, each with its own source; the ids not known before."""
    return [new.id for s in scenes for new in ledger.record_found(s.source, "bay", [s], watermark)]


def fetch(ledger: Ledger, path: str = "/data/scene.zip", checksum: str | None = None) -> str:
    (claim,) = ledger.claim("fetch", "w", 60)
    assert ledger.fetched(claim, path, 7, checksum or claim.scene.checksum)
    return claim.scene.id


def process(ledger: Ledger) -> str:
    (claim,) = ledger.claim("process", "w", 60)
    ledger.processed(claim, f"/results/{claim.scene.id}", "saross-1", "0.1.0")
    return claim.scene.id


def picture(ledger: Ledger) -> dict[str, tuple[str, str | None]]:
    return {record.id: (record.state, record.by) for record in ledger.list()}


# From found to processed


def test_a_scene_goes_from_found_to_processed(ledger, clock):
    footprint = shapely.box(-26.2, 66.2, -19.6, 67.8)
    seen = scene(footprint=footprint, size=2**40, published=datetime(2026, 7, 30, 22, 3, tzinfo=UTC), relative_orbit=1)
    assert ledger.record_found("cdse", "bay", [seen])[0].state == "found"
    (claim,) = ledger.claim("fetch", "w1", 60)
    assert claim.scene == replace(seen, relative_orbit=claim.scene.relative_orbit)
    assert (claim.attempt, claim.until, claim.path) == (1, T0 + timedelta(seconds=60), None)
    assert ledger.fetched(claim, "/data/a.zip", 2**40, seen.checksum)
    clock.forward(seconds=5)
    (claim,) = ledger.claim("process", "w2", 60)
    assert claim.path == "/data/a.zip"
    assert claim.scene.footprint.equals(footprint)
    ledger.processed(claim, "/results/a", "saross-1", "0.1.0+abc")
    record = ledger.get(seen.id + ".SAFE")
    assert (record.state, record.result_folder, record.model_id, record.code_version) == (
        "processed", "/results/a", "saross-1", "0.1.0+abc",
    )  # fmt: skip
    assert (record.fetched_at, record.processed_at) == (T0, T0 + timedelta(seconds=5))
    assert record.as_dict()["processed_at"] == "2026-07-30T20:00:05Z"
    assert ledger.counts()["processed"] == 1 == sum(ledger.counts().values())
    assert not ledger.claim("fetch", "w1", 60) + ledger.claim("process", "w1", 60)


def test_a_claim_is_for_one_worker_until_its_lease_runs_out(ledger, clock):
    found(ledger, scene())
    (first,) = ledger.claim("fetch", "w1", 60)
    assert ledger.claim("fetch", "w2", 60) == []
    clock.forward(seconds=50)
    assert ledger.renew(first).until == clock.now + timedelta(seconds=60)
    clock.forward(seconds=50)
    assert ledger.claim("fetch", "w2", 60) == []
    clock.forward(seconds=11)
    (second,) = ledger.claim("fetch", "w2", 60)
    assert second.token > first.token
    for action in (
        lambda: ledger.renew(first),
        lambda: ledger.fetched(first, "/data/late.zip", 1, None),
        lambda: ledger.failed(first, "late"),
        lambda: ledger.quarantined(first, "late"),
        lambda: ledger.release(first),
    ):
        with pytest.raises(LeaseLost, match="w1 has lost its lease"):
            action()
    assert ledger.fetched(second, "/data/b.zip", 1, None)
    assert ledger.get(second.scene.id).path == "/data/b.zip"
    with pytest.raises(LeaseLost):
        ledger.fetched(second, "/data/again.zip", 1, None)


def test_the_same_owner_cannot_record_by_a_former_claim(ledger, clock):
    found(ledger, scene())
    (first,) = ledger.claim("fetch", "w1", 60)
    clock.forward(seconds=61)
    (second,) = ledger.claim("fetch", "w1", 60)
    with pytest.raises(LeaseLost):
        ledger.fetched(first, "/data/a.zip", 1, None)
    ledger.release(second)
    assert ledger.claim("fetch", "w2", 60)[0].attempt == 1


def test_failures_are_tried_again_ever_later_and_then_parked(ledger, clock):
    found(ledger, scene())
    waits = []
    for _ in range(2):
        (claim,) = ledger.claim("fetch", "w", 60)
        record = ledger.failed(claim, "HTTP 503\nfrom the server")
        waits.append(record.due_at - clock.now)
        assert (record.state, record.reason) == ("found", "HTTP 503 from the server")
        assert ledger.claim("fetch", "w", 60) == []
        clock.now = record.due_at
    assert waits == [timedelta(seconds=60), timedelta(seconds=120)]
    (claim,) = ledger.claim("fetch", "w", 60)
    assert claim.attempt == 3
    assert ledger.failed(claim, "HTTP 503").state == "failed"
    clock.forward(days=365)
    assert ledger.claim("fetch", "w", 60) == []
    assert ledger.retry(claim.scene.id).state == "found"
    assert ledger.claim("fetch", "w", 60)[0].attempt == 1


def test_a_source_may_say_when_to_come_again(ledger, clock):
    found(ledger, scene())
    (claim,) = ledger.claim("fetch", "w", 60)
    assert ledger.failed(claim, "HTTP 429", retry_at=T0 + HOUR).due_at == T0 + HOUR
    clock.forward(seconds=3599)
    assert ledger.claim("fetch", "w", 60) == []
    clock.forward(seconds=1)
    (claim,) = ledger.claim("fetch", "w", 60)
    assert ledger.failed(claim, "HTTP 404", final=True).state == "failed"


def test_waits_do_not_grow_beyond_the_longest():
    policy = RetryPolicy(first_wait=60, longest_wait=3600)
    assert [policy.wait(n) for n in (1, 2, 6, 7, 10_000)] == [60, 120, 1920, 3600, 3600]


def test_a_scene_that_kills_its_workers_is_parked(ledger, clock):
    found(ledger, scene())
    for _ in range(3):
        assert len(ledger.claim("fetch", "w", 60)) == 1
        clock.forward(seconds=61)
    assert ledger.claim("fetch", "w", 60) == []
    record = ledger.get(name())
    assert (record.state, record.reason) == ("failed", "3 workers died while working on it, last w")


def test_a_failure_of_processing_is_retried_from_its_file(ledger):
    found(ledger, scene())
    fetch(ledger)
    (claim,) = ledger.claim("process", "w", 60)
    ledger.failed(claim, "out of memory", final=True)
    assert ledger.retry(name()).state == "fetched"
    (claim,) = ledger.claim("process", "w", 60)
    ledger.failed(claim, "out of memory", final=True)
    assert ledger.evict(name())
    assert ledger.retry(name()).state == "found"


def test_youngest_scenes_come_first_and_failed_ones_last(ledger, clock):
    found(ledger, scene(0), scene(1), scene(2))
    (claim,) = ledger.claim("fetch", "w", 60)
    assert claim.scene.id == name(2)
    ledger.failed(claim, "HTTP 503")
    clock.forward(days=1)
    assert [c.scene.id for c in ledger.claim("fetch", "w", 60, limit=9)] == [name(1), name(0), name(2)]


# Identity


def test_plain_and_cog_are_taken_once_though_their_unique_ids_differ(ledger):
    plain, cog = scene(unique="33E2"), scene(unique="0863", cog=True, published=T0 + HOUR)
    assert found(ledger, plain, cog) == [plain.id, cog.id]
    assert picture(ledger) == {plain.id: ("found", None), cog.id: ("duplicate", plain.id)}
    fetch(ledger)
    process(ledger)
    assert found(ledger, cog, plain) == []
    assert ledger.claim("fetch", "w", 60, limit=9) == []


def test_whichever_packing_is_begun_first_is_the_one_taken(ledger):
    plain, cog = scene(unique="33E2"), scene(unique="0863", cog=True, published=T0 + HOUR)
    found(ledger, cog)
    (claim,) = ledger.claim("fetch", "w", 60)
    found(ledger, plain)
    assert picture(ledger) == {cog.id: ("found", None), plain.id: ("duplicate", cog.id)}
    assert ledger.fetched(claim, "/data/cog.zip", 1, cog.checksum)
    assert process(ledger) == cog.id


@pytest.mark.parametrize("end", ["failed", "quarantined"])
def test_where_one_packing_cannot_be_had_the_other_is_taken(ledger, end):
    plain, cog = scene(unique="33E2"), scene(unique="0863", cog=True, published=T0 + HOUR)
    found(ledger, plain, cog)
    (claim,) = ledger.claim("fetch", "w", 60)
    assert claim.scene.id == plain.id
    getattr(ledger, end)(claim, "it is offline")
    assert fetch(ledger) == cog.id
    assert process(ledger) == cog.id
    assert picture(ledger) == {cog.id: ("processed", None), plain.id: ("duplicate", cog.id)}


def test_two_sources_of_a_product_are_one_scene_tried_in_turn(ledger, clock):
    here, there = scene(), scene(source="dhus", key="k2", checksum="md5:" + "b" * 32, published=T0 + 9 * HOUR)
    assert found(ledger, here, there, here, there) == [here.id]
    assert ledger.get(here.id).sources == ("cdse", "dhus")
    assert ledger.get(here.id).published == T0
    assert ledger.claim("fetch", "w", 60, sources=["stac"]) == []
    (claim,) = ledger.claim("fetch", "w", 60)
    assert (claim.scene.source, claim.scene.key) == ("cdse", "k1")
    clock.now = ledger.failed(claim, "HTTP 503").due_at
    (claim,) = ledger.claim("fetch", "w", 60)
    assert (claim.scene.source, claim.scene.key, claim.scene.checksum) == ("dhus", "k2", there.checksum)
    ledger.release(claim)
    assert ledger.claim("fetch", "w", 60, sources=["cdse"])[0].scene.source == "cdse"


def test_a_new_processing_supersedes_and_results_stay(ledger):
    # As seen: NRT-3h and Fast-24h of one slice, 3 h and 3 s apart (S1B, 2020-06-06).
    fast, late = scene(unique="0FCC"), scene(unique="4C69", shift=3, published=T0 + 3 * HOUR)
    found(ledger, fast)
    fetch(ledger)
    process(ledger)
    found(ledger, late)
    assert picture(ledger) == {fast.id: ("superseded", late.id), late.id: ("found", None)}
    assert ledger.get(fast.id).result_folder == f"/results/{fast.id}"
    with pytest.raises(UsageError, match=f"superseded, use {late.id}"):
        ledger.retry(fast.id)


def test_a_scene_superseded_while_it_is_worked_on_keeps_its_result(ledger):
    old, new = scene(unique="0001"), scene(unique="0002", published=T0 + 3 * HOUR)
    found(ledger, old)
    fetch(ledger)
    (claim,) = ledger.claim("process", "w", 60)
    found(ledger, new)
    ledger.processed(claim, "/results/old", "saross-1", None)
    record = ledger.get(old.id)
    assert (record.state, record.by, record.result_folder) == ("superseded", new.id, "/results/old")


def test_an_older_processing_that_comes_late_is_never_taken(ledger):
    old, new = scene(unique="0001"), scene(unique="0002", published=T0 + 3 * HOUR)
    found(ledger, new)
    assert ledger.record_found("cdse", "bay", [old])[0].state == "superseded"
    assert fetch(ledger) == new.id
    assert ledger.claim("fetch", "w", 60) == []


def test_neighbouring_slices_and_other_polarisations_are_scenes_of_their_own(ledger):
    other = replace(scene(), id=name().replace("1SDV", "1SSV"))
    found(ledger, scene(0), scene(1, unique="AAAA"), other)
    assert ledger.counts()["found"] == 3


def test_products_of_one_datatake_and_time_that_do_not_overlap_are_scenes_of_their_own(ledger):
    old, far = (scene(unique=f"000{n}", footprint=shapely.box(60 * n, 0, 60 * n + 2, 2)) for n in (1, 2))
    unknown = scene(unique="0003", published=T0 + HOUR)
    found(ledger, old, far)
    assert picture(ledger) == {old.id: ("found", None), far.id: ("found", None)}
    found(ledger, unknown)  # until its place is known, its times count
    assert ledger.get(old.id).state == "superseded"
    found(ledger, replace(unknown, footprint=far.footprint))
    assert picture(ledger) == {
        old.id: ("found", None), far.id: ("superseded", unknown.id), unknown.id: ("found", None)
    }  # fmt: skip


def test_a_cog_between_two_processings_goes_with_the_first():
    members = [
        member(name(unique="0001"), T0), member(name(unique="0002", cog=True), T0 + 2 * HOUR),
        member(name(unique="0003", shift=3), T0 + 3 * HOUR), member(name(unique="0004", cog=True), T0 + 4 * HOUR),
    ]  # fmt: skip
    newest = name(unique="0003", shift=3)
    decided = {id: (s.kind, s.by) for id, s in standings(members).items()}
    assert decided == {
        name(unique="0001"): ("superseded", newest),
        name(unique="0002", cog=True): ("superseded", newest),
        newest: ("current", None),
        name(unique="0004", cog=True): ("duplicate", newest),
    }


def member(id: str, published: datetime) -> Member:
    return Member(ProductName.read(id), published)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Scene], dict[str, tuple[str, str | None]]]:
    """Products of some slices, and what must become of them by how they were made."""
    unique = iter(draw(st.permutations([f"{n:04X}" for n in range(40)])))
    scenes, truth = [], {}
    for slice in range(draw(st.integers(1, 3))):
        made: list[list[Scene]] = []
        packings = draw(st.sampled_from(["plain", "cog", "both"]))
        for processing in range(draw(st.integers(1, 3))):
            at, shift = T0 + processing * timedelta(days=3), draw(st.integers(-2, 2))
            late = timedelta(minutes=draw(st.integers(-720, 720).filter(bool)))
            plain = [scene(slice, next(unique), shift=shift, published=at)] if packings != "cog" else []
            cog = [scene(slice, next(unique), True, shift, published=at + late)] if packings != "plain" else []
            made.append(sorted(plain + cog, key=lambda s: (s.published, s.id)))
        taken = made[-1][0].id
        truth |= {s.id: ("superseded", taken) for packed in made[:-1] for s in packed}
        truth |= {s.id: ("duplicate", taken) for s in made[-1]} | {taken: ("found", None)}
        scenes += [s for packed in made for s in packed]
    mirrors = [
        replace(s, source="dhus", published=s.published + timedelta(days=9)) for s in scenes if draw(st.booleans())
    ]
    return scenes + mirrors, truth


@given(arrivals(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_any_order_of_arrival_gives_the_same_picture(empty, arrived, rng):
    scenes, truth = arrived
    scenes = scenes + rng.choices(scenes, k=3)
    rng.shuffle(scenes)
    path = empty.with_name("used.sqlite")
    shutil.copy(empty, path)
    with Ledger.open(str(path)) as ledger:
        for s in scenes:
            ledger.record_found(s.source, "bay", [s])
        assert picture(ledger) == truth


@given(arrivals(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_of_each_slice_one_product_is_current_whatever_was_begun(arrived, rng: random.Random):
    scenes, truth = arrived
    members = [
        replace(
            member(s.id, s.published), begun=rng.random() < 0.3, broken=rng.random() < 0.3, attempts=rng.randrange(3)
        )
        for s in scenes
        if s.source == "cdse"
    ]
    decided = standings(members)
    current = [id for id, standing in decided.items() if standing.kind == "current"]
    assert len(current) == sum(state == "found" for state, _ in truth.values())
    for id, standing in decided.items():
        assert standing.by is None or decided[standing.by].kind == "current"
        assert (standing.kind == "superseded") == (truth[id][0] == "superseded")


# Published anew


def again(**values: Any) -> Scene:
    return scene(**({"published": T0 + HOUR, "checksum": "md5:" + "c" * 32, "key": "k9"} | values))


def test_published_anew_before_it_was_fetched_replaces_where_it_is(ledger):
    found(ledger, scene(), again())
    (claim,) = ledger.claim("fetch", "w", 60)
    assert (claim.scene.key, claim.scene.checksum) == ("k9", again().checksum)


def test_an_old_page_of_the_catalogue_changes_nothing(ledger):
    found(ledger, again(), scene())
    assert ledger.claim("fetch", "w", 60)[0].scene.key == "k9"
    assert ledger.get(name()).republished_at is None


def test_published_anew_while_it_is_fetched_is_fetched_again(ledger, clock):
    found(ledger, scene())
    (claim,) = ledger.claim("fetch", "w", 60)
    found(ledger, again())
    assert ledger.fetched(claim, "/data/old.zip", 1, claim.scene.checksum) is False
    assert ledger.get(name()).path is None
    assert fetch(ledger, "/data/new.zip") == name()


def test_published_anew_after_it_was_processed_is_done_again_if_its_checksum_differs(ledger):
    found(ledger, scene())
    fetch(ledger)
    process(ledger)
    found(ledger, again(checksum=scene().checksum))
    found(ledger, again(checksum="blake3:" + "d" * 64))
    assert ledger.get(name()).state == "processed"
    ledger.record_found("dhus", "bay", [again()])
    assert ledger.get(name()).state == "processed"


def test_another_checksum_of_the_source_it_came_from_has_it_done_again(ledger, clock):
    found(ledger, scene())
    fetch(ledger)
    process(ledger)
    clock.forward(hours=2)
    assert found(ledger, again()) == []
    record = ledger.get(name())
    assert (record.state, record.republished_at) == ("found", clock.now)
    assert record.result_folder == f"/results/{name()}"
    fetch(ledger)
    assert process(ledger) == name()


def test_a_broken_scene_published_anew_gets_another_chance(ledger):
    found(ledger, scene())
    (claim,) = ledger.claim("fetch", "w", 60)
    ledger.quarantined(claim, "checksum differs", "/quarantine/a.zip")
    assert ledger.get(name()).path == "/quarantine/a.zip"
    found(ledger, again())
    assert fetch(ledger) == name()


# Watermarks


def test_watermarks_move_forward_only_each_for_itself(ledger):
    assert ledger.watermark("cdse", "bay") is None
    for mark in (T0, T0 - HOUR, T0 + HOUR, T0):
        ledger.record_found("cdse", "bay", [], mark)
    ledger.record_found("cdse", "gulf", [], T0)
    assert ledger.watermark("cdse", "bay") == T0 + HOUR
    assert ledger.watermark("cdse", "gulf") == T0
    assert ledger.watermark("cdse", "bay").tzinfo is UTC


def test_the_watermark_stays_where_the_scenes_cannot_be_recorded(ledger):
    ledger.record_found("cdse", "bay", [], T0)
    with pytest.raises(UnreadableInput):
        ledger.record_found("cdse", "bay", [scene(), replace(scene(), id="S2A_MSIL1C")], T0 + HOUR)
    assert ledger.watermark("cdse", "bay") == T0
    assert ledger.list() == []


def test_a_time_without_a_zone_is_refused(ledger):
    with pytest.raises(StatementError, match="has no zone"):
        ledger.record_found("cdse", "bay", [scene(published=datetime(2026, 7, 30))])
    assert ledger.list() == []


# What operators do


def test_a_forgotten_scene_is_not_found_again_nor_its_other_packing(ledger):
    plain, cog = scene(unique="33E2"), scene(unique="0863", cog=True, published=T0 + HOUR)
    found(ledger, plain)
    ledger.forget(plain.id)
    assert found(ledger, plain) == []
    found(ledger, cog)
    assert picture(ledger) == {plain.id: ("forgotten", None), cog.id: ("duplicate", plain.id)}
    assert ledger.claim("fetch", "w", 60) == []
    assert ledger.retry(plain.id).state == "found"
    assert fetch(ledger) == plain.id


def test_forgetting_a_processing_brings_the_older_back(ledger):
    old, new = scene(unique="0001"), scene(unique="0002", published=T0 + 3 * HOUR)
    found(ledger, old, new)
    ledger.forget(new.id)
    assert fetch(ledger) == old.id


def test_forgotten_entirely_it_is_found_anew(ledger):
    plain, cog = scene(unique="33E2"), scene(unique="0863", cog=True, published=T0 + HOUR)
    found(ledger, plain, cog)
    with pytest.raises(UsageError, match=f"duplicate of {plain.id}"):
        ledger.forget(cog.id)
    ledger.forget(plain.id, entirely=True)
    assert ledger.list() == []
    assert found(ledger, cog, plain) == [cog.id, plain.id]


def test_what_is_claimed_is_neither_forgotten_nor_retried_nor_evicted(ledger, clock):
    found(ledger, scene())
    (claim,) = ledger.claim("fetch", "w7", 60)
    for act in (ledger.forget, ledger.retry):
        with pytest.raises(UsageError, match=r"w7 is working on it \(fetch\)"):
            act(name())
    assert ledger.in_use(name())
    assert not ledger.evict(name())
    clock.forward(seconds=61)
    ledger.forget(name())
    with pytest.raises(LeaseLost):
        ledger.fetched(claim, "/data/a.zip", 1, None)


def test_a_file_is_in_use_until_it_is_processed(ledger):
    assert not ledger.in_use(name())
    found(ledger, scene())
    assert not ledger.in_use(name())
    fetch(ledger)
    assert ledger.in_use(name())
    assert not ledger.evict(name())
    process(ledger)
    assert not ledger.in_use(name())
    assert ledger.evict(name())
    assert (ledger.get(name()).path, ledger.get(name()).state) == (None, "processed")


def test_list_and_counts(ledger, clock):
    found(ledger, scene(0), scene(1), scene(2))
    clock.forward(hours=1)
    fetch(ledger)
    assert [r.id for r in ledger.list(["found"])] == [name(0), name(1)]
    assert [r.id for r in ledger.list(since=T0 + HOUR / 2)] == [name(2)]
    assert [r.id for r in ledger.list(["found", "fetched"], limit=1)] == [name(2)]
    assert {k: n for k, n in ledger.counts().items() if n} == {"found": 2, "fetched": 1}
    with pytest.raises(UsageError, match="unknown state lost; choose one of found,"):
        ledger.list(["lost"])
    with pytest.raises(UsageError, match="not in the ledger"):
        ledger.get(name(7))
    process(ledger)
    with pytest.raises(UsageError, match="already processed"):
        ledger.retry(name(2))


# Processes


@pytest.fixture
def worker():
    """Start worker processes; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def start(task: str, url: str, owner: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-m", "tests.support.ledger_workers", task, url, owner]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
        process.stdin.close()
        process.stdout.close()


def test_four_workers_make_the_tables_once_and_claim_each_of_200_scenes_once(url, worker):
    scenes = [scene(n) for n in range(200)]
    workers = [worker("drain", url, f"w{n}") for n in range(4)]
    assert [each.stdout.readline() for each in workers] == ["open\n"] * 4
    with Ledger.open(url) as ledger:
        assert len(ledger.record_found("cdse", "bay", scenes, T0)) == 200
        for each in workers:
            each.stdin.write("go\n")
            each.stdin.flush()
        claimed = [line.split() for each in workers for line in each.communicate(timeout=120)[0].splitlines()]
        assert [each.returncode for each in workers] == [0] * 4
        assert sorted(id for _, id in claimed) == sorted(s.id for s in scenes)
        assert len({owner for owner, _ in claimed}) > 1
        assert ledger.counts()["fetched"] == 200


def test_the_scene_of_a_killed_worker_is_claimed_after_its_lease(made, worker):
    with Ledger.open(made) as ledger:
        found(ledger, scene())
        victim = worker("hold", made, "victim")
        assert victim.stdout.readline().strip() == name()
        first = ledger.get(name()).claimed_until
        while ledger.get(name()).claimed_until == first:
            time.sleep(0.1)  # until it has renewed its lease
        assert ledger.claim("fetch", "heir", 60) == []
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        assert ledger.outdated() == []
        left = ledger.get(name()).claimed_until - datetime.now(UTC)
        time.sleep(max(0.0, left.total_seconds()) + 0.05)
        (claim,) = ledger.claim("fetch", "heir", 60)
        assert claim.token == 2


def _again_and_again(act: Callable[[], None]) -> NoReturn:
    while True:
        act()
        time.sleep(0.05)


def test_a_living_worker_learns_that_its_lease_was_lost(made):
    with Ledger.open(made) as ledger:
        found(ledger, scene())
        (claim,) = ledger.claim("fetch", "w", 0.3)
        with keep_lease(ledger, claim) as check:
            check()
            with ledger._writing() as (session, _):
                from ingest.ledger.tables import SceneRow

                session.get_one(SceneRow, name()).token += 1  # as another worker's claim does
            with pytest.raises(LeaseLost):
                _again_and_again(check)


# Migrations


def test_an_older_ledger_is_upgraded_with_its_data(url):
    database = Database(url)
    migrate(database, to="0001")
    from sqlalchemy import inspect, text

    with database.writing() as session:
        session.execute(
            text(
                "INSERT INTO scenes (id, datatake, acquired_start, acquired_end, recorded_at, changed_at, progress, "
                "standing, attempts, deaths, token) VALUES (:id, 'S1D_IW_GRDH_1SDV_003907_00710E', "
                "'2026-07-30 18:00:00', '2026-07-30 18:00:25', '2026-07-30 19:00:00', '2026-07-30 19:00:00', "
                "'processed', 'current', 0, 0, 1)"
            ),
            {"id": name()},
        )
        assert not inspect(session.connection()).has_table("scene_watermarks")
    database.engine.dispose()
    with Ledger.open(url) as ledger:
        assert ledger.get(name()).state == "processed"
        ledger.record_found("cdse", "bay", [scene()], T0)
        assert ledger.watermark("cdse", "bay") == T0
        assert ledger.get(name()).sources == ("cdse",)


def test_a_scene_keeps_the_watches_that_found_it(url):
    with Ledger.open(url) as ledger:
        ledger.record_found("local", None, [scene()])
        assert (ledger.get(name()).watches, ledger.get(name()).found_by) == ((), None)
        for watch in ("gulf", "bay", "gulf"):
            ledger.record_found("cdse", watch, [scene()], T0)
        assert ledger.get(name()).found_by == "bay, gulf"
        assert [record.watches for record in ledger.list()] == [("bay", "gulf")]
        ledger.forget(name(), entirely=True)
        ledger.record_found("cdse", "bay", [scene()])
        assert ledger.get(name()).watches == ("bay",)


def test_a_newer_ledger_is_refused_in_one_line(url):
    Ledger.open(url).close()
    database = Database(url)
    from sqlalchemy import text

    with database.writing() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))
    database.engine.dispose()
    with pytest.raises(StorageError, match=r"newer Slickwatch .*0099.*; upgrade Slickwatch") as refused:
        Ledger.open(url)
    assert "\n" not in str(refused.value)


def test_the_migrations_make_the_tables_of_the_code(url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    Ledger.open(url).close()
    database = Database(url)
    with database.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    database.engine.dispose()
    scripts = ScriptDirectory(str(ROOT / "ingest" / "ledger" / "migrations"))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


def test_an_upgrade_that_breaks_off_leaves_the_old_tables(url, monkeypatch):
    import alembic.op

    def break_off(*args: object, **kwargs: object) -> None:
        raise StorageError("disk", "full", "make room")

    monkeypatch.setattr(alembic.op, "create_table", lambda *a, _make=alembic.op.create_table: (
        break_off() if a[0] == "scene_offers" else _make(*a)
    ))  # fmt: skip
    with pytest.raises(StorageError, match="disk"):
        Ledger.open(url)
    monkeypatch.undo()
    with Ledger.open(url) as ledger:
        assert ledger.list() == []


# Failures


@pytest.mark.parametrize(
    "address",
    ["postgresql://u:hunter2@127.0.0.1:1/scenes", "postgresql+psycopg://u@127.0.0.1:1/scenes?password=hunter2"],
)
def test_a_server_out_of_reach_is_told_in_one_line_without_the_password(address):
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed (extra postgresql)")
    with pytest.raises(SourceError, match="cannot reach the server") as refused:
        Ledger.open(address, patience_s=2)
    told = "".join(traceback.format_exception(refused.value))
    assert "hunter2" not in told
    assert "127.0.0.1:1/scenes" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_password_is_told_without_it(postgresql):
    wrong = postgresql.replace("s3cr3t", "hunter2") + "/postgres"
    with pytest.raises(SourceError, match="login refused") as refused:
        Ledger.open(wrong)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_a_password_of_the_server_is_in_no_name_and_no_failure(postgresql):
    with Ledger.open(postgresql + "/postgres") as ledger:
        assert "s3cr3t" not in ledger.name + repr(ledger) + str(ledger)
    with pytest.raises(SourceError, match="no such database") as refused:
        Ledger.open(postgresql + "/nowhere")
    assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))


def test_writers_wait_only_so_long(made):
    with Ledger.open(made) as holder, Ledger.open(made, patience_s=0.2) as waiter, holder._writing():
        with pytest.raises(StorageError, match="another process"):
            waiter.record_found("cdse", "bay", [scene()])
        assert waiter.list() == []  # readers do not wait


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("mysql://u:hunter2@host/db", "unsupported database"),
        ("postgresql://u:hunter2@host:port/db", "invalid URL"),
        ("sqlite://", "in-memory"),
        ("", "empty address"),
    ],
)
def test_other_addresses_are_refused(address, told):
    with pytest.raises(UsageError, match=told) as refused:
        Ledger.open(address)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_addresses_are_shown_without_secrets():
    shown_url = redacted(parse_url("postgres://u:hunter2@host/db?password=hunter2&sslmode=require"))
    assert shown_url == "postgresql://u:***@host/db"


def test_no_ledger_is_made_by_looking(tmp_path):
    with pytest.raises(UsageError, match="no such ledger"):
        Ledger.open(str(tmp_path / "none.sqlite"), create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text("a shopping list, long enough to be read as a header of a database" * 9)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not an SQLite database"):
        Ledger.open(str(path))
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot create its folder"):
        Ledger.open(str(tmp_path / "file" / "ledger.sqlite"))


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(str(path)) as ledger:
        ledger.record_found("cdse", "bay", [scene(n) for n in range(200)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 8192) + whole[-4096:])
    with pytest.raises(StorageError, match=r"damaged|failed"), Ledger.open(str(path)) as ledger:
        ledger.record_found("cdse", "bay", [scene(n) for n in range(400)])


def test_a_read_only_database_is_told(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger.open(str(path)).close()
    with Ledger.open(f"sqlite:///file:{path}?mode=ro&uri=true") as ledger:
        assert ledger.list() == []
        with pytest.raises(StorageError, match="cannot be written"):
            ledger.record_found("cdse", "bay", [scene()])


def test_on_a_full_disk_nothing_is_half_written(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(str(path)) as ledger:
        ledger.record_found("cdse", "bay", [scene()], T0)
        with full_after(150_000), pytest.raises(StorageError, match="disk"):
            ledger.record_found("cdse", "bay", [scene(n, unique="BEEF") for n in range(1, 500)], T0 + HOUR)
        assert (ledger.watermark("cdse", "bay"), len(ledger.list())) == (T0, 1)
        ledger.record_found("cdse", "bay", [scene(1)], T0 + HOUR)
    with closing(sqlite3.connect(path)) as raw, raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


def test_known_failures_have_their_exit_codes():
    assert issubclass(LeaseLost, SlickwatchError)
    assert (StorageError.exit_code, SourceError.exit_code) == (5, 4)


def test_a_scene_can_be_claimed_by_its_name(ledger, clock):
    ledger.record_found("cdse", "w", [scene(0), scene(1)])
    claim = ledger.claim_scene(name(1), "fetch", "a", 60)
    assert claim is not None
    assert claim.scene.id == name(1)
    assert ledger.claim_scene(name(1), "fetch", "b", 60) is None, "it is a's"
    assert ledger.waiting("fetch") == {name(0): 0}
    clock.forward(seconds=61)
    assert ledger.waiting("fetch") == {name(1): 1, name(0): 0}
    claim = ledger.claim_scene(name(1), "fetch", "b", 60)
    ledger.failed(claim, "no")
    assert ledger.claim_scene(name(1), "fetch", "b", 60) is None, "it is not due"
    with pytest.raises(UsageError, match="it is found, not fetched"):
        ledger.claim_scene(name(0), "process", "a", 60)
    with pytest.raises(UsageError, match="not in the ledger"):
        ledger.claim_scene(name(5), "process", "a", 60)


def test_a_processed_scene_is_processed_again_when_it_is_asked_for_by_name(ledger):
    ledger.record_found("cdse", "w", [scene()])
    ledger.fetched(ledger.claim_scene(name(), "fetch", "a", 60), "/data/x", 1, None)
    ledger.processed(ledger.claim_scene(name(), "process", "a", 60), "/r", "m1", None)
    assert ledger.waiting("process") == {}
    claim = ledger.claim_scene(name(), "process", "a", 60)
    assert claim.path == "/data/x"
    assert (ledger.get(name()).state, ledger.get(name()).result_folder) == ("fetched", "/r")
    ledger.processed(claim, "/r", "m2", None)
    assert ledger.get(name()).model_id == "m2"
    assert ledger.evict(name())
    with pytest.raises(UsageError, match="its file is deleted"):
        ledger.claim_scene(name(), "process", "a", 60)


def test_a_scene_knows_what_it_supersedes(ledger):
    ledger.record_found("cdse", "w", [scene(unique="0001"), scene(unique="0002", published=T0 + HOUR)])
    old, new = name(unique="0001"), name(unique="0002")
    assert ledger.standings(old) == {old: Standing("superseded", new), new: Standing("current")}
    assert ledger.outdated() == []
    with pytest.raises(UsageError, match=f"superseded, use {name(unique='0002')}"):
        ledger.claim_scene(name(unique="0001"), "fetch", "a", 60)


def test_a_worker_that_hangs_keeps_its_scene_no_longer_than_it_may(tmp_path):
    with Ledger.open(str(tmp_path / "ledger.sqlite")) as ledger:
        ledger.record_found("cdse", "w", [scene()])
        (claim,) = ledger.claim("fetch", "a", 0.3)
        with keep_lease(ledger, claim, longest_s=0.0):
            while not (others := ledger.claim("fetch", "b", 60)):
                time.sleep(0.05)
        assert others[0].token > claim.token
