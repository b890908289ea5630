"""What commands print: failures and progress to stderr, lists to stdout."""

from __future__ import annotations

import csv
import io
import json
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from flows.commands.options import VERBOSE
from ingest.errors import SlickwatchError


def print_note(text: object) -> None:
    """Print a line to stderr."""
    typer.echo(text, err=True)


def print_failure(error: SlickwatchError) -> None:
    """Print a known failure as one line on stderr, with its traceback under `--verbose`."""
    print_note(f"slickwatch: {error}")
    if VERBOSE.get():
        traceback.print_exception(error)


def exit_for(failures: Sequence[SlickwatchError]) -> None:
    """Print failures, and exit with the code of the first; return where there are none."""
    for failure in failures:
        print_failure(failure)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def print_list(rows: Sequence[dict[str, Any]], columns: Sequence[str], lines: Sequence[str], form: str | None) -> None:
    """Print a list: as `form` "json", "csv" (with a header) or else as `lines` for people.

    rows: plain JSON values, in `columns` and beyond; CSV has the columns alone, lists joined by blanks, null as empty.
    """
    if form == "json":
        typer.echo(json.dumps(list(rows), indent=2))
    elif form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[column]) for column in columns] for row in rows)
        typer.echo(text.getvalue(), nl=False)
    elif lines:
        typer.echo("\n".join(lines))


def list_form(json_: bool, csv_: bool) -> str | None:
    """The form of a list that `--json` and `--csv` ask for."""
    return "json" if json_ else "csv" if csv_ else None


def quiet_prefect() -> None:
    """Keep Prefect's log off the terminal unless `--verbose` is given; its server has the log in any case."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if VERBOSE.get() else "CRITICAL")


@contextmanager
def download_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each scene being fetched, on a terminal; takes its id, bytes done and bytes in all."""
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


def _cell(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value
