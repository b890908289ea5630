"""The scheduled flows: `monitor` finds and fetches new scenes, `process-scene` processes one."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import flows.prefect_defaults  # noqa: F401 - before Prefect

# isort: split
from prefect import flow, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import CancelledRun, ObjectNotFound
from prefect.states import Cancelled

from flows.agreement import settle
from flows.alerts import last_run_file, open_alerter
from flows.failures import report_run
from flows.processing import FLOW, Processed, process
from flows.results import staged
from flows.run_log import write_to_run_log
from flows.settings import Settings
from flows.tasks import artifact_key
from flows.watches import OpenWatches, open_watches
from ingest.errors import SlickwatchError
from ingest.ledger.ledger import Ledger
from ingest.progress import lines_to
from ingest.store import SceneFolder
from ingest.watch import Round, release_file
from outputs.alerting.alerter import Alerter
from outputs.coverage import finding

_LOG = logging.getLogger(__name__)
DEPLOYMENT = f"{FLOW}/{FLOW}"
FAILURES_SINCE = timedelta(days=7)  # how far back each round looks for failed scenes to report


@dataclass(frozen=True)
class Monitored:
    """The outcome of a round of monitoring."""

    round: Round
    submitted: tuple[str, ...]  # scenes handed to runs of `process-scene`
    processed: tuple[Processed, ...]  # in this process, where `process-scene` is not deployed
    failed: Mapping[str, str]  # reasons by id of the scenes that failed in this process
    removed: tuple[str, ...]  # scenes whose files were deleted for the disk budget


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{runtime.flow_run.flow_name}-{given.get('scene') or given.get('watch') or 'all'}"


@flow(name=FLOW, flow_run_name=_run_name, on_failure=[report_run], on_crashed=[report_run])
def process_scene(scene: str | None = None, config: str | None = None) -> Processed | State[Processed]:
    """Process one scene: an id of the ledger, the path of a product (with a / in it), else the next one waiting.

    `config` names the settings file. Raises the error that the scene failed with; the ledger says if it is retried. The
    run is Cancelled if another process works on the scene; a scene whose process has died is taken over.
    """
    settings = Settings.read(None if config is None else Path(config))
    with open_alerter(settings) as alerter, lines_to(write_to_run_log):
        try:
            done = process(scene, settings, alerter)
            return Cancelled(message=f"{done.scene_id}: {done.why}") if done.outcome == "held" else done
        finally:
            alerter.deliver()


@flow(name="monitor", flow_run_name=_run_name, on_failure=[report_run], on_crashed=[report_run])
def monitor(watch: str | None = None, config: str | None = None) -> Monitored:
    """One round: find and fetch new scenes of one watch or of all, then have each waiting scene processed once.

    Where `process-scene` is deployed, its runs are submitted; else scenes are processed here, `monitor.parallel` at a
    time. Raises `UsageError` for invalid settings or without a watch, and what opening ledger and folders raises.
    """
    settings = Settings.read(None if config is None else Path(config))
    with open_alerter(settings) as alerter, lines_to(write_to_run_log):
        try:
            with alerter.reporting_failure("monitor", watch):
                return _round(watch, config, settings, alerter)
        finally:
            alerter.deliver()


def _round(watch: str | None, config: str | None, settings: Settings, alerter: Alerter) -> Monitored:
    with open_watches(settings, None if watch is None else [watch]) as watching:
        found = watching.run_round(threading.Event())
        _report_failures(found, watching.ledger, alerter)
        settle(watching.ledger, settings, alerter)
        waiting = watching.ledger.waiting("process")
        parameters = {"config": None if settings.file is None else str(settings.file.absolute())}
        deployed = bool(waiting) and is_deployed()
        submitted = submit(waiting, parameters) if deployed else ()
        processed, failed = _process_here(() if deployed else waiting, config, settings.monitor.parallel)
        removed = _clean_up(settings, watching.ledger)
        newest = _newest_publications(watching)
    alerter.record_run(newest, last_run_file(settings))
    monitored = Monitored(found, submitted, tuple(processed), failed, removed)
    report_round(monitored, watch, return_state=True)  # a failure here does not fail a round that is done
    return monitored


@task(name="report-round", cache_policy=NO_CACHE)
def report_round(monitored: Monitored, watch: str | None) -> None:
    """Save the summary of a round as a Prefect artifact."""
    key = f"monitor-{artifact_key(watch or 'all')}"
    create_markdown_artifact(round_summary(monitored), key=key, description="The last round of monitoring")


def _report_failures(found: Round, ledger: Ledger, alerter: Alerter) -> None:
    """Report failures to search and fetch, and all failed or quarantined scenes, from any process."""
    for source, reason in found.down.items():
        alerter.report_failure(f"source {source}", reason)
    if found.stopped is not None:
        alerter.report_failure("fetching", found.stopped)
    for record in ledger.list(["failed", "quarantined"], since=datetime.now(UTC) - FAILURES_SINCE):
        alerter.report_scene(record)


def is_deployed() -> bool:
    """Whether there is a server with a deployment of `process-scene` to hand scenes to."""
    with get_client(sync_client=True) as client:
        if client.server_type is ServerType.EPHEMERAL:
            return False
        with suppress(ObjectNotFound):
            client.read_deployment_by_name(DEPLOYMENT)
            return True
    return False


def submit(waiting: Mapping[str, int], parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Submit a run for each waiting scene, given by id with the number of its claims; returns the ids.

    Submitting a scene again that has not been claimed since gives the same run; a run that ended without claiming its
    scene, because its worker died at once, is followed by another.
    """
    for scene_id, claims in waiting.items():
        ended: set[Any] = set()
        while (run := _submitted(scene_id, f"{scene_id}/{claims}/{len(ended)}", parameters)).id not in ended:
            if run.state is None or not run.state.is_final():
                break
            ended.add(run.id)
    return tuple(waiting)


def _submitted(scene_id: str, key: str, parameters: Mapping[str, Any]) -> FlowRun:
    given = {"scene": scene_id} | {name: value for name, value in parameters.items() if value is not None}
    run = run_deployment(DEPLOYMENT, parameters=given, timeout=0, idempotency_key=key, as_subflow=False)
    return cast(FlowRun, run)


def _process_here(
    scene_ids: Iterable[str], config: str | None, parallel: int
) -> tuple[list[Processed], dict[str, str]]:
    """Process scenes in this process, `parallel` at a time; returns the outcomes, and the reasons of failures by id."""
    processed: list[Processed] = []
    failed: dict[str, str] = {}

    def run(scene_id: str) -> None:
        try:
            done = process_scene(scene_id, config)
            processed.extend([done] if isinstance(done, Processed) else [])
        except CancelledRun as held:
            _LOG.info("%s: %s", scene_id, held)
        except Exception as error:
            _LOG.warning("%s: %s", scene_id, error)
            failed[scene_id] = str(error) or type(error).__name__

    if parallel == 1:  # in the thread of the flow, so that the runs are its subflows
        for scene_id in scene_ids:
            run(scene_id)
    else:
        with ThreadPoolExecutor(parallel, thread_name_prefix="process") as pool:
            list(pool.map(run, scene_ids))
    return processed, failed


def _clean_up(settings: Settings, ledger: Ledger) -> tuple[str, ...]:
    """Remove leftovers of killed attempts, and processed scenes above the disk budget."""
    for scene_id, left in staged(settings.monitor.results):
        with suppress(SlickwatchError):
            if not ledger.in_use(scene_id):
                shutil.rmtree(left, ignore_errors=True)
    if settings.scenes.budget_gb is None:
        return ()
    budget = int(settings.scenes.budget_gb * 1e9)
    return tuple(SceneFolder(settings.scenes.folder).evict(budget, partial(release_file, ledger)))


def _newest_publications(watching: OpenWatches) -> dict[str, datetime | None]:
    """Publication time of the newest scene of each watch, or when it was recorded if the source gives none."""
    newest: dict[str, datetime | None] = {}
    for watch in watching.watches:
        source, ledger = watch.source.name, watching.ledger
        newest[watch.name] = ledger.watermark(source, watch.name) or max(
            (record.recorded_at for record in ledger.list() if source in record.sources), default=None
        )
    return newest


def round_summary(monitored: Monitored) -> str:
    """Describe a round in Markdown."""
    found = monitored.round
    lines = [
        "# Monitoring",
        "",
        f"{found.found} scenes found, {len(found.fetched)} fetched in {found.seconds:.1f} s, "
        f"{len(monitored.submitted)} handed to workers, {len(monitored.processed)} processed here.",
        "",
    ]
    lines += [
        f"- {one.scene_id}: {one.outcome}, {one.why or finding(one.slick_count, one.coverage)}"
        for one in monitored.processed
    ]
    problems = {**found.failed, **found.quarantined, **found.down, **monitored.failed}
    lines += [f"- {name}: {reason}" for name, reason in problems.items()]
    lines += [f"- {line}" for line in found.passed_over.values()]
    lines += [f"- fetching stopped: {found.stopped}"] if found.stopped else []
    return "\n".join([*lines, ""])
