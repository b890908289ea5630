"""The folder of server and worker with locks, logs and state; `[prefect] home` in the settings."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.files import read_json, storage_errors, write_json

LOG_BYTES = 10_000_000  # maximum size of a log before it is rotated
LOGS_KEPT = 4


@dataclass(frozen=True)
class Home:
    """File names in the home folder. Each process holds its lock while it lives."""

    folder: Path

    @property
    def state_file(self) -> Path:
        """The state that the supervisor reports."""
        return self.folder / "state.json"

    @property
    def plan_file(self) -> Path:
        """The plan that the services were started with."""
        return self.folder / "plan.json"

    @property
    def runs(self) -> Path:
        """Folder with one file for each flow run of the local worker, locked while its process lives."""
        return self.folder / "runs"

    def lock(self, name: str) -> Path:
        """The lock of the supervisor, the server, the worker or the service over the catalogue."""
        return self.folder / f"{name}.lock"

    def log(self, name: str) -> Path:
        """The log of the supervisor, the server, the worker, the service, `prefect deploy` or all flow runs."""
        return self.folder / "logs" / f"{name}.log"

    def create(self) -> None:
        """Create the folders, accessible to their owner only; raises `StorageError`."""
        with storage_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.runs, self.folder / "logs"):
                folder.mkdir(exist_ok=True)

    def state(self) -> dict[str, Any]:
        """The state last reported by the supervisor; empty if there is none."""
        return read_json(self.state_file)

    def update_state(self, **changes: Any) -> None:
        """Change entries of the reported state."""
        write_json(self.state_file, self.state() | changes)

    def rotate_logs(self) -> None:
        """Copy and truncate large logs; their writers append, and so continue in the truncated file."""
        for log in self.folder.glob("logs/*.log"):
            if log.stat().st_size > LOG_BYTES:
                for i in range(LOGS_KEPT - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        os.replace(f"{log}.{i}", f"{log}.{i + 1}")
                shutil.copyfile(log, f"{log}.1")
                os.truncate(log, 0)
