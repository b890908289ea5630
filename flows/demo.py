"""Simulated scenes with known truth, processed by the flow and scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd

from flows.detect import Detection, detect_slicks
from flows.detection import DetectionOptions
from ingest.files import storage_errors, write_json
from ingest.progress import step
from ingest.safe.product import SafeProduct
from models.checkpoint import read_checkpoint
from models.evaluation.scene import Score, score_slicks
from models.simulator.product import SimulatedProduct, simulate_product
from preprocess.pipeline import calibrated_scene

DEMO_SEED = 514


@dataclass(frozen=True)
class Demo:
    """What a demonstration wrote, and how well the slicks match the truth."""

    product: SimulatedProduct
    detection: Detection
    score: Score
    summary: Path


def run_demo(out: Path, seed: int = DEMO_SEED, size: tuple[int, int] = (4096, 4096)) -> Demo:
    """Simulate a scene into out/inbox, detect its slicks with the shipped model, score them; write out/summary.json."""
    inbox = out / "inbox"
    with step("simulate a scene"), storage_errors(inbox):
        inbox.mkdir(parents=True, exist_ok=True)
        product = simulate_product(inbox, seed, size)
    detection, score = detect_and_score(product, out)
    summary = out / "summary.json"
    record = {
        "scene_id": detection.scene_id,
        "seed": seed,
        "product": str(product.safe),
        "truth": str(product.truth),
        "results": str(detection.folder),
        **score.as_dict(),
    }
    write_json(summary, record, indent=2)
    return Demo(product, detection, score, summary)


def detect_and_score(
    product: SimulatedProduct, out: Path, options: DetectionOptions | None = None
) -> tuple[Detection, Score]:
    """Run the flow on a simulated product and score the published slicks against the truth."""
    options = options or DetectionOptions()
    detection = detect_slicks(product.safe, out, options)
    scene = calibrated_scene(SafeProduct.open(product.safe), read_checkpoint(options.model).preprocess)
    slicks = gpd.read_file(detection.folder / "slicks.geojson")
    return detection, score_slicks(slicks, product.truth, scene.grid)
