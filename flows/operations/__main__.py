"""The supervisor process: `python -m flows.operations PLAN`, with the plan file written by `slickwatch up`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from flows.operations.plan import read_plan
from flows.operations.supervisor import supervise
from ingest.errors import SlickwatchError
from ingest.watch import stopping_on_signals


def main() -> None:
    """Supervise until SIGTERM or SIGINT."""
    try:
        with stopping_on_signals(threading.Event()) as stop:
            supervise(read_plan(Path(sys.argv[1])), stop)
    except SlickwatchError as error:
        sys.exit(f"slickwatch: {error}")


if __name__ == "__main__":
    main()
