"""Fetching one scene, against a server on loopback that fails as it is told."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import blake3
import pytest

from ingest import download as download_module
from ingest.download import BrokenScene, FetchOptions, Unreachable, fetch
from ingest.errors import SourceError, StorageError, TransientError
from ingest.locks import Stopped, try_lock
from ingest.retries import RetryPolicy
from ingest.store import SceneFolder
from tests.support.full_disk import full_after
from tests.support.http_scenes import (
    HttpScenes,
    SceneServer,
    faults,
    first,
    safe_zip,
    scene_names,
    scene_of,
    serving,
    small_scenes,
)

OPTIONS = FetchOptions(margin=0)
NAME = scene_names(1)[0]
REPOSITORY = Path(__file__).parents[2]


@dataclasses.dataclass
class Clock:
    """A sleep that takes no time and remembers."""

    waits: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


@contextmanager
def one_scene(fault=None, size=300_000, algorithm="md5"):
    archive = safe_zip(NAME, size)
    with serving(SceneServer({NAME: archive}, **({"fault": fault} if fault else {}))) as server:
        source = HttpScenes(server.address)
        try:
            yield server, source, scene_of(NAME, archive, algorithm=algorithm), archive
        finally:
            source.close()


def left_over(folder: Path) -> list[str]:
    """What lies in the folder beside archives and their records."""
    whole = {f".{path.name.removesuffix('.SAFE.zip')}.json" for path in folder.glob("*.SAFE.zip")}
    return sorted(path.name for path in folder.glob(".*") if path.name not in whole)


def test_thirty_scenes_with_a_fifth_of_requests_failing_end_complete(tmp_path):
    scenes, archives = small_scenes(30)
    clock = Clock()
    with serving(SceneServer(archives, fault=faults(0.2, seed=5))) as server, ThreadPoolExecutor(4) as pool:
        source = HttpScenes(server.address)
        paths = list(pool.map(lambda scene: fetch(source, scene, tmp_path, OPTIONS, sleep=clock), scenes))
        source.close()
    assert [path.read_bytes() for path in paths] == [archives[scene.id] for scene in scenes]
    assert sum(request.fault is not None for request in server.requests) >= 5
    assert left_over(tmp_path) == []
    assert not list((tmp_path / "quarantine").glob("*"))


def test_what_came_before_a_cut_is_not_fetched_again(tmp_path):
    with one_scene(first("cut")) as (server, source, scene, archive):
        path = fetch(source, scene, tmp_path, OPTIONS, sleep=Clock())
        assert path.read_bytes() == archive
        cut, rest = server.of(NAME)
        assert (cut.status, rest.status, rest.offset) == (200, 206, len(archive) // 2)
        assert server.sent(NAME) == len(archive)


def test_a_later_call_continues_what_an_earlier_one_left(tmp_path):
    policy = FetchOptions(margin=0, retries=RetryPolicy(attempts=1))
    with one_scene(first("cut")) as (server, source, scene, archive):
        with pytest.raises(Unreachable, match=r"failed 1 times \(.*the download resumes"):
            fetch(source, scene, tmp_path, policy, sleep=Clock())
        assert not SceneFolder(tmp_path).archive(NAME).exists()
        assert fetch(source, scene, tmp_path, policy, sleep=Clock()).read_bytes() == archive
        assert server.sent(NAME) == len(archive)


@pytest.mark.parametrize("change", ["checksum", "key", "size"])
def test_the_part_of_another_version_is_not_continued(tmp_path, change):
    with one_scene(first("cut")) as (server, source, scene, archive):
        other = {"checksum": f"md5:{'0' * 32}", "key": "elsewhere", "size": 299}[change]
        once = FetchOptions(margin=0, retries=RetryPolicy(attempts=1))
        with pytest.raises(Unreachable):
            fetch(source, dataclasses.replace(scene, **{change: other}), tmp_path, once, sleep=Clock())
        assert fetch(source, scene, tmp_path, OPTIONS, sleep=Clock()).read_bytes() == archive
        assert [request.offset for request in server.of(NAME)] == [0, 0]


def test_an_archive_that_changes_its_length_in_between_is_begun_anew(tmp_path):
    new, old = safe_zip(NAME, 300_000, seed=1), safe_zip(NAME, 200_000, seed=2)
    once = FetchOptions(margin=0, retries=RetryPolicy(attempts=1), downloads=1)
    with serving(SceneServer({NAME: old}, fault=first("cut"))) as server:
        source = HttpScenes(server.address)
        with pytest.raises(Unreachable, match=r"cut off|connection failed"):
            fetch(source, scene_of(NAME, new), tmp_path, once, sleep=Clock())
        server.archives[NAME] = new
        twice, seen = dataclasses.replace(once, retries=RetryPolicy(attempts=2)), []
        path = fetch(
            source, scene_of(NAME, new), tmp_path, twice, sleep=Clock(), progress=lambda *now: seen.append(now)
        )
        source.close()
    assert path.read_bytes() == new
    # The other length is seen when the rest is asked for, and nothing of that is read.
    assert [request.offset for request in server.of(NAME)] == [0, len(old) // 2, 0]
    assert seen == [(len(new), len(new))]


def test_an_archive_that_changes_under_its_length_is_found_out_by_its_checksum(tmp_path):
    new, old = safe_zip(NAME, 200_000, seed=1), safe_zip(NAME, 200_000, seed=2)
    assert len(new) == len(old)
    with serving(SceneServer({NAME: old}, fault=first("cut"))) as server:
        source = HttpScenes(server.address)
        once = FetchOptions(margin=0, retries=RetryPolicy(attempts=1), downloads=1)
        with pytest.raises(Unreachable):
            fetch(source, scene_of(NAME, new), tmp_path, once, sleep=Clock())
        server.archives[NAME] = new
        # Even with one download allowed: the first was none, it was pieces of two.
        assert fetch(source, scene_of(NAME, new), tmp_path, once, sleep=Clock()).read_bytes() == new
        source.close()
    assert [request.offset for request in server.of(NAME)] == [0, len(old) // 2, 0]


@pytest.mark.parametrize("algorithm", ["md5", "blake3"])
def test_a_wrong_checksum_is_tried_again_and_then_put_into_quarantine(tmp_path, algorithm):
    with one_scene(lambda name: "flip") as (server, source, scene, archive):
        right = {"md5": hashlib.md5(archive).hexdigest(), "blake3": blake3.blake3(archive).hexdigest()}[algorithm]
        scene = dataclasses.replace(scene, checksum=f"{algorithm}:{right.upper()}")
        with pytest.raises(
            BrokenScene, match=rf"{NAME}: damaged as downloaded from http: its {algorithm} is \w+, the cat"
        ):
            fetch(source, scene, tmp_path, OPTIONS, sleep=Clock())
        assert [request.offset for request in server.of(NAME)] == [0] * OPTIONS.downloads
        folder = SceneFolder(tmp_path).quarantine(NAME)
        reason = json.loads((folder / "reason.json").read_text())
        assert right.upper() in reason["reason"]
        assert (reason["bytes"], reason["promised_bytes"], len(reason["downloads"])) == (len(archive), len(archive), 3)
        assert len((folder / "first_bytes").read_bytes()) == len(archive)
        assert left_over(tmp_path) == []
        server.fault = lambda name: None
        assert fetch(source, scene, tmp_path, OPTIONS, sleep=Clock()).read_bytes() == archive
        assert not folder.exists()


def test_a_single_broken_download_is_mended_by_the_next(tmp_path):
    with one_scene(first("html", "flip")) as (server, source, scene, archive):
        assert fetch(source, scene, tmp_path, OPTIONS, sleep=Clock()).read_bytes() == archive
        assert len(server.of(NAME)) == 3


@pytest.mark.parametrize("damage", ["page", "flip", "short", "no manifest", "size"])
def test_without_a_checksum_the_zip_itself_is_examined(tmp_path, damage):
    archive = safe_zip(NAME, 50_000)
    served = {
        "page": b"<html>" * 1000,
        "flip": archive[:30_000] + b"\0\0\0\0" + archive[30_004:],
        "short": archive[:-30],
        "no manifest": archive.replace(b"manifest.safe", b"manifest.soft"),
        "size": archive,
    }[damage]
    expected = {"flip": "vv.tiff' is damaged", "no manifest": "without a manifest", "size": "has 50"}
    scene = dataclasses.replace(scene_of(NAME, served), checksum=None, size=None if damage != "size" else 7)
    with serving(SceneServer({NAME: served})) as server:
        source = HttpScenes(server.address)
        with pytest.raises(BrokenScene, match=expected.get(damage, "not a zip archive, or a truncated one")):
            fetch(source, scene, tmp_path, OPTIONS, sleep=Clock())
        source.close()


def test_a_sound_zip_without_checksum_and_size_is_taken(tmp_path):
    with one_scene(first("cut"), algorithm="none") as (server, source, scene, archive):
        scene = dataclasses.replace(scene, size=None)
        path = fetch(source, scene, tmp_path, OPTIONS, sleep=Clock())
        assert zipfile.ZipFile(path).testzip() is None
        assert server.sent(NAME) == len(archive)


@pytest.mark.parametrize("status", ["401", "403", "404", "410"])
def test_a_refusal_is_not_tried_again(tmp_path, status):
    clock = Clock()
    with one_scene(lambda name: status) as (server, source, scene, _):
        with pytest.raises(SourceError, match=status) as refused:
            fetch(source, scene, tmp_path, OPTIONS, sleep=clock)
        assert not isinstance(refused.value, Unreachable | BrokenScene)
        assert len(server.of(NAME)) == 1
    assert clock.waits == []


def test_retry_after_is_the_least_that_is_waited(tmp_path):
    clock, policy = Clock(), RetryPolicy(attempts=4, first_wait=0.5)
    with one_scene(first("429", "503", "429")) as (_server, source, scene, _):
        fetch(source, scene, tmp_path, FetchOptions(margin=0, retries=policy), sleep=clock)
    assert 7 <= clock.waits[0] <= 7.5
    assert 0 <= clock.waits[1] <= 1.0  # 0.5 s x 2^1, full jitter
    assert 7 <= clock.waits[2] <= 9.0


def test_attempts_and_time_come_to_an_end(tmp_path):
    clock = Clock()
    with one_scene(lambda name: "503") as (server, source, scene, _):
        with pytest.raises(Unreachable, match=r"http failed 3 times \(.*503"):
            fetch(source, scene, tmp_path, FetchOptions(margin=0, retries=RetryPolicy(attempts=3)), sleep=clock)
        assert (len(server.of(NAME)), len(clock.waits)) == (3, 2)
        server.fault, server.retry_after = (lambda name: "429"), "3600"
        # An hour's wait would lead beyond the time that is given.
        with pytest.raises(Unreachable, match="failed 1 times"):
            fetch(source, scene, tmp_path, FetchOptions(margin=0, retries=RetryPolicy(seconds=60)), sleep=clock)
    assert len(clock.waits) == 2


def test_a_server_without_range_and_one_that_announces_too_much(tmp_path):
    with one_scene(first("cut", "no range", "announce more")) as (server, source, scene, archive):
        assert fetch(source, scene, tmp_path, OPTIONS, sleep=Clock()).read_bytes() == archive
        assert [request.offset for request in server.of(NAME)] == [0, 0]
        shutil.rmtree(tmp_path)
        # All bytes are there although the server promised more: they are verified, not asked for again.
        assert fetch(source, scene, tmp_path, OPTIONS, sleep=Clock()).read_bytes() == archive
        assert len(server.of(NAME)) == 3


def test_a_trickle_is_a_stall(tmp_path, monkeypatch):
    """Each piece takes a minute by the clock: two of them are less than the least rate."""
    now = iter(range(0, 10**9, 60))
    monkeypatch.setattr(download_module.time, "monotonic", lambda: float(next(now)))

    class Trickle:
        offset, total = 0, 1000

        def __iter__(self):
            return iter([b"x"] * 1000)

    blocks = download_module._blocks(Trickle(), FetchOptions(stalled_after=90, stalled_below=16))
    assert next(blocks) == b"x"  # what came before it is kept
    with pytest.raises(TransientError, match="stalled: 2 bytes in 120 s"):
        next(blocks)


def test_what_is_there_is_not_fetched_again_but_another_version_is(tmp_path):
    with one_scene() as (server, source, scene, archive):
        path = fetch(source, scene, tmp_path, OPTIONS)
        assert fetch(source, scene, tmp_path, OPTIONS) == path
        (tmp_path / f".{NAME}.json").unlink()  # as after a crash right after the renaming
        assert fetch(source, scene, tmp_path, OPTIONS) == path
        assert len(server.of(NAME)) == 1
        new = safe_zip(NAME, 1000, seed=9)
        server.archives[NAME] = new
        assert fetch(source, scene_of(NAME, new), tmp_path, OPTIONS).read_bytes() == new
        assert len(server.of(NAME)) == 2
        path.write_bytes(archive)  # somebody put another file in its place
        assert fetch(source, scene_of(NAME, new), tmp_path, OPTIONS).read_bytes() == new


def test_a_hostile_id_names_no_file(tmp_path):
    with one_scene() as (server, source, scene, _):
        for name in ("../elsewhere", "/etc/passwd", ".hidden", "a/b"):
            with pytest.raises(SourceError, match="not a scene name"):
                fetch(source, dataclasses.replace(scene, id=name), tmp_path, OPTIONS)
        assert server.requests == []


def test_an_unknown_checksum_is_refused_before_any_byte(tmp_path):
    with one_scene() as (server, source, scene, _):
        with pytest.raises(SourceError, match="unknown checksum algorithm 'crc7'"):
            fetch(source, dataclasses.replace(scene, checksum="crc7:00"), tmp_path, OPTIONS)
        assert server.requests == []


def test_space_is_checked_before_and_a_full_disk_is_told(tmp_path):
    with one_scene() as (server, source, scene, archive):
        with pytest.raises(StorageError, match=r"needs .* including the margin, .* are free; free some space"):
            fetch(source, scene, tmp_path, FetchOptions(margin=1 << 60))
        assert server.requests == []
        with full_after(100_000), pytest.raises(StorageError, match=r"no space left to write it \(File too large\)"):
            fetch(source, scene, tmp_path, OPTIONS)
        assert fetch(source, scene, tmp_path, OPTIONS).read_bytes() == archive


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_really_full_disk_leaves_a_part_that_is_continued(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("no mounting here")
    try:
        with one_scene() as (_, source, scene, archive):
            unknown = dataclasses.replace(scene, size=None)
            with pytest.raises(StorageError, match="including the margin"):
                fetch(source, unknown, tmp_path, OPTIONS)  # found out by what the server announces
            (tmp_path / "other").write_bytes(bytes(100_000))
            subprocess.run(["mount", "-o", "remount,size=420k", tmp_path], check=True)
            (tmp_path / "other").unlink()
            assert fetch(source, unknown, tmp_path, OPTIONS).read_bytes() == archive
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_connections_to_a_source_are_counted_over_the_folder(tmp_path):
    """No more than `connections` requests are open at a time, though more scenes are asked for."""
    scenes, archives = small_scenes(12, size=1000)
    gauge, lock, most = [0], threading.Lock(), []

    class Counted(HttpScenes):
        @contextmanager
        def open(self, scene, offset):
            with lock:
                gauge[0] += 1
                most.append(gauge[0])
            try:
                with super().open(scene, offset) as stream:
                    yield stream
            finally:
                with lock:
                    gauge[0] -= 1

    with serving(SceneServer(archives)) as server, ThreadPoolExecutor(12) as pool:
        source = Counted(server.address)
        options = FetchOptions(margin=0, connections=2)
        list(pool.map(lambda scene: fetch(source, scene, tmp_path, options), scenes))
        source.close()
    assert (len(most), max(most)) == (12, 2)


def test_a_second_one_waits_and_a_stop_ends_the_wait(tmp_path):
    with one_scene() as (_, source, scene, archive):
        with try_lock(tmp_path / f".{NAME}.lock") as free:
            assert free
            stop = threading.Event()
            stop.set()
            with pytest.raises(Stopped):
                fetch(source, scene, tmp_path, OPTIONS, stop=stop)
        assert fetch(source, scene, tmp_path, OPTIONS).read_bytes() == archive


def test_a_stop_in_the_middle_keeps_what_came(tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "BLOCK", 1)  # each piece as it comes
    stop, seen = threading.Event(), []

    def watched(done: int, total: int) -> None:
        seen.append((done, total))
        stop.set()

    with one_scene(size=3_000_000) as (server, source, scene, archive):
        with pytest.raises(Stopped):
            fetch(source, scene, tmp_path, OPTIONS, stop=stop, progress=watched)
        came = seen[-1][0]
        assert 0 < came < len(archive)
        assert seen[-1][1] == len(archive)
        seen.clear()
        stop.clear()
        path = fetch(source, scene, tmp_path, OPTIONS, progress=lambda *now: seen.append(now))
        assert path.read_bytes() == archive
        assert server.of(NAME)[-1].offset == came
        assert seen[0][0] > came
        assert seen[-1] == (len(archive), len(archive))


FETCHER = """
import sys
from pathlib import Path
from tests.support.http_scenes import HttpScenes
from ingest.download import FetchOptions, fetch
from ingest.sources.source import Query
address, folder = sys.argv[1:3]
source = HttpScenes(address)
for scene in source.find(Query(), None):
    print(fetch(source, scene, folder, FetchOptions(margin=0), progress=lambda *now: print(*now, flush=True)).name)
"""


def fetcher(address: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCHER, address, str(folder)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def slow_server(pause: threading.Event | None = None, size: int = 4_000_000) -> tuple[SceneServer, bytes]:
    archive = safe_zip(NAME, size)
    server = SceneServer({NAME: archive}, scenes=[scene_of(NAME, archive)])
    server.pause = pause
    return server, archive


def test_two_processes_at_once_fetch_once_and_a_reader_sees_all_or_nothing(tmp_path):
    pause = threading.Event()
    server, archive = slow_server(pause)
    seen: set[int] = set()
    with serving(server):
        both = [fetcher(server.address, tmp_path) for _ in range(2)]
        path = SceneFolder(tmp_path).archive(NAME)
        ready, _, _ = select.select([process.stdout for process in both], [], [], 30)
        # One has come half-way and is held there, the other waits for it.
        assert [int(output.readline().split()[0]) < len(archive) for output in ready] == [True]
        assert not path.exists()
        pause.set()
        while any(process.poll() is None for process in both):
            if path.exists():
                seen.add(path.stat().st_size)
            time.sleep(0.002)
        names = [process.communicate()[0].split()[-1] for process in both]
    assert names == [path.name] * 2
    assert seen <= {len(archive)}
    assert path.read_bytes() == archive
    assert server.sent(NAME) == len(archive)
    assert left_over(tmp_path) == []


def test_after_kill_9_the_next_one_goes_on_where_it_was(tmp_path):
    pause = threading.Event()
    server, archive = slow_server(pause)
    with serving(server):
        victim = fetcher(server.address, tmp_path)
        assert victim.stdout is not None
        victim.stdout.readline()
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        part = SceneFolder(tmp_path).part(NAME)
        there = part.stat().st_size
        assert there > 0
        assert not SceneFolder(tmp_path).archive(NAME).exists()
        pause.set()
        source = HttpScenes(server.address)
        path = fetch(source, server.scenes[0], tmp_path, OPTIONS)
        source.close()
    assert path.read_bytes() == archive
    assert server.of(NAME)[-1].offset == there
    assert left_over(tmp_path) == []
