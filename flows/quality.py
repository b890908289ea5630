"""Compare synthetic with real images, and write the record and a contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy.special import softmax

from ingest.files import whole_folder, write_json
from ingest.progress import step
from models.classes import LABEL_NAMES, OIL
from models.quality.assessment import assess
from models.quality.image_sets import ImageSet
from outputs.contact_sheet import Sample, write_pairs
from outputs.report import require_replaceable

RECORD, SHEET = "quality.json", "contact-sheet.png"
ROWS = 6  # of the contact sheet


def assess_quality(
    real: str, synthetic: str, out: Path, *, count: int | None = None, inception: Path | None = None
) -> dict[str, Any]:
    """Compare two sets as `assess` does; returns the record, as in quality.json.

    The folder `out` is replaced by one with quality.json and contact-sheet.png. Raises `UsageError` where it holds
    anything else, and what `assess` raises.
    """
    require_replaceable(out, RECORD, "a comparison")
    assessment = assess(real, synthetic, count=count, inception=inception)
    with step("draw the contact sheet"), whole_folder(out.resolve(), required=(RECORD, SHEET)) as folder:
        kind = "against" if assessment.synthetic.synthetic is None else "synthetic"
        samples = {
            f"{title}: {images.name}": _samples(images)
            for title, images in (("real", assessment.real), (kind, assessment.synthetic))
        }
        write_pairs(folder / SHEET, samples, LABEL_NAMES, "Images and labels, drawn evenly from each set")
        write_json(folder / RECORD, assessment.record, indent=2)
    return assessment.record


def _samples(images: ImageSet) -> list[Sample]:
    samples = []
    for index in images.evenly(ROWS):
        image, labels = images.images.grey(index)
        logits = None if images.synthetic is None else images.synthetic.logits(index)
        probability = None if logits is None else softmax(logits, axis=0)[OIL]
        samples.append(Sample(images.images.name(index), image, labels, probability))
    return samples
