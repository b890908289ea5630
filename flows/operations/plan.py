"""The part of the settings that server, worker and schedules depend on, and the environment they run in."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from flows.operations.home import Home
from flows.settings import Settings
from ingest.errors import UsageError
from ingest.files import write_json
from ingest.proxies import without_proxy
from ingest.sources.http import is_loopback

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Plan:
    """Paths are absolute; crons have five fields, in `timezone`; `areas` holds (name, cron) of each `[[watch]]`."""

    home: Path
    folder: Path  # working folder of flow runs
    config: Path | None
    deployments: Path  # a file like prefect.yaml
    host: str
    port: int
    database: str | None
    work_pool: str
    worker_limit: int
    timezone: str
    areas: tuple[tuple[str, str], ...]
    monitor_cron: str
    retraining_cron: str
    parallel: int
    idle_hours: float  # without a finished monitoring run before it is reported; 0: never
    server: str | None = None  # URL of a server managed elsewhere
    settings: Mapping[str, str] = field(default_factory=dict)  # hash of every value by key
    variables: tuple[str, ...] = ()  # keys that environment variables set
    service: str | None = None  # host:port of `slickwatch serve`, where it runs too

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return _address(self.host, self.port)

    @property
    def api_url(self) -> str:
        """URL of Prefect's API."""
        return self.server or f"http://{self.address}/api"

    @property
    def worker_name(self) -> str:
        """The same at each start, so that old workers do not pile up on the server."""
        return f"{self.work_pool}-{platform.node() or 'here'}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the deployments depend on."""
        content = self.deployments.read_bytes()
        return hashlib.sha256(content + repr(sorted(asdict(self).items())).encode()).hexdigest()


def make_plan(settings: Settings, deployments: Path | None = None) -> Plan:
    """Make the plan from the settings; raises `UsageError` for a host other than loopback."""
    prefect, monitor, service, config = settings.prefect, settings.monitor, settings.service, settings.file
    if not is_loopback(prefect.host):
        problem = f"host {prefect.host} is reachable from other machines without a password"
        remedy = "set 127.0.0.1; for remote access use a reverse proxy with a password, docs/operator/operations.md"
        raise UsageError(config or "prefect.host", problem, remedy)
    return Plan(
        home=prefect.home.absolute(),
        folder=config.absolute().parent if config else Path.cwd(),
        config=config.absolute() if config else None,
        deployments=(deployments or _deployments_file()).absolute(),
        **prefect.model_dump(exclude={"home"}),
        areas=tuple((watch.name, watch.cron or monitor.cron) for watch in settings.watch),
        monitor_cron=monitor.cron,
        retraining_cron=settings.retraining.cron,
        parallel=monitor.parallel,
        idle_hours=settings.alerts.idle_hours,
        settings=settings.digests(),
        variables=settings.from_variables(),
        service=_address(service.host, service.port) if service.enabled else None,
    )


def changed_settings(before: Plan, now: Plan) -> tuple[str, ...]:
    """The keys whose values differ, sorted; none where a plan of an older Slickwatch does not have them."""
    if not before.settings:
        return ()
    keys = before.settings.keys() | now.settings.keys()
    return tuple(sorted(key for key in keys if before.settings.get(key) != now.settings.get(key)))


def write_plan(plan: Plan) -> Path:
    """Save the plan for the supervisor; passwords are in the environment only."""
    file = Home(plan.home).plan_file
    write_json(file, _PLAN.dump_python(plan, mode="json"))
    return file


def read_plan(file: Path) -> Plan:
    """Read a plan saved by `write_plan`; raises `UsageError` if there is none."""
    try:
        return _PLAN.validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(file, f"not a valid plan ({error})", "run slickwatch up") from error


def with_running_deployments(plan: Plan) -> Plan:
    """The plan with the deployments file that the running services were started with, if there are any."""
    file = Home(plan.home).plan_file
    return replace(plan, deployments=read_plan(file).deployments) if file.is_file() else plan


_PLAN = TypeAdapter(Plan)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _deployments_file() -> Path:
    """prefect.yaml of the checkout, else the copy in the installed package."""
    candidates = (_ROOT / "prefect.yaml", Path(__file__).with_name("prefect.yaml"))
    for path in candidates:
        if path.is_file():
            return path
    raise UsageError(candidates[0], "no such file", "run from a Slickwatch checkout, or give --deployments FILE")


def service_environment(plan: Plan) -> dict[str, str]:
    """The environment of every service: the caller's, with the variables that must have a certain value."""
    home = plan.home
    bin_folder = os.path.dirname(sys.executable)
    database = plan.database or f"sqlite+aiosqlite:///{(home / 'prefect.db').as_uri()}?uri=true"
    return _DEFAULTS | os.environ | without_proxy(plan.host) | {
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
    # Prefect gives up on its database after 5 and 10 s, too early where the disk and the processors are busy.
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "15",
    "PYTHONUNBUFFERED": "1",
}
