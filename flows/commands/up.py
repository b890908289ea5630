"""`slickwatch up`, `down` and `status`: the Prefect server, a worker and the schedules on this machine."""

from __future__ import annotations

import dataclasses
import json
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Config, Json, Verbose
from flows.commands.terminal import print_note

if TYPE_CHECKING:
    from flows.operations.plan import Plan
    from flows.operations.status import Status

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
    from flows.operations import start_stop

    plan = _plan(config, deployments)
    if foreground:
        from flows.operations.supervisor import supervise
        from ingest.watch import stopping_on_signals

        start_stop.prepare(plan)
        with stopping_on_signals(threading.Event()) as stop:
            supervise(plan, stop)
        return
    changed = start_stop.up(plan, print_note)
    typer.echo(f"{'up' if changed else 'up already'}: {plan.api_url.removesuffix('/api')}")


def down(config: Config = None, verbose: Verbose = False) -> None:
    """Stop server, worker and running flows; interrupted flows restart at the next `up`.

    Example: slickwatch down
    """
    from flows.operations import start_stop

    typer.echo("down" if start_stop.down(_plan(config, None)) else "down already")


def status(config: Config = None, json_: Json = False, verbose: Verbose = False) -> None:
    """Show processes, schedules, runs and problems; exit code 0 if there are no problems.

    Example: slickwatch status --json
    """
    from flows.operations import status as looking
    from flows.operations.start_stop import as_up

    found = looking.status(as_up(_plan(config, None)))
    if json_:
        content = dataclasses.asdict(found) | {"well": not found.problems}
        typer.echo(json.dumps(content, default=lambda time: time.isoformat(), indent=1))
    else:
        typer.echo("\n".join(_lines(found)))
    if found.problems:
        raise typer.Exit(1)


def _plan(config: Path | None, deployments: Path | None) -> Plan:
    from flows.operations import plan
    from flows.settings import Settings

    return plan.plan(Settings.read(config), deployments)


def _lines(found: Status) -> list[str]:
    answers = "answers" if found.server_answers else "does not answer"
    lines = [f"server      {found.url.removesuffix('/api')} {answers}, {_process(found.server)}"]
    online = "online" if found.worker_online else "offline"
    lines += [f"worker      {online}, heartbeat {_at(found.worker_heartbeat)}, {_process(found.worker)}"]
    for one in found.deployments:
        next_run = "paused" if one.paused else f"next {_at(one.next_run)}"
        lines.append(f"deployment  {one.name:<20} {next_run:<28} {'; '.join(one.schedules)}")
    for limit in found.limits:
        active = "" if limit.active is None else f", {limit.active} taken"
        lines.append(f"limit       {limit.of:<20} {'none' if limit.limit is None else limit.limit}{active}")
    for run in found.runs:
        lines.append(
            f"run         {run.deployment:<20} {run.state:<12} {_at(run.started)} {run.seconds:8.1f} s  {run.name}"
        )
    lines.append(f"monitored   {_at(found.monitored)}")
    return lines + ([f"problem     {problem}" for problem in found.problems] or ["all is well"])


def _process(process: object) -> str:
    pid, restarts = getattr(process, "pid", None), getattr(process, "restarts", 0)
    return f"process {pid}" + (f", restarted {restarts} times" if restarts else "") if pid else "no process of ours"


def _at(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"
