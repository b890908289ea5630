"""The folder of server and worker: who runs, since when, what has been said; `[prefect] home` in the settings."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.files import read_json, storage_errors, write_json

LOG_BYTES = 10_000_000  # after which a log is set aside
LOGS_KEPT = 4
_LOOKS, _LOOK_LASTS = 5, 0.05  # s


@dataclass(frozen=True)
class Home:
    """Names of files below the home folder. A lock is held by the process it belongs to, and so tells of its life."""

    folder: Path

    @property
    def state_file(self) -> Path:
        """What the supervisor says of itself."""
        return self.folder / "state.json"

    @property
    def runs(self) -> Path:
        """One file for each flow run of this machine's worker, locked while its process lives."""
        return self.folder / "runs"

    def lock(self, name: str) -> Path:
        """The lock of the supervisor, the server or the worker."""
        return self.folder / f"{name}.lock"

    def log(self, name: str) -> Path:
        """The log of the supervisor, the server, the worker, of deploying or of all flow runs."""
        return self.folder / "logs" / f"{name}.log"

    def make(self) -> None:
        """Make the folders, for their owner's eyes only; raises `StorageError`."""
        with storage_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.runs, self.folder / "logs"):
                folder.mkdir(exist_ok=True)

    def state(self) -> dict[str, Any]:
        """What the supervisor has last said; empty where there is none."""
        return read_json(self.state_file)

    def say(self, **news: Any) -> None:
        """Add to what the supervisor says."""
        write_json(self.state_file, self.state() | news)

    def rotate_logs(self) -> None:
        """Set aside the logs that have grown large. Their writers append, and so go on at the new beginning."""
        for log in self.folder.glob("logs/*.log"):
            if log.stat().st_size > LOG_BYTES:
                for i in range(LOGS_KEPT - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        os.replace(f"{log}.{i}", f"{log}.{i + 1}")
                shutil.copyfile(log, f"{log}.1")
                os.truncate(log, 0)


def is_held(lock: Path) -> bool:
    """Whether a living process holds a lock."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def take(lock: Path) -> int | None:
    """Take a lock and write this process' number into it; the value is what must stay open, None where it is held."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_LASTS)  # somebody who only looks holds it no longer than that
        else:
            write_holder(descriptor, os.getpid())
            return descriptor
    os.close(descriptor)
    return None


def write_holder(descriptor: int, process: int) -> None:
    """Write into a lock that is held by whom."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(process).encode(), 0)


def holder(lock: Path) -> int | None:
    """The number of the process that holds a lock; None where nobody does."""
    if not is_held(lock):
        return None
    with suppress(OSError, ValueError):
        return int(lock.read_text())
    return None
