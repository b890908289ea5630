"""`slickwatch demo`: the whole way on a simulated scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Json, Out, SceneSize, Verbose, shape_option
from flows.commands.terminal import start_prefect
from flows.termination import ending_on_sigterm

_LAYERS = {
    "slicks.geojson": "slicks",
    "slicks.gpkg": "slicks",
    "class_probability.tif": "raster",
    "quicklook.png": "picture",
    "item.json": "STAC item",
    "run.json": "run record",
}


def demo(
    out: Out = Path("demo"),
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of another scene than the standard one.")
    ] = None,
    size: SceneSize = "4096,4096",
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a scene with known oil, detect slicks and score them.

    Example: slickwatch demo --out demo
    """
    from flows.machine import require_detection

    require_detection(coastline=None)
    start_prefect()
    from flows.demo import DEMO_SEED, run_demo

    with ending_on_sigterm():
        shown = run_demo(out, DEMO_SEED if seed is None else seed, shape_option(size))
    if json_:
        typer.echo(shown.summary.read_text())
        return
    score, folder = shown.score, shown.detection.folder
    typer.echo(f"scene       {shown.product.safe}")
    typer.echo(f"truth       {shown.product.truth}")
    for name, layer in _LAYERS.items():
        typer.echo(f"{layer:<11} {folder / name}")
    typer.echo(f"catalogue   {shown.catalogue}")
    typer.echo(f"comparison  {shown.comparison}")
    typer.echo(f"summary     {shown.summary}")
    typer.echo("\n  no.  area km2  confidence  longitude   latitude")
    for number, slick in enumerate(shown.slicks.itertuples(), start=1):
        typer.echo(
            f"{number:5}  {slick.area_m2 / 1e6:8.2f}  {slick.confidence_mean:10.2f}  {slick.centroid_lon:9.4f}  "
            f"{slick.centroid_lat:9.4f}"
        )
    typer.echo()
    typer.echo(
        f"found {score.true_slicks_found} of {score.true_slicks} slicks, {score.false_slicks} false; "
        f"oil IoU {score.oil_iou:.2f}, precision {score.precision:.2f}, recall {score.recall:.2f}"
    )
