"""Scores and times on simulated scenes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from flows.demo import detect_and_score
from flows.detection import DetectionOptions
from models.simulator.product import simulate_product
from outputs.record import read_record

BENCH_SEED = 900_000  # no training uses seeds from here on
Row = dict[str, Any]


def bench_scene(count: int, size: tuple[int, int], model: str, report: Callable[[Row], None]) -> Row:
    """Simulate unseen scenes with look-alikes, detect and score; `report` takes a row a scene. Returns the total."""
    rows: list[Row] = []
    cells = np.zeros(4, np.int64)  # in both, in either, published, true
    for seed in range(BENCH_SEED, BENCH_SEED + count):
        with tempfile.TemporaryDirectory() as folder:
            product = simulate_product(Path(folder), seed, size)
            began = time.perf_counter()
            detection, score = detect_and_score(product, Path(folder) / "results", DetectionOptions(model))
            seconds = time.perf_counter() - began
            record = read_record(detection.folder / "run.json")
        rows.append({"seed": seed, **score.as_dict(), "seconds": round(seconds, 1), "steps": dict(record.durations_s)})
        cells += score.intersection_cells, score.union_cells, score.published_cells, score.true_cells
        report(rows[-1])
    return {
        "scenes": count,
        "size": list(size),
        "model": record.model_id,
        "oil_iou": round(float(cells[0] / max(cells[1], 1)), 4),
        "precision": round(float(cells[0] / max(cells[2], 1)), 4),
        "recall": round(float(cells[0] / max(cells[3], 1)), 4),
        "median_scene_oil_iou": median(row["oil_iou"] for row in rows if row["oil_iou"] is not None),
        "true_slicks": sum(row["true_slicks"] for row in rows),
        "true_slicks_found": sum(row["true_slicks_found"] for row in rows),
        "false_slicks": sum(row["false_slicks"] for row in rows),
        "median_seconds": median(row["seconds"] for row in rows),
    }
