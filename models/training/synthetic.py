"""The synthetic pairs of a training, and their share of a batch (DAKD paper, section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest.errors import UsageError
from models.classes import CLASSES, OIL_CLASSES
from models.datasets import LabelledImages
from models.synthesis import SyntheticPairs
from models.training.segmentation_options import TrainOptions


def used_synthetic(real: LabelledImages | None, options: TrainOptions) -> SyntheticPairs | None:
    """Open the synthetic pairs to train on: the first of their folder, `synthetic_multiple` times the real ones.

    None where none are wanted. Raises `UsageError` where the folder holds too few, or of other classes.
    """
    asked = options.distillation
    if asked.synthetic is None or real is None or not asked.synthetic_multiple:
        return None
    pairs = SyntheticPairs.open(Path(asked.synthetic))
    if pairs.classes not in {CLASSES, OIL_CLASSES}:
        remedy = f"give one with {', '.join(CLASSES)} or {', '.join(OIL_CLASSES)}"
        raise UsageError(asked.synthetic, f"has classes {', '.join(pairs.classes)}", remedy)
    wanted = round(asked.synthetic_multiple * len(real))
    if wanted > len(pairs):
        problem = f"holds {len(pairs)} pairs; {asked.synthetic_multiple:g} times {len(real)} real ones are {wanted}"
        raise UsageError(asked.synthetic, problem, "synthesise more of them or lower synthetic_multiple")
    return pairs.first(wanted) if wanted else None


def synthetic_share(options: TrainOptions, real: int, synthetic: int) -> float:
    """Return the share of synthetic pairs among the real and synthetic ones of a batch."""
    share = options.distillation.synthetic_share
    return synthetic / (real + synthetic) if share is None else share


def teacher_classes(synthetic: SyntheticPairs | None, options: TrainOptions) -> int:
    """Return the number of classes of the soft labels that a training sees; 0 without any."""
    return 0 if synthetic is None or options.distillation.synthetic_labels == "hard" else len(synthetic.classes)


def synthetic_record(synthetic: SyntheticPairs | None) -> dict[str, Any] | None:
    """Return the checkpoint's record of the synthetic pairs and their generator."""
    if synthetic is None:
        return None
    return {
        "n": len(synthetic),
        "sha256": synthetic.fingerprint(),
        "manifest_sha256": synthetic.manifest.sha256,
        "generator": synthetic.manifest.plan.generator,
    }
