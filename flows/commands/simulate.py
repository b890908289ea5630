"""`slickwatch simulate`: products and chips with known truth."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from flows.commands.options import Out, Verbose, place_option, shape_option, time_option
from flows.commands.terminal import print_note
from ingest.errors import UsageError


def simulate(
    out: Out,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the first item; later items use the following numbers.")
    ] = 0,
    size: Annotated[
        str | None,
        typer.Option(metavar="LINES,PIXELS", help="Size at 10 m; default: 4096,4096 for products, 256,256 for chips."),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="safe: products; chips: images/ and masks/.")
    ] = "safe",
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Number of items.")] = 1,
    at: Annotated[
        str | None, typer.Option(metavar="LON,LAT", help="Centre of products; default: a sea drawn by the seed.")
    ] = None,
    time: Annotated[
        datetime | None,
        typer.Option(metavar="ISO", parser=time_option, help="Start of products (UTC); default: drawn by the seed."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Simulate products or image chips with known truth.

    Products of different seeds are different scenes: time, orbit and datatake follow from the seed too.

    Example: slickwatch simulate --out inbox --seed 3 --at 64.0,16.0 --time 2026-01-31T06:00Z
    """
    from ingest.progress import step
    from models.simulator.chips import write_chip
    from models.simulator.product import simulate_product

    if format_ not in {"safe", "chips"}:
        raise UsageError("--format", f"{format_!r} is neither safe nor chips", "choose one of them")
    if format_ == "chips" and (at is not None or time is not None):
        raise UsageError(
            "--at, --time" if at and time else "--at" if at else "--time", "chips lie nowhere", "leave it out"
        )
    centre = None if at is None else place_option(at)
    shape = shape_option(size or ("4096,4096" if format_ == "safe" else "256,256"))
    if format_ == "chips" and shape[0] != shape[1]:
        raise UsageError("--size", "chips are square", "give the same number twice")
    with step("simulate") as advance:
        for i in range(count):
            if format_ == "safe":
                product = simulate_product(out, seed + i, shape, start=time, centre_lonlat=centre)
                typer.echo(f"{product.safe} {product.truth}")
                print_note(f"{product.safe.name}: {product.where}")
            else:
                typer.echo(write_chip(out, seed + i, shape[0]))
            advance(i + 1, count)
