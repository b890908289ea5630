"""Prefect's work pool and its queues with their concurrency limits."""

from __future__ import annotations

from typing import Any

from flows.operations.plan import Plan
from flows.operations.prefect_api import Api
from ingest.errors import UsageError


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
    for priority, (name, limit) in enumerate(_queue_limits(plan).items(), start=1):
        if api.get(f"{path}/queues/{name}") is None:
            api.post(f"{path}/queues", name=name)
        api.patch(f"{path}/queues/{name}", concurrency_limit=limit, priority=priority)


def _queue_limits(plan: Plan) -> dict[str, int]:
    """Limits by queue, highest priority first."""
    return {"monitor": plan.worker_limit, "scenes": plan.parallel, "training": 1}


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
