"""The tables of the state file: alerts by channel, and ongoing incidents."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ingest.ledger.tables import UtcDateTime


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
