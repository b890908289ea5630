"""`slickwatch report`: what was found and looked at in an area during a period."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from flows.commands.filters import watched_areas
from flows.commands.options import Json, Out, Verbose, time_option
from flows.commands.slicks import CatalogueFile
from ingest.errors import UsageError


def report(
    area: Annotated[
        str,
        typer.Option(
            metavar="AREA", help="A [[watch]] of the settings by its name, a box W,S,E,N in degrees, or a file."
        ),
    ],
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="Acquired since: 2026-01-31, 12h, 7d (UTC).")],
    out: Out,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Acquired until, a day to its end; default: now.")
    ] = None,
    catalogue: CatalogueFile = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Report on an area and a period: counts, areas, days, maps, what was looked at.

    Writes report.html, report.pdf and slicks.csv.

    Example: slickwatch report --area 47,23.5,57,30.5 --from 2026-10-01 --to 2026-10-31 --out october
    """
    geometry = _area(area)
    now = datetime.now(UTC)
    since, until = time_option(from_), now if to is None else _end(to)
    if since > until:
        raise UsageError("--from", f"{since:%Y-%m-%d %H:%M} is after {until:%Y-%m-%d %H:%M}", "give the earlier time")

    from flows.resolve import open_catalogue
    from flows.settings import Settings
    from outputs.catalogue import Selection
    from outputs.reports.page import write_page
    from outputs.reports.pdf import write_pdf
    from outputs.reports.period import Period, period_report
    from outputs.vectors import write_csv

    opened, selection = open_catalogue(catalogue), Selection(since=since, until=until, within=geometry)
    period = Period(area, geometry, since, until, opened.slicks(selection), opened.scenes(selection))
    document = period_report(period, now, Settings.read().monitor.coastline)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / name for name in ("report.html", "report.pdf", "slicks.csv")]
    write_page(document, files[0])
    write_pdf(document, files[1])
    write_csv(period.slicks, files[2])
    if json_:
        typer.echo(json.dumps({**period.figures(), "files": list(map(str, files))}, indent=2))
    else:
        typer.echo("\n".join([document.verdict, *map(str, files)]))


def _area(text: str) -> Any:
    """Of a watch, a box or a file. Raises `UsageError`."""
    from ingest.areas import read_areas, together

    watches = watched_areas()
    if text in watches:
        given = watches[text]
        if given is None:
            raise UsageError("--area", f"the watch {text!r} is worldwide", "give a box or a file")
        return together(read_areas(given))
    try:
        return together(read_areas(text))
    except UsageError as error:
        if "no such file" not in error.problem:
            raise
        known = f", or a watch: {', '.join(watches)}" if watches else ""
        problem = f"{text!r} is no watch of the settings, no box and no file"
        raise UsageError("--area", problem, f"give W,S,E,N or a file of GeoJSON or WKT{known}") from error


def _end(text: str) -> datetime:
    """A time; a day without a time of day stands for its last moment."""
    end = time_option(text)
    only_day = len(text.strip()) == len("2026-01-31") and text.strip().count("-") == 2
    return end + timedelta(days=1, milliseconds=-1) if only_day else end
