"""Preprocessing options of a model, stored in its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.contrast import sea_contrast

CONTRAST_LIMIT = 8.0  # spreads of the sea
_CONTRAST_UNIT = 4.0  # spreads that become 1


@dataclass(frozen=True)
class PreprocessOptions:
    """Polarisations and pixel spacing that a model needs, and the normalisation of its input."""

    polarisations: tuple[str, ...] = ("VV",)
    pixel_spacing: float = 40.0  # m; the scene is multilooked to about this
    denoise: bool = True  # subtract the thermal noise
    floor_db: float = -35.0  # lower clip of sigma nought, also for zero power
    mean_db: float = -18.0
    std_db: float = 6.0
    radiometry: str = "level"  # "level": calibrated decibels; "contrast": `preprocess.contrast.sea_contrast`
    least_chip_spread_db: float = 0.0  # an uncalibrated image of a weaker spread is stretched to this

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> PreprocessOptions:
        """Undo `dataclasses.asdict` followed by JSON."""
        return cls(**{**record, "polarisations": tuple(record["polarisations"])})


def normalised_db(sigma_nought: NDArray[np.floating], options: PreprocessOptions) -> NDArray[np.float32]:
    """Turn linear sigma nought into the model's input; NaN stays NaN.

    (dB - mean) / std of (..., H, W), or the contrast of each of the images (H, W) with the sea around it.
    """
    with np.errstate(divide="ignore"):
        sigma_nought_db = 10 * np.log10(sigma_nought)
    if options.radiometry == "contrast":
        return contrast_input(sigma_nought_db)
    sigma_nought_db = np.maximum(sigma_nought_db, options.floor_db)
    return np.asarray((sigma_nought_db - options.mean_db) / options.std_db, np.float32)


def contrast_input(image_db: NDArray[np.floating]) -> NDArray[np.float32]:
    """Turn decibels (..., H, W) into the input of a model of contrast, `sea_contrast` over 4; NaN stays NaN."""
    images = image_db.reshape(-1, *image_db.shape[-2:])
    contrast = np.stack([sea_contrast(image, CONTRAST_LIMIT) for image in images])
    return (contrast / np.float32(_CONTRAST_UNIT)).reshape(image_db.shape)
