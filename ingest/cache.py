"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(*names: str) -> Path:
    """Return ``slickwatch/<names>`` in ``XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath("slickwatch", *names)
