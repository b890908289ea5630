"""A scene of the ledger as a line of text."""

from __future__ import annotations

from ingest.ledger.records import SceneRecord


def scene_line(record: SceneRecord) -> str:
    """State, last change (UTC), id, and what else there is to know: claims, reasons, retries."""
    notes = []
    if record.by is not None:
        notes.append(f"{'by' if record.state == 'superseded' else 'of'} {record.by}")
    if record.claimed_by is not None and record.claimed_until is not None:
        notes.append(f"{record.claimed_by} to {record.claimed_for} until {record.claimed_until:%H:%M:%S}Z")
    if record.reason is not None:
        notes.append(record.reason)
    if record.due_at is not None:
        notes.append(f"again at {record.due_at:%Y-%m-%d %H:%M:%S}Z")
    return "  ".join([f"{record.state:<11}", f"{record.changed_at:%Y-%m-%d %H:%M:%S}Z", record.id, *notes])
