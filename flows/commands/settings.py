"""`slickwatch settings`: effective values, an example, a check."""

from __future__ import annotations

import json

import typer

from flows.commands.options import Config, Json, Verbose
from flows.commands.terminal import Command, command_group, print_note
from ingest.errors import UsageError

app = command_group("Show and check the settings, print an example.")


@app.command("show", cls=Command)
def show(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Print each effective value and its origin: default, file or environment variable.

    Example: slickwatch settings show
    """
    from flows.settings import Settings
    from flows.settings.provenance import as_toml

    shown = Settings.read(config).shown()
    if json_:
        typer.echo(json.dumps({one.key: {"value": one.value, "from": one.origin} for one in shown}, indent=2))
        return
    for one in shown:
        unset = one.value is None
        typer.echo(f"# {one.key} is not set" if unset else f"{one.key} = {as_toml(one.value)}  # {one.origin}")


@app.command("example", cls=Command)
def example(verbose: Verbose = False) -> None:
    """Print a settings file with all keys, their meaning, bounds and defaults.

    Example: slickwatch settings example > slickwatch.toml
    """
    print_example()


@app.command("check", cls=Command)
def check(config: Config = None, verbose: Verbose = False) -> None:
    """Check keys, values, areas, sources, credentials and folders, without network access.

    Example: slickwatch settings check --config slickwatch.toml
    """
    from flows.settings import Settings
    from flows.settings.check import problems

    settings = Settings.read(config)
    found = problems(settings)
    for problem in found:
        print_note(f"slickwatch: {problem}")
    if found:
        raise typer.Exit(UsageError.exit_code)
    typer.echo(f"{settings.file or 'defaults, no settings file'}: no problems found")


def print_example() -> None:
    """Print an example settings file."""
    from flows.settings.example import example

    typer.echo(example(), nl=False)
