"""`slickwatch bench`: figures measured on this machine."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from flows.commands.options import Dataset, JointNet, Json, Model, SceneSize, Verbose, shape_option, two_numbers
from flows.commands.tables import print_table
from flows.commands.terminal import Command, command_group, quiet_prefect

app = command_group("Measure scores, times and sizes on this machine.")
_SCENES = {
    "seed": "seed", "oil_iou": "oil IoU", "precision": "precision", "recall": "recall", "true_slicks": "slicks",
    "true_slicks_found": "found", "false_slicks": "false", "seconds": "seconds",
}  # fmt: skip
_TOTAL = {
    "scenes": "scenes", "model": "model", "oil_iou": "oil IoU", "precision": "precision", "recall": "recall",
    "true_slicks": "slicks", "true_slicks_found": "found", "false_slicks": "false", "median_seconds": "median seconds",
}  # fmt: skip
_SCANS = {
    "scan": "scan", "forward_ms": "forward ms", "forward_cpu_ms": "CPU ms", "forward_memory_mb": "MB",
    "forward_backward_ms": "with backward ms", "forward_backward_cpu_ms": "CPU ms",
    "forward_backward_memory_mb": "MB",
}  # fmt: skip
_NETWORKS = {
    "encoder": "encoder", "part": "part", "size": "size", "mode": "mode", "ms": "ms", "cpu_ms": "CPU ms",
    "memory_mb": "MB", "times_faster": "times faster",
}  # fmt: skip
_SKIPS = {
    "skip": "skip", "params_m": "params M", "more_params_m": "more M", "paper_params_m": "paper M",
    "gmacs": "G MACs", "more_gmacs": "more G", "paper_gflops": "paper G", "ms": "ms", "paper_ms": "paper ms",
    "memory_mb": "MB", "paper_mb": "paper MB",
}  # fmt: skip
_SKIPS_NOTE = """
more: than without a skip module. ms: median of one pass on one CPU thread; MB: what it adds to the process.
paper: Table 7 of arXiv 2412.08116, its M, G and MB being those of the module alone, its ms those of an RTX 2080."""
Side = Annotated[int, typer.Option(metavar="PIXELS", min=32, help="Side of the square image.")]


@app.command("scene", cls=Command)
def scene(
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Number of scenes.")] = 10,
    size: SceneSize = "4096,4096",
    model: Model = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Detect slicks in simulated scenes that no training has seen; print scores and times.

    Example: slickwatch bench scene --count 10
    """
    from flows.machine import require_detection

    require_detection(coastline=None)
    quiet_prefect()
    from flows.demo import bench_scene
    from flows.resolve import find_model

    rows: list[dict[str, Any]] = []
    total = bench_scene(count, shape_option(size), str(find_model(model)), rows.append)
    if json_:
        typer.echo(json.dumps(total, indent=2))
        return
    print_table(_SCENES, rows)
    typer.echo()
    print_table(_TOTAL, [total])


@app.command("predict", cls=Command)
def predict(
    size: Side = 512,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", metavar="NAME", help="Encoder of SAROSS-Net; repeatable. Default: nano and T."),
    ] = None,
    windows: Annotated[
        str | None, typer.Option(metavar="A,B", help="MambaVision windows at strides 16 and 32, such as 8,8.")
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Runs to take the median of.")] = 5,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Time the selective scan, the encoder and the whole network, with each implementation of the scan.

    Example: slickwatch bench predict --encoder nano --encoder T
    """
    from models.networks import benchmark

    sides = two_numbers(windows, ",", "--windows", "give two numbers, such as 8,8", 1) if windows else None
    scans = benchmark.bench_scan(_quietly)
    networks = benchmark.bench_predict(_quietly, size, encoder or ("nano", "T"), sides, repeats)
    if json_:
        typer.echo(json.dumps([*scans, *networks]))
        return
    print_table(_SCANS, scans)
    typer.echo()
    print_table(_NETWORKS, networks)


@app.command("teacher", cls=Command)
def teacher(
    dataset: Dataset,
    model: JointNet,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Number of test images, from the first; default: all.")
    ] = None,
    solver: Annotated[str, typer.Option(metavar="SOLVER", help="ddim or dpm++.")] = "dpm++",
    steps: Annotated[int, typer.Option(metavar="N", help="Solver steps.")] = 20,
    timestep: Annotated[
        int | None,
        typer.Option(
            metavar="T", min=0, help="Instead, restore true labels with the noise of this timestep in a single step."
        ),
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Score the soft labels that SAR-JointNet gives real test images, also their calibration.

    Example: slickwatch bench teacher sos-clean@4 --model runs/jointnet-sos-64 --count 200
    """
    from models.quality.soft_labels import score_soft_labels

    record = score_soft_labels(model, dataset, count, solver, steps, timestep)
    typer.echo(json.dumps(record, indent=2 if not json_ else None))


@app.command("skips", cls=Command)
def skips(
    size: Side = 512,
    encoder: Annotated[str, typer.Option(metavar="NAME", help="Encoder of SAROSS-Net.")] = "B",
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count parameters and multiply-adds of SAROSS-Net for each skip module, beside Table 7 of the paper.

    Example: slickwatch bench skips
    """
    from models.networks import benchmark

    rows = benchmark.bench_skips(_quietly, size, encoder)
    if json_:
        typer.echo(json.dumps(rows))
        return
    print_table(_SKIPS, rows)
    typer.echo(_SKIPS_NOTE)


def _quietly(row: dict[str, Any]) -> None:
    """Take no notice of a row: all are printed at the end."""
