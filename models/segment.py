"""Image chips of any bit depth and stretch as a model would publish them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import nn

from ingest.files import whole_file
from models.checkpoint import Checkpoint, load_model, model_folder, require_five_classes
from models.classes import CLASSES, OIL
from models.datasets.pairs import chip_input, chip_power, grey_image
from models.objects import Judge, Sea, Surroundings, Verdict, judge_image, load_judge
from models.predict import probabilities
from preprocess.tiles import blend, split

NO_CLASS = 255
COLOURS = {  # of the palette of class maps: sea, oil, look-alike, ship, land
    0: (8, 48, 107), 1: (215, 48, 31), 2: (253, 174, 97), 3: (255, 255, 255), 4: (138, 127, 102),
    NO_CLASS: (223, 230, 236),
}  # fmt: skip


@dataclass(frozen=True)
class SlickThresholds:
    """What counts as a slick, with the defaults of `outputs.options.SlickOptions`."""

    grow: float = 0.3
    outline: float = 0.5
    keep: float = 0.7
    minimum_area_m2: float = 100_000.0


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A model with its object stage, None where it has none or is not to be asked."""

    network: nn.Module
    checkpoint: Checkpoint
    object_stage: tuple[Judge, Surroundings] | None = None

    def segment(
        self, image: NDArray[np.float32], power: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], list[Verdict]]:
        """Class probabilities (classes, H, W), NaN = no data, and what the object stage says of each candidate.

        image: (1, H, W), the input of the network; power: (H, W), linear, of any unit, for the object stage. Large
        images go in tiles, as the checkpoint says. The oil of rejected candidates is look-alike in the probabilities.
        """
        tiling, shape = self.checkpoint.tiling, (len(self.checkpoint.classes), *image.shape[1:])
        tiles = (
            (row, column, probabilities(self.network, tile[None])[0]) for row, column, tile in split(image, tiling)
        )
        probability = blend(tiles, shape, tiling)
        verdicts: list[Verdict] = []
        if self.object_stage is not None and power is not None:
            verdicts = judge_image(probability, Sea(power), *self.object_stage)
        probability[:, np.isnan(image[0])] = np.nan
        return probability, verdicts

    def published(
        self, probability: NDArray[np.float32], thresholds: SlickThresholds = SlickThresholds()
    ) -> NDArray[np.intp]:
        """Classes (H, W) as they would be published, from probabilities (classes, H, W).

        Oil is where a slick would be outlined, in pixels of the model's spacing; elsewhere the likeliest other class.
        """
        return published_classes(probability, self.checkpoint.preprocess.pixel_spacing, thresholds)


def load_segmenter(model: str, object_stage: bool = True) -> Segmenter:
    """Load a model by id or folder; raises `ModelError` where it or its object stage is damaged."""
    network, checkpoint = load_model(model)
    judge = load_judge(model_folder(model), checkpoint.weights_sha256) if object_stage else None
    return Segmenter(network, checkpoint, judge)


def published_classes(
    probability: NDArray[np.floating], pixel_spacing: float, thresholds: SlickThresholds
) -> NDArray[np.intp]:
    """Classes (H, W) out of probabilities (classes, H, W); see `Segmenter.published`."""
    oil = np.nan_to_num(probability[OIL])
    groups, _ = ndimage.label(oil >= thresholds.grow, structure=np.ones((3, 3)))
    outlined = oil >= thresholds.outline
    cells = np.bincount(groups[outlined], minlength=groups.max() + 1)
    slick = cells * pixel_spacing**2 >= thresholds.minimum_area_m2
    slick &= np.bincount(groups[oil >= thresholds.keep], minlength=len(cells)) > 0
    others = np.nan_to_num(probability)
    others[OIL] = -1
    return np.where(outlined & slick[groups], OIL, others.argmax(axis=0))


def nothing_to_see(path: Path, class_map: NDArray[np.uint8]) -> str | None:
    """Why no oil could have been seen in an image, given its class map (H, W); None where it could."""
    seen = grey_image(path)[class_map != NO_CLASS]
    if not seen.size:
        return "has no data anywhere"
    return "has the same grey everywhere" if seen.min() == seen.max() else None


def segment_image(path: Path, out: Path, segmenter: Segmenter) -> Path:
    """Write the class map out/<stem>.png and out/<stem>.npz, `probability` (class, row, column); returns the map.

    Pixels without data are `NO_CLASS` in the map and NaN in the probabilities.
    """
    require_five_classes(segmenter.checkpoint)
    grey = grey_image(path)
    image = chip_input(grey, segmenter.checkpoint.preprocess)[None]  # (1, rows, columns)
    probability, _ = segmenter.segment(image, chip_power(grey))
    classes = np.where(np.isnan(image[0]), NO_CLASS, segmenter.published(probability)).astype(np.uint8)
    class_map = out / f"{path.stem}.png"
    with whole_file(out / f"{path.stem}.npz") as hidden:
        np.savez_compressed(hidden, probability=probability.astype(np.float16), classes=np.array(CLASSES))
    with whole_file(class_map) as hidden:
        picture = Image.fromarray(classes)
        picture.putpalette([value for i in range(256) for value in COLOURS.get(i, (0, 0, 0))])
        picture.save(hidden, format="PNG")
    return class_map
