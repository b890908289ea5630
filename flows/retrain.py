"""The flows `retrain-dakd` and `evaluate-champion`: the steps of a retraining as Prefect tasks, with artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flows.prefect_defaults  # noqa: F401 - before Prefect

# isort: split
from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.failures import report_run
from flows.retraining.pipeline import Outcome, retrain
from flows.retraining.plan import make_plan
from flows.run_log import write_to_run_log
from flows.settings import Settings
from flows.tasks import artifact_key, small_picture
from ingest.progress import lines_to
from models.retraining.card import COMPARISON, SHEET
from models.retraining.champion import TEXT, ChampionReport, report_champion
from outputs.record import code_version


@flow(name="retrain-dakd", log_prints=True, on_failure=[report_run], on_crashed=[report_run])
def retrain_dakd(
    config: Path | None = None,
    hours: float | None = None,
    max_steps: int | None = None,
    memory_gb: float | None = None,
) -> Outcome:
    """Train a challenger on all data at hand and promote it if it is better; docs/operator/retraining.md.

    Options given here override `[retraining.budget]` of the settings in `config`. Run again after a failure, it
    resumes.
    """
    plan = make_plan(Settings.read(config), hours, max_steps, memory_gb)
    with lines_to(write_to_run_log):
        outcome = retrain(plan, _as_task, flow_run.get_id())
    # As a state, so that a failed report does not fail a finished retraining.
    _as_task("report", publish_comparison)(outcome, return_state=True)
    return outcome


@flow(name="evaluate-champion", log_prints=True, on_failure=[report_run], on_crashed=[report_run])
def evaluate_champion(config: Path | None = None) -> ChampionReport:
    """Evaluate the champion on held-out data; fails where a score has dropped beyond its margin since its promotion."""
    plan = make_plan(Settings.read(config))
    with lines_to(write_to_run_log):
        report: ChampionReport = _as_task("evaluate", report_champion)(
            plan.folder, plan.registry, plan.heldout, plan.margins, code_version()
        )
    _as_task("report", publish_champion_report)(report, return_state=True)
    report.require()
    return report


def publish_comparison(outcome: Outcome) -> None:
    """Store the comparison and the contact sheet as artifacts."""
    key = artifact_key(outcome.challenger)
    text = (outcome.folder / COMPARISON).read_text(encoding="utf-8")
    create_markdown_artifact(text, key=f"comparison-{key}", description="Challenger and champion")
    if (outcome.folder / SHEET).is_file():
        picture = small_picture(outcome.folder / SHEET)
        create_image_artifact(picture, key=f"synthetic-{key}", description="Real and synthetic pairs")


def publish_champion_report(report: ChampionReport) -> None:
    """Store the report on the champion as an artifact."""
    text = (report.folder / TEXT).read_text(encoding="utf-8")
    key = f"champion-{artifact_key(report.champion)}"
    create_markdown_artifact(text, key=key, description="The champion on held-out data")


def _as_task(name: str, function: Callable[..., Any]) -> Any:
    """Make a step a Prefect task; steps cache their results themselves."""
    return task(name=name, cache_policy=NO_CACHE)(function)
