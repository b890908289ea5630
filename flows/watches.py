"""The watches of the settings: their sources and the ledger, opened; rounds of finding and fetching."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from flows.settings import Settings
from flows.settings.environment import DEFAULT_FILE
from flows.settings.sections import Watch as WatchSettings
from ingest.areas import read_areas, together
from ingest.errors import SourceError, StorageError, UsageError
from ingest.ledger.ledger import Ledger
from ingest.progress import downloads
from ingest.sources.kinds import opened_source
from ingest.sources.source import Query, SceneSource
from ingest.watch import (
    SIGNALLED,
    Round,
    Watch,
    WatchOptions,
    stopping_on_signals,
    watch_forever,
    watch_once,
)

_NOT_IN_QUERY = {"name", "source", "area", "cron", "silence_hours"}


@dataclass(frozen=True)
class OpenWatches:
    """What a round needs."""

    watches: tuple[Watch, ...]
    ledger: Ledger
    folder: Path
    options: WatchOptions
    interval_s: float

    def run_round(self, stop: threading.Event) -> Round:
        """Find and fetch new scenes once."""
        with downloads() as shown:
            return watch_once(self.watches, self.ledger, self.folder, self.options, stop=stop, shown=shown)


def run_watches(path: Path | None, only_once: bool, report: Callable[[Round], None]) -> int:
    """Run one round, or rounds until SIGTERM or SIGINT; `path` and errors as of `Settings.read`.

    Returns the exit code: 4 if a source was down in the one round, 5 if it ended for want of space, else 0.
    """
    with open_watches(Settings.read(path)) as opened, stopping_on_signals(threading.Event()) as stop:
        if only_once:
            done = opened.run_round(stop)
            report(done)
            if done.stopped not in (None, SIGNALLED):
                return StorageError.exit_code
            return SourceError.exit_code if done.down else 0
        watch_forever(lambda: opened.run_round(stop), opened.interval_s, stop, report)
        return 0


@contextmanager
def open_watches(settings: Settings, only: Collection[str] | None = None) -> Iterator[OpenWatches]:
    """Open the sources and the ledger of all watches, or of those named in `only`.

    Raises `UsageError` where there are no watches or a name is unknown, `SourceError` for missing credentials.
    """
    entries = _entries(settings, only)
    with ExitStack() as stack:
        names = dict.fromkeys(entry.source for entry in entries)
        sources = {name: stack.enter_context(opened_source(name, settings.sources[name])) for name in names}
        watches = tuple(_watch(entry, sources[entry.source]) for entry in entries)
        ledger = stack.enter_context(Ledger.open(settings.ledger_url()))
        options = WatchOptions(
            overlap=timedelta(hours=settings.watching.overlap_hours),
            since=settings.scenes.since,
            budget=None if settings.scenes.budget_gb is None else int(settings.scenes.budget_gb * 1e9),
        )
        yield OpenWatches(watches, ledger, settings.scenes.folder, options, settings.watching.interval_minutes * 60)


def _entries(settings: Settings, only: Collection[str] | None) -> list[WatchSettings]:
    file = settings.file or DEFAULT_FILE
    if not settings.watch:
        remedy = "add [sources.NAME] and [[watch]]; see slickwatch settings example"
        raise UsageError(file, "has no [[watch]]: nothing to watch", remedy)
    known = [entry.name for entry in settings.watch]
    if unknown := sorted(set(only or ()) - set(known)):
        raise UsageError(file, f"no watch {unknown[0]!r}", f"choose from {', '.join(known)}")
    return [entry for entry in settings.watch if only is None or entry.name in only]


def _watch(entry: WatchSettings, source: SceneSource) -> Watch:
    area = None if entry.area is None else together(read_areas(entry.area))
    return Watch(entry.name, source, Query(area=area, **entry.model_dump(exclude=_NOT_IN_QUERY)))
