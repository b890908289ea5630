"""Class maps of image chips of any bit depth and stretch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from ingest.files import whole_file
from models.checkpoint import Checkpoint, require_five_classes
from models.classes import CLASSES
from models.datasets.pairs import chip_input, grey_image
from models.objects import Judge, Surroundings, judge_image, sea_of_grey
from models.predict import probabilities
from preprocess.tiles import blend, split

NO_CLASS = 255


def segment_image(
    path: Path,
    out: Path,
    network: nn.Module,
    checkpoint: Checkpoint,
    object_stage: tuple[Judge, Surroundings] | None = None,
) -> Path:
    """Write the class map out/<stem>.png and out/<stem>.npz, `probability` (class, row, column); returns the map.

    Pixels without data are `NO_CLASS` in the map and NaN in the probabilities. Candidates that the object stage turns
    down are look-alikes in both.
    """
    require_five_classes(checkpoint)
    grey = grey_image(path)
    image = chip_input(grey, checkpoint.preprocess)[None]  # (1, rows, columns)
    tiling = checkpoint.tiling
    tiles = ((row, column, probabilities(network, tile[None])[0]) for row, column, tile in split(image, tiling))
    probability = blend(tiles, (len(CLASSES), *image.shape[1:]), tiling)
    if object_stage is not None:
        judge_image(probability, sea_of_grey(grey), *object_stage)
    no_data = np.isnan(image[0])
    probability[:, no_data] = np.nan
    classes = np.where(no_data, NO_CLASS, probability.argmax(axis=0)).astype(np.uint8)
    class_map = out / f"{path.stem}.png"
    with whole_file(out / f"{path.stem}.npz") as hidden:
        np.savez_compressed(hidden, probability=probability.astype(np.float16), classes=np.array(CLASSES))
    with whole_file(class_map) as hidden:
        Image.fromarray(classes).save(hidden)
    return class_map
