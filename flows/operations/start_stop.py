"""`slickwatch up` and `down`: start the supervisor and follow it until everything is up, stop everything."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.operations.deployments import ensure_work_pool, finish_deploy, render_deployments, start_deploy
from flows.operations.home import Home
from flows.operations.plan import Plan, changed_settings, read_plan, write_plan
from flows.operations.prefect_api import Api
from flows.operations.processes import is_held, terminate
from flows.operations.supervisor import GRACE_S, terminate_leftovers
from ingest.errors import SourceError, UsageError

TIMEOUT_S = 900.0  # for server and deployments on a busy machine
_POLL_S = 0.3
_PROGRESS = {
    "server": "server      starting, about 20 s",
    "deployments": "server      running at {url}\ndeployments being created, about 30 s",
    "up": "worker      waiting for runs",
}
_LISTENING = "0A"  # in /proc/net/tcp
_FIXED = ("host", "port", "database", "work_pool", "worker_limit", "folder", "service")  # need a restart to change

Report = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What `up` has done; nothing where it neither started the services nor deployed anew."""

    started: bool = False
    deployed: bool = False
    changed: tuple[str, ...] = ()  # settings and files since the last deployment, as far as is known

    def __str__(self) -> str:
        if self.started:
            return "up"
        if not self.deployed:
            return "up already, nothing has changed"
        return f"deployed anew ({', '.join(self.changed)} changed)" if self.changed else "deployed anew"


def up(plan: Plan, report: Report) -> Outcome:
    """Start server, worker and schedules, or deploy anew if settings or deployments have changed.

    Raises `UsageError` for a taken port or a change that needs a `down` first, `SourceError` if a service does not
    start; those that did start keep running.
    """
    home = Home(plan.home)
    render_deployments(plan)  # an invalid file is reported before anything starts
    if is_held(home.lock("supervisor")):
        return _update(plan, home, report)
    prepare(plan)
    _follow(home, report, _start_supervisor(plan, home))
    return Outcome(started=True)


def prepare(plan: Plan) -> None:
    """Get ready for a new supervisor: create folders, terminate leftovers, require a free port."""
    home = Home(plan.home)
    home.create()
    terminate_leftovers(home)
    require_free_port(plan)
    write_plan(plan)


def down(plan: Plan) -> bool:
    """Stop everything including running flows; returns whether anything was running."""
    home = Home(plan.home)
    if not plan.home.exists():
        return False
    home.create()
    was_up = is_held(home.lock("supervisor"))
    # The supervisor takes up to GRACE_S for runs and worker, and again for the server.
    terminate([home.lock("supervisor")], grace=3 * GRACE_S)
    services = [home.lock(name) for name in ("server", "worker", "service")]
    left = [lock for lock in (*services, *home.runs.iterdir()) if is_held(lock)]
    terminate_leftovers(home)
    return was_up or bool(left)


def _update(plan: Plan, home: Home, report: Report) -> Outcome:
    """Deploy anew if settings or deployments have changed."""
    _follow(home, lambda line: None, None, fail=False)
    running = read_plan(home.plan_file)
    changed = changed_settings(running, plan)
    fixed = [name for name in _FIXED if getattr(running, name) != getattr(plan, name)]
    # The worker keeps the environment that it was started in.
    fixed += [key for key in changed if key in {*running.variables, *plan.variables}]
    if fixed:
        problem = f"already running with a different {', '.join(fixed)}"
        raise UsageError(plan.config or plan.home, problem, "run slickwatch down, then slickwatch up")
    if home.state().get("deployed_as") == plan.fingerprint:
        return Outcome()
    changed = changed or ((plan.deployments.name,) if home.state().get("deployed_as") else ())
    report("deployments being updated, about 30 s")
    with Api(plan.api_url) as api:
        ensure_work_pool(api, plan)
        finish_deploy(api, plan, start_deploy(plan).wait())
    write_plan(plan)
    home.update_state(deployed_as=plan.fingerprint, problem=None)
    return Outcome(deployed=True, changed=changed)


def _start_supervisor(plan: Plan, home: Home) -> subprocess.Popen[bytes]:
    home.state_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "flows.operations.supervisor", str(home.plan_file)]
    with home.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            command, cwd=plan.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _follow(home: Home, report: Report, supervisor: subprocess.Popen[bytes] | None, fail: bool = True) -> None:
    """Wait until everything is up, reporting progress; raises `SourceError` if a service does not start."""
    phase, deadline = None, time.monotonic() + TIMEOUT_S
    while phase != "up":
        if time.monotonic() > deadline:
            raise SourceError(home.folder, f"not up after {TIMEOUT_S:.0f} s", "see its logs and slickwatch status")
        if supervisor.poll() is not None if supervisor else not is_held(home.lock("supervisor")):
            raise SourceError(home.folder, f"the supervisor exited ({_last_line(home, 'supervisor')})", "see its logs")
        state = home.state()
        _require_server(home, state)
        if state.get("phase") != phase and (phase := state.get("phase")) in _PROGRESS:
            report(_PROGRESS[phase].format(**state))
        if fail and (problem := state.get("problem")):
            raise _SupervisorError(problem)
        time.sleep(_POLL_S)


def _require_server(home: Home, state: dict[str, Any]) -> None:
    """Report a server that dies at each start; the supervisor keeps trying, as a database may come back."""
    if state.get("phase") == "server" and state.get("server_restarts", 0) >= 3:
        problem = f"the server does not start ({_last_line(home, 'server')})"
        raise SourceError(home.log("server"), problem, "fix the cause; it is retried until slickwatch down")


class _SupervisorError(SourceError):
    """A failure that the supervisor reports as a complete line."""

    def __init__(self, line: str) -> None:
        super().__init__("", line, "")

    def __str__(self) -> str:
        return self.problem


def _last_line(home: Home, name: str) -> str:
    try:
        lines = home.log(name).read_text(errors="replace").split("\n")
    except OSError:
        return "no output"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no output")


def require_free_port(plan: Plan) -> None:
    """Raise `UsageError`, naming the process that uses it, if the server's port is taken."""
    family, kind, _, _, address = socket.getaddrinfo(plan.host, plan.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = f"the server cannot listen on this port ({error.strerror}{_user_of(plan.port)})"
            key = f"[prefect] port in {plan.config}" if plan.config else "SLICKWATCH_PREFECT__PORT"
            raise UsageError(plan.address, problem, f"stop that process, or choose another port: {key}") from error


def _user_of(port: int) -> str:
    process = _listener(port)
    if process is None:
        return ""
    with suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        command = " ".join(b" ".join(words).decode(errors="replace").split())[:80]
        return f", process {process.name}: {command}"
    return f", process {process.name}"


def _listener(port: int) -> Path | None:
    """The /proc folder of the process; None if it is not known: another user's process, or not Linux."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return process
    return None
