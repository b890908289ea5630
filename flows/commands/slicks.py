"""`slickwatch slicks`: the catalogue of slicks of all scenes, and their reviews."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Csv, Json, Limit, Verbose, box_option, time_option
from flows.commands.terminal import Command, command_group, print_list, print_note
from ingest.errors import UsageError

if TYPE_CHECKING:
    from outputs.catalogue import Catalogue

app = command_group("List, review and export the slicks of all scenes.")
CatalogueFile = Annotated[
    Path | None, typer.Option("--catalogue", metavar="FILE", help="Catalogue file; default: monitor.catalogue.")
]
Bbox = Annotated[  # not a tuple to Typer, which would take four words
    Any, typer.Option(metavar="W,S,E,N", parser=box_option, help="Slicks that intersect this box, in degrees.")
]
Since = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", parser=time_option, help="Acquired since: 2026-01-31, 12h, 7d (UTC)."),
]
Until = Annotated[datetime | None, typer.Option(metavar="TIME", parser=time_option, help="Acquired until.")]
Status = Annotated[
    list[str] | None,
    typer.Option(metavar="STATUS", parser=str.lower, help="unreviewed, confirmed or rejected; repeatable."),
]
FoundBy = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Detected by this model: its id or SHA-256.")
]
Superseded = Annotated[bool, typer.Option("--superseded", help="Include slicks of superseded results.")]
SlickId = Annotated[str, typer.Argument(metavar="SLICK", help="Id of a slick.")]
SlickOrScene = Annotated[str, typer.Argument(metavar="SLICK", help="Id of a slick, or of a scene.")]


@app.command("list", cls=Command)
def list_(
    catalogue: CatalogueFile = None,
    bbox: Bbox = None,
    since: Since = None,
    until: Until = None,
    status: Status = None,
    model: FoundBy = None,
    superseded: Superseded = False,
    limit: Limit = None,
    csv_: Csv = False,
    geojson: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the slicks to this file as GeoJSON instead.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """List slicks, latest acquisition first; times are UTC.

    Example: slickwatch slicks list --bbox 47,23.5,57,30.5 --since 7d --status unreviewed
    """
    from flows.resolve import open_catalogue
    from outputs.catalogue import Selection
    from outputs.catalogue.text import slick_columns, slick_line, slick_records

    opened = open_catalogue(catalogue)
    if geojson is not None:
        _require_other_file(geojson, opened)
    slicks = opened.slicks(Selection(bbox, since, until, status, model, not superseded), limit=limit)
    if geojson is not None:
        from outputs.vectors import export

        export(slicks, geojson, ".geojson")
        typer.echo(geojson)
        return
    records = slick_records(slicks)
    if slicks.empty and not status:
        scenes = opened.scenes(Selection(bbox, since, until, None, model, not superseded))
        blank = int(scenes["nothing_to_see"].notna().sum())
        print_note(
            f"no slicks in {len(scenes)} scene{'' if len(scenes) == 1 else 's'}, {blank} of them with nothing to see"
        )
    print_list(records, slick_columns(slicks), [slick_line(one) for one in records], json_, csv_)


@app.command("show", cls=Command)
def show(slick: SlickOrScene, catalogue: CatalogueFile = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Show a slick, the run that detected it and its reviews; or a scene, and how much of it could be searched.

    Example: slickwatch slicks show 3f2b8a1c9d4e5f60
    """
    from flows.resolve import open_catalogue
    from outputs.catalogue.text import scene_document, scene_text, slick_document, slick_text

    opened, text = open_catalogue(catalogue), scene_text
    document = scene_document(opened, slick)
    if document is None:
        document, text = slick_document(opened, slick), slick_text
    typer.echo(json.dumps(document, indent=2) if json_ else text(document))


@app.command("review", cls=Command)
def review(
    slick: SlickId,
    status: Annotated[
        str, typer.Argument(metavar="STATUS", help="confirmed or rejected; unreviewed withdraws a review.")
    ],
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Name of the reviewer.")],
    notes: Annotated[str | None, typer.Option(metavar="TEXT", help="Notes, such as the reason.")] = None,
    catalogue: CatalogueFile = None,
    verbose: Verbose = False,
) -> None:
    """Confirm or reject a slick.

    Example: slickwatch slicks review 3f2b8a1c9d4e5f60 rejected --reviewer Ada --notes "low wind"
    """
    from flows.resolve import open_catalogue

    recorded = open_catalogue(catalogue).review(slick, status.lower(), reviewer, notes)
    typer.echo(f"{recorded.slick_id}: {recorded.status} by {recorded.reviewer}")


@app.command("export", cls=Command)
def export_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="File to write, replaced if present: .geojson, .gpkg, .fgb or .parquet."),
    ],
    catalogue: CatalogueFile = None,
    bbox: Bbox = None,
    since: Since = None,
    until: Until = None,
    status: Status = None,
    model: FoundBy = None,
    superseded: Superseded = False,
    limit: Limit = None,
    verbose: Verbose = False,
) -> None:
    """Export slicks to a file.

    Example: slickwatch slicks export confirmed.gpkg --status confirmed
    """
    from flows.resolve import open_catalogue
    from outputs.catalogue import Selection
    from outputs.vectors import export

    opened = open_catalogue(catalogue)
    _require_other_file(file, opened)
    slicks = opened.slicks(Selection(bbox, since, until, status, model, not superseded), limit=limit)
    export(slicks, file)
    typer.echo(f"{file}: {len(slicks)} slick{'' if len(slicks) == 1 else 's'}")


def _require_other_file(file: Path, catalogue: Catalogue) -> None:
    if file.exists() and file.samefile(catalogue.path):
        raise UsageError(file, "is the catalogue itself", "choose another file")
