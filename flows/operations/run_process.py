"""The process of one flow run: it holds a lock while it lives, and its output does not depend on the worker.

Only the standard library: this runs before each flow run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.operations.home import Home
from flows.operations.processes import acquire


def main() -> None:
    """Become Prefect's engine, in its own session so that a worker that dies does not take the run with it."""
    home = Home(Path(os.environ["SLICKWATCH_HOME"]))
    run = os.environ["PREFECT__FLOW_RUN_ID"]
    if os.getpid() != os.getpgrp():
        os.setsid()  # so that the run can be killed with all its children, and nothing else
    lock = acquire(home.runs / run)
    if lock is None:
        sys.exit(f"flow run {run} is already running in another process")
    os.set_inheritable(lock, True)
    log = os.open(home.log("runs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for output in (1, 2):
        os.dup2(log, output)
    os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])


if __name__ == "__main__":
    main()
