"""SOS, the Deep-SAR Oil Spill dataset (Zhu et al. 2022, doi 10.1109/TGRS.2021.3115492): ALOS and Sentinel-1, oil."""

from __future__ import annotations

from pathlib import Path

from ingest.errors import UnreadableInput
from models.datasets.folder import ImageMaskFolder, child_folder, image_mask_folder
from models.datasets.leak import copy_group, without_leak
from models.datasets.pairs import Split

SENSOR_FOLDERS = {"sentinel": ("sentinel", "sentinel-1", "sentinel1"), "alos": ("palsar", "alos")}
RELEASED = {"sentinel": (3354, 839), "alos": (3101, 776)}  # images to train and to test on
_PREFIX = {"sentinel": "sos", "alos": "sos-alos"}


def sos_official(root: Path, sensor: str) -> Split:
    """Open SOS as its authors divided it, where training images repeat test images; see `sos_clean`.

    `sensor` is a key of `SENSOR_FOLDERS`. Looks in ``root/sos`` and `root`, for ``SENSOR/PART`` and ``PART/SENSOR``;
    raises `UnreadableInput` where neither is.
    """
    train, test = _pairs(root, sensor)
    copies = len(train) - len(without_leak(train, test))
    note = f"{copies} of {len(train)} training images are known to repeat a test image"
    return Split(f"{_PREFIX[sensor]}-official", train, test, note + _counts_note(sensor, train, test))


def sos_clean(root: Path, sensor: str) -> Split:
    """Open SOS with the official test images, and without the training images that repeat one, see `without_leak`."""
    train, test = _pairs(root, sensor)
    kept = without_leak(train, test)
    alone = sum(copy_group(kept.name(i)) is None for i in range(len(kept)))
    note = f"{len(kept)} of {len(train)} training images kept, none known to repeat a test image"
    note += f" ({alone} of them in no known group of copies)" if alone else ""
    return Split(f"{_PREFIX[sensor]}-clean", kept, test, note + _counts_note(sensor, train, test))


def _pairs(root: Path, sensor: str) -> tuple[ImageMaskFolder, ImageMaskFolder]:
    train, test = (image_mask_folder(_part_folder(root, sensor, part)) for part in ("train", "test"))
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
