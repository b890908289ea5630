"""`slickwatch train`: the training of SAROSS-Net and of SAR-JointNet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import Json, Verbose, results_folder
from flows.commands.terminal import Command, command_group, print_note

app = command_group("Train a model.")
ModelFolder = Annotated[Path, results_folder("Model folder to write; its name becomes the model id.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the training in this folder.")]


def _options_file(document: str) -> Any:
    return typer.Option(metavar="FILE", help=f"TOML file of training options; see {document}.")


@app.command("saross", cls=Command)
def saross(
    out: ModelFolder = Path("runs/saross"),
    config: Annotated[Path | None, _options_file("docs/researcher/training.md")] = None,
    resume: Resume = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train SAROSS-Net, or a baseline, on simulated and real pairs.

    Example: slickwatch train saross --config configs/saross/nano-1.toml --out runs/saross-nano
    """
    from ingest.progress import step, unseen
    from models.training.segmentation import train
    from models.training.segmentation_options import read_options

    options = read_options(config)
    with (step if _is_first_process() else unseen)("training") as advance:
        checkpoint = train(options, out, resume=resume, report=print_note, progress=advance)
    if _is_first_process():
        typer.echo(json.dumps(checkpoint.metrics) if json_ else f"{out}: {next(iter(checkpoint.metrics.values()))}")


@app.command("jointnet", cls=Command)
def jointnet(
    out: ModelFolder = Path("runs/jointnet"),
    config: Annotated[Path | None, _options_file("docs/researcher/dakd.md")] = None,
    resume: Resume = False,
    hours: Annotated[
        float | None,
        typer.Option(metavar="HOURS", min=0, help="Stop at a saved state after this time; continue with --resume."),
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train SAR-JointNet in three stages: images, labels, both jointly.

    Example: slickwatch train jointnet --config configs/jointnet/sos-64.toml --out runs/jointnet-sos-64
    """
    from ingest.progress import step, unseen
    from models.jointnet.options import read_joint_options
    from models.jointnet.training import train_jointnet

    options = read_joint_options(config)
    with (step if _is_first_process() else unseen)("training") as advance:
        checkpoint = train_jointnet(options, out, resume=resume, hours=hours, report=print_note, progress=advance)
    if _is_first_process():
        b = checkpoint.balanced.b
        record = {"folder": str(out), "stage": checkpoint.stage, "b": b, "weights_sha256": checkpoint.weights_sha256}
        typer.echo(json.dumps(record) if json_ else f"{out}: stage {checkpoint.stage}, b = {b:.4f}")


def _is_first_process() -> bool:
    """Whether this process prints the result of a distributed training."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
