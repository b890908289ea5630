"""`slickwatch segment`: class maps of image chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Model, Out, Verbose
from ingest.errors import UsageError


def segment(
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images of any bit depth and stretch.")],
    out: Out,
    model: Model = None,
    verbose: Verbose = False,
) -> None:
    """Segment image chips; writes class maps as they would be published, and class probabilities.

    Classes: 0 sea, 1 oil, 2 look-alike, 3 ship, 4 land; 255 no data.

    Example: slickwatch segment chip.png --out maps
    """
    from flows.resolve import find_model
    from models.segment import load_segmenter, segment_image

    segmenter = load_segmenter(str(find_model(model)))
    if len({path.stem for path in image}) < len(image):
        raise UsageError(out, "two images have the same name", "segment them into different folders")
    for path in image:
        typer.echo(segment_image(path, out, segmenter))
