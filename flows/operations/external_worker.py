"""A worker for a server that something else runs: `PREFECT_API_URL=... python -m flows.operations.external_worker`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from flows.operations.deploy import begin_deploying, ensure_limits, finish_deploying
from flows.operations.environment import environment
from flows.operations.home import Home
from flows.operations.plan import Plan, plan
from flows.operations.prefect_api import Api
from flows.operations.supervisor import worker_command
from flows.settings import Settings
from ingest.errors import SlickwatchError, UsageError


def main() -> None:
    """Deploy by the settings, then become the worker."""
    try:
        joined = _plan()
        Home(joined.home).make()
        with Api(joined.api_url) as api:
            ensure_limits(api, joined)
            finish_deploying(api, joined, begin_deploying(joined).wait())
    except SlickwatchError as error:
        sys.exit(f"slickwatch: {error}")
    os.execve(sys.executable, [*worker_command(joined), "--with-healthcheck"], environment(joined))


def _plan() -> Plan:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise UsageError("PREFECT_API_URL", "is not set", "set it to the server's, such as http://server:4200/api")
    return replace(plan(Settings.read()), server=url)


if __name__ == "__main__":
    main()
