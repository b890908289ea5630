"""Preprocessing options of a model, stored in its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PreprocessOptions:
    """Polarisations and pixel spacing that a model needs, and the normalisation of its input."""

    polarisations: tuple[str, ...] = ("VV",)
    pixel_spacing: float = 40.0  # m; the scene is multilooked to about this
    denoise: bool = True  # subtract the thermal noise
    floor_db: float = -35.0  # lower clip of sigma nought, also for zero power
    mean_db: float = -18.0
    std_db: float = 6.0

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> PreprocessOptions:
        """Undo `dataclasses.asdict` followed by JSON."""
        return cls(**{**record, "polarisations": tuple(record["polarisations"])})


def normalised_db(sigma_nought: NDArray[np.floating], options: PreprocessOptions) -> NDArray[np.float32]:
    """Turn linear sigma nought into the model's input, (dB - mean) / std; NaN stays NaN."""
    with np.errstate(divide="ignore"):
        sigma_nought_db = np.maximum(10 * np.log10(sigma_nought), options.floor_db)
    return np.asarray((sigma_nought_db - options.mean_db) / options.std_db, np.float32)
