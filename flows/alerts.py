"""Alerts by the settings: to whom, on which areas, and what the monitoring has to tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import geopandas as gpd
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

from flows.settings import Settings
from ingest.areas import Area, read_areas, together
from ingest.errors import SlickwatchError
from ingest.files import read_json, storage_errors, write_json
from ingest.ledger import SceneRecord
from outputs.alerting import Alerter, AlertOptions, rules
from outputs.alerting.alerter import LogChannel
from outputs.alerting.mail import Mail
from outputs.alerting.options import webhook_secret
from outputs.alerting.records import Channel
from outputs.alerting.webhook import Webhook

DETECTIONS = "monitor"  # the name that all detections go by: overlapping watches must not tell a slick twice


def open_alerter(settings: Settings) -> Alerter:
    """The alerter of the settings, its state in alerts.sqlite in `prefect.home`. Raises as `Alerter.open` does."""
    options, home = alert_options(settings), settings.prefect.home
    channels: list[Channel] = [LogChannel()]
    channels += [Webhook(url, webhook_secret(), options.timeout_s) for url in dict.fromkeys(options.webhooks)]
    if options.recipients:
        channels.append(Mail(options, settings.mail_credentials()))
    with storage_errors(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Alerter.open(options, home / "alerts.sqlite", channels=channels)


def alert_options(settings: Settings) -> AlertOptions:
    """The `[alerts]` of the settings, where 0 hours mean never, as the alerts want them, where None does."""
    alerts, mail = settings.alerts, settings.alerts.mail
    own = {watch.name: watch.silence_hours for watch in settings.watch if watch.silence_hours}
    return AlertOptions(
        webhooks=tuple(str(url) for url in alerts.webhooks),
        smtp_host=mail.host,
        smtp_port=mail.port,
        smtp_starttls=mail.starttls,
        sender=mail.sender,
        recipients=tuple(mail.recipients) if mail.host is not None else (),
        minimum_confidence=alerts.minimum_confidence,
        minimum_area_km2=alerts.minimum_area_km2,
        silence_hours=alerts.silence_hours or None,
        silence_hours_by_watch=own,
        idle_hours=alerts.idle_hours or None,
        repeat_hours=alerts.repeat_hours,
        all_clear=alerts.all_clear,
        rate_count=alerts.rate_count,
        rate_minutes=alerts.rate_minutes,
        link_template=None if alerts.link_template is None else str(alerts.link_template),
        timeout_s=alerts.timeout_s,
    )


def alerted_areas(settings: Settings) -> tuple[Area, ...]:
    """Where slicks are told of: in a watched area and, where there are any, in one of `alerts.areas`; none: everywhere.

    A watch without an area is of the whole world. Raises as `read_areas` does.
    """
    everywhere = not settings.watch or any(watch.area is None for watch in settings.watch)
    watched = [_area(one.name, together(read_areas(one.area))) for one in settings.watch if one.area is not None]
    chosen = [area for given in settings.alerts.areas for area in read_areas(given)]
    if everywhere or not chosen:
        return tuple(chosen or ([] if everywhere else watched))
    both = [_area(one.name, one.geometry.intersection(other.geometry)) for one in chosen for other in watched]
    # Where the two have nothing in common there is still an area, an empty one, and so nothing to tell.
    return tuple([area for area in both if area.geometry.area > 0] or both[:1])


def tell_of_slicks(
    alerter: Alerter, settings: Settings, slicks: gpd.GeoDataFrame, former: gpd.GeoDataFrame, scene_id: str, model: str
) -> int:
    """Take the slicks of a scene for alerts; returns how many are new.

    `former` are those of the results that this one takes the place of: what overlaps one of them that was worth an
    alert is the same oil seen again, by another model or in a later processing, and is not told anew.
    """
    areas, options = alerted_areas(settings), alert_options(settings)
    found = rules.detections(
        former.assign(status="unreviewed"), DETECTIONS, areas, options, datetime.now(UTC), scene_id="", model_id=None
    )
    told = former[former["id"].isin([alert.subject for alert in found])]
    news = slicks if told.empty else slicks[~slicks.geometry.intersects(told.geometry.union_all())]
    return len(alerter.detected(news, DETECTIONS, areas, scene_id, model))


def tell_of_parked(alerter: Alerter, record: SceneRecord) -> None:
    """Take it for an alert that a scene was given up; once, however often this is called."""
    if record.state in ("failed", "quarantined"):
        reason, when = record.reason or record.state, record.changed_at.isoformat()
        alerter.failed(record.id, reason, of="scene", occurrence=when)


@contextmanager
def told_of_failures(alerter: Alerter, flow: str) -> Iterator[None]:
    """Take it for an alert when the block fails, and raise on."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, SlickwatchError)
        alerter.failed(flow, str(error) if known else f"unexpected {type(error).__name__}: {error}", of="flow")
        raise


def tell_of_silence(alerter: Alerter, settings: Settings, newest: Mapping[str, datetime | None]) -> None:
    """Take the newest scene of each watch, and the run before this one, for alerts on silence; then note this run."""
    never = {watch.name for watch in settings.watch if watch.silence_hours == 0}
    heard = {watch: time for watch, time in newest.items() if watch not in never}
    now, note = datetime.now(UTC), _note(settings)
    last = read_json(note).get("finished")
    alerter.silence(now, heard, datetime.fromisoformat(last) if isinstance(last, str) else now)
    alerter.silence(now, {}, now)  # this run ends the silence, if there was one
    write_json(note, {"finished": now.isoformat()})


def _area(name: str, geometry: BaseGeometry) -> Area:
    """An area that may be an empty one, or have lines where others only touched."""
    return Area(name, cast(MultiPolygon, geometry))


def _note(settings: Settings) -> Path:
    return settings.prefect.home / "monitored.json"
