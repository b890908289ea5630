"""The process of one flow run: on record while it lives, with an output that outlives the worker.

Only the standard library: this stands before each run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.operations.home import Home, take


def main() -> None:
    """Become Prefect's engine. A worker that dies takes neither the run's process nor its output with it."""
    home = Home(Path(os.environ["SLICKWATCH_HOME"]))
    run = os.environ["PREFECT__FLOW_RUN_ID"]
    if os.getpid() != os.getpgrp():
        os.setsid()  # so that all its processes can be ended with it, and nobody else's
    lock = take(home.runs / run)
    if lock is None:
        sys.exit(f"flow run {run} has a process already")
    os.set_inheritable(lock, True)
    log = os.open(home.log("runs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for output in (1, 2):
        os.dup2(log, output)
    os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])


if __name__ == "__main__":
    main()
