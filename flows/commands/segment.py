"""`slickwatch segment`: class maps of image chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Model, Out, Verbose
from flows.commands.terminal import print_note
from ingest.errors import UsageError


def segment(
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images of any bit depth and stretch.")],
    out: Out,
    model: Model = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Also write the oil as GeoJSON; the images must be georeferenced.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Segment image chips; writes class maps as they would be published, and class probabilities.

    Classes: 0 sea, 1 oil, 2 look-alike, 3 ship, 4 land; 255 no data. Georeferenced images also get a GeoTIFF.

    Example: slickwatch segment chip.png --out maps
    """
    import numpy as np
    from PIL import Image

    from flows.resolve import find_model
    from ingest.progress import step
    from models.classes import OIL
    from models.segment import COLOURS, load_segmenter, nothing_to_see, segment_image
    from outputs.chips import place_of, write_chip_slicks, write_class_map

    segmenter = load_segmenter(str(find_model(model)))
    if len({path.stem for path in image}) < len(image):
        raise UsageError(out, "two images have the same name", "segment them into different folders")
    places = {path: place_of(path) for path in image}
    if vectors and (lost := [path for path, place in places.items() if place is None]):
        raise UsageError(lost[0], "not georeferenced", "omit --vectors, or give a GeoTIFF or a world file")
    with step("segment") as advance:
        for done, (path, place) in enumerate(places.items(), start=1):
            class_map = segment_image(path, out, segmenter)
            typer.echo(class_map)
            with Image.open(class_map) as picture:
                classes = np.asarray(picture)
            if why := nothing_to_see(path, classes):
                print_note(f"slickwatch: {path}: {why}, so there was nothing to see")
            if place is not None:
                write_class_map(classes, place, COLOURS, class_map.with_suffix(".tif"))
                typer.echo(class_map.with_suffix(".tif"))
                if vectors:
                    write_chip_slicks(classes == OIL, place, class_map.with_suffix(".geojson"))
                    typer.echo(class_map.with_suffix(".geojson"))
            advance(done, len(places))
