"""Problems of valid settings: areas, sources, paths, credentials. Does not use the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from flows.settings import Settings
from ingest.areas import read_areas
from ingest.errors import SlickwatchError, UsageError
from ingest.ledger.database import Database
from ingest.sources.kinds import opened_source


def problems(settings: Settings) -> list[str]:
    """All problems found, a line each."""
    return [*_areas(settings), *_sources(settings), *_mail(settings), *_ledger(settings), *_paths(settings)]


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
    names: dict[str, str] = {}  # names of sources in the ledger, by those in the settings
    for name, options in settings.sources.items():
        try:
            with opened_source(name, options) as source:
                names[name] = source.name
        except SlickwatchError as error:
            yield _line(settings, f"sources.{name}", error)
            continue
        if twins := [other for other in names if other != name and names[other] == source.name]:
            problem = f"duplicate source name {source.name!r}, also used by sources.{twins[0]}; set another name"
            yield _line(settings, f"sources.{name}", problem)


def _mail(settings: Settings) -> Iterator[str]:
    try:
        settings.mail_credentials()
    except SlickwatchError as error:
        yield _line(settings, "alerts.mail.login", error)


def _ledger(settings: Settings) -> Iterator[str]:
    """Check the folder of the file, or the database driver; without connecting to a server."""
    try:
        database = Database(settings.ledger_url())
    except SlickwatchError as error:
        yield _line(settings, "scenes.ledger", error)
        return
    database.engine.dispose()
    if database.is_sqlite:
        yield from _folder(settings, "scenes.ledger", Path(str(database.url.database)).absolute().parent)


def _paths(settings: Settings) -> Iterator[str]:
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
    """Check that the folder is writable, or can be created."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        yield _line(settings, key, f"{existing} is not a folder; move it, or choose another path")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield _line(settings, key, f"{existing} is not writable; change its permissions, or choose another path")


def _file(settings: Settings, key: str, file: Path | None) -> Iterator[str]:
    if file is not None and not file.is_file():
        yield _line(settings, key, f"{file} is not a file; create it, or choose another")
