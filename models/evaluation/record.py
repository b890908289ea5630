"""Evaluations as plain JSON: null for undefined scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.evaluation.calibration import CONFIDENCE, CORRECT, PIXELS
from models.evaluation.evaluate import Evaluation, EvaluationOptions, difference
from models.evaluation.metrics import Floats, ratio
from models.evaluation.objects import object_scores

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
        "difference_to_first": {} if evaluation is first else _differences(evaluation, first, options),
        "confusion": evaluation.totals["confusion"].astype(int).tolist(),
        "objects_by_area": _by_area(evaluation.totals["objects"], options, pixel_spacing),
        "calibration": _bins(evaluation.totals["calibration"]),
        "oil_calibration": _bins(evaluation.totals["oil_calibration"]),
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


def _bins(counts: Floats) -> list[dict[str, Any]]:
    confidence, share = (ratio(counts[:, column], counts[:, PIXELS]) for column in (CONFIDENCE, CORRECT))
    return [
        {"pixels": int(n), "confidence": number(p), "share": number(s)}
        for n, p, s in zip(counts[:, PIXELS], confidence, share, strict=True)
    ]
