"""One scene of the ledger, from its product to results, catalogue and alerts.

The steps stand in an order that makes it harmless to be killed between any two of them and to begin again
(docs/operator/monitoring.md): each step finds what an earlier attempt left, and the ledger is updated last.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from flows import tasks
from flows.alerts import alerted_areas
from flows.detect import detect_slicks
from flows.detection import DetectionOptions
from flows.resolve import slick_options
from flows.results import Result, is_up_to_date, put_in_place, read_result, staging
from flows.settings import Settings
from ingest.errors import ModelError, SlickwatchError, SourceError, StorageError, UnreadableInput, UsageError
from ingest.files import storage_errors
from ingest.ledger.ledger import Ledger, keep_lease
from ingest.ledger.records import Claim, LeaseLost, SceneRecord
from ingest.locks import hold_lock
from ingest.safe.product import SafeProduct
from ingest.store import SceneFolder
from models.checkpoint import read_checkpoint
from models.registry.inventory import CHAMPION, find_model
from models.registry.registry import Registry
from outputs.alerting.alerter import REPORTED, Alerter
from outputs.catalogue import Catalogue, Selection
from outputs.coverage import Coverage
from outputs.record import RunRecord, code_version
from outputs.stac_collection import list_scenes
from preprocess.pipeline import require_trained

_LOG = logging.getLogger(__name__)
FLOW = "process-scene"
PATIENCE_S = 75.0  # with which a run waits for the end of a lease that nobody renews
LOCAL = "local"  # the source of products that somebody names


@dataclass(frozen=True)
class Processed:
    """The outcome for a scene; `why` it was skipped."""

    scene_id: str | None  # None: no scene was waiting
    outcome: Literal["processed", "unchanged", "skipped", "held"]  # held: another process works on it
    slick_count: int = 0
    folder: Path | None = None
    new_alerts: int = 0
    why: str | None = None
    coverage: Coverage | None = None


class BrokenProduct(UnreadableInput):
    """The product itself is unreadable."""


def process(scene: str | None, settings: Settings, alerter: Alerter) -> Processed:
    """Process the next waiting scene, a given scene of the ledger, or a product, which is recorded there first.

    Raises the error that the scene failed with, once the ledger has recorded it: `SlickwatchError` for a known failure,
    `TimeoutError` after `monitor.scene_timeout_minutes`. Raises `ModelError` without a usable model, `UsageError` for
    an unknown scene.
    """
    with alerter.reporting_failure(FLOW):
        model = pinned_model(settings, alerter)
        ledger = Ledger.open(settings.ledger_url())
    with ledger:
        claim = _claim(scene, ledger, settings, model)
        return claim if isinstance(claim, Processed) else SceneRun(claim, ledger, settings, alerter, model).run()


def pinned_model(settings: Settings, alerter: Alerter) -> Path:
    """The folder of the model to use from here on; rejected versions are reported.

    Raises `ModelError`, and `UsageError` where it was not trained on the polarisation of the settings.
    """
    wanted = str(settings.monitor.model)
    if wanted != CHAMPION:
        folder = find_model(wanted, settings.models.registry)
    else:
        champion = Registry(settings.models.registry).champion()
        for problem in champion.refused:
            alerter.report_failure(f"{CHAMPION}, using {champion.id} instead", problem, kind="model")
        folder = champion.folder
    if settings.monitor.polarisation is not None:
        require_trained("monitor.polarisation", read_checkpoint(str(folder)).preprocess, settings.monitor.polarisation)
    return folder


def detection_options(settings: Settings, model: Path) -> DetectionOptions:
    """What the monitoring asks of a detection."""
    monitor = settings.monitor
    return DetectionOptions(str(model), monitor.polarisation, monitor.coastline, slick_options(settings.detection))


def _claim(scene: str | None, ledger: Ledger, settings: Settings, model: Path) -> Claim | Processed:
    """Claim the scene; returns the claim, or why there is nothing to do."""
    # Unique to this attempt: two attempts of one process must not be confused.
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    lease_s = settings.monitor.lease_minutes * 60
    if scene is None:
        claims = ledger.claim("process", owner, lease_s)
        return claims[0] if claims else Processed(None, "skipped", why="no scene is waiting")
    scene_id = _record_product(Path(scene), ledger, owner, lease_s) if os.sep in scene else ledger.get(scene).id
    record = ledger.get(scene_id)
    if record.state not in ("fetched", "processed"):
        why = record.reason or (record.by and f"replaced by {record.by}") or "not fetched"
        return Processed(scene_id, "skipped", why=f"{record.state}: {why}")
    if record.state == "processed" and record.path is not None and record.result_folder is not None:
        product, folder = Path(record.path), Path(record.result_folder)
        if is_up_to_date(folder, product, detection_options(settings, model)):
            result = read_result(folder)
            return Processed(scene_id, "unchanged", len(result.slicks), folder, coverage=result.record.coverage)
    claim = ledger.claim_scene(scene_id, "process", owner, lease_s)
    if claim is None and _holder_died(ledger, scene_id):
        claim = ledger.claim_scene(scene_id, "process", owner, lease_s)
    return claim or Processed(scene_id, "held", why=_why_held(ledger.get(scene_id)))


def _holder_died(ledger: Ledger, scene_id: str) -> bool:
    """Wait to see whether a claimed scene's lease is renewed, as live workers do, or ends within `PATIENCE_S`."""
    first = ledger.get(scene_id)
    if first.claimed_until is None:
        return False
    left = (first.claimed_until - datetime.now(UTC)).total_seconds()
    end = time.monotonic() + left
    while left < PATIENCE_S and time.monotonic() < end:
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
        now = ledger.get(scene_id)
        if (now.claimed_by, now.claimed_until) != (first.claimed_by, first.claimed_until):
            return now.claimed_by is None
    return left < PATIENCE_S


def _why_held(record: SceneRecord) -> str:
    if record.claimed_by is not None and record.claimed_until is not None:
        return f"{record.claimed_by} is working on it (lease until {record.claimed_until:%H:%M:%S} UTC)"
    return "not due yet" if record.due_at is None else f"tried again at {record.due_at:%Y-%m-%d %H:%M:%S} UTC"


def _record_product(path: Path, ledger: Ledger, owner: str, lease_s: float) -> str:
    """Record a product in the ledger; returns its id. A scene with a file there already keeps that file."""
    product = SafeProduct.open(path)
    scene = replace(product.scene, source=LOCAL, key=str(product.path.absolute()))
    with suppress(UsageError):
        if ledger.get(scene.id).path is not None:
            return scene.id
    ledger.record_found(LOCAL, None, [scene])
    claim = ledger.claim_scene(scene.id, "fetch", owner, lease_s, [LOCAL])
    if claim is None:
        raise UsageError(scene.id, "being fetched by another process, or waiting for a retry", "run again later")
    ledger.fetched(claim, str(product.path.absolute()), scene.size or 0, None)
    return scene.id


@dataclass(frozen=True)
class SceneRun:
    """The processing of one claimed scene."""

    claim: Claim
    ledger: Ledger
    settings: Settings
    alerter: Alerter
    model: Path

    @property
    def folder(self) -> Path:
        """The scene's results."""
        return self.settings.monitor.results / self.claim.scene.id

    @property
    def staging(self) -> Path:
        """The results until they are complete."""
        return staging(self.settings.monitor.results, self.claim.scene.id, self.claim.token)

    def run(self) -> Processed:
        """Process the scene; the ledger records the outcome in any case. Raises as `process` does."""
        longest = self.settings.monitor.scene_timeout_minutes * 60 + self.claim.lease_s
        try:
            with keep_lease(self.ledger, self.claim, longest):
                return self._process()
        except LeaseLost as lost:
            return Processed(self.claim.scene.id, "held", why=lost.problem)
        except BaseException as error:
            with suppress(LeaseLost):
                self._record_failure(error)
                error.add_note(REPORTED)  # the ledger says if it is tried again, and an alert if not
            raise
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def _record_failure(self, error: BaseException) -> None:
        """Record why the scene was not processed, and report it if it will not be retried."""
        claim, ledger, alerter = self.claim, self.ledger, self.alerter
        if not isinstance(error, Exception):  # asked to stop
            ledger.release(claim)
        elif isinstance(error, BrokenProduct):
            alerter.report_scene(ledger.quarantined(claim, str(error), claim.path))
        elif isinstance(error, StorageError | ModelError | UnreadableInput):
            # A full disk or a damaged catalogue is not the scene's failure, and costs it no attempt.
            ledger.release(claim)
            alerter.report_failure(FLOW, str(error), kind="flow")
        elif isinstance(error, TimeoutError):
            minutes = self.settings.monitor.scene_timeout_minutes
            alerter.report_scene(ledger.failed(claim, f"not finished after {minutes:g} minutes"))
        elif isinstance(error, SlickwatchError):
            alerter.report_scene(ledger.failed(claim, str(error)))
        else:
            _LOG.exception("%s: unexpected failure", claim.scene.id)
            alerter.report_scene(ledger.failed(claim, f"unexpected {type(error).__name__}: {error}"))

    def _process(self) -> Processed:
        with self._product() as product:
            done = is_up_to_date(self.folder, product, detection_options(self.settings, self.model))
            found = self.folder if done else self._detect(product)
        with self._result_lock():
            if found != self.folder:
                put_in_place(found, self.folder)
            list_scenes(self.folder.parent)
            result = read_result(self.folder)
            alerts = self._publish(result)
        # As a state, so that a failure here does not fail a scene that is published.
        tasks.report(result.slicks, result.record, self.folder, return_state=True)
        self.ledger.processed(self.claim, str(self.folder), result.record.model_id, code_version())
        outcome: Literal["processed", "unchanged"] = "unchanged" if done else "processed"
        count, coverage = len(result.slicks), result.record.coverage
        return Processed(self.claim.scene.id, outcome, count, self.folder, alerts, coverage=coverage)

    @contextmanager
    def _product(self) -> Iterator[Path]:
        """The product, protected from eviction. Raises `SourceError` if it is gone."""
        scene_id, path = self.claim.scene.id, Path(self.claim.path or "")
        scenes = SceneFolder(self.settings.scenes.folder)
        if path == scenes.archive(scene_id).absolute():
            with scenes.use(scene_id):
                yield path
            return
        if not path.exists():
            raise SourceError(scene_id, f"no longer at {path}", "restore it, then run slickwatch scenes retry")
        yield path

    def _detect(self, product: Path) -> Path:
        """Run the detection; returns the complete folder, not yet in its place."""
        claim, monitor = self.claim, self.settings.monitor
        limited = detect_slicks.with_options(timeout_seconds=monitor.scene_timeout_minutes * 60)
        try:
            detection = limited(product, self.staging, detection_options(self.settings, self.model), report=False)
        except UnreadableInput as error:
            if monitor.coastline is not None and str(monitor.coastline) in error.subject:
                raise
            raise BrokenProduct(error.subject, error.problem, error.remedy) from error
        if detection.scene_id != claim.scene.id:
            raise BrokenProduct(product, f"is {detection.scene_id}", f"fetch {claim.scene.id} again")
        return detection.folder

    @contextmanager
    def _result_lock(self) -> Iterator[None]:
        """Hold the lock on the scene's results, with the lease renewed. Raises `LeaseLost`.

        A worker that slept past the end of its lease stops here, or finishes before its successor begins.
        """
        lock = self.folder.with_name(f".{self.folder.name}.lock")
        with storage_errors(lock), hold_lock(lock):
            self.ledger.renew(self.claim)
            yield

    def _publish(self, result: Result) -> int:
        """Publish a result in the catalogue and report its slicks; returns the number of new alerts."""
        scene, record = self.claim.scene, result.record
        catalogue = Catalogue.open(self.settings.monitor.catalogue)
        published = catalogue.publish(
            record, scene, result.footprint, result.slicks,
            candidates=result.candidates, result_folder=self.folder, standings=partial(self.ledger.standings, scene.id),
        )  # fmt: skip
        if not published.current:
            return 0
        if result.slicks.empty:
            return self._reported_blank(record)
        known = catalogue.slicks(Selection(tuple(result.slicks.total_bounds), current=False))
        former = known[known["superseded_by"] == published.run_id]
        watch, areas = self.ledger.get(scene.id).found_by, alerted_areas(self.settings)
        return len(self.alerter.report_slicks(result.slicks, watch, areas, scene.id, record.model_id, former))

    def _reported_blank(self, record: RunRecord) -> int:
        """To the alerts, where no slick could have been seen for want of data or wind; returns how many are new.

        A scene of land is no surprise.
        """
        seen = record.coverage
        if seen is None or seen.nothing_to_see is None or seen.land_km2 > seen.sea_km2 + seen.no_data_km2:
            return 0
        reason = f"{seen.nothing_to_see}: it shows no slicks and is not known to be clean"
        watch, run = self.ledger.get(record.scene_id).found_by, record.run_id
        return len(self.alerter.report_failure(record.scene_id, reason, kind="blank", occurrence=run, watch=watch))
