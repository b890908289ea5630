"""Prefect automations: the server's own alerts on failed, lost and missing runs.

They complement `Alerter`, which runs inside the flows: a monitor that has died cannot report its own silence. The
server posts to the same kind of webhook with the same schema, but cannot sign.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.automations import Automation, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.types import SecretDict
from pydantic import SecretStr

from ingest.errors import UsageError
from ingest.files import write_json
from outputs.alerting.render import SCHEMA

BLOCK = "slickwatch-alerts"
_RUN: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}
_ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
_HEARTBEAT = "prefect.flow-run.heartbeat"


@dataclass(frozen=True)
class Watched:
    """Which flows are watched, and when a run of the flow `regular` counts as missing.

    Prefect keeps a run whose worker was killed as Running; it counts as lost after `lost_minutes` without a heartbeat,
    sent every three minutes by default (PREFECT_FLOWS_HEARTBEAT_FREQUENCY). Raises `UsageError`.
    """

    flows: tuple[str, ...]
    regular: str
    absent_hours: float = 6.0
    lost_minutes: float = 10.0

    def __post_init__(self) -> None:
        if not self.flows:
            raise UsageError("automations", "no flow is named", "name at least one")
        if self.absent_hours <= 0 or self.lost_minutes <= 0:
            raise UsageError("automations", "times must be positive", "give more than 0")


def webhook_block(url: str, token: SecretStr | None = None) -> Webhook:
    """The webhook block with the address, not yet saved; the token goes into an ``Authorization: Bearer`` header."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    return Webhook(method="POST", url=SecretStr(url), headers=SecretDict(headers))


def automations(watched: Watched, block_id: UUID) -> tuple[Automation, ...]:
    """The automations of a server, not yet created; `block_id` is that of the saved block."""
    return failed_runs(watched, block_id), absent_runs(watched, block_id), lost_runs(watched)


def failed_runs(watched: Watched, block_id: UUID) -> Automation:
    """Alert on each run that failed or crashed."""
    return Automation(
        name="slickwatch: a run failed",
        description="Posts to the webhook when a run of Slickwatch fails or crashes.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match=_RUN,
            match_related=_of_flows(watched.flows),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=block_id, payload=_failed_payload())],
    )


def absent_runs(watched: Watched, block_id: UUID) -> Automation:
    """Alert when no run of the regular flow has completed for some hours, and again after as many more."""
    return Automation(
        name="slickwatch: no run",
        description=f"Posts to the webhook when no {watched.regular} completes for {watched.absent_hours:g} hours.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Completed"},
            match=_RUN,
            match_related=_of_flows((watched.regular,)),
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(hours=watched.absent_hours),
        ),
        actions=[CallWebhook(block_document_id=block_id, payload=_absent_payload(watched))],
    )


def lost_runs(watched: Watched) -> Automation:
    """Mark a run as crashed when its heartbeat stops; the automation on failed runs then reports it."""
    return Automation(
        name="slickwatch: a run was lost",
        description=f"Marks a run without a heartbeat for {watched.lost_minutes:g} minutes as crashed.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_ENDED},
            match=_RUN,
            match_related=_of_flows(watched.flows),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(minutes=watched.lost_minutes),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed", state=StateType.CRASHED, message="its heartbeat has stopped", force=False
            )
        ],
    )


def write_automations(path: Path, watched: Watched, block_id: UUID) -> None:
    """Write the file for ``prefect automation create --from-file``; a path ending in .json, raises `UsageError`."""
    if path.suffix != ".json":
        raise UsageError(path, "Prefect would not know its format", "give a name that ends in .json")
    content = [automation.model_dump(mode="json", exclude={"id"}) for automation in automations(watched, block_id)]
    write_json(path, {"automations": content})


def install(url: str, watched: Watched, token: SecretStr | None = None) -> tuple[str, ...]:
    """Save the block and create or update the automations on the server; returns their names."""
    from prefect.client.orchestration import get_client

    block_id = cast(UUID, webhook_block(url, token).save(BLOCK, overwrite=True))
    wanted = automations(watched, block_id)
    with get_client(sync_client=True) as client:
        known = {each.name: client.read_automations_by_name(each.name) for each in wanted}
    for automation in wanted:
        if known[automation.name]:
            automation.id = known[automation.name][0].id
            automation.update()
        else:
            automation.create()
    return tuple(automation.name for automation in wanted)


def _of_flows(names: Sequence[str]) -> dict[str, Any]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": list(names)}


def _failed_payload() -> str:
    """A Jinja template; `tojson` keeps any run name inside its string."""
    return _payload(
        "failure",
        identifier="event.id | string",
        moment="event.occurred.isoformat()",
        subject="(flow.name ~ '/' ~ flow_run.name)",
        title="('Run ' ~ flow_run.state.name | lower ~ ': ' ~ flow.name ~ '/' ~ flow_run.name)",
        reason="(flow_run.state.message or 'no reason given')",
    )


def _absent_payload(watched: Watched) -> str:
    name = watched.regular.replace("\\", "").replace("'", "")
    problem = f"no run of {name} completed for {watched.absent_hours:g} hours"
    return _payload(
        "silence",
        identifier="firing.id | string",
        moment="firing.triggered.isoformat()",
        subject=f"'{name}'",
        title=f"'Silence: {problem}'",
        reason=f"'{problem}'",
    )


def _payload(kind: str, *, identifier: str, moment: str, subject: str, title: str, reason: str) -> str:
    """The schema of docs/operator/alerts.md, filled with template expressions."""
    counts = {each: int(each == kind) for each in ("detection", "failure", "silence", "all-clear")}
    alert = (
        f'{{"id": {{{{ {identifier} | tojson }}}}, "kind": "{kind}", "subject": {{{{ {subject} | tojson }}}}, '
        f'"made_at": {{{{ {moment} | tojson }}}}, "title": {{{{ {title} | tojson }}}}, '
        f'"reason": {{{{ {reason} | tojson }}}}, "watch": null, "sighting": null}}'
    )
    return (
        f'{{"schema": "{SCHEMA}", "id": {{{{ {identifier} | tojson }}}}, "composed_at": {{{{ {moment} | tojson }}}}, '
        f'"title": {{{{ {title} | tojson }}}}, "text": {{{{ {title} | tojson }}}}, '
        f'"counts": {json.dumps(counts)}, "alerts": [{alert}], "omitted": 0}}'
    )
