"""The rows of scenes: how claims and failures change them, and which products of a datatake are current."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import shapely
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from ingest.ledger.records import TASKS, Claim, LeaseLost, SceneRecord, Task
from ingest.ledger.supersession import Member, ProductName, Standing, standings
from ingest.ledger.tables import OfferRow, SceneRow
from ingest.scene import Scene, scene_from_name

_CHUNK = 500  # names in one IN (...)


def update_standings(session: Session, datatakes: Iterable[str], now: datetime) -> None:
    """Redetermine which products of these datatakes are current."""
    for chunk in chunks(sorted(datatakes)):
        for row, standing in _changed(session.scalars(select(SceneRow).where(SceneRow.datatake.in_(chunk)))):
            row.standing, row.yields_to, row.changed_at = standing.kind, standing.by, now


def outdated(session: Session) -> list[str]:
    """The scenes whose standing is not the one that follows from the products."""
    return sorted(row.id for row, _ in _changed(session.scalars(select(SceneRow))))


def _changed(rows: Iterable[SceneRow]) -> Iterator[tuple[SceneRow, Standing]]:
    groups: dict[str, list[SceneRow]] = defaultdict(list)
    for row in rows:
        groups[row.datatake].append(row)
    for group in groups.values():
        decided = standings(map(_member, group))
        for row in group:
            standing = decided[row.id]
            if (row.standing, row.yields_to) != (standing.kind, standing.by):
                yield row, standing


def _member(row: SceneRow) -> Member:
    done = row.progress in ("fetched", "processed") or row.failed_task == "process"
    return Member(
        ProductName.read(row.id),
        row.published or row.recorded_at,
        begun=done or row.lease_owner is not None or row.result_folder is not None,
        broken=row.progress in ("failed", "quarantined") and not done,
        attempts=row.attempts,
        forgotten=row.progress == "forgotten",
        footprint=None if row.footprint is None else shapely.from_wkb(row.footprint),
    )


def chunks(items: list[str]) -> list[list[str]]:
    """Return names in lists short enough for one query."""
    return [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]


def waiting(task: Task, now: datetime, sources: Collection[str] | None) -> Select[tuple[SceneRow]]:
    """The scenes waiting for a task, in the order they are claimed."""
    wanted = select(SceneRow).where(
        SceneRow.progress == TASKS[task][0],
        SceneRow.standing == "current",
        or_(SceneRow.lease_until.is_(None), SceneRow.lease_until <= now),
        or_(SceneRow.due_at.is_(None), SceneRow.due_at <= now),
    )
    if sources is not None and task == "fetch":
        wanted = wanted.where(SceneRow.offers.any(OfferRow.source.in_(sources)))
    return wanted.order_by(SceneRow.attempts, SceneRow.acquired_start.desc(), SceneRow.id)


def claim(
    row: SceneRow, task: Task, owner: str, lease_s: float, now: datetime, sources: Collection[str] | None
) -> Claim:
    """Assign a scene to a worker. Each attempt to fetch uses the next source that has it."""
    row.token += 1
    if row.lease_owner is not None:
        row.deaths += 1
    until = now + timedelta(seconds=lease_s)
    row.lease_task, row.lease_owner, row.lease_until, row.changed_at = task, owner, until, now
    if task == "fetch":
        offers = [offer for offer in row.offers if sources is None or offer.source in sources]
        offer = offers[(row.attempts + row.deaths) % len(offers)]
    else:
        offer = next(offer for offer in row.offers if offer.source == row.fetched_from)
    scene = scene_of(row, offer)
    path = row.path if task == "process" else None
    return Claim(scene, task, owner, row.token, row.attempts + 1, until, lease_s, path)


def claimed_row(session: Session, claim: Claim) -> SceneRow:
    """The row of a claim. Raises `LeaseLost` if the claim is not its newest or was settled."""
    row = session.get(SceneRow, claim.scene.id)
    if row is None or (row.token, row.lease_owner, row.lease_task) != (claim.token, claim.owner, claim.task):
        raise LeaseLost(claim)
    return row


def release_lease(row: SceneRow) -> None:
    """End the claim on a row."""
    row.lease_task = row.lease_owner = row.lease_until = None


def reset(row: SceneRow, now: datetime) -> None:
    """Back to `found`, with all attempts restored; a current worker loses its lease. Results stay until replaced."""
    advance(row, "found", now)
    row.token += 1


def advance(row: SceneRow, progress: str, now: datetime) -> None:
    """Move to another state, with all attempts at the next task available."""
    row.progress, row.changed_at = progress, now
    row.attempts, row.deaths, row.due_at, row.failed_task, row.reason = 0, 0, None, None, None
    release_lease(row)


def park(row: SceneRow, reason: str, progress: str = "failed") -> None:
    """Make no further attempts at the task until asked to."""
    row.progress, row.failed_task, row.reason, row.due_at = progress, row.lease_task, one_line(reason), None


def finish(session: Session, row: SceneRow, now: datetime) -> SceneRecord:
    """End the work on a row, after which the scene may be used in another format."""
    release_lease(row)
    row.changed_at = now
    session.flush()
    update_standings(session, {row.datatake}, now)
    return record_of(row)


def scene_of(row: SceneRow, offer: OfferRow) -> Scene:
    """The scene as one source offers it."""
    return replace(
        scene_from_name(row.id),
        acquired_start=row.acquired_start,
        acquired_end=row.acquired_end,
        footprint=None if row.footprint is None else shapely.from_wkb(row.footprint),
        source=offer.source,
        key=offer.key,
        size=offer.size,
        checksum=offer.checksum,
        published=offer.published,
    )


def one_line(reason: str) -> str:
    """A reason shortened to fit a table."""
    return " ".join(reason.split())[:1000]


def is_claimed(row: SceneRow, now: datetime) -> bool:
    """Whether a worker has claimed it."""
    return row.lease_until is not None and row.lease_until > now


def is_in_use(row: SceneRow, now: datetime) -> bool:
    """Whether a file is being worked on or waits to be processed."""
    return is_claimed(row, now) or (row.progress == "fetched" and row.standing == "current")


def record_of(row: SceneRow) -> SceneRecord:
    """The public record of a row."""
    state = row.progress if row.progress == "forgotten" or row.standing == "current" else row.standing
    same = (
        "id", "reason", "acquired_start", "published", "recorded_at", "changed_at", "attempts", "due_at", "path",
        "size", "checksum", "fetched_at", "processed_at", "result_folder", "model_id", "code_version", "republished_at",
    )  # fmt: skip
    return SceneRecord(
        state=state,
        by=row.yields_to,
        sources=tuple(offer.source for offer in row.offers),
        watches=tuple(sorted(find.watch for find in row.finds)),
        claimed_for=row.lease_task,
        claimed_by=row.lease_owner,
        claimed_until=row.lease_until,
        **{name: getattr(row, name) for name in same},
    )
