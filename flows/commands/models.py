"""`slickwatch models`: the shipped models, the registry and its champion."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Json, Verbose
from flows.commands.terminal import Command, command_group, print_note
from ingest.errors import ModelError, UsageError

if TYPE_CHECKING:
    from models.registry.records import Promotion

app = command_group("List, verify and promote models; the champion is the model in use.")
RegistryFolder = Annotated[
    Path | None,
    typer.Option("--registry", metavar="FOLDER", help="Registry of model versions; default: models.registry."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, recorded in the journal.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; default: user@host.")]


def _model(default: str) -> Any:
    """The argument of commands that look at models."""
    return typer.Argument(metavar="MODEL", help=f"champion, a model id or a model folder; default: {default}.")


@app.command("list", cls=Command)
def list_(registry: RegistryFolder = None, json_: Json = False, verbose: Verbose = False) -> None:
    """List shipped models and registry versions; an asterisk marks the champion.

    Example: slickwatch models list
    """
    from flows.resolve import registry_folder
    from models.registry.inventory import inventory_json, inventory_line, list_models

    folder = registry_folder(registry)
    listed, champion = list_models(folder)
    for problem in champion.refused:
        print_note(f"slickwatch: {problem}")
    width = max(len("model"), *(len(one.id) for one in listed))
    lines = [f"  {'model':<{width}}  origin", *(inventory_line(one, width) for one in listed)]
    typer.echo(json.dumps(inventory_json(listed, champion, folder)) if json_ else "\n".join(lines))


@app.command("show", cls=Command)
def show(
    model: Annotated[str | None, _model(default="champion")] = None,
    registry: RegistryFolder = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show the checkpoint of a model and, where it is in the registry, its provenance, comparison and promotions.

    Example: slickwatch models show
    """
    from flows.resolve import find_model, registry_folder
    from models.registry.inventory import describe_model
    from models.registry.text import model_text

    folder = registry_folder(registry)
    described = describe_model(find_model(model, folder), folder)
    typer.echo(json.dumps(described, indent=2) if json_ else model_text(described))


@app.command("verify", cls=Command)
def verify(
    model: Annotated[str | None, _model(default="all models")] = None,
    registry: RegistryFolder = None,
    verbose: Verbose = False,
) -> None:
    """Check models against their hashes, load them and run them once.

    Example: slickwatch models verify
    """
    from flows.resolve import registry_folder
    from models.registry.inventory import verify_models

    problems = verify_models(
        model, registry_folder(registry), report=lambda name, digest: typer.echo(f"{name}: {digest}")
    )
    for problem in problems:
        print_note(f"slickwatch: {problem}")
    if problems:
        raise typer.Exit(ModelError.exit_code)


@app.command("promote", cls=Command)
def promote(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A version; a shipped model or a model folder is added first.")
    ],
    reason: Reason,
    by: By = None,
    registry: RegistryFolder = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a model the champion, in use from the next scene.

    Example: slickwatch models promote runs/saross-2026-11 --reason "fewer false alarms off Fujairah"
    """
    from flows.resolve import registry_folder
    from models.registry.inventory import promote_model, user_and_host
    from outputs.record import code_version

    if not reason.strip():
        raise UsageError("--reason", "is empty", "give one for the journal")
    _print_promotion(
        promote_model(model, registry_folder(registry), reason, by or user_and_host(), code_version()), json_
    )


@app.command("rollback", cls=Command)
def rollback(
    reason: Reason,
    by: By = None,
    registry: RegistryFolder = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make the previous champion the champion again; repeat to go further back.

    Example: slickwatch models rollback --reason "takes rain cells for oil"
    """
    from flows.resolve import registry_folder
    from models.registry.inventory import user_and_host
    from models.registry.registry import Registry

    _print_promotion(Registry(registry_folder(registry)).rollback(reason, by or user_and_host()), json_)


def _print_promotion(promotion: Promotion, as_json: bool) -> None:
    for problem in promotion.refused:
        print_note(f"slickwatch: skipped: {problem}")
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(promotion), "at": promotion.at.isoformat()}))
        return
    before = f", after {promotion.before.id}" if promotion.before else ""
    typer.echo(f"{promotion.champion.id} is the champion{before}")
