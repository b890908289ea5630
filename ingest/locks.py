"""File locks between threads, processes and machines sharing a folder; the kernel frees those of a dead process."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL = 0.1  # seconds between polls of a lock held by another


class Stopped(Exception):
    """The caller was asked to stop while it waited or fetched; what is there can be resumed."""


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock inside the block if it is free; yields whether it was. The lock file is removed afterwards."""
    descriptor = _take(path, shared=False)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(path, descriptor, remove=True)


@contextmanager
def hold_lock(*paths: Path, stop: threading.Event | None = None, shared: bool = False) -> Iterator[None]:
    """Wait for a lock and hold it inside the block; of several, the first that is free: so many holders at a time.

    Raises `Stopped` if the event is set first.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        for path in paths:
            if (descriptor := _take(path, shared)) is None:
                continue
            try:
                yield
            finally:
                _release(path, descriptor, remove=not shared)
            return
        stop.wait(_POLL)
    raise Stopped


def _take(path: Path, shared: bool) -> int | None:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_still_there(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder has removed the file since it was opened


def _is_still_there(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _release(path: Path, descriptor: int, remove: bool) -> None:
    if remove:
        path.unlink(missing_ok=True)
    os.close(descriptor)
