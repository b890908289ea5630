"""Options of a training out of a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ingest.errors import UsageError

T = TypeVar("T")


def read_options_file(config: Path | None, options: type[T], document: str) -> T:
    """Read a TOML file of a dataclass of options, all of whose fields have defaults; arrays become tuples.

    Raises `UsageError` naming an unknown key, whatever the dataclass itself refuses, and `document` where the file
    cannot be read.
    """
    if config is None:
        return options()
    try:
        given: dict[str, Any] = tomllib.loads(config.read_text())
    except (OSError, ValueError) as error:  # also text that is no UTF-8
        raise UsageError(config, f"not a readable TOML file ({error})", f"see {document}") from error
    known = {f.name for f in fields(options)}  # type: ignore[arg-type]  # a dataclass, which has no type of its own
    for key in given:
        if key not in known:
            raise UsageError(config, f"unknown option {key!r}", f"known are {', '.join(sorted(known))}")
    return options(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})
