"""Pairs out of the simulator: to train on without end, and a fixed set to validate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.classes import CLASSES, IGNORE, SEA
from models.datasets.pairs import GreyPair, Pair, Split, chip_input, grey_bytes
from models.simulator import CHIP_OPTIONS, simulate_chip
from preprocess.options import PreprocessOptions, normalised_db

GREY_DB = (-35.0, 0.0)  # sigma nought that is black and white in 8-bit grey, of every chip alike
VALIDATION_SEED = 2_000_000_000  # simulated chips from this seed on are never trained on


def simulated_pair(
    seed: int, size: int, options: PreprocessOptions, stretch: np.random.Generator | None = None, margin: int = 0
) -> Pair:
    """Simulate one chip with all five classes; no data is labelled `IGNORE`.

    With `stretch` the chip comes as an uncalibrated 8-bit image would, in a stretch drawn from it; `margin` is that of
    `simulate_chip`.
    """
    sigma_nought, truth = simulate_chip(seed, size, margin=margin)
    labels = np.where(np.isnan(sigma_nought), IGNORE, truth).astype(np.int64)
    if stretch is None:
        return normalised_db(sigma_nought, options)[None], labels
    return chip_input(_stretched(sigma_nought, stretch), options)[None], labels


def flat_pair(size: int, rng: np.random.Generator) -> Pair:
    """A sea without any texture at a level drawn from `rng`: where nothing shows, there is nothing."""
    level = np.float32(rng.uniform(-2.5, 1.5))
    return np.full((1, size, size), level, np.float32), np.full((size, size), SEA, np.int64)


def _stretched(sigma_nought: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Turn linear sigma nought into 8-bit grey, of amplitude or of decibels, clipped at both ends; no data is 0."""
    if rng.random() < 0.5:
        values = np.sqrt(sigma_nought)
        black, white = 0.0, np.nanpercentile(values, rng.uniform(90, 99.9)) * rng.uniform(1, 1.5)
    else:
        values = 10 * np.log10(np.maximum(sigma_nought, 1e-4))
        black = np.nanpercentile(values, rng.uniform(0, 0.5)) - 6
        white = np.nanpercentile(values, rng.uniform(99, 100)) + 3
    grey = np.round(255 * np.clip((values - black) / max(white - black, 1e-6), 0, 1))
    return np.asarray(np.nan_to_num(grey), np.float32)


@dataclass(frozen=True)
class SimulatedChips:
    """`count` chips of (`size`, `size`) pixels of the simulator, by consecutive seeds; the same ones every time.

    Pairs are calibrated; grey is linear in decibels between the two of `GREY_DB`, no data is 0 and labelled `IGNORE`.
    """

    count: int = 200
    size: int = 256
    margin: int = 128  # pixels of sea simulated around a chip, and cut off
    first_seed: int = VALIDATION_SEED
    classes: tuple[str, ...] = CLASSES
    pixel_spacing: float | None = CHIP_OPTIONS.spacing
    groups: None = None

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return str(self.first_seed + index)

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return simulated_pair(self.first_seed + index, self.size, options, margin=self.margin)

    def presence(self, index: int) -> None:
        """None: labels are by pixel."""

    def power(self, index: int) -> NDArray[np.float32]:
        return simulate_chip(self.first_seed + index, self.size, margin=self.margin)[0]

    def grey(self, index: int) -> GreyPair:
        black, white = GREY_DB
        image, labels = self.pair(index, PreprocessOptions(floor_db=black, mean_db=black, std_db=white - black))
        return grey_bytes(255 * np.minimum(image[0], 1), eight_bits=True), labels


def simulated(_root: Path, count: int = 200) -> Split:
    """Return the simulated validation chips; what is trained on is drawn from the seeds below `VALIDATION_SEED`."""
    note = f"{count} chips from seed {VALIDATION_SEED} on; made by the simulator that the training chips come from"
    return Split("simulated", None, SimulatedChips(count), note)
