"""Images with masks of oil, in folders of many layouts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingest.errors import UnreadableInput
from ingest.files import storage_errors
from models.classes import IGNORE, OIL, OIL_CLASSES
from models.datasets.csiro import labelled_chips
from models.datasets.masks import ClassTable, mask_labels, read_class_table
from models.datasets.pairs import (
    GreyPair,
    Pair,
    Split,
    chip_input,
    chip_power,
    grey_bytes,
    read_grey,
    require_one_size,
)
from preprocess.options import PreprocessOptions

IMAGE_FOLDERS = ("images", "image", "sat")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "gt")
IMAGE_ENDINGS = ("_sat", "_image")
MASK_ENDINGS = ("_mask", "_gt", "_label")
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}


@dataclass(frozen=True)
class ImageMaskFolder:
    """Images and their masks, as `models.datasets.masks` reads them; no data in the image is labelled `IGNORE`."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    table: ClassTable | None = None
    classes: tuple[str, ...] = OIL_CLASSES
    pixel_spacing: float | None = None

    @property
    def groups(self) -> tuple[Hashable, ...] | None:
        """None: copies are not known."""
        return None

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the file name without what only says that it is an image: ``10001`` of ``10001_sat.jpg``."""
        return _pair_name(self.images[index], IMAGE_ENDINGS)

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Read one pair; raises `UnreadableInput` where image and mask differ in size or the mask is no mask."""
        image, labels, _ = self._read(index)
        return chip_input(image, options)[None], labels

    def grey(self, index: int) -> GreyPair:
        """Read one pair, of 8-bit files the very values; raises what `pair` raises."""
        image, labels, eight_bits = self._read(index)
        return grey_bytes(image, eight_bits), labels

    def presence(self, index: int) -> None:
        """None: labels are by pixel."""

    def power(self, index: int) -> NDArray[np.float32]:
        """Read one image as power in any unit; raises what `pair` raises."""
        return chip_power(self._read(index)[0])

    def _read(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64], bool]:
        image, eight_bits = read_grey(self.images[index])
        labels = mask_labels(self.masks[index], self.table)
        require_one_size(image, labels, self.masks[index])
        return image, np.where(np.isnan(image), IGNORE, labels), eight_bits


def image_mask_folder(folder: Path, table: ClassTable | None = None) -> ImageMaskFolder:
    """List the pairs of a folder; raises `UnreadableInput` for a missing folder, mask, or no image at all.

    What its masks hold is as its ``classes.json`` says, else as `table` does. One folder for both kinds
    (``00001.jpg`` beside ``00001.png``, or ``00001_sat.jpg`` beside ``00001_mask.png``), or two below it, such as
    ``images/`` and ``masks/`` or ``sat/`` and ``gt/``.
    """
    image_folder, mask_folder = child_folder(folder, IMAGE_FOLDERS), child_folder(folder, MASK_FOLDERS)
    if image_folder:
        images = _files(image_folder)
        masks = _files(mask_folder) if mask_folder else []
    else:
        images, masks = _side_by_side(_files(folder))
    if not images:
        raise UnreadableInput(folder, "no images found", "give a folder with images/ and masks/, or of .jpg and .png")
    by_name = {_pair_name(mask, MASK_ENDINGS): mask for mask in masks}
    names = [_pair_name(image, IMAGE_ENDINGS) for image in images]
    for image, name in zip(images, names, strict=True):
        if name not in by_name:
            beside = mask_folder or (image_folder and folder / "masks") or folder
            raise UnreadableInput(image, "has no mask", f"add {beside / (name + '.png')}")
    return ImageMaskFolder(tuple(images), tuple(by_name[name] for name in names), read_class_table(folder) or table)


def open_folder(folder: Path) -> Split:
    """Open a folder of pairs to test on, or one with ``test/`` and, where there is one, ``train/`` below.

    A folder with an ``index.csv`` has labels of whole chips instead.
    """
    if (folder / "index.csv").is_file():
        return Split(folder.resolve().name, None, labelled_chips(folder), "labels of whole chips")
    parts = {part: child_folder(folder, (part,)) for part in ("train", "test")}
    if not any(parts.values()):
        return Split(folder.resolve().name, None, image_mask_folder(folder), "")
    table = read_class_table(folder)
    test = image_mask_folder(parts["test"] or folder / "test", table)
    train = image_mask_folder(parts["train"], table) if parts["train"] else None
    return Split(folder.resolve().name, train, test, "train/ and test/ as they are: nothing was looked at for copies")


def child_folder(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the folder below that has one of these names in whatever case, the first of `names` first."""
    if not folder.is_dir():
        return None
    below = {p.name.lower(): p for p in sorted(folder.iterdir(), reverse=True) if p.is_dir()}
    return next((below[name] for name in names if name in below), None)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    # Copies made on a Mac bring a "._name" along with every file.
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _side_by_side(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Divide the files of one folder into images and masks."""
    masks = {p for p in files if p.stem.endswith(MASK_ENDINGS)} or {p for p in files if p.suffix.lower() == ".png"}
    return [p for p in files if p not in masks], sorted(masks)


def _pair_name(path: Path, endings: tuple[str, ...]) -> str:
    return next((path.stem.removesuffix(end) for end in endings if path.stem.endswith(end)), path.stem)


def write_pair(folder: Path, name: str, grey: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Write images/NAME.png and masks/NAME.png below a folder, 255 = oil; no data is not oil."""
    file_name = re.sub(r"[^\w.-]+", "_", name) + ".png"
    layers = {"images": grey, "masks": np.where(labels == OIL, 255, 0).astype(np.uint8)}
    with storage_errors(folder):
        for kind, layer in layers.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(layer).save(folder / kind / file_name)
