"""Settings for the eye: key by key, as TOML writes them, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from flows.settings.kinds import url_secret

HIDDEN = "***"


@dataclass(frozen=True)
class Shown:
    """One effective value; None is a key that is not set."""

    key: str
    value: Any
    origin: str  # "default", the file's name, or that of a variable of the environment


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value in nested tables with its keys; tables in lists are counted from 0, other lists are values."""
    if isinstance(value, dict) and (value or not keys):
        for key, inner in value.items():
            yield from leaves(inner, (*keys, str(key)))
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*keys, str(number)))
    else:
        yield keys, value


def shown_value(keys: tuple[str, ...], value: Any) -> Any:
    """A value fit for the eye: of an address that is a secret or holds one only the host."""
    if keys == ("alerts", "webhooks"):
        return [_host(address) for address in value]
    return _host(value) if isinstance(value, str) and url_secret(value) else value


def _host(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname}/{HIDDEN}"


def as_toml(value: Any) -> str:
    """A value as TOML writes it."""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else json.dumps(value, ensure_ascii=False)
