"""Steps that are done once: each in a folder named by what it depends on, with done.json written last.

A finished step is used as it is while its files are whole. One that was interrupted is gone on with where it can be,
and begun anew where not. A damaged one is removed and done again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingest.errors import UsageError
from ingest.files import read_json, storage_errors, sync, write_json
from ingest.hashes import file_sha256, json_sha256
from ingest.locks import locked

DONE = "done.json"
RESUME = "state.pt"  # what trainings go on from; worth nothing once they are done
LIBRARIES = ("torch", "numpy", "scipy", "pillow", "diffusers")
_ROOT = Path(__file__).parents[2]
_FOLDER = re.compile(r"[a-z-]+-[0-9a-f]{12}")

Value = dict[str, Any]  # plain JSON


@dataclass(frozen=True)
class Done:
    """A finished step."""

    folder: Path
    value: Value
    seconds: float  # that it took when it was done
    reused: bool


@contextmanager
def only_one(work: Path) -> Iterator[None]:
    """Keep other retrainings out of the work folder inside the block; raises `UsageError` where one is in it."""
    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    with locked(work / ".lock") as free:
        if not free:
            raise UsageError(work, "another retraining works here", "wait for its end, or give retraining.folder")
        yield


def done_once(
    work: Path,
    name: str,
    depends_on: Mapping[str, Any],
    code: Sequence[str],
    body: Callable[[Path], Value],
    *,
    resumable: bool = False,
) -> Done:
    """Do a step in `work`/`name`-<key>, or find it done.

    `depends_on` is plain JSON and says, with the sources in `code` (files and folders from the root of the source
    tree on), all that the outcome depends on. `body` fills the folder and returns what the next steps need; with
    `resumable` it finds what an interrupted attempt left there. Raises `StorageError`, and what `body` raises.
    """
    key = step_key(name, depends_on, code)
    folder = work / f"{name}-{key}"
    record = read_json(folder / DONE)
    if record.get("key") == key:
        problem = _damage(folder, record)
        if problem is None:
            print(f"{name}: done before, in {folder}")
            return Done(folder, record["value"], record["seconds"], reused=True)
        print(f"{name}: {problem}; done again")
    began = time.monotonic()
    with storage_errors(folder):
        if folder.exists() and (record or not resumable):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    value: Value = json.loads(json.dumps(body(folder)))
    seconds = round(time.monotonic() - began, 3)
    _finish(folder, {"step": name, "key": key, "depends_on": dict(depends_on), "seconds": seconds, "value": value})
    return Done(folder, value, seconds, reused=False)


def step_key(name: str, depends_on: Mapping[str, Any], code: Sequence[str]) -> str:
    """Return what a step's folder is named by: twelve hexadecimal digits."""
    content = {"step": name, "depends_on": depends_on, "code": {path: _code_hash(path) for path in code}}
    libraries = {library: version(library) for library in LIBRARIES}
    return json_sha256({**content, "libraries": libraries})[:12]


def tidy(work: Path, used: Sequence[Path]) -> None:
    """Remove the steps of former retrainings, finished or given up; those `used` stay."""
    kept = {folder.name for folder in used}
    for folder in work.iterdir():
        if folder.is_dir() and _FOLDER.fullmatch(folder.name) and folder.name not in kept:
            shutil.rmtree(folder)


@cache
def _code_hash(path: str) -> str:
    """A hash of the sources at a path from the root of the source tree on."""
    there = _ROOT / path
    digest = hashlib.sha256()
    for file in [there] if there.is_file() else sorted(there.rglob("*.py")):
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def _finish(folder: Path, record: Value) -> None:
    with storage_errors(folder):
        for state in folder.rglob(RESUME):
            state.unlink()
        files = {file.relative_to(folder).as_posix(): file for file in _files(folder)}
        for file in files.values():
            sync(file)
        hashes = {name: file_sha256(file) for name, file in files.items()}
        content = {**record, "finished_at": datetime.now(UTC).isoformat(), "files": hashes}
        write_json(folder / DONE, content)


def _damage(folder: Path, record: Value) -> str | None:
    """What is wrong with a finished step's files; None where they are whole."""
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path} is gone"
        if file_sha256(path) != expected:
            return f"{path} is not as it was written"
    return None


def _files(folder: Path) -> list[Path]:
    """What a step made: all but its record, locks and what was being written."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != DONE and not p.name.startswith("."))
