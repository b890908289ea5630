"""Training pairs of SAROSS-Net: normalised image and labels, from the simulator and from folders of images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ingest.errors import UnreadableInput
from models.losses import IGNORE, NOT_OIL, OIL
from models.simulator import SEA, simulate_chip
from preprocess.options import PreprocessOptions, normalised_db

Pair = tuple[NDArray[np.float32], NDArray[np.int64]]  # image (1, H, W), normalised, NaN = no data; labels (H, W)


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
class ImageMaskFolder:
    """Images beside masks of the same stem (SOS's release layout); masks are 255 = oil, else not oil.

    One folder for both kinds (``00001.jpg``, ``00001.png``) or two, ``images/`` and ``masks/``.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.images)

    def pair(self, index: int, options: PreprocessOptions) -> Pair:
        """Read one pair; raises `UnreadableInput` where image and mask differ in size."""
        image, mask = grey_image(self.images[index]), grey_image(self.masks[index])
        if image.shape != mask.shape:
            raise UnreadableInput(
                self.masks[index], f"is {mask.shape}, its image {image.shape}", "give mask and image of one size"
            )
        labels = np.where(mask > 127, OIL, NOT_OIL).astype(np.int64)
        return chip_input(image, options)[None], labels


def image_mask_folder(folder: Path) -> ImageMaskFolder:
    """List the pairs of a folder; raises `UnreadableInput` for a missing folder, mask, or no image at all."""
    image_folder, mask_folder = folder / "images", folder / "masks"
    if not image_folder.is_dir():
        image_folder = mask_folder = folder
    masks = {p.stem: p for p in sorted(mask_folder.glob("*.png"))} if mask_folder.is_dir() else {}
    images = sorted(
        p
        for p in image_folder.glob("*")
        if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".tif", ".tiff"} and p not in masks.values()
    )
    if not images:
        raise UnreadableInput(folder, "no images found", "give a folder with images/ and masks/, or of .jpg and .png")
    for image in images:
        if image.stem not in masks:
            raise UnreadableInput(image, "has no mask", f"add {mask_folder / (image.stem + '.png')}")
    return ImageMaskFolder(tuple(images), tuple(masks[p.stem] for p in images))


def without_leak(pairs: ImageMaskFolder, test: ImageMaskFolder) -> ImageMaskFolder:
    """Leave out the SOS training pairs that are rotated or shifted copies of a test pair.

    Ids 10001-12545 are five blocks of 509 and 20001-22220 five blocks of 444; block k repeats block 0.
    """
    tested = {_sos_group(p) for p in test.images}
    kept = [i for i, p in enumerate(pairs.images) if _sos_group(p) not in tested]
    return ImageMaskFolder(tuple(pairs.images[i] for i in kept), tuple(pairs.masks[i] for i in kept))


def _sos_group(image: Path) -> tuple[int, int]:
    number = int(image.stem)
    if 10001 <= number <= 12545:
        return 1, (number - 10001) % 509
    if 20001 <= number <= 22220:
        return 2, (number - 20001) % 444
    return 0, number


def grey_image(path: Path) -> NDArray[np.float32]:
    """Read an image of any bit depth as (H, W) float32; of colours, their mean. No data in a GeoTIFF is NaN."""
    if path.suffix.lower() in {".tif", ".tiff"}:
        return _grey_tiff(path)
    try:
        with Image.open(path) as file:
            binary, grey = file.mode == "1", file.mode in {"1", "L", "I", "F", "I;16", "I;16B"}
            values = np.asarray(file if grey else file.convert("L"), np.float32)
    except Image.DecompressionBombError as error:
        raise UnreadableInput(path, "is too large for a chip", "cut it into smaller images") from error
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise UnreadableInput(path, "not a readable image", "give a PNG, JPEG or TIFF file") from error
    return values * 255 if binary else values


def _grey_tiff(path: Path) -> NDArray[np.float32]:
    """Read a TIFF through GDAL, which knows the bit depths that Pillow does not."""
    import rasterio  # not on every machine that trains
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings(), rasterio.Env():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as dataset:
                bands = dataset.read(masked=True).astype(np.float32)
    except RasterioError as error:
        raise UnreadableInput(path, "not a readable TIFF", "give a PNG, JPEG or TIFF file") from error
    return np.asarray(bands.mean(axis=0).filled(np.nan), np.float32)


def chip_input(image: NDArray[np.float32], options: PreprocessOptions) -> NDArray[np.float32]:
    """Bring an uncalibrated image of any stretch to the model's input.

    Values are taken as amplitudes (decibels where some are negative), shifted so that the median lies at the
    model's mean: without calibration only contrast means something. NaN stays no data; zero is merely dark.
    """
    if np.isnan(image).all():
        return image
    if np.nanmin(image) < 0:
        image_db = image
    else:
        step = np.median(image[image > 0]) * 0.01 if (image > 0).any() else 1.0  # below this, zero is as good
        image_db = 20 * np.log10(np.maximum(image, step))
    centred = image_db - np.nanmedian(image_db)
    return np.asarray(np.maximum(centred, options.floor_db - options.mean_db) / options.std_db, np.float32)


def augmented(pair: Pair, rng: np.random.Generator) -> Pair:
    """Flip, turn by right angles, and change level and contrast by what calibration and damping may be off."""
    image, labels = pair
    turns, flip = int(rng.integers(4)), rng.integers(2)
    image, labels = np.rot90(image, turns, (1, 2)), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, :, ::-1], labels[:, ::-1]
    image = image * rng.uniform(0.85, 1.2) + rng.normal(0, 0.3)
    return image.astype(np.float32), np.ascontiguousarray(labels)
