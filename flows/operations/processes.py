"""Service processes and the locks that they hold while they live: start, restart, termination with all children."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.operations.home import Home

_ATTEMPTS, _WAIT_S = 5, 0.05
STABLE_S = 300.0  # a process that lived this long resets the restart delay
MAX_DELAY_S = 60.0  # longest restart delay


def is_held(lock: Path) -> bool:
    """Whether a running process holds the lock."""
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


def acquire(lock: Path) -> int | None:
    """Lock the file for this process and return the descriptor to keep open; None if another process holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_WAIT_S)  # `is_held` in another process holds it for less than this
        else:
            write_holder(descriptor, os.getpid())
            return descriptor
    os.close(descriptor)
    return None


def write_holder(descriptor: int, process: int) -> None:
    """Write the id of the holding process into a lock file."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(process).encode(), 0)


def holder(lock: Path) -> int | None:
    """The id of the process that holds the lock; None if it is free."""
    if not is_held(lock):
        return None
    with suppress(OSError, ValueError):
        return int(lock.read_text())
    return None


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
