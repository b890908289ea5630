"""`slickwatch watch`: new scenes of the watched areas."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Config, Json, Verbose
from flows.commands.settings import print_example

if TYPE_CHECKING:
    from ingest.watch import Round


def watch(
    config: Config = None,
    once: Annotated[bool, typer.Option("--once", help="Run one round and stop.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print an example settings file and stop.")] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find and fetch new scenes of the watched areas.

    Example: slickwatch watch --once
    """
    if example:
        print_example()
        return
    from flows.watches import run_watches

    raise typer.Exit(
        run_watches(config, once, lambda done: typer.echo(json.dumps(asdict(done)) if json_ else _text(done)))
    )


def _text(done: Round) -> str:
    counts = (
        f"{done.found} new, {len(done.fetched)} fetched, {len(done.failed)} failed, {len(done.quarantined)} quarantined"
    )
    lines = [f"{counts}, {len(done.evicted)} evicted, {done.seconds:.1f} s"]
    lines += [f"  failed       {scene}: {reason}" for scene, reason in done.failed.items()]
    lines += [f"  quarantined  {scene}: {reason}" for scene, reason in done.quarantined.items()]
    lines += [f"  down         {source}: {reason}" for source, reason in done.down.items()]
    lines += [f"  passed over  {line}" for line in done.passed_over.values()]
    lines += [f"  stopped      {done.stopped}"] if done.stopped else []
    return "\n".join(lines)
