"""Simulated chips as image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ingest.files import whole_file
from models.simulator import simulate_chip

DARKEST_DB, BRIGHTEST_DB = -30.0, 0.0  # sigma nought at grey 1 and 255; 0 is no data


def write_chip(out: Path, seed: int, size: int) -> Path:
    """Write images/<seed>.png, masks/<seed>.png (255 = oil) and classes/<seed>.png (0..4); returns the image."""
    sigma_nought, truth = simulate_chip(seed, size)
    sigma_nought_db = 10 * np.log10(np.maximum(sigma_nought, 1e-4))
    grey = 1 + 254 * np.clip((sigma_nought_db - DARKEST_DB) / (BRIGHTEST_DB - DARKEST_DB), 0, 1)
    layers = {
        "images": np.where(np.isnan(sigma_nought), 0, grey),
        "masks": np.where(truth == 1, 255, 0),
        "classes": truth,
    }
    for name, layer in layers.items():
        with whole_file(out / name / f"{seed:08d}.png") as hidden:
            Image.fromarray(layer.astype(np.uint8)).save(hidden)
    return out / "images" / f"{seed:08d}.png"
