"""Fetch one scene from a source: resumable, verified, and visible to others only once complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import tenacity

from ingest.errors import SourceError, TransientError
from ingest.files import read_json, storage_errors, write_json
from ingest.locks import Stopped, hold_lock
from ingest.retries import RetryPolicy, Sleep, retrying
from ingest.scene import Scene
from ingest.sources.source import ByteStream, Query, SceneSource
from ingest.store import SceneFolder
from ingest.verify import BLOCK, Digest, flaw, hash_file, new_digest

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class FetchOptions:
    """How a scene is fetched."""

    connections: int = 4  # at a time to one source, over all processes that share the folder
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    margin: int = 1 << 30  # bytes to keep free on the disk
    downloads: int = 3  # full downloads before a scene that is still broken is quarantined
    stalled_after: float = 60.0  # seconds in which at least `stalled_below` bytes must come
    stalled_below: int = 16 * 1024


class Unreachable(SourceError):
    """Transient failures used up all attempts; what was received is kept for resuming."""


class BrokenScene(SourceError):
    """A scene that never arrives as the catalogue describes it; it is in quarantine."""


@runtime_checkable
class LocalSource(Protocol):
    """A source whose scenes are on a local disk and need no fetching."""

    def local_path(self, scene: Scene) -> Path | None:
        """The scene's archive or folder, or None if it has to be fetched after all."""


def find_scene(source: SceneSource, wanted: Scene, retries: RetryPolicy | None = None) -> Scene:
    """The scene with the id of `wanted`, as listed by the source.

    Mode, orbit and time from the name narrow the listing to a few scenes. Raises `SourceError` if it is not listed, and
    `Unreachable` if the attempts are used up.
    """
    try:
        return retrying(retries or RetryPolicy(), time.sleep)(_listed, source, wanted)
    except TransientError as error:
        raise Unreachable(wanted.id, f"{source.name} cannot be asked for it ({error})", "try again later") from error


def _listed(source: SceneSource, wanted: Scene) -> Scene:
    query = Query(
        mode=wanted.mode,
        product_type=wanted.product_type,
        polarisation=wanted.polarisations[0],
        relative_orbit=wanted.relative_orbit,
    )
    for scene in source.find(query, wanted.acquired_start):  # no scene is published before it is acquired
        if scene.id == wanted.id:
            return scene
    raise SourceError(wanted.id, f"{source.name} does not list it", "check the name, or try another --source")


def fetch(
    source: SceneSource,
    scene: Scene,
    folder: str | Path,
    options: FetchOptions | None = None,
    *,
    progress: Progress = lambda done, total: None,
    stop: threading.Event | None = None,
    sleep: Sleep | None = None,
) -> Path:
    """Fetch one scene into a folder as ``<id>.SAFE.zip`` and return its path; an existing one is not fetched again.

    If the same scene is already being fetched, waits for it. Raises `Unreachable` if the attempts are used up,
    `BrokenScene` if the archive stays broken, `SourceError` if the source refuses, `StorageError` if the disk fails,
    and `Stopped` if the event was set; the next call resumes from what was received, even after a ``kill -9``.
    """
    if isinstance(source, LocalSource) and (local := source.local_path(scene)) is not None:
        return local
    scenes, stop = SceneFolder(Path(folder)), stop or threading.Event()
    scenes.create()
    if scenes.is_recorded(scene):
        return scenes.archive(scene.id)
    with scenes.lock(scene.id, stop):
        if scenes.has(scene):
            return scenes.archive(scene.id)
        download = _Download(source, scene, scenes, options or FetchOptions(), progress, stop)
        return download.run(sleep or tenacity.sleep_using_event(stop))


@dataclass
class _Part:
    """The bytes received so far of one scene, their hash, and a note of which version they belong to."""

    scenes: SceneFolder
    scene: Scene
    identity: dict[str, object]
    size: int = 0
    total: int | None = None
    digest: Digest | None = None

    @classmethod
    def resume(cls, scenes: SceneFolder, scene: Scene, source: str) -> _Part:
        """Resume what an earlier process left, if it is exactly this version from this source."""
        identity: dict[str, object] = {"id": scene.id, "checksum": scene.checksum, "promised_bytes": scene.size}
        part = cls(scenes, scene, identity | {"source": source, "key": scene.key}, digest=new_digest(scene))
        notes = read_json(scenes.notes(scene.id))
        if part.path.is_file() and notes == part.identity | {"total": notes.get("total")}:
            part.total = notes["total"]
            part.cut_to(part.path.stat().st_size)
        else:
            part.cut_to(0)
        return part

    @property
    def path(self) -> Path:
        return self.scenes.part(self.scene.id)

    @property
    def promised(self) -> int | None:
        return self.scene.size if self.total is None else self.total

    @property
    def is_complete(self) -> bool:
        return self.size > 0 and self.size in (self.total, self.scene.size)

    @property
    def missing(self) -> int:
        return max(0, (self.promised or 0) - self.size)

    def cut_to(self, size: int) -> None:
        """Keep only the first bytes and rehash them; if the length is unknown, keep nothing."""
        if self.promised is None or size > self.promised:
            size = 0
        if size == 0:
            self.scenes.discard(self.scene.id)
            self.total = None
        else:
            with storage_errors(self.path), open(self.path, "r+b") as file:
                file.truncate(size)
        self.size, self.digest = size, new_digest(self.scene)
        if size:
            hash_file(self.path, self.digest)

    def align(self, stream: ByteStream) -> None:
        """Align the bytes on disk with the stream; `TransientError` if they belong to two different archives."""
        changed = self.total is not None and stream.total is not None and stream.total != self.total
        if stream.offset > 0 and (changed or stream.offset > self.size):
            self.cut_to(0)
            raise TransientError("the archive has changed at the source since the download began", retry_after=0)
        if stream.offset != self.size:
            self.cut_to(stream.offset)
        if stream.total is not None and stream.total != self.total:
            self.total = stream.total
            write_json(self.scenes.notes(self.scene.id), self.identity | {"total": self.total})


@dataclass
class _Download:
    source: SceneSource
    scene: Scene
    scenes: SceneFolder
    options: FetchOptions
    progress: Progress
    stop: threading.Event

    def run(self, sleep: Sleep) -> Path:
        """Receive, verify and admit; a broken archive is fetched again before giving up."""
        part = _Part.resume(self.scenes, self.scene, self.source.name)
        flaws: list[str] = []
        while True:
            is_resumed = part.size > 0
            self._download(part, sleep)
            wrong = flaw(part.path, self.scene, part.digest)
            if wrong is None:
                return self.scenes.admit(self.scene)
            # The first bytes may be from an older version or a crash: only a download in one process counts.
            flaws += [] if is_resumed else [wrong]
            if len(flaws) >= self.options.downloads:
                raise self._broken(flaws)
            part.cut_to(0)

    def _download(self, part: _Part, sleep: Sleep) -> None:
        count = 0
        try:
            for attempt in retrying(self.options.retries, sleep):
                with attempt:
                    count += 1
                    self._attempt(part)
        except TransientError as error:
            problem = f"download from {self.source.name} failed {count} times ({error})"
            raise Unreachable(self.scene.id, problem, "try again later: the download resumes") from error

    def _attempt(self, part: _Part) -> None:
        if self.stop.is_set():
            raise Stopped
        if part.promised is None:
            part.cut_to(0)
        if part.is_complete:
            return
        self.scenes.require_space(self.scene.id, part.missing, self.options.margin)
        with self._connection(), self.source.open(self.scene, part.size) as stream:
            part.align(stream)
            self.scenes.require_space(self.scene.id, part.missing, self.options.margin)
            self._append(part, stream)
        if part.missing:
            raise TransientError(f"cut off after {part.size} of {part.promised} bytes")

    def _append(self, part: _Part, stream: ByteStream) -> None:
        """Write each block while the previous one is hashed, and hash it while the next one arrives."""
        with storage_errors(part.path), open(part.path, "ab") as file, _hashing(part.digest) as hashed:
            for block in _blocks(stream, self.options):
                if self.stop.is_set():
                    raise Stopped
                hashed(block)
                file.write(block)
                part.size += len(block)
                self.progress(part.size, max(part.size, part.promised) if part.promised else 0)

    def _connection(self) -> AbstractContextManager[None]:
        names = (f".{self.source.name}.{number}.lock" for number in range(self.options.connections))
        return hold_lock(*(self.scenes.path / name for name in names), stop=self.stop)

    def _broken(self, flaws: list[str]) -> BrokenScene:
        problem = f"damaged as downloaded from {self.source.name}: {flaws[-1]}"
        reason = {"reason": problem, "downloads": flaws}
        where = self.scenes.reject(self.scene, reason)
        return BrokenScene(self.scene.id, problem, f"see {where}; fetch it again once the provider has repaired it")


@contextmanager
def _hashing(digest: Digest | None) -> Iterator[Callable[[bytes], None]]:
    """Hash blocks in order on another thread, at most one behind."""
    if digest is None:
        yield lambda block: None
        return
    pending: list[Future[object]] = []

    def hashed(block: bytes) -> None:
        while pending:
            pending.pop().result()
        pending.append(pool.submit(digest.update, block))

    with ThreadPoolExecutor(1) as pool:  # leaving it waits for the last block
        yield hashed


def _blocks(stream: ByteStream, options: FetchOptions) -> Iterator[bytes]:
    """The stream in blocks of 1 MB or its last piece more; raises `TransientError` where it trickles or breaks off.

    Whatever arrived before it broke off is still yielded.
    """
    pieces: list[bytes] = []
    try:
        for piece in _with_stall_check(stream, options):
            pieces.append(piece)
            if sum(map(len, pieces)) >= BLOCK:
                yield b"".join(pieces)
                pieces.clear()
    except (TransientError, OSError) as error:
        yield b"".join(pieces)
        raise error if isinstance(error, TransientError) else TransientError(type(error).__name__) from error
    yield b"".join(pieces)


def _with_stall_check(stream: ByteStream, options: FetchOptions) -> Iterator[bytes]:
    """The stream's pieces; a source's own time-out sees silence, this sees a trickle."""
    since, came = time.monotonic(), 0
    for piece in stream:
        came += len(piece)
        now = time.monotonic()
        if now - since > options.stalled_after:
            if came < options.stalled_below:
                raise TransientError(f"stalled: {came} bytes in {now - since:.0f} s")
            since, came = now, 0
        yield piece
