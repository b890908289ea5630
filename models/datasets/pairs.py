"""Pairs of a normalised image and its labels: the interface of data sets, reading, augmenting and folds of images."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from ingest.errors import UnreadableInput, UsageError
from models.classes import NOT_OIL
from preprocess.contrast import sea_level
from preprocess.options import PreprocessOptions, contrast_input

# Image (1, H, W), normalised, NaN = no data; labels (H, W): 0..4 in the order of models.classes.CLASSES,
# NOT_OIL where nothing but that is known, IGNORE.
Pair = tuple[NDArray[np.float32], NDArray[np.int64]]
# Image (H, W) as 8-bit grey; labels (H, W) as in a pair, IGNORE where there is no data.
GreyPair = tuple[NDArray[np.uint8], NDArray[np.int64]]
WHITE = 254  # this grey and above is how land and no data are masked in published 8-bit images
_LUMA = np.array([19595, 38470, 7471], np.uint64)  # parts of 65536, as Pillow has them
# Grey pictures compressed in colour differ by so much between the channels, and hardly anywhere by more.
_COLOURLESS, _COLOURED_SHARE = 16, 0.01
STRETCH_PERCENTILES = (1.0, 99.0)  # of an image of more than 8 bits, that become 0 and 255


class LabelledImages(Protocol):
    """Images with labels by pixel, read when asked for."""

    @property
    def classes(self) -> tuple[str, ...]:
        """`CLASSES` where all five are labelled; `OIL_CLASSES` where labels are `OIL` and `NOT_OIL` alone."""

    @property
    def pixel_spacing(self) -> float | None:
        """In metres, where known."""

    @property
    def groups(self) -> tuple[Hashable, ...] | None:
        """A key per image, equal for copies of one place; None where copies are not known."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the data set's own name of the image, such as the number in its file name."""

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Read or make one pair; raises `UnreadableInput` naming the file."""

    def grey(self, index: int) -> GreyPair:
        """Return the image as 8-bit grey (H, W), as data sets are published, 0 where there is no data, and its labels.

        The labels are those of `pair`. Raises what `pair` raises.
        """

    def power(self, index: int) -> NDArray[np.float32]:
        """Return the image (H, W) as linear power in any unit, NaN = no data; raises what `pair` raises."""

    def presence(self, index: int) -> bool | None:
        """Return whether the image shows oil, where that is all that is known; None where labels are by pixel."""


@dataclass(frozen=True)
class Split:
    """A data set divided into images to train on and images to test on."""

    name: str
    train: LabelledImages | None  # None: only for testing
    test: LabelledImages
    note: str  # what a reader of a score should know of it, one line; may be empty

    def to_learn(self) -> tuple[str, LabelledImages]:
        """Return "train" and its images, or "test" and its where there are no others to learn anything from."""
        return ("test", self.test) if self.train is None else ("train", self.train)


@dataclass(frozen=True)
class View:
    """A data set seen in another way; whatever does not say otherwise is as in `images`."""

    images: LabelledImages

    @property
    def classes(self) -> tuple[str, ...]:
        return self.images.classes

    @property
    def pixel_spacing(self) -> float | None:
        return self.images.pixel_spacing

    @property
    def groups(self) -> tuple[Hashable, ...] | None:
        return self.images.groups

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return self.images.name(index)

    def presence(self, index: int) -> bool | None:
        return self.images.presence(index)


@dataclass(frozen=True)
class Selection(View):
    """Some of the images of a data set, in this order."""

    indices: tuple[int, ...]

    @property
    def groups(self) -> tuple[Hashable, ...] | None:
        groups = self.images.groups
        return None if groups is None else tuple(groups[i] for i in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.images.name(self.indices[index])

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        return self.images.pair(self.indices[index], options)

    def grey(self, index: int) -> GreyPair:
        return self.images.grey(self.indices[index])

    def power(self, index: int) -> NDArray[np.float32]:
        return self.images.power(self.indices[index])

    def presence(self, index: int) -> bool | None:
        return self.images.presence(self.indices[index])


def spread_out(images: LabelledImages, limit: int | None) -> LabelledImages:
    """Select at most `limit` images, evenly over the data set, so that all its kinds are among them."""
    if limit is None or limit >= len(images):
        return images
    return Selection(images, tuple(int(i) for i in (np.arange(limit) + 0.5) * len(images) / limit))


def groups_or_names(images: LabelledImages) -> tuple[Hashable, ...]:
    """Return the group of each image, or its name where copies are not known."""
    groups = images.groups
    return tuple(images.name(i) for i in range(len(images))) if groups is None else groups


def class_indices(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of a data set as indices of its classes: where only oil is known, all else is class 0."""
    return np.where(labels == NOT_OIL, 0, labels)


def read_image(path: Path) -> Image.Image:
    """Read a whole image file with Pillow; raises `UnreadableInput` naming it."""
    try:
        with Image.open(path) as file:
            file.load()
            return file
    except Image.DecompressionBombError as error:
        raise UnreadableInput(path, "is too large for a chip", "cut it into smaller images") from error
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise UnreadableInput(path, "not a readable image", "give a PNG, JPEG or TIFF file") from error


@dataclass(frozen=True, eq=False)
class Shown:
    """What an image file shows: its palette looked up, its alpha apart."""

    values: NDArray[Any]  # (H, W) grey, or (H, W, 3) red, green, blue
    transparent: NDArray[np.bool_]  # (H, W) where alpha is 0
    no_data: NDArray[np.bool_]  # (H, W) where a GeoTIFF declares no data
    white: float  # the value of white; NaN for real numbers
    indices: NDArray[Any] | None = None  # (H, W) of a palette image, before they are looked up
    is_jpeg: bool = False


def read_shown(path: Path) -> Shown:
    """Read an image file of any bit depth and arrangement of bands.

    Raises `UnreadableInput` naming a file that is no image, and one of several bands that are no colours.
    """
    shown = _shown_tiff(path) if path.suffix.lower() in {".tif", ".tiff"} else _shown_picture(read_image(path))
    if shown.values.ndim == 3 and (shown.values == shown.values[..., :1]).all():
        return replace(shown, values=shown.values[..., 0])
    return shown


def grey_image(path: Path) -> NDArray[np.float32]:
    """Read an image of any bit depth as (H, W) float32; what is transparent, and no data in a GeoTIFF, is NaN.

    Raises `UnreadableInput` as `read_shown` does, and for a picture in colours, which say nothing of backscatter.
    """
    return read_grey(path)[0]


def read_grey(path: Path) -> tuple[NDArray[np.float32], bool]:
    """Read an image as `grey_image` does, and say whether its file has 8 bits a value."""
    shown = read_shown(path)
    values = shown.values
    if values.ndim == 3:
        coloured = np.ptp(values, axis=2) > _COLOURLESS
        if shown.white != 255 or coloured.mean() > (_COLOURED_SHARE if shown.indices is None else 0):
            raise UnreadableInput(path, "is in colours", "give one band of grey values")
        values = (values @ _LUMA + 0x8000) >> 16
    grey = values.astype(np.float32)
    grey[shown.transparent | shown.no_data] = np.nan
    return grey, shown.white == 255


def grey_bytes(image: NDArray[np.float32], eight_bits: bool) -> NDArray[np.uint8]:
    """Turn what `read_grey` returns into 8-bit grey (H, W), NaN into 0.

    Values of 8 bits stay what they are; deeper ones are stretched from `STRETCH_PERCENTILES` of the image's own values
    to 0..255 and clipped.
    """
    if not eight_bits and not np.isnan(image).all():
        black, white = np.nanpercentile(image, STRETCH_PERCENTILES)
        image = 255 * np.clip((image - black) / max(white - black, np.finfo(np.float32).tiny), 0, 1)
    return np.rint(np.nan_to_num(image)).astype(np.uint8)


def _shown_picture(image: Image.Image) -> Shown:
    indices, nothing = None, np.zeros(image.size[::-1], np.bool_)
    is_jpeg, key = image.format == "JPEG", image.info.get("transparency")
    if image.mode[0] in "IF":
        values = np.asarray(image)
        white = np.nan if image.mode == "F" else 65535
        return Shown(values, values == key if isinstance(key, int) else nothing, nothing, white)
    if image.mode == "P":
        indices = np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        nothing, image = np.asarray(image.getchannel("A")) == 0, image.convert("RGB")
    values = np.asarray(image.convert("L") if image.mode in {"1", "L"} else image.convert("RGB"))
    return Shown(values, nothing, np.zeros_like(nothing), 255, indices, is_jpeg)


def _shown_tiff(path: Path) -> Shown:
    """Read a TIFF through GDAL, which knows the bit depths that Pillow does not."""
    import rasterio  # not on every machine that trains
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings(), rasterio.Env():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as dataset:
                names = {band: meaning.name for band, meaning in zip(dataset.indexes, dataset.colorinterp, strict=True)}
                colours = [band for band, name in names.items() if name != "alpha"]
                bands = dataset.read(colours, masked=True)
                transparent = np.zeros(dataset.shape, np.bool_)
                for band in set(names) - set(colours):
                    transparent |= dataset.read(band) == 0
                palette = _palette(dataset) if len(colours) == 1 else None
                structure = {**dataset.tags(ns="IMAGE_STRUCTURE"), **dataset.tags(1, ns="IMAGE_STRUCTURE")}
    except RasterioError as error:
        raise UnreadableInput(path, "not a readable TIFF", "give a PNG, JPEG or TIFF file") from error
    values, indices = np.moveaxis(bands.data, 0, -1), None
    if len(colours) == 1:
        values = values[..., 0]
    elif len(colours) != 3 or [names[band] for band in colours] != ["red", "green", "blue"]:
        raise UnreadableInput(path, f"has {len(colours)} bands that are no colours", "give a file of one band")
    white = float(np.iinfo(values.dtype).max) if np.issubdtype(values.dtype, np.integer) else np.nan
    if palette is not None:
        values, indices, white = palette[values], values, 255.0
    elif structure.get("NBITS") == "1":
        values = values * np.uint8(255)
    if palette is None and structure.get("MINISWHITE") == "YES":
        values = values.dtype.type(white) - values
    no_data = np.ma.getmaskarray(bands).any(axis=0) & ~transparent
    return Shown(values, transparent, no_data, white, indices)


def _palette(dataset: Any) -> NDArray[np.uint8] | None:
    """The colours (indices, 3) of a TIFF's first band; None where it has none."""
    try:
        colours = dataset.colormap(1)
    except ValueError:
        return None
    return np.array([colours.get(index, (0, 0, 0))[:3] for index in range(max(colours) + 1)], np.uint8)


def chip_input(image: NDArray[np.float32], options: PreprocessOptions) -> NDArray[np.float32]:
    """Bring an uncalibrated image of any stretch to the model's input.

    Values are taken as amplitudes (decibels where some are negative), shifted so that the median lies at the
    model's mean: without calibration only contrast means something. Where the options have a `least_chip_spread_db`, a
    weaker stretch is not trusted either: the trend is taken away and the spread of the sea set to so many decibels. NaN
    stays no data; zero is merely dark.
    """
    if np.isnan(image).all():
        return image
    if np.nanmin(image) < 0:
        image_db = image
    else:
        step = np.median(image[image > 0]) * 0.01 if (image > 0).any() else 1.0  # below this, zero is as good
        image_db = 20 * np.log10(np.maximum(image, step))
    return decibel_input(image_db, options)


def decibel_input(image_db: NDArray[np.float32], options: PreprocessOptions) -> NDArray[np.float32]:
    """Bring an uncalibrated image in decibels to the model's input, as `chip_input` does; NaN stays no data."""
    if options.radiometry == "contrast":
        return contrast_input(image_db)
    level, spread = sea_level(image_db) if options.least_chip_spread_db else (image_db, np.inf)
    if spread < options.least_chip_spread_db:
        centred = level * (options.least_chip_spread_db / spread)
    else:
        centred = image_db - np.nanmedian(image_db)
    return np.asarray(np.maximum(centred, options.floor_db - options.mean_db) / options.std_db, np.float32)


def chip_power(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the linear power (H, W), in any unit, of an uncalibrated image: amplitudes, or decibels where some are
    negative, as `chip_input` takes them. Areas as white as 8 bits allow are land or no data.
    """
    if np.nanmin(image, initial=0) < 0:
        return np.asarray(10 ** (image / 10), np.float32)
    return np.asarray(np.where(masked_white(image), np.nan, image) ** 2, np.float32)


def masked_white(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The published mask: white areas, not single bright pixels, and the pixels blurred by compression.

    Nowhere in an image with values beyond 8 bits.
    """
    if np.nanmax(grey, initial=0) > 255:
        return np.zeros(grey.shape, np.bool_)
    white = ndimage.binary_opening(grey >= WHITE, np.ones((5, 5), np.bool_))
    return np.asarray(ndimage.binary_dilation(white, np.ones((3, 3), np.bool_), iterations=3), np.bool_)


def augmented(pair: Pair, rng: np.random.Generator) -> Pair:
    """Flip, turn by right angles, and change level and contrast by what calibration and damping may be off."""
    image, labels = pair
    turns, flip = int(rng.integers(4)), rng.integers(2)
    image, labels = np.rot90(image, turns, (1, 2)), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, :, ::-1], labels[:, ::-1]
    image = image * rng.uniform(0.85, 1.2) + rng.normal(0, 0.3)
    return image.astype(np.float32), np.ascontiguousarray(labels)


def require_one_size(image: NDArray[np.float32], labels: NDArray[np.generic], path: Path) -> None:
    """Raise `UnreadableInput` naming the file of the labels where they are not of the image's size."""
    if image.shape != labels.shape:
        raise UnreadableInput(path, f"is {labels.shape}, its image {image.shape}", "give mask and image of one size")


def grouped_folds(images: LabelledImages, k: int, seed: int) -> tuple[tuple[Selection, Selection], ...]:
    """Divide images into `k` folds of (training, validation), every image validated once, no group of copies divided.

    A validation part consists of consecutive groups, since neighbouring images may overlap; `seed` chooses where the
    first one begins. Raises `UsageError` for fewer than two folds or fewer groups than folds.
    """
    groups = groups_or_names(images)
    in_order = sorted(set(groups))  # type: ignore[type-var]  # keys of one data set are of one type
    if not 2 <= k <= len(in_order):
        raise UsageError(f"{k} folds", f"there are {len(in_order)} groups of images", f"give 2 to {len(in_order)}")
    first = int(np.random.default_rng(seed).integers(len(in_order)))
    fold_of = {group: (place - first) % len(in_order) * k // len(in_order) for place, group in enumerate(in_order)}
    folds = np.array([fold_of[group] for group in groups])
    return tuple((Selection(images, _indices(folds != n)), Selection(images, _indices(folds == n))) for n in range(k))


def held_out_fold(images: LabelledImages, most: int, seed: int) -> tuple[Selection, Selection] | None:
    """Divide images into (training, validation), one of up to `most` folds held out; None for a single group."""
    folds = min(most, len(set(groups_or_names(images))))
    return grouped_folds(images, folds, seed)[0] if folds > 1 else None


def _indices(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(chosen))
