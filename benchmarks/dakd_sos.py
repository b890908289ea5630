r"""DAKD on SOS-Sentinel averaged to 64 x 64 pixels: real pairs only, with hard, with soft synthetic labels.

    slickwatch train jointnet --config configs/jointnet/sos-64.toml --out runs/jointnet-sos-64
    slickwatch synthesize --model runs/jointnet-sos-64 --count 1792 --out runs/synthetic-sos-64 \
        --solver dpm++ --steps 20 --half-precision
    python -m benchmarks.dakd_sos --synthetic runs/synthetic-sos-64 --out runs/dakd

See docs/results/0006-dakd.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from flows.evaluate import evaluate_models
from models.training.options import changed
from models.training.segmentation import train
from models.training.segmentation_options import TrainOptions

BUDGET = changed(
    TrainOptions(),
    encoder="nano", only_oil=True, real_share=1.0, batch_size=16, crop=64, learning_rate=1e-3, warm_up=40,
    average_decay=0.99, dice="generalised", validate_every=200, validation_chips=60, workers=1, threads=1,
)  # fmt: skip
# Synthetic pairs are those of a model that saw `sos-clean` alone: as many for both splits, half of the larger one.
SPLITS = {"sos-clean@4": 1.0, "sos-official@4": 0.5}
# Every row takes the same number of steps of the same size.
ROWS: dict[str, dict[str, Any]] = {
    "real only": {},
    "plain augmentation": {"augmentation": "strong"},
    "hard 1x": {"synthetic_labels": "hard", "synthetic_multiple": 1.0},
    "soft 1x": {"synthetic_labels": "soft", "synthetic_multiple": 1.0},
    "hard 2x": {"synthetic_labels": "hard", "synthetic_multiple": 2.0},
    "soft 2x": {"synthetic_labels": "soft", "synthetic_multiple": 2.0},
    "soft 4x": {"synthetic_labels": "soft", "synthetic_multiple": 4.0},
}
SCORES = ("miou", "oil_iou", "f1", "precision", "recall", "object_f1", "ece")


def main() -> None:
    """Train what is not trained yet, evaluate all of it, and print a table of means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/dakd"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=["real only", "hard 1x", "soft 1x"])
    parser.add_argument("--splits", nargs="*", choices=SPLITS, default=list(SPLITS))
    asked = parser.parse_args()
    for seed in asked.seeds:
        for split in asked.splits:
            for row in asked.rows:
                train_one(row, split, seed, asked.steps, asked.synthetic, folder_of(asked.out, split, row, seed))
    for split in asked.splits:
        print(table(split, asked.rows, asked.seeds, asked.out), flush=True)


def folder_of(out: Path, split: str, row: str, seed: int) -> Path:
    """Where the model of one row, split and seed lies."""
    return out / split / row.replace(" ", "-") / f"seed-{seed}"


def train_one(row: str, split: str, seed: int, steps: int, synthetic: Path, folder: Path) -> None:
    """Train one row with one seed, or go on with it; a finished one is left as it is."""
    if (folder / "checkpoint.json").is_file():
        return
    settings = dict(ROWS[row])
    if "synthetic_multiple" in settings:
        settings["synthetic_multiple"] *= SPLITS[split]
    used = {"synthetic": str(synthetic)} if "synthetic_labels" in settings else {}
    options = changed(BUDGET, real=split, seed=seed, steps=steps, **settings, **used)
    began = time.process_time()
    metrics = train(options, folder, resume=True, report=lambda line: None).metrics["real_test"]
    print(f"{split}, {row}, seed {seed}: {time.process_time() - began:.0f} s CPU, {metrics}", flush=True)


def table(split: str, rows: list[str], seeds: list[int], out: Path) -> str:
    """Evaluate the models of a split; per row the mean of each score over the seeds, and the seeds' range of mIoU."""
    lines = [f"{split}: " + " | ".join(["row", *SCORES, "range of mIoU"])]
    for row in rows:
        models = [str(folder_of(out, split, row, seed)) for seed in seeds]
        scores = list(evaluate_models(split, models)["models"].values())
        means = [float(np.mean([one[name] for one in scores])) for name in SCORES]
        miou = [one["miou"] for one in scores]
        lines.append(
            " | ".join([row, *(f"{100 * mean:.1f}" for mean in means), f"{100 * min(miou):.1f}-{100 * max(miou):.1f}"])
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
