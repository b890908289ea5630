"""Rounds of watching, with a real ledger and a server on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.download import FetchOptions
from ingest.errors import SourceError, StorageError, TransientError, UsageError
from ingest.ledger.ledger import Ledger
from ingest.progress import download_name
from ingest.retries import RetryPolicy
from ingest.sources.source import Query
from ingest.store import SceneFolder
from ingest.watch import (
    Round,
    Watch,
    WatchOptions,
    release_file,
    stopping_on_signals,
    watch_forever,
    watch_once,
)
from tests.support.http_scenes import HttpScenes, SceneServer, safe_zip, scene_of, serving, small_scenes

QUICK = RetryPolicy(attempts=3, first_wait=0.001, longest_wait=0.002)
OPTIONS = WatchOptions(fetch=FetchOptions(margin=0, retries=QUICK), threads=2)
REPOSITORY = Path(__file__).parents[2]


class Watching:
    """One source, its server, a ledger whose clock stands still, and a folder."""

    def __init__(self, server: SceneServer, source: HttpScenes, ledger: Ledger, folder: Path) -> None:
        self.server, self.source, self.ledger, self.folder = server, source, ledger, folder
        self.now = datetime(2026, 3, 2, tzinfo=UTC)

    def round(self, options: WatchOptions = OPTIONS, **more) -> Round:
        return watch_once([Watch("north-sea", self.source, Query())], self.ledger, self.folder, options, **more)

    def states(self) -> dict[str, str]:
        return {one.id: one.state for one in self.ledger.list()}


@contextmanager
def watching(folder: Path, count: int = 5, size: int = 5000):
    scenes, archives = small_scenes(count, size)
    with serving(SceneServer(archives, scenes=scenes)) as server:
        source = HttpScenes(server.address)
        watching = Watching(server, source, None, folder / "scenes")
        with Ledger.open(str(folder / "ledger.sqlite"), clock=lambda: watching.now) as ledger:
            watching.ledger = ledger
            yield watching
        source.close()


def test_a_round_takes_all_that_is_new_exactly_once(tmp_path):
    with watching(tmp_path) as watched:
        bytes_of: dict[str, tuple[int, int]] = {}

        @contextmanager
        def shown(name):
            yield lambda *now: bytes_of.update({name: now})

        first = watched.round(shown=shown)
        names = {scene.id for scene in watched.server.scenes}
        assert (first.found, set(first.fetched), first.failed, first.stopped) == (5, names, {}, None)
        assert bytes_of == {download_name(scene.id): (scene.size, scene.size) for scene in watched.server.scenes}
        for scene in watched.server.scenes:
            record = watched.ledger.get(scene.id)
            assert (record.state, record.size, record.checksum) == ("fetched", scene.size, scene.checksum)
            assert Path(record.path).read_bytes() == watched.server.archives[scene.id]
        second = watched.round()
        assert (second.found, second.fetched) == (0, ())
        assert len(watched.server.requests) == 5
        assert watched.ledger.watermark("http", "north-sea") == watched.server.scenes[-1].published


class Listed:
    """A source of a fixed list, which remembers since when it was asked."""

    name = "listed"

    def __init__(self, scenes=(), failure: Exception | None = None, after: int = 0) -> None:
        self.scenes, self.failure, self.after, self.asked = list(scenes), failure, after, []

    def find(self, query, published_after):
        self.asked.append(published_after)
        for number, scene in enumerate(self.scenes):
            if self.failure is not None and number == self.after:
                raise self.failure
            yield replace(scene, source=self.name)
        if self.failure is not None and self.after >= len(self.scenes):
            raise self.failure

    def open(self, scene, offset):
        raise SourceError(scene.id, "HTTP 404", "none")


def test_the_catalogue_is_asked_from_the_watermark_less_the_overlap(tmp_path):
    scenes, _ = small_scenes(3)
    source = Listed(scenes)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    options = replace(OPTIONS, since=since, overlap=timedelta(hours=6), batch=2)
    with Ledger.open(str(tmp_path / "ledger.sqlite")) as ledger:
        for _ in range(2):
            watch_once([Watch("w", source, Query())], ledger, tmp_path / "scenes", options)
    assert source.asked == [since, scenes[-1].published - timedelta(hours=6)]


def test_a_catalogue_that_breaks_off_is_asked_again_from_where_it_was(tmp_path):
    scenes, _ = small_scenes(5)
    source = Listed(scenes, TransientError("cut off"), after=4)
    with Ledger.open(str(tmp_path / "ledger.sqlite")) as ledger:
        options = replace(OPTIONS, batch=2, overlap=timedelta(0))
        done = watch_once([Watch("w", source, Query())], ledger, tmp_path / "scenes", options)
    assert source.asked == [None, scenes[3].published, scenes[3].published]
    assert done.down == {"listed": "cut off"}
    assert done.found == 4


def test_a_source_that_is_down_does_not_keep_others_from_delivering(tmp_path):
    with watching(tmp_path) as watched:
        down = Listed(failure=SourceError("listed", "is out of reach", "try later"))
        watches = [Watch("a", down, Query()), Watch("b", watched.source, Query())]
        done = watch_once(watches, watched.ledger, watched.folder, OPTIONS)
        assert len(done.fetched) == 5
        assert done.down == {"listed": "listed: is out of reach; try later"}


def test_one_failing_scene_stops_no_other_and_is_tried_later(tmp_path):
    with watching(tmp_path) as watched:
        victim = watched.server.scenes[2].id
        watched.server.fault = lambda name: "503" if name == victim else None
        done = watched.round()
        assert len(done.fetched) == 4
        assert list(done.failed) == [victim]
        record = watched.ledger.get(victim)
        assert (record.state, record.attempts) == ("found", 1)
        assert "HTTP 503" in record.reason
        watched.server.fault = lambda name: None
        assert watched.round().fetched == ()
        watched.now = record.due_at
        assert watched.round().fetched == (victim,)


def test_an_outage_costs_no_scene_an_attempt(tmp_path):
    with watching(tmp_path) as watched:
        watched.server.fault = lambda name: "503"
        for _ in range(10):  # more rounds than the ledger allows attempts
            done = watched.round()
            assert (done.fetched, done.failed, list(done.down)) == ((), {}, ["http"])
        assert {one.attempts for one in watched.ledger.list()} == {0}
        watched.server.fault = lambda name: None
        assert len(watched.round().fetched) == 5


def test_a_lone_refusal_is_the_scenes_and_many_are_the_accounts(tmp_path):
    with watching(tmp_path, count=1) as watched:
        watched.server.fault = lambda name: "404"
        (reason,) = watched.round().failed.values()
        assert "HTTP 404" in reason
        assert watched.ledger.list()[0].attempts == 1
    with watching(tmp_path / "more", count=4) as watched:
        watched.server.fault = lambda name: "403"
        done = watched.round()
        assert (done.failed, list(done.down)) == ({}, ["http"])
        assert {one.attempts for one in watched.ledger.list()} == {0}


def test_a_broken_scene_goes_into_quarantine(tmp_path):
    with watching(tmp_path) as watched:
        victim = watched.server.scenes[2].id
        watched.server.fault = lambda name: "flip" if name == victim else None
        done = watched.round()
        assert len(done.fetched) == 4
        assert "its md5 is" in done.quarantined[victim]
        record = watched.ledger.get(victim)
        assert record.state == "quarantined"
        assert (Path(record.path) / "reason.json").is_file()


def test_an_unexpected_failure_is_told_by_its_kind_alone(tmp_path):
    with watching(tmp_path, count=3) as watched:
        opened = watched.source.open
        victim = watched.server.scenes[1].id

        def odd(scene, offset):
            if scene.id == victim:
                raise KeyError("https://host/?token=secret")
            return opened(scene, offset)

        watched.source.open = odd
        done = watched.round()
        assert done.failed == {victim: "unexpected KeyError"}
        assert len(done.fetched) == 2


def test_a_republished_scene_replaces_the_one_that_is_there(tmp_path):
    with watching(tmp_path, count=2) as watched:
        watched.round()
        name = watched.server.scenes[0].id
        new = safe_zip(name, 7000, seed=3)
        watched.server.archives[name] = new
        watched.server.scenes[0] = scene_of(name, new, number=500)
        assert watched.round().fetched == (name,)
        assert SceneFolder(watched.folder).archive(name).read_bytes() == new


def test_the_budget_lets_only_processed_scenes_go(tmp_path):
    with watching(tmp_path, count=4) as watched:
        size = watched.server.scenes[0].size
        done = watched.round(replace(OPTIONS, budget=3 * size))
        assert (len(done.fetched), done.evicted) == (3, ())
        assert "does not fit into the disk budget" in done.stopped
        assert sorted(watched.states().values()) == ["fetched"] * 3 + ["found"]
        assert {one.attempts for one in watched.ledger.list()} == {0}
        (claim,) = watched.ledger.claim("process", "me", 60)
        folder, processed = SceneFolder(watched.folder), claim.scene.id
        assert folder.evict(0, lambda name: release_file(watched.ledger, name)) == []
        watched.ledger.processed(claim, "results", "model", None)
        done = watched.round(replace(OPTIONS, budget=3 * size))
        assert (len(done.fetched), done.evicted, done.stopped) == (1, (processed,), None)
        assert not folder.archive(processed).exists()
        assert watched.ledger.get(processed).path is None


def test_a_file_that_the_ledger_does_not_know_or_has_not_recorded_stays(tmp_path):
    with watching(tmp_path, count=2) as watched:
        first, second = (scene.id for scene in watched.server.scenes)
        watched.ledger.record_found("http", "north-sea", watched.server.scenes[:1])
        assert not release_file(watched.ledger, first)  # fetched by one that died before it could say so
        assert not release_file(watched.ledger, second)
        assert not release_file(watched.ledger, "no-scene-at-all")


def test_a_full_disk_costs_no_attempt(tmp_path):
    with watching(tmp_path) as watched:
        done = watched.round(replace(OPTIONS, fetch=FetchOptions(margin=1 << 60)))
        assert "including the margin" in done.stopped
        assert {(one.state, one.attempts) for one in watched.ledger.list()} == {("found", 0)}
        assert len(watched.round().fetched) == 5


def test_a_stop_gives_all_claims_back(tmp_path):
    with watching(tmp_path) as watched:
        stop = threading.Event()

        @contextmanager
        def stopping(name):
            yield lambda *now: stop.set()

        done = watched.round(stop=stop, shown=stopping)
        assert done.stopped == "stopped by a signal"
        assert len(done.fetched) <= 2  # at most those under way
        assert {one.claimed_by for one in watched.ledger.list()} == {None}
        assert len(done.fetched) + len(watched.round().fetched) == 5


def test_names_are_given_once(tmp_path):
    with watching(tmp_path, count=1) as watched:
        twins = [Watch("a", watched.source, Query())] * 2
        with pytest.raises(UsageError, match="duplicate watch name"):
            watch_once(twins, watched.ledger, watched.folder)
        others = [Watch("a", watched.source, Query()), Watch("b", HttpScenes("http://other"), Query())]
        with pytest.raises(UsageError, match="duplicate source name"):
            watch_once(others, watched.ledger, watched.folder)
        others[1].source.close()


def test_for_ever_goes_on_after_a_round_that_fails_and_ends_at_the_event(caplog):
    stop, rounds = threading.Event(), []

    def once() -> Round:
        rounds.append(1)
        if len(rounds) == 2:
            raise StorageError("ledger", "is locked", "wait")
        if len(rounds) == 4:
            stop.set()
        return Round(0, (), {}, {}, (), {}, None, 0.0)

    reported: list[Round] = []
    watch_forever(once, 0.001, stop, reported.append)
    assert (len(rounds), len(reported)) == (4, 3)
    assert "ledger: is locked; wait" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_at_once_and_handlers_are_put_back(number):
    stop, before = threading.Event(), signal.getsignal(number)

    def once() -> Round:
        os.kill(os.getpid(), number)
        return Round(0, (), {}, {}, (), {}, None, 0.0)

    with stopping_on_signals(stop):
        # An hour between rounds: only the event ends it before the time-out of the test.
        watch_forever(once, 3600.0, stop, lambda done: None)
    assert signal.getsignal(number) is before


CRASH = """
import os, sys
from ingest import watch
from ingest.ledger.ledger import Ledger
from ingest.sources.source import Query
from tests.support.http_scenes import HttpScenes
from tests.ingest.test_watch import OPTIONS
Ledger.fetched = lambda *claim: os.kill(os.getpid(), 9)
with Ledger.open(sys.argv[2]) as ledger:
    watch.watch_once([watch.Watch("w", HttpScenes(sys.argv[1]), Query())], ledger, sys.argv[3], OPTIONS)
"""


def test_a_scene_that_was_fetched_but_not_recorded_is_not_fetched_again(tmp_path):
    with watching(tmp_path, count=1) as watched:
        arguments = [watched.server.address, str(tmp_path / "ledger.sqlite"), str(watched.folder)]
        died = subprocess.run([sys.executable, "-c", CRASH, *arguments], cwd=REPOSITORY, timeout=60)
        assert died.returncode == -signal.SIGKILL
        assert watched.ledger.outdated() == []
        watched.now = datetime.now(UTC)
        assert watched.round().fetched == ()  # the dead one's lease still runs
        watched.now += timedelta(seconds=OPTIONS.lease_s + 1)
        assert len(watched.round().fetched) == 1
        assert len(watched.server.requests) == 1
