"""Environment variables of server, worker and flow runs: loopback only, no telemetry, one home folder."""

from __future__ import annotations

import os
import sys

from flows.operations.home import Home
from flows.operations.plan import Plan


def service_environment(plan: Plan) -> dict[str, str]:
    """The environment of every service: the caller's, with the variables that must have a certain value."""
    home = plan.home
    bin_folder = os.path.dirname(sys.executable)
    database = plan.database or f"sqlite+aiosqlite:///{home / 'prefect.db'}"
    return _DEFAULTS | os.environ | {
        "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", os.defpath)]),
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": plan.api_url,
        "PREFECT_SERVER_API_HOST": plan.host,
        "PREFECT_SERVER_API_PORT": str(plan.port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        # Prefect copies its web pages here; by default into the installed package, which may be read-only.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        # The default keeps slots in memory: one taken when the server dies would never be released.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "SLICKWATCH_HOME": str(home),
        "SLICKWATCH_RUN_LOG": str(Home(home).log("runs")),
    }  # fmt: skip


_DEFAULTS = {
    # Waits of 2, 4, 8 ... s: restarting the server may take a minute on a busy machine.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "15",
    "PYTHONUNBUFFERED": "1",
}
