"""`slickwatch train`, `evaluate`, `screen` and `models`: making models and knowing what they are worth."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Json, Verbose
from ingest.errors import ModelError, UsageError

if TYPE_CHECKING:
    from models.registry.registry import Promotion

scores_app = typer.Typer()
models_app = typer.Typer(
    help="The models at hand, and which of them is used: the champion.", no_args_is_help=True, rich_markup_mode=None
)
train_app = typer.Typer(help="Train a model.", no_args_is_help=True, rich_markup_mode=None)
RegistryFolder = Annotated[
    Path | None, typer.Option("--registry", help="Folder of model versions; by default that of the settings.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for those who read the journal.")]
By = Annotated[str | None, typer.Option("--by", help="Who; by default the user and the machine.")]


@train_app.command("saross")
def train_saross(
    out: Annotated[Path, typer.Option("--out", help="Model folder to write; its name becomes the model's id.")] = Path(
        "runs/saross"
    ),
    config: Annotated[Path | None, typer.Option(help="TOML file of options; see docs/researcher/training.md.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a training in this folder stopped.")] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train SAROSS-Net, or a network it is compared with, on simulated and real pairs.

    Example: slickwatch train saross --config configs/saross-nano.toml --out runs/saross-nano
    """
    from ingest.progress import step
    from models.training import read_options, train

    options = read_options(config)
    with step("training") as advance:
        checkpoint = train(
            options, out, resume=resume, report=lambda line: typer.echo(line, err=True), progress=advance
        )  # fmt: skip
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one of several processes speaks for all
        typer.echo(json.dumps(checkpoint.metrics) if json_ else f"{out}: {next(iter(checkpoint.metrics.values()))}")


@scores_app.command()
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="sos-clean, sos-official, osd, simulated, or a folder of images/ and masks/; @4 averages by 4 x 4."
        ),
    ],
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Id or folder; several are compared with the first.")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the scores of each model.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for tables and pictures; an earlier evaluation is replaced.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Score models on labelled images: pixels, objects, outlines, calibration, with intervals.

    Example: slickwatch evaluate sos-clean --out evaluation
    """
    from flows.evaluate import evaluate_models
    from models.checkpoint import default_model_id
    from outputs.report import summary

    typer.echo(summary(evaluate_models(dataset, model or [default_model_id()], json_file=json_, out=out)))


@scores_app.command()
def screen(
    dataset: Annotated[str, typer.Argument(help="A data set's name, or a folder with train/ and test/.")],
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="stride, control or full (all pairs: minutes); may be repeated.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Look for training images that repeat test images: turned, shifted, by groups of copies or all against all.

    Example: slickwatch screen sos-official
    """
    from models.datasets import open_dataset, screening

    split = open_dataset(dataset)
    if split.train is None:
        raise UsageError(dataset, "has no training images", "give a data set with train/ and test/")
    typer.echo(split.note, err=True)
    modes = mode or ("stride", "control")
    found = screening.screen(split.train, split.test, modes, report=lambda line: typer.echo(line, err=True))
    for name, matches in found.items():
        typer.echo(screening.summary(name, matches))


@models_app.command("list")
def models_list(registry: RegistryFolder = None, json_: Json = False, verbose: Verbose = False) -> None:
    """List the shipped models and the versions of the registry, the champion marked.

    Example: slickwatch models list
    """
    from flows.registering import as_dict, as_table, default_registry, list_models

    folder = registry or default_registry()
    listed, chosen = list_models(folder)
    for problem in chosen.refused:
        typer.echo(f"slickwatch: {problem}", err=True)
    typer.echo(json.dumps(as_dict(listed, chosen, folder)) if json_ else as_table(listed))


@models_app.command("show")
def models_show(
    model: Annotated[str | None, typer.Argument(help="Id, folder or champion; the champion if left out.")] = None,
    registry: RegistryFolder = None,
    verbose: Verbose = False,
) -> None:
    """Print all that is known of a model, as JSON: its checkpoint, where it comes from, how it compared.

    Example: slickwatch models show
    """
    from flows.registering import default_registry, describe_model

    typer.echo(json.dumps(describe_model(model, registry or default_registry()), indent=2))


@models_app.command("verify")
def models_verify(
    model: Annotated[str | None, typer.Argument(help="Id, folder or champion; all at hand if left out.")] = None,
    registry: RegistryFolder = None,
    verbose: Verbose = False,
) -> None:
    """Check models against their hashes, load them and run them once.

    Example: slickwatch models verify
    """
    from flows.registering import default_registry, verify_models

    folder = registry or default_registry()
    problems = verify_models(model, folder, report=lambda name, digest: typer.echo(f"{name}: {digest}"))
    for problem in problems:
        typer.echo(f"slickwatch: {problem}", err=True)
    if problems:
        raise typer.Exit(ModelError.exit_code)


@models_app.command("promote")
def models_promote(
    model: Annotated[str, typer.Argument(help="Id of a version; a shipped model or a folder is added first.")],
    reason: Reason,
    by: By = None,
    registry: RegistryFolder = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a model the champion: the one that is used from the next scene on.

    Example: slickwatch models promote runs/saross-2026-11 --reason "fewer false alarms off Fujairah"
    """
    from flows.registering import default_registry, promote_model

    _say_champion(promote_model(model, registry or default_registry(), reason, by), json_)


@models_app.command("rollback")
def models_rollback(
    reason: Reason,
    by: By = None,
    registry: RegistryFolder = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make the champion before this one the champion again; once more goes further back.

    Example: slickwatch models rollback --reason "takes rain cells for oil"
    """
    from flows.registering import default_registry, rollback_model

    _say_champion(rollback_model(registry or default_registry(), reason, by), json_)


def _say_champion(promotion: Promotion, as_json: bool) -> None:
    for problem in promotion.refused:
        typer.echo(f"slickwatch: passed over: {problem}", err=True)
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(promotion), "at": promotion.at.isoformat()}))
        return
    before = f", after {promotion.before.id}" if promotion.before else ""
    typer.echo(f"{promotion.champion.id} is the champion{before}")
