"""Claims on scenes, and records of scenes, as the ledger returns them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from ingest.errors import StorageError
from ingest.scene import Scene

Task = Literal["fetch", "process"]
# The states a task starts from and ends in.
TASKS: dict[str, tuple[str, str]] = {"fetch": ("found", "fetched"), "process": ("fetched", "processed")}
STATES = ("found", "fetched", "processed", "failed", "quarantined", "superseded", "duplicate", "forgotten")


class LeaseLost(StorageError):
    """The worker no longer holds the claim: its lease expired and another has the scene, or it was revoked."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(claim.scene.id, f"{claim.owner} has lost its lease", "leave the scene to its new owner")


@dataclass(frozen=True)
class Claim:
    """The right to work on one scene until `until` (UTC), or longer if renewed.

    `token` grows with every claim on the scene; only the newest claim can record a result.
    """

    scene: Scene  # as listed by the source that this attempt is to use
    task: Task
    owner: str
    token: int
    attempt: int  # 1 is the first
    until: datetime
    lease_s: float
    path: str | None = None  # the fetched file; None if not fetched yet


@dataclass(frozen=True)
class SceneRecord:
    """One scene as the ledger has it; times are UTC."""

    id: str
    state: str  # one of STATES
    by: str | None  # the scene that supersedes it or is used instead
    reason: str | None  # of the last failure
    sources: tuple[str, ...]
    watches: tuple[str, ...]  # that have found it; none where somebody named it
    acquired_start: datetime
    published: datetime | None
    recorded_at: datetime
    changed_at: datetime
    attempts: int  # failures of the task at hand
    due_at: datetime | None  # not tried again before
    claimed_for: str | None
    claimed_by: str | None
    claimed_until: datetime | None
    path: str | None
    size: int | None
    checksum: str | None
    fetched_at: datetime | None
    processed_at: datetime | None
    result_folder: str | None
    model_id: str | None
    code_version: str | None
    republished_at: datetime | None  # when another archive was last noted under the same name

    @property
    def found_by(self) -> str | None:
        """The names of the watches that have found it; None where somebody named it."""
        return ", ".join(self.watches) or None

    def as_dict(self) -> dict[str, Any]:
        """The record for JSON: times in ISO 8601 with a Z, sources as a list."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return list(value) if isinstance(value, tuple) else value


def scene_line(record: SceneRecord) -> str:
    """State, last change (UTC), id, and any details: claims, reasons, retries."""
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
