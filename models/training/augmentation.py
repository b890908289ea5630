"""Augmentation of pairs: light, or strong as an alternative to synthetic pairs.

A pair's image may have further channels, such as a teacher's logits: they move with the image and the labels, and keep
their values.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from models.datasets.pairs import Pair, augmented
from preprocess.options import PreprocessOptions

_SHARE = 0.5  # of the pairs that are warped, and of those that are speckled
_TURN = math.pi / 4  # radians; with the right angles of the light augmentation these are all directions
_SMALLEST_AREA = 0.4  # share of an image that a warped one shows
_LOOKS = (4.0, 32.0)  # of the speckle put upon that of the image


def light(pair: Pair, rng: np.random.Generator, options: PreprocessOptions) -> Pair:
    """Flip, turn by right angles, change level and contrast: `models.datasets.pairs.augmented`."""
    image, labels = pair
    where = np.arange(labels.size).reshape(labels.shape)
    varied, where = augmented((image[:1], where), rng)
    others = image[1:].reshape(len(image) - 1, labels.size)[:, where]
    return np.concatenate([varied, others]), labels.ravel()[where]


def strong(pair: Pair, rng: np.random.Generator, options: PreprocessOptions) -> Pair:
    """Vary as `light` does; then turn and enlarge a random part of half the pairs, and speckle half of them."""
    image, labels = light(pair, rng, options)
    if rng.random() < _SHARE:
        image, labels = warped((image, labels), rng)
    if rng.random() < _SHARE:
        image = speckled(image, rng, options.std_db)
    return image, labels


AUGMENTATIONS: dict[str, Callable[[Pair, np.random.Generator, PreprocessOptions], Pair]] = {
    "light": light,
    "strong": strong,
}


def warped(pair: Pair, rng: np.random.Generator) -> Pair:
    """Show a part of a pair at the size of the whole: 40 to 100 % of its area, turned by up to 45 degrees.

    Beyond its edges the image is mirrored. Images are interpolated, labels taken from the nearest pixel.
    """
    image, labels = pair
    turn, scale = rng.uniform(-_TURN, _TURN), math.sqrt(rng.uniform(_SMALLEST_AREA, 1))
    shift = (1 - scale) / 2 * rng.uniform(-1, 1, 2) * labels.shape
    at = _coordinates(labels.shape, turn, scale, shift)  # (2, H, W)
    channels = [map_coordinates(channel, at, order=1, mode="mirror") for channel in image]
    return np.stack(channels), map_coordinates(labels, at, order=0, mode="mirror")


def speckled(image: NDArray[np.float32], rng: np.random.Generator, std_db: float) -> NDArray[np.float32]:
    """Multiply the power of the first channel, normalised decibels, by speckle of 4 to 32 looks."""
    looks = rng.uniform(*_LOOKS)
    speckle_db = 10 * np.log10(rng.gamma(looks, 1 / looks, image.shape[1:]))
    return np.concatenate([image[:1] + (speckle_db / std_db).astype(np.float32), image[1:]])


def _coordinates(shape: tuple[int, ...], turn: float, scale: float, shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where in the image (H, W) each pixel of the warped one lies; (2, H, W)."""
    centre = (np.array(shape) - 1) / 2
    from_centre = np.indices(shape) - centre[:, None, None]
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.tensordot(rotation, from_centre, axes=1) + (centre + shift)[:, None, None]
