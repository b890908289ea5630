"""`slickwatch up` and `down`: start what the supervisor keeps alive, follow it until it is there, stop it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows.operations.deploy import begin_deploying, ensure_limits, finish_deploying, rendered
from flows.operations.home import Home, is_held
from flows.operations.plan import Plan
from flows.operations.ports import require_free
from flows.operations.prefect_api import Api
from flows.operations.processes import end
from flows.operations.supervisor import GRACE, end_leftovers
from ingest.errors import SourceError, UsageError
from ingest.files import write_json

PATIENCE = 900.0  # s that a busy machine may take for server and deployments
_POLL = 0.3  # s
_SAYS = {
    "server": "server      starts, some 20 s",
    "deployments": "server      up at {url}\ndeployments are made, some 30 s",
    "up": "worker      waits for runs",
}

Report = Callable[[str], None]


def up(plan: Plan, report: Report) -> bool:
    """Bring server, worker and schedules to what the plan says; returns whether anything had to be done.

    Raises `UsageError` for a taken port or a plan that needs a `down` first, `SourceError` where something does not
    come up; what did come up stays.
    """
    home = Home(plan.home)
    rendered(plan)  # whatever is wrong with the file is known before anything starts
    if is_held(home.lock("supervisor")):
        return _up_again(plan, home, report)
    prepare(plan)
    started = _start(plan, home)
    _follow(home, report, started)
    return True


def prepare(plan: Plan) -> None:
    """Make room for a new supervisor: folders, nothing left over, a free port."""
    home = Home(plan.home)
    home.make()
    end_leftovers(home)
    require_free(plan)
    write_plan(plan)


def down(plan: Plan) -> bool:
    """Stop everything, running flows included; returns whether anything was there."""
    home = Home(plan.home)
    if not plan.home.exists():
        return False
    home.make()
    was_up = is_held(home.lock("supervisor"))
    # It takes GRACE for the runs and the worker, and again for the server.
    end([home.lock("supervisor")], grace=3 * GRACE)
    left = [lock for lock in (home.lock("server"), home.lock("worker"), *home.runs.iterdir()) if is_held(lock)]
    end_leftovers(home)
    return was_up or bool(left)


def _up_again(plan: Plan, home: Home, report: Report) -> bool:
    _follow(home, lambda line: None, None, fail=False)
    former = read_plan(home.folder / "plan.json")
    changed = [name for name in _FIXED if getattr(former, name) != getattr(plan, name)]
    if changed:
        problem = f"it is up with another {', '.join(changed)}"
        raise UsageError(plan.config or plan.home, problem, "run slickwatch down, then slickwatch up")
    if home.state().get("deployed_as") == plan.deployed_as:
        return False
    report("deployments are made anew, some 30 s")
    with Api(plan.api_url) as api:
        ensure_limits(api, plan)
        finish_deploying(api, plan, begin_deploying(plan).wait())
    write_plan(plan)
    home.say(deployed_as=plan.deployed_as, problem=None)
    return True


_FIXED = ("host", "port", "database", "work_pool", "worker_limit", "folder")  # what running processes were told


def _start(plan: Plan, home: Home) -> subprocess.Popen[bytes]:
    home.state_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "flows.operations", str(home.folder / "plan.json")]
    with home.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            command, cwd=plan.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _follow(home: Home, report: Report, started: subprocess.Popen[bytes] | None, fail: bool = True) -> None:
    """Wait until all is up, saying how far it is; raises `SourceError` where it does not come up."""
    phase, deadline = None, time.monotonic() + PATIENCE
    while phase != "up":
        if time.monotonic() > deadline:
            raise SourceError(home.folder, f"not up after {PATIENCE:.0f} s", "see its logs; slickwatch status")
        if started.poll() is not None if started else not is_held(home.lock("supervisor")):
            raise SourceError(home.folder, f"the supervisor has ended ({_last_line(home)})", "see its logs")
        state = home.state()
        _require_server(home, state)
        if state.get("phase") != phase and (phase := state.get("phase")) in _SAYS:
            report(_SAYS[phase].format(**state))
        if fail and (problem := state.get("problem")):
            raise _Told(problem)
        time.sleep(_POLL)


def _require_server(home: Home, state: dict[str, Any]) -> None:
    """A server that dies at each start is told of; it is tried on, for a database may come back."""
    if state.get("phase") == "server" and state.get("server_restarts", 0) >= 3:
        log = home.log("server")
        problem = f"the server does not start ({_last_line(home, 'server')})"
        raise SourceError(log, problem, "mend that; it is tried again until slickwatch down")


class _Told(SourceError):
    """A failure that was put into words by the supervisor."""

    def __init__(self, said: str) -> None:
        super().__init__("", said, "")
        self._said = said

    def __str__(self) -> str:
        return self._said


def _last_line(home: Home, name: str = "supervisor") -> str:
    try:
        lines = home.log(name).read_text(errors="replace").split("\n")
    except OSError:
        return "it said nothing"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it said nothing")


def as_up(plan: Plan) -> Plan:
    """The plan with the file of deployments that it was brought up with."""
    file = plan.home / "plan.json"
    return replace(plan, deployments=read_plan(file).deployments) if file.is_file() else plan


def write_plan(plan: Plan) -> Path:
    """Keep the plan for the supervisor; it holds no password, which is in the environment."""
    file = plan.home / "plan.json"
    write_json(file, json.loads(json.dumps(asdict(plan), default=str)))
    return file


def read_plan(file: Path) -> Plan:
    """The plan that `write_plan` has written; raises `UsageError` where there is none."""
    try:
        content = json.loads(file.read_text())
        places = {name: Path(content[name]) for name in ("home", "folder", "deployments")}
        config = Path(content["config"]) if content["config"] else None
        areas = tuple((name, cron) for name, cron in content["areas"])
        return Plan(**(content | places | {"config": config, "areas": areas}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(file, f"no readable plan ({error})", "run slickwatch up") from error
