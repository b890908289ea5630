"""`slickwatch quality`: synthetic images compared with real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Json, Verbose, results_folder
from flows.commands.terminal import print_note


def quality(
    real: Annotated[str, typer.Argument(metavar="REAL", help="A data set: its training images, else its test images.")],
    synthetic: Annotated[
        str, typer.Argument(metavar="SYNTHETIC", help="A folder of synthetic pairs, or a data set: its test images.")
    ],
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=4, help="Images of each set, evenly spaced; default: all."),
    ] = None,
    out: Annotated[
        Path, results_folder("Folder for quality.json and contact-sheet.png; an earlier one is replaced.")
    ] = Path("quality"),
    inception: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Inception weights; default: $SLICKWATCH_INCEPTION, else no Inception features."
        ),
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare synthetic with real images: feature distances, SAR statistics, label fit, copies.

    Example: slickwatch quality sos-clean@4 runs/synthetic --out quality
    """
    from flows.quality import RECORD, assess_quality
    from models.quality.assessment import table

    record = assess_quality(real, synthetic, out, count=count, inception=inception)
    for features in record["features"]:
        if features["warning"]:
            print_note(f"note: {features['warning']}")
    typer.echo((out / RECORD).read_text().rstrip() if json_ else table(record))
