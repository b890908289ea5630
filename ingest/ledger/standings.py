"""Which products are current goes into the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ingest.ledger.supersession import Member, ProductName, standings
from ingest.ledger.tables import SceneRow

_CHUNK = 500  # names in one IN (...)


def update_standings(session: Session, datatakes: Iterable[str], now: datetime) -> None:
    """Decide anew which products of these datatakes are current."""
    groups: dict[str, list[SceneRow]] = defaultdict(list)
    for chunk in chunks(sorted(datatakes)):
        for row in session.scalars(select(SceneRow).where(SceneRow.datatake.in_(chunk))):
            groups[row.datatake].append(row)
    for rows in groups.values():
        decided = standings(map(_member, rows))
        for row in rows:
            standing = decided[row.id]
            if (row.standing, row.yields_to) != (standing.kind, standing.by):
                row.standing, row.yields_to, row.changed_at = standing.kind, standing.by, now


def _member(row: SceneRow) -> Member:
    done = row.progress in ("fetched", "processed") or row.failed_task == "process"
    return Member(
        ProductName.read(row.id),
        row.published or row.recorded_at,
        begun=done or row.lease_owner is not None or row.result_folder is not None,
        broken=row.progress in ("failed", "quarantined") and not done,
        attempts=row.attempts,
        forgotten=row.progress == "forgotten",
    )


def chunks(items: list[str]) -> list[list[str]]:
    """Return names in lists short enough for one query."""
    return [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]
