"""What the catalogue tells of runs and reviews."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from outputs.record import RunRecord

State = Literal["current", "superseded"]
STATUSES = ("unreviewed", "confirmed", "rejected")


@dataclass(frozen=True)
class Published:
    """What became of a result that was offered to the catalogue."""

    run_id: str  # under which it is in the catalogue; an earlier run's where the same result was there already
    again: bool  # it was there already, and nothing was doubled
    current: bool  # False where a newer result has been taken in its place
    slick_ids: tuple[str, ...]
    new_ids: tuple[str, ...]  # those that no earlier run had; told alike when it is published again
    superseded: tuple[str, ...]  # runs that this one has taken the place of


@dataclass(frozen=True)
class Run:
    """A run's record, and how it stands in the catalogue; times are UTC."""

    record: RunRecord
    state: State
    catalogued_at: datetime
    repeated_at: datetime | None  # when the last run with the very same result ended
    superseded_by: str | None  # a run
    superseded_at: datetime | None
    why: str | None  # why it was superseded
    result_folder: Path | None


@dataclass(frozen=True)
class Review:
    """One entry of the journal of reviews; `run_id` is the run whose slick was looked at."""

    slick_id: str
    run_id: str
    status: str
    reviewer: str | None
    notes: str | None
    reviewed_at: datetime
