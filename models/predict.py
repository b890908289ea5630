"""From calibrated sigma nought to stitched class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from models.classes import CLASSES
from preprocess.memory_map import create_memory_map, open_memory_map
from preprocess.options import PreprocessOptions, normalised_db
from preprocess.tiles import Tiling, blend_rows

LAND = CLASSES.index("land")
Progress = Callable[[int, int], None]  # tiles done, tiles in all


def predict_classes(
    network: nn.Module,
    sigma_nought: xr.DataArray,
    options: PreprocessOptions,
    *,
    out: Path,
    land: NDArray[np.bool_] | None = None,
    tiling: Tiling = Tiling(),  # noqa: B008 - frozen
    progress: Progress = lambda done, total: None,
) -> xr.DataArray:
    """Predict class probabilities over a scene, one row of tiles at a time, into the .npy file `out`.

    sigma_nought: (polarisation, line, pixel), lazy or not, linear, NaN = no data; land: (line, pixel), True on land.
    Tiles wholly on land or without data are skipped. Returns (class, line, pixel) float32 mapped from `out`, NaN
    where there is no data, certain land where `land` says so. Raises `StorageError` where there is no space for `out`.
    """
    rows, columns = sigma_nought.shape[-2:]
    shape = (len(CLASSES), rows, columns)
    probability = create_memory_map(out, shape)
    no_data = np.zeros((rows, columns), bool)
    tiles = _predicted_tiles(network, sigma_nought, options, land, tiling, no_data, progress)
    for row, band in blend_rows(tiles, shape, tiling):
        lines = slice(row, row + band.shape[1])
        if land is not None:
            band[:, land[lines]] = np.eye(len(CLASSES), dtype=np.float32)[LAND][:, None]
        band[:, no_data[lines]] = np.nan
        probability[:, lines] = band
    return open_probability(out, sigma_nought)


def open_probability(path: Path, sigma_nought: xr.DataArray) -> xr.DataArray:
    """Map the file that `predict_classes` wrote for this sigma nought; data are read on use."""
    return xr.DataArray(
        open_memory_map(path),
        dims=("class", "line", "pixel"),
        coords={"class": list(CLASSES), "line": sigma_nought["line"], "pixel": sigma_nought["pixel"]},
        name="class_probability",
    )


def probabilities(network: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a network, on any device, on normalised images (B, C, H, W), NaN = no data; returns (B, classes, H, W)."""
    with torch.inference_mode():
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        batch = torch.from_numpy(np.nan_to_num(images)).to(device).contiguous(memory_format=torch.channels_last)
        result: NDArray[np.float32] = network(batch).float().softmax(dim=1).cpu().numpy()
    return result


def _predicted_tiles(
    network: nn.Module,
    sigma_nought: xr.DataArray,
    options: PreprocessOptions,
    land: NDArray[np.bool_] | None,
    tiling: Tiling,
    no_data: NDArray[np.bool_],
    progress: Progress,
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield the tiles that are not all land or no data; fills `no_data` ahead of the tiles it yields."""
    rows, columns = sigma_nought.shape[-2:]
    row_starts, column_starts = tiling.starts(rows), tiling.starts(columns)
    total = len(row_starts) * len(column_starts)
    for i, (row, band) in enumerate(_bands(sigma_nought, row_starts, tiling.size)):
        empty = np.asarray(np.isnan(band).any(axis=0))
        no_data[row : row + len(empty)] = empty
        blind = empty if land is None else empty | land[row : row + len(empty)]
        # Contrast is that with the sea of a tile; a level is the same wherever the tile ends.
        normalised = normalised_db(band, options) if options.radiometry == "level" else None
        for j, column in enumerate(column_starts):
            window = slice(column, column + tiling.size)
            if not blind[:, window].all():
                tile = (
                    normalised_db(_sea(band, land, row, window), options)
                    if normalised is None
                    else normalised[..., window]
                )
                yield row, column, probabilities(network, tile[None])[0]
            progress(i * len(column_starts) + j + 1, total)


def _bands(sigma_nought: xr.DataArray, starts: list[int], size: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (first row, rows of one row of tiles); rows that two bands share are computed once."""
    held = np.empty((sigma_nought.shape[0], 0, sigma_nought.shape[2]), np.float32)
    top = 0
    for start in starts:
        new = sigma_nought[:, top + held.shape[1] : start + size].to_numpy()
        held = np.concatenate([held[:, start - top :], new], axis=1)
        top = start
        yield top, held


def _sea(band: NDArray[np.float32], land: NDArray[np.bool_] | None, row: int, window: slice) -> NDArray[np.float32]:
    """Cut a tile out of a band that begins at `row`, its land taken for no data: it is not what a slick is seen in."""
    tile = band[..., window]
    return tile if land is None else np.where(land[row : row + tile.shape[-2], window], np.float32(np.nan), tile)
