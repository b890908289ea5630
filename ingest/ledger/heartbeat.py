"""Renewing the lease of a worker that is still alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingest.errors import SlickwatchError
from ingest.ledger.ledger import Ledger
from ingest.ledger.records import Claim, LeaseLost


@contextmanager
def keep_lease(ledger: Ledger, claim: Claim, longest_s: float = float("inf")) -> Iterator[Callable[[], None]]:
    """Renew a claim every third of its lease while the block runs, for `longest_s` seconds at most: a worker that
    hangs loses its scene to another.

    Call the value between steps of long work: it raises `LeaseLost` once another worker has the scene. An unreachable
    database is tried again; a lease that expires meanwhile may be lost.
    """
    done, lost = threading.Event(), threading.Event()
    end = time.monotonic() + longest_s

    def beat() -> None:
        while not done.wait(claim.lease_s / 3) and time.monotonic() < end:
            try:
                ledger.renew(claim)
            except LeaseLost:
                lost.set()
                return
            except SlickwatchError:
                continue

    def check() -> None:
        if lost.is_set():
            raise LeaseLost(claim)

    thread = threading.Thread(target=beat, name=f"lease on {claim.scene.id}", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        done.set()
        thread.join()
