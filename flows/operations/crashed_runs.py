"""Flow runs whose process was ended: Prefect would show them as crashed, or as running forever."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from flows.operations.home import Home
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api
from flows.operations.processes import is_held

ATTEMPTS = 3
PENDING_LIMIT = timedelta(minutes=5)  # a run pending for longer was taken by a worker that died


class CrashedRuns:
    """Reschedules runs whose process was killed, alone or with the machine, or was stopped by `slickwatch down`."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._home = plan, Home(plan.home)
        self._dead_before: set[Path] = set()

    def reschedule(self, api: Api) -> int:
        """Check all runs once; returns the number of rescheduled ones.

        A run must be dead in two checks: a live worker reports its dead runs itself, a little later.
        """
        dead = {file for file in self._home.runs.iterdir() if not is_held(file)}
        rescheduled = sum(self._reschedule_dead(api, file) for file in dead & self._dead_before)
        self._dead_before = dead
        return rescheduled + sum(self._reschedule_run(api, run) for run in self._pending_too_long(api))

    def _reschedule_dead(self, api: Api, file: Path) -> bool:
        run = api.get(f"/flow_runs/{UUID(file.name)}")
        rescheduled = False
        if run is not None and run["state"] is not None:
            _crash_children(api, run)
            kind = run["state"]["type"]
            if kind == "CANCELLING":
                _set_state(api, run, "CANCELLED", "The process had already exited.")
            if kind in {"RUNNING", "PENDING", "CRASHED"}:
                rescheduled = self._reschedule_run(api, run)
        with suppress(FileNotFoundError):
            file.unlink()
        return rescheduled

    def _pending_too_long(self, api: Api) -> list[dict[str, Any]]:
        """Runs without a file: taken by a worker that died before it started their process."""
        pending: list[dict[str, Any]] = api.post(
            "/flow_runs/filter",
            work_pools={"name": {"any_": [self._plan.work_pool]}},
            flow_runs={"state": {"type": {"any_": ["PENDING"]}}},
        )
        before = datetime.now(UTC) - PENDING_LIMIT
        return [
            run
            for run in pending
            if datetime.fromisoformat(run["state"]["timestamp"]) < before and not (self._home.runs / run["id"]).exists()
        ]

    def _reschedule_run(self, api: Api, run: dict[str, Any]) -> bool:
        """Set the run to crashed, which releases its slots and triggers alerts, then schedule it again."""
        if run["state"]["type"] != "CRASHED":
            _set_state(api, run, "CRASHED", "The process exited without reporting a result.")
        if run["run_count"] >= ATTEMPTS or run["deployment_id"] is None:
            return False
        _set_state(api, run, "SCHEDULED", "The process exited; the run starts again.", force=True)
        return True


def _crash_children(api: Api, run: dict[str, Any]) -> None:
    """Runs of flows that a flow called lived in its process."""
    alive = {"parent_flow_run_id": {"any_": [run["id"]]}, "state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    for child in api.post("/flow_runs/filter", flow_runs=alive):
        _set_state(api, child, "CRASHED", "The process of its parent exited.")


def _set_state(api: Api, run: dict[str, Any], kind: str, message: str, force: bool = False) -> None:
    now = datetime.now(UTC).isoformat()
    names = {"SCHEDULED": "AwaitingRetry"}
    details = {"scheduled_time": now} if kind == "SCHEDULED" else {}
    state = {"type": kind, "message": message, "state_details": details}
    state["name"] = names.get(kind, kind.capitalize())
    api.post(f"/flow_runs/{run['id']}/set_state", state=state, force=force)
