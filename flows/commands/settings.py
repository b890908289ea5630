"""`slickwatch settings`: what may be set, what holds, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Json, Verbose
from ingest.errors import UsageError

settings_app = typer.Typer(
    help="The settings: show, check, an example to begin with.", no_args_is_help=True, rich_markup_mode=None
)
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The settings file; else $SLICKWATCH_CONFIG, else ./slickwatch.toml; docs/operator/settings.md.",
    ),
]


@settings_app.command()
def show(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Print every effective value and where it comes from: default, the file, or a variable of the environment.

    Example: slickwatch settings show
    """
    from flows.settings import Settings
    from flows.settings.display import as_toml

    shown = Settings.read(config).shown()
    if json_:
        typer.echo(json.dumps({one.key: {"value": one.value, "from": one.origin} for one in shown}, indent=2))
        return
    for one in shown:
        line = f"{one.key} = {as_toml(one.value)}" if one.value is not None else f"# {one.key} is not set"
        typer.echo(f"{line}  # {one.origin}" if one.value is not None else line)


@settings_app.command()
def example(verbose: Verbose = False) -> None:
    """Print a settings file with every key, what it says, its bounds and its default.

    Example: slickwatch settings example > slickwatch.toml
    """
    print_example()


@settings_app.command()
def check(config: Config = None, verbose: Verbose = False) -> None:
    """Say what is wrong with the settings, a line each: keys, values, areas, sources, credentials, places.

    Nothing is asked of a network. Example: slickwatch settings check --config slickwatch.toml
    """
    from flows.settings import Settings
    from flows.settings.check import problems

    settings = Settings.read(config)
    found = problems(settings)
    for problem in found:
        typer.echo(f"slickwatch: {problem}", err=True)
    if found:
        raise typer.Exit(UsageError.exit_code)
    typer.echo(f"{settings.file or 'no settings file, hence the defaults'}: nothing wrong")


def print_example() -> None:
    """Print what `slickwatch settings example` prints."""
    from flows.settings.example import example

    typer.echo(example(), nl=False)
