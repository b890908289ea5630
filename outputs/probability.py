"""Class planes of the probabilities that a model predicts."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ingest.errors import UsageError
from preprocess.grid import Window

Mask = NDArray[np.bool_]


def class_names(class_probability: xr.DataArray) -> list[str]:
    """The names of a raster's classes, in order."""
    return [str(name) for name in class_probability["class"].values]


def class_plane(class_probability: xr.DataArray, name: str, window: Window | None = None) -> NDArray[np.floating]:
    """One class's plane (line, pixel) or a window of it; no copy of probabilities in memory or mapped to it.

    Raises `UsageError` for a class the model does not know.
    """
    names = class_names(class_probability)
    if name not in names:
        raise UsageError(name, "not a class of this model", f"choose among {', '.join(names)}")
    return np.asarray(class_probability[names.index(name)][window or ...].data)


def predicted_land(class_probability: xr.DataArray) -> Mask:
    """Cells (line, pixel) where no class is likelier than land; none where the model does not know land."""
    names = class_names(class_probability)
    if "land" not in names:
        return np.zeros(class_probability.shape[1:], dtype=bool)
    plane = class_plane(class_probability, "land")
    predicted: Mask = np.isfinite(plane)
    for name in names:
        predicted &= plane >= class_plane(class_probability, name)
    return predicted
