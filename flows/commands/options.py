"""What the commands share: options, and how their texts are read."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Annotated

import typer

from ingest.errors import SlickwatchError, UsageError

asked: set[str] = set()  # what options of the running command ask of `main`


def _remember_verbose(value: bool) -> bool:
    if value:
        asked.add("tracebacks")
    return value


Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", callback=_remember_verbose, help="Say more; show tracebacks.")
]
Json = Annotated[bool, typer.Option("--json", help="Print figures as JSON.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Id of a shipped model or of a version, a model folder, or champion.")
]


def verbose_asked() -> bool:
    """Whether the running command was given `--verbose`."""
    return "tracebacks" in asked


def say(error: SlickwatchError) -> None:
    """Say a known failure in one line on stderr, with its traceback where `--verbose` asks for it."""
    typer.echo(f"slickwatch: {error}", err=True)
    if verbose_asked():
        traceback.print_exception(error)


def prefect_logging(verbose: bool) -> None:
    """Keep Prefect's log off the terminal, where failures are one line; its server has it all the same."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")


def shape_option(text: str) -> tuple[int, int]:
    """Read the text of `--size`; raises `UsageError`."""
    return two_numbers(text, ",", "--size", "give lines,pixels such as 4096,4096", minimum=1)


def two_numbers(text: str, separator: str, option: str, remedy: str, minimum: int) -> tuple[int, int]:
    """Read two whole numbers out of an option's text; raises `UsageError` with the remedy."""
    try:
        first, second = (int(part) for part in text.split(separator))
    except ValueError:
        raise UsageError(option, f"{text!r} is not two whole numbers", remedy) from None
    if min(first, second) < minimum:
        raise UsageError(option, f"{text!r} is too small", remedy)
    return first, second
