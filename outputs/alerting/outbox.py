"""The state of alerts: which are still to be delivered by which channel, which were, and what goes on being wrong.

A message is written down before it is sent, and struck off after. A process that is killed in between leaves it there,
and it is sent again with the same id and the same content: each alert arrives at least once, and a receiver that knows
the id takes it once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter
from sqlalchemy import Text, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ingest.errors import StorageError
from ingest.ledger.database import Database, prepare_file
from ingest.ledger.tables import UtcDateTime
from ingest.retries import RetryPolicy
from outputs.alerting.records import KINDS, Alert, Message, identity

LEASE = timedelta(minutes=10)  # for one message to be sent, all its retries included
_RETRIES = RetryPolicy(first_wait=60.0, longest_wait=3600.0)  # alerts are kept until they are delivered
_VERSION = 1
_ALERT = TypeAdapter(Alert)


class _Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012 - as SQLAlchemy wants it


class AlertRow(_Base):
    """One alert for one channel. Delivered ones stay without their content, so that none is told twice."""

    __tablename__ = "alerts"

    id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    made_at: Mapped[datetime]
    content: Mapped[str | None] = mapped_column(Text)  # the alert as JSON
    message: Mapped[str | None]  # the one that it was put into
    composed_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None]  # the channel rests until then
    delivered_at: Mapped[datetime | None] = mapped_column(index=True)
    reason: Mapped[str | None] = mapped_column(Text)  # of the last failure


class TroubleRow(_Base):
    """Something that goes on being wrong, and when it was told last."""

    __tablename__ = "troubles"

    name: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]  # the last good moment, or when the waiting for the first one began
    told: Mapped[int] = mapped_column(default=0)
    told_at: Mapped[datetime | None]


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
        """Open or create the file; raises `StorageError`, also for one of a newer program."""
        database = Database(str(path.absolute()))
        prepare_file(database)
        with database.writing() as session:
            version = session.connection().exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > _VERSION:
                raise StorageError(path, "is of a newer Slickwatch", "upgrade this program")
            _Base.metadata.create_all(session.connection())
            session.execute(text(f"PRAGMA user_version = {_VERSION}"))
        return cls(database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """What is put and told inside the block is kept together or not at all."""
        with self._database.writing() as session:
            yield session

    def take(self, channel: str, now: datetime, rate: Rate | None) -> Message | None:
        """The channel's next message, for `LEASE` nobody else's; None where nothing is due or allowed.

        Where more messages wait than the rate allows, all their alerts become one.
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
        """Strike a message off."""
        with self._database.writing() as session:
            session.execute(
                update(AlertRow)
                .where(AlertRow.channel == channel, AlertRow.message == message.id)
                .values(delivered_at=now, content=None, due_at=None, reason=None)
            )

    def failed(
        self, channel: str, message: Message, now: datetime, reason: str, *, refused: bool, asked_s: float | None = None
    ) -> datetime:
        """Keep a message for later, at least the seconds that were asked for; returns when it is due.

        One that was refused has not arrived: its alerts are free to go out together with those that come after.
        """
        with self._database.writing() as session:
            rows = [row for row in _undelivered(session, channel) if row.message == message.id]
            due = now + _wait(max((row.attempts for row in rows), default=1), asked_s)
            for row in rows:
                row.due_at, row.reason = due, reason
                if refused:
                    row.message = row.composed_at = None
            return due

    def waiting(self, channel: str) -> int:
        """How many alerts a channel has yet to deliver."""
        with self._database.reading() as session:
            count = select(func.count()).where(AlertRow.channel == channel, AlertRow.delivered_at.is_(None))
            return session.scalar(count) or 0


def put(session: Session, alerts: Collection[Alert], channels: Iterable[str]) -> set[str]:
    """Write down alerts for channels; returns the ids of those that were new to one of them."""
    rows = [
        {
            "id": alert.id,
            "channel": channel,
            "made_at": alert.made_at,
            "content": _ALERT.dump_json(alert).decode(),
            "attempts": 0,
        }
        for channel in channels
        for alert in alerts
    ]
    if not rows:
        return set()
    return set(session.scalars(insert(AlertRow).on_conflict_do_nothing().returning(AlertRow.id), rows))


def trouble(session: Session, name: str, since: Callable[[], datetime]) -> TroubleRow:
    """What is known of a trouble by name; one not known yet begins at `since()`."""
    row = session.get(TroubleRow, name)
    if row is None:
        row = TroubleRow(name=name, since=since(), told=0, told_at=None)
        session.add(row)
    return row


def _wait(attempts: int, asked_s: float | None) -> timedelta:
    """Twice as long each time, and no shorter than asked; a server cannot ask for more than an hour."""
    asked = min(asked_s or 0.0, _RETRIES.longest_wait)
    return timedelta(seconds=max(asked, _RETRIES.wait(attempts)))


def _undelivered(session: Session, channel: str) -> list[AlertRow]:
    rows = select(AlertRow).where(AlertRow.channel == channel, AlertRow.delivered_at.is_(None))
    return list(session.scalars(rows.order_by(AlertRow.made_at, text("rowid"))))


def _free_slots(session: Session, channel: str, now: datetime, rate: Rate | None) -> int | None:
    """How many messages may still go out; None is any number."""
    if rate is None:
        return None
    sent = select(func.count(AlertRow.message.distinct())).where(
        AlertRow.channel == channel, AlertRow.delivered_at > now - rate.window
    )
    return rate.count - (session.scalar(sent) or 0)


def _chosen(rows: list[AlertRow], free: int | None, channel: str, now: datetime) -> list[AlertRow]:
    """The rows of the next message: the one composed before, else the first group, else everything in one."""
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
    alerts = sorted(map(_alert, rows), key=_most_pressing_first)
    first = rows[0]
    assert first.message is not None
    assert first.composed_at is not None
    return Message(first.message, first.composed_at, tuple(alerts))


def _alert(row: AlertRow) -> Alert:
    return _ALERT.validate_json(row.content or "")


def _most_pressing_first(alert: Alert) -> tuple[int, float, datetime, str]:
    area = alert.sighting.area_km2 if alert.sighting else None
    return KINDS.index(alert.kind), -(area or 0.0), alert.made_at, alert.id
