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
    """The caller asked to stop while something was awaited or fetched; what is there can be resumed."""


def never() -> threading.Event:
    """An event that is never set, for callers that cannot be stopped."""
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
    """Hold a lock inside the block, once it is free; `Stopped` if the event is set first."""
    with _first_free([path], stop, shared):
        yield


@contextmanager
def slot(paths: list[Path], stop: threading.Event) -> Iterator[None]:
    """Hold one of several exclusive locks: at most that many holders at a time, across all processes."""
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
