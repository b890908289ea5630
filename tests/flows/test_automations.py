"""Prefect automations, against Prefect's own models and templates; no server is needed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest
from pydantic import SecretStr

import flows.prefect_defaults  # noqa: F401 - before Prefect
from flows.automations import Watched, absent_runs, automations, failed_runs, webhook_block, write_automations
from ingest.errors import UsageError
from outputs.alerting import render
from outputs.alerting.records import Message
from outputs.alerting.rules import failure

BLOCK_ID = UUID("6f7b2c1e-0c7f-4a55-9b4e-3f0f6d1c2a3b")
WATCHED = Watched(("monitor", "process-scene"), "monitor", absent_hours=3)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def server_models():
    """The models of the server, which are stricter than those of the client."""
    from prefect.server.events.schemas.automations import AutomationCore

    return AutomationCore


def rendered(template, **context):
    """A template as the server renders it, and reads it back as JSON."""
    from prefect.server.utilities.user_templates import render_user_template, validate_user_template

    validate_user_template(template)
    return json.loads(asyncio.run(render_user_template(template, context)))


def test_the_file_is_what_prefect_creates_from(tmp_path, server_models):
    from prefect.events.schemas.automations import AutomationCore

    path = tmp_path / "automations.json"
    write_automations(path, WATCHED, BLOCK_ID)
    read = json.loads(path.read_text())["automations"]
    assert len(read) == 3
    for given, made in zip(read, automations(WATCHED, BLOCK_ID), strict=True):
        automation = AutomationCore.model_validate(given)
        assert automation == AutomationCore(**made.model_dump(exclude={"id"}))
        on_the_server = server_models.model_validate(automation.model_dump(mode="json"))
        assert on_the_server.trigger.within == automation.trigger.within
        assert [action.type for action in on_the_server.actions] == [action.type for action in automation.actions]


def event(name, flow="monitor"):
    """An event of a flow run, as the server gets it."""
    from prefect.server.events.schemas.events import ReceivedEvent

    return ReceivedEvent(
        id="0c7f4a55-6f7b-4a55-9b4e-3f0f6d1c2a3b",
        occurred=NOW,
        received=NOW,
        event=name,
        resource={"prefect.resource.id": "prefect.flow-run.1"},
        related=[
            {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "prefect.resource.name": flow}
        ],
    )


@pytest.mark.parametrize(
    ("which", "name", "flow", "meant"),
    [
        (0, "prefect.flow-run.Failed", "monitor", True),
        (0, "prefect.flow-run.Crashed", "process-scene", True),
        (0, "prefect.flow-run.Completed", "monitor", False),
        (0, "prefect.flow-run.Failed", "of-somebody-else", False),
        (1, "prefect.flow-run.Completed", "monitor", True),
        (1, "prefect.flow-run.Completed", "process-scene", False),
        (2, "prefect.flow-run.heartbeat", "process-scene", True),
        (2, "prefect.flow-run.Crashed", "process-scene", True),
        (2, "prefect.flow-run.Running", "process-scene", False),
    ],
)
def test_the_triggers_know_the_events_they_are_meant_for(server_models, which, name, flow, meant):
    made = automations(WATCHED, BLOCK_ID)[which]
    trigger = server_models.model_validate(made.model_dump(mode="json", exclude={"id"})).trigger
    happened = event(name, flow)
    assert (trigger.covers(happened) and trigger.expects(happened.event)) == meant


def test_absence_is_awaited_for_the_hours_given():
    trigger = absent_runs(WATCHED, BLOCK_ID).trigger
    assert (trigger.posture.value, trigger.within, trigger.threshold) == ("Proactive", timedelta(hours=3), 1)
    assert trigger.after == set()  # it also fires where no run has ever come


def test_the_payload_of_a_failure_has_the_schema_of_every_alert():
    (action,) = failed_runs(WATCHED, BLOCK_ID).actions
    message = 'it said "no" <b>\n{{ 1 }} \\ {"end": 1}'
    told = rendered(
        action.payload,
        event=event("prefect.flow-run.Failed"),
        flow=SimpleNamespace(name="monitor"),
        flow_run=SimpleNamespace(name='odd "name"', state=SimpleNamespace(name="Failed", message=message)),
    )
    ours = render.payload(Message("0" * 32, NOW, (failure("x", "y", "flow", "", NOW),)))
    assert told.keys() == ours.keys()
    assert told["alerts"][0].keys() == ours["alerts"][0].keys()
    assert told["counts"] == ours["counts"]
    assert told["alerts"][0]["reason"] == message
    assert told["title"] == 'Run failed: monitor/odd "name"'
    assert told["id"] == "0c7f4a55-6f7b-4a55-9b4e-3f0f6d1c2a3b"


def test_the_payload_of_an_absence_needs_no_event():
    watched = Watched(("mon",), 'it\'s "mon"\\')
    (action,) = absent_runs(watched, BLOCK_ID).actions
    told = rendered(action.payload, firing=SimpleNamespace(id=BLOCK_ID, triggered=NOW))
    assert told["id"] == str(BLOCK_ID)
    assert told["counts"]["silence"] == 1
    assert 'no run of its "mon" completed for 6 hours' in told["title"]


def test_the_block_hides_its_address_and_token():
    block = webhook_block("https://hooks.example/t0ken", SecretStr("bearer-of-the-test"))
    assert "t0ken" not in repr(block)
    assert "bearer-of-the-test" not in repr(block)
    assert block.headers.get_secret_value()["Authorization"] == "Bearer bearer-of-the-test"


def test_what_would_watch_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError):
        Watched((), "monitor")
    with pytest.raises(UsageError):
        Watched(("monitor",), "monitor", absent_hours=0)
    with pytest.raises(UsageError, match="json"):
        write_automations(tmp_path / "a.txt", WATCHED, BLOCK_ID)


def test_alerts_themselves_do_without_prefect():
    import subprocess
    import sys

    code = "import outputs.alerting, sys; print(sorted(m for m in sys.modules if m.split('.')[0] == 'prefect'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
