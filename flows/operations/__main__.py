"""The supervisor as a process: `python -m flows.operations PLAN`, where PLAN is what `slickwatch up` has written."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from flows.operations.start_stop import read_plan
from flows.operations.supervisor import supervise
from ingest.errors import SlickwatchError
from ingest.watch import stopping_on_signals


def main() -> None:
    """Supervise until a signal."""
    try:
        with stopping_on_signals(threading.Event()) as stop:
            supervise(read_plan(Path(sys.argv[1])), stop)
    except SlickwatchError as error:
        sys.exit(f"slickwatch: {error}")


if __name__ == "__main__":
    main()
