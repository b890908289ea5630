"""The tables of the ledger, the same in SQLite and in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    LargeBinary,
    String,
    Text,
    case,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

VERSION_TABLE = "scene_ledger_version"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC, without a zone in SQLite, which has none. A naive time is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, str: String(200)}  # noqa: RUF012 - as SQLAlchemy wants it


class SceneRow(Base):
    """One product by its name. How far it has come (`progress`) and whether it is wanted (`standing`) are apart:
    a scene that is superseded keeps its results, and one that is being worked on may be superseded meanwhile."""

    __tablename__ = "scenes"
    __table_args__ = (
        CheckConstraint(
            "progress IN ('found', 'fetched', 'processed', 'failed', 'quarantined', 'forgotten')",
            name="scenes_progress",
        ),
        CheckConstraint("standing IN ('current', 'superseded', 'duplicate')", name="scenes_standing"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    datatake: Mapped[str] = mapped_column(index=True)  # ingest.ledger.supersession.ProductName.datatake
    acquired_start: Mapped[datetime]
    acquired_end: Mapped[datetime]
    published: Mapped[datetime | None]  # the earliest reported by any source
    footprint: Mapped[bytes | None] = mapped_column(LargeBinary)  # WKB, WGS 84 lon/lat
    recorded_at: Mapped[datetime]
    changed_at: Mapped[datetime] = mapped_column(index=True)

    progress: Mapped[str] = mapped_column(String(20), index=True)
    standing: Mapped[str] = mapped_column(String(20))
    yields_to: Mapped[str | None]
    reason: Mapped[str | None] = mapped_column(Text)
    failed_task: Mapped[str | None] = mapped_column(String(20))
    attempts: Mapped[int]  # failures of the task at hand
    deaths: Mapped[int]  # workers that let their lease on it expire
    due_at: Mapped[datetime | None]

    token: Mapped[int]  # of the newest claim; an older one records nothing
    lease_task: Mapped[str | None] = mapped_column(String(20))
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]

    path: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    checksum: Mapped[str | None]
    fetched_from: Mapped[str | None]
    fetched_at: Mapped[datetime | None]
    republished_at: Mapped[datetime | None]
    processed_at: Mapped[datetime | None]
    result_folder: Mapped[str | None] = mapped_column(Text)
    model_id: Mapped[str | None]
    code_version: Mapped[str | None]

    offers: Mapped[list[OfferRow]] = relationship(
        order_by="OfferRow.recorded_at, OfferRow.source", cascade="all, delete-orphan", passive_deletes=True
    )
    finds: Mapped[list[FindRow]] = relationship(
        order_by="FindRow.watch", cascade="all, delete-orphan", passive_deletes=True
    )

    def __init__(self, **values: Any) -> None:
        fresh = {"progress": "found", "standing": "current", "attempts": 0, "deaths": 0, "token": 0}
        super().__init__(**(fresh | values))


class OfferRow(Base):
    """Where a scene is available: several sources may hold the same product, in archives of their own."""

    __tablename__ = "scene_offers"

    scene_id: Mapped[str] = mapped_column(ForeignKey("scenes.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    checksum: Mapped[str | None]
    published: Mapped[datetime | None]
    recorded_at: Mapped[datetime]


class FindRow(Base):
    """A watch that has found a scene."""

    __tablename__ = "scene_finds"

    scene_id: Mapped[str] = mapped_column(ForeignKey("scenes.id", ondelete="CASCADE"), primary_key=True)
    watch: Mapped[str] = mapped_column(primary_key=True)


class WatermarkRow(Base):
    """Up to which publication time a source has been queried for a watch."""

    __tablename__ = "scene_watermarks"

    source: Mapped[str] = mapped_column(primary_key=True)
    watch: Mapped[str] = mapped_column(primary_key=True)
    published: Mapped[datetime]
    changed_at: Mapped[datetime]


# One of records.STATES.
STATE: ColumnElement[str] = case(
    (SceneRow.progress == "forgotten", "forgotten"),
    (SceneRow.standing != "current", SceneRow.standing),
    else_=SceneRow.progress,
)
