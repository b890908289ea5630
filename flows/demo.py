"""Simulated scenes with known truth, processed by the flow, scored and timed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray

from flows.detect import Detection, detect_slicks
from flows.detection import DetectionOptions
from flows.results import Result, read_result
from ingest.files import storage_errors, write_json
from ingest.progress import step
from ingest.safe.product import SafeProduct
from models.checkpoint import read_checkpoint
from models.evaluation.scene import Score, compared_cells, score_cells
from models.simulator.product import SimulatedProduct, simulate_product
from outputs.catalogue import Catalogue
from outputs.locator import land_around
from outputs.quicklook import write_comparison
from preprocess.pipeline import CalibratedScene, calibrated_scene

DEMO_SEED = 514
CATALOGUE = "catalogue.gpkg"  # in the folder of the demonstration
BENCH_SEED = 900_000  # no training uses seeds from here on
Row = dict[str, Any]


@dataclass(frozen=True)
class Demo:
    """What a demonstration wrote, and how well the slicks match the truth."""

    product: SimulatedProduct
    detection: Detection
    score: Score
    slicks: gpd.GeoDataFrame
    catalogue: Path
    comparison: Path  # picture of what was found, missed and falsely found
    summary: Path


@dataclass(frozen=True, eq=False)
class Scored:
    """A simulated scene as it was detected; oil, published: cells (line, pixel) with true oil, and in slicks."""

    detection: Detection
    scene: CalibratedScene
    result: Result
    oil: NDArray[np.bool_]
    published: NDArray[np.bool_]
    score: Score


def run_demo(out: Path, seed: int = DEMO_SEED, size: tuple[int, int] = (4096, 4096)) -> Demo:
    """Simulate a scene into out/inbox, detect its slicks with the shipped model, score them; write out/summary.json.

    The result is also published in a catalogue in `out`.
    """
    inbox = out / "inbox"
    with step("simulate a scene"), storage_errors(inbox):
        inbox.mkdir(parents=True, exist_ok=True)
        product = simulate_product(inbox, seed, size)
    scored = detect_and_score(product, out)
    detection, score, result, scene = scored.detection, scored.score, scored.result, scored.scene
    comparison = out / "comparison.png"
    found = f"found {score.true_slicks_found} of {score.true_slicks} slicks, {score.false_slicks} false"
    with step("draw the comparison"):
        write_comparison(scene, result.slicks, scored.oil, scored.published, found, comparison, land_around(scene.grid))
    catalogue = Catalogue.open(out / CATALOGUE)
    catalogue.publish(
        result.record,
        scene.scene,
        result.footprint,
        result.slicks,
        candidates=result.candidates,
        result_folder=result.folder,
    )
    summary = out / "summary.json"
    record = {
        "scene_id": detection.scene_id,
        "seed": seed,
        "product": str(product.safe),
        "truth": str(product.truth),
        "results": str(detection.folder),
        "catalogue": str(catalogue.path),
        "comparison": str(comparison),
        **score.as_dict(),
    }
    write_json(summary, record, indent=2)
    return Demo(product, detection, score, result.slicks, catalogue.path, comparison, summary)


def detect_and_score(product: SimulatedProduct, out: Path, options: DetectionOptions | None = None) -> Scored:
    """Run the flow on a simulated product and score the published slicks against the truth."""
    options = options or DetectionOptions()
    detection = detect_slicks(product.safe, out, options)
    scene = calibrated_scene(SafeProduct.open(product.safe), read_checkpoint(options.model).preprocess)
    result = read_result(detection.folder)
    oil, published = compared_cells(result.slicks, product.truth, scene.grid)
    return Scored(detection, scene, result, oil, published, score_cells(oil, published, len(result.slicks)))


def bench_scene(count: int, size: tuple[int, int], model: str, report: Callable[[Row], None]) -> Row:
    """Simulate unseen scenes with look-alikes, detect and score; `report` takes a row a scene. Returns the total."""
    rows: list[Row] = []
    cells = np.zeros(4, np.int64)  # in both, in either, published, true
    for seed in range(BENCH_SEED, BENCH_SEED + count):
        with tempfile.TemporaryDirectory() as folder:
            with step(f"simulate scene {len(rows) + 1} of {count}"):
                product = simulate_product(Path(folder), seed, size)
            began = time.perf_counter()
            scored = detect_and_score(product, Path(folder) / "results", DetectionOptions(model))
            seconds = time.perf_counter() - began
            score, record = scored.score, scored.result.record
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
