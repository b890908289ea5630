"""The flow from one product to published slicks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import flows.prefect_defaults  # noqa: F401 - before Prefect

# isort: split
from prefect import flow

from flows import tasks
from flows.detection import DetectionOptions
from flows.tasks import Job
from flows.termination import require_no_sigterm
from ingest.files import remove_abandoned, storage_errors, unfinished
from models.checkpoint import read_checkpoint, require_five_classes
from outputs.coverage import Coverage
from outputs.record import RunRecord, config_hash, input_file, peak_memory_bytes
from outputs.stac_collection import list_scenes

T = TypeVar("T")


@dataclass(frozen=True)
class Detection:
    """What one run leaves behind."""

    scene_id: str
    folder: Path
    slick_count: int
    coverage: Coverage


@flow(name="detect-slicks", flow_run_name="detect-slicks-{safe_path.name}")
def detect_slicks(
    safe_path: Path,
    out: Path,
    options: DetectionOptions | None = None,
    report: bool = True,
) -> Detection:
    """Find oil slicks in one Sentinel-1 product and publish them under out/<scene id>.

    An earlier result of the scene stays until the new one is complete and then replaces it. `report`: whether to list
    it in collection.json and to leave artifacts in Prefect; a caller that moves the results does so itself.
    """
    started, watch = datetime.now(UTC), _StopWatch()
    options = options or DetectionOptions()
    with _scratch(out) as scratch:
        checkpoint = read_checkpoint(options.model)
        require_five_classes(checkpoint)
        scene = tasks.open_scene(safe_path, options)
        job = Job(scene, options, scratch)
        recorded = options.record(checkpoint)
        run_id, configuration = str(uuid.uuid4()), config_hash(recorded)
        watch("calibrate", lambda: tasks.calibrate(job))
        watch("mask_land", lambda: tasks.mask_land(job))
        watch("predict", lambda: tasks.predict(job))
        rejected = watch("judge", lambda: tasks.judge(job))
        found: Any = watch("find_slicks", lambda: tasks.extract_slicks(job, configuration, run_id))
        slicks, candidates = found
        coverage: Coverage = watch("survey", lambda: tasks.survey(job))
        blank = () if coverage.nothing_to_see is None else (f"nothing to see: {coverage.nothing_to_see}",)
        record = RunRecord(
            run_id=run_id,
            scene_id=scene.scene.id,
            model_id=checkpoint.id,
            weights_sha256=checkpoint.weights_sha256,
            options=recorded,
            thresholds={name: getattr(options.slicks, name) for name in ("grow", "outline", "keep", "minimum_area_m2")},
            config_hash=configuration,
            inputs=(input_file(safe_path.absolute()),),
            started_at=started,
            ended_at=datetime.now(UTC),
            durations_s=watch.seconds,
            slick_count=len(slicks),
            flags=(*blank, *scene.flags, *rejected),
            analysed=not blank,
            coverage=coverage,
            peak_memory_bytes=peak_memory_bytes(),
        )
        folder = out / scene.scene.id
        tasks.publish(job, slicks, candidates, record, folder)
    if report:
        list_scenes(out)
        # As a state, so that a failure here does not fail a scene that is published.
        tasks.report(slicks, record, folder, return_state=True)
    return Detection(record.scene_id, folder, len(slicks), coverage)


class _StopWatch:
    """Times steps by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        require_no_sigterm()
        began = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - began, 3)
        return result


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk of the results: intermediates are too large for /tmp."""
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out, ".scratch-*")
    with unfinished(out / f".scratch-{uuid.uuid4().hex[:12]}") as folder:
        with storage_errors(out):
            folder.mkdir(0o700)
        yield folder
