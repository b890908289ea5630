"""Train SAROSS-Net and its rivals on SOS-Sentinel with one budget, and compare them: docs/results/0004-sos-networks.md.

python -m benchmarks.sos_networks --out runs/sos [--steps 400] [--only unet ...]
"""

from __future__ import annotations

# Before anything that imports torchvision: lets a build of it for CUDA import beside a torch without.
from tests.support import vision_ops  # noqa: F401

# isort: split
import argparse
import json
import time
from pathlib import Path

from flows.evaluate import evaluate_models
from models.checkpoint import read_checkpoint
from models.training.options import changed
from models.training.segmentation import train
from models.training.segmentation_options import TrainOptions
from outputs.report import summary

BUDGET = changed(
    TrainOptions(), only_oil=True, real_share=1.0, steps=400, batch_size=16, crop=128, learning_rate=1e-3, warm_up=40,
    average_decay=0.99, dice="generalised", validate_every=100, validation_chips=60, threads=1, seed=1,
)  # fmt: skip
NETWORKS = {  # of about one cost a step on a CPU
    "saross": {"encoder": "nano"},
    "unet": {"encoder": "resnet18"},
    "deeplabv3+": {"encoder": "resnet18"},
    "segformer": {"encoder": "mit_b0"},
}
SPLITS = ("sos-official", "sos-clean")


def main() -> None:
    """Train what is not trained yet, then evaluate all networks of a split in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sos"))
    parser.add_argument("--steps", type=int, default=BUDGET.schedule.steps)
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--no-evaluation", action="store_true")
    arguments = parser.parse_args()
    for network in arguments.only:
        for split in SPLITS:
            train_one(network, split, arguments.steps, arguments.out / split / network)
    if not arguments.no_evaluation:
        for split in SPLITS:
            models = [str(arguments.out / split / network) for network in arguments.only]
            print(summary(evaluate_models(split, models, out=arguments.out / split / "evaluation")))


def train_one(network: str, split: str, steps: int, folder: Path) -> None:
    """Train one network on one split, or go on with it; a finished one is left as it is."""
    if (folder / "checkpoint.json").is_file():
        print(network, split, read_checkpoint(str(folder)).metrics["real_test"])
        return
    options = changed(BUDGET, network=network, real=split, steps=steps, **NETWORKS[network])
    began, cpu = time.perf_counter(), time.process_time()
    checkpoint = train(options, folder, resume=True)
    seconds = {"seconds": round(time.perf_counter() - began), "cpu_seconds": round(time.process_time() - cpu)}
    (folder / "time.json").write_text(json.dumps(seconds))
    print(network, split, seconds, checkpoint.metrics, flush=True)


if __name__ == "__main__":
    main()
