"""SAR-JointNet in a retraining: the balancing factor, the model to start from, the training."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.errors import ModelError
from ingest.files import read_json
from ingest.progress import step
from models.datasets.catalogue import open_dataset
from models.jointnet.balance import balancing_factor
from models.jointnet.checkpoint import JointCheckpoint, read_jointnet
from models.jointnet.options import JointOptions
from models.jointnet.training import train_jointnet
from models.retraining.budget import OutOfTime
from models.retraining.steps import StepResult, TrainingData, Value, relevant_options, run_step
from models.training.options import changed, flat


@dataclass(frozen=True)
class Start:
    """The diffusion model to start from; None: random weights, for the reason in `note`."""

    folder: Path | None
    weights_sha256: str | None
    note: str


def balance(work: Path, data: TrainingData) -> StepResult:
    """Compute the balancing factor b of the training set, as a cached step."""

    def body(folder: Path) -> Value:
        images = open_dataset(data.real).train
        assert images is not None
        with step("balance") as advance:
            return asdict(balancing_factor(images, progress=advance, cache_folder=folder / "cache"))

    return run_step(work, "balance", {"data": data.sha256}, body)


def last_diffusion_file(work: Path) -> Path:
    """Return the file that names the diffusion model of the last completed retraining."""
    return work / "last-jointnet.json"


def diffusion_start(work: Path, options: JointOptions, data: TrainingData) -> Start:
    """Return the diffusion model of the last retraining where its architecture matches, else that of the options."""
    last = read_json(last_diffusion_file(work)).get("folder")
    if not last:
        if options.model.start is None:
            return Start(None, None, "from random weights, as there is no diffusion model yet")
        given = Path(options.model.start)
        return Start(given, read_jointnet(given).weights_sha256, f"from {given}, as the options say")
    try:
        checkpoint = read_jointnet(work / str(last))
    except ModelError as error:
        return Start(None, None, f"from random weights, as the last diffusion model is unusable ({error})")
    if checkpoint.architecture != options.architecture(len(data.classes)):
        return Start(None, None, "from random weights, as the last diffusion model has another architecture")
    return Start(work / str(last), checkpoint.weights_sha256, f"from {checkpoint.id} of the last retraining")


def diffusion_options(options: JointOptions, data: TrainingData, b: float, start: Start) -> JointOptions:
    """Complete the training options; a model already trained on labels needs stage 3 alone."""
    options = changed(options, dataset=data.real, b=b, start=None if start.folder is None else str(start.folder))
    if start.folder is None or read_jointnet(start.folder).stage < 2:
        return options
    return changed(options, steps=(0, 0, options.schedule.steps[2] or options.schedule.steps[1]))


def train_diffusion(
    work: Path, options: JointOptions, data: TrainingData, b: float, start: Start, hours: float
) -> StepResult:
    """Train or fine-tune SAR-JointNet, as a cached step that resumes an interrupted training.

    Where time runs out in stage 3, the model of stage 2 is used, with a note. Raises `OutOfTime` before that.
    """
    options = diffusion_options(options, data, b, start)
    depends_on = relevant_options(options, "dataset", "start") | {"data": data.sha256, "start": start.weights_sha256}

    def body(folder: Path) -> Value:
        until = time.monotonic() + hours * 3600
        note = start.note
        try:
            with step("train SAR-JointNet") as advance:
                checkpoint = train_jointnet(options, folder, resume=True, hours=hours, progress=advance)
        except ModelError as error:
            if time.monotonic() < until:
                raise
            checkpoint = _stage_2_model(folder, hours, error)
            note += f"; time ran out in stage 3 ({hours:.2f} hours), and this is the model of stage 2"
        return {"id": checkpoint.id, "weights_sha256": checkpoint.weights_sha256, "stage": checkpoint.stage,
                "note": note, "options": flat(options)}  # fmt: skip

    return run_step(work, "jointnet", depends_on, body, resumable=True)


def _stage_2_model(folder: Path, hours: float, error: ModelError) -> JointCheckpoint:
    try:
        checkpoint = read_jointnet(folder)
    except ModelError:
        checkpoint = None
    if checkpoint is None or checkpoint.stage < 2:
        raise OutOfTime("SAR-JointNet", hours, error.problem) from error
    return checkpoint
