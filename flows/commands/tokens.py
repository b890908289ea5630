"""`slickwatch tokens`: who may use the service from other machines, or review."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Config, Json, Verbose
from flows.commands.terminal import Command, command_group, print_list, print_note

if TYPE_CHECKING:
    from pathlib import Path

    from service.tokens import TokenFile

app = command_group("Add, list and revoke tokens for slickwatch serve.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Who uses the token.")]


@app.command("add", cls=Command)
def add(
    name: Name,
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", parser=str.lower, help="read, review or admin; each includes the former.")
    ] = "read",
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Make a token and print it, this once; only its hash is kept.

    Example: slickwatch tokens add ada --scope review
    """
    typer.echo(_tokens(config).add(name, scope))
    print_note("keep it: it cannot be shown again")


@app.command("list", cls=Command)
def list_(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """List the tokens by name, never the tokens themselves.

    Example: slickwatch tokens list
    """
    rows = [{name: value for name, value in asdict(one).items() if name != "sha256"} for one in _tokens(config).list()]
    headers = {"name": "name", "scope": "scope", "created_at": "since"}
    print_list("tokens", rows, list(headers), headers, rows, json_, csv_=False)


@app.command("revoke", cls=Command)
def revoke(name: Name, config: Config = None, verbose: Verbose = False) -> None:
    """Revoke a token; it is refused from now on.

    Example: slickwatch tokens revoke ada
    """
    _tokens(config).revoke(name)
    typer.echo(f"{name}: revoked")


def _tokens(config: Path | None) -> TokenFile:
    from flows.settings import Settings
    from service.tokens import TokenFile

    return TokenFile(Settings.read(config).service.tokens)
