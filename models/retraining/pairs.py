"""Image pairs on disk, as `models.datasets.folder` reads them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingest.files import storage_errors
from models.classes import OIL


def write_pair(folder: Path, name: str, grey: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write images/NAME.png and masks/NAME.png below a folder, 255 = oil; no data is not oil."""
    file_name = re.sub(r"[^\w.-]+", "_", name) + ".png"
    layers = {"images": grey, "masks": np.where(labels == OIL, 255, 0).astype(np.uint8)}
    with storage_errors(folder):
        for kind, layer in layers.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(layer).save(folder / kind / file_name)
