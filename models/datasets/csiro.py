"""Chips with one label each, oil or none, listed in an index.csv.

Such as CSIRO's Sentinel-1 chips (Blondeau-Patissier et al. 2022, doi 10.25919/4v55-dn16, CC BY-SA 4.0). Chips of one
scene overlap and lie in one region: split by region.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UnreadableInput
from models.classes import IGNORE, NOT_OIL, OIL_CLASSES
from models.datasets.pairs import GreyPair, Pair, Split, chip_input, chip_power, masked_white, read_grey
from preprocess.options import PreprocessOptions

_LABELS = {"0": False, "1": True}
REGIONS = ("GBR", "GGu", "JAV", "SIN", "SUE")


@dataclass(frozen=True)
class SeaChip:
    """One chip and whether there is oil on it."""

    path: Path
    oil: bool
    region: str = ""
    scene: str = ""


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

    @property
    def groups(self) -> tuple[str, ...] | None:
        """The scene of each chip; None where the index does not say."""
        scenes = tuple(chip.scene for chip in self.chips)
        return scenes if all(scenes) else None

    def presence(self, index: int) -> bool:
        """Return whether the chip shows oil."""
        return self.chips[index].oil

    def power(self, index: int) -> NDArray[np.float32]:
        """Return grey values, taken as amplitudes, as power; raises what `image` raises."""
        return chip_power(self.image(index))

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


def labelled_chips(folder: Path) -> SeaChips:
    """List the chips of ``folder/index.csv``, without exact copies and without places that have both labels.

    Columns: path below the folder, oil (0 or 1); where known region, hash (of the scene), x, y and dup_of. Raises
    `UnreadableInput` for an index that is missing, empty, lacks a column or has another label.
    """
    index = folder / "index.csv"
    try:
        with index.open(newline="") as file:
            rows = list(csv.DictReader(file))
        places = defaultdict(set)
        for row in rows:
            places[_place(row)].add(row["oil"])
        kept = [row for row in rows if not row.get("dup_of") and len(places[_place(row)]) == 1]
        chips = tuple(
            SeaChip(folder / row["path"], _LABELS[row["oil"]], row.get("region", ""), row.get("hash", ""))
            for row in kept
        )
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise UnreadableInput(
            index, f"not an index of chips ({error})", "see docs/researcher/datasets.md for its columns"
        ) from error
    if not chips:
        raise UnreadableInput(index, "lists no chips", "see docs/researcher/datasets.md for its columns")
    return SeaChips(chips)


def csiro(root: Path, region: str | None = None) -> Split:
    """Open CSIRO's chips below `root`, of one region or of all, to test on; raises what `labelled_chips` raises."""
    chips = labelled_chips(root / "csiro")
    if region is None:
        return Split("csiro", None, chips, "labels of whole chips; the shipped model was trained on some of them")
    return Split(f"csiro-{region.lower()}", None, chips.within({region}), "labels of whole chips")


def _place(row: dict[str, str]) -> tuple[str, ...]:
    known = tuple(row.get(name, "") for name in ("hash", "x", "y"))
    return known if all(known) else (row["path"],)
