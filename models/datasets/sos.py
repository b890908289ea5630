"""SOS, the Deep-SAR Oil Spill dataset (Zhu et al. 2022, doi 10.1109/TGRS.2021.3115492): ALOS and Sentinel-1, oil.

SOS was made from 21 scenes by cropping, rotating, enlarging and adding noise, and then divided at random. The image
numbers reveal the copies: each range of `BLOCKS` consists of blocks of equal length, and every block repeats the first
one image by image. Found by correlation, see docs/researcher/datasets.md and `models.datasets.screening`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import UnreadableInput
from models.datasets.folder import ImageMaskFolder, child_folder, image_mask_folder
from models.datasets.pairs import LabelledImages, Selection, Split, groups_or_names

SENSOR_FOLDERS = {"sentinel": ("sentinel", "sentinel-1", "sentinel1"), "alos": ("palsar", "alos")}
RELEASED = {"sentinel": (3354, 839), "alos": (3101, 776)}  # training and test images
BLOCKS = ((10001, 12545, 509), (20001, 22220, 444), (30001, 31973, 661))  # first and last number, images per block
# Positions in the blocks from 30001 on that show the same sea as test images numbered from 20001 on: those with a
# correlation above 0.6 and everything between them, since neighbouring images overlap.
SAME_SEA = (range(19), range(32, 40), range(74, 99), range(409, 417), range(652, 661))
_PREFIX = {"sentinel": "sos", "alos": "sos-alos"}


@dataclass(frozen=True)
class SOSImages(ImageMaskFolder):
    """Images and oil masks of SOS, whose numbers tell which are copies of one another."""

    sensor: str = "sentinel"  # a key of `SENSOR_FOLDERS`

    @property
    def groups(self) -> tuple[Hashable, ...] | None:
        """A key per image, equal for copies: (sensor, first number of the range, position in a block).

        An image in no known group is a group of its own, (sensor, 0, name).
        """
        names = (self.name(i) for i in range(len(self)))
        return tuple((self.sensor, *(copy_group(name) or (0, name))) for name in names)


def copy_group(name: str, stride_error: int = 0) -> tuple[int, int] | None:
    """Return the group of copies of an SOS image as (first number of the range, position in a block).

    None where no group is known. `stride_error` is added to the block length: a control that finds no copies.
    """
    number = int(name) if name.isascii() and name.isdigit() else 0
    for first, last, length in BLOCKS:
        if first <= number <= last:
            return first, (number - first) % (length + stride_error)
    return None


def without_leak(train: LabelledImages, test: LabelledImages) -> Selection:
    """Select the training images that repeat no test image: neither a copy of one, nor the same sea, nor its name."""
    tested = set(groups_or_names(test))
    sensors = {group[0] for group in tested if isinstance(group, tuple) and group[1] == 20001}
    tested |= {(sensor, 30001, position) for sensor in sensors for run in SAME_SEA for position in run}
    return Selection(train, tuple(i for i, group in enumerate(groups_or_names(train)) if group not in tested))


def sos_official(root: Path, sensor: str) -> Split:
    """Open SOS with the authors' division, in which training images repeat test images; see `sos_clean`.

    `sensor` is a key of `SENSOR_FOLDERS`. Looks in ``root/sos`` and `root`, for ``SENSOR/PART`` and ``PART/SENSOR``;
    raises `UnreadableInput` where neither exists.
    """
    train, test = _pairs(root, sensor)
    copies = len(train) - len(without_leak(train, test))
    note = f"{copies} of {len(train)} training images are known to repeat a test image"
    return Split(f"{_PREFIX[sensor]}-official", train, test, note + _counts_note(sensor, train, test))


def sos_clean(root: Path, sensor: str) -> Split:
    """Open SOS with the official test images and the training images that repeat none of them, see `without_leak`."""
    train, test = _pairs(root, sensor)
    kept = without_leak(train, test)
    ungrouped = sum(copy_group(kept.name(i)) is None for i in range(len(kept)))
    note = f"{len(kept)} of {len(train)} training images kept, none known to repeat a test image"
    note += f" ({ungrouped} of them in no known group of copies)" if ungrouped else ""
    return Split(f"{_PREFIX[sensor]}-clean", kept, test, note + _counts_note(sensor, train, test))


def _pairs(root: Path, sensor: str) -> tuple[SOSImages, SOSImages]:
    found = (image_mask_folder(_part_folder(root, sensor, part)) for part in ("train", "test"))
    train, test = (SOSImages(pairs.images, pairs.masks, sensor=sensor) for pairs in found)
    return train, test


def _part_folder(root: Path, sensor: str, part: str) -> Path:
    sensors = SENSOR_FOLDERS[sensor]
    bases = [base for base in (child_folder(root, ("sos",)), child_folder(root, ("dataset",)), root) if base]
    bases += [inner for base in bases if (inner := child_folder(base, ("dataset", "datasets")))]
    for base in bases:
        for first, second in ((sensors, (part,)), ((part,), sensors)):
            above = child_folder(base, first)
            if above and (found := child_folder(above, second)):
                return found
    looked_for = root / "sos" / sensors[0] / part
    raise UnreadableInput(
        looked_for, "no such folder", "see docs/researcher/datasets.md for where to get SOS and its layouts"
    )


def _counts_note(sensor: str, train: ImageMaskFolder, test: ImageMaskFolder) -> str:
    if (len(train), len(test)) == RELEASED[sensor]:
        return ""
    expected = RELEASED[sensor]
    return f"; not as released: {len(train)} of {expected[0]} train and {len(test)} of {expected[1]} test images"
