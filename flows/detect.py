"""The flow from one product to published slicks."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

# Before the import of Prefect, which reads them then. A user's own settings win.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Without a server one is started for the run; on a busy machine that takes longer than the default allows.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")

from prefect import flow

from flows import tasks
from flows.tasks import Job
from ingest.files import remove_abandoned, storage_errors
from ingest.safe.product import SafeProduct
from models.checkpoint import (
    Checkpoint,
    default_model_id,
    read_checkpoint,
    require_five_classes,
)
from outputs.record import RunRecord, config_hash, input_file, peak_memory_bytes
from outputs.slicks import SlickOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Detection:
    """What a run on one scene left behind."""

    scene_id: str
    folder: Path
    slick_count: int


@flow(name="detect-slicks", flow_run_name="detect-slicks-{safe_path.name}")
def detect_slicks(
    safe_path: Path,
    out: Path,
    model: str | None = None,
    polarisation: str | None = None,
    coastline: Path | None = None,
    report: bool = True,
) -> Detection:
    """Find oil slicks in one Sentinel-1 product and publish them under out/<scene id>.

    A former result of the scene stays until the new one is complete, and is then replaced. `report`: whether to leave
    artifacts in Prefect; who puts the results elsewhere reports them from there.
    """
    started, watch = datetime.now(UTC), _StopWatch()
    model = model or default_model_id()
    slick_options = SlickOptions()
    with _scratch(out) as scratch:
        product = SafeProduct.open(safe_path)
        job = Job(product.path.absolute(), model, scratch, polarisation, coastline)
        checkpoint = read_checkpoint(model)
        require_five_classes(checkpoint)
        options = run_options(checkpoint, slick_options, polarisation, coastline)
        run_id, configuration = str(uuid.uuid4()), config_hash(options)
        flags = watch("calibrate", lambda: tasks.calibrate(job))
        watch("mask_land", lambda: tasks.mask_land(job))
        watch("predict", lambda: tasks.predict(job))
        slicks: Any = watch("find_slicks", lambda: tasks.extract_slicks(job, slick_options, configuration, run_id))
        record = RunRecord(
            run_id=run_id,
            scene_id=product.scene.id,
            model_id=checkpoint.id,
            weights_sha256=checkpoint.weights_sha256,
            options=options,
            thresholds={name: getattr(slick_options, name) for name in ("grow", "outline", "keep", "minimum_area_m2")},
            config_hash=configuration,
            inputs=(input_file(job.safe_path),),
            started_at=started,
            ended_at=datetime.now(UTC),
            durations_s=watch.seconds,
            slick_count=len(slicks),
            flags=flags,
            peak_memory_bytes=peak_memory_bytes(),
        )
        folder = out / product.scene.id
        tasks.publish(job, slicks, record, folder)
    if report:
        # As a state, so that a failure here does not fail a scene that is published.
        tasks.report(slicks, record, folder, return_state=True)
    return Detection(record.scene_id, folder, len(slicks))


def run_options(
    checkpoint: Checkpoint, slicks: SlickOptions, polarisation: str | None, coastline: Path | None
) -> dict[str, Any]:
    """All options of a run, of which its record has the hash: the same model and options give the same slicks."""
    return {
        "preprocess": asdict(checkpoint.preprocess),
        "tiling": asdict(checkpoint.tiling),
        "slicks": asdict(slicks),
        "polarisation": polarisation,
        "coastline": str(coastline) if coastline else None,
    }


class _StopWatch:
    """Times steps by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - began, 3)
        return result


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A hidden folder beside the results, gone afterwards: large intermediates need the results' disk, not /tmp."""
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out, ".scratch-*")
        folder = Path(tempfile.mkdtemp(prefix=".scratch-", dir=out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
