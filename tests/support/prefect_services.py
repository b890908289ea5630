"""One real Prefect server and worker for a whole test run, started by `slickwatch up`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.operations import start_stop
from flows.operations.home import Home
from flows.operations.plan import Plan, make_plan
from flows.operations.prefect_api import Api
from flows.operations.processes import holder
from flows.settings import Settings

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # s; for a busy machine

REAL = {"process-scene"}  # the others would be started by the schedule, or take minutes

FLOWS = '''\
"""Stand-ins for the real flows in tests of the services that run them."""

import time
from pathlib import Path

from prefect import flow


@flow(name="monitor")
def monitor(watch: str | None = None, config: str | None = None):
    return None


@flow(name="retrain-dakd")
def retrain_dakd(config: str | None = None, seconds: float = 0.0):
    print("an output of its own", flush=True)
    time.sleep(seconds)


@flow(name="evaluate-champion")
def evaluate_champion(config: str | None = None):
    return None


@flow(name="cut-off")
def cut_off(mark: str, config: str | None = None):
    """Waits forever in the first attempt."""
    attempts = Path(mark)
    attempts.open("a").write("x")
    while attempts.read_text() == "x":
        time.sleep(0.2)
'''

SETTINGS = """\
[sources.inbox]
folder = "inbox"

[[watch]]
name = "Gulf of Oman"
source = "inbox"
cron = "* * * * *"

[[watch]]
name = "gulf-of-oman!"
source = "inbox"
cron = "0 0 1 1 *"

[retraining]
cron = "0 0 1 1 *"

[prefect]
port = {port}
worker_limit = 4
"""


@dataclass(frozen=True)
class Services:
    """A folder with settings and deployments, and the services started from them."""

    folder: Path
    url: str  # of the API

    @property
    def home(self) -> Home:
        return Home(self.folder / ".slickwatch")

    @property
    def deployments(self) -> Path:
        return self.folder / "deployments.yaml"

    @property
    def plan(self) -> Plan:
        return make_plan(Settings.read(self.folder / "slickwatch.toml"), self.deployments)

    def slickwatch(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "flows.cli", command, "--config", "slickwatch.toml", *arguments])

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Prefect's command line, without variables set for it."""
        return self._run([str(Path(sys.executable).with_name("prefect")), *arguments])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=environment(self.folder), capture_output=True, text=True, timeout=PATIENCE,
            check=False,
        )  # fmt: skip

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.slickwatch("up", "--deployments", str(self.deployments))

    def status(self) -> dict[str, Any]:
        return json.loads(self.slickwatch("status", "--json").stdout)

    def runs(self, api: Api, deployment: str) -> list[dict[str, Any]]:
        """The started runs of a deployment, the last one first."""
        started = {"start_time": {"is_null_": False}}
        of = {"name": {"any_": [deployment]}}
        return api.post("/flow_runs/filter", deployments=of, flow_runs=started, sort="START_TIME_DESC", limit=50)

    def until_ready(self) -> None:
        """Wait for deployments and worker."""
        until(lambda: self.home.state().get("phase") == "up" and "worker" in self.home.state(), self.logs)
        problem = self.home.state()["problem"]
        assert problem is None, f"{problem}\n{self.logs()}"

    def logs(self) -> str:
        """The last log lines of all services, for failing tests."""
        logs = sorted(self.home.folder.glob("logs/*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def environment(folder: Path) -> dict[str, str]:
    """The environment of the tests without Prefect's variables; test flows can be imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    path = os.pathsep.join([str(folder), str(ROOT)])
    # Proxies that do not answer: the services must talk to each other without them.
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
    # Without the web pages, whose copying takes a while.
    return kept | proxies | {"PYTHONPATH": path, "PREFECT_SERVER_UI_ENABLED": "false", "PREFECT_PROFILE": "ephemeral"}


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Start all services; the server answers inside the block, the others may still be starting (`until_ready`)."""
    port = free_port()
    shutil.copy(ROOT / "pyproject.toml", folder)  # enables the plugin
    (folder / "tiny_flows.py").write_text(FLOWS)
    (folder / "slickwatch.toml").write_text(SETTINGS.format(port=port))
    running = Services(folder, f"http://127.0.0.1:{port}/api")
    running.deployments.write_text(yaml.safe_dump(deployments()))
    log = running.folder / "up.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "flows.cli", "up", "--deployments", str(running.deployments)]
        starting = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        with Api(running.url) as api:
            until(lambda: api.is_up() or starting.poll() not in (None, 0), lambda: log.read_text() + running.logs())
            assert api.is_up(), log.read_text() + running.logs()
        yield running
    finally:
        if starting.poll() is None:
            starting.terminate()
        starting.wait()
        start_stop.down(running.plan)
        assert not _of(running.home.folder), f"left behind: {_of(running.home.folder)}"


def _of(home: Path) -> dict[str, str]:
    """Processes with this home in their environment."""
    mark, found = f"SLICKWATCH_HOME={home}\0".encode(), {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes():
                found[process.name] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def deployments() -> dict[str, Any]:
    """The deployments of prefect.yaml with test flows instead of most real ones, and one more."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    content.pop("build")
    for deployment in content["deployments"]:
        if deployment["name"] not in REAL:
            deployment["entrypoint"] = "tiny_flows." + deployment["entrypoint"].rpartition(".")[2]
    limit = {"limit": 2, "collision_strategy": "ENQUEUE"}
    extra = {"name": "cut-off", "entrypoint": "tiny_flows.cut_off", "concurrency_limit": limit}
    return content | {"deployments": [*content["deployments"], extra | {"work_pool": {"work_queue_name": "monitor"}}]}


def until(condition: Callable[[], Any], logs: Callable[[], str] = lambda: "") -> Any:
    """Wait until a condition is true; returns its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true after {PATIENCE:.0f} s\n{logs()}"
        time.sleep(0.2)
    return value


def kill(lock: Path) -> int:
    """`kill -9` the process that holds a lock."""
    process = holder(lock)
    assert process is not None
    os.kill(process, 9)
    return process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
