"""Locks on files between threads, processes and machines of one folder; the kernel releases those of a dead process."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL = 0.1  # seconds between two looks at a lock that another holds


class Stopped(Exception):
    """The caller asked for an end while something was awaited or fetched; what is there may be continued."""


def never() -> threading.Event:
    """An event that nobody sets, for callers who cannot be stopped."""
    return threading.Event()


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[bool]:
    """Hold a lock inside the block; the value says whether it was free. The file of an exclusive lock is removed."""
    descriptor = _take(path, shared)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(path, descriptor, remove=not shared)


@contextmanager
def awaited(path: Path, stop: threading.Event, shared: bool = False) -> Iterator[None]:
    """Hold a lock inside the block, once it is free; `Stopped` where the event comes first."""
    with _first_free([path], stop, shared):
        yield


@contextmanager
def slot(paths: list[Path], stop: threading.Event) -> Iterator[None]:
    """Hold one of several exclusive locks: at most so many holders at a time, whatever their process."""
    with _first_free(paths, stop, shared=False):
        yield


@contextmanager
def _first_free(paths: list[Path], stop: threading.Event, shared: bool) -> Iterator[None]:
    while True:
        if stop.is_set():
            raise Stopped
        for path in paths:
            if (descriptor := _take(path, shared)) is None:
                continue
            try:
                yield
            finally:
                _release(path, descriptor, remove=not shared)
            return
        stop.wait(_POLL)


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
