"""What runs on this machine: the settings, as far as server, worker and schedules are concerned."""

from __future__ import annotations

import hashlib
import ipaddress
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import UsageError

if TYPE_CHECKING:
    from flows.settings import Settings

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Plan:
    """Places are absolute; a cron is five fields in `timezone`; `areas` are the (name, cron) of watched areas."""

    home: Path
    folder: Path  # that flow runs work in
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
    idle_hours: float  # without a finished monitoring, which is silence; 0: never
    server: str | None = None  # the address of one that something else runs

    @property
    def address(self) -> str:
        """Host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def api_url(self) -> str:
        """The address of Prefect's API."""
        return self.server or f"http://{self.address}/api"

    @property
    def worker_name(self) -> str:
        """The same after each start, so that the server does not collect names of former workers."""
        return f"{self.work_pool}-{platform.node() or 'here'}"

    @property
    def deployed_as(self) -> str:
        """A fingerprint of all that a deployment depends on."""
        content = self.deployments.read_bytes()
        return hashlib.sha256(content + repr(sorted(asdict(self).items())).encode()).hexdigest()


def plan(settings: Settings, deployments: Path | None = None) -> Plan:
    """Make the plan out of settings; raises `UsageError` for a host beyond loopback."""
    prefect, monitor, config = settings.prefect, settings.monitor, settings.file
    if not _is_loopback(prefect.host):
        remedy = "set 127.0.0.1; for other machines put a proxy with a password before it, docs/operator/operations.md"
        raise UsageError(config or "prefect.host", f"host {prefect.host} is seen by others, and asks nobody", remedy)
    return Plan(
        home=prefect.home.absolute(),
        folder=config.absolute().parent if config else Path.cwd(),
        config=config.absolute() if config else None,
        deployments=(deployments or _deployments_file()).absolute(),
        host=prefect.host,
        port=prefect.port,
        database=prefect.database,
        work_pool=prefect.work_pool,
        worker_limit=prefect.worker_limit,
        timezone=prefect.timezone,
        areas=tuple((watch.name, watch.cron or monitor.cron) for watch in settings.watch),
        monitor_cron=monitor.cron,
        retraining_cron=settings.retraining.cron,
        parallel=monitor.parallel,
        idle_hours=settings.alerts.idle_hours,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _deployments_file() -> Path:
    """That of the checkout, else the copy that a built package carries."""
    candidates = (_ROOT / "prefect.yaml", Path(__file__).with_name("prefect.yaml"))
    for path in candidates:
        if path.is_file():
            return path
    raise UsageError(candidates[0], "no such file", "run in a checkout of Slickwatch, or give --deployments FILE")
