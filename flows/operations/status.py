"""The status of processes, deployments, limits and runs: collected, judged and printed by `slickwatch status`."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.operations.deployments import render_deployments
from flows.operations.home import Home
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api
from flows.operations.processes import holder
from ingest.errors import SourceError
from ingest.ledger.records import SceneRecord

LATE = timedelta(minutes=15)
RUNS = 10  # the most recent ones
FAILURES_SINCE = timedelta(days=1)
ENDED = 200  # runs looked through for failures, the most a server gives at once
_RAISED = "Flow run encountered an exception: "


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
    service: ProcessStatus = ProcessStatus(None, 0)
    service_url: str | None = None  # None where the settings do not ask for it
    worker_heartbeat: datetime | None = None
    worker_online: bool = False
    deployments: tuple[DeploymentStatus, ...] = ()
    limits: tuple[LimitStatus, ...] = ()
    runs: tuple[RunStatus, ...] = ()
    failures: tuple[RunStatus, ...] = ()  # of the last day, without a later success of the same
    late: int = 0  # runs that should have started more than `LATE` ago
    monitored: datetime | None = None  # end of the last successful monitoring run
    passed_over: tuple[str, ...] = ()  # products in inboxes that lie outside the area of a watch
    problems: tuple[str, ...] = ()


def collect_status(plan: Plan) -> Status:
    """Query locks and API once; a server that stops answering meanwhile does not answer."""
    home = Home(plan.home)
    state = home.state()
    processes: dict[str, Any] = {
        "supervisor": holder(home.lock("supervisor")),
        "server": ProcessStatus(holder(home.lock("server")), state.get("server_restarts", 0)),
        "worker": ProcessStatus(holder(home.lock("worker")), state.get("worker_restarts", 0)),
        "service": ProcessStatus(holder(home.lock("service")), state.get("service_restarts", 0)),
        "service_url": plan.service and f"http://{plan.service}",
    }
    with Api(plan.api_url, timeout=10.0) as api:
        if not api.is_up():
            return Status(plan.api_url, **processes)
        try:
            return Status(plan.api_url, server_answers=True, **processes, **_server_status(api, plan))
        except SourceError:
            return Status(plan.api_url, **processes)


def _server_status(api: Api, plan: Plan) -> dict[str, Any]:
    pool = api.get(f"/work_pools/{plan.work_pool}")
    if pool is None:
        return {}
    workers = api.post(f"/work_pools/{plan.work_pool}/workers/filter")
    worker = next((one for one in workers if one["name"] == plan.worker_name), None)
    pools = {"name": {"any_": [plan.work_pool]}}
    deployments = sorted(api.post("/deployments/filter", work_pools=pools), key=lambda one: str(one["name"]))
    before = (datetime.now(UTC) - LATE).isoformat()
    late = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": {"before_": before}}
    return {
        "worker_heartbeat": _utc(worker and worker["last_heartbeat_time"]),
        "worker_online": bool(worker and worker["status"] == "ONLINE"),
        "deployments": tuple(_deployment(api, one) for one in deployments),
        "limits": tuple(_limits(api, pool, deployments)),
        "runs": tuple(_recent_runs(api, pools, deployments)),
        "failures": tuple(_failures(api, pools, deployments)),
        "late": api.post("/flow_runs/count", work_pools=pools, flow_runs=late),
        "monitored": _last_monitoring(api, pools),
    }


def _deployment(api: Api, deployment: dict[str, Any]) -> DeploymentStatus:
    scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    selected = {"id": {"any_": [deployment["id"]]}}
    sort = "NEXT_SCHEDULED_START_TIME_ASC"
    runs = api.post("/flow_runs/filter", deployments=selected, flow_runs=scheduled, sort=sort, limit=1)
    schedules = tuple(
        f"{schedule['slug']}: {schedule['schedule'].get('cron')}"
        for schedule in deployment["schedules"]
        if schedule["active"]
    )
    next_run = _utc(runs[0]["next_scheduled_start_time"]) if runs else None
    return DeploymentStatus(deployment["name"], next_run, deployment["paused"], schedules)


def _limits(api: Api, pool: dict[str, Any], deployments: list[dict[str, Any]]) -> list[LimitStatus]:
    limits = [LimitStatus(f"work pool {pool['name']}", pool["concurrency_limit"], None)]
    queues = api.post(f"/work_pools/{pool['name']}/queues/filter")
    limits += [LimitStatus(f"queue {queue['name']}", queue["concurrency_limit"], None) for queue in queues]
    for deployment in deployments:
        limit = deployment.get("global_concurrency_limit") or {}
        limits.append(LimitStatus(deployment["name"], limit.get("limit"), limit.get("active_slots")))
    return limits


def _recent_runs(api: Api, pools: dict[str, Any], deployments: list[dict[str, Any]]) -> list[RunStatus]:
    names = {one["id"]: one["name"] for one in deployments}
    started = {"state": {"type": {"any_": ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
    runs = api.post("/flow_runs/filter", work_pools=pools, flow_runs=started, sort="START_TIME_DESC", limit=RUNS)
    return [_run(run, names) for run in runs]


def _run(run: dict[str, Any], names: dict[str, str]) -> RunStatus:
    message = " ".join((run["state"]["message"] or "").split()).removeprefix(_RAISED)
    return RunStatus(
        run["name"],
        names.get(run["deployment_id"], ""),
        run["state"]["name"],
        _utc(run["start_time"]),
        round(run["total_run_time"], 1),
        message[:300],
    )


def _failures(api: Api, pools: dict[str, Any], deployments: list[dict[str, Any]]) -> list[RunStatus]:
    """Runs that failed or crashed in the last day, unless the same has been done successfully since."""
    names = {one["id"]: one["name"] for one in deployments}
    ended = {
        "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
        "end_time": {"after_": (datetime.now(UTC) - FAILURES_SINCE).isoformat()},
    }
    found: dict[tuple[Any, ...], RunStatus] = {}
    done: set[tuple[Any, ...]] = set()
    for run in api.post("/flow_runs/filter", work_pools=pools, flow_runs=ended, sort="END_TIME_DESC", limit=ENDED):
        same = run["deployment_id"], run["parameters"].get("scene"), run["parameters"].get("watch")
        if run["state"]["type"] == "COMPLETED":
            done.add(same)
        elif same not in done:
            found.setdefault(same, _run(run, names))
    return list(found.values())


def _last_monitoring(api: Api, pools: dict[str, Any]) -> datetime | None:
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
    monitor = {"name": {"any_": ["monitor"]}}
    runs = api.post(
        "/flow_runs/filter", work_pools=pools, deployments=monitor, flow_runs=completed, sort="END_TIME_DESC", limit=1
    )
    return _utc(runs[0]["end_time"]) if runs else None


def _utc(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def judge(plan: Plan, status: Status) -> Status:
    """The status with its problems, a line each; none if the services are healthy."""
    return replace(status, problems=tuple(_problems(plan, status)))


def _problems(plan: Plan, status: Status) -> list[str]:
    home = Home(plan.home)
    state = home.state()
    if status.supervisor is None and not status.server_answers:
        return ["not running: run slickwatch up"]
    problems = ["no supervisor keeps server and worker running: run slickwatch up"] if status.supervisor is None else []
    if status.service_url is not None and status.service.pid is None:
        problems.append(f"the service on {status.service_url} is not running: see {home.log('service')}")
    if not status.server_answers:
        return [*problems, f"the server does not answer: see {home.log('server')}"]
    if not status.worker_online:
        problems.append(f"the worker is offline: see {home.log('worker')}")
    problems += [state["problem"]] if state.get("problem") else []
    expected = {one["name"] for one in render_deployments(plan)["deployments"]}
    missing = expected - {one.name for one in status.deployments}
    problems += [f"{name} is not deployed: run slickwatch up" for name in sorted(missing)]
    problems += [f"{one.name} is paused" for one in status.deployments if one.paused]
    # Every pool has the queue `default`, which no deployment uses here.
    without = [one.of for one in status.limits if one.limit is None and one.of != "queue default"]
    problems += [f"{name} has no concurrency limit: run slickwatch up" for name in without]
    if status.late:
        problems.append(f"{status.late} runs are more than {LATE.seconds // 60} minutes late: all slots are taken")
    problems += [f"{one.deployment}: run {one.name} {one.state.lower()}: {one.message}" for one in status.failures]
    began = datetime.fromisoformat(state["began"]) if state.get("began") else None
    return problems + _idle(plan, status.monitored, began)


def held_by_the_dead(records: Iterable[SceneRecord]) -> tuple[str, ...]:
    """The scenes of which a worker is dead, a line each: its lease has ended, or its process on this machine."""
    return tuple(
        f"{record.id}: held by a dead process, {record.claimed_by}, until {_time(record.claimed_until)}"
        for record in records
        if record.claimed_by is not None and _is_dead(record)
    )


def _is_dead(record: SceneRecord) -> bool:
    host, pid, *_ = [*str(record.claimed_by).split(":"), ""]
    if record.claimed_until is not None and record.claimed_until < datetime.now(UTC):
        return True
    return host == socket.gethostname() and pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc").exists()


def _idle(plan: Plan, monitored: datetime | None, began: datetime | None) -> list[str]:
    """No monitoring run has finished for `idle_hours`, counted from the start of the services if that is later."""
    since = max((time for time in (monitored, began) if time is not None), default=None)
    if not plan.idle_hours or since is None or datetime.now(UTC) - since < timedelta(hours=plan.idle_hours):
        return []
    return [f"no monitoring run has finished since {since:%Y-%m-%d %H:%M} UTC"]


def status_json(status: Status) -> str:
    """The fields of the status, and `well`: whether there are no problems."""
    content = dataclasses.asdict(status) | {"well": not status.problems}
    return json.dumps(content, default=lambda time: time.isoformat(), indent=1)


def status_lines(status: Status) -> list[str]:
    """Server, worker, deployments, limits, runs and problems, a line each."""
    answers = "answers" if status.server_answers else "does not answer"
    online = "online" if status.worker_online else "offline"
    return [
        f"server      {status.url.removesuffix('/api')} {answers}, {_process_line(status.server)}",
        f"worker      {online}, heartbeat {_time(status.worker_heartbeat)}, {_process_line(status.worker)}",
        *([f"service     {status.service_url}, {_process_line(status.service)}"] if status.service_url else []),
        *[_deployment_line(one) for one in status.deployments],
        *[_limit_line(one) for one in status.limits],
        *[_run_line(one) for one in status.runs],
        f"monitored   {_time(status.monitored)}",
        *[f"passed over {line}" for line in status.passed_over],
        *([f"problem     {problem}" for problem in status.problems] or ["all is well"]),
    ]


def _deployment_line(one: DeploymentStatus) -> str:
    next_run = "paused" if one.paused else f"next {_time(one.next_run)}"
    return f"deployment  {one.name:<20} {next_run:<28} {'; '.join(one.schedules)}"


def _limit_line(one: LimitStatus) -> str:
    active = "" if one.active is None else f", {one.active} in use"
    return f"limit       {one.of:<20} {'none' if one.limit is None else one.limit}{active}"


def _run_line(one: RunStatus) -> str:
    return f"run         {one.deployment:<20} {one.state:<12} {_time(one.started)} {one.seconds:8.1f} s  {one.name}"


def _process_line(process: ProcessStatus) -> str:
    if process.pid is None:
        return "not started by slickwatch up"
    return f"process {process.pid}" + (f", restarted {process.restarts} times" if process.restarts else "")


def _time(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M:%S} UTC"
