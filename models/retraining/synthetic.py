"""The synthetic pairs of a retraining, and crops of real images to compare them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ingest.progress import step
from models.datasets.catalogue import open_dataset
from models.datasets.folder import write_pair
from models.jointnet.generate import GenerateOptions, synthesize
from models.retraining.budget import time_limit
from models.retraining.steps import StepResult, TrainingData, Value, relevant_options, run_step

QUALITY_IMAGES = 500  # of each set


def generate_pairs(
    work: Path, options: GenerateOptions, multiple: float, data: TrainingData, diffusion: StepResult, hours: float
) -> StepResult:
    """Generate `multiple` synthetic pairs for each real one, as a cached step that resumes. Raises `OutOfTime`."""
    count = max(1, round(multiple * data.n_train))
    depends_on = relevant_options(options) | {"count": count, "weights": diffusion.value["weights_sha256"]}

    def body(folder: Path) -> Value:
        with step("synthesize") as advance:
            progress = time_limit(hours, "synthesis", advance)
            pairs = synthesize(diffusion.folder, count, folder, options, progress=progress)
        return {"count": len(pairs), "sha256": pairs.fingerprint(), "manifest": pairs.manifest.sha256,
                "solver": options.solver, "steps": options.steps}  # fmt: skip

    return run_step(work, "synthetic", depends_on, body, resumable=True)


def write_real_crops(folder: Path, data: TrainingData, size: tuple[int, int]) -> None:
    """Write crops (H, W) of training images, spread evenly over the training set; smaller images are skipped."""
    images = open_dataset(data.real).train
    assert images is not None
    rng = np.random.default_rng(0)
    for i in np.linspace(0, len(images), min(QUALITY_IMAGES, len(images)), endpoint=False).astype(int):
        grey, labels = images.grey(int(i))
        if all(n >= wanted for n, wanted in zip(grey.shape, size, strict=True)):
            top, left = (int(rng.integers(n - wanted + 1)) for n, wanted in zip(grey.shape, size, strict=True))
            window = (slice(top, top + size[0]), slice(left, left + size[1]))
            write_pair(folder, f"{i:06d}", grey[window], labels[window])
