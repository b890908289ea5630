"""`slickwatch balance`, `train jointnet` and `synthesize`: the diffusion model that makes pairs to train on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.models import train_app
from flows.commands.options import Json, Verbose
from ingest.errors import UsageError

dakd_app = typer.Typer()


@dakd_app.command()
def balance(
    dataset: Annotated[
        str, typer.Argument(help="A data set's name or a folder; NAME@4 averages its images by 4 x 4 pixels.")
    ],
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compute the balancing factor b between images and labels (DAKD paper, Eq. 4) over the training images.

    Example: slickwatch balance sos-official
    """
    from flows.balance import balance_of, summary

    record = balance_of(dataset)
    if record["note"]:
        typer.echo(f"{record['dataset']}: {record['note']}", err=True)
    typer.echo(json.dumps(record) if json_ else summary(record))


@train_app.command("jointnet")
def train_jointnet(
    out: Annotated[Path, typer.Option("--out", help="Model folder to write; its name becomes the model's id.")] = Path(
        "runs/jointnet"
    ),
    config: Annotated[Path | None, typer.Option(help="TOML file of options; see docs/researcher/dakd.md.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a training in this folder stopped.")] = False,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Stop at a saved state after this long, to go on with --resume.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train SAR-JointNet in its three stages: images alone, labels beside them, both together.

    Example: slickwatch train jointnet --config configs/jointnet/sos-64.toml --out runs/jointnet-sos-64
    """
    from ingest.progress import step
    from models.jointnet.options import read_joint_options
    from models.jointnet.training import train_jointnet

    options = read_joint_options(config)
    with step("training") as advance:
        checkpoint = train_jointnet(
            options, out, resume=resume, hours=hours, report=lambda line: typer.echo(line, err=True), progress=advance
        )
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one of several processes speaks for all
        b = checkpoint.balanced.b
        record = {"folder": str(out), "stage": checkpoint.stage, "b": b, "weights_sha256": checkpoint.weights_sha256}
        typer.echo(json.dumps(record) if json_ else f"{out}: stage {checkpoint.stage}, b = {b:.4f}")


@dakd_app.command()
def synthesize(
    model: Annotated[Path, typer.Option("--model", help="Folder of a model that `train jointnet` wrote.")],
    count: Annotated[int, typer.Option(min=1, help="Pairs in all; more than are there extends the folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of pairs to write, or to go on with.")],
    seed: Annotated[int, typer.Option(min=0, help="Other pairs of the same model.")] = 0,
    solver: Annotated[str, typer.Option(help="ddim as in the paper, or dpm++ for a tenth of the steps.")] = "ddim",
    steps: Annotated[int, typer.Option(min=1, help="Of the solver; they divide the model's timesteps, 1000.")] = 200,
    size: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side; beyond the training's, windows are denoised together.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pairs, and windows of larger ones, at once.")] = 8,
    memory_gb: Annotated[float | None, typer.Option(help="Take fewer at once where they need more than this.")] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Pairs in a file.")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Of a CPU.")] = 1,
    half_precision: Annotated[bool, typer.Option("--half-precision", help="bfloat16: faster, as good.")] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make pairs of SAR images and soft labels with a diffusion model; run again to go on where it stopped.

    Example: slickwatch synthesize --model runs/jointnet-sos-64 --count 3550 --out synthetic --solver dpm++ --steps 20
    """
    from ingest.progress import step
    from models.synthesis.generate import GenerateOptions, synthesize

    if device not in {"cpu", "cuda", "auto"}:
        raise UsageError("--device", f"{device!r} is none of cpu, cuda and auto", "choose one of them")
    options = GenerateOptions(
        solver, steps, size, seed, batch, memory_gb, shard_size, device, threads, half_precision=half_precision
    )
    with step("synthesize") as advance:
        pairs = synthesize(model, count, out, options, report=lambda line: typer.echo(line, err=True), progress=advance)
    total = sum(shard.bytes for shard in pairs.manifest.shards.values())
    record = {"folder": str(out), "pairs": len(pairs), "complete": pairs.manifest.complete, "bytes": total}
    typer.echo(json.dumps(record) if json_ else f"{out}: {len(pairs)} pairs, {total / 1e6:.1f} MB")
