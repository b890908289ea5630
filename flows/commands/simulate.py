"""`slickwatch simulate`: products and chips with known truth."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import Out, Verbose, shape_option
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
    verbose: Verbose = False,
) -> None:
    """Simulate products or image chips with known truth.

    Example: slickwatch simulate --out inbox --seed 3 --size 4096,4096
    """
    from ingest.progress import step
    from models.simulator.chip_files import write_chip
    from models.simulator.product import simulate_product

    if format_ not in {"safe", "chips"}:
        raise UsageError("--format", f"{format_!r} is neither safe nor chips", "choose one of them")
    shape = shape_option(size or ("4096,4096" if format_ == "safe" else "256,256"))
    if format_ == "chips" and shape[0] != shape[1]:
        raise UsageError("--size", "chips are square", "give the same number twice")
    with step(f"simulate {count}") as advance:
        for i in range(count):
            if format_ == "safe":
                out.mkdir(parents=True, exist_ok=True)
                product = simulate_product(out, seed + i, shape)
                typer.echo(f"{product.safe} {product.truth}")
            else:
                typer.echo(write_chip(out, seed + i, shape[0]))
            advance(i + 1, count)
