"""The end of a command by SIGTERM: within a stated time, with nothing left behind, wherever the signal finds it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ingest.files import remove_unfinished

GRACE_S = 30.0  # for the command to end by itself; as of flows.operations.supervisor
EXIT_CODE = 128 + signal.SIGTERM
_DONE = 0  # no signal has this number
_asked = threading.Event()  # SIGTERM has come


@contextmanager
def ending_on_sigterm(grace: float = GRACE_S) -> Iterator[None]:
    """End the process with `EXIT_CODE` if SIGTERM comes inside the block; main thread only.

    The handler in force raises an exception, as that of Prefect does, and the block ends as after any failure. But the
    exception may be raised anywhere, and so come to nothing: pyogrio drops one that comes while it checks a pointer,
    Prefect fails with another where it has not yet made the task that it would call crashed, and a lock may stay held.
    Hence `require_no_sigterm` raises it again, and after `grace` seconds the process ends without the leave of its
    threads, its unfinished files removed and its children killed.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)  # or it cannot be written to from a signal
    former = signal.set_wakeup_fd(writing.fileno())
    guard = threading.Thread(target=_guard, args=(reading, grace), name="SIGTERM", daemon=True)
    guard.start()
    try:
        yield
    finally:
        writing.send(bytes([_DONE]))
        guard.join()
        if _asked.is_set():
            remove_unfinished()
            sys.exit(EXIT_CODE)  # whatever the block made of it; the threads may still hold up the end
        signal.set_wakeup_fd(former)
        reading.close()
        writing.close()


def require_no_sigterm() -> None:
    """Call the handler of SIGTERM again if the signal has come and its exception was lost."""
    if _asked.is_set():
        signal.raise_signal(signal.SIGTERM)


def _guard(reading: socket.socket, grace: float) -> None:
    """Note SIGTERM, whichever handler is in force and whatever the main thread is waiting for."""
    while True:
        for number in reading.recv(64):
            if number == _DONE:
                return
            if number == signal.SIGTERM and not _asked.is_set():
                _asked.set()
                end = threading.Timer(grace, _end, [grace])
                end.daemon = True
                end.start()


def _end(grace: float) -> None:
    os.write(2, f"slickwatch: not ended {grace:.0f} s after SIGTERM, hence ended by force\n".encode())
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    remove_unfinished()
    os._exit(EXIT_CODE)
