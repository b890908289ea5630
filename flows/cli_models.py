"""`slickwatch train`, `evaluate`, `screen` and `models`: making models and knowing what they are worth."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_options import Json, Verbose
from ingest.errors import UsageError

scores_app = typer.Typer()
models_app = typer.Typer(help="List, show and verify the models at hand.", no_args_is_help=True, rich_markup_mode=None)
train_app = typer.Typer(help="Train a model.", no_args_is_help=True, rich_markup_mode=None)


@train_app.command("saross")
def train_saross(
    out: Annotated[Path, typer.Option("--out", help="Model folder to write; its name becomes the model's id.")] = Path(
        "runs/saross"
    ),
    config: Annotated[Path | None, typer.Option(help="TOML file of options; see docs/training.md.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a training in this folder stopped.")] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train SAROSS-Net, or a network it is compared with, on simulated and real pairs.

    Example: slickwatch train saross --config configs/saross-nano.toml --out runs/saross-nano
    """
    from flows.progress import step
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
        str, typer.Argument(help="sos-clean, sos-official, osd, simulated, or a folder with images/ and masks/.")
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
    from flows.evaluate import evaluate_models, summary
    from models.checkpoint import default_model_id

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
def models_list(json_: Json = False, verbose: Verbose = False) -> None:
    """List the shipped models, the default one marked.

    Example: slickwatch models list
    """
    from models.checkpoint import default_model_id, shipped_models

    default = default_model_id()
    ids = shipped_models()
    typer.echo(
        json.dumps({"default": default, "models": ids})
        if json_
        else "\n".join(f"{'*' if one == default else ' '} {one}" for one in ids)
    )


@models_app.command("show")
def models_show(
    model: Annotated[str | None, typer.Argument(help="Id or folder; the default model if left out.")] = None,
    verbose: Verbose = False,
) -> None:
    """Print all that a checkpoint says of its model, as JSON.

    Example: slickwatch models show
    """
    from models.checkpoint import default_model_id, load_model

    typer.echo(json.dumps(dataclasses.asdict(load_model(model or default_model_id())[1]), indent=2))


@models_app.command("verify")
def models_verify(
    model: Annotated[str | None, typer.Argument(help="Id or folder; all shipped ones if left out.")] = None,
    verbose: Verbose = False,
) -> None:
    """Load models and check their weights against their hashes.

    Example: slickwatch models verify
    """
    from models.checkpoint import load_model, shipped_models

    for one in [model] if model else shipped_models():
        typer.echo(f"{one}: {load_model(one)[1].weights_sha256}")
