"""Ongoing incidents: an alert is repeated only after some hours."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from outputs.alerting.tables import IncidentRow


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
