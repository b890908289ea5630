"""The process that keeps server and worker running: `python -m flows.operations.supervisor PLAN`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from flows.operations.crashed_runs import CrashedRuns
from flows.operations.deployments import ensure_work_pool, finish_deploy, start_deploy
from flows.operations.home import Home
from flows.operations.plan import Plan, read_plan, service_environment
from flows.operations.prefect_api import Api, RequestRefused
from flows.operations.processes import Service, acquire, is_held, terminate
from ingest.errors import SlickwatchError, SourceError, StorageError, UsageError
from ingest.watch import stopping_on_signals

PROCESS_CHECK_S = 1.0  # interval of checks of the processes
SERVER_CHECK_S = 20.0  # interval of checks of server, runs and logs
UNRESPONSIVE_S = 600.0  # a server that runs but does not answer for this long is restarted
GRACE_S = 30.0  # for runs, worker and server to exit after SIGTERM


def supervise(plan: Plan, stop: threading.Event) -> None:
    """Run server, worker and schedules until the event is set; raises `UsageError` if a supervisor is running."""
    home = Home(plan.home)
    home.create()
    lock = acquire(home.lock("supervisor"))
    if lock is None:
        raise UsageError(plan.home, "server and worker are already running", "see slickwatch status")
    try:
        terminate_leftovers(home)
        with Api(plan.api_url) as api:
            Supervisor(plan, api).run(stop)
    finally:
        os.close(lock)


def terminate_leftovers(home: Home) -> None:
    """Terminate what a killed supervisor left behind, including flow runs, which start again later."""
    terminate_runs_and_worker(home)
    terminate([home.lock("server"), home.lock("service")], GRACE_S)


def terminate_runs_and_worker(home: Home) -> None:
    """Terminate runs and worker together: the worker waits for its runs."""
    runs = [file for file in home.runs.iterdir() if is_held(file)]
    terminate([home.lock("worker"), *runs], GRACE_S)


def worker_command(plan: Plan) -> list[str]:
    """The command line of Prefect's worker."""
    return [
        sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", "--type", "process",
        "--pool", plan.work_pool, "--name", plan.worker_name, "--limit", str(plan.worker_limit),
        "--install-policy", "never",
    ]  # fmt: skip


def service_command(plan: Plan) -> list[str]:
    """The command line of the map and OGC API - Features."""
    return [sys.executable, "-m", "flows.serving", *([] if plan.config is None else [str(plan.config)])]


class Supervisor:
    """Keeps the server running, then creates work pool and deployments, then keeps the worker running.

    Where the settings ask for it, keeps the service over the catalogue running too, which needs none of these.
    """

    def __init__(self, plan: Plan, api: Api) -> None:
        home, environment = Home(plan.home), service_environment(plan)
        server_command = [sys.executable, "-m", "prefect", "--no-prompt", "server", "start"]
        server_command += ["--host", plan.host, "--port", str(plan.port)]
        self.plan, self.home, self.api = plan, home, api
        self.server = Service("server", server_command, environment, plan.folder, home)
        self.worker = Service("worker", worker_command(plan), environment, plan.folder, home)
        self.service = Service("service", service_command(plan), environment, plan.folder, home)
        self.crashed_runs = CrashedRuns(plan)
        self._answered = self._checked = time.monotonic()
        self._has_work_pool = False
        self._last_error = ""
        self._deploy: subprocess.Popen[bytes] | None = None
        self._deploy_server: int | None = None  # process id of the server that the deploy started with

    def run(self, stop: threading.Event) -> None:
        """Supervise until the event is set, then terminate everything that was started."""
        began = datetime.now(UTC).isoformat(timespec="seconds")
        self.home.state_file.unlink(missing_ok=True)
        self.home.update_state(pid=os.getpid(), began=began, phase="server", url=self.plan.api_url, problem=None)
        try:
            while not stop.wait(PROCESS_CHECK_S):
                try:
                    self._step()
                except (SourceError, StorageError) as error:  # temporary: a server that just died, a full disk
                    self._report(error)
        finally:
            self._terminate()

    def _report(self, error: SlickwatchError) -> None:
        if str(error) != self._last_error:
            print(f"slickwatch: {error}", file=sys.stderr, flush=True)
            self._last_error = str(error)
            if isinstance(error, RequestRefused):
                self.home.update_state(problem=str(error))

    def _step(self) -> None:
        self._ensure_running(self.server)
        if self.plan.service is not None:
            self._ensure_running(self.service)
        if not self._has_work_pool:
            self._begin_deploy()
            return
        self._ensure_running(self.worker)
        self._finish_deploy()
        if time.monotonic() - self._checked > SERVER_CHECK_S:
            self._checked = time.monotonic()
            self._check_server()

    def _ensure_running(self, service: Service) -> None:
        if service.ensure_running():
            restarts = {f"{service.name}_restarts": max(service.restarts, 0)}
            self.home.update_state(**{service.name: service.pid}, **restarts)
            if service is not self.service:
                self._answered = time.monotonic()

    def _begin_deploy(self) -> None:
        """Limits exist before the first deployment, so that no run ever starts without them."""
        if self.api.is_up():
            ensure_work_pool(self.api, self.plan)
            self._has_work_pool = True
            self._deploy, self._deploy_server = start_deploy(self.plan), self.server.pid
            self.home.update_state(phase="deployments")

    def _finish_deploy(self) -> None:
        if self._deploy is None or (exit_code := self._deploy.poll()) is None:
            return
        self._deploy = None
        if self._deploy_server != self.server.pid:  # the server died meanwhile: start over
            self._has_work_pool = False
            return
        try:
            finish_deploy(self.api, self.plan, exit_code)
            self.home.update_state(phase="up", deployed_as=self.plan.fingerprint, problem=None)
        except SlickwatchError as error:
            self.home.update_state(phase="up", deployed_as=None, problem=str(error))

    def _check_server(self) -> None:
        self.home.rotate_logs()
        if self.api.is_up():
            self._answered = time.monotonic()
            self.crashed_runs.reschedule(self.api)
        elif time.monotonic() - self._answered > UNRESPONSIVE_S:
            terminate([self.home.lock("server")], GRACE_S)

    def _terminate(self) -> None:
        if self._deploy is not None:
            self._deploy.terminate()
            self._deploy.wait()
        terminate_runs_and_worker(self.home)
        terminate([self.home.lock("server"), self.home.lock("service")], GRACE_S)
        for service in (self.worker, self.server, self.service):
            service.wait()


def main() -> None:
    """Supervise the plan in the file named on the command line until SIGTERM or SIGINT."""
    try:
        with stopping_on_signals(threading.Event()) as stop:
            supervise(read_plan(Path(sys.argv[1])), stop)
    except SlickwatchError as error:
        sys.exit(f"slickwatch: {error}")


if __name__ == "__main__":
    main()
