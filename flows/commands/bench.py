"""`slickwatch bench`: figures of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import (
    Json,
    Model,
    Verbose,
    prefect_logging,
    shape_option,
    two_numbers,
)

bench_app = typer.Typer(help="Figures of this machine, never a verdict.", no_args_is_help=True, rich_markup_mode=None)


@bench_app.command("scene")
def bench_scene(
    count: Annotated[int, typer.Option(min=1, help="Scenes.")] = 10,
    size: Annotated[str, typer.Option(help="Lines,pixels at 10 m.")] = "4096,4096",
    model: Model = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Detect on simulated scenes that no training saw, and print scores and times.

    Example: slickwatch bench scene --count 10
    """
    prefect_logging(verbose)
    from flows import bench

    total = bench.bench_scene(count, shape_option(size), model, _row_printer(json_))
    typer.echo(json.dumps(total, indent=2))


@bench_app.command("predict")
def bench_predict(
    size: Annotated[int, typer.Option(min=32, help="Pixels a side of the image.")] = 512,
    encoder: Annotated[list[str] | None, typer.Option("--encoder", help="Of SAROSS-Net; may be repeated.")] = None,
    windows: Annotated[str | None, typer.Option(help="Of MambaVision at strides 16 and 32, such as 8,8.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Passes of which the median is taken.")] = 5,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Time the selective scan, the encoder and the whole network, eager and on faster paths, beside a plain scan.

    Example: slickwatch bench predict --encoder nano --encoder T
    """
    from models.networks import benchmark

    sides = two_numbers(windows, ",", "--windows", "give two numbers, such as 8,8", 1) if windows else None
    rows = [
        *benchmark.bench_scan(_row_printer(json_)),
        *benchmark.bench_predict(_row_printer(json_), size, encoder or ("nano", "T"), sides, repeats),
    ]
    if json_:
        typer.echo(json.dumps(rows))


@bench_app.command("teacher")
def bench_teacher(
    dataset: Annotated[str, typer.Argument(help="A data set's name or a folder, with images of the model's size.")],
    model: Annotated[Path, typer.Option("--model", help="Folder of a model that `train jointnet` wrote.")],
    count: Annotated[int | None, typer.Option(min=1, help="Test images, the first so many; by default all.")] = None,
    solver: Annotated[str, typer.Option(help="ddim or dpm++.")] = "dpm++",
    steps: Annotated[int, typer.Option(help="Steps of the solver.")] = 20,
    timestep: Annotated[
        int | None, typer.Option(min=0, help="Restore true labels that are as noisy as then, in one step, instead.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Let SAR-JointNet label real test images: what its soft labels are worth, and whether they are as sure as right.

    Example: slickwatch bench teacher sos-clean@4 --model runs/jointnet-sos-64 --count 200
    """
    from models.quality.soft_labels import score_soft_labels

    record = score_soft_labels(model, dataset, count, solver, steps, timestep)
    typer.echo(json.dumps(record, indent=2 if not json_ else None))


@bench_app.command("skips")
def bench_skips(
    size: Annotated[int, typer.Option(min=32, help="Pixels a side of the image.")] = 512,
    encoder: Annotated[str, typer.Option(help="Of SAROSS-Net.")] = "B",
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count parameters and multiply-adds of SAROSS-Net with each skip module, beside the paper's Table 7.

    Example: slickwatch bench skips
    """
    from models.networks import benchmark

    rows = benchmark.bench_skips(_row_printer(json_), size, encoder)
    if json_:
        typer.echo(json.dumps(rows))


def _row_printer(json_: bool) -> Callable[[dict[str, Any]], None]:
    """Print rows as they are measured, unless all come at the end as JSON."""
    return lambda row: None if json_ else typer.echo(json.dumps(row))
