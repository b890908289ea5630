"""Processes that are kept alive, and ended with all that they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.operations.home import Home, holder, is_held, take, write_holder

STEADY = 300.0  # s after which a process counts as started well
LONGEST_WAIT = 60.0  # s before one that keeps dying is started again


@dataclass
class Service:
    """A process in a session of its own. Its lock passes to it, and so tells of its life whatever becomes of us."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    home: Home
    restarts: int = -1
    process: subprocess.Popen[bytes] | None = None
    _deaths: int = 0
    _began: float = 0.0
    _not_before: float = field(default=0.0)

    @property
    def pid(self) -> int | None:
        """The number of the process while it lives."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def tend(self) -> bool:
        """Start the process if it is not there and due; says whether it was started just now."""
        if self.pid is not None:
            return False
        now = time.monotonic()
        if self.process is not None:
            self._deaths = 0 if now - self._began > STEADY else self._deaths + 1
            self._not_before = now + min(2.0 ** (self._deaths - 1), LONGEST_WAIT)
            self.process = None
        if now < self._not_before:
            return False
        self._start()
        return True

    def _start(self) -> None:
        lock = take(self.home.lock(self.name))
        if lock is None:
            end([self.home.lock(self.name)], grace=5)
            return
        with self.home.log(self.name).open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder, start_new_session=True, pass_fds=(lock,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        write_holder(lock, self.process.pid)
        os.close(lock)
        self.restarts += 1
        self._began = time.monotonic()

    def reap(self) -> None:
        """Take note of the end of a process that was ended through its lock."""
        if self.process is not None:
            self.process.wait()


def end(locks: Iterable[Path], grace: float) -> None:
    """End the processes that hold these locks: asked first, after `grace` seconds killed with all in their session."""
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
        # One that has just been made may not lead a session yet; its group is then another's.
        if process is not None:
            with suppress(ProcessLookupError):
                if whole_session and os.getpgid(process) == process:
                    os.killpg(process, number)
                else:
                    os.kill(process, number)
