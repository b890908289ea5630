"""`slickwatch detect`: slicks in products."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import Json, Model, Out, Polarisation, Verbose
from flows.commands.terminal import print_failure, print_note, start_prefect
from flows.termination import ending_on_sigterm
from ingest.errors import SlickwatchError


def _setting(metavar: str, help: str, key: str) -> Any:
    return typer.Option(metavar=metavar, help=f"{help}; default: detection.{key}.")


def detect(
    safe: Annotated[list[Path], typer.Argument(metavar="SAFE", help="GRD products, SAFE folders or zips.")],
    out: Out = Path("results"),
    model: Model = None,
    polarisation: Polarisation = None,
    force_polarisation: Annotated[
        bool, typer.Option("--force-polarisation", help="Take a polarisation that the model was not trained on.")
    ] = False,
    coastline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Land polygons in WGS 84; default: generalised OpenStreetMap land."),
    ] = None,
    keep: Annotated[float | None, _setting("P", "Oil probability that one cell at least must reach", "keep")] = None,
    outline: Annotated[float | None, _setting("P", "Oil probability of the cells inside an outline", "outline")] = None,
    grow: Annotated[
        float | None, _setting("P", "Oil probability from which touching cells belong to one slick", "grow")
    ] = None,
    minimum_area: Annotated[
        float | None, _setting("KM2", "Leave out smaller slicks, in km2", "minimum_area_km2")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Detect oil slicks in Sentinel-1 products; results go to OUT/<scene id>.

    Names such as detection.keep are settings: slickwatch settings show.

    Example: slickwatch detect S1A_IW_GRDH_1SDV_20240601T053000_...SAFE --out results
    """
    from flows.machine import require_detection
    from flows.resolve import detection_options
    from ingest.safe.product import SafeProduct
    from models.checkpoint import load_model
    from outputs.coverage import finding
    from preprocess.pipeline import usable_polarisations

    options = detection_options(
        model, polarisation, coastline, keep=keep, outline=outline, grow=grow, minimum_area_km2=minimum_area
    )
    options = dataclasses.replace(options, force_polarisation=force_polarisation)
    require_detection(options.coastline)
    preprocess = load_model(options.model)[1].preprocess
    failures: list[SlickwatchError] = []
    with ending_on_sigterm():
        for number, path in enumerate(safe, start=1):
            if len(safe) > 1:
                print_note(f"product {number} of {len(safe)}: {path}")
            try:
                # Before the flow starts: a wrong input is known at once, and nothing is written.
                usable_polarisations(SafeProduct.open(path), preprocess, polarisation, force_polarisation)
                start_prefect()
                from flows.detect import detect_slicks

                detection = detect_slicks(path, out, options)
            except SlickwatchError as error:
                failures.append(error)
                print_failure(error)
                continue
            if json_:
                values = dataclasses.asdict(detection) | {"coverage": detection.coverage.as_dict()}
                typer.echo(json.dumps(values, default=str))
            else:
                found = finding(detection.slick_count, detection.coverage)
                typer.echo(f"{detection.scene_id}: {found}, {detection.folder / 'slicks.geojson'}")
    if failures:
        raise typer.Exit(failures[0].exit_code)
