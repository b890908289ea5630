"""OSD, the Oil Spill Detection dataset of MKLab (Krestenitis et al. 2019, doi 10.3390/rs11151762): five classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import UnreadableInput
from models.classes import CLASSES
from models.datasets.folder import child_folder
from models.datasets.pairs import (
    GreyPair,
    Pair,
    Split,
    chip_input,
    chip_power,
    grey_bytes,
    read_grey,
    read_image,
    require_one_size,
)
from preprocess.options import PreprocessOptions

COLOURS = {  # of labels/; labels_1D/ has the indices of CLASSES instead
    "sea": (0, 0, 0),
    "oil": (0, 255, 255),
    "look-alike": (255, 0, 0),
    "ship": (153, 76, 0),
    "land": (0, 153, 0),
}
RELEASED = {"train": 1002, "test": 110}
_UNKNOWN = 255


@dataclass(frozen=True)
class OSDImages:
    """Images (650, 1250) with all five classes, from ``labels_1D/`` (0..4) or ``labels/`` (`COLOURS`).

    Their pixel spacing is not recorded: each was cut out of a Sentinel-1 scene and brought to one size.
    """

    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    coloured: tuple[bool, ...]  # whether labels are colours
    classes: tuple[str, ...] = CLASSES
    pixel_spacing: float | None = None
    groups: None = None  # copies are not known

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return self.images[index].stem

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Read one pair; raises `UnreadableInput` for sizes that differ, and a label or colour that is none of OSD."""
        image, labels, _ = self._read(index)
        return chip_input(image, options)[None], labels

    def grey(self, index: int) -> GreyPair:
        """Read one pair with the image's own values; raises what `pair` raises."""
        image, labels, eight_bits = self._read(index)
        return grey_bytes(image, eight_bits), labels

    def power(self, index: int) -> NDArray[np.float32]:
        """Read one image as power in any unit; raises what `pair` raises."""
        return chip_power(self._read(index)[0])

    def presence(self, index: int) -> None:
        """None: labels are by pixel."""

    def _read(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64], bool]:
        path = self.labels[index]
        image, eight_bits = read_grey(self.images[index])
        labels = colour_labels(path) if self.coloured[index] else index_labels(path)
        require_one_size(image, labels, path)
        return image, labels, eight_bits


def colour_labels(path: Path) -> NDArray[np.int64]:
    """Read labels (H, W) out of an image in `COLOURS`; raises `UnreadableInput` naming any other colour and where."""
    image = read_image(path)
    if image.has_transparency_data and (np.asarray(image.convert("RGBA").getchannel("A")) < 255).any():
        raise UnreadableInput(path, "is partly transparent", "give the labels as released, not compressed or scaled")
    colours = np.asarray(image.convert("RGB"))
    labels = np.full(colours.shape[:2], _UNKNOWN, np.int64)
    for name, colour in COLOURS.items():
        labels[(colours == colour).all(axis=-1)] = CLASSES.index(name)
    unknown = np.argwhere(labels == _UNKNOWN)
    if len(unknown):
        line, pixel = (int(i) for i in unknown[0])
        found = tuple(int(c) for c in colours[line, pixel])
        raise _not_a_label(path, f"the colour {found}", line, pixel, len(unknown))
    return labels


def index_labels(path: Path) -> NDArray[np.int64]:
    """Read labels (H, W) out of an image of class indices; raises `UnreadableInput` naming any other value."""
    labels = np.asarray(read_image(path))
    if labels.ndim != 2:
        raise UnreadableInput(path, "has more than one channel", "labels_1D/ holds one, 0..4; colours go to labels/")
    unknown = np.argwhere(labels >= len(CLASSES))
    if len(unknown):
        line, pixel = (int(i) for i in unknown[0])
        raise _not_a_label(path, f"the value {int(labels[line, pixel])}", line, pixel, len(unknown))
    return labels.astype(np.int64)


def _not_a_label(path: Path, what: str, line: int, pixel: int, count: int) -> UnreadableInput:
    problem = f"has {what} at line {line}, pixel {pixel}, not a class of OSD ({count} such pixels)"
    return UnreadableInput(path, problem, "give the labels as released, not compressed or scaled")


def osd(root: Path) -> Split:
    """Open OSD at ``root/osd`` or `root` itself; raises `UnreadableInput` where it is not there or lacks labels."""
    folder = next((f for f in (child_folder(root, ("osd",)), root) if f and child_folder(f, ("test",))), None)
    if folder is None:
        raise UnreadableInput(
            root / "osd", "no OSD with test/images found", "see docs/researcher/datasets.md for where to get it"
        )
    train_folder = child_folder(folder, ("train",))
    train = osd_images(train_folder) if train_folder else None
    test = osd_images(folder / "test")
    return Split("osd", train, test, _note({"train": len(train) if train else 0, "test": len(test)}))


def osd_images(folder: Path) -> OSDImages:
    """List the images of ``train/`` or ``test/``; raises `UnreadableInput` for no images or one without labels."""
    images = sorted((folder / "images").glob("*.jpg"))
    if not images:
        raise UnreadableInput(
            folder / "images", "no .jpg images found", "give OSD as released, see docs/researcher/datasets.md"
        )
    labels = [_label_file(folder, image) for image in images]
    coloured = tuple(path.parent.name == "labels" for path in labels)
    return OSDImages(tuple(images), tuple(labels), coloured)


def _label_file(folder: Path, image: Path) -> Path:
    for kind in ("labels_1D", "labels"):
        path = folder / kind / f"{image.stem}.png"
        if path.is_file():
            return path
    raise UnreadableInput(image, "has no labels", f"add {folder / 'labels_1D' / (image.stem + '.png')}")


def _note(found: dict[str, int]) -> str:
    if found == RELEASED:
        return ""
    counts = ", ".join(f"{found[part]} of {RELEASED[part]} {part} images" for part in RELEASED)
    return f"not as released: {counts}"
