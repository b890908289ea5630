"""The folder of fetched scenes: its file names, verification records, disk budget and quarantine.

Names:
    <id>.SAFE.zip      a scene, complete and verified      .<id>.json       record of its verification
    .<id>.part         a scene that is being fetched       .<id>.part.json  which version is being fetched
    quarantine/<id>/   a scene that stayed broken, and why  .<id>.lock       held while any of these is changed
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.errors import SourceError, StorageError
from ingest.files import read_json, storage_errors, sync, write_json
from ingest.locks import hold_lock, try_lock
from ingest.scene import Scene
from ingest.verify import BLOCK, verified

_ARCHIVE, _PART, _LOCK = ".SAFE.zip", ".part", ".lock"
# The id names files: one from a catalogue must not escape the folder.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}")
_ACTIVE = 600.0  # seconds since its last byte during which a part's missing bytes count as reserved


@dataclass(frozen=True)
class Usage:
    """The folder's contents; unfinished scenes count with their final size in bytes."""

    scenes: int
    scene_bytes: int
    unfinished: int
    unfinished_bytes: int
    quarantined: int

    @property
    def bytes(self) -> int:
        """Bytes that count against the disk budget."""
        return self.scene_bytes + self.unfinished_bytes


@dataclass(frozen=True)
class Stored:
    """One whole scene in the folder."""

    id: str
    size: int  # bytes
    used: float  # seconds since the epoch: when it was last read, or else fetched


@dataclass(frozen=True)
class SceneFolder:
    """A folder of scenes, shared by threads and processes."""

    path: Path

    def archive(self, scene_id: str) -> Path:
        """Path of the complete scene, if it is there."""
        return self._file(scene_id, "", _ARCHIVE)

    def part(self, scene_id: str) -> Path:
        """Path where its bytes are collected."""
        return self._file(scene_id, ".", _PART)

    def notes(self, scene_id: str) -> Path:
        """Path of the note saying which version the collected bytes belong to."""
        return self._file(scene_id, ".", _PART + ".json")

    def record(self, scene_id: str) -> Path:
        """Path of the complete scene's verification record; its modification time is that of the last use."""
        return self._file(scene_id, ".", ".json")

    def quarantine(self, scene_id: str) -> Path:
        """Path of the quarantine folder and its reason, should the scene stay broken."""
        return self.path / "quarantine" / _checked(scene_id)

    def create(self) -> None:
        """Make the folder; `StorageError` if that fails."""
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def lock(self, scene_id: str, stop: threading.Event | None = None) -> AbstractContextManager[None]:
        """Hold one scene's files exclusively inside the block, waiting for other processes."""
        return hold_lock(self._lock_file(scene_id), stop=stop)

    def try_lock(self, scene_id: str) -> AbstractContextManager[bool]:
        """Hold one scene's files exclusively inside the block; the value is False if another process holds them."""
        return try_lock(self._lock_file(scene_id))

    @contextmanager
    def use(self, scene_id: str, stop: threading.Event | None = None) -> Iterator[Path]:
        """Keep a scene from eviction inside the block and note its use, once no other process is changing it.

        Raises `SourceError` if it is not there.
        """
        with hold_lock(self._lock_file(scene_id), stop=stop, shared=True):
            if not self.archive(scene_id).is_file():
                raise SourceError(scene_id, f"not in {self.path}", "fetch it first")
            self.touch(scene_id)
            yield self.archive(scene_id)

    def touch(self, scene_id: str) -> None:
        """Note that a scene was used now."""
        path = self.record(scene_id)
        os.utime(path if path.is_file() else self.archive(scene_id))

    def has(self, scene: Scene) -> bool:
        """Whether the scene is there, complete, in exactly this version; hashes it if that was never recorded."""
        archive = self.archive(scene.id)
        if not archive.is_file():
            return False
        if self.is_recorded(scene):
            return True
        with storage_errors(archive, "read"):
            whole = verified(archive, scene)
        if whole:
            write_json(self.record(scene.id), _record(scene, archive))
        return whole

    def is_recorded(self, scene: Scene) -> bool:
        """Whether the scene is there and was verified in exactly this version; nothing is hashed or locked."""
        archive = self.archive(scene.id)
        return archive.is_file() and read_json(self.record(scene.id)) == _record(scene, archive)

    def admit(self, scene: Scene) -> Path:
        """Rename the verified part, so that readers find the whole scene or none."""
        part, archive = self.part(scene.id), self.archive(scene.id)
        with storage_errors(archive):
            sync(part)
            os.replace(part, archive)
            write_json(self.record(scene.id), _record(scene, archive))  # also flushes the folder's entries
            self.notes(scene.id).unlink(missing_ok=True)
            shutil.rmtree(self.quarantine(scene.id), ignore_errors=True)
        return archive

    def reject(self, scene: Scene, reason: Mapping[str, object]) -> Path:
        """Put the first megabyte of the part into quarantine with the reason, and remove the part."""
        folder, part = self.quarantine(scene.id), self.part(scene.id)
        facts = {"id": scene.id, "source": scene.source, "key": scene.key, "checksum": scene.checksum}
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with open(part, "rb") as file:
                (folder / "first_bytes").write_bytes(file.read(BLOCK))
            found = {"bytes": part.stat().st_size, "at": datetime.now(UTC).isoformat(timespec="seconds")}
            write_json(folder / "reason.json", facts | {"promised_bytes": scene.size} | found | dict(reason))
        self.discard(scene.id)
        return folder

    def discard(self, scene_id: str) -> None:
        """Remove what has been received of a scene."""
        with storage_errors(self.path):
            self.part(scene_id).unlink(missing_ok=True)
            self.notes(scene_id).unlink(missing_ok=True)

    def stored(self) -> list[Stored]:
        """The complete scenes, least recently used first."""
        scenes = (self._stored(path) for path in self.path.glob("[!.]*" + _ARCHIVE))
        return sorted((one for one in scenes if one), key=lambda one: (one.used, one.id))

    def usage(self, promised: Mapping[str, int] | None = None) -> Usage:
        """Count what is there now, plus what is `promised`, in bytes by id.

        Nothing is kept between calls, so nothing is wrong after a crash.
        """
        scenes = self.stored()
        stored = {one.id for one in scenes}  # one that has just been admitted may still be promised
        unfinished = {scene_id: size for scene_id, size in (promised or {}).items() if scene_id not in stored}
        for part in self.path.glob(f".*{_PART}"):
            scene_id = part.name[1 : -len(_PART)]
            unfinished[scene_id] = max(unfinished.get(scene_id, 0), _expected(part))
        quarantined = sum(1 for _ in (self.path / "quarantine").glob("*/reason.json"))
        whole = sum(one.size for one in scenes)
        return Usage(len(scenes), whole, len(unfinished), sum(unfinished.values()), quarantined)

    def require_space(self, scene_id: str, missing: int, margin: int) -> None:
        """Raise `StorageError` if a scene's missing bytes, those of other downloads and the margin do not fit."""
        promised = missing + margin + sum(_missing(part) for part in self._parts_of_others(scene_id))
        with storage_errors(self.path, "read"):
            free = shutil.disk_usage(self.path).free
        if promised > free:
            problem = f"{scene_id} needs {megabytes(promised)} including the margin, {megabytes(free)} are free"
            raise StorageError(self.path, problem, "free some space or lower the disk budget")

    def evict(
        self, budget: int, release: Callable[[str], bool], promised: Mapping[str, int] | None = None
    ) -> list[str]:
        """Remove scenes, least recently used first, until the folder is within a budget in bytes; return their ids.

        `release` is called for each and returns whether it is processed and unused; it is not called for scenes that
        are being read or fetched. `promised`: bytes of scenes about to be fetched, by id.
        """
        above = self.usage(promised).bytes - budget
        evicted: list[str] = []
        for one in self.stored():
            if above <= 0:
                break
            if self._remove(one.id, release):
                evicted.append(one.id)
                above -= one.size
        return evicted

    def tidy(self, days: float) -> list[str]:
        """Remove parts untouched for so many days and locks and notes left by crashes; return the parts' ids."""
        stale = []
        for part in self.path.glob(f".*{_PART}"):
            scene_id = part.name[1 : -len(_PART)]
            with self.try_lock(scene_id) as free:
                if free and part.is_file() and time.time() - part.stat().st_mtime > days * 86400:
                    self.discard(scene_id)
                    stale.append(scene_id)
        self._sweep()
        return sorted(stale)

    def _remove(self, scene_id: str, release: Callable[[str], bool]) -> bool:
        with self.try_lock(scene_id) as free:
            if not free or not release(scene_id):
                return False
            with storage_errors(self.path):
                self.archive(scene_id).unlink(missing_ok=True)
                self.record(scene_id).unlink(missing_ok=True)
            return True

    def _sweep(self) -> None:
        """Remove locks that nobody holds, and records and notes without a file."""
        for path in self.path.glob(".*.lock"):
            with try_lock(path):
                pass
        for path in self.path.glob(".*.json*"):
            name = path.name[1:].partition(".json")[0]
            scene_id = name.removesuffix(_PART)
            subject = self.archive(scene_id) if name == scene_id else self.part(scene_id)
            if subject.exists():
                continue
            with self.try_lock(scene_id) as free:
                if free and not subject.exists():
                    path.unlink(missing_ok=True)

    def _stored(self, path: Path) -> Stored | None:
        scene_id = path.name.removesuffix(_ARCHIVE)
        try:
            status = path.stat()
        except FileNotFoundError:  # evicted meanwhile
            return None
        record = self.record(scene_id)
        used = max(status.st_mtime, record.stat().st_mtime if record.is_file() else 0.0)
        return Stored(scene_id, status.st_size, used)

    def _parts_of_others(self, scene_id: str) -> Iterator[Path]:
        return (part for part in self.path.glob(f".*{_PART}") if part != self.part(scene_id))

    def _lock_file(self, scene_id: str) -> Path:
        return self._file(scene_id, ".", _LOCK)

    def _file(self, scene_id: str, before: str, after: str) -> Path:
        return self.path / f"{before}{_checked(scene_id)}{after}"


def megabytes(size: int) -> str:
    """A human-readable size."""
    return f"{size / 1e6:,.1f} MB"


def _record(scene: Scene, archive: Path) -> dict[str, Any]:
    size = archive.stat().st_size
    return {"id": scene.id, "checksum": scene.checksum, "promised_bytes": scene.size, "bytes": size}


def _expected(part: Path) -> int:
    """Final size of a part in bytes."""
    total = read_json(part.with_name(part.name + ".json")).get("total")
    return max(_size(part), total if isinstance(total, int) else 0)


def _missing(part: Path) -> int:
    """Bytes still missing from a part, if it is being fetched."""
    try:
        idle = time.time() - part.stat().st_mtime
    except FileNotFoundError:
        return 0
    return max(0, _expected(part) - _size(part)) if idle < _ACTIVE else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # finished meanwhile
        return 0


def _checked(scene_id: str) -> str:
    if not _ID.fullmatch(scene_id) or ".." in scene_id:
        raise SourceError(repr(scene_id[:80]), "not a scene name", "check the source")
    return scene_id
