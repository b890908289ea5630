"""Compare the synthetic images of a retraining with real ones, with a contact sheet."""

from __future__ import annotations

from pathlib import Path

from flows.quality import SHEET, assess_quality
from ingest.errors import UsageError
from ingest.files import read_json
from models.retraining.steps import StepResult, TrainingData, Value, run_step
from models.retraining.synthetic import QUALITY_IMAGES, write_real_crops

_FIGURES = "figures"


def assess_synthetic(work: Path, data: TrainingData, synthetic: StepResult) -> StepResult:
    """Compare synthetic images with crops of real ones, as a cached step; where that is impossible, say why."""

    def body(folder: Path) -> Value:
        height, width = read_json(synthetic.folder / "manifest.json")["size"]
        write_real_crops(folder / "real", data, (height, width))
        try:
            record = assess_quality(
                str(folder / "real"), str(synthetic.folder), folder / _FIGURES, count=QUALITY_IMAGES
            )  # fmt: skip
        except UsageError as error:
            return {"problem": str(error), "measures": {}, "features": []}
        return {"problem": None, "measures": record["measures"], "features": record["features"]}

    return run_step(work, "quality", {"data": data.sha256, "synthetic": synthetic.value["sha256"]}, body)


def contact_sheet(quality: StepResult) -> Path | None:
    """Return the picture that `assess_synthetic` left; None where there is none."""
    path = quality.folder / _FIGURES / SHEET
    return path if path.is_file() else None
