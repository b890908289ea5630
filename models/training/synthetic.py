"""Which synthetic pairs a training uses, and how many of them a batch has (DAKD paper, section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingest.errors import UsageError
from models.classes import CLASSES, OIL_CLASSES
from models.datasets import LabelledImages
from models.synthesis import SyntheticPairs
from models.training.options import TrainOptions


def used_synthetic(real: LabelledImages | None, options: TrainOptions) -> SyntheticPairs | None:
    """Open the synthetic pairs to train on: the first of their folder, `synthetic_multiple` times the real ones.

    None where none are wanted. Raises `UsageError` where the folder holds too few, or of other classes.
    """
    if options.synthetic is None or real is None or not options.synthetic_multiple:
        return None
    pairs = SyntheticPairs.open(Path(options.synthetic))
    if pairs.classes not in {CLASSES, OIL_CLASSES}:
        problem = f"has classes {', '.join(pairs.classes)}"
        raise UsageError(options.synthetic, problem, f"give one with {', '.join(CLASSES)} or {', '.join(OIL_CLASSES)}")
    wanted = round(options.synthetic_multiple * len(real))
    if wanted > len(pairs):
        problem = f"holds {len(pairs)} pairs; {options.synthetic_multiple:g} times {len(real)} real ones are {wanted}"
        raise UsageError(options.synthetic, problem, "synthesise more of them or lower synthetic_multiple")
    return pairs.first(wanted) if wanted else None


def synthetic_share(options: TrainOptions, real: int, synthetic: int) -> float:
    """Return the share of synthetic pairs among the real and synthetic ones of a batch."""
    return synthetic / (real + synthetic) if options.synthetic_share is None else options.synthetic_share


def teacher_classes(synthetic: SyntheticPairs | None, options: TrainOptions) -> int:
    """Return the number of classes of the soft labels that a training sees; 0 without any."""
    return 0 if synthetic is None or options.synthetic_labels == "hard" else len(synthetic.classes)


def synthetic_record(synthetic: SyntheticPairs | None) -> dict[str, Any] | None:
    """Say for a checkpoint which synthetic pairs these are, and what made them."""
    if synthetic is None:
        return None
    return {
        "n": len(synthetic),
        "sha256": synthetic.fingerprint(),
        "manifest_sha256": synthetic.manifest.sha256,
        "generator": synthetic.manifest.plan.generator,
    }
