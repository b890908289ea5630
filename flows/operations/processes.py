"""Service processes: started, restarted when they die, and terminated with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.operations.home import Home
from flows.operations.process_locks import acquire, holder, is_held, write_holder

STABLE_S = 300.0  # a process that lived this long resets the restart delay
MAX_DELAY_S = 60.0  # longest restart delay


@dataclass
class Service:
    """A process in its own session. It inherits its lock, which is thus held as long as it lives."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    home: Home
    restarts: int = -1
    process: subprocess.Popen[bytes] | None = None
    _deaths: int = 0
    _started: float = 0.0
    _not_before: float = field(default=0.0)

    @property
    def pid(self) -> int | None:
        """The process id; None if it is not running."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def ensure_running(self) -> bool:
        """Start the process if it is not running and its restart delay has passed; returns whether it was started."""
        if self.pid is not None:
            return False
        now = time.monotonic()
        if self.process is not None:
            self._deaths = 0 if now - self._started > STABLE_S else self._deaths + 1
            self._not_before = now + min(2.0 ** (self._deaths - 1), MAX_DELAY_S)
            self.process = None
        if now < self._not_before:
            return False
        self._start()
        return True

    def _start(self) -> None:
        lock = acquire(self.home.lock(self.name))
        if lock is None:
            terminate([self.home.lock(self.name)], grace=5)
            return
        with self.home.log(self.name).open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder, start_new_session=True, pass_fds=(lock,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        write_holder(lock, self.process.pid)
        os.close(lock)
        self.restarts += 1
        self._started = time.monotonic()

    def wait(self) -> None:
        """Wait for the process, which was terminated through its lock."""
        if self.process is not None:
            self.process.wait()


def terminate(locks: Iterable[Path], grace: float) -> None:
    """Terminate the processes that hold these locks: SIGTERM, after `grace` seconds SIGKILL to their sessions."""
    held = [lock for lock in locks if is_held(lock)]
    _signal(held, signal.SIGTERM, whole_session=False)
    deadline = time.monotonic() + grace
    while held and time.monotonic() < deadline:
        time.sleep(0.1)
        held = [lock for lock in held if is_held(lock)]
    while held:
        _signal(held, signal.SIGKILL, whole_session=True)
        time.sleep(0.1)
        held = [lock for lock in held if is_held(lock)]


def _signal(locks: list[Path], number: signal.Signals, whole_session: bool) -> None:
    for lock in locks:
        process = holder(lock)
        # A process that has just started may not lead a session yet: its group would be its parent's.
        if process is not None:
            with suppress(ProcessLookupError):
                if whole_session and os.getpgid(process) == process:
                    os.killpg(process, number)
                else:
                    os.kill(process, number)
