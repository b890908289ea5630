"""What the monitor calls: it says what it saw, and lets what waits be delivered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

import geopandas as gpd
from sqlalchemy.orm import Session

from ingest.areas import Area
from ingest.errors import SlickwatchError, SourceError, TransientError
from outputs.alerting import outbox, rules
from outputs.alerting.mail import Mail
from outputs.alerting.options import AlertOptions, smtp_credentials, webhook_secret
from outputs.alerting.outbox import Outbox, Rate
from outputs.alerting.records import (
    Alert,
    Channel,
    Delivery,
    Message,
    Sent,
    Unsent,
    identity,
    one_line,
)
from outputs.alerting.webhook import Webhook
from outputs.alerting.wording import text, title

_LOG = logging.getLogger(__name__)
_LEVELS = {"detection": logging.WARNING, "failure": logging.ERROR, "silence": logging.WARNING}


class LogChannel:
    """A channel that writes each message into the log of this process; always there."""

    name, title, limited = "log", "log", False

    def send(self, message: Message) -> None:
        """Write a message; a failure is an error, an all-clear for information, the rest warnings."""
        level = max(_LEVELS.get(alert.kind, logging.INFO) for alert in message.alerts)
        _LOG.log(level, "%s\n%s", title(message), text(message).rstrip())


def open_channels(options: AlertOptions) -> tuple[Channel, ...]:
    """The log, each webhook and the mail; raises `UsageError` for half a secret or one that would go unencrypted."""
    channels: list[Channel] = [LogChannel()]
    secret = webhook_secret()
    channels += [Webhook(url, secret, options.timeout_s) for url in dict.fromkeys(options.webhooks)]
    if options.recipients:
        channels.append(Mail(options, smtp_credentials()))
    return tuple(channels)


class Alerter:
    """Alerts on slicks, failures and silence; a context manager that closes its state file.

    Nothing is sent before `deliver` is called. What is said twice is told once, by each channel, also after a crash
    and in several processes on one machine. Every method raises `StorageError` where the state cannot be written;
    slicks and failures that were to be told are then in the log.
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
        channels: Sequence[Channel] | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> Alerter:
        """Open the state file, making it where there is none; raises `StorageError`, `UsageError`.

        `channels` are by default those of the options; `clock` tells the time in UTC.
        """
        opened = open_channels(options) if channels is None else tuple(channels)
        return cls(options, Outbox.open(Path(state_path)), opened, clock or (lambda: datetime.now(UTC)))

    def detected(
        self,
        slicks: gpd.GeoDataFrame,
        watch_name: str,
        area: Area | Iterable[Area] | None,
        scene_id: str,
        model_id: str | None,
    ) -> tuple[Alert, ...]:
        """Take the slicks of one scene for one watch; returns the alerts that were not known before.

        `slicks` as `outputs.slicks.find_slicks` gives them; `area` None watches everywhere.
        """
        areas = [area] if isinstance(area, Area) else list(area or ())
        alerts = rules.detections(
            slicks, watch_name, areas, self._options, self._clock(), scene_id=scene_id, model_id=model_id
        )
        return self._put(alerts)

    def failed(
        self, subject: str, reason: str, *, of: rules.FailureOf = "other", occurrence: str | None = None
    ) -> tuple[Alert, ...]:
        """Take a failure: a scene that is parked, a flow that failed, a model that is refused.

        `occurrence`, such as the id of a run, makes it a failure of its own; without it the same subject with the same
        reason is told again after `repeat_hours`.
        """
        now = self._clock()
        if occurrence is not None:
            return self._put([rules.failure(subject, reason, of, occurrence, now)])
        with (
            self._logged_unless_kept([rules.failure(subject, reason, of, "", now)]),
            self._outbox.transaction() as session,
        ):
            name = identity("failure", of, one_line(subject), one_line(reason, 2000))
            row = outbox.trouble(session, name, lambda: now)
            if not self._is_to_be_told(row, now):
                return ()
            return self._put_within(session, [rules.failure(subject, reason, of, str(row.told), now)])

    def silence(
        self, now: datetime, last_scene_by_watch: Mapping[str, datetime | None], last_run: datetime | None
    ) -> tuple[Alert, ...]:
        """Take the times of the last new scene of each watch and of the last run; None where there was none yet.

        Alerts on what has been quiet for too long, again every `repeat_hours`, and on its end. Where there has never
        been any, the time counts from the first call. Returns the new alerts.
        """
        limits: list[tuple[str | None, datetime | None, float | None]] = [
            (watch, last, self._options.silence_after(watch)) for watch, last in last_scene_by_watch.items()
        ]
        limits.append((None, last_run, self._options.idle_hours))
        alerts: list[Alert] = []
        with self._outbox.transaction() as session:
            for watch, last, hours in limits:
                if hours is not None:
                    alerts += self._judged(session, watch, last, hours, now)
            return self._put_within(session, alerts)

    def deliver(self) -> Delivery:
        """Send what waits, as far as the rate allows; a channel that fails neither stops another nor loses an alert.

        Call it after each scene and every few minutes: what failed or had to wait is tried again then.
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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
                _LOG.error("not kept for delivery: %s (%s)", alert.title, alert.reason or alert.subject)
            raise

    def _put_within(self, session: Session, alerts: Sequence[Alert]) -> tuple[Alert, ...]:
        new = outbox.put(session, alerts, [channel.name for channel in self._channels])
        return tuple(alert for alert in alerts if alert.id in new)

    def _is_to_be_told(self, row: outbox.TroubleRow, now: datetime) -> bool:
        """Whether a trouble is new, or was told long enough ago; it then counts as told."""
        if row.told_at is not None and now - row.told_at < timedelta(hours=self._options.repeat_hours):
            return False
        row.told, row.told_at = row.told + 1, now
        return True

    def _judged(
        self, session: Session, watch: str | None, last: datetime | None, hours: float, now: datetime
    ) -> list[Alert]:
        """The alerts on one watch, or on the runs: it has fallen silent, still is, or is so no more."""
        row = outbox.trouble(
            session, identity("silence", "" if watch is None else f"watch {watch}"), lambda: last or now
        )
        quiet = rules.Quiet(watch, last or row.since, hours, ever=last is not None)
        if quiet.is_silence(now):
            row.since = quiet.last
            return [rules.silence(quiet, row.told, now)] if self._is_to_be_told(row, now) else []
        ended = row.told > 0
        since, row.since, row.told, row.told_at = row.since, quiet.last, 0, None
        return [rules.all_clear(quiet, since, now)] if ended and self._options.all_clear else []

    def _deliver(self, channel: Channel, sent: list[Sent], failed: list[Unsent]) -> None:
        rate = self._rate if channel.limited else None
        while message := self._outbox.take(channel.name, self._clock(), rate):
            failure = _failure_of(channel, message)
            if failure is None:
                self._outbox.delivered(channel.name, message, self._clock())
                sent.append(Sent(channel.title, message.id, len(message.alerts)))
                continue
            reason, refused, asked = str(failure), isinstance(failure, SourceError), None
            if isinstance(failure, TransientError):
                asked = failure.retry_after
            due = self._outbox.failed(channel.name, message, self._clock(), reason, refused=refused, asked_s=asked)
            _LOG.error("alerts not delivered, tried again from %s: %s", f"{due:%Y-%m-%d %H:%M:%S} UTC", reason)
            failed.append(Unsent(channel.title, message.id, len(message.alerts), reason, due))
            return


def _failure_of(channel: Channel, message: Message) -> Exception | None:
    """Send, and hand back why it was not possible."""
    try:
        channel.send(message)
    except (TransientError, SlickwatchError) as error:
        return error
    except Exception as error:  # a mistake of ours in one channel must not silence the others
        _LOG.exception("%s: an unexpected failure", channel.title)
        return TransientError(f"{channel.title}: {type(error).__name__}")
    return None
