"""`slickwatch up`, `down` and `status` with a real server and worker, and recovery after processes are killed."""

import dataclasses
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from flows.operations import home, processes, start_stop, status
from flows.operations.crashed_runs import CrashedRuns
from flows.operations.deployments import ensure_work_pool, render_deployments
from flows.operations.home import Home
from flows.operations.plan import Plan, changed_settings, make_plan, read_plan, service_environment, write_plan
from flows.operations.prefect_api import Api
from flows.operations.processes import acquire, holder, is_held
from flows.operations.supervisor import Supervisor, terminate_leftovers
from flows.settings import Settings
from ingest.errors import UsageError
from ingest.ledger.ledger import Ledger
from ingest.scene import scene_from_name
from tests.support import postgres
from tests.support.prefect_services import ROOT, deployments, free_port, kill, until

PREFECT_YAML = ROOT / "prefect.yaml"


@pytest.fixture
def some_plan(tmp_path):
    (tmp_path / "home").mkdir()
    return Plan(
        home=tmp_path / "home", folder=tmp_path, config=tmp_path / "slickwatch.toml", deployments=PREFECT_YAML,
        host="127.0.0.1", port=free_port(), database=None, work_pool="oil", worker_limit=3, timezone="Europe/Oslo",
        areas=(("North Sea", "5 * * * *"), ("north/sea", "6 * * * *"), ("Ærfjord", "7 * * * *")),
        monitor_cron="*/15 * * * *", retraining_cron="0 4 2 * *", parallel=2, idle_hours=2.0,
    )  # fmt: skip


def named(content):
    return {deployment["name"]: deployment for deployment in content["deployments"]}


# Deployments.


def test_each_area_has_a_schedule_with_its_name(some_plan):
    schedules = named(render_deployments(some_plan))["monitor"]["schedules"]
    assert [schedule["parameters"]["watch"] for schedule in schedules] == ["North Sea", "north/sea", "Ærfjord"]
    assert [schedule["cron"] for schedule in schedules] == ["5 * * * *", "6 * * * *", "7 * * * *"]
    slugs = [schedule["slug"] for schedule in schedules]
    assert len(set(slugs)) == 3
    assert all(slug.isascii() and slug == slug.lower() and " " not in slug for slug in slugs)
    assert {schedule["timezone"] for schedule in schedules} == {"Europe/Oslo"}


def test_without_areas_there_is_one_schedule(some_plan):
    (schedule,) = named(render_deployments(dataclasses.replace(some_plan, areas=())))["monitor"]["schedules"]
    assert schedule["cron"] == "*/15 * * * *"
    assert "parameters" not in schedule


def test_every_deployment_gets_the_settings(some_plan):
    content = named(render_deployments(some_plan))
    assert content.keys() == {"monitor", "process-scene", "retrain-dakd", "evaluate-champion"}
    assert content["retrain-dakd"]["schedules"][0]["cron"] == "0 4 2 * *"
    assert content["process-scene"]["concurrency_limit"]["limit"] == 2
    assert content["process-scene"]["schedules"] == []
    for deployment in content.values():
        assert deployment["parameters"] == {"config": str(some_plan.config)}
        assert deployment["work_pool"]["name"] == "oil"
        assert deployment["work_pool"]["job_variables"]["working_dir"] == str(some_plan.folder)


def test_every_deployment_of_prefect_yaml_has_limit_queue_and_entrypoint():
    content = yaml.safe_load(PREFECT_YAML.read_text())
    assert content["pull"] == []
    for deployment in content["deployments"]:
        assert deployment["concurrency_limit"]["limit"] >= 1
        assert deployment["concurrency_limit"]["collision_strategy"] == "ENQUEUE"
        assert deployment["work_pool"]["work_queue_name"] in {"monitor", "scenes", "training"}
        assert ":" not in deployment["entrypoint"]  # the file's folder would come first on sys.path


def test_each_entrypoint_is_a_flow_of_that_name_with_a_config_parameter():
    import flows.prefect_defaults  # noqa: F401, I001 - before Prefect

    from prefect.flows import load_flow_from_entrypoint

    entrypoints = {name: one["entrypoint"] for name, one in named(yaml.safe_load(PREFECT_YAML.read_text())).items()}
    loaded = [load_flow_from_entrypoint(one, use_placeholder_flow=False) for one in entrypoints.values()]
    parameters = {flow.name: list(inspect.signature(flow.fn).parameters) for flow in loaded}
    assert parameters.keys() == entrypoints.keys()
    assert all("config" in names for names in parameters.values())
    assert "watch" in parameters["monitor"]
    assert "scene" in parameters["process-scene"]


def test_an_invalid_deployments_file_is_reported(some_plan, tmp_path):
    (tmp_path / "no.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match=r"no\.yaml: not a valid deployments file"):
        render_deployments(dataclasses.replace(some_plan, deployments=tmp_path / "no.yaml"))


# The plan.


def test_changed_settings_are_named_without_being_kept(tmp_path):
    file = tmp_path / "slickwatch.toml"

    def plan_of(text, environ=None):
        file.write_text(text)
        return make_plan(Settings.read(file, environ or {}))

    before = plan_of('[alerts]\nwebhooks = ["https://hooks.example.org/s3cret"]\n[monitor]\nparallel = 2\n')
    assert changed_settings(before, before) == ()
    assert "s3cret" not in write_plan(before).read_text()
    after = plan_of('[alerts]\nwebhooks = ["https://hooks.example.org/other"]\nminimum_confidence = 0.9\n')
    assert changed_settings(before, after) == ("alerts.minimum_confidence", "alerts.webhooks", "monitor.parallel")
    assert before.fingerprint != after.fingerprint
    by_variable = plan_of("", {"SLICKWATCH_MONITOR__PARALLEL": "3"})
    assert by_variable.variables == ("monitor.parallel",)


def test_a_host_other_than_loopback_is_rejected(tmp_path):
    (tmp_path / "s.toml").write_text('[prefect]\nhost = "0.0.0.0"\n')
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 is reachable from other machines without a password"):
        make_plan(Settings.read(tmp_path / "s.toml", {}))


def test_a_plan_is_read_as_it_was_written(some_plan):
    assert read_plan(write_plan(some_plan)) == some_plan


def test_the_environment_keeps_to_loopback_without_telemetry(some_plan, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere.example/api")
    environment = service_environment(some_plan)
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1"
    assert environment["PREFECT_API_URL"] == f"http://127.0.0.1:{some_plan.port}/api"
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("sqlite+aiosqlite:///")


def test_a_taken_port_is_reported_with_the_process_that_uses_it(some_plan):
    with socket.socket() as other:
        other.bind(("127.0.0.1", some_plan.port))
        other.listen()
        with pytest.raises(UsageError) as caught:
            start_stop.require_free_port(some_plan)
    assert f"127.0.0.1:{some_plan.port}" in str(caught.value)
    assert f"[prefect] port in {some_plan.config}" in str(caught.value)
    if Path("/proc/net/tcp").exists():
        assert f"process {os.getpid()}" in str(caught.value)
    start_stop.require_free_port(some_plan)


# Processes.


def a_service(some_plan, program, name="server"):
    at = Home(some_plan.home)
    at.create()
    return processes.Service(name, [sys.executable, "-c", program], dict(os.environ), some_plan.folder, at)


def test_a_process_that_dies_is_restarted_with_a_growing_delay(some_plan):
    service = a_service(some_plan, "pass")
    assert service.ensure_running()
    service.wait()
    assert not service.ensure_running()  # not at once
    assert until(service.ensure_running)
    service.wait()
    assert service.restarts == 1


def test_a_lock_is_held_while_its_process_lives(some_plan):
    service = a_service(some_plan, "import time; time.sleep(600)")
    lock = Home(some_plan.home).lock("server")
    assert not is_held(lock)
    service.ensure_running()
    assert holder(lock) == service.pid
    assert acquire(lock) is None
    processes.terminate([lock], grace=60)
    service.wait()
    assert holder(lock) is None


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(some_plan):
    stubborn = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True)\n"
    )
    child = stubborn + "time.sleep(600)"
    service = a_service(
        some_plan, f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])\n{child}"
    )
    service.ensure_running()
    log = Home(some_plan.home).log("server")
    until(lambda: len(log.read_text().split()) == 2)
    (number,) = {int(text) for text in log.read_text().split()} - {service.pid}
    processes.terminate([Home(some_plan.home).lock("server")], grace=0.2)
    service.wait()
    assert service.process.returncode == -signal.SIGKILL
    until(lambda: not lives(number))


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_logs_are_rotated_while_they_are_written(some_plan, monkeypatch):
    monkeypatch.setattr(home, "LOG_BYTES", 10)
    at = Home(some_plan.home)
    at.create()
    with at.log("server").open("a") as log:
        for i in range(7):
            print(f"entry number {i}", file=log, flush=True)
            at.rotate_logs()
        print("after", file=log, flush=True)
    assert at.log("server").read_text() == "after\n"
    kept = [Path(f"{at.log('server')}.{i}").read_text() for i in range(1, home.LOGS_KEPT + 1)]
    assert kept == [f"entry number {i}\n" for i in (6, 5, 4, 3)]
    assert not Path(f"{at.log('server')}.{home.LOGS_KEPT + 1}").exists()


def test_down_without_services_does_nothing(some_plan):
    shutil.rmtree(some_plan.home)
    assert not start_stop.down(some_plan)
    assert not some_plan.home.exists()


def test_the_service_over_the_catalogue_runs_as_the_settings_say_and_is_restarted(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    port = free_port()
    (tmp_path / "slickwatch.toml").write_text(f"[service]\nenabled = true\nport = {port}\n")
    plan = make_plan(Settings.read(tmp_path / "slickwatch.toml"))
    assert plan.service == f"127.0.0.1:{port}"
    Home(plan.home).create()
    with Api(plan.api_url) as api:
        service = Supervisor(plan, api).service
    lock = Home(plan.home).lock("service")

    def answers():
        with suppress(httpx.TransportError):
            return httpx.get(f"http://{plan.service}/collections/slicks/items", trust_env=False).status_code == 200
        return False

    def logs():
        return Home(plan.home).log("service").read_text()

    try:
        assert service.ensure_running()
        until(answers, logs)
        killed = kill(lock)
        until(service.ensure_running, logs)
        until(answers, logs)
        assert (service.restarts, holder(lock)) == (1, service.pid)
        assert service.pid != killed
    finally:
        terminate_leftovers(Home(plan.home))
        service.wait()
    assert not is_held(lock)
    assert "Traceback" not in logs()


def test_a_service_that_does_not_run_is_a_problem(some_plan):
    asked = dataclasses.replace(some_plan, service="127.0.0.1:4280")
    found = status.judge(
        asked, status.Status("http://127.0.0.1:1/api", supervisor=1, service_url="http://127.0.0.1:4280")
    )
    assert any(line.startswith("the service on http://127.0.0.1:4280 is not running: see ") for line in found.problems)


# One real server and worker.


def test_status_reports_that_all_is_well(prefect_services):
    done = prefect_services.slickwatch("status")
    assert done.returncode == 0, done.stdout
    assert "all is well" in done.stdout
    found = prefect_services.status()
    assert found["worker_online"]
    assert {one["name"] for one in found["deployments"]} == named(deployments()).keys()
    assert all(one["limit"] for one in found["limits"] if one["of"] != "queue default")
    monitor = next(one for one in found["deployments"] if one["name"] == "monitor")
    assert monitor["next_run"] is not None


def test_a_failed_run_is_a_problem_until_the_same_succeeds():
    """The newest first, as the server gives them."""

    def failures(*ended):
        runs = [
            {
                "name": f"run-{number}", "deployment_id": deployment, "parameters": {"scene": scene},
                "start_time": None, "total_run_time": 1.0,
                "state": {"type": kind, "name": kind.capitalize(), "message": f"{status._RAISED}a\nb"},
            }
            for number, (deployment, scene, kind) in enumerate(ended)
        ]  # fmt: skip
        api = SimpleNamespace(post=lambda *_, **__: runs)
        return [(one.name, one.message) for one in status._failures(api, {}, [{"id": "d", "name": "process-scene"}])]

    assert failures(("d", "a", "FAILED"), ("d", "a", "CRASHED"), ("d", "a", "COMPLETED")) == [("run-0", "a b")]
    assert failures(("d", "a", "COMPLETED"), ("d", "b", "CRASHED"), ("d", "a", "FAILED")) == [("run-1", "a b")]


def test_the_runs_that_a_dead_run_had_called_are_crashed_too(tmp_path):
    at, run, child, said = Home(tmp_path), str(uuid.uuid4()), str(uuid.uuid4()), []
    at.create()
    (at.runs / run).write_text("1")

    def post(path, **given):
        said.append((path, given.get("state", {}).get("type")))
        alive = {"id": child, "state": {"type": "RUNNING"}}
        return [alive] if given.get("flow_runs", {}).get("parent_flow_run_id") == {"any_": [run]} else []

    state = {"type": "RUNNING", "timestamp": "2026-01-01T00:00:00+00:00"}
    known = {"id": run, "state": state, "run_count": 1, "deployment_id": "d"}
    crashed = CrashedRuns(SimpleNamespace(home=tmp_path, work_pool="p"))
    for _ in range(2):
        crashed.reschedule(SimpleNamespace(get=lambda path: known, post=post))
    assert [one for one in said if one[1]] == [
        (f"/flow_runs/{child}/set_state", "CRASHED"),
        (f"/flow_runs/{run}/set_state", "CRASHED"),
        (f"/flow_runs/{run}/set_state", "SCHEDULED"),
    ]


def test_status_names_the_scenes_that_the_dead_hold(tmp_path):
    scenes = [
        scene_from_name(f"S1A_IW_GRDH_1SDV_2024010{day}T000000_2024010{day}T000025_051900_0645F0_1234")
        for day in (1, 2)
    ]
    with Ledger.open(str(tmp_path / "ledger.sqlite")) as ledger:
        ledger.record_found("x", "w", scenes)
        ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
        ledger.claim_scene(scenes[0].id, "fetch", f"{socket.gethostname()}:{ended}:a", 60)
        ledger.claim_scene(scenes[1].id, "fetch", f"{socket.gethostname()}:{os.getpid()}:b", 60)
        (line,) = status.held_by_the_dead(ledger.list())
    assert line.startswith(f"{scenes[0].id}: held by a dead process, {socket.gethostname()}:{ended}:a, until ")


def test_parameters_that_the_flow_does_not_take_are_one_line(prefect_services):
    done = prefect_services.prefect("deployment", "run", "retrain-dakd", "-p", "seconds=soon")
    assert done.returncode == 1
    assert done.stderr.startswith("prefect: the run was refused: ")
    assert "seconds" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_second_up_does_nothing(prefect_services):
    before = prefect_services.home.state()
    done = prefect_services.up()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"up already, nothing has changed: {prefect_services.url.removesuffix('/api')}\n"
    assert prefect_services.home.state() == before


def test_services_listen_on_loopback_only(prefect_services):
    if not Path("/proc/net/tcp").exists():
        pytest.skip("listening sockets are read from /proc")
    processes = [holder(prefect_services.home.lock(name)) for name in ("supervisor", "server", "worker")]
    links = [link for number in processes for link in Path(f"/proc/{number}/fd").iterdir()]
    sockets = {os.readlink(link).removeprefix("socket:[").removesuffix("]") for link in links if link.is_symlink()}
    tables = [Path("/proc/net", table).read_text().splitlines()[1:] for table in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    listening = [line[1] for line in lines if line[3] == "0A" and line[9] in sockets]
    assert f"0100007F:{urlsplit(prefect_services.url).port:04X}" in listening
    assert all(address.startswith("0100007F:") for address in listening)


def test_a_second_up_deploys_changed_settings(prefect_services):
    file = prefect_services.folder / "slickwatch.toml"
    file.write_text(file.read_text().replace("gulf-of-oman!", "Red Sea"))
    done = prefect_services.up()
    assert done.returncode == 0, done.stderr
    changed = "watch Red Sea, watch gulf-of-oman! changed"
    assert done.stdout == f"deployed anew ({changed}): {prefect_services.url.removesuffix('/api')}\n"
    with Api(prefect_services.url) as api:
        deployment = api.get("/deployments/name/monitor/monitor")
    assert {schedule["slug"]: schedule["parameters"] for schedule in deployment["schedules"]} == {
        "gulf-of-oman": {"watch": "Gulf of Oman"},
        "red-sea": {"watch": "Red Sea"},
    }
    assert deployment["global_concurrency_limit"]["limit"] == 2


def test_changes_that_need_a_restart_are_rejected(prefect_services):
    with pytest.raises(UsageError, match="already running with a different worker_limit; run slickwatch down, then"):
        start_stop.up(dataclasses.replace(prefect_services.plan, worker_limit=9), print)


def test_a_second_supervisor_is_rejected(prefect_services):
    from flows.operations.supervisor import supervise

    with pytest.raises(UsageError, match="server and worker are already running"):
        supervise(prefect_services.plan, threading.Event())


def test_kill_9_of_worker_server_and_run_loses_nothing(prefect_services, tmp_path):
    """Runs continue without worker and server; a killed run starts again; the schedule continues."""
    at, mark = prefect_services.home, tmp_path / "attempts"
    with Api(prefect_services.url) as api:
        long = begin(api, "retrain-dakd", seconds=20.0)
        cut = begin(api, "cut-off", mark=str(mark))
        until(lambda: mark.exists() and state(api, long) == "RUNNING", prefect_services.logs)
        killed = {kill(at.lock("worker")), kill(at.lock("server")), kill(at.runs / cut)}
        at_kill = time.time()
        until(api.is_up, prefect_services.logs)
        until(lambda: state(api, long) == "COMPLETED", prefect_services.logs)
        until(lambda: state(api, cut) == "COMPLETED", prefect_services.logs)
        assert mark.read_text() == "xx"
        assert api.get(f"/flow_runs/{long}")["run_count"] == 1

        def monitored_since():
            runs = prefect_services.runs(api, "monitor")
            return [run for run in runs if run["end_time"] and _seconds(run["end_time"]) > at_kill]

        until(monitored_since, prefect_services.logs)
        limits = api.get("/deployments/name/retrain-dakd/retrain-dakd")["global_concurrency_limit"]
        assert limits["active_slots"] == 0
    assert killed.isdisjoint({holder(at.lock("worker")), holder(at.lock("server"))})
    assert prefect_services.status()["worker"]["restarts"] >= 1


def test_the_real_process_scene_runs_in_the_worker(prefect_services):
    """An unknown scene fails, which shows that the flow was found and loaded."""
    with Api(prefect_services.url) as api:
        run = begin(api, "process-scene", scene="S1A_IW_GRDH_1SDV_20240601T053000_20240601T053025_054100_069A3C_E422")
        until(lambda: state(api, run) in {"COMPLETED", "FAILED", "CRASHED"}, prefect_services.logs)
        ended = api.get(f"/flow_runs/{run}")["state"]
    assert ended["type"] == "FAILED", ended
    assert "069A3C_E422" in ended["message"]
    log = prefect_services.home.log("runs").read_text()
    assert "Traceback" not in log[log.index("Beginning flow run 'process-scene-S1A") :]
    done = prefect_services.slickwatch("status", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["well"]) == (1, False)
    assert any(line.startswith("process-scene: run ") and "not in the ledger" in line for line in found["problems"])


def begin(api, deployment, **parameters):
    (found,) = api.post("/deployments/filter", deployments={"name": {"any_": [deployment]}})
    return api.post(f"/deployments/{found['id']}/create_flow_run", parameters=parameters)["id"]


def state(api, run):
    return api.get(f"/flow_runs/{run}")["state"]["type"]


def _seconds(text):
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_a_run_that_the_worker_reports_as_crashed_starts_again(prefect_services, tmp_path):
    """As after `down`, and after `kill -9` of its process alone."""
    at = Home(tmp_path)
    at.create()
    with Api(prefect_services.url) as api:
        (found,) = api.post("/deployments/filter", deployments={"name": {"any_": ["evaluate-champion"]}})
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2999-01-01T00:00:00+00:00"}}
        run = api.post(f"/deployments/{found['id']}/create_flow_run", state=later)["id"]
        api.post(f"/flow_runs/{run}/set_state", state={"type": "CRASHED"}, force=True)
        (at.runs / run).write_text("1")
        crashed_runs = CrashedRuns(dataclasses.replace(prefect_services.plan, home=tmp_path, work_pool="none"))
        crashed_runs.reschedule(api)
        assert state(api, run) == "CRASHED"  # one check is not enough
        crashed_runs.reschedule(api)
        begun = state(api, run)
        assert not (at.runs / run).exists()
        api.delete(f"/flow_runs/{run}")
    assert begun in {"SCHEDULED", "PENDING", "RUNNING", "COMPLETED"}


# PostgreSQL, containers and systemd.


def test_the_server_runs_on_postgresql_with_one_setting(some_plan, monkeypatch):
    with postgres.server() as url:
        parts = urlsplit(url)
        monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
        monkeypatch.setenv("PREFECT_SERVER_UI_ENABLED", "false")
        database = f"postgresql+asyncpg://{parts.username}@{parts.hostname}:{parts.port}/postgres"
        wanted = dataclasses.replace(some_plan, database=database)
        at = Home(wanted.home)
        at.create()
        serve = [sys.executable, "-m", "prefect", "server", "start"]
        server = processes.Service("server", serve, service_environment(wanted), wanted.folder, at)
        try:
            with Api(wanted.api_url) as api:
                until(lambda: server.ensure_running() or api.is_up(), lambda: at.log("server").read_text())
                until(api.is_up, lambda: at.log("server").read_text())
                ensure_work_pool(api, wanted)
                assert api.get("/work_pools/oil")["concurrency_limit"] == 3
        finally:
            processes.terminate([at.lock("server")], grace=60)
            server.wait()
        assert not (wanted.home / "prefect.db").exists()
        assert postgres.PASSWORD not in json.dumps(render_deployments(wanted)) + at.log("server").read_text()


def test_the_compose_file_keeps_to_loopback_and_has_health_checks():
    content = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    assert content["services"].keys() == {"postgres", "server", "worker"}
    for service in content["services"].values():
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("unit", ["slickwatch.service", "slickwatch-user.service"])
def test_systemd_accepts_the_unit(unit, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    text = (ROOT / "deploy" / unit).read_text()
    # The paths are those of an installation: replaced by a program that exists here.
    begins = {"ExecStart=": "ExecStart=/bin/true", "ExecStartPre=": "ExecStartPre=/bin/true", "User=": "User=root"}
    lines = [next((to for begin, to in begins.items() if line.startswith(begin)), line) for line in text.splitlines()]
    (tmp_path / unit).write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(["--user"] if "user" in unit else []), str(tmp_path / unit)],
        capture_output=True, text=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert unit not in done.stderr, done.stderr
