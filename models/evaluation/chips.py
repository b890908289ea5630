"""Scores on chips labelled as a whole: are those with oil told from those without, and which have a slick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.classes import OIL
from models.datasets.pairs import LabelledImages
from models.evaluation.bootstrap import FEWEST, Counts, total
from models.evaluation.calibration import brier, expected_calibration_error, oil_calibration
from models.evaluation.evaluate import Evaluation, EvaluationOptions, Progress, calibration_bins, evaluation_of, number
from models.evaluation.metrics import Floats, ratio
from models.objects import Verdict
from models.segment import Segmenter

SCORE_BINS = 1000  # of the score of a chip, for the area under the curve
_BRIGHTEST = 200  # pixels whose mean is the score of a chip for a model without an object stage
_M2_PER_1000_KM2 = 1e9
_OF: dict[str, tuple[str, ...]] = {  # scores by the images that they are of, in the order of the labels
    "images without oil": (
        "auc", "oil_free_images_with_slick", "false_slicks_per_oil_free_image", "false_slicks_per_1000_km2",
    ),
    "images with oil": ("auc", "oil_images_found"),
}  # fmt: skip


def evaluate_chips(
    segmenter: Segmenter, chips: LabelledImages, options: EvaluationOptions, progress: Progress = lambda done, n: None
) -> Evaluation:
    """Predict every chip once and score it by its label; the bootstrap draws the chips of a scene together."""
    rows, judged = [], segmenter.object_stage is not None
    for i in range(len(chips)):
        image, _ = chips.pair(i, segmenter.checkpoint.preprocess)
        probability, verdicts = segmenter.segment(image, chips.power(i) if judged else None)
        _, slicks = ndimage.label(segmenter.published(probability) == OIL, structure=np.ones((3, 3)))
        sea = np.count_nonzero(~np.isnan(image[0]))
        score = chip_score(probability[OIL], verdicts, judged)
        rows.append(chip_counts(score, slicks, int(sea), bool(chips.presence(i)), options.calibration_bins))
        progress(i + 1, len(chips))
    counts = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    spacing = chips.pixel_spacing or segmenter.checkpoint.preprocess.pixel_spacing
    return evaluation_of(
        segmenter.checkpoint.classes, counts, lambda totals: chip_scores(totals, spacing), chips.groups, options
    )


def chip_score(oil: NDArray[np.float32], verdicts: list[Verdict], judged: bool) -> float:
    """How sure the model is of oil somewhere on a chip, 0 to 1; oil: (H, W), NaN = no data.

    The highest probability of a candidate, 0 without any; of a model without an object stage the mean of the
    `_BRIGHTEST` most probable pixels.
    """
    if judged:
        return max((verdict.oil_probability for verdict in verdicts), default=0.0)
    return float(np.sort(np.nan_to_num(oil), axis=None)[-_BRIGHTEST:].mean())


def chip_counts(score: float, slicks: int, sea: int, oil: bool, bins: int) -> Counts:
    """Reduce one chip to the counts that scores are computed from; sea: pixels with data."""
    by_score = np.zeros((2, SCORE_BINS))
    by_score[int(oil), min(int(score * SCORE_BINS), SCORE_BINS - 1)] = 1
    return {
        "scores": by_score,
        "with_slick": np.eye(2)[int(oil)] * (slicks > 0),
        "false_slicks": np.asarray(0.0 if oil else slicks),
        "sea": np.asarray(0.0 if oil else sea),
        "calibration": oil_calibration(np.array([score]), np.array([oil]), bins),
    }


def chip_scores(totals: Counts, pixel_spacing: float) -> dict[str, Floats]:
    """Compute the scores from counts summed over chips, with any leading axes, which are kept."""
    free, oil = totals["scores"][..., 0, :], totals["scores"][..., 1, :]
    n_free, n_oil = free.sum(axis=-1), oil.sum(axis=-1)
    lower = np.cumsum(free, axis=-1) - free / 2  # ties count half
    return {
        "auc": ratio((oil * lower).sum(axis=-1), n_free * n_oil),
        "oil_images_found": ratio(totals["with_slick"][..., 1], n_oil),
        "oil_free_images_with_slick": ratio(totals["with_slick"][..., 0], n_free),
        "false_slicks_per_oil_free_image": ratio(totals["false_slicks"], n_free),
        "false_slicks_per_1000_km2": ratio(totals["false_slicks"], totals["sea"] * pixel_spacing**2 / _M2_PER_1000_KM2),
        "ece": expected_calibration_error(totals["calibration"]),
        "brier": brier(totals["calibration"]),
    }


def image_scores(evaluation: Evaluation) -> Floats:
    """Return the score of each chip, (n,), to a bin."""
    return np.asarray((evaluation.counts["scores"].sum(axis=1).argmax(axis=-1) + 0.5) / SCORE_BINS)


def worst_images(chips: LabelledImages, score: Floats, oil: bool, n: int) -> list[int]:
    """Return the numbers of the n chips with this label whose scores speak most against it."""
    numbers = [i for i in range(len(chips)) if chips.presence(i) == oil]
    return sorted(numbers, key=lambda i: score[i] if oil else -score[i])[:n]


def _lacking(few: Mapping[str, int], uncertain: Iterable[str]) -> str | None:
    """Why some scores have no interval, `few` being the counts of images by label; None where all have one."""
    if not few:
        return None
    counted = " and ".join(f"{count} {label}" for label, count in few.items())
    return f"no interval for {', '.join(uncertain)}: {counted}, at least {FEWEST} are needed"


def chip_record(evaluation: Evaluation, options: EvaluationOptions) -> dict[str, Any]:
    """Return all scores of one model by name, with their intervals."""
    scores, confidence = total(evaluation.counts)["scores"], options.confidence
    few = {label: count for label, count in zip(_OF, scores.sum(axis=1).astype(int), strict=True) if count < FEWEST}
    uncertain = dict.fromkeys(name for label in few for name in _OF[label])
    return {
        "n_images": int(scores.sum()),
        "n_oil_images": int(scores[1].sum()),
        **{name: number(value) for name, value in evaluation.scores.items()},
        "intervals": {
            name: [None, None] if name in uncertain else [number(end) for end in evaluation.interval(name, confidence)]
            for name in evaluation.scores
        },
        "no_intervals": evaluation.no_intervals,
        "lacking_intervals": None if evaluation.no_intervals else _lacking(few, uncertain),
        "calibration": calibration_bins(evaluation.totals["calibration"]),
    }
