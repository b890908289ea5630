"""A retraining small enough for a test: its pairs and the settings of configs/retraining/ beside them."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CONFIGS = Path(__file__).parents[2] / "configs"


def write_pairs(folder, seeds, size=64):
    """Speckle with a dark band of oil somewhere, as images/ and masks/."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        oil = np.broadcast_to(abs(np.arange(size)[:, None] - rng.integers(8, size - 8)) < 5, (size, size))
        grey = 110 * np.sqrt(rng.gamma(10, 1 / 10, (size, size)) * np.where(oil, 0.1, 1.0))
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(folder / "images" / f"{seed}.png")
        Image.fromarray(np.uint8(255) * oil).save(folder / "masks" / f"{seed}.png")
    return folder


def write_small_retraining(folder):
    """Everything that `retrain-dakd` needs; returns its settings."""
    for name in ("retrain", "jointnet", "student"):
        shutil.copy(CONFIGS / "retraining" / f"{name}-small.toml", folder)
    write_pairs(folder / "pairs", range(8))
    write_pairs(folder / "heldout", range(100, 104))
    return folder / "retrain-small.toml"
