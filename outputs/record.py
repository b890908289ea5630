"""The record of one run on one scene: that it was analysed, with what, and at what cost.

A clean scene has a record too, which says how much sea was looked at; without it, nobody can tell "no oil" from
"nobody looked" and from "nothing to see".
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import blake3

from ingest.files import write_bytes
from ingest.hashes import json_sha256
from outputs.coverage import Coverage

RECORD_VERSION = "1.2.0"


@cache
def software_version() -> str | None:
    """The installed version of Slickwatch; null when run from a source tree that is not installed."""
    try:
        return metadata.version("slickwatch")
    except metadata.PackageNotFoundError:
        return None


@cache
def git_commit() -> str | None:
    """The commit of the source tree this runs from, with `-dirty` where it was changed; null outside a tree of ours."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def code_version() -> str | None:
    """The commit of the source tree, else the installed version."""
    return git_commit() or software_version()


@dataclass(frozen=True)
class InputFile:
    """One file or folder that went into a run; `size` is the sum of its bytes.

    `checksum` is `blake3:` and the digest of a file's bytes, `blake3-tree:` and that of a folder's files with their
    names; null in records before version 1.1.0.
    """

    path: str
    size: int
    checksum: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json; times are UTC, durations in seconds by step name."""

    run_id: str
    scene_id: str
    model_id: str
    weights_sha256: str | None
    options: Mapping[str, Any]  # all options of the run, by group
    thresholds: Mapping[str, Any]
    config_hash: str
    inputs: tuple[InputFile, ...]
    started_at: datetime
    ended_at: datetime
    durations_s: Mapping[str, float]
    slick_count: int
    flags: tuple[str, ...] = ()  # what readers of the results should know
    analysed: bool = True  # False where there was nothing to see: see `coverage`
    coverage: Coverage | None = None  # None in records before version 1.2.0
    peak_memory_bytes: int | None = None
    software_version: str | None = field(default_factory=software_version)
    git_commit: str | None = field(default_factory=git_commit)
    record_version: str = RECORD_VERSION


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record as JSON. Raises `StorageError`."""
    write_bytes(path, (record_text(record) + "\n").encode())


def read_record(path: Path) -> RunRecord:
    """Undo `write_record`."""
    return record_of(path.read_text(encoding="utf-8"))


def record_text(record: RunRecord) -> str:
    """A record as JSON. Raises `TypeError`, `ValueError` for what JSON cannot represent."""
    values = asdict(record)
    for entry in values["inputs"]:
        if entry["checksum"] is None:
            del entry["checksum"]
    values["coverage"] = record.coverage and record.coverage.as_dict()
    return json.dumps(values, default=_plain, indent=2, allow_nan=False)


def record_of(text: str) -> RunRecord:
    """Undo `record_text`."""
    values = json.loads(text)
    values["inputs"] = tuple(InputFile(**entry) for entry in values["inputs"])
    values["flags"] = tuple(values["flags"])
    values["coverage"] = values.get("coverage") and Coverage.from_dict(values["coverage"])
    for name in ("started_at", "ended_at"):
        values[name] = datetime.fromisoformat(values[name])
    return RunRecord(**values)


def config_hash(options: Mapping[str, Any]) -> str:
    """A hash of options that does not depend on their order; 16 hexadecimal digits."""
    return json_sha256(options, default=_plain)[:16]


def input_file(path: Path) -> InputFile:
    """A file or folder with its size in bytes and its checksum: all of it is read once."""
    if path.is_file():
        size, digest = _hashed(path)
        return InputFile(str(path), size, f"blake3:{digest}")
    total, tree = 0, blake3.blake3()
    inside = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    for name in sorted(inside):
        size, digest = _hashed(inside[name])
        total += size
        tree.update(os.fsencode(f"{name}\0{digest}\0"))
    return InputFile(str(path), total, f"blake3-tree:{tree.hexdigest()}")


def _hashed(path: Path) -> tuple[int, str]:
    """The size of a file in bytes, and the hash of its content."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, blake3.blake3).hexdigest()  # type: ignore[arg-type]


def peak_memory_bytes() -> int | None:
    """Peak memory of this process so far; null if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a record")
