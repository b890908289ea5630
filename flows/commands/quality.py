"""`slickwatch quality`: how like real images synthetic ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Json, Verbose

quality_app = typer.Typer()


@quality_app.command()
def quality(
    real: Annotated[str, typer.Argument(help="A data set; its training images count, else its test images.")],
    synthetic: Annotated[str, typer.Argument(help="A folder of synthetic pairs; or a data set, its test images.")],
    count: Annotated[int | None, typer.Option(min=4, help="Images of each, spread evenly; by default all.")] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for quality.json and contact-sheet.png; an earlier one is replaced.")
    ] = Path("quality"),
    inception: Annotated[
        Path | None, typer.Option(help="Inception's weights, else those that SLICKWATCH_INCEPTION names, else none.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Hold synthetic images to real ones: feature distances, SAR statistics, labels that fit, copies.

    Example: slickwatch quality sos-clean@4 runs/synthetic --out quality
    """
    from flows.quality import RECORD, assess_quality
    from models.quality.assessment import table

    record = assess_quality(real, synthetic, out, count=count, inception=inception)
    for features in record["features"]:
        if features["warning"]:
            typer.echo(f"note: {features['warning']}", err=True)
    typer.echo((out / RECORD).read_text().rstrip() if json_ else table(record))
