"""Failed flow runs: an alert on each, and one line in the log where the cause is known"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.exceptions import ParameterTypeError, SignatureMismatchError

from flows.alerts import open_alerter
from flows.settings import Settings
from ingest.errors import SlickwatchError
from outputs.alerting.alerter import REPORTED

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

_KNOWN = (SlickwatchError, ParameterTypeError, SignatureMismatchError)


def report_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of a flow: alert that a run failed or crashed, unless it has alerted on that itself."""
    error = getattr(state.data, "result", state.data)
    if REPORTED in getattr(error, "__notes__", ()):
        return
    config, watch = flow_run.parameters.get("config"), flow_run.parameters.get("watch")
    with open_alerter(Settings.read(None if config is None else Path(str(config)))) as alerter:
        reason = _one_line(error) if isinstance(error, Exception) else state.message or state.name or "failed"
        text, run = f"run {flow_run.name}: {reason}", str(flow_run.id)
        alerter.report_failure(
            flow.name, text, kind="flow", occurrence=run, watch=None if watch is None else str(watch)
        )
        alerter.deliver()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SlickwatchError) else f"{type(error).__name__}: {text}"


class OneLine(logging.Filter):
    """Leaves out the traceback of a known failure: its text says what is wrong and what to do."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always kept."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _KNOWN):
            record.msg, record.args, record.exc_info, record.exc_text = _one_line(error), (), None, None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
    logging.getLogger(_name).addFilter(OneLine(_name))
