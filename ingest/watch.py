"""One round of watching: new scenes go from the sources into the ledger, then into the scene folder."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import tenacity

from ingest.download import BrokenScene, FetchOptions, LocalSource, Unreachable, fetch
from ingest.errors import SlickwatchError, SourceError, StorageError, TransientError, UnreadableInput, UsageError
from ingest.files import read_json, write_json
from ingest.ledger.ledger import Ledger, keep_lease
from ingest.ledger.records import Claim, LeaseLost
from ingest.locks import Stopped
from ingest.progress import Advance, Begin, download_name, unseen
from ingest.retries import retrying
from ingest.scene import Scene
from ingest.sources.inbox import Inbox
from ingest.sources.source import Query, SceneSource
from ingest.store import SceneFolder, megabytes

_LOG = logging.getLogger(__name__)
# This many scenes refused in a row, and none delivered, points to the account rather than the scenes.
_REFUSALS = 3
# Not the failed ones: they may be retried with the existing file.
_DONE = {"processed", "superseded", "duplicate", "forgotten"}

_PASSED_OVER = ".passed-over"
SIGNALLED = "stopped by a signal"


@dataclass(frozen=True)
class Watch:
    """What is watched for, and where; the name is that of its watermark."""

    name: str
    source: SceneSource
    query: Query


@dataclass(frozen=True)
class WatchOptions:
    """Options of a round."""

    overlap: timedelta = timedelta(days=1)  # before the watermark, for scenes that a catalogue lists late
    since: datetime | None = None  # publication time to begin a new watch with; None takes all there is
    batch: int = 200  # scenes in one transaction of the ledger
    threads: int = 4
    lease_s: float = 60.0
    fetch: FetchOptions = field(default_factory=FetchOptions)
    budget: int | None = None  # bytes of scenes in the folder
    stale_days: float = 7.0  # after which an abandoned partial download is removed


@dataclass(frozen=True)
class Round:
    """The outcome of a round."""

    found: int  # scenes not known before
    fetched: tuple[str, ...]
    failed: dict[str, str]  # id: reason; the ledger says when each is tried again
    quarantined: dict[str, str]
    evicted: tuple[str, ...]
    down: dict[str, str]  # source: reason; its scenes wait for the next round
    stopped: str | None  # why scenes were left waiting: a signal, a full disk, a full budget
    seconds: float
    passed_over: dict[str, str] = field(default_factory=dict)  # watch: products outside its area, told of once


def watch_once(
    watches: Sequence[Watch],
    ledger: Ledger,
    folder: str | Path,
    options: WatchOptions | None = None,
    *,
    stop: threading.Event | None = None,
    shown: Begin = unseen,
) -> Round:
    """Find, record, and fetch what waits. One scene's or one source's failure never stops the others.

    `shown` is opened with the name of each download, and what it gives is called with the bytes that have come.

    Raises `StorageError` or `SourceError` where the ledger itself, or the folder, cannot be used, and `UsageError` for
    two watches of one name or two sources of one name.
    """
    _require_unique_names(watches)
    scenes = SceneFolder(Path(folder))
    scenes.create()
    return _Round(watches, ledger, scenes, options or WatchOptions(), stop or threading.Event(), shown).run()


def watch_forever(
    once: Callable[[], Round], interval_s: float, stop: threading.Event, report: Callable[[Round], None]
) -> None:
    """Run a round every `interval_s` seconds, from start to start, until the event is set.

    A round that fails altogether (no ledger, no folder) is logged and retried like any other.
    """
    while not stop.is_set():
        began = time.monotonic()
        try:
            report(once())
        except SlickwatchError as error:
            _LOG.error("%s", error)
        stop.wait(max(0.0, interval_s - (time.monotonic() - began)))


@contextmanager
def stopping_on_signals(stop: threading.Event) -> Iterator[threading.Event]:
    """Let SIGTERM and SIGINT set the event inside the block (main thread only); a second one ends the process."""
    # An event must not be set in a handler, which may interrupt its own `wait`; this queue may be filled there.
    came: SimpleQueue[bool] = SimpleQueue()

    def handle(number: int, frame: object) -> None:
        signal.signal(number, former[number])
        came.put(True)

    def forward() -> None:
        if came.get():
            stop.set()

    former: dict[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    forwarder = threading.Thread(target=forward, name="signals", daemon=True)
    forwarder.start()
    try:
        yield stop
    finally:
        came.put(False)
        forwarder.join()
        for number, handler in former.items():
            signal.signal(number, handler)


@dataclass
class _Round:
    watches: Sequence[Watch]
    ledger: Ledger
    scenes: SceneFolder
    options: WatchOptions
    stop: threading.Event
    shown: Begin

    def __post_init__(self) -> None:
        self.sources = {watch.source.name: watch.source for watch in self.watches}
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.lock = threading.Lock()  # of all below
        self.found = 0
        self.fetched: list[str] = []
        self.failed: dict[str, str] = {}
        self.quarantined: dict[str, str] = {}
        self.evicted: list[str] = []
        self.down: dict[str, str] = {}
        self.stopped: str | None = None
        self.passed_over: dict[str, str] = {}
        self.promised: dict[str, int] = {}  # bytes by id of what is being fetched
        self.delivered: set[str] = set()  # names of sources
        self.refusals: dict[str, list[tuple[Claim, SourceError]]] = defaultdict(list)

    def run(self) -> Round:
        began = time.monotonic()
        self.scenes.tidy(self.options.stale_days)
        for watch in self.watches:
            self._find(watch)
        with ThreadPoolExecutor(self.options.threads, thread_name_prefix="fetch") as pool:
            for worker in [pool.submit(self._work) for _ in range(self.options.threads)]:
                worker.result()
        self._settle_refusals()
        if self.stop.is_set():
            self.stopped = SIGNALLED
        return Round(
            self.found, tuple(self.fetched), self.failed, self.quarantined, tuple(self.evicted), self.down,
            self.stopped, round(time.monotonic() - began, 3), self.passed_over,
        )  # fmt: skip

    def _find(self, watch: Watch) -> None:
        try:
            for attempt in retrying(self.options.fetch.retries, tenacity.sleep_using_event(self.stop)):
                with attempt:
                    self._record_all(watch)
        except Stopped:
            return
        except (TransientError, SourceError) as error:
            _LOG.warning("%s: %s", watch.name, error)
            self.down[watch.source.name] = str(error)

    def _record_all(self, watch: Watch) -> None:
        """Record finds batch by batch: each attempt continues from the watermark left by the last."""
        mark = self.ledger.watermark(watch.source.name, watch.name)
        after = self.options.since if mark is None else mark - self.options.overlap
        inside = 0
        for batch in _batches(watch.source.find(watch.query, after), self.options.batch):
            published = max((one.published for one in batch if one.published), default=None)
            self.found += len(self.ledger.record_found(watch.source.name, watch.name, batch, published))
            inside += len(batch)
            if self.stop.is_set():
                raise Stopped
        if isinstance(watch.source, Inbox):
            self._note_passed_over(watch, watch.source, inside)

    def _note_passed_over(self, watch: Watch, inbox: Inbox, inside: int) -> None:
        """Say once of each product in the inbox that it lies outside the watch's area."""
        all_noted = passed_over(self.scenes.path)
        noted = all_noted.get(watch.name, {})
        new = sorted(id for path, id in inbox.passed_over.items() if str(path) not in noted)
        noted = {path: id for path, id in noted.items() if os.path.exists(path)}
        noted |= {str(path): id for path, id in inbox.passed_over.items()}
        if noted != all_noted.get(watch.name, {}):
            write_json(self.scenes.path / _PASSED_OVER, all_noted | {watch.name: noted})
        if new:
            total = inside + len(inbox.passed_over)
            products = "1 product" if total == 1 else f"{total} products"
            line = f"{products} in the {inbox.name}, {inside} in area {watch.name}; outside: {', '.join(new)}"
            self._note(self.passed_over, watch.name, line)

    def _work(self) -> None:
        """Fetch scene after scene until none is waiting."""
        while not self.stop.is_set() and self.stopped is None:
            usable = set(self.sources) - set(self.down)
            claims = self.ledger.claim("fetch", self.owner, self.options.lease_s, 1, usable) if usable else []
            if not claims:
                return
            with suppress(LeaseLost):  # another worker has it now, and its result counts
                self._fetch(claims[0])

    def _fetch(self, claim: Claim) -> None:
        scene = claim.scene
        try:
            with keep_lease(self.ledger, claim) as check, self._reserved(scene), self._shown(scene) as advance:

                def received(done: int, total: int) -> None:
                    check()
                    advance(done, total)

                source = self.sources[scene.source]
                path = fetch(source, scene, self.scenes.path, self.options.fetch, progress=received, stop=self.stop)
        except LeaseLost:
            raise
        except Stopped:
            self.ledger.release(claim)
        except StorageError as error:
            # A disk failure is not the scene's fault and costs it no attempt.
            self.stopped = str(error)
            self.ledger.release(claim)
        except BrokenScene as error:
            self.ledger.quarantined(claim, error.problem, str(self.scenes.quarantine(scene.id).absolute()))
            self._note(self.quarantined, scene.id, error.problem)
        except SourceError as error:
            self._record_refusal(claim, error)
        except Exception as error:
            # Its text may contain an address with a secret, so only its kind is given.
            _LOG.error("%s: unexpected %s", scene.id, type(error).__name__)
            self._fail(claim, f"unexpected {type(error).__name__}")
        else:
            self._record_fetched(claim, path)

    def _shown(self, scene: Scene) -> AbstractContextManager[Advance]:
        is_here = isinstance(self.sources[scene.source], LocalSource)
        return unseen(scene.id) if is_here else self.shown(download_name(scene.id))

    def _record_fetched(self, claim: Claim, path: Path) -> None:
        scene = claim.scene
        taken = self.ledger.fetched(claim, str(path.absolute()), _bytes(path), scene.checksum)
        with self.lock:
            self.delivered.add(scene.source)
            self.fetched += [scene.id] if taken else []
            refusals = self.refusals.pop(scene.source, [])
        for other, error in refusals:
            self._fail(other, error.problem)

    def _record_refusal(self, claim: Claim, error: SourceError) -> None:
        """Attribute the failure to the scene if its source delivers others; until that is known, keep the claim."""
        source = claim.scene.source
        with self.lock:
            is_up = source in self.delivered
            if not is_up:
                self.refusals[source].append((claim, error))
            if len(self.refusals[source]) >= _REFUSALS:
                self.down.setdefault(source, str(error))
            is_down = source in self.down
        if is_up:
            self._fail(claim, error.problem)
        elif is_down:
            self._blame_source(source)

    def _blame_source(self, source: str) -> None:
        """A source that is down costs the scenes no attempts, or an outage of a few hours would use them all up."""
        with self.lock:
            refusals = self.refusals.pop(source, [])
            if refusals:
                self.down.setdefault(source, str(refusals[-1][1]))
        for claim, _ in refusals:
            with suppress(LeaseLost):
                self.ledger.release(claim)

    def _settle_refusals(self) -> None:
        """After few failures and no delivery, attribute refusals to the scene and other failures to the source."""
        for source in list(self.refusals):
            refused = [one for one in self.refusals[source] if not isinstance(one[1], Unreachable)]
            for claim, error in refused:
                self.refusals[source].remove((claim, error))
                self._fail(claim, error.problem)
            self._blame_source(source)

    def _fail(self, claim: Claim, reason: str) -> None:
        with suppress(LeaseLost):
            self.ledger.failed(claim, reason)
        self._note(self.failed, claim.scene.id, reason)

    def _note(self, notes: dict[str, str], scene_id: str, reason: str) -> None:
        _LOG.warning("%s: %s", scene_id, reason)
        with self.lock:
            notes[scene_id] = reason

    @contextmanager
    def _reserved(self, scene: Scene) -> Iterator[None]:
        """Make room for a scene in the budget and reserve it inside the block; raises `StorageError`."""
        with self.lock:
            self.promised[scene.id] = scene.size or 0
            try:
                self._evict_for(scene)
            except BaseException:
                del self.promised[scene.id]
                raise
        try:
            yield
        finally:
            with self.lock:
                del self.promised[scene.id]

    def _evict_for(self, scene: Scene) -> None:
        budget = self.options.budget
        lies_elsewhere = isinstance(self.sources[scene.source], LocalSource)
        if budget is None or lies_elsewhere or self.scenes.archive(scene.id).exists():
            return
        self.evicted += self.scenes.evict(budget, lambda one: release_file(self.ledger, one), self.promised)
        used = self.scenes.usage(self.promised).bytes
        if used > budget:
            problem = f"{scene.id} does not fit into the disk budget of {megabytes(budget)}, no scene can be evicted"
            raise StorageError(self.scenes.path, problem, "process the waiting scenes or raise the budget")


def passed_over(folder: Path) -> dict[str, dict[str, str]]:
    """By watch, the ids by path of the products in inboxes that lie outside its area."""
    try:
        noted: dict[str, dict[str, str]] = read_json(folder / _PASSED_OVER)
    except FileNotFoundError:
        return {}
    return noted


def release_file(ledger: Ledger, scene_id: str) -> bool:
    """Release a scene's file in the ledger: True if the ledger no longer needs it and nobody uses it.

    A file unknown to the ledger stays: somebody put it there, or it is not recorded yet.
    """
    try:
        return ledger.get(scene_id).state in _DONE and ledger.evict(scene_id)
    except (UsageError, UnreadableInput):
        return False


def _batches(scenes: Iterable[Scene], size: int) -> Iterator[list[Scene]]:
    iterator = iter(scenes)
    while batch := list(islice(iterator, size)):
        yield batch


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _require_unique_names(watches: Sequence[Watch]) -> None:
    names = [watch.name for watch in watches]
    sources: dict[str, SceneSource] = {}
    for watch in watches:
        if names.count(watch.name) > 1:
            raise UsageError(watch.name, "duplicate watch name", "give each watch its own name")
        if sources.setdefault(watch.source.name, watch.source) is not watch.source:
            raise UsageError(watch.source.name, "duplicate source name", "use one source for these watches")
