"""Look at the scene ledger and put it right: what `slickwatch scenes list`, `retry` and `forget` do."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.settings.environment import LEDGER_VARIABLE
from ingest.errors import SlickwatchError, UsageError
from ingest.ledger.ledger import Ledger
from ingest.ledger.records import SceneRecord

DEFAULT_LEDGER = "ledger.sqlite"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def ledger_url(given: str | None = None) -> str:
    """Where the ledger is: as given, else by $SLICKWATCH_LEDGER (the place for a password), else ledger.sqlite."""
    return given or os.environ.get(LEDGER_VARIABLE) or DEFAULT_LEDGER


def list_scenes(
    ledger: str | None, states: Sequence[str] = (), since: str | None = None, limit: int | None = None
) -> list[SceneRecord]:
    """The scenes in these states (all by default), the last changed first; `since` as `time_of` reads it.

    Raises `UsageError` where there is no ledger or no such state or time, `StorageError`, `SourceError`.
    """
    after = None if since is None else time_of(since)
    with Ledger.open(ledger_url(ledger), create=False) as opened:
        return opened.list([state.lower() for state in states], after, limit)


def count_scenes(ledger: str | None) -> dict[str, int]:
    """How many scenes are in each state. Raises as `list_scenes` does."""
    with Ledger.open(ledger_url(ledger), create=False) as opened:
        return opened.counts()


def retry_scenes(ledger: str | None, ids: Sequence[str], report: Callable[[str], None]) -> list[SlickwatchError]:
    """Have these scenes tried again at once; `report` gets a line each. Returns what went wrong with the others."""
    with Ledger.open(ledger_url(ledger), create=False) as opened:
        return _each(ids, lambda id: f"{id}: {opened.retry(id).state}, due now", report)


def forget_scenes(
    ledger: str | None, ids: Sequence[str], entirely: bool, report: Callable[[str], None]
) -> list[SlickwatchError]:
    """Let these scenes be, or delete them `entirely`; `report` gets a line each. Returns what went wrong."""
    said = "deleted; found anew if a source lists it" if entirely else "forgotten; not found again"

    def forget(id: str) -> str:
        opened.forget(id, entirely)
        return f"{id}: {said}"

    with Ledger.open(ledger_url(ledger), create=False) as opened:
        return _each(ids, forget, report)


def _each(ids: Sequence[str], act: Callable[[str], str], report: Callable[[str], None]) -> list[SlickwatchError]:
    failures: list[SlickwatchError] = []
    for id in ids:
        try:
            report(act(id))
        except SlickwatchError as failure:
            failures.append(failure)
    return failures


def time_of(words: str, now: datetime | None = None) -> datetime:
    """A time (UTC where it names no zone) in ISO 8601, or how long ago: 30m, 12h, 7d. Raises `UsageError`."""
    ago = re.fullmatch(r"(\d{1,6})([mhd])", words.strip())
    if ago is not None:
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(words.strip())
    except ValueError as error:
        raise UsageError(words, "not a time", "give 2026-01-31, 2026-01-31T06:00Z, or 30m, 12h, 7d ago") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def as_json(records: Sequence[SceneRecord]) -> str:
    """All columns; times in UTC with a Z."""
    return json.dumps([record.as_dict() for record in records], indent=2)


def as_csv(records: Sequence[SceneRecord]) -> str:
    """All columns with a header; times in UTC with a Z, several sources divided by blanks, empty for none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SceneRecord.__dataclass_fields__)
    for record in records:
        writer.writerow([_cell(value) for value in record.as_dict().values()])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value


def as_table(records: Sequence[SceneRecord]) -> str:
    """One line a scene for people: state, last change (UTC), id, and what is to be known of it."""
    lines = [f"{r.state:<11}  {r.changed_at:%Y-%m-%d %H:%M:%S}Z  {r.id}{_note(r)}" for r in records]
    return "\n".join(lines)


def _note(record: SceneRecord) -> str:
    notes = []
    if record.by is not None:
        notes.append(f"{'by' if record.state == 'superseded' else 'of'} {record.by}")
    if record.claimed_by is not None and record.claimed_until is not None:
        notes.append(f"{record.claimed_by} to {record.claimed_for} until {record.claimed_until:%H:%M:%S}Z")
    if record.reason is not None:
        notes.append(record.reason)
    if record.due_at is not None:
        notes.append(f"again at {record.due_at:%Y-%m-%d %H:%M:%S}Z")
    return "".join(f"  {note}" for note in notes)
