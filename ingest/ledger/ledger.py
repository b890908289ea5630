"""The scene ledger. Every change is one transaction by a single writer, in SQLite and PostgreSQL alike.

The rules of identity, leases and repetition are in docs/operator/ledger.md.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from ingest.errors import SlickwatchError, UsageError
from ingest.ledger import discovery, rows
from ingest.ledger.database import PATIENCE_S, Database, exists, migrate
from ingest.ledger.records import STATES, TASKS, Claim, LeaseLost, SceneRecord, Task
from ingest.ledger.supersession import ProductName, Standing
from ingest.ledger.tables import STATE, SceneRow, WatermarkRow
from ingest.retries import RetryPolicy
from ingest.scene import Scene, scene_from_name

Clock = Callable[[], datetime]
RETRIES = RetryPolicy(attempts=6, seconds=math.inf, first_wait=60.0, longest_wait=6 * 3600.0)
CRASHES = 20  # workers that may die on a scene; more than attempts, since restarts kill more workers than scenes do


class Ledger:
    """Scenes, their states and who works on them. Usable from several threads; processes each open their own.

    Every method raises `StorageError` if the database cannot be read or written, `SourceError` if its server is
    unreachable; both in one line that shows no password.
    """

    def __init__(self, database: Database, retries: RetryPolicy, crashes: int, clock: Clock | None) -> None:
        self._database, self._retries, self._crashes, self._clock = database, retries, crashes, clock

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retries: RetryPolicy = RETRIES,
        crashes: int = CRASHES,
        create: bool = True,
        patience_s: float = PATIENCE_S,
        clock: Clock | None = None,
    ) -> Ledger:
        """Open a ledger by a file's path, ``sqlite:///FILE`` or ``postgresql://...``; make or upgrade its tables.

        `patience_s` is how long to wait for another writer. `clock` gives the time (aware) instead of the database's
        clock. Raises `UsageError` for another URL, a missing driver, or a missing file where `create` is false.
        """
        database = Database(url, patience_s)
        if not create and not exists(database):
            raise UsageError(database.name, "no such ledger", "choose one with --ledger, or run slickwatch watch first")
        try:
            migrate(database)
        except BaseException:
            database.engine.dispose()
            raise
        return cls(database, retries, crashes, clock)

    @property
    def name(self) -> str:
        """Its file, or its URL without password and options."""
        return self._database.name

    def close(self) -> None:
        """Close all connections."""
        self._database.engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # For sources

    def record_found(
        self, source: str, watch: str | None, scenes: Sequence[Scene], watermark: datetime | None = None
    ) -> list[SceneRecord]:
        """Record what `source` found for `watch`, and up to which publication time it was queried, all or nothing.

        `watch` is None for scenes that somebody named; there is no watermark then.
        The scenes may overlap with earlier ones in any way. Returns the new ones, in order; one that is superseded or
        a duplicate from the start says so. Raises `UnreadableInput` for an id that is not a product name.
        """
        with self._writing() as (session, now):
            new = discovery.record_scenes(session, watch, [replace(scene, source=source) for scene in scenes], now)
            if watch is not None and watermark is not None:
                discovery.move_watermark(session, source, watch, watermark, now)
            session.flush()
            return [rows.record_of(session.get_one(SceneRow, id)) for id in new]

    def watermark(self, source: str, watch: str) -> datetime | None:
        """Up to which publication time `source` has been queried for `watch`; None if never."""
        with self._database.reading() as session:
            row = session.get(WatermarkRow, (source, watch))
            return None if row is None else row.published

    # For workers

    def claim(
        self, task: Task, owner: str, lease_s: float, limit: int = 1, sources: Collection[str] | None = None
    ) -> list[Claim]:
        """Claim up to `limit` scenes waiting for `task`, for `lease_s` seconds; the least tried first, then the newest.

        `sources` are those that the worker can fetch from, by default any. Where several have a scene, each attempt
        takes the next one.
        """
        with self._writing() as (session, now):
            self._park_crashing(session, now)
            taken = session.scalars(rows.waiting(task, now, sources).limit(limit)).all()
            return [rows.claim(row, task, owner, lease_s, now, sources) for row in taken]

    def claim_scene(
        self, scene_id: str, task: Task, owner: str, lease_s: float, sources: Collection[str] | None = None
    ) -> Claim | None:
        """Claim this scene for `task`; None if another worker has it, or it is not due yet.

        A processed scene whose file is there can be claimed for reprocessing; its result stays on record until then.
        Raises `UsageError` if it is unknown, not current, or not waiting for the task.
        """
        with self._writing() as (session, now):
            self._park_crashing(session, now)
            row = self._known(session, scene_id)
            if rows.is_claimed(row, now) or (row.due_at is not None and row.due_at > now):
                return None
            if row.standing != "current":
                self._refuse(row, f"{row.standing}, use {row.yields_to} instead", "choose that scene")
            if task == "process" and row.progress == "processed" and row.path is not None:
                rows.advance(row, "fetched", now)
            begins = TASKS[task][0]
            if row.progress != begins:
                problem = (
                    "its file is deleted" if row.progress == "processed" else f"it is {row.progress}, not {begins}"
                )
                self._refuse(row, problem, "see slickwatch scenes retry and forget")
            return rows.claim(row, task, owner, lease_s, now, sources)

    def waiting(self, task: Task) -> dict[str, int]:
        """The scenes waiting for `task`, in the order they are claimed, and how often each was claimed."""
        with self._database.reading() as session:
            return {row.id: row.token for row in session.scalars(rows.waiting(task, self._now(session), None))}

    def renew(self, claim: Claim) -> Claim:
        """Renew the lease for its full length from now. Raises `LeaseLost`."""
        with self._writing() as (session, now):
            row = rows.claimed_row(session, claim)
            row.lease_until = now + timedelta(seconds=claim.lease_s)
            return replace(claim, until=row.lease_until)

    def release(self, claim: Claim) -> None:
        """Put a scene back as if it had not been claimed, as on a shutdown. Raises `LeaseLost`."""
        with self._writing() as (session, now):
            row = rows.claimed_row(session, claim)
            row.changed_at = now
            rows.release_lease(row)

    def fetched(self, claim: Claim, path: str, size: int, checksum: str | None) -> bool:
        """Record a verified file. False if the source has meanwhile published another archive under the same name:
        the file is not accepted, and the scene waits to be fetched again. Raises `LeaseLost`."""
        with self._writing() as (session, now):
            row = rows.claimed_row(session, claim)
            offered = next((offer.checksum for offer in row.offers if offer.source == claim.scene.source), None)
            if not discovery.same_archive(checksum, offered):
                self._fail(row, f"{claim.scene.source} has meanwhile published another archive", now)
                rows.finish(session, row, now)
                return False
            rows.advance(row, "fetched", now)
            row.path, row.size, row.checksum = path, size, checksum
            row.fetched_from, row.fetched_at = claim.scene.source, now
            return True

    def processed(self, claim: Claim, result_folder: str, model_id: str, code_version: str | None) -> None:
        """Record a result, even if the scene was superseded meanwhile. Raises `LeaseLost`."""
        with self._writing() as (session, now):
            row = rows.claimed_row(session, claim)
            rows.advance(row, "processed", now)
            row.result_folder, row.model_id, row.code_version = result_folder, model_id, code_version
            row.processed_at = now

    def failed(self, claim: Claim, reason: str, retry_at: datetime | None = None, final: bool = False) -> SceneRecord:
        """Record a failure, to be retried at `retry_at` or after a growing delay, until the attempts are used up or it
        is `final`; then the scene is parked with its reason, and its other format, if there is one, is used instead.
        `reason` is shown to people: no secrets. Raises `LeaseLost`."""
        with self._writing() as (session, now):
            row = rows.claimed_row(session, claim)
            self._fail(row, reason, retry_at or now + timedelta(seconds=self._retries.wait(row.attempts + 1)), final)
            return rows.finish(session, row, now)

    def quarantined(self, claim: Claim, reason: str, path: str | None = None) -> SceneRecord:
        """Record that what was fetched is broken, and where it lies. Its other format, if there is one, is
        used instead. Raises `LeaseLost`."""
        with self._writing() as (session, now):
            row = rows.claimed_row(session, claim)
            rows.park(row, reason, "quarantined")
            row.failed_task, row.path = "fetch", path  # the file is to blame, whoever found out
            return rows.finish(session, row, now)

    def _fail(self, row: SceneRow, reason: str, retry_at: datetime, final: bool = False) -> None:
        row.attempts += 1
        if final or row.attempts >= self._retries.attempts:
            rows.park(row, reason)
        else:
            row.due_at, row.reason = retry_at, rows.one_line(reason)

    def _park_crashing(self, session: Session, now: datetime) -> None:
        """Stop claiming scenes whose workers keep dying (out of memory, say)."""
        dead = (SceneRow.lease_until <= now, SceneRow.deaths + 1 >= self._crashes)
        for row in session.scalars(select(SceneRow).where(*dead)).all():
            rows.park(row, f"{row.deaths + 1} workers died while working on it, last {row.lease_owner}")
            rows.finish(session, row, now)

    # For operators

    def retry(self, scene_id: str) -> SceneRecord:
        """Retry a failed, quarantined, waiting or forgotten scene at once, with all its attempts restored.

        Raises `UsageError` if it is claimed, processed, superseded or a duplicate, or unknown.
        """
        with self._writing() as (session, now):
            row = self._known(session, scene_id)
            self._refuse_claimed(row, now)
            if row.standing != "current":
                self._refuse(row, f"{row.standing}, use {row.yields_to} instead", "choose that scene")
            if row.progress == "processed":
                self._refuse(row, "already processed", "forget it entirely to process it again")
            parked_with_file = (row.progress, row.failed_task) == ("failed", "process") and row.path is not None
            progress = "fetched" if row.progress == "fetched" or parked_with_file else "found"
            rows.reset(row, now)
            row.progress = progress
            return rows.finish(session, row, now)

    def forget(self, scene_id: str, entirely: bool = False) -> None:
        """Ignore a scene from now on: it is not found or processed again, and an older processing is current again.

        With `entirely` its row and those of its other formats are deleted: a source that still lists it finds it anew.
        Raises `UsageError` if it is claimed, or a duplicate (forget the one in use instead), or unknown.
        """
        with self._writing() as (session, now):
            row = self._known(session, scene_id)
            if row.standing == "duplicate":
                self._refuse(row, f"duplicate of {row.yields_to}", "forget that scene")
            others = select(SceneRow).where(SceneRow.yields_to == row.id, SceneRow.standing == "duplicate")
            formats = [row, *session.scalars(others)]
            for each in formats:
                self._refuse_claimed(each, now)
            if entirely:
                for each in formats:
                    session.delete(each)
            else:
                rows.reset(row, now)
                row.progress = "forgotten"
            session.flush()
            rows.update_standings(session, {row.datatake}, now)

    def evict(self, scene_id: str) -> bool:
        """Release a scene's file. True: it is unused and may be deleted now. False: it is in use."""
        with self._writing() as (session, now):
            row = self._known(session, scene_id)
            if rows.is_in_use(row, now):
                return False
            if row.progress == "fetched":
                row.progress = "found"
            row.path, row.changed_at = None, now
            return True

    def in_use(self, scene_id: str) -> bool:
        """Whether a scene's file is being worked on, or waits to be processed. An unknown scene is not in use."""
        with self._database.reading() as session:
            row = session.get(SceneRow, scene_from_name(scene_id).id)
            return row is not None and rows.is_in_use(row, self._now(session))

    def get(self, scene_id: str) -> SceneRecord:
        """One scene. Raises `UsageError` if the ledger has none of this name."""
        with self._database.reading() as session:
            return rows.record_of(self._known(session, scene_id))

    def standings(self, scene_id: str | None = None) -> dict[str, Standing]:
        """The standing of every scene, or of all products of one scene's datatake; see `catalogue.settle`."""
        wanted = select(SceneRow.id, SceneRow.progress, SceneRow.standing, SceneRow.yields_to).order_by(SceneRow.id)
        if scene_id is not None:
            wanted = wanted.where(SceneRow.datatake == ProductName.read(scene_id).datatake)
        with self._database.reading() as session:
            return {
                id: Standing("forgotten") if progress == "forgotten" else Standing(standing, by)
                for id, progress, standing, by in session.execute(wanted)
            }

    def outdated(self) -> list[str]:
        """The scenes whose recorded standing is not the one that follows from the products; none, but for a fault."""
        with self._database.reading() as session:
            return rows.outdated(session)

    def settle(self) -> None:
        """Redetermine all standings, as after an upgrade that changes their rules."""
        if self.outdated():
            with self._writing() as (session, now):
                rows.update_standings(session, set(session.scalars(select(SceneRow.datatake))), now)

    def list(
        self, states: Collection[str] | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[SceneRecord]:
        """The scenes in any of `states` that have changed since a time, most recent first.

        Raises `UsageError` for an unknown state.
        """
        unknown = sorted(set(states or ()) - set(STATES))
        if unknown:
            raise UsageError("state", f"unknown state {', '.join(unknown)}", f"choose one of {', '.join(STATES)}")
        wanted = select(SceneRow).options(selectinload(SceneRow.offers), selectinload(SceneRow.finds))
        wanted = wanted.order_by(SceneRow.changed_at.desc(), SceneRow.id).limit(limit)
        if states:
            wanted = wanted.where(STATE.in_(states))
        if since is not None:
            wanted = wanted.where(SceneRow.changed_at >= since)
        with self._database.reading() as session:
            return [rows.record_of(row) for row in session.scalars(wanted)]

    def counts(self) -> dict[str, int]:
        """How many scenes are in each state, in the order of `STATES`."""
        with self._database.reading() as session:
            found = dict(session.execute(select(STATE, func.count()).group_by(STATE)).tuples().all())
        return {state: found.get(state, 0) for state in STATES}

    @contextmanager
    def _writing(self) -> Iterator[tuple[Session, datetime]]:
        with self._database.writing() as session:
            yield session, self._now(session)

    def _now(self, session: Session) -> datetime:
        """The time by the one clock that all machines share: the server's."""
        if self._clock is not None:
            return self._clock()
        if self._database.is_sqlite:
            return datetime.now(UTC)
        now: datetime = session.scalars(select(func.clock_timestamp())).one()
        return now.astimezone(UTC)

    def _known(self, session: Session, scene_id: str) -> SceneRow:
        row = session.get(SceneRow, scene_from_name(scene_id).id)
        if row is None:
            raise UsageError(scene_id, f"not in the ledger {self.name}", "see slickwatch scenes list")
        return row

    def _refuse_claimed(self, row: SceneRow, now: datetime) -> None:
        if rows.is_claimed(row, now):
            self._refuse(row, f"{row.lease_owner} is working on it ({row.lease_task})", "wait, or stop that worker")

    def _refuse(self, row: SceneRow, problem: str, remedy: str) -> None:
        raise UsageError(row.id, problem, remedy)


@contextmanager
def keep_lease(ledger: Ledger, claim: Claim, longest_s: float = float("inf")) -> Iterator[Callable[[], None]]:
    """Renew a claim every third of its lease while the block runs, for `longest_s` seconds at most: a worker that
    hangs loses its scene to another.

    Call the value between steps of long work: it raises `LeaseLost` once another worker has the scene. An unreachable
    database is tried again; a lease that expires meanwhile may be lost.
    """
    done, lost = threading.Event(), threading.Event()
    end = time.monotonic() + longest_s

    def beat() -> None:
        while not done.wait(claim.lease_s / 3) and time.monotonic() < end:
            try:
                ledger.renew(claim)
            except LeaseLost:
                lost.set()
                return
            except SlickwatchError:
                continue

    def check() -> None:
        if lost.is_set():
            raise LeaseLost(claim)

    thread = threading.Thread(target=beat, name=f"lease on {claim.scene.id}", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        done.set()
        thread.join()
