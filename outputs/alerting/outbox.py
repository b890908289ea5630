"""The state file: which alerts each channel still has to deliver, which it has delivered, and ongoing incidents.

A message is recorded before it is sent and marked as delivered afterwards. If the process is killed in between, it is
sent again with the same id and content: each alert arrives at least once, and a receiver can recognise the id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Text, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ingest.errors import StorageError
from ingest.ledger.database import Database, prepare_file
from ingest.ledger.tables import UtcDateTime
from ingest.retries import RetryPolicy
from outputs.alerting.records import ALERT_JSON, KINDS, Alert, Message, identity

LEASE = timedelta(minutes=10)  # to send one message, retries included
_RETRIES = RetryPolicy(first_wait=60.0, longest_wait=3600.0)
_VERSION = 1


class Base(DeclarativeBase):
    """Base of the tables; every time is stored in UTC."""

    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012 - as SQLAlchemy wants it


class AlertRow(Base):
    """One alert for one channel. Delivered alerts stay without their content, so that none is reported twice."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    made_at: Mapped[datetime]
    content: Mapped[str | None] = mapped_column(Text)  # the alert as JSON
    message: Mapped[str | None]  # id of the message that carries it
    composed_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None]  # the channel pauses until then
    delivered_at: Mapped[datetime | None] = mapped_column(index=True)
    reason: Mapped[str | None] = mapped_column(Text)  # of the last failure


class IncidentRow(Base):
    """An ongoing failure or silence, and when it was last alerted."""

    __tablename__ = "troubles"

    name: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]  # the last event, or when waiting for the first one began
    alerts: Mapped[int] = mapped_column("told", default=0)
    alerted_at: Mapped[datetime | None] = mapped_column("told_at")


def incident(session: Session, name: str, since: datetime) -> IncidentRow:
    """The incident of this name; a new one begins at `since`."""
    row = session.get(IncidentRow, name)
    if row is None:
        row = IncidentRow(name=name, since=since, alerts=0, alerted_at=None)
        session.add(row)
    return row


def is_alert_due(row: IncidentRow, now: datetime, repeat_hours: float) -> bool:
    """Whether an incident is new, or was last alerted `repeat_hours` ago; if so, count it as alerted now."""
    if row.alerted_at is not None and now - row.alerted_at < timedelta(hours=repeat_hours):
        return False
    row.alerts, row.alerted_at = row.alerts + 1, now
    return True


@dataclass(frozen=True)
class Rate:
    """At most `count` messages in a `window`."""

    count: int
    window: timedelta


class Outbox:
    """The state file. Every method raises `StorageError` where it cannot be read or written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Outbox:
        """Open or create the file; raises `StorageError`, also for a file of a newer version."""
        database = Database(str(path.absolute()))
        prepare_file(database)
        with database.writing() as session:
            version = session.connection().exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > _VERSION:
                raise StorageError(path, "written by a newer version of Slickwatch", "upgrade Slickwatch")
            Base.metadata.create_all(session.connection())
            session.execute(text(f"PRAGMA user_version = {_VERSION}"))
        return cls(database)

    def close(self) -> None:
        """Close the file."""
        self._database.engine.dispose()

    def transaction(self) -> AbstractContextManager[Session]:
        """One transaction: all changes inside the block are kept, or none."""
        return self._database.writing()

    def take(self, channel: str, now: datetime, rate: Rate | None) -> Message | None:
        """The channel's next message, reserved for `LEASE`; None where nothing is due or the rate is exhausted.

        Where more messages wait than the rate allows, they are merged into one.
        """
        with self._database.writing() as session:
            rows = _undelivered(session, channel)
            if not rows or any(row.due_at is not None and row.due_at > now for row in rows):
                return None
            free = _free_slots(session, channel, now, rate)
            if free is not None and free < 1:
                return None
            chosen = _chosen(rows, free, channel, now)
            for row in chosen:
                row.due_at, row.attempts = now + LEASE, row.attempts + 1
            return _message(chosen)

    def delivered(self, channel: str, message: Message, now: datetime) -> None:
        """Mark a message as delivered."""
        with self._database.writing() as session:
            session.execute(
                update(AlertRow)
                .where(AlertRow.channel == channel, AlertRow.message == message.id)
                .values(delivered_at=now, content=None, due_at=None, reason=None)
            )

    def failed(
        self,
        channel: str,
        message: Message,
        now: datetime,
        reason: str,
        *,
        rejected: bool,
        retry_after_s: float | None = None,
    ) -> datetime:
        """Postpone a message, by at least `retry_after_s`; returns when it is due.

        A rejected message has not arrived, so its alerts may be merged with later ones.
        """
        with self._database.writing() as session:
            rows = [row for row in _undelivered(session, channel) if row.message == message.id]
            due = now + _wait(max((row.attempts for row in rows), default=1), retry_after_s)
            for row in rows:
                row.due_at, row.reason = due, reason
                if rejected:
                    row.message = row.composed_at = None
            return due

    def waiting(self, channel: str) -> int:
        """Number of alerts that a channel still has to deliver."""
        with self._database.reading() as session:
            count = select(func.count()).where(AlertRow.channel == channel, AlertRow.delivered_at.is_(None))
            return session.scalar(count) or 0


def put(session: Session, alerts: Collection[Alert], channels: Iterable[str]) -> set[str]:
    """Queue alerts for channels; returns the ids that were new to at least one of them."""
    rows = [
        {
            "id": alert.id,
            "channel": channel,
            "made_at": alert.made_at,
            "content": ALERT_JSON.dump_json(alert, by_alias=True).decode(),
            "attempts": 0,
        }
        for channel in channels
        for alert in alerts
    ]
    if not rows:
        return set()
    return set(session.scalars(insert(AlertRow).on_conflict_do_nothing().returning(AlertRow.id), rows))


def _wait(attempts: int, retry_after_s: float | None) -> timedelta:
    """Twice as long each time, and no shorter than the server asked for, up to an hour."""
    asked = min(retry_after_s or 0.0, _RETRIES.longest_wait)
    return timedelta(seconds=max(asked, _RETRIES.wait(attempts)))


def _undelivered(session: Session, channel: str) -> list[AlertRow]:
    rows = select(AlertRow).where(AlertRow.channel == channel, AlertRow.delivered_at.is_(None))
    return list(session.scalars(rows.order_by(AlertRow.made_at, text("rowid"))))


def _free_slots(session: Session, channel: str, now: datetime, rate: Rate | None) -> int | None:
    """Messages that may still be sent; None: no limit."""
    if rate is None:
        return None
    sent = select(func.count(AlertRow.message.distinct())).where(
        AlertRow.channel == channel, AlertRow.delivered_at > now - rate.window
    )
    return rate.count - (session.scalar(sent) or 0)


def _chosen(rows: list[AlertRow], free: int | None, channel: str, now: datetime) -> list[AlertRow]:
    """Rows of the next message: one composed earlier, else the first group, or everything if the rate is too low."""
    composed = next((row.message for row in rows if row.message is not None), None)
    if composed is not None:
        return [row for row in rows if row.message == composed]
    groups: dict[str, list[AlertRow]] = {}
    for row in rows:
        groups.setdefault(_alert(row).group, []).append(row)
    chosen = rows if free is not None and len(groups) > free else next(iter(groups.values()))
    name = identity("message", channel, *sorted(row.id for row in chosen))
    for row in chosen:
        row.message, row.composed_at = name, now
    return chosen


def _message(rows: list[AlertRow]) -> Message:
    alerts = sorted(map(_alert, rows), key=_urgency)
    first = rows[0]
    assert first.message is not None
    assert first.composed_at is not None
    return Message(first.message, first.composed_at, tuple(alerts))


def _alert(row: AlertRow) -> Alert:
    return ALERT_JSON.validate_json(row.content or "")


def _urgency(alert: Alert) -> tuple[int, float, datetime, str]:
    area = alert.detection.area_km2 if alert.detection else None
    return KINDS.index(alert.kind), -(area or 0.0), alert.made_at, alert.id
