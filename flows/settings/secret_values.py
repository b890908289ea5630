"""Secrets in settings: how they are recognised, hidden and where they belong instead."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flows.settings.environment import Keys, variable
from ingest.credentials import SERVICES

HIDDEN = "***"
SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|(api|access|private)_?key|signature$|^sig$", re.I
)


def has_password(text: str) -> bool:
    """Whether a text is a URL with a password before the host."""
    try:
        return "://" in text and urlsplit(text).password is not None
    except ValueError:
        return False


def has_secret(text: str) -> bool:
    """Whether a text is a URL with a password before the host, or with a parameter named like a secret."""
    try:
        parameters = parse_qs(urlsplit(text).query) if "://" in text else {}
    except ValueError:
        return False
    return has_password(text) or any(SECRET_NAME.search(name) for name in parameters)


def redacted(keys: Keys, value: Any) -> Any:
    """The value to display: only the host of URLs that are or contain a secret."""
    if keys == ("alerts", "webhooks"):
        return [_host(url) for url in value]
    return _host(value) if isinstance(value, str) and has_secret(value) else value


def secret_remedy(keys: Keys) -> str:
    """Where the secret found at these keys belongs."""
    if keys[:2] == ("alerts", "webhooks"):
        return f"set {variable(keys[:2])} in the environment"
    if keys[0] == "alerts":
        return "set SLICKWATCH_SMTP_PASSWORD in the environment; docs/operator/settings.md"
    if keys[0] == "sources" and len(keys) > 1 and keys[1] in SERVICES:
        return f"set {SERVICES[keys[1]].variables[1]} in the environment; docs/operator/sources.md"
    if keys[:2] == ("scenes", "ledger"):
        return "set PGPASSWORD, or the whole URL in SLICKWATCH_LEDGER; docs/operator/ledger.md"
    if keys[0] == "prefect":
        return "set PGPASSWORD, or add it to ~/.pgpass; docs/operator/settings.md"
    return "set it in the environment; docs/operator/settings.md"


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/{HIDDEN}"
