"""The log of the current Prefect run."""

from __future__ import annotations

import logging

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

_OUTSIDE = logging.getLogger("slickwatch")


def write_to_run_log(line: str) -> None:
    """Log a line with the run of the flow or task that this is called in; outside of one, with the program's own."""
    try:
        get_run_logger().info(line)
    except MissingContextError:
        _OUTSIDE.info(line)
