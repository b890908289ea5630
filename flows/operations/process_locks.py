"""File locks that a process holds while it lives and that contain its id."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

_ATTEMPTS, _WAIT_S = 5, 0.05


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
