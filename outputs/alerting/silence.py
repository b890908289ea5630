"""Silence: no new scene of a watch, or no run, for too long; its alerts, their repetition and the all-clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from ingest.files import read_json, write_json
from outputs.alerting.options import AlertOptions
from outputs.alerting.outbox import incident, is_alert_due
from outputs.alerting.records import Alert, identity, one_line, utc_text


@dataclass(frozen=True)
class QuietPeriod:
    """The time since the last new scene of a watch, or since the last run where `watch` is None."""

    watch: str | None
    last: datetime
    limit_hours: float
    ever: bool  # False where there was never one, and `last` is when waiting began

    @property
    def subject(self) -> str:
        """The watch, or the monitoring."""
        return "monitoring" if self.watch is None else one_line(f"watch {self.watch}")

    @property
    def expected(self) -> str:
        """What should have come."""
        return "run" if self.watch is None else "new scene"


def silence_alerts(
    session: Session,
    newest_by_watch: Mapping[str, datetime | None],
    last_run: datetime | None,
    options: AlertOptions,
    now: datetime,
) -> Iterator[Alert]:
    """Alerts on silences that began, last for another `repeat_hours`, or ended."""
    for watch, newest in newest_by_watch.items():
        limit = options.silence_after(watch)
        if limit is not None:
            yield from _alerts(session, watch, newest, limit, options, now)
    if options.idle_hours is not None:
        yield from _alerts(session, None, last_run, options.idle_hours, options, now)


def _alerts(
    session: Session, watch: str | None, last: datetime | None, limit: float, options: AlertOptions, now: datetime
) -> Iterator[Alert]:
    row = incident(session, identity("silence", "" if watch is None else f"watch {watch}"), last or now)
    quiet = QuietPeriod(watch, last or row.since, limit, ever=last is not None)
    if now - quiet.last >= timedelta(hours=limit):
        row.since = quiet.last
        if is_alert_due(row, now, options.repeat_hours):
            yield silence_alert(quiet, row.alerts, now)
        return
    if row.alerts > 0 and options.all_clear:
        yield all_clear(quiet, row.since, now)
    row.since, row.alerts, row.alerted_at = quiet.last, 0, None


def silence_alert(quiet: QuietPeriod, number: int, now: datetime) -> Alert:
    """Alert number `number` on one silence."""
    hours = (now - quiet.last).total_seconds() / 3600
    missing = f"no {quiet.expected} for {hours:.0f} hours"
    last = f"the last one was at {utc_text(quiet.last)}" if quiet.ever else f"none since {utc_text(quiet.last)}"
    reason = f"{missing} (limit {quiet.limit_hours:g}); {last}"
    name = identity("silence", quiet.subject, quiet.last.astimezone(UTC).isoformat(), str(number))
    return Alert(name, "silence", quiet.subject, now, f"Silence: {missing} ({quiet.subject})", reason, quiet.watch)


def all_clear(quiet: QuietPeriod, since: datetime, now: datetime) -> Alert:
    """The alert that a silence which began at `since` has ended."""
    reason = f"{quiet.expected} at {utc_text(quiet.last)}, the first since {utc_text(since)}"
    name = identity("all-clear", quiet.subject, since.astimezone(UTC).isoformat())
    title = f"All clear: {quiet.expected} again ({quiet.subject})"
    return Alert(name, "all-clear", quiet.subject, now, title, reason, quiet.watch)


def last_run(file: Path) -> datetime | None:
    """When the last recorded run finished; None without a record."""
    finished = read_json(file).get("finished")
    return datetime.fromisoformat(finished) if isinstance(finished, str) else None


def record_run(file: Path, now: datetime) -> None:
    """Record that a run finished; raises `StorageError`."""
    write_json(file, {"finished": now.isoformat()})
