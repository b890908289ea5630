"""The process that keeps server and worker alive; `slickwatch up` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

from flows.operations.crashed_runs import STOPPED, Mending
from flows.operations.deploy import begin_deploying, ensure_limits, finish_deploying
from flows.operations.environment import environment
from flows.operations.home import Home, is_held, take
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api, Refused
from flows.operations.processes import Service, end
from ingest.errors import SlickwatchError, SourceError, StorageError, UsageError

TICK = 1.0  # s from one look at the processes to the next
LOOK = 20.0  # s from one look at server, runs and logs to the next
SILENT = 600.0  # s after which a server that lives but does not answer is started anew
GRACE = 30.0  # s that runs, worker and server have to end by themselves


def supervise(plan: Plan, stop: threading.Event) -> None:
    """Run server, worker and schedules until the event; raises `UsageError` where that is done already."""
    home = Home(plan.home)
    home.make()
    lock = take(home.lock("supervisor"))
    if lock is None:
        raise UsageError(plan.home, "server and worker are up already", "see slickwatch status")
    try:
        end_leftovers(home)
        with Api(plan.api_url) as api:
            Supervisor(plan, api).run(stop)
    finally:
        os.close(lock)


def end_leftovers(home: Home) -> None:
    """End what a supervisor that was killed has left behind, flow runs included; they begin again."""
    end_runs_and_worker(home)
    end([home.lock("server")], GRACE)


def end_runs_and_worker(home: Home) -> None:
    """The worker waits for its runs: all are asked at once."""
    runs = [file for file in home.runs.iterdir() if is_held(file)]
    for run in runs:
        with run.open("a") as file:
            file.write(f" {STOPPED}")
    end([home.lock("worker"), *runs], GRACE)


def worker_command(plan: Plan) -> list[str]:
    """Prefect's worker, as the plan wants it."""
    return [
        sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--type", "process",
        "--pool", plan.work_pool, "--name", plan.worker_name, "--limit", str(plan.worker_limit),
        "--install-policy", "never",
    ]  # fmt: skip


class Supervisor:
    """Looks after two processes, and after what the first of them has to know before the second is of use."""

    def __init__(self, plan: Plan, api: Api) -> None:
        home, around = Home(plan.home), environment(plan)
        serve = [sys.executable, "-m", "prefect", "--no-prompt", "server", "start"]
        serve += ["--host", plan.host, "--port", str(plan.port)]
        self.plan, self.home, self.api = plan, home, api
        self.server = Service("server", serve, around, plan.folder, home)
        self.worker = Service("worker", worker_command(plan), around, plan.folder, home)
        self.mending = Mending(plan)
        self._answered = self._looked = time.monotonic()
        self._limits_stand = False
        self._complaint = ""
        self._deploying: subprocess.Popen[bytes] | None = None
        self._deploying_on: int | None = None

    def run(self, stop: threading.Event) -> None:
        """Until the event; ends all that was started."""
        began = datetime.now(UTC).isoformat(timespec="seconds")
        self.home.state_file.unlink(missing_ok=True)
        self.home.say(pid=os.getpid(), began=began, phase="server", url=self.plan.api_url, problem=None)
        try:
            while not stop.wait(TICK):
                try:
                    self._tick()
                except (SourceError, StorageError) as error:  # a server that dies just now, a full disk: they pass
                    self._complain(error)
        finally:
            self._end()

    def _complain(self, error: SlickwatchError) -> None:
        if str(error) != self._complaint:
            print(f"slickwatch: {error}", file=sys.stderr, flush=True)
            self._complaint = str(error)
            if isinstance(error, Refused):
                self.home.say(problem=str(error))

    def _tick(self) -> None:
        self._tend(self.server)
        if not self._limits_stand:
            self._prepare()
            return
        self._tend(self.worker)
        self._follow_deploying()
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._look()

    def _tend(self, service: Service) -> None:
        if service.tend():
            self.home.say(**{service.name: service.pid, f"{service.name}_restarts": max(service.restarts, 0)})
            self._answered = time.monotonic()

    def _prepare(self) -> None:
        """Limits stand before the first deployment, so that nothing is ever let through without."""
        if self.api.is_up():
            ensure_limits(self.api, self.plan)
            self._limits_stand = True
            self._deploying, self._deploying_on = begin_deploying(self.plan), self.server.pid
            self.home.say(phase="deployments")

    def _follow_deploying(self) -> None:
        if self._deploying is None or (code := self._deploying.poll()) is None:
            return
        self._deploying = None
        if self._deploying_on != self.server.pid:  # it died meanwhile
            self._limits_stand = False
            return
        try:
            finish_deploying(self.api, self.plan, code)
            self.home.say(phase="up", deployed_as=self.plan.deployed_as, problem=None)
        except SlickwatchError as error:
            self.home.say(phase="up", deployed_as=None, problem=str(error))

    def _look(self) -> None:
        self.home.rotate_logs()
        if self.api.is_up():
            self._answered = time.monotonic()
            self.mending.look(self.api)
        elif time.monotonic() - self._answered > SILENT:
            end([self.home.lock("server")], GRACE)

    def _end(self) -> None:
        if self._deploying is not None:
            self._deploying.terminate()
            self._deploying.wait()
        end_runs_and_worker(self.home)
        end([self.home.lock("server")], GRACE)
        self.worker.reap()
        self.server.reap()
