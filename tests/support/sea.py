"""A plain sea, as a scene's sigma nought comes from preprocessing."""

import dask.array as da
import numpy as np
import xarray as xr


def scene(values):
    """Values (line, pixel) as (polarisation, line, pixel), lazy in bands as a product's sigma nought is."""
    data = da.from_array(values[None].astype(np.float32), chunks=(1, 37, -1))
    coords = {"polarisation": ["VV"], "line": np.arange(values.shape[0]), "pixel": np.arange(values.shape[1])}
    return xr.DataArray(data, dims=("polarisation", "line", "pixel"), coords=coords)


def sea(shape, seed=0, level=0.02):
    """Linear sigma nought of 20 looks."""
    return (level * np.random.default_rng(seed).gamma(20, 1 / 20, shape)).astype(np.float32)
