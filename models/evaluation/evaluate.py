"""Scores of a network on labelled images: one pass over the images that keeps a few hundred counts of each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UsageError
from models.classes import CLASSES, IGNORE, OIL, OIL_CLASSES
from models.datasets.pairs import LabelledImages
from models.evaluation.bootstrap import FEWEST, Counts, Score, bootstrap, grouped, interval, total
from models.evaluation.calibration import (
    CONFIDENCE,
    CORRECT,
    PIXELS,
    brier,
    expected_calibration_error,
    maximum_calibration_error,
    oil_calibration,
    top_label_calibration,
)
from models.evaluation.metrics import (
    Floats,
    boundary_counts,
    boundary_scores,
    class_f1,
    class_precision,
    class_recall,
    confusion_matrix,
    intersection_over_union,
    pixel_scores,
    ratio,
)
from models.evaluation.objects import HITS, PREDICTED, ObjectOptions, object_counts, object_scores
from models.segment import Segmenter

LAND = CLASSES.index("land")
_M2_PER_1000_KM2 = 1e9
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class EvaluationOptions:
    """Parameters of the scores; the paper gives none of them."""

    objects: ObjectOptions = field(default_factory=ObjectOptions)
    boundary_tolerance: float = 2.0  # pixels
    calibration_bins: int = 15
    samples: int = 1000  # of the bootstrap
    seed: int = 0
    confidence: float = 0.95
    limit: int | None = None  # images, evenly over the data set
    object_stage: bool = True  # of models that have one


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model; `samples` has those of each bootstrap sample under the same names."""

    classes: tuple[str, ...]
    counts: Counts  # by image
    totals: Counts
    scores: dict[str, float]
    samples: dict[str, Floats]
    drawn: int  # images or groups of copies that a bootstrap sample is drawn from

    @property
    def no_intervals(self) -> str | None:
        """Why the scores have no intervals; None where they have."""
        if self.drawn >= FEWEST:
            return None
        return f"too few images for an interval: {self.drawn} independent, at least {FEWEST} are needed"

    def interval(self, score: str, confidence: float) -> tuple[float, float]:
        """Return the bootstrap interval of a score; NaN for too few images."""
        return self.enclosing(self.samples[score], confidence)

    def enclosing(self, values: Floats, confidence: float) -> tuple[float, float]:
        """Return the interval of one value a bootstrap sample, (samples,); NaN for too few images."""
        return (np.nan, np.nan) if self.no_intervals else interval(values, confidence)

    def image_oil_iou(self) -> Floats:
        """Oil IoU of each image, NaN without oil in truth and prediction."""
        return intersection_over_union(self.counts["confusion"])[:, OIL]


def common_classes(kinds: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes that a data set and all models can be compared on; raises `UsageError` for other classes."""
    for classes in kinds:
        if classes not in (CLASSES, OIL_CLASSES):
            raise UsageError(", ".join(classes), "classes without scores", f"use {', '.join(CLASSES)}")
    return CLASSES if all(classes == CLASSES for classes in kinds) else OIL_CLASSES


def evaluate(
    segmenter: Segmenter,
    images: LabelledImages,
    classes: tuple[str, ...],
    options: EvaluationOptions = EvaluationOptions(),
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Predict every image once and score it on `classes`.

    Scored is what would be published of a model with an object stage, and the likeliest class of any other.
    The bootstrap draws the images of a group together.
    """
    rows = []
    for i in range(len(images)):
        image, labels = images.pair(i, segmenter.checkpoint.preprocess)
        labels = np.where(np.isnan(image).all(axis=0), IGNORE, labels)
        probability, predicted = predicted_classes(segmenter, images, i, image)
        rows.append(image_counts(probability, labels, classes, options, predicted))
        progress(i + 1, len(images))
    counts = {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def score(totals: Counts) -> dict[str, Floats]:
        return scores(totals, classes, images.pixel_spacing)

    return evaluation_of(classes, counts, score, images.groups, options)


def evaluation_of(
    classes: tuple[str, ...],
    counts: Counts,
    score: Score,
    groups: Sequence[Hashable] | None,
    options: EvaluationOptions,
) -> Evaluation:
    """Score the counts of all images, and those of each bootstrap sample of their groups."""
    totals = total(counts)
    point = {name: float(value) for name, value in score(totals).items()}
    drawn = counts if groups is None else grouped(counts, groups)
    samples = bootstrap(drawn, score, options.samples, options.seed)
    return Evaluation(classes, counts, totals, point, samples, len(next(iter(drawn.values()))))


def predicted_classes(
    segmenter: Segmenter, images: LabelledImages, index: int, image: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Class probabilities (classes, H, W), 0 where there is no data, and predicted classes (H, W) of one image."""
    judged = segmenter.object_stage is not None
    probability, _ = segmenter.segment(image, images.power(index) if judged else None)
    probability = np.nan_to_num(probability)
    return probability, segmenter.published(probability) if judged else probability.argmax(axis=0)


def image_counts(
    probability: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    options: EvaluationOptions,
    predicted: NDArray[np.integer] | None = None,
) -> Counts:
    """Reduce one image to the counts that scores are computed from.

    probability: (C, H, W) of `CLASSES` or `OIL_CLASSES`; labels: (H, W); predicted: (H, W), the likeliest class where
    None. Compared on `OIL_CLASSES`, a pixel is oil or not, and its confidence is the probability of oil.
    """
    if predicted is None:
        predicted = probability.argmax(axis=0)
    known = labels != IGNORE
    oil, predicted_oil = labels == OIL, (predicted == OIL) & known
    in_oil_bins = oil_calibration(probability[OIL][known], oil[known], options.calibration_bins)
    if classes == CLASSES:
        of_classes = labels < len(CLASSES)
        confusion = confusion_matrix(labels, predicted, len(CLASSES))
        in_bins = top_label_calibration(probability[:, of_classes], labels[of_classes], options.calibration_bins)
    else:
        confusion = confusion_matrix(np.where(known, oil, IGNORE), predicted_oil, len(OIL_CLASSES))
        in_bins = in_oil_bins
    return {
        "images": np.ones(()),
        "sea": np.asarray((known & (labels != LAND)).sum(), float),
        "confusion": confusion.astype(float),
        "objects": object_counts(oil, predicted_oil, options.objects).astype(float),
        "boundary": boundary_counts(oil, predicted_oil, known, options.boundary_tolerance).astype(float),
        "calibration": in_bins,
        "oil_calibration": in_oil_bins,
    }


def scores(totals: Counts, classes: tuple[str, ...], pixel_spacing: float | None) -> dict[str, Floats]:
    """Compute all scores from counts summed over images, with any leading axes, which are kept."""
    confusion, objects = totals["confusion"], totals["objects"].sum(axis=-2)
    false_alarms = objects[..., PREDICTED] - objects[..., HITS]
    result = pixel_scores(confusion)
    for name, by_class in (
        ("iou", intersection_over_union(confusion)),
        ("f1", class_f1(confusion)),
        ("precision", class_precision(confusion)),
        ("recall", class_recall(confusion)),
    ):
        result |= {f"{one}_{name}": by_class[..., i] for i, one in enumerate(classes)}
    result |= object_scores(objects) | {"false_alarms_per_image": ratio(false_alarms, totals["images"])}
    if pixel_spacing is not None:
        sea = totals["sea"] * pixel_spacing**2 / _M2_PER_1000_KM2
        result["false_alarms_per_1000_km2"] = ratio(false_alarms, sea)
    return (
        result
        | boundary_scores(totals["boundary"])
        | {
            "ece": expected_calibration_error(totals["calibration"]),
            "maximum_calibration_error": maximum_calibration_error(totals["calibration"]),
            "brier": brier(totals["calibration"]),
            "oil_ece": expected_calibration_error(totals["oil_calibration"]),
            "oil_brier": brier(totals["oil_calibration"]),
        }
    )


def difference(one: Evaluation, other: Evaluation, score: str, confidence: float) -> tuple[float, tuple[float, float]]:
    """Return the difference `one` - `other` of a score, and its interval over the paired samples."""
    paired = one.samples[score] - other.samples[score]
    return one.scores[score] - other.scores[score], one.enclosing(paired, confidence)


COMPARED = ("miou", "oil_iou")  # scores whose differences between models have an interval
OBJECT_COLUMNS = ("true", "found", "matched", "predicted", "hits", "matched_predicted")


def evaluation_record(
    evaluation: Evaluation, first: Evaluation, options: EvaluationOptions, pixel_spacing: float | None
) -> dict[str, Any]:
    """Return all scores of one model by name, with their intervals and the counts behind them.

    `difference_to_first` has the differences to the first evaluation on the same images, and is empty for that one.
    """
    return {
        "n_images": len(evaluation.counts["images"]),
        **{name: number(value) for name, value in evaluation.scores.items()},
        "intervals": {
            name: [number(end) for end in evaluation.interval(name, options.confidence)] for name in evaluation.scores
        },
        "no_intervals": evaluation.no_intervals,
        "difference_to_first": {} if evaluation is first else _differences(evaluation, first, options),
        "confusion": evaluation.totals["confusion"].astype(int).tolist(),
        "objects_by_area": _by_area(evaluation.totals["objects"], options, pixel_spacing),
        "calibration": calibration_bins(evaluation.totals["calibration"]),
        "oil_calibration": calibration_bins(evaluation.totals["oil_calibration"]),
    }


def number(value: float) -> float | None:
    """Round to six decimals, beyond the precision that any set of images gives; null for NaN."""
    return None if np.isnan(value) else round(float(value), 6)


def _differences(one: Evaluation, first: Evaluation, options: EvaluationOptions) -> dict[str, Any]:
    differences = {}
    for score in COMPARED:
        value, ends = difference(one, first, score, options.confidence)
        differences[score] = {"value": number(value), "interval": [number(end) for end in ends]}
    return differences


def _by_area(counts: Floats, options: EvaluationOptions, pixel_spacing: float | None) -> list[dict[str, Any]]:
    edges = [options.objects.minimum_area, *options.objects.area_edges, None]
    rows = []
    for row, start, stop in zip(counts, edges[:-1], edges[1:], strict=True):
        km2 = [None if e is None or pixel_spacing is None else e * pixel_spacing**2 / 1e6 for e in (start, stop)]
        scores = {k: number(float(v)) for k, v in object_scores(row).items() if not k.endswith("f1")}
        in_row = dict(zip(OBJECT_COLUMNS, row.astype(int).tolist(), strict=True))
        rows.append({"pixels": [start, stop], "km2": km2, **in_row, **scores})
    return rows


def calibration_bins(counts: Floats) -> list[dict[str, Any]]:
    confidence, share = (ratio(counts[:, column], counts[:, PIXELS]) for column in (CONFIDENCE, CORRECT))
    return [
        {"pixels": int(n), "confidence": number(p), "share": number(s)}
        for n, p, s in zip(counts[:, PIXELS], confidence, share, strict=True)
    ]
