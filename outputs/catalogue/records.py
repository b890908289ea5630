"""Records of publications, runs and reviews."""

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
    """The outcome of publishing a result."""

    run_id: str  # of the catalogued result; an earlier run if the same result was there already
    repeated: bool  # the same result was there already; nothing was added
    current: bool  # False where a newer result has replaced it
    superseded: tuple[str, ...]  # runs that this one replaced


@dataclass(frozen=True)
class Run:
    """The record of a run and its state in the catalogue; times are UTC."""

    record: RunRecord
    state: State
    catalogued_at: datetime
    repeated_at: datetime | None  # end of the last run with the same result
    superseded_by: str | None  # a run
    superseded_at: datetime | None
    why: str | None  # why it was superseded
    result_folder: Path | None


@dataclass(frozen=True)
class Review:
    """One entry of the journal of reviews; `run_id` is the run of the reviewed slick."""

    slick_id: str
    run_id: str
    status: str
    reviewer: str | None
    notes: str | None
    reviewed_at: datetime
