"""The folder of scenes: its budget, what may go and what stays, and what it counts after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import SourceError, StorageError
from ingest.files import write_json
from ingest.locks import Stopped, try_lock
from ingest.store import SceneFolder
from tests.support.http_scenes import safe_zip, scene_names, scene_of

NAMES = scene_names(4)
DAY = 86400.0


def put(folder: SceneFolder, name: str, size: int, age: float) -> None:
    """A whole scene, last used so many seconds ago."""
    for path, content in ((folder.archive(name), bytes(size)), (folder.record(name), b"{}")):
        path.write_bytes(content)
        os.utime(path, (time.time() - age,) * 2)


def filled(path: Path, sizes: tuple[int, ...] = (100, 200, 300, 400)) -> SceneFolder:
    """Scenes of these sizes, the first the longest unused."""
    folder = SceneFolder(path)
    for number, size in enumerate(sizes):
        put(folder, NAMES[number], size, age=(10 - number) * DAY)
    return folder


def test_the_longest_unused_go_first_and_no_more_than_needed(tmp_path):
    folder = filled(tmp_path)
    assert folder.evict(1000, lambda name: True) == []
    assert folder.evict(999, lambda name: True) == NAMES[:1]
    assert folder.evict(450, lambda name: True) == NAMES[1:3]
    assert [one.id for one in folder.stored()] == NAMES[3:]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f".{NAMES[3]}.json", f"{NAMES[3]}.SAFE.zip"])


def test_a_use_makes_a_scene_young(tmp_path):
    folder = filled(tmp_path)
    with folder.use(NAMES[0]) as path:
        assert path == folder.archive(NAMES[0])
    assert folder.evict(900, lambda name: True) == NAMES[1:2]
    (tmp_path / f".{NAMES[2]}.json").unlink()
    folder.touch(NAMES[2])  # also where nothing was written down
    assert folder.evict(500, lambda name: True) == NAMES[3:]


def test_what_is_not_released_stays_whatever_the_budget(tmp_path):
    folder = filled(tmp_path)
    asked: list[str] = []
    assert folder.evict(0, lambda name: bool(asked.append(name)) or name == NAMES[2]) == [NAMES[2]]
    assert asked == NAMES
    assert folder.usage().scenes == 3


def test_what_is_read_or_fetched_is_not_even_asked_for(tmp_path):
    folder = filled(tmp_path)
    asked: list[str] = []
    with folder.use(NAMES[0]), folder.use(NAMES[0]), try_lock(tmp_path / f".{NAMES[1]}.lock"):
        evicted = folder.evict(0, lambda name: asked.append(name) or True)
    assert evicted == asked == NAMES[2:]
    assert folder.evict(0, lambda name: True) == [NAMES[1], NAMES[0]]  # by their last use


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=4), st.integers(0, 4000), st.integers(0, 15))
def test_the_budget_is_kept_or_nothing_more_may_go(tmp_path_factory, sizes, budget, released):
    folder = filled(tmp_path_factory.mktemp("scenes"), tuple(sizes))
    may_go = {name for number, name in enumerate(NAMES) if released >> number & 1}
    evicted = folder.evict(budget, may_go.__contains__)
    left = {one.id for one in folder.stored()}
    assert set(evicted) <= may_go
    assert left == set(NAMES[: len(sizes)]) - set(evicted)
    assert folder.usage().bytes <= budget or not left & may_go
    # One fewer would not have been enough.
    last = sizes[NAMES.index(evicted[-1])] if evicted else budget + 1
    assert folder.usage().bytes + last > budget


def test_unfinished_scenes_count_with_what_they_will_have(tmp_path):
    folder = filled(tmp_path, (100,))
    folder.part(NAMES[1]).write_bytes(bytes(10))
    write_json(folder.notes(NAMES[1]), {"total": 500})
    folder.part(NAMES[2]).write_bytes(bytes(30))  # its notes were lost
    usage = folder.usage({NAMES[1]: 400, NAMES[3]: 1000})
    assert (usage.scenes, usage.scene_bytes, usage.unfinished, usage.unfinished_bytes) == (1, 100, 3, 1530)
    assert usage.bytes == 1630
    assert folder.usage().bytes == 630


def test_the_missing_bytes_of_others_under_way_are_not_free(tmp_path, monkeypatch):
    folder = filled(tmp_path, ())
    folder.part(NAMES[1]).write_bytes(bytes(10))
    write_json(folder.notes(NAMES[1]), {"total": 500})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Disk", (), {"free": 1000}))
    folder.require_space(NAMES[0], missing=500, margin=10)
    with pytest.raises(StorageError, match=r"needs .* including the margin"):
        folder.require_space(NAMES[0], missing=501, margin=10)
    folder.require_space(NAMES[1], missing=990, margin=10)  # its own part is no other's
    os.utime(folder.part(NAMES[1]), (0, 0))  # nobody goes on with it
    folder.require_space(NAMES[0], missing=990, margin=10)


def test_tidying_removes_old_parts_and_the_rests_of_a_crash_but_nothing_that_is_held(tmp_path):
    folder = filled(tmp_path, (100,))
    for name, age in ((NAMES[1], 8 * DAY), (NAMES[2], 6 * DAY), (NAMES[3], 8 * DAY)):
        folder.part(name).write_bytes(b"part")
        write_json(folder.notes(name), {"total": 500})
        os.utime(folder.part(name), (time.time() - age,) * 2)
    lone = folder.record("S1A_gone")
    write_json(lone, {})
    lone.with_name(f"{lone.name}.0123456789ab.partial.json").write_text("{")
    write_json(folder.notes(NAMES[0]), {"total": 100})  # as after a crash right after the renaming
    (tmp_path / ".http.0.lock").touch()
    with try_lock(tmp_path / f".{NAMES[3]}.lock"):
        assert folder.tidy(days=7) == [NAMES[1]]
        assert (tmp_path / f".{NAMES[3]}.lock").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{NAMES[0]}.SAFE.zip", f".{NAMES[0]}.json",
        f".{NAMES[2]}.part", f".{NAMES[2]}.part.json", f".{NAMES[3]}.part", f".{NAMES[3]}.part.json",
    }  # fmt: skip


def test_admitting_and_condemning(tmp_path):
    archive = safe_zip(NAMES[0], 5000)
    scene, folder = scene_of(NAMES[0], archive), SceneFolder(tmp_path)
    folder.part(scene.id).write_bytes(bytes(3 << 20))
    folder.reject(scene, {"reason": "all zeros"})
    assert (folder.quarantine(scene.id) / "first_bytes").stat().st_size == 1 << 20
    reason = json.loads((folder.quarantine(scene.id) / "reason.json").read_text())
    assert (reason["reason"], reason["bytes"], reason["key"]) == ("all zeros", 3 << 20, NAMES[0])
    assert folder.usage().quarantined == 1
    folder.part(scene.id).write_bytes(archive)
    assert folder.admit(scene).read_bytes() == archive
    assert (folder.usage().quarantined, folder.usage().unfinished) == (0, 0)
    assert folder.is_recorded(scene)
    assert folder.has(scene)
    assert not folder.has(scene_of(NAMES[0], archive + b"x"))


def test_reading_waits_for_a_fetch_and_needs_a_scene(tmp_path):
    folder = filled(tmp_path, (100,))
    stop = threading.Event()
    stop.set()
    with try_lock(tmp_path / f".{NAMES[0]}.lock"), pytest.raises(Stopped), folder.use(NAMES[0], stop):
        pass
    with pytest.raises(SourceError, match=r": not in .*; fetch it first"), folder.use(NAMES[1]):
        pass


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, its holder removes it and another one makes and locks a new one."""
    path, lock = tmp_path / "lock", fcntl.flock
    with ExitStack() as other:

        def late(descriptor: int, kind: int) -> None:
            monkeypatch.setattr(fcntl, "flock", lock)
            path.unlink()
            assert other.enter_context(try_lock(path))
            lock(descriptor, kind)

        monkeypatch.setattr(fcntl, "flock", late)
        with try_lock(path) as free:
            assert not free
    with try_lock(path) as free:
        assert free


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="another file is in its place"):
        SceneFolder(tmp_path / "file" / "scenes").create()
