"""The values in effect as `slickwatch settings show` prints them, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.settings.environment import DEFAULT_FILE, Keys
from ingest.errors import UsageError


@dataclass(frozen=True)
class Provenance:
    """The settings file with the keys it sets, and the environment variables by the keys they set."""

    file: Path | None = None
    in_file: tuple[Keys, ...] = ()
    variables: dict[Keys, str] = field(default_factory=dict)

    def of(self, keys: Keys) -> str:
        """The name of the variable or the file that sets a key, else "default"; list items count as their list."""
        if name := self.variable(keys):
            return name
        return str(self.file) if any(one in self.in_file for one in _with_parents(keys)) else "default"

    def variable(self, keys: Keys) -> str | None:
        """The variable that sets a key, or the list that contains it."""
        return next((self.variables[one] for one in _with_parents(keys) if one in self.variables), None)

    def error(self, keys: Keys, problem: str, remedy: str) -> UsageError:
        """An error about a key; its subject is the variable that sets it, else the file."""
        if name := self.variable(keys):
            return UsageError(name, problem, remedy)
        return UsageError(self.file or DEFAULT_FILE, f"{'.'.join(keys)}: {problem}", remedy)


def _with_parents(keys: Keys) -> list[Keys]:
    return [keys[:n] for n in range(len(keys), 0, -1)]


@dataclass(frozen=True)
class Shown:
    """One effective value; None if the key is not set."""

    key: str
    value: Any
    origin: str  # "default", the name of the file, or of an environment variable


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value in nested tables with its keys; tables in lists are numbered from 0, other lists are values."""
    if isinstance(value, dict) and (value or not keys):
        for key, inner in value.items():
            yield from leaves(inner, (*keys, str(key)))
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*keys, str(number)))
    else:
        yield keys, value


def as_toml(value: Any) -> str:
    """A value in TOML syntax."""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else json.dumps(value, ensure_ascii=False)
