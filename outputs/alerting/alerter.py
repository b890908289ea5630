"""The alerter: takes slicks, failures and silence from the monitoring, and delivers the alerts on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
from sqlalchemy.orm import Session

from ingest.areas import Area
from ingest.errors import SlickwatchError, SourceError, TransientError
from ingest.ledger.records import SceneRecord
from outputs.alerting import outbox, rules
from outputs.alerting.channels import Channel
from outputs.alerting.options import AlertOptions
from outputs.alerting.outbox import Outbox, Rate, incident, is_alert_due
from outputs.alerting.records import Alert, Delivery, Message, Sent, Unsent, identity, one_line
from outputs.alerting.silence import last_run, record_run, silence_alerts

_LOG = logging.getLogger(__name__)

REPORTED = "(an alert reports this)"  # a note on an exception: whoever meets it later need not


class Alerter:
    """Alerts on slicks, failures and silence; a context manager that closes its state file.

    Nothing is sent before `deliver`. Each channel delivers an event once, however often it is reported, also after a
    crash and with several processes on one machine. Every method raises `StorageError` where the state file cannot be
    written; the slicks and failures concerned are then in the log.
    """

    def __init__(
        self, options: AlertOptions, state: Outbox, channels: Sequence[Channel], clock: Callable[[], datetime]
    ) -> None:
        self._options, self._outbox, self._channels, self._clock = options, state, tuple(channels), clock
        self._rate = Rate(options.rate_count, timedelta(minutes=options.rate_minutes))

    @classmethod
    def open(
        cls,
        options: AlertOptions,
        state_path: str | Path,
        *,
        channels: Sequence[Channel],
        clock: Callable[[], datetime] | None = None,
    ) -> Alerter:
        """Open or create the state file; `clock` gives the time in UTC. Raises `StorageError`."""
        return cls(options, Outbox.open(Path(state_path)), channels, clock or (lambda: datetime.now(UTC)))

    def report_slicks(
        self,
        slicks: gpd.GeoDataFrame,
        watch: str | None,
        area: Area | Iterable[Area] | None,
        scene_id: str,
        model_id: str | None,
        former: gpd.GeoDataFrame | None = None,
    ) -> tuple[Alert, ...]:
        """Report the slicks of one scene; returns the new alerts.

        `slicks` as from `outputs.slicks.find_slicks`; `watch` is the one that found the scene, None if none did;
        without `area`, the whole world is watched. Slicks that overlap
        an alerted one of `former`, those of the results that this one replaces, are not alerted again.
        """
        areas = [area] if isinstance(area, Area) else list(area or ())
        if former is not None:
            slicks = rules.without_known(slicks, former, areas, self._options)
        return self._put(
            rules.detections(slicks, watch, areas, self._options, self._clock(), scene_id=scene_id, model_id=model_id)
        )

    def report_failure(
        self,
        subject: str,
        reason: str,
        *,
        kind: rules.FailureKind = "other",
        occurrence: str | None = None,
        watch: str | None = None,
    ) -> tuple[Alert, ...]:
        """Report a failure: of a scene, a flow or a model; returns the new alerts.

        `occurrence`, such as the id of a run, makes it a separate failure; without it, the same subject and reason are
        alerted again after `repeat_hours`.
        """
        now = self._clock()
        if occurrence is not None:
            return self._put([rules.failure(subject, reason, kind, occurrence, now, watch)])
        with (
            self._logged_unless_kept([rules.failure(subject, reason, kind, "", now, watch)]),
            self._outbox.transaction() as session,
        ):
            row = incident(session, identity("failure", kind, one_line(subject), one_line(reason, 2000)), now)
            if not is_alert_due(row, now, self._options.repeat_hours):
                return ()
            return self._put_within(session, [rules.failure(subject, reason, kind, str(row.alerts), now, watch)])

    def report_scene(self, record: SceneRecord) -> None:
        """Report a scene that failed for good or is quarantined; others are ignored."""
        if record.state in ("failed", "quarantined"):
            reason, when = record.reason or record.state, record.changed_at.isoformat()
            self.report_failure(record.id, reason, kind="scene", occurrence=when, watch=record.found_by)

    @contextmanager
    def reporting_failure(self, flow: str, watch: str | None = None) -> Iterator[None]:
        """Report a failure of the block as one of the flow, on its round for a watch, and raise it."""
        try:
            yield
        except Exception as error:
            known = isinstance(error, SlickwatchError)
            reason = str(error) if known else f"unexpected {type(error).__name__}: {error}"
            self.report_failure(flow, reason, kind="flow", watch=watch)
            error.add_note(REPORTED)
            raise

    def check_silence(
        self, now: datetime, newest_by_watch: Mapping[str, datetime | None], last_run: datetime | None
    ) -> tuple[Alert, ...]:
        """Alert on silence, again every `repeat_hours`, and on its end; returns the new alerts.

        Takes the time of the newest scene of each watch and of the last run, None where there was none yet: time then
        counts from the first check.
        """
        with self._outbox.transaction() as session:
            alerts = list(silence_alerts(session, newest_by_watch, last_run, self._options, now))
            return self._put_within(session, alerts)

    def record_run(self, newest_by_watch: Mapping[str, datetime | None], file: Path) -> None:
        """Check silence at the end of a run, also the gap before it, then record the run in `file`."""
        now = self._clock()
        self.check_silence(now, newest_by_watch, last_run(file) or now)
        self.check_silence(now, {}, now)  # this run ends the gap
        record_run(file, now)

    def deliver(self) -> Delivery:
        """Send pending messages as far as the rate allows; a failing channel neither stops others nor loses alerts.

        Call it after each scene and every few minutes: failed and postponed messages are then retried.
        """
        sent: list[Sent] = []
        failed: list[Unsent] = []
        for channel in self._channels:
            self._deliver(channel, sent, failed)
        waiting = {channel.title: self._outbox.waiting(channel.name) for channel in self._channels}
        return Delivery(tuple(sent), tuple(failed), {name: count for name, count in waiting.items() if count})

    def close(self) -> None:
        """Close the state file."""
        self._outbox.close()

    def __enter__(self) -> Alerter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, alerts: Sequence[Alert]) -> tuple[Alert, ...]:
        with self._logged_unless_kept(alerts), self._outbox.transaction() as session:
            return self._put_within(session, alerts)

    @contextmanager
    def _logged_unless_kept(self, alerts: Sequence[Alert]) -> Iterator[None]:
        try:
            yield
        except SlickwatchError:
            for alert in alerts:
                _LOG.error("alert not saved for delivery: %s (%s)", alert.title, alert.reason or alert.subject)
            raise

    def _put_within(self, session: Session, alerts: Sequence[Alert]) -> tuple[Alert, ...]:
        new = outbox.put(session, alerts, [channel.name for channel in self._channels])
        return tuple(alert for alert in alerts if alert.id in new)

    def _deliver(self, channel: Channel, sent: list[Sent], failed: list[Unsent]) -> None:
        rate = self._rate if channel.limited else None
        while message := self._outbox.take(channel.name, self._clock(), rate):
            error = _send(channel, message)
            if error is not None:
                failed.append(self._postpone(channel, message, error))
                return
            self._outbox.delivered(channel.name, message, self._clock())
            sent.append(Sent(channel.title, message.id, len(message.alerts)))

    def _postpone(self, channel: Channel, message: Message, error: Exception) -> Unsent:
        reason, rejected = str(error), isinstance(error, SourceError)
        retry_after_s = error.retry_after if isinstance(error, TransientError) else None
        due = self._outbox.failed(
            channel.name, message, self._clock(), reason, rejected=rejected, retry_after_s=retry_after_s
        )
        _LOG.error("alerts not delivered, next attempt at %s: %s", f"{due:%Y-%m-%d %H:%M:%S} UTC", reason)
        return Unsent(channel.title, message.id, len(message.alerts), reason, due)


def _send(channel: Channel, message: Message) -> Exception | None:
    """Send a message; returns the failure, if any."""
    try:
        channel.send(message)
    except (TransientError, SlickwatchError) as error:
        return error
    except Exception as error:  # a bug in one channel must not silence the others
        _LOG.exception("%s: unexpected failure", channel.title)
        return TransientError(f"{channel.title}: {type(error).__name__}")
    return None
