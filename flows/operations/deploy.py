"""Work pool, queues, limits, deployments and schedules, as prefect.yaml and the settings want them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from flows.operations.environment import environment
from flows.operations.home import Home
from flows.operations.plan import Plan
from flows.operations.prefect_api import Api
from ingest.errors import SourceError, UsageError
from ingest.files import write_bytes


def ensure_limits(api: Api, plan: Plan) -> None:
    """Make the work pool and its queues, each with its limit, before there is anything to run."""
    pool = f"/work_pools/{plan.work_pool}"
    there = api.get(pool)
    if there is None:
        template = _JOB_TEMPLATE
        api.post("/work_pools/", name=plan.work_pool, type="process", base_job_template=template)
    elif there["type"] != "process":
        problem = f"the work pool is of type {there['type']}, not process"
        raise UsageError(plan.work_pool, problem, "set another [prefect] work_pool")
    api.patch(pool, concurrency_limit=plan.worker_limit)
    for priority, (name, limit) in enumerate(_queue_limits(plan).items(), start=1):
        if api.get(f"{pool}/queues/{name}") is None:
            api.post(f"{pool}/queues", name=name)
        api.patch(f"{pool}/queues/{name}", concurrency_limit=limit, priority=priority)


def _queue_limits(plan: Plan) -> dict[str, int]:
    """In the order of their priority: watching comes first, training last."""
    return {"monitor": plan.worker_limit, "scenes": plan.parallel, "training": 1}


def begin_deploying(plan: Plan) -> subprocess.Popen[bytes]:
    """Start Prefect's own deploy on the file that `rendered` gives; it ends with 0 once all is deployed."""
    home = Home(plan.home)
    file = plan.home / "prefect.yaml"
    write_bytes(file, yaml.safe_dump(rendered(plan), sort_keys=False).encode())
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    with home.log("deploy").open("ab") as log:
        return subprocess.Popen(
            command, env=environment(plan), cwd=plan.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def finish_deploying(api: Api, plan: Plan, code: int) -> None:
    """Remove schedules that are no longer wanted; raises `SourceError` where something was not deployed."""
    wanted = {deployment["name"]: deployment for deployment in rendered(plan)["deployments"]}
    there = {found["name"]: found for found in api.post("/deployments/filter") if found["name"] in wanted}
    if code != 0 or len(there) < len(wanted):
        log = Home(plan.home).log("deploy")
        missing = ", ".join(sorted(wanted.keys() - there.keys())) or "changes"
        problem = f"not deployed: {missing} ({_last_words(log)})"
        raise SourceError(plan.deployments, problem, f"see {log}, mend it, and run slickwatch up again")
    for name, found in there.items():
        slugs = {schedule["slug"] for schedule in wanted[name].get("schedules", [])}
        for schedule in found["schedules"]:
            if schedule["slug"] not in slugs:
                api.delete(f"/deployments/{found['id']}/schedules/{schedule['id']}")


def rendered(plan: Plan) -> dict[str, Any]:
    """The deployments' file with the settings worked in; raises `UsageError` where it is none."""
    try:
        content = yaml.safe_load(plan.deployments.read_text(encoding="utf-8"))
        deployments = [dict(deployment) for deployment in content["deployments"]]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        remedy = "give one like prefect.yaml"
        raise UsageError(plan.deployments, f"no readable file of deployments ({error})", remedy) from error
    for deployment in deployments:
        _work_in(deployment, plan)
    return {"name": content.get("name"), "pull": [], "deployments": deployments}


def _work_in(deployment: dict[str, Any], plan: Plan) -> None:
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
    wanted = schedules.get(name, deployment.get("schedules") or [])
    deployment["schedules"] = [{**schedule, "timezone": plan.timezone} for schedule in wanted]


def _area_schedules(plan: Plan) -> list[dict[str, Any]]:
    """One for each watched area, by a slug that stays when others come and go; one for all where none is named."""
    schedules: dict[str, dict[str, Any]] = {}
    for name, cron in plan.areas:
        slug = beginning = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "area"
        while slug in schedules:
            slug = f"{beginning}-{len(schedules) + 1}"
        schedules[slug] = {"slug": slug, "cron": cron, "parameters": {"watch": name}}
    return list(schedules.values()) or [{"slug": "all", "cron": plan.monitor_cron}]


def _last_words(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip(" │╭╮╰╯─") for line in log.read_text(errors="replace").splitlines()[-40:]]
    spoken = [line for line in lines if line and line != "An exception occurred."]
    return spoken[-1][:200] if spoken else "nothing was said"


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
# What a process worker understands. Prefect's own tool for it asks the network for a list of all kinds of pools.
_JOB_TEMPLATE = {
    "job_configuration": {name: f"{{{{ {name} }}}}" for name in _VARIABLES},
    "variables": {"type": "object", "properties": _VARIABLES},
}
