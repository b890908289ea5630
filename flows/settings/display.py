"""Settings as `slickwatch settings show` prints them: key by key, in TOML syntax."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any


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
