"""Flow runs whose process ended without a word: Prefect would show them as running for ever."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from flows.operations.home import Home, is_held
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api

STOPPED = "stopped"  # in the file of a run that `slickwatch down` has ended
ATTEMPTS = 3
PENDING_LASTS = timedelta(minutes=5)  # after which a run that a worker has taken and not begun was taken by a dead one


class Mending:
    """Schedules again what was cut off: by `kill -9`, by a machine that went down, by `slickwatch down`."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._home = plan, Home(plan.home)
        self._dead_before: set[Path] = set()

    def look(self, api: Api) -> int:
        """Look once; returns how many were scheduled again. Two looks, for a live worker tells of its dead itself."""
        dead = {file for file in self._home.runs.iterdir() if not is_held(file)}
        again = sum(self._mended(api, file) for file in dead & self._dead_before)
        self._dead_before = dead
        return again + sum(self._schedule(api, run) for run in self._stuck(api))

    def _mended(self, api: Api, file: Path) -> bool:
        run = api.get(f"/flow_runs/{UUID(file.name)}")
        again = False
        if run is not None and run["state"] is not None:
            kind = run["state"]["type"]
            if kind == "CANCELLING":
                _set(api, run, "CANCELLED", "Its process had ended already.")
            if kind in {"RUNNING", "PENDING"} or (kind == "CRASHED" and STOPPED in file.read_text()):
                again = self._schedule(api, run)
        with suppress(FileNotFoundError):
            file.unlink()
        return again

    def _stuck(self, api: Api) -> list[dict[str, Any]]:
        """Runs that a worker took and died before it had begun them: they have no file."""
        pending: list[dict[str, Any]] = api.post(
            "/flow_runs/filter",
            work_pools={"name": {"any_": [self._plan.work_pool]}},
            flow_runs={"state": {"type": {"any_": ["PENDING"]}}},
        )
        before = datetime.now(UTC) - PENDING_LASTS
        return [
            run
            for run in pending
            if datetime.fromisoformat(run["state"]["timestamp"]) < before and not (self._home.runs / run["id"]).exists()
        ]

    def _schedule(self, api: Api, run: dict[str, Any]) -> bool:
        """Through a crash, which gives the run's slots back and is what alerts are for."""
        if run["state"]["type"] != "CRASHED":
            _set(api, run, "CRASHED", "Its process ended without a word.")
        if run["run_count"] >= ATTEMPTS or run["deployment_id"] is None:
            return False
        _set(api, run, "SCHEDULED", "Its process ended; it begins again.", force=True)
        return True


def _set(api: Api, run: dict[str, Any], kind: str, message: str, force: bool = False) -> None:
    now = datetime.now(UTC).isoformat()
    names = {"SCHEDULED": "AwaitingRetry"}
    details = {"scheduled_time": now} if kind == "SCHEDULED" else {}
    state = {"type": kind, "message": message, "state_details": details}
    state["name"] = names.get(kind, kind.capitalize())
    api.post(f"/flow_runs/{run['id']}/set_state", state=state, force=force)
