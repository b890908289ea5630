"""Problems of valid settings: areas, sources, paths, credentials. Does not use the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flows.settings import Settings
from ingest.areas import read_areas
from ingest.errors import SlickwatchError, StorageError, UsageError
from ingest.files import require_writable
from ingest.ledger.database import Database, parse_url
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


def written_folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The folders that monitoring and retraining write to, each with its key. Raises `UsageError` for the ledger."""
    yield "scenes.folder", settings.scenes.folder
    yield "monitor.results", settings.monitor.results
    yield "monitor.catalogue", settings.monitor.catalogue.parent
    yield "models.registry", settings.models.registry
    yield "retraining.folder", settings.retraining.folder
    yield "prefect.home", settings.prefect.home
    ledger = parse_url(settings.ledger_url())
    if ledger.get_backend_name() == "sqlite":
        yield "scenes.ledger", Path(str(ledger.database)).parent


def _ledger(settings: Settings) -> Iterator[str]:
    """Check the address and the database driver, without connecting to a server."""
    try:
        Database(settings.ledger_url()).engine.dispose()
    except SlickwatchError as error:
        yield _line(settings, "scenes.ledger", error)


def _paths(settings: Settings) -> Iterator[str]:
    with suppress(UsageError):  # of the ledger's address
        for key, folder in written_folders(settings):
            try:
                require_writable(folder)
            except StorageError as error:
                yield _line(settings, key, error)
    yield from _file(settings, "monitor.coastline", settings.monitor.coastline)
    yield from _file(settings, "retraining.start.jointnet_config", settings.retraining.start.jointnet_config)
    yield from _file(settings, "retraining.start.student_config", settings.retraining.start.student_config)


def _file(settings: Settings, key: str, file: Path | None) -> Iterator[str]:
    if file is not None and not file.is_file():
        yield _line(settings, key, f"{file} is not a file; create it, or choose another")
