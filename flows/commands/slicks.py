"""`slickwatch slicks`: the catalogue of slicks of all scenes, and their reviews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.filters import with_filters
from flows.commands.options import Csv, Json, Limit, Verbose
from flows.commands.terminal import Command, command_group, print_list, print_note
from ingest.errors import UsageError

if TYPE_CHECKING:
    from outputs.catalogue import Catalogue, Selection

app = command_group("List, review and export the slicks of all scenes.")
CatalogueFile = Annotated[
    Path | None, typer.Option("--catalogue", metavar="FILE", help="Catalogue file; default: monitor.catalogue.")
]
SlickId = Annotated[str, typer.Argument(metavar="SLICK", help="Id of a slick.")]
SlickOrScene = Annotated[str, typer.Argument(metavar="SLICK", help="Id of a slick, or of a scene.")]


@app.command("list", cls=Command)
@with_filters
def list_(
    selection: Selection,
    catalogue: CatalogueFile = None,
    limit: Limit = None,
    csv_: Csv = False,
    geojson: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the slicks to this file as GeoJSON instead.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """List slicks, latest acquisition first; times are UTC.

    Example: slickwatch slicks list --bbox 47,23.5,57,30.5 --since 7d --status unreviewed --minimum-area 0.5
    """
    from flows.resolve import open_catalogue
    from outputs.catalogue.text import SLICK_HEADERS, slick_columns, slick_records, slick_row

    opened = open_catalogue(catalogue)
    if geojson is not None:
        _require_other_file(geojson, opened)
    slicks = opened.slicks(selection, limit=limit)
    if geojson is not None:
        from outputs.vectors import export

        export(slicks, geojson, ".geojson")
        typer.echo(geojson)
        return
    records = slick_records(slicks)
    rows = [slick_row(one) for one in records]
    print_list("slicks", records, slick_columns(slicks), SLICK_HEADERS, rows, json_, csv_)
    if slicks.empty:
        scenes = opened.scenes(selection)
        blank = int(scenes["nothing_to_see"].notna().sum())
        print_note(
            f"{len(scenes)} scene{'' if len(scenes) == 1 else 's'} analysed, {blank} of them with nothing to see"
        )


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
@with_filters
def export_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="File to write, replaced if present: .geojson, .gpkg, .fgb, .parquet or .csv."
        ),
    ],
    selection: Selection,
    catalogue: CatalogueFile = None,
    limit: Limit = None,
    verbose: Verbose = False,
) -> None:
    """Export slicks to a file; the outlines in a CSV file are WKT.

    Example: slickwatch slicks export confirmed.gpkg --status confirmed
    """
    from flows.resolve import open_catalogue
    from outputs.vectors import export

    opened = open_catalogue(catalogue)
    _require_other_file(file, opened)
    slicks = opened.slicks(selection, limit=limit)
    export(slicks, file)
    typer.echo(f"{file}: {len(slicks)} slick{'' if len(slicks) == 1 else 's'}")


def _require_other_file(file: Path, catalogue: Catalogue) -> None:
    if file.exists() and file.samefile(catalogue.path):
        raise UsageError(file, "is the catalogue itself", "choose another file")
