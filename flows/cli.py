"""The command line: parses, calls, prints; results go to stdout, progress and failures to stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.bench import bench_app
from flows.commands.dakd import dakd_app
from flows.commands.models import models_app, scores_app, train_app
from flows.commands.options import (
    Json,
    Model,
    Out,
    Verbose,
    asked,
    prefect_logging,
    say,
    shape_option,
    two_numbers,
    verbose_asked,
)
from flows.commands.quality import quality_app
from flows.commands.scenes import scenes_app, watch_app
from flows.commands.settings import settings_app
from flows.commands.slicks import catalogue_app
from flows.commands.up import operate_app
from ingest.errors import SlickwatchError, SourceError, UsageError

app = typer.Typer(
    help="Find oil at sea in Sentinel-1 radar images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"slickwatch {version('slickwatch')}")
        raise typer.Exit


app.add_typer(scores_app)
app.add_typer(dakd_app)
app.add_typer(quality_app)
app.add_typer(settings_app, name="settings")
app.add_typer(catalogue_app, name="slicks")
app.add_typer(watch_app)
app.add_typer(operate_app)
app.add_typer(scenes_app, name="scenes")
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")
app.add_typer(bench_app, name="bench")


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Annotated[int | None, typer.Option(min=0, help="Another scene.")] = None,
    size: Annotated[str, typer.Option(help="Lines,pixels of the scene at 10 m.")] = "4096,4096",
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a scene with known truth, find its slicks, score them, say where the layers are.

    Example: slickwatch demo --out demo
    """
    prefect_logging(verbose)
    from flows.demonstrate import DEMO_SEED, demonstrate

    shown = demonstrate(out, DEMO_SEED if seed is None else seed, shape_option(size))
    if json_:
        typer.echo(shown.summary.read_text())
        return
    score, folder = shown.score, shown.detection.folder
    typer.echo(f"scene       {shown.product.safe}")
    typer.echo(f"truth       {shown.product.truth}")
    for name, what in _LAYERS.items():
        typer.echo(f"{what:<11} {folder / name}")
    typer.echo(f"summary     {shown.summary}")
    typer.echo(
        f"found {score.true_slicks_found} of {score.true_slicks} slicks, {score.false_slicks} false; "
        f"oil IoU {score.oil_iou:.2f}, precision {score.precision:.2f}, recall {score.recall:.2f}"
    )


_LAYERS = {
    "slicks.geojson": "slicks",
    "slicks.gpkg": "slicks",
    "class_probability.tif": "raster",
    "quicklook.png": "picture",
    "item.json": "STAC item",
    "run.json": "run record",
}


@app.command()
def detect(
    safe: Annotated[list[Path], typer.Argument(help="SAFE folders or zips, GRD.")],
    out: Out = Path("results"),
    model: Model = None,
    polarisation: Annotated[
        str | None, typer.Option(parser=str.upper, help="VV, VH, HH or HV; by default what the model wants.")
    ] = None,
    coastline: Annotated[
        Path | None, typer.Option(help="Land polygons in WGS 84; by default OpenStreetMap's, generalised.")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find oil slicks in Sentinel-1 products and write them to OUT/<scene id>.

    Example: slickwatch detect S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_051900_0645F0_1234.SAFE --out results
    """
    from flows.registering import default_registry, resolve_model
    from ingest.safe.product import SafeProduct
    from models.checkpoint import load_model
    from preprocess.pipeline import calibrated_scene

    model = str(resolve_model(model, default_registry()))
    options = load_model(model)[1].preprocess
    failures: list[SlickwatchError] = []
    for path in safe:
        try:
            # Before the flow starts: whatever is wrong with the input is known at once, and nothing is written.
            calibrated_scene(SafeProduct.open(path), options, polarisation)
            prefect_logging(verbose)
            from flows.detect import detect_slicks
            from flows.detection import DetectionOptions

            detection = detect_slicks(path, out, DetectionOptions(model, polarisation, coastline))
        except SlickwatchError as error:
            failures.append(error)
            say(error)
            continue
        if json_:
            typer.echo(json.dumps(dataclasses.asdict(detection), default=str))
        else:
            found = f"{detection.slick_count} slick{'' if detection.slick_count == 1 else 's'}"
            typer.echo(f"{detection.scene_id}: {found}, {detection.folder / 'slicks.geojson'}")
    if failures:
        raise typer.Exit(failures[0].exit_code)


@app.command()
def calibrate(
    safe: Annotated[Path, typer.Argument(help="SAFE folder or zip, GRD.")],
    polarisation: Annotated[str, typer.Option(parser=str.upper, help="VV, VH, HH or HV.")],
    out: Annotated[Path, typer.Option("--out", help="GeoTIFF to write.")],
    denoise: Annotated[bool, typer.Option("--denoise/--no-denoise", help="Subtract the thermal noise.")] = True,
    spacing: Annotated[
        float | None, typer.Option(help="Average to about this many metres; by default not at all.")
    ] = None,
    rows: Annotated[str | None, typer.Option(help="A:B, the rows A to B-1 of the result only.")] = None,
    verbose: Verbose = False,
) -> None:
    """Write linear sigma nought as float32 GeoTIFF, NaN where there is no data.

    Example: slickwatch calibrate S1A_IW_GRDH_....SAFE --polarisation VV --out vv.tif --rows 0:1000
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
        typer.echo(f"{safe}: {flag}", err=True)
    with step("calibrate"):
        write_sigma_nought(image, out, grid)
    typer.echo(out)


@app.command()
def segment(
    image: Annotated[list[Path], typer.Argument(help="Images of any bit depth and stretch.")],
    out: Out,
    model: Model = None,
    verbose: Verbose = False,
) -> None:
    """Classify chips that are no products: a class map PNG (0 sea 1 oil 2 look-alike 3 ship 4 land) and probabilities.

    Example: slickwatch segment chip.png --out maps
    """
    from flows.registering import default_registry, resolve_model
    from flows.segment import segment_image
    from models.checkpoint import load_model, model_folder
    from models.objects import load_judge

    chosen = str(resolve_model(model, default_registry()))
    network, checkpoint = load_model(chosen)
    object_stage = load_judge(model_folder(chosen), checkpoint.weights_sha256)
    if len({path.stem for path in image}) < len(image):
        raise UsageError(out, "two images have one name", "segment them into different folders")
    for path in image:
        typer.echo(segment_image(path, out, network, checkpoint, object_stage))


@app.command()
def simulate(
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; the next ones count on.")] = 0,
    size: Annotated[str | None, typer.Option(help="Lines,pixels; 4096,4096 for scenes, 256,256 for chips.")] = None,
    format_: Annotated[str, typer.Option("--format", help="safe: products; chips: images/ and masks/.")] = "safe",
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    verbose: Verbose = False,
) -> None:
    """Simulate products or chips with known truth.

    Example: slickwatch simulate --out inbox --seed 3 --size 4096,4096
    """
    from flows.simulate import write_chip
    from ingest.progress import step
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the documented code: 0 done, 1 unexpected, or that of the failure."""
    asked.clear()
    # So that what is half done is removed when the process is asked to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app(arguments)
    except SlickwatchError as error:
        say(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if "Failed to reach API" in str(error):  # Prefect has no exception of its own for it
            url = os.environ.get("PREFECT_API_URL", "the Prefect server")
            failure = SourceError(url, "no Prefect server answers", "start it, or unset PREFECT_API_URL to run without")
            say(failure)
            sys.exit(failure.exit_code)
        said = " ".join(str(error).split())
        typer.echo(f"slickwatch: unexpected {type(error).__name__}: {said}; run again with --verbose", err=True)
        if verbose_asked():
            traceback.print_exc()
        sys.exit(1)


def _rows(text: str, length: int) -> slice:
    start, stop = two_numbers(text, ":", "--rows", f"give A:B with 0 <= A < B <= {length}", minimum=0)
    if not start < stop <= length:
        raise UsageError("--rows", f"{text!r} is outside the image", f"give A:B with 0 <= A < B <= {length}")
    return slice(start, stop)


if __name__ == "__main__":
    main()
