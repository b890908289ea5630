"""CSIRO's Sentinel-1 chips with and without oil (Blondeau-Patissier et al. 2022, doi 10.25919/4v55-dn16, CC BY-SA 4.0).

Labels are per chip, there are no masks. Chips of one scene overlap and lie in one region: split by region.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ingest.errors import UnreadableInput
from models.classes import IGNORE, NOT_OIL, OIL_CLASSES
from models.datasets.pairs import GreyPair, Pair, chip_input, read_grey
from preprocess.options import PreprocessOptions

REGIONS = ("GBR", "GGu", "JAV", "SIN", "SUE")
_WHITE = 254  # this grey and above is the published mask of land and of no data


@dataclass(frozen=True)
class SeaChip:
    """One chip and whether there is oil on it."""

    path: Path
    oil: bool
    region: str


@dataclass(frozen=True)
class SeaChips:
    """Chips with one label each; as pairs, oil-free ones are `NOT_OIL` everywhere, the others have no pixel labels.

    White is no data.
    """

    chips: tuple[SeaChip, ...]
    classes: tuple[str, ...] = OIL_CLASSES
    pixel_spacing: float | None = None

    def __len__(self) -> int:
        return len(self.chips)

    def name(self, index: int) -> str:
        return self.chips[index].path.stem

    def image(self, index: int) -> NDArray[np.float32]:
        """Return the grey values (H, W), NaN where white; raises `UnreadableInput` naming the file."""
        grey, _ = read_grey(self.chips[index].path)
        return np.where(masked_white(grey), np.nan, grey).astype(np.float32)

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        image = self.image(index)
        return chip_input(image, options)[None], self._labels(index, image)

    def grey(self, index: int) -> GreyPair:
        image = self.image(index)
        return np.rint(np.nan_to_num(image)).astype(np.uint8), self._labels(index, image)

    def within(self, regions: Iterable[str]) -> SeaChips:
        """Return the chips of these regions."""
        wanted = frozenset(regions)
        return SeaChips(tuple(chip for chip in self.chips if chip.region in wanted))

    def outside(self, regions: Iterable[str]) -> SeaChips:
        """Return the chips of all other regions."""
        return self.within({chip.region for chip in self.chips} - set(regions))

    def with_oil(self, oil: bool) -> SeaChips:
        """Return the chips with oil, or those without."""
        return SeaChips(tuple(chip for chip in self.chips if chip.oil == oil))

    def _labels(self, index: int, image: NDArray[np.float32]) -> NDArray[np.int64]:
        known = ~np.isnan(image) & (not self.chips[index].oil)
        return np.where(known, NOT_OIL, IGNORE).astype(np.int64)


def csiro_chips(folder: Path) -> SeaChips:
    """List the chips of ``folder/index.csv``, without exact copies and without places that have both labels.

    Raises `UnreadableInput` if the index is missing or lacks a column.
    """
    index = folder / "index.csv"
    try:
        with index.open(newline="") as file:
            rows = list(csv.DictReader(file))
        places = defaultdict(set)
        for row in rows:
            places[_place(row)].add(row["oil"])
        kept = [row for row in rows if not row["dup_of"] and len(places[_place(row)]) == 1]
        return SeaChips(tuple(SeaChip(folder / row["path"], row["oil"] == "1", row["region"]) for row in kept))
    except (OSError, KeyError, csv.Error) as error:
        raise UnreadableInput(
            index, f"not an index of chips ({error})", "see docs/researcher/datasets.md for its columns"
        ) from error


def masked_white(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The published mask: white areas, not single bright pixels, and the pixels blurred by compression.

    Nowhere in an image with values beyond 8 bits.
    """
    if np.nanmax(grey, initial=0) > 255:
        return np.zeros(grey.shape, np.bool_)
    white = ndimage.binary_opening(grey >= _WHITE, np.ones((5, 5), np.bool_))
    return np.asarray(ndimage.binary_dilation(white, np.ones((3, 3), np.bool_), iterations=3), np.bool_)


def _place(row: dict[str, str]) -> tuple[str, str, str]:
    return row["hash"], row["x"], row["y"]
