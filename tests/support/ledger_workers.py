"""Worker processes for the tests of the ledger: ``python -m tests.support.ledger_workers drain|hold URL OWNER``."""

from __future__ import annotations

import sys
import threading

from ingest.ledger.ledger import Ledger, keep_lease


def drain(url: str, owner: str) -> None:
    """Open the ledger, wait for a word, then fetch all there is and say what was claimed."""
    with Ledger.open(url) as ledger:
        print("open", flush=True)
        sys.stdin.readline()
        while claims := ledger.claim("fetch", owner, 60, limit=5):
            for claim in claims:
                print(owner, claim.scene.id, flush=True)
                ledger.fetched(claim, f"/data/{claim.scene.id}.zip", 1, None)


def hold(url: str, owner: str) -> None:
    """Claim one scene, say so, and keep it for ever."""
    with Ledger.open(url) as ledger:
        (claim,) = ledger.claim("fetch", owner, 4.0)
        with keep_lease(ledger, claim):
            print(claim.scene.id, flush=True)
            threading.Event().wait()


if __name__ == "__main__":
    {"drain": drain, "hold": hold}[sys.argv[1]](*sys.argv[2:])
