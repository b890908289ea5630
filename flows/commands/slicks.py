"""`slickwatch slicks`: the catalogue over all scenes, and what analysts say of its slicks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Json, Verbose

catalogue_app = typer.Typer(
    help="The catalogue of all scenes' slicks: list, show, review, export.", no_args_is_help=True, rich_markup_mode=None
)
CatalogueAt = Annotated[
    Path | None, typer.Option("--catalogue", help="Its file; else monitor.catalogue of the settings.")
]
Bbox = Annotated[str | None, typer.Option(help="Only those that meet west,south,east,north, in degrees.")]
Since = Annotated[str | None, typer.Option(help="Acquired since: 2026-01-31, 12h, 7d (UTC).")]
Until = Annotated[str | None, typer.Option(help="Acquired until then.")]
Status = Annotated[list[str] | None, typer.Option(help="Only these: unreviewed, confirmed, rejected; several times.")]
OfModel = Annotated[str | None, typer.Option("--model", help="Only those that this model found: its id or SHA-256.")]
Superseded = Annotated[bool, typer.Option("--superseded", help="Those of superseded results too.")]
Limit = Annotated[int | None, typer.Option(min=1, help="No more than these.")]
SlickId = Annotated[str, typer.Argument(metavar="ID", help="Id of a slick.", show_default=False)]


@catalogue_app.command("list")
def slicks_list(
    catalogue: CatalogueAt = None,
    bbox: Bbox = None,
    since: Since = None,
    until: Until = None,
    status: Status = None,
    model: OfModel = None,
    superseded: Superseded = False,
    limit: Limit = None,
    csv_: Annotated[bool, typer.Option("--csv", help="Print all attributes as CSV.")] = False,
    geojson: Annotated[Path | None, typer.Option(help="Write them to this file as GeoJSON instead.")] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """List slicks, the latest acquisition first; times are UTC.

    Example: slickwatch slicks list --bbox 47,23.5,57,30.5 --since 7d --status unreviewed
    """
    from flows.reviewing import (
        Wanted,
        as_csv,
        as_json,
        as_table,
        export_slicks,
        list_slicks,
    )

    wanted = Wanted(bbox, since, until, status or (), model, superseded, limit)
    if geojson is not None:
        export_slicks(catalogue, wanted, geojson, ".geojson")
        typer.echo(geojson)
        return
    slicks = list_slicks(catalogue, wanted)
    form = as_json if json_ else as_csv if csv_ else as_table
    if len(slicks) or json_ or csv_:
        typer.echo(form(slicks), nl=not csv_)


@catalogue_app.command("show")
def slicks_show(id: SlickId, catalogue: CatalogueAt = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Show a slick with the run that found it and all that was said of it.

    Example: slickwatch slicks show 3f2b8a1c9d4e5f60
    """
    from flows.reviewing import show_slick, shown_as_json, shown_as_text

    typer.echo((shown_as_json if json_ else shown_as_text)(show_slick(catalogue, id)))


@catalogue_app.command("review")
def slicks_review(
    id: SlickId,
    status: Annotated[str, typer.Argument(help="confirmed or rejected; unreviewed takes it back.")],
    reviewer: Annotated[str, typer.Option(help="Who says so.")],
    notes: Annotated[str | None, typer.Option(help="And why.")] = None,
    catalogue: CatalogueAt = None,
    verbose: Verbose = False,
) -> None:
    """Say whether a slick is one.

    Example: slickwatch slicks review 3f2b8a1c9d4e5f60 rejected --reviewer Ada --notes "low wind"
    """
    from flows.reviewing import review_slick

    review = review_slick(catalogue, id, status, reviewer, notes)
    typer.echo(f"{review.slick_id}: {review.status} by {review.reviewer}")


@catalogue_app.command("export")
def slicks_export(
    file: Annotated[Path, typer.Argument(help="Its suffix says the format: .geojson, .gpkg, .fgb or .parquet.")],
    catalogue: CatalogueAt = None,
    bbox: Bbox = None,
    since: Since = None,
    until: Until = None,
    status: Status = None,
    model: OfModel = None,
    superseded: Superseded = False,
    limit: Limit = None,
    verbose: Verbose = False,
) -> None:
    """Write slicks to a file; one of that name is replaced.

    Example: slickwatch slicks export confirmed.gpkg --status confirmed
    """
    from flows.reviewing import Wanted, export_slicks

    wanted = Wanted(bbox, since, until, status or (), model, superseded, limit)
    count = export_slicks(catalogue, wanted, file)
    typer.echo(f"{file}: {count} slick{'' if count == 1 else 's'}")
