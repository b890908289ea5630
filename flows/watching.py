"""What `slickwatch watch` and `slickwatch fetch` do: read the watch file, open its sources, run rounds."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.scenes import ledger_url
from ingest.areas import read_areas, together
from ingest.download import Progress, fetch
from ingest.errors import SourceError, UsageError
from ingest.ledger import Ledger
from ingest.scene import Scene, scene_from_name
from ingest.sources import open_source
from ingest.sources.source import Query, SceneSource
from ingest.watch import Round, SceneProgress, Watch, WatchOptions, stopping_on_signals, watch_forever, watch_once

EXAMPLE = """\
folder = "scenes"              # where scenes are fetched to
interval_minutes = 15
# budget_gb = 500              # beyond it, processed scenes go, the longest unused first
# since = 2026-11-01T00:00:00Z # publication time to begin with; without it, all there is

[sources.inbox]                # SAFE folders and zips that something else puts there
folder = "inbox"

[sources.cdse]                 # needs credentials: docs/sources.md

[[watch]]
name = "from-the-inbox"
source = "inbox"

[[watch]]
name = "gulf"
source = "cdse"
area = "47,23.5,57,30.5"       # west,south,east,north; or WKT, or the name of a GeoJSON file
mode = "IW"
polarisation = "VV"
"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WatchEntry(_Strict):
    """One `[[watch]]` of the file."""

    name: str
    source: str
    area: str | None = None
    mode: str | None = "IW"
    product_type: str = "GRD"
    polarisation: str | None = None
    relative_orbit: int | None = Field(default=None, ge=1, le=175)
    orbit_direction: Literal["ascending", "descending"] | None = None
    timeliness: str | None = None


class WatchFile(_Strict):
    """The whole watch file; `[sources.NAME]` has the options of one of `ingest.sources.SOURCES`, by `kind` or NAME."""

    folder: Path = Path("scenes")
    ledger: str | None = None
    interval_minutes: float = Field(default=15, gt=0)
    overlap_hours: float = Field(default=24, ge=0)
    since: datetime | None = None
    budget_gb: float | None = Field(default=None, gt=0)
    sources: dict[str, dict[str, Any]]
    watch: list[WatchEntry] = Field(min_length=1)


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


def run(path: Path, only_once: bool, report: Callable[[Round], None], progress: SceneProgress | None = None) -> None:
    """Watch by a file, one round or until SIGTERM or SIGINT; raises `UsageError` for what is wrong in the file."""
    with opened(path) as watching, stopping_on_signals(threading.Event()) as stop:
        if only_once:
            report(watching.once(stop, progress))
        else:
            watch_forever(lambda: watching.once(stop, progress), watching.interval_s, stop, report)


@contextmanager
def opened(path: Path) -> Iterator[Watching]:
    """Open sources and ledger of a watch file; relative paths in it are those of the working folder."""
    file = read_watch_file(path)
    with ExitStack() as stack:
        sources = {name: _open(name, options, stack) for name, options in file.sources.items()}
        watches = tuple(_watch(path, entry, sources) for entry in file.watch)
        ledger = stack.enter_context(Ledger.open(ledger_url(file.ledger)))
        options = WatchOptions(
            overlap=timedelta(hours=file.overlap_hours),
            since=None if file.since is None else file.since.astimezone(UTC),
            budget=None if file.budget_gb is None else int(file.budget_gb * 1e9),
        )
        yield Watching(watches, ledger, file.folder, options, file.interval_minutes * 60)


def read_watch_file(path: Path) -> WatchFile:
    """Read a TOML watch file; raises `UsageError` naming the first wrong entry."""
    try:
        return WatchFile.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError:
        remedy = "write one: slickwatch watch --example"
        raise UsageError(path, "no such watch file", remedy) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(path, f"not a readable TOML file ({error})", "see slickwatch watch --example") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(path, f"{where}: {first['msg']}", "see slickwatch watch --example") from None


def fetch_by_name(
    name: str, kind: str, options: dict[str, Any], folder: Path, progress: Progress | None = None
) -> Path:
    """Fetch one scene by its product's name; raises `UnreadableInput` for no product name, `SourceError`."""
    wanted = scene_from_name(name)
    with ExitStack() as stack:
        source = _open(kind, options, stack)
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


def _open(name: str, options: dict[str, Any], stack: ExitStack) -> SceneSource:
    kind = str(options.get("kind", name))
    source = open_source(kind, {key: value for key, value in options.items() if key != "kind"})
    if hasattr(source, "close"):
        stack.callback(source.close)
    return source


def _watch(path: Path, entry: WatchEntry, sources: dict[str, SceneSource]) -> Watch:
    if entry.source not in sources:
        problem = f"watch {entry.name!r} is of a source {entry.source!r} that the file does not have"
        raise UsageError(path, problem, f"add [sources.{entry.source}]")
    query = Query(
        area=None if entry.area is None else together(read_areas(entry.area)),
        **entry.model_dump(exclude={"name", "source", "area"}),
    )
    return Watch(entry.name, sources[entry.source], query)
