"""What a valid settings file may still get wrong: areas, sources, places, credentials. No network is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from flows.settings.file import Settings
from ingest.areas import read_areas
from ingest.errors import SlickwatchError, UsageError
from ingest.ledger.database import Database
from ingest.sources.access import opened_source


def problems(settings: Settings) -> list[str]:
    """Everything found wrong, a line each: areas, sources, credentials, and places that cannot be used."""
    return [*_areas(settings), *_sources(settings), *_mail(settings), *_ledger(settings), *_places(settings)]


def _line(settings: Settings, key: str, error: SlickwatchError | str) -> str:
    return f"{settings.file or 'settings'}: {key}: {error}"


def _areas(settings: Settings) -> Iterator[str]:
    areas = [(f"watch.{number}.area", watch.area) for number, watch in enumerate(settings.watch)]
    areas += [(f"alerts.areas.{number}", area) for number, area in enumerate(settings.alerts.areas)]
    for key, area in areas:
        try:
            if area is not None:
                read_areas(area)
        except UsageError as error:
            yield _line(settings, key, error)


def _sources(settings: Settings) -> Iterator[str]:
    called: dict[str, str] = {}  # names of sources, as the ledger has them, by those of the settings
    for name, options in settings.sources.items():
        try:
            with opened_source(name, options) as source:
                called[name] = source.name
        except SlickwatchError as error:
            yield _line(settings, f"sources.{name}", error)
            continue
        twins = [other for other in called if other != name and called[other] == source.name]
        if twins:
            yield _line(settings, f"sources.{name}", f"is called {source.name} as sources.{twins[0]} is; set its name")


def _mail(settings: Settings) -> Iterator[str]:
    try:
        settings.mail_credentials()
    except SlickwatchError as error:
        yield _line(settings, "alerts.mail.login", error)


def _ledger(settings: Settings) -> Iterator[str]:
    """The file's folder, or the driver; no server is asked."""
    try:
        database = Database(settings.ledger_url())
    except SlickwatchError as error:
        yield _line(settings, "scenes.ledger", error)
        return
    database.engine.dispose()
    if database.is_sqlite:
        yield from _folder(settings, "scenes.ledger", Path(str(database.url.database)).absolute().parent)


def _places(settings: Settings) -> Iterator[str]:
    yield from _folder(settings, "scenes.folder", settings.scenes.folder)
    yield from _folder(settings, "monitor.results", settings.monitor.results)
    yield from _folder(settings, "monitor.catalogue", settings.monitor.catalogue.parent)
    yield from _folder(settings, "models.registry", settings.models.registry)
    yield from _folder(settings, "retraining.folder", settings.retraining.folder)
    yield from _folder(settings, "prefect.home", settings.prefect.home)
    yield from _file(settings, "monitor.coastline", settings.monitor.coastline)
    yield from _file(settings, "retraining.start.jointnet_config", settings.retraining.start.jointnet_config)
    yield from _file(settings, "retraining.start.student_config", settings.retraining.start.student_config)


def _folder(settings: Settings, key: str, folder: Path) -> Iterator[str]:
    """Whether files can be made in a folder, or the folder itself where it is not there yet."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        yield _line(settings, key, f"{there} is no folder; move it, or choose another place")
    elif not os.access(there, os.W_OK | os.X_OK):
        yield _line(settings, key, f"{there} may not be written to; change its permissions, or choose another place")


def _file(settings: Settings, key: str, file: Path | None) -> Iterator[str]:
    if file is not None and not file.is_file():
        yield _line(settings, key, f"{file} is no file; put it there, or choose another")
