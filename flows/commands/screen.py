"""`slickwatch screen`: training images that repeat test images."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import Dataset, Verbose
from flows.commands.terminal import print_note
from ingest.errors import UsageError


def screen(
    dataset: Dataset,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="stride, control or full (all pairs, takes minutes); repeatable. Default: stride and control.",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Find training images that repeat test images, also flipped, rotated or shifted.

    Example: slickwatch screen sos-official
    """
    from models.datasets import screening
    from models.datasets.catalogue import open_dataset

    split = open_dataset(dataset)
    if split.train is None:
        raise UsageError(dataset, "has no training images", "give a data set with train/ and test/")
    print_note(split.note)
    found = screening.screen(split.train, split.test, mode or ("stride", "control"), report=print_note)
    for name, matches in found.items():
        typer.echo(screening.summary(name, matches))
