"""Steps whose results are cached: finished ones are reused, interrupted ones resumed, damaged ones run again.

Each has a folder named by the hash of all that its result depends on: inputs, options, sources and libraries.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ingest.errors import UsageError
from ingest.files import read_json, storage_errors, sync, write_json
from ingest.hashes import file_sha256, json_sha256
from ingest.locks import try_lock
from models.code import code_hash
from models.training.options import flat

DONE = "done.json"
RESUME = "state.pt"  # training states, of no use once a step is finished
LIBRARIES = ("torch", "numpy", "scipy", "pillow", "diffusers")
PLACEMENT = {"device", "devices", "accumulate", "memory_gb", "workers", "threads"}  # options that change no result
_FOLDER = re.compile(r"[a-z-]+-[0-9a-f]{12}")

Value = dict[str, Any]  # plain JSON


@dataclass(frozen=True)
class StepResult:
    """A finished step."""

    folder: Path
    value: Value
    seconds: float  # that it took, also where it is reused
    reused: bool


@dataclass(frozen=True)
class TrainingData:
    """The training set of a retraining; `real` is the name or folder that `open_dataset` takes."""

    real: str
    folder: Path
    sources: dict[str, str]  # hash of the images taken of each data set, by name
    n_train: int
    sha256: str  # of the training pairs
    classes: tuple[str, ...]
    chips: int  # around reviewed slicks
    left_out: dict[str, int]  # number of slicks and chips, by reason

    @property
    def notes(self) -> list[str]:
        """Remarks for a reader, a line each."""
        left_out = [f"{count} {reason} left out" for reason, count in self.left_out.items()]
        return [f"{self.chips} chips around reviewed slicks", *left_out]


@contextmanager
def exclusive(work: Path) -> Iterator[None]:
    """Keep other retrainings out of the work folder; raises `UsageError` where one is running in it."""
    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    with try_lock(work / ".lock") as free:
        if not free:
            raise UsageError(work, "another retraining is running here", "wait for it, or set retraining.folder")
        yield


def run_step(
    work: Path,
    name: str,
    depends_on: Mapping[str, Any],
    body: Callable[[Path], Value],
    *,
    resumable: bool = False,
) -> StepResult:
    """Run a step in `work`/`name`-<key>, or reuse its result.

    `depends_on` is plain JSON and holds the inputs and options of the step; the sources are those of the module that
    defines `body` and of all that it imports. `body` fills the folder and returns what later steps need; with
    `resumable` it finds the files of an interrupted run there. Raises `StorageError`, and what `body` raises.
    """
    key = step_key(name, depends_on, body.__module__)
    folder = work / f"{name}-{key}"
    record = read_json(folder / DONE)
    if record.get("key") == key:
        problem = _damage(folder, record)
        if problem is None:
            print(f"{name}: reused from {folder}")
            return StepResult(folder, record["value"], record["seconds"], reused=True)
        print(f"{name}: {problem}; running it again")
    began = time.monotonic()
    with storage_errors(folder):
        if folder.exists() and (record or not resumable):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    value: Value = json.loads(json.dumps(body(folder)))
    seconds = round(time.monotonic() - began, 3)
    _finish(folder, {"step": name, "key": key, "depends_on": dict(depends_on), "seconds": seconds, "value": value})
    return StepResult(folder, value, seconds, reused=False)


def step_key(name: str, depends_on: Mapping[str, Any], module: str) -> str:
    """Return the twelve hexadecimal digits that name a step's folder; `module` holds the code of the step."""
    libraries = {library: version(library) for library in LIBRARIES}
    content = {"step": name, "depends_on": depends_on, "code": code_hash(module), "libraries": libraries}
    return json_sha256(content)[:12]


def relevant_options(options: Any, *without: str) -> dict[str, Any]:
    """Return the fields of an options record that a result depends on: all but `PLACEMENT` and those in `without`."""
    return {name: value for name, value in flat(options).items() if name not in {*without, *PLACEMENT}}


def remove_other_steps(work: Path, used: Sequence[Path]) -> None:
    """Remove the step folders of earlier rounds, finished or not; those `used` stay."""
    kept = {folder.name for folder in used}
    for folder in work.iterdir():
        if folder.is_dir() and _FOLDER.fullmatch(folder.name) and folder.name not in kept:
            shutil.rmtree(folder)


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
    """Return what is wrong with a finished step's files; None where they are intact."""
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if file_sha256(path) != expected:
            return f"{path} was changed"
    return None


def _files(folder: Path) -> list[Path]:
    """Return a step's results: all but its record, locks and partly written files."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != DONE and not p.name.startswith("."))
