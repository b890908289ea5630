"""`slickwatch watch`, `fetch` and `scenes`: where scenes come from, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Json, Verbose, say
from flows.commands.settings import Config, print_example
from ingest.errors import SlickwatchError, UsageError

if TYPE_CHECKING:
    from ingest.watch import Round

watch_app = typer.Typer()
scenes_app = typer.Typer(help="The scene ledger: list, retry, forget.", no_args_is_help=True, rich_markup_mode=None)
LedgerAt = Annotated[
    str | None, typer.Option("--ledger", help="File or postgresql://...; else $SLICKWATCH_LEDGER, else ledger.sqlite.")
]
SceneIds = Annotated[list[str], typer.Argument(help="Product names, with or without .SAFE or .zip.")]


@watch_app.command()
def watch(
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="One round, instead of one every interval.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print a settings file to begin with.")] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find new scenes in the sources and areas of the settings, and fetch them.

    Example: slickwatch watch --once
    """
    if example:
        print_example()
        return
    from flows import sources

    with _bars() as progress:
        sources.run(config, once, lambda done: typer.echo(_as_json(done) if json_ else _as_text(done)), progress)


@watch_app.command()
def fetch(
    scene: Annotated[str, typer.Argument(help="A product's name, with or without .SAFE or .zip.")],
    source: Annotated[str, typer.Option(help="inbox, cdse, eodata, stac or dhus; docs/operator/sources.md.")] = "cdse",
    option: Annotated[
        list[str] | None, typer.Option("--option", help="NAME=VALUE of the source, such as folder=inbox; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of scenes.")] = Path("scenes"),
    verbose: Verbose = False,
) -> None:
    """Fetch one scene, whole and verified, and print where it is.

    Example: slickwatch fetch S1A_IW_GRDH_1SDV_20240601T053000_20240601T053025_054100_069A3C_E422
    """
    from flows import sources

    pairs = [text.partition("=") for text in option or []]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError("--option", f"{name!r} is no NAME=VALUE", "give for example --option folder=inbox")
    with _bars() as progress:
        path = sources.fetch_by_name(
            scene,
            source,
            {name: value for name, _, value in pairs},
            out,
            lambda done, total: progress(scene, done, total),
        )
    typer.echo(path)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each scene under way, on a terminal; bytes done, bytes in all."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def show(scene: str, done: int, total: int) -> None:
            if scene not in bars:
                bars[scene] = progress.add_task(scene[:32], total=total or None)
            progress.update(bars[scene], completed=done, total=total or None, visible=done < total or not total)

        yield show


def _as_json(done: Round) -> str:
    return json.dumps(asdict(done))


def _as_text(done: Round) -> str:
    counts = (
        f"{done.found} new, {len(done.fetched)} fetched, {len(done.failed)} failed, {len(done.quarantined)} quarantined"
    )
    lines = [f"{counts}, {len(done.evicted)} evicted, {done.seconds:.1f} s"]
    lines += [f"  failed       {scene}: {reason}" for scene, reason in done.failed.items()]
    lines += [f"  quarantined  {scene}: {reason}" for scene, reason in done.quarantined.items()]
    lines += [f"  down         {source}: {reason}" for source, reason in done.down.items()]
    lines += [f"  stopped      {done.stopped}"] if done.stopped else []
    return "\n".join(lines)


@scenes_app.command("list")
def scenes_list(
    ledger: LedgerAt = None,
    state: Annotated[list[str] | None, typer.Option(help="Only these: found, failed, ...; several times.")] = None,
    since: Annotated[str | None, typer.Option(help="Changed since: 2026-01-31, 12h, 7d (UTC).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="No more than these.")] = None,
    counts: Annotated[bool, typer.Option("--counts", help="How many are in each state.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """List scenes, the last changed first; times are UTC.

    Example: slickwatch scenes list --state failed --since 7d
    """
    from flows.scenes import as_csv, as_json, as_table, count_scenes, list_scenes

    if counts:
        numbers = count_scenes(ledger)
        lines = [f"{name:<11}  {number}" for name, number in numbers.items()]
        typer.echo(json.dumps(numbers) if json_ else "\n".join(lines))
        return
    records = list_scenes(ledger, state or (), since, limit)
    form = as_json if json_ else as_csv if csv_ else as_table
    if records or json_ or csv_:
        typer.echo(form(records), nl=not csv_)


@scenes_app.command("retry")
def scenes_retry(id: SceneIds, ledger: LedgerAt = None, verbose: Verbose = False) -> None:
    """Have failed, quarantined, waiting or forgotten scenes tried again at once.

    Example: slickwatch scenes retry S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_051900_0645F0_1234
    """
    from flows.scenes import retry_scenes

    _exit_with(retry_scenes(ledger, id, typer.echo))


@scenes_app.command("forget")
def scenes_forget(
    id: SceneIds,
    ledger: LedgerAt = None,
    entirely: Annotated[
        bool, typer.Option("--entirely", help="Delete the row: a source that still lists the scene finds it anew.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Leave scenes alone from now on: neither they nor other packings of them are found again.

    Example: slickwatch scenes forget S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_051900_0645F0_1234
    """
    from flows.scenes import forget_scenes

    _exit_with(forget_scenes(ledger, id, entirely, typer.echo))


def _exit_with(failures: Sequence[SlickwatchError]) -> None:
    for failure in failures:
        say(failure)
    if failures:
        raise typer.Exit(failures[0].exit_code)
