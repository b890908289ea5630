"""`slickwatch scenes`: the scene ledger."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer

from flows.commands.options import Csv, Json, Limit, Verbose, time_option
from flows.commands.terminal import Command, command_group, print_failure, print_list
from ingest.errors import SlickwatchError
from ingest.scene import scene_from_name

app = command_group("List scenes, retry or forget them.")
LedgerAddress = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="LEDGER",
        help="File or postgresql://USER@HOST/DATABASE; default: $SLICKWATCH_LEDGER, else scenes.ledger.",
    ),
]
SceneIds = Annotated[list[str], typer.Argument(metavar="SCENE", help="Product names, with or without .SAFE or .zip.")]


@app.command("list", cls=Command)
def list_(
    ledger: LedgerAddress = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", parser=str.lower, help="Only this state: found, failed, ...; repeatable."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=time_option, help="Changed since: 2026-01-31, 12h, 7d (UTC)."),
    ] = None,
    limit: Limit = None,
    counts: Annotated[bool, typer.Option("--counts", help="Print the number of scenes in each state.")] = False,
    csv_: Csv = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """List scenes, last changed first; times are UTC.

    Example: slickwatch scenes list --state failed --since 7d
    """
    from flows.resolve import open_ledger
    from ingest.ledger.records import SCENE_HEADERS, SceneRecord, scene_row

    with open_ledger(ledger) as opened:
        if counts:
            numbers = opened.counts()
            lines = [f"{name:<11}  {number}" for name, number in numbers.items()]
            typer.echo(json.dumps(numbers) if json_ else "\n".join(lines))
            return
        records = opened.list(state or (), since, limit)
    columns = [field.name for field in dataclasses.fields(SceneRecord)]
    rows = [scene_row(record) for record in records]
    print_list("scenes", [record.as_dict() for record in records], columns, SCENE_HEADERS, rows, json_, csv_)


@app.command("retry", cls=Command)
def retry(scene: SceneIds, ledger: LedgerAddress = None, verbose: Verbose = False) -> None:
    """Retry failed, quarantined, waiting or forgotten scenes at once.

    Example: slickwatch scenes retry S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_051900_0645F0_1234
    """
    from flows.agreement import settle
    from flows.resolve import open_ledger
    from flows.settings import Settings

    with open_ledger(ledger) as opened:
        _for_each(scene, lambda id: f"{opened.retry(id).state}, due now")
        settle(opened, Settings.read())


@app.command("forget", cls=Command)
def forget(
    scene: SceneIds,
    ledger: LedgerAddress = None,
    entirely: Annotated[
        bool, typer.Option("--entirely", help="Delete the record; a source that lists the scene finds it again.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Ignore scenes from now on, also under other archive formats; their slicks are no longer current.

    Those of an older processing become current again. `retry` undoes this.

    Example: slickwatch scenes forget S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_051900_0645F0_1234
    """
    from flows.agreement import forget as forget_scene
    from flows.resolve import open_ledger
    from flows.settings import Settings

    done = "deleted; found again if a source lists it" if entirely else "forgotten; will not be found again"
    settings = Settings.read()
    with open_ledger(ledger) as opened:

        def forget_one(id: str) -> str:
            changed = forget_scene(id, entirely, opened, settings)
            again = ", ".join(other for other in changed if other != scene_from_name(id).id)
            return f"{done}; results current again: {again}" if again else done

        _for_each(scene, forget_one)


def _for_each(ids: list[str], act: Callable[[str], str]) -> None:
    """Print what was done to each scene; one that fails does not stop the others."""
    failures: list[SlickwatchError] = []
    for id in ids:
        try:
            typer.echo(f"{id}: {act(id)}")
        except SlickwatchError as failure:
            failures.append(failure)
            print_failure(failure)
    if failures:
        raise typer.Exit(failures[0].exit_code)
