"""How commands look on a terminal: their help, failures on stderr, lists on stdout."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.commands.options import VERBOSE
from flows.commands.tables import print_table
from ingest.errors import SlickwatchError

_BOUNDS = ((re.compile(r"x>=([\d.]+)"), r"at least \1"), (re.compile(r"([\d.]+)<=x<=([\d.]+)"), r"\1 to \2"))


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs != 1 else ""
    return name if argument.required else f"[{name}]"


def _in_words(help: str) -> str:
    for bounds, words in _BOUNDS:
        help = bounds.sub(words, help)
    return help


class Command(TyperCommand):
    """A command whose help names values in capitals and bounds in words."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name in the line of usage."""
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return [*map(_usage, arguments), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options, each with its help."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = parameter.param_type_name
                name = _usage(parameter).strip("[]") if kind == "argument" else record[0]
                rows[kind].append((name, _in_words(record[1])))
        for kind, records in rows.items():
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)


class Group(TyperGroup):
    """Commands listed by panel, each with the whole first paragraph of its help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, one section a panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name in self.list_commands(ctx):
            command: Any = self.commands[name]
            summary = " ".join((command.help or "").split("\n\n")[0].split())
            panels.setdefault(command.rich_help_panel or "Commands", []).append((f"{name:<{width}}", summary))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def command_group(help: str, cls: type[Group] = Group) -> typer.Typer:
    """An empty group of commands."""
    return typer.Typer(
        help=help,
        cls=cls,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,
    )


def print_note(text: object) -> None:
    """Print a line to stderr."""
    typer.echo(text, err=True)


def print_failure(error: SlickwatchError) -> None:
    """Print a known failure as one line on stderr, with its traceback under `--verbose`."""
    print_note(f"slickwatch: {error}")
    if VERBOSE.get():
        traceback.print_exception(error)


def print_list(
    what: str,
    records: Sequence[dict[str, Any]],
    columns: Sequence[str],
    headers: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    json_: bool,
    csv_: bool,
) -> None:
    """Print a list: as JSON, as CSV with a header, or else as a table for people; "0 slicks" where it is empty.

    records: plain JSON values, in `columns` and beyond; CSV has the columns alone, lists joined by blanks, null as
    empty. rows: what people see, under `headers`, as `print_table` takes them; a note at their end has no header.
    """
    if json_:
        typer.echo(json.dumps(list(records), indent=2))
    elif csv_:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(record[column]) for column in columns] for record in records)
        typer.echo(text.getvalue(), nl=False)
    else:
        print_table(headers, rows)
        if not rows:
            typer.echo(f"0 {what}")


@cache
def start_prefect() -> None:
    """Start the server of this run, which takes a busy machine minutes, where the environment names no other.

    Prefect's log stays off the terminal unless `--verbose` is given; its server has the log in any case.
    """
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if VERBOSE.get() else "CRITICAL")
    import flows.prefect_defaults  # noqa: F401 - before Prefect

    # isort: split
    from prefect.client.orchestration import get_client

    from ingest.progress import step

    if "PREFECT_API_URL" not in os.environ:
        with step("start Prefect"), get_client(sync_client=True):
            pass


def _cell(value: Any) -> Any:
    return " ".join(value) if isinstance(value, list) else value
