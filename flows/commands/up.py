"""`slickwatch up`, `down` and `status`: the Prefect server, a worker and the schedules on this machine."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Config, Json, Verbose
from flows.commands.terminal import print_note

if TYPE_CHECKING:
    from flows.operations.plan import Plan
    from flows.settings import Settings

Deployments = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Deployments, a file like prefect.yaml; default: those of Slickwatch."),
]


def up(
    config: Config = None,
    deployments: Deployments = None,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Stay in the foreground until SIGTERM or Ctrl-C; for systemd, containers."),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Start the Prefect server, a worker and the schedules on this machine and keep them running.

    Example: slickwatch up
    """
    from flows.machine import require_services
    from flows.operations import start_stop
    from flows.settings import Settings

    plan, settings = _plan(config, deployments), Settings.read(config)
    require_services(settings)
    if settings.service.enabled:
        from flows.serving import service_options

        service_options(settings.service)  # a refusal comes before anything starts
    if foreground:
        from flows.operations.supervisor import supervise
        from ingest.watch import stopping_on_signals

        start_stop.prepare(plan)
        with stopping_on_signals(threading.Event()) as stop:
            supervise(plan, stop)
        return
    done = start_stop.up(plan, print_note)
    typer.echo(f"{done}: {plan.api_url.removesuffix('/api')}")


def down(config: Config = None, verbose: Verbose = False) -> None:
    """Stop server, worker and running flows; interrupted flows restart at the next `up`.

    Example: slickwatch down
    """
    from flows.operations import start_stop

    typer.echo("down" if start_stop.down(_plan(config, None)) else "down already")


def status(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Show processes, schedules, runs and problems; exit code 0 if all is well, 1 if there are problems.

    Example: slickwatch status --json
    """
    from flows.operations.plan import with_running_deployments
    from flows.operations.status import collect_status, judge, status_json, status_lines
    from flows.settings import Settings
    from ingest.watch import passed_over

    plan = with_running_deployments(_plan(config, None))
    settings = Settings.read(config)
    passed = tuple(
        f"{id}: outside area {watch}"
        for watch, products in passed_over(settings.scenes.folder).items()
        for id in sorted(set(products.values()))
    )
    found = judge(plan, collect_status(plan))
    found = replace(found, passed_over=passed, problems=found.problems + _held_by_the_dead(settings))
    typer.echo(status_json(found) if json_ else "\n".join(status_lines(found)))
    if found.problems:
        raise typer.Exit(1)


def _held_by_the_dead(settings: Settings) -> tuple[str, ...]:
    from flows.operations.status import held_by_the_dead
    from ingest.errors import SlickwatchError, UsageError
    from ingest.ledger.ledger import Ledger

    try:
        with Ledger.open(settings.ledger_url(), create=False) as ledger:
            return held_by_the_dead(ledger.list(["found", "fetched"]))
    except UsageError:  # none yet
        return ()
    except SlickwatchError as error:
        return (str(error),)


def _plan(config: Path | None, deployments: Path | None) -> Plan:
    from flows.operations.plan import make_plan
    from flows.settings import Settings

    return make_plan(Settings.read(config), deployments)
