"""`slickwatch check`: whether ledger, catalogue and results folders agree."""

from __future__ import annotations

import json

import typer

from flows.commands.options import Config, Json, Verbose


def check(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Check that ledger, catalogue and results folders agree; exit code 1, and a line for each disagreement, if not.

    Nothing is changed. The next round of monitoring mends what the catalogue has missed.

    Example: slickwatch check
    """
    from flows.agreement import disagreements
    from flows.settings import Settings
    from ingest.ledger.ledger import Ledger

    settings = Settings.read(config)
    with Ledger.open(settings.ledger_url(), create=False) as ledger:
        found = disagreements(settings, ledger)
    if json_:
        typer.echo(json.dumps({"well": not found, "disagreements": found}, indent=1))
    else:
        typer.echo("\n".join(found) or "ledger, catalogue and results agree")
    if found:
        raise typer.Exit(1)
