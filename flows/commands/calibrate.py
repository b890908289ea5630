"""`slickwatch calibrate`: sigma nought as GeoTIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Verbose, result_file, two_numbers
from flows.commands.terminal import print_note
from ingest.errors import UsageError


def calibrate(
    safe: Annotated[Path, typer.Argument(metavar="SAFE", help="GRD product, SAFE folder or zip.")],
    polarisation: Annotated[str, typer.Option(metavar="POL", parser=str.upper, help="VV, VH, HH or HV.")],
    out: Annotated[Path, result_file("--out", "GeoTIFF to write.")],
    denoise: Annotated[bool, typer.Option("--denoise/--no-denoise", help="Subtract thermal noise.")] = True,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="Multilook to about this cell size; default: full resolution."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="A:B", help="Write rows A to B-1 of the result; default: all.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Write linear sigma nought as a float32 GeoTIFF; no data is NaN.

    Example: slickwatch calibrate S1A_IW_GRDH_...SAFE --polarisation VV --out vv.tif --rows 0:1000
    """
    from ingest.progress import step
    from ingest.safe.product import SafeProduct
    from outputs.rasters import write_sigma_nought
    from preprocess.grid import image_grid
    from preprocess.pipeline import sigma_nought

    product = SafeProduct.open(safe)
    grid = image_grid(product.image(polarisation).annotation, spacing)
    image = sigma_nought(product, polarisation, denoise, grid.looks)
    if rows is not None:
        part = _rows(rows, image.sizes["line"])
        image, grid = image[part], grid[part]
    for flag in image.attrs.get("flags", ()):
        print_note(f"{safe}: {flag}")
    with step("calibrate") as advance:
        write_sigma_nought(image, out, grid, advance)
    typer.echo(out)


def _rows(text: str, length: int) -> slice:
    remedy = f"give A:B with 0 <= A < B <= {length}"
    start, stop = two_numbers(text, ":", "--rows", remedy, minimum=0)
    if not start < stop <= length:
        raise UsageError("--rows", f"{text!r} is outside the image", remedy)
    return slice(start, stop)
