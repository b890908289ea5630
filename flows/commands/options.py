"""Options that several commands have, and how their texts are read."""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from ingest.errors import UsageError
from ingest.files import require_writable

VERBOSE: ContextVar[bool] = ContextVar("verbose", default=False)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _set_verbose(value: bool) -> bool:
    VERBOSE.set(value)
    return value


def _writable_folder(folder: Path | None) -> Path | None:
    if folder is not None:
        require_writable(folder)
    return folder


def _writable_file(file: Path | None) -> Path | None:
    if file is not None:
        require_writable(file.parent)
    return file


def results_folder(help: str) -> Any:
    """The option `--out FOLDER`; one that cannot be written is refused before the work: `StorageError`."""
    return typer.Option("--out", metavar="FOLDER", help=help, callback=_writable_folder)


def result_file(name: str, help: str) -> Any:
    """The same for an option that names a file."""
    return typer.Option(name, metavar="FILE", help=help, callback=_writable_file)


Verbose = Annotated[bool, typer.Option("-v", "--verbose", callback=_set_verbose, help="Log more; show tracebacks.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, all columns.")]
Limit = Annotated[int | None, typer.Option(metavar="N", min=1, help="Maximum number of rows.")]
Out = Annotated[Path, results_folder("Folder for the results.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file; default: $SLICKWATCH_CONFIG, else slickwatch.toml if present."
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="champion, a model id or a model folder; default: champion."),
]
JointNet = Annotated[
    Path, typer.Option("--model", metavar="FOLDER", help="Model folder written by `slickwatch train jointnet`.")
]
Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="Name of a data set or a folder; NAME@4 averages 4 x 4 pixels.")
]
SceneSize = Annotated[str, typer.Option(metavar="LINES,PIXELS", help="Size of a scene, at 10 m spacing.")]
Polarisation = Annotated[
    str | None, typer.Option(metavar="POL", parser=str.upper, help="VV, VH, HH or HV; default: as the model requires.")
]


def shape_option(text: str) -> tuple[int, int]:
    """Read the text of `--size`; raises `UsageError`."""
    return two_numbers(text, ",", "--size", "give LINES,PIXELS such as 4096,4096", minimum=1)


def two_numbers(text: str, separator: str, option: str, remedy: str, minimum: int) -> tuple[int, int]:
    """Read two integers from the text of an option; raises `UsageError` with the remedy."""
    try:
        first, second = (int(part) for part in text.split(separator))
    except ValueError:
        raise UsageError(option, f"{text!r} is not two integers", remedy) from None
    if min(first, second) < minimum:
        raise UsageError(option, f"{text!r} is too small", remedy)
    return first, second


def box_option(text: str) -> tuple[float, float, float, float]:
    """Read the text of `--bbox`: west, south, east, north in degrees. Raises `UsageError`."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError("--bbox", f"{text!r} is not four numbers", "give west,south,east,north in degrees") from None
    return west, south, east, north


def place_option(text: str) -> tuple[float, float]:
    """Read the text of `--at`: longitude and latitude in degrees. Raises `UsageError`."""
    try:
        longitude, latitude = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError("--at", f"{text!r} is not two numbers", "give LON,LAT in degrees such as 64.0,16.0") from None
    return longitude, latitude


def time_option(text: str, now: datetime | None = None) -> datetime:
    """Read a time in ISO 8601 (UTC unless it has an offset) or an age such as 30m, 12h, 7d. Raises `UsageError`."""
    age = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    if age is not None:
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(text, "not a time", "give 2026-01-31, 2026-01-31T06:00Z, or an age: 30m, 12h, 7d") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
