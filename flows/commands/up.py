"""`slickwatch up`, `down` and `status`: Prefect's server, a worker and the schedules on this machine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Json, Verbose

if TYPE_CHECKING:
    from flows.operations.plan import Plan

operate_app = typer.Typer()
Config = Annotated[
    Path | None, typer.Option(help="Settings file; else $SLICKWATCH_CONFIG, else slickwatch.toml if there is one.")
]
Deployments = Annotated[
    Path | None, typer.Option(help="What is deployed, a file like prefect.yaml; by default Slickwatch's own.")
]


@operate_app.command()
def up(
    config: Config = None,
    deployments: Deployments = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, until SIGTERM or Ctrl-C; for systemd and containers.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Start Prefect's server, a worker and the schedules on this machine, and keep them alive.

    Example: slickwatch up
    """
    from flows.operations import start_stop

    plan = _plan(config, deployments)
    if foreground:
        from flows.operations.supervisor import supervise
        from ingest.watch import stopping_on_signals

        start_stop.prepare(plan)
        with stopping_on_signals(threading.Event()) as stop:
            supervise(plan, stop)
        return
    changed = start_stop.up(plan, lambda line: typer.echo(line, err=True))
    typer.echo(f"{'up' if changed else 'up already'}: {plan.api_url.removesuffix('/api')}")


@operate_app.command()
def down(config: Config = None, verbose: Verbose = False) -> None:
    """Stop server, worker and running flows; flows that are cut off begin again at the next `up`.

    Example: slickwatch down
    """
    from flows.operations import start_stop

    typer.echo("down" if start_stop.down(_plan(config, None)) else "down already")


@operate_app.command()
def status(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Say what is up, planned, running and wrong; exit code 0 only where nothing is wrong.

    Example: slickwatch status --json
    """
    from flows.operations.plan import with_running_deployments
    from flows.operations.status.collect import collect_status
    from flows.operations.status.problems import judge
    from flows.operations.status.text import status_json, status_lines

    plan = with_running_deployments(_plan(config, None))
    found = judge(plan, collect_status(plan))
    typer.echo(status_json(found) if json_ else "\n".join(status_lines(found)))
    if found.problems:
        raise typer.Exit(1)


def _plan(config: Path | None, deployments: Path | None) -> Plan:
    from flows.operations.plan import make_plan
    from flows.settings import Settings

    return make_plan(Settings.read(config), deployments)
