"""Judge a status: what is wrong, and what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flows.operations.deployments import render_deployments
from flows.operations.home import Home
from flows.operations.plan import Plan
from flows.operations.status.records import LATE, LimitStatus, Status


def judge(plan: Plan, status: Status) -> Status:
    """The status with its problems, a line each; none if the services are healthy."""
    return replace(status, problems=tuple(_problems(plan, status)))


def _problems(plan: Plan, status: Status) -> list[str]:
    home = Home(plan.home)
    state = home.state()
    if status.supervisor is None and not status.server_answers:
        return ["not running: run slickwatch up"]
    problems = ["no supervisor keeps server and worker running: run slickwatch up"] if status.supervisor is None else []
    if not status.server_answers:
        return [*problems, f"the server does not answer: see {home.log('server')}"]
    if not status.worker_online:
        problems.append(f"the worker is offline: see {home.log('worker')}")
    problems += [state["problem"]] if state.get("problem") else []
    expected = {one["name"] for one in render_deployments(plan)["deployments"]}
    missing = expected - {one.name for one in status.deployments}
    problems += [f"{name} is not deployed: run slickwatch up" for name in sorted(missing)]
    problems += [f"{one.name} is paused" for one in status.deployments if one.paused]
    problems += [f"{one.of} has no concurrency limit: run slickwatch up" for one in status.limits if _lacks_limit(one)]
    if status.late:
        problems.append(f"{status.late} runs are more than {LATE.seconds // 60} minutes late: all slots are taken")
    began = datetime.fromisoformat(state["began"]) if state.get("began") else None
    return problems + _idle(plan, status.monitored, began)


def _lacks_limit(limit: LimitStatus) -> bool:
    return limit.limit is None and limit.of != "queue default"  # every pool has it, and no deployment uses it here


def _idle(plan: Plan, monitored: datetime | None, began: datetime | None) -> list[str]:
    """No monitoring run has finished for `idle_hours`, counted from the start of the services if that is later."""
    since = max((time for time in (monitored, began) if time is not None), default=None)
    if not plan.idle_hours or since is None or datetime.now(UTC) - since < timedelta(hours=plan.idle_hours):
        return []
    return [f"no monitoring run has finished since {since:%Y-%m-%d %H:%M} UTC"]
