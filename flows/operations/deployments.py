"""Work pool, deployments and schedules on the server: prefect.yaml completed from the settings, `prefect deploy`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from flows.operations.home import Home
from flows.operations.plan import Plan, service_environment
from flows.operations.prefect_api import Api
from ingest.errors import SourceError, UsageError
from ingest.files import write_bytes


def start_deploy(plan: Plan) -> subprocess.Popen[bytes]:
    """Start `prefect deploy` on the content of `render_deployments`; exit code 0 means everything is deployed."""
    home = Home(plan.home)
    file = plan.home / "prefect.yaml"
    write_bytes(file, yaml.safe_dump(render_deployments(plan), sort_keys=False).encode())
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    with home.log("deploy").open("ab") as log:
        return subprocess.Popen(
            command, env=service_environment(plan), cwd=plan.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def finish_deploy(api: Api, plan: Plan, exit_code: int) -> None:
    """Check the result of `start_deploy` and delete obsolete schedules.

    Raises `SourceError` if a deployment is missing or `prefect deploy` failed.
    """
    expected = {deployment["name"]: deployment for deployment in render_deployments(plan)["deployments"]}
    deployed = {found["name"]: found for found in api.post("/deployments/filter") if found["name"] in expected}
    if exit_code != 0 or len(deployed) < len(expected):
        log = Home(plan.home).log("deploy")
        missing = ", ".join(sorted(expected.keys() - deployed.keys())) or "changes"
        problem = f"not deployed: {missing} ({_last_message(log)})"
        raise SourceError(plan.deployments, problem, f"see {log}, fix the cause, and run slickwatch up again")
    for name, found in deployed.items():
        slugs = {schedule["slug"] for schedule in expected[name].get("schedules", [])}
        for schedule in found["schedules"]:
            if schedule["slug"] not in slugs:
                api.delete(f"/deployments/{found['id']}/schedules/{schedule['id']}")


def render_deployments(plan: Plan) -> dict[str, Any]:
    """The content of the deployments file completed from the plan; raises `UsageError` for an invalid file."""
    try:
        content = yaml.safe_load(plan.deployments.read_text(encoding="utf-8"))
        deployments = [dict(deployment) for deployment in content["deployments"]]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        problem = f"not a valid deployments file ({error})"
        raise UsageError(plan.deployments, problem, "use prefect.yaml as a template") from error
    for deployment in deployments:
        _complete(deployment, plan)
    return {"name": content.get("name"), "pull": [], "deployments": deployments}


def _complete(deployment: dict[str, Any], plan: Plan) -> None:
    name = deployment["name"]
    if plan.config is not None:
        deployment["parameters"] = dict(deployment.get("parameters") or {}) | {"config": str(plan.config)}
    deployment["work_pool"] = dict(deployment.get("work_pool") or {}) | {
        "name": plan.work_pool,
        "job_variables": {
            "working_dir": str(plan.folder),
            "command": shlex.join([sys.executable, "-m", "flows.operations.run_process"]),
        },
    }
    if name in (limits := {"monitor": max(1, len(plan.areas)), "process-scene": plan.parallel}):
        deployment["concurrency_limit"] = {"limit": limits[name], "collision_strategy": "ENQUEUE"}
    schedules = {"monitor": _area_schedules(plan), "retrain-dakd": [{"slug": "cron", "cron": plan.retraining_cron}]}
    schedules_here = schedules.get(name, deployment.get("schedules") or [])
    deployment["schedules"] = [{**schedule, "timezone": plan.timezone} for schedule in schedules_here]


def _area_schedules(plan: Plan) -> list[dict[str, Any]]:
    """One schedule for each watched area, its slug made from the area's name; a single one if there are no areas."""
    schedules: dict[str, dict[str, Any]] = {}
    for name, cron in plan.areas:
        slug = stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "area"
        while slug in schedules:
            slug = f"{stem}-{len(schedules) + 1}"
        schedules[slug] = {"slug": slug, "cron": cron, "parameters": {"watch": name}}
    return list(schedules.values()) or [{"slug": "all", "cron": plan.monitor_cron}]


def _last_message(log: Path) -> str:
    """The last line of the log with text, without the frame that Prefect draws around it."""
    lines = [line.strip(" │╭╮╰╯─") for line in log.read_text(errors="replace").splitlines()[-40:]]
    messages = [line for line in lines if line and line != "An exception occurred."]
    return messages[-1][:200] if messages else "no output"


def ensure_work_pool(api: Api, plan: Plan) -> None:
    """Create or update the work pool and its queues with their limits; raises `UsageError` for another pool type."""
    path = f"/work_pools/{plan.work_pool}"
    pool = api.get(path)
    if pool is None:
        api.post("/work_pools/", name=plan.work_pool, type="process", base_job_template=_JOB_TEMPLATE)
    elif pool["type"] != "process":
        problem = f"work pool has type {pool['type']}, not process"
        raise UsageError(plan.work_pool, problem, "set another [prefect] work_pool")
    api.patch(path, concurrency_limit=plan.worker_limit)
    limits = {"monitor": plan.worker_limit, "scenes": plan.parallel, "training": 1}  # highest priority first
    for priority, (name, limit) in enumerate(limits.items(), start=1):
        if api.get(f"{path}/queues/{name}") is None:
            api.post(f"{path}/queues", name=name)
        api.patch(f"{path}/queues/{name}", concurrency_limit=limit, priority=priority)


def _text(default: Any = None) -> dict[str, Any]:
    return {"default": default, "anyOf": [{"type": "string"}, {"type": "null"}]}


_VARIABLES: dict[str, dict[str, Any]] = {
    "name": _text(),
    "command": _text(),
    "working_dir": _text(),
    "stream_output": {"type": "boolean", "default": True},
    "env": {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
}
# The job variables of a process worker. Prefect's own command downloads the list of pool types.
_JOB_TEMPLATE = {
    "job_configuration": {name: f"{{{{ {name} }}}}" for name in _VARIABLES},
    "variables": {"type": "object", "properties": _VARIABLES},
}
