"""SAROSS-Net in a retraining: trained on real and synthetic pairs."""

from __future__ import annotations

from pathlib import Path

from ingest.progress import step
from models.checkpoint import read_checkpoint
from models.retraining.budget import time_limit
from models.retraining.steps import StepResult, TrainingData, Value, relevant_options, run_step
from models.training.options import changed, flat
from models.training.segmentation import train
from models.training.segmentation_options import TrainOptions


def train_student(
    work: Path, options: TrainOptions, multiple: float, data: TrainingData, synthetic: StepResult, hours: float
) -> StepResult:
    """Train SAROSS-Net with the soft labels of SAR-JointNet, as a cached step that resumes. Raises `OutOfTime`."""
    options = changed(
        options, real=data.real, synthetic=str(synthetic.folder), synthetic_labels="soft", synthetic_multiple=multiple
    )
    start = read_checkpoint(options.model.start).weights_sha256 if options.model.start else None
    depends_on = relevant_options(options, "real", "synthetic", "start") | {
        "data": data.sha256, "synthetic": synthetic.value["sha256"], "start": start,
    }  # fmt: skip

    def body(folder: Path) -> Value:
        with step("train SAROSS-Net") as advance:
            checkpoint = train(options, folder, resume=True, progress=time_limit(hours, "SAROSS-Net", advance))
        return {"id": checkpoint.id, "weights_sha256": checkpoint.weights_sha256, "classes": checkpoint.classes,
                "options": flat(options)}  # fmt: skip

    return run_step(work, "saross-dakd", depends_on, body, resumable=True)
