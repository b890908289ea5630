"""SHA-256 of files and of JSON content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(content: object, default: Callable[[Any], Any] | None = None) -> str:
    """Return the SHA-256 of content as canonical JSON: keys sorted, no spaces; `default` as in `json.dumps`."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=default)
    return hashlib.sha256(canonical.encode()).hexdigest()
