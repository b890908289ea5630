"""`slickwatch status`: what is up, what is planned, what has become of the last runs, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flows.operations.deploy import rendered
from flows.operations.home import Home, holder
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api

RUNS = 10
LATE = timedelta(minutes=15)


@dataclass(frozen=True)
class Process:
    """One that is kept alive."""

    pid: int | None
    restarts: int


@dataclass(frozen=True)
class Limit:
    """How many at once; `active` is None where the server does not count them apart."""

    of: str
    limit: int | None
    active: int | None


@dataclass(frozen=True)
class Deployed:
    """A deployment, and when it runs next."""

    name: str
    next_run: datetime | None
    paused: bool
    schedules: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A flow run."""

    name: str
    deployment: str
    state: str
    started: datetime | None
    seconds: float
    message: str


@dataclass(frozen=True)
class Status:
    """What there is to say; times are UTC. All is well where there are no problems."""

    url: str
    server_answers: bool = False
    supervisor: int | None = None
    server: Process = Process(None, 0)
    worker: Process = Process(None, 0)
    worker_heartbeat: datetime | None = None
    worker_online: bool = False
    deployments: tuple[Deployed, ...] = ()
    limits: tuple[Limit, ...] = ()
    runs: tuple[Run, ...] = ()
    late: int = 0
    monitored: datetime | None = None  # the end of the last finished monitoring
    problems: tuple[str, ...] = field(default=())


def status(plan: Plan) -> Status:
    """Look at everything once; raises `SourceError` where the server stops answering meanwhile."""
    home = Home(plan.home)
    said = home.state()
    around: dict[str, Any] = {
        "url": plan.api_url,
        "supervisor": holder(home.lock("supervisor")),
        "server": Process(holder(home.lock("server")), said.get("server_restarts", 0)),
        "worker": Process(holder(home.lock("worker")), said.get("worker_restarts", 0)),
    }
    with Api(plan.api_url, timeout=10.0) as api:
        if api.is_up():
            around |= {"server_answers": True} | _asked(api, plan)
    found = Status(**around)
    began = _time(said.get("began"))
    return Status(**around | {"problems": tuple(_problems(plan, found, said.get("problem"), began))})


def _asked(api: Api, plan: Plan) -> dict[str, Any]:
    pool = api.get(f"/work_pools/{plan.work_pool}")
    if pool is None:
        return {}
    workers = api.post(f"/work_pools/{plan.work_pool}/workers/filter")
    mine = next((worker for worker in workers if worker["name"] == plan.worker_name), None)
    pools = {"name": {"any_": [plan.work_pool]}}
    deployments = sorted(api.post("/deployments/filter", work_pools=pools), key=lambda one: str(one["name"]))
    names = {one["id"]: one["name"] for one in deployments}
    ended = {"state": {"type": {"any_": ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
    last = api.post("/flow_runs/filter", work_pools=pools, flow_runs=ended, sort="START_TIME_DESC", limit=RUNS)
    before = (datetime.now(UTC) - LATE).isoformat()
    waiting = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": {"before_": before}}
    return {
        "worker_heartbeat": _time(mine and mine["last_heartbeat_time"]),
        "worker_online": bool(mine and mine["status"] == "ONLINE"),
        "deployments": tuple(_deployed(api, one) for one in deployments),
        "limits": tuple(_limits(api, pool, deployments)),
        "runs": tuple(_run(run, names) for run in last),
        "late": api.post("/flow_runs/count", work_pools=pools, flow_runs=waiting),
        "monitored": _monitored(api, pools),
    }


def _deployed(api: Api, deployment: dict[str, Any]) -> Deployed:
    planned = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    one = {"id": {"any_": [deployment["id"]]}}
    sort = "NEXT_SCHEDULED_START_TIME_ASC"
    runs = api.post("/flow_runs/filter", deployments=one, flow_runs=planned, sort=sort, limit=1)
    schedules = tuple(
        f"{schedule['slug']}: {schedule['schedule'].get('cron')}"
        for schedule in deployment["schedules"]
        if schedule["active"]
    )
    next_run = _time(runs[0]["next_scheduled_start_time"]) if runs else None
    return Deployed(deployment["name"], next_run, deployment["paused"], schedules)


def _limits(api: Api, pool: dict[str, Any], deployments: list[dict[str, Any]]) -> list[Limit]:
    limits = [Limit(f"work pool {pool['name']}", pool["concurrency_limit"], None)]
    queues = api.post(f"/work_pools/{pool['name']}/queues/filter")
    limits += [Limit(f"queue {queue['name']}", queue["concurrency_limit"], None) for queue in queues]
    for deployment in deployments:
        limit = deployment.get("global_concurrency_limit") or {}
        limits.append(Limit(deployment["name"], limit.get("limit"), limit.get("active_slots")))
    return limits


def _run(run: dict[str, Any], names: dict[str, str]) -> Run:
    deployment, message = names.get(run["deployment_id"], ""), run["state"]["message"] or ""
    started, seconds = _time(run["start_time"]), round(run["total_run_time"], 1)
    return Run(run["name"], deployment, run["state"]["name"], started, seconds, message)


def _monitored(api: Api, pools: dict[str, Any]) -> datetime | None:
    finished = {"state": {"type": {"any_": ["COMPLETED"]}}}
    monitor = {"name": {"any_": ["monitor"]}}
    runs = api.post(
        "/flow_runs/filter", work_pools=pools, deployments=monitor, flow_runs=finished, sort="END_TIME_DESC", limit=1
    )
    return _time(runs[0]["end_time"]) if runs else None


def _problems(plan: Plan, found: Status, said: str | None, began: datetime | None) -> list[str]:
    if found.supervisor is None and not found.server_answers:
        return ["it is down: slickwatch up"]
    problems = ["nothing keeps server and worker alive: slickwatch up"] if found.supervisor is None else []
    if not found.server_answers:
        return [*problems, f"the server does not answer: {Home(plan.home).log('server')}"]
    if not found.worker_online:
        problems.append(f"the worker is not online: {Home(plan.home).log('worker')}")
    problems += [said] if said else []
    wanted, there = {one["name"] for one in rendered(plan)["deployments"]}, {one.name for one in found.deployments}
    problems += [f"{name} is not deployed: slickwatch up" for name in sorted(wanted - there)]
    problems += [f"{one.name} is paused" for one in found.deployments if one.paused]
    problems += [f"{one.of} has no limit: slickwatch up" for one in found.limits if _lacks_limit(one)]
    if found.late:
        problems.append(f"{found.late} runs are late by over {LATE.seconds // 60} minutes: all slots are taken")
    return problems + _silence(plan, found, began)


def _lacks_limit(limit: Limit) -> bool:
    return limit.limit is None and limit.of != "queue default"  # which each pool has, and no deployment here uses


def _silence(plan: Plan, found: Status, began: datetime | None) -> list[str]:
    """No finished monitoring for as long as the settings allow, counted from the start where that came later."""
    since = max((time for time in (found.monitored, began) if time is not None), default=None)
    if not plan.idle_hours or since is None or datetime.now(UTC) - since < timedelta(hours=plan.idle_hours):
        return []
    return [f"no monitoring has finished since {since:%Y-%m-%d %H:%M} UTC"]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
