"""The flows `retrain-dakd` and `evaluate-champion`: the steps of flows/retraining as Prefect tasks, with artifacts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flows.prefect_defaults  # noqa: F401 - before Prefect

# isort: split
from PIL import Image
from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.retraining.card import COMPARISON, SHEET
from flows.retraining.pipeline import Outcome, retrain
from flows.retraining.plan import planned
from flows.retraining.standing import TEXT, Standing, champion_standing
from flows.settings import Settings
from flows.tasks import artifact_key


@flow(name="retrain-dakd", log_prints=True)
def retrain_dakd(
    config: Path | None = None,
    hours: float | None = None,
    max_steps: int | None = None,
    memory_gb: float | None = None,
) -> Outcome:
    """Train a challenger on all data at hand and promote it if it is better; docs/operator/retraining.md.

    What is given goes before `[retraining.budget]` of the settings in `config`. Run again after a failure, it goes on
    where it stopped.
    """
    plan = planned(Settings.read(config), hours, max_steps, memory_gb)
    outcome = retrain(plan, _as_task, flow_run.get_id())
    # As a state, so that a failure here does not fail a retraining that is done.
    _as_task("report", report_comparison)(outcome, return_state=True)
    return outcome


@flow(name="evaluate-champion", log_prints=True)
def evaluate_champion(config: Path | None = None) -> Standing:
    """Evaluate the champion on held-out data; fails where it has dropped beyond the margins since its promotion."""
    plan = planned(Settings.read(config))
    standing: Standing = _as_task("evaluate", champion_standing)(plan)
    _as_task("report", report_standing)(standing, return_state=True)
    standing.require()
    return standing


def report_comparison(outcome: Outcome) -> None:
    """Leave the comparison and the contact sheet as artifacts."""
    key = artifact_key(outcome.challenger)
    text = (outcome.folder / COMPARISON).read_text(encoding="utf-8")
    create_markdown_artifact(text, key=f"comparison-{key}", description="Challenger against champion")
    if (outcome.folder / SHEET).is_file():
        picture = _small_picture(outcome.folder / SHEET)
        create_image_artifact(picture, key=f"synthetic-{key}", description="Real and synthetic pairs")


def report_standing(standing: Standing) -> None:
    """Leave how the champion does as an artifact."""
    text = (standing.folder / TEXT).read_text(encoding="utf-8")
    key = f"champion-{artifact_key(standing.champion)}"
    create_markdown_artifact(text, key=key, description="The champion on held-out data")


def _as_task(name: str, function: Callable[..., Any]) -> Any:
    """A step as a Prefect task; what is done already, the step itself knows better than Prefect's cache."""
    return task(name=name, cache_policy=NO_CACHE)(function)


def _small_picture(path: Path) -> str:
    """A picture as the address that holds it."""
    with Image.open(path) as picture:
        picture.thumbnail((1200, 1200))
        jpeg = io.BytesIO()
        picture.convert("RGB").save(jpeg, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
