"""The alerter as the settings configure it: its options, channels, state file and areas."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

from flows.settings import Settings
from ingest.areas import Area, read_areas, together
from ingest.files import storage_errors
from outputs.alerting.alerter import Alerter
from outputs.alerting.channels import open_channels
from outputs.alerting.options import AlertOptions

_SAME = {  # keys that mean the same in the settings and in the options
    "webhooks", "minimum_confidence", "minimum_area_km2", "repeat_hours", "all_clear", "rate_count", "rate_minutes",
    "link_template", "timeout_s",
}  # fmt: skip


def open_alerter(settings: Settings) -> Alerter:
    """The alerter of the settings, its state in alerts.sqlite in `prefect.home`. Raises as `Alerter.open` does."""
    options, home = alert_options(settings), settings.prefect.home
    results = settings.monitor.results
    channels = open_channels(options, settings.mail_credentials, lambda scene_id: results / scene_id / "report.pdf")
    with storage_errors(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Alerter.open(options, home / "alerts.sqlite", channels=channels)


def last_run_file(settings: Settings) -> Path:
    """The file that records when a round of monitoring last finished."""
    return settings.prefect.home / "monitored.json"


def alert_options(settings: Settings) -> AlertOptions:
    """The `[alerts]` of the settings, where 0 hours mean never, as options, where None does."""
    alerts, mail = settings.alerts, settings.alerts.mail
    own = {watch.name: watch.silence_hours or None for watch in settings.watch if watch.silence_hours is not None}
    return AlertOptions(
        **alerts.model_dump(include=_SAME),
        smtp_host=mail.host,
        smtp_port=mail.port,
        smtp_starttls=mail.starttls,
        sender=mail.sender,
        attach_mb=mail.attach_mb,
        recipients=mail.recipients if mail.host is not None else (),
        silence_hours=alerts.silence_hours or None,
        silence_hours_by_watch=own,
        idle_hours=alerts.idle_hours or None,
    )


def alerted_areas(settings: Settings) -> tuple[Area, ...]:
    """Where slicks are alerted: in a watched area and, if given, in one of `alerts.areas`; empty: everywhere.

    A watch without an area covers the whole world. Raises as `read_areas` does.
    """
    everywhere = not settings.watch or any(watch.area is None for watch in settings.watch)
    watched = [_area(one.name, together(read_areas(one.area))) for one in settings.watch if one.area is not None]
    chosen = [area for given in settings.alerts.areas for area in read_areas(given)]
    if everywhere or not chosen:
        return tuple(chosen or ([] if everywhere else watched))
    both = [_area(one.name, one.geometry.intersection(other.geometry)) for one in chosen for other in watched]
    # Where they have nothing in common an empty area remains, so that nothing is alerted.
    return tuple([area for area in both if area.geometry.area > 0] or both[:1])


def _area(name: str, geometry: BaseGeometry) -> Area:
    """An area that may be empty, or contain lines where others only touched."""
    return Area(name, cast(MultiPolygon, geometry))
