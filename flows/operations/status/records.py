"""The records that `slickwatch status` prints; times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LATE = timedelta(minutes=15)


@dataclass(frozen=True)
class ProcessStatus:
    """A supervised process."""

    pid: int | None
    restarts: int


@dataclass(frozen=True)
class LimitStatus:
    """A concurrency limit; `active` is None where the server does not count its slots."""

    of: str
    limit: int | None
    active: int | None


@dataclass(frozen=True)
class DeploymentStatus:
    """A deployment and its next run."""

    name: str
    next_run: datetime | None
    paused: bool
    schedules: tuple[str, ...]


@dataclass(frozen=True)
class RunStatus:
    """A flow run."""

    name: str
    deployment: str
    state: str
    started: datetime | None
    seconds: float
    message: str


@dataclass(frozen=True)
class Status:
    """Everything known about the services; without problems they are healthy."""

    url: str
    server_answers: bool = False
    supervisor: int | None = None
    server: ProcessStatus = ProcessStatus(None, 0)
    worker: ProcessStatus = ProcessStatus(None, 0)
    worker_heartbeat: datetime | None = None
    worker_online: bool = False
    deployments: tuple[DeploymentStatus, ...] = ()
    limits: tuple[LimitStatus, ...] = ()
    runs: tuple[RunStatus, ...] = ()
    late: int = 0  # runs that should have started more than `LATE` ago
    monitored: datetime | None = None  # end of the last successful monitoring run
    problems: tuple[str, ...] = ()
