"""Files on a disk: failures as one kind of error, content that is there whole, and bytes that stay."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest.errors import StorageError


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn a failure of the file system inside the block into `StorageError`."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise StorageError(path, problem, "free some space or check its permissions") from error


def read_json(path: Path) -> dict[str, Any]:
    """An object written by `write_json`; empty where there is none or it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object so that a reader finds it whole or not at all."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, also after a power cut, finds all of it or the former one."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(content)
    sync(aside)
    os.replace(aside, path)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
