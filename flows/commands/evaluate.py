"""`slickwatch evaluate`: scores of models on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Verbose, result_file, results_folder


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="sos-clean, sos-official, osd, simulated, csiro, a folder with images/ and masks/, or one with an "
            "index.csv of whole images with and without oil; NAME@4 averages 4 x 4 pixels.",
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
    json_: Annotated[Path | None, result_file("--json", "JSON file for the scores of each model.")] = None,
    out: Annotated[Path | None, results_folder("Folder for tables and pictures, replaced if present.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Use N images, spread over the data set.")
    ] = None,
    network_alone: Annotated[
        bool, typer.Option("--network-alone", help="Score the network's likeliest class, without the object stage.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Score models on labelled images, with confidence intervals.

    Example: slickwatch evaluate sos-clean --out evaluation
    """
    from flows.evaluate import evaluate_models
    from flows.resolve import find_model
    from models.evaluation.evaluate import EvaluationOptions
    from models.registry.inventory import CHAMPION
    from outputs.report import summary

    models = [str(find_model(one)) for one in model or [CHAMPION]]
    options = EvaluationOptions(limit=limit, object_stage=not network_alone)
    typer.echo(summary(evaluate_models(dataset, models, json_file=json_, out=out, options=options)))
