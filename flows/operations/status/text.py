"""A status as lines of text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime

from flows.operations.status.records import DeploymentStatus, LimitStatus, ProcessStatus, RunStatus, Status


def status_json(status: Status) -> str:
    """The fields of the status, and `well`: whether there are no problems."""
    content = dataclasses.asdict(status) | {"well": not status.problems}
    return json.dumps(content, default=lambda time: time.isoformat(), indent=1)


def status_lines(status: Status) -> list[str]:
    """Server, worker, deployments, limits, runs and problems, a line each."""
    answers = "answers" if status.server_answers else "does not answer"
    online = "online" if status.worker_online else "offline"
    return [
        f"server      {status.url.removesuffix('/api')} {answers}, {_process(status.server)}",
        f"worker      {online}, heartbeat {_time(status.worker_heartbeat)}, {_process(status.worker)}",
        *[_deployment(one) for one in status.deployments],
        *[_limit(one) for one in status.limits],
        *[_run(one) for one in status.runs],
        f"monitored   {_time(status.monitored)}",
        *([f"problem     {problem}" for problem in status.problems] or ["all is well"]),
    ]


def _deployment(one: DeploymentStatus) -> str:
    next_run = "paused" if one.paused else f"next {_time(one.next_run)}"
    return f"deployment  {one.name:<20} {next_run:<28} {'; '.join(one.schedules)}"


def _limit(one: LimitStatus) -> str:
    active = "" if one.active is None else f", {one.active} in use"
    return f"limit       {one.of:<20} {'none' if one.limit is None else one.limit}{active}"


def _run(one: RunStatus) -> str:
    return f"run         {one.deployment:<20} {one.state:<12} {_time(one.started)} {one.seconds:8.1f} s  {one.name}"


def _process(process: ProcessStatus) -> str:
    if process.pid is None:
        return "not started by slickwatch up"
    return f"process {process.pid}" + (f", restarted {process.restarts} times" if process.restarts else "")


def _time(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"
