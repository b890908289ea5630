"""A worker for a server managed elsewhere: `PREFECT_API_URL=... python -m flows.operations.external_worker`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from flows.machine import require_services
from flows.operations.deployments import ensure_work_pool, finish_deploy, start_deploy
from flows.operations.home import Home
from flows.operations.plan import Plan, make_plan, service_environment
from flows.operations.prefect_api import Api
from flows.operations.supervisor import worker_command
from flows.settings import Settings
from ingest.errors import SlickwatchError, UsageError


def main() -> None:
    """Deploy according to the settings, then become the worker."""
    try:
        require_services(Settings.read())
        plan = _plan()
        Home(plan.home).create()
        with Api(plan.api_url) as api:
            ensure_work_pool(api, plan)
            finish_deploy(api, plan, start_deploy(plan).wait())
    except SlickwatchError as error:
        sys.exit(f"slickwatch: {error}")
    os.execve(sys.executable, [*worker_command(plan), "--with-healthcheck"], service_environment(plan))


def _plan() -> Plan:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise UsageError("PREFECT_API_URL", "is not set", "set it to the server's URL, such as http://server:4200/api")
    return replace(make_plan(Settings.read()), server=url)


if __name__ == "__main__":
    main()
