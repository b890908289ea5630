"""Collect the state of processes, deployments, limits and runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flows.operations.home import Home
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api
from flows.operations.process_locks import holder
from flows.operations.status.records import LATE, DeploymentStatus, LimitStatus, ProcessStatus, RunStatus, Status

RUNS = 10  # the most recent ones


def collect_status(plan: Plan) -> Status:
    """Query locks and API once; raises `SourceError` if the server stops answering meanwhile."""
    home = Home(plan.home)
    state = home.state()
    processes: dict[str, Any] = {
        "supervisor": holder(home.lock("supervisor")),
        "server": ProcessStatus(holder(home.lock("server")), state.get("server_restarts", 0)),
        "worker": ProcessStatus(holder(home.lock("worker")), state.get("worker_restarts", 0)),
    }
    with Api(plan.api_url, timeout=10.0) as api:
        if not api.is_up():
            return Status(plan.api_url, **processes)
        return Status(plan.api_url, server_answers=True, **processes, **_server_status(api, plan))


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
    return [
        RunStatus(
            run["name"],
            names.get(run["deployment_id"], ""),
            run["state"]["name"],
            _utc(run["start_time"]),
            round(run["total_run_time"], 1),
            run["state"]["message"] or "",
        )
        for run in runs
    ]


def _last_monitoring(api: Api, pools: dict[str, Any]) -> datetime | None:
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}}
    monitor = {"name": {"any_": ["monitor"]}}
    runs = api.post(
        "/flow_runs/filter", work_pools=pools, deployments=monitor, flow_runs=completed, sort="END_TIME_DESC", limit=1
    )
    return _utc(runs[0]["end_time"]) if runs else None


def _utc(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
