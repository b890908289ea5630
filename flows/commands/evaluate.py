"""`slickwatch evaluate`: scores of models on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Verbose


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="sos-clean, sos-official, osd, simulated, or a folder with images/ and masks/; NAME@4 averages 4 x 4 "
            "pixels.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="champion, a model id or a model folder; repeat to compare with the first. Default: champion.",
        ),
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="JSON file for the scores of each model.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder for tables and pictures, replaced if present."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Score models on labelled images, with confidence intervals.

    Example: slickwatch evaluate sos-clean --out evaluation
    """
    from flows.evaluate import evaluate_models
    from flows.resolve import find_model
    from models.registry.inventory import CHAMPION
    from outputs.report import summary

    models = [str(find_model(one)) for one in model or [CHAMPION]]
    typer.echo(summary(evaluate_models(dataset, models, json_file=json_, out=out)))
