"""`slickwatch synthesize`: synthetic pairs from a diffusion model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JointNet, Json, Verbose, results_folder
from flows.commands.terminal import print_note
from ingest.errors import UsageError


def synthesize(
    model: JointNet,
    count: Annotated[
        int, typer.Option(metavar="N", min=1, help="Total number of pairs; a larger number extends an existing folder.")
    ],
    out: Annotated[Path, results_folder("Folder of pairs to write or continue.")],
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")] = 0,
    solver: Annotated[
        str, typer.Option(metavar="SOLVER", help="ddim, as in the paper, or dpm++ for a tenth of the steps.")
    ] = "ddim",
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Solver steps; must divide the 1000 timesteps of the model.")
    ] = 200,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            help="Side of the images; larger than in training, overlapping windows are denoised together. Default: as "
            "in training.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Pairs, or windows of larger ones, per batch.")] = 8,
    memory_gb: Annotated[
        float | None, typer.Option(metavar="GB", help="Reduce the batch to fit this much memory.")
    ] = None,
    shard_size: Annotated[int, typer.Option(metavar="N", min=1, help="Pairs per file.")] = 64,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads.")] = 1,
    half_precision: Annotated[
        bool, typer.Option("--half-precision", help="Compute in bfloat16: faster, same quality.")
    ] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Generate pairs of SAR images and soft labels with a diffusion model.

    Run it again to continue where it stopped.

    Example: slickwatch synthesize --model runs/jointnet-sos-64 --count 3550 --out synthetic --solver dpm++ --steps 20
    """
    from ingest.progress import step
    from models.jointnet import generate

    if device not in {"cpu", "cuda", "auto"}:
        raise UsageError("--device", f"{device!r} is none of cpu, cuda and auto", "choose one of them")
    options = generate.GenerateOptions(
        solver, steps, size, seed, batch, memory_gb, shard_size, device, threads, half_precision=half_precision
    )
    with step("synthesize") as advance:
        pairs = generate.synthesize(model, count, out, options, report=print_note, progress=advance)
    total = sum(shard.bytes for shard in pairs.manifest.shards.values())
    record = {"folder": str(out), "pairs": len(pairs), "complete": pairs.manifest.complete, "bytes": total}
    typer.echo(json.dumps(record) if json_ else f"{out}: {len(pairs)} pairs, {total / 1e6:.1f} MB")
