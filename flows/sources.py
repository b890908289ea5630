"""What `slickwatch watch` and `slickwatch fetch` do: open the sources that the settings name, run rounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.settings import Settings
from flows.settings.environment import DEFAULT_FILE
from flows.settings.sections import Watch as WatchEntry
from ingest.areas import read_areas, together
from ingest.download import Progress, fetch
from ingest.errors import SourceError, UsageError
from ingest.ledger.ledger import Ledger
from ingest.scene import Scene, scene_from_name
from ingest.sources.kinds import open_source
from ingest.sources.source import Query, SceneSource
from ingest.watch import (
    Round,
    SceneProgress,
    Watch,
    WatchOptions,
    stopping_on_signals,
    watch_forever,
    watch_once,
)

_NOT_OF_THE_QUERY = {"name", "source", "area", "cron", "silence_hours"}


@dataclass(frozen=True)
class Watching:
    """Opened: what the rounds need."""

    watches: tuple[Watch, ...]
    ledger: Ledger
    folder: Path
    options: WatchOptions
    interval_s: float

    def once(self, stop: threading.Event, progress: SceneProgress | None = None) -> Round:
        """Run one round."""
        return watch_once(self.watches, self.ledger, self.folder, self.options, stop=stop, progress=progress)


def run(
    path: Path | None, only_once: bool, report: Callable[[Round], None], progress: SceneProgress | None = None
) -> None:
    """Watch by the settings, one round or until SIGTERM or SIGINT; `path` and what is raised as in `Settings.read`."""
    with opened(Settings.read(path)) as watching, stopping_on_signals(threading.Event()) as stop:
        if only_once:
            report(watching.once(stop, progress))
        else:
            watch_forever(lambda: watching.once(stop, progress), watching.interval_s, stop, report)


@contextmanager
def opened(settings: Settings, only: Collection[str] | None = None) -> Iterator[Watching]:
    """Open the sources and the ledger of what is watched, or of the watches called `only`.

    Raises `UsageError` where there is nothing to watch or no such watch, `SourceError` for want of credentials.
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
        yield Watching(watches, ledger, settings.scenes.folder, options, settings.watching.interval_minutes * 60)


@contextmanager
def opened_source(name: str, options: Mapping[str, Any]) -> Iterator[SceneSource]:
    """A source for a while, of the `kind` among its options, else of the kind `name`; raises as `open_source` does."""
    source = open_source(str(options.get("kind", name)), {key: options[key] for key in options if key != "kind"})
    try:
        yield source
    finally:
        if hasattr(source, "close"):
            source.close()


def fetch_by_name(
    name: str, kind: str, options: dict[str, Any], folder: Path, progress: Progress | None = None
) -> Path:
    """Fetch one scene by its product's name; raises `UnreadableInput` for no product name, `SourceError`."""
    wanted = scene_from_name(name)
    with opened_source(kind, options) as source:
        scene = _find(source, wanted)
        return fetch(source, scene, folder, progress=progress)


def _find(source: SceneSource, wanted: Scene) -> Scene:
    """The name tells mode, orbit and time, which leaves a source a few scenes to list."""
    query = Query(
        mode=wanted.mode,
        product_type=wanted.product_type,
        polarisation=wanted.polarisations[0],
        relative_orbit=wanted.relative_orbit,
    )
    for scene in source.find(query, wanted.acquired_start):  # nothing is published before it was acquired
        if scene.id == wanted.id:
            return scene
    raise SourceError(wanted.id, f"{source.name} does not list it", "look at its name, or take another --source")


def _entries(settings: Settings, only: Collection[str] | None) -> list[WatchEntry]:
    file = settings.file or DEFAULT_FILE
    if not settings.watch:
        remedy = "add [sources.NAME] and [[watch]]; see slickwatch settings example"
        raise UsageError(file, "has no [[watch]], and so there is nothing to watch", remedy)
    known = [entry.name for entry in settings.watch]
    if unknown := sorted(set(only or ()) - set(known)):
        raise UsageError(file, f"has no watch {unknown[0]!r}", f"it has {', '.join(known)}")
    return [entry for entry in settings.watch if only is None or entry.name in only]


def _watch(entry: WatchEntry, source: SceneSource) -> Watch:
    area = None if entry.area is None else together(read_areas(entry.area))
    return Watch(entry.name, source, Query(area=area, **entry.model_dump(exclude=_NOT_OF_THE_QUERY)))
