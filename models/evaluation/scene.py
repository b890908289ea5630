"""Scores of published slicks on a simulated scene, whose truth is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage

from models.classes import OIL
from preprocess.grid import Grid

NO_DATA = 255  # in truth rasters


@dataclass(frozen=True)
class Score:
    """Scores of oil; undefined ratios are NaN."""

    oil_iou: float
    precision: float
    recall: float
    slicks: int
    true_slicks: int
    true_slicks_found: int  # overlapped by a published slick
    false_slicks: int  # published, overlapping no oil
    intersection_cells: int
    union_cells: int
    published_cells: int
    true_cells: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The score as plain JSON, with null for NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def score_cells(oil: NDArray[np.bool_], published: NDArray[np.bool_], slicks: int) -> Score:
    """Score the cells of `compared_cells`; slicks: the number of published ones."""
    hits, union = int((published & oil).sum()), int((published | oil).sum())
    true_slicks, n_true = ndimage.label(oil, np.ones((3, 3)))
    found, n_found = ndimage.label(published, np.ones((3, 3)))
    return Score(
        oil_iou=_ratio(hits, union),
        precision=_ratio(hits, int(published.sum())),
        recall=_ratio(hits, int(oil.sum())),
        slicks=slicks,
        true_slicks=n_true,
        true_slicks_found=len(np.setdiff1d(true_slicks[published], 0)),
        false_slicks=n_found - len(np.setdiff1d(found[oil], 0)),
        intersection_cells=hits,
        union_cells=union,
        published_cells=int(published.sum()),
        true_cells=int(oil.sum()),
    )


def compared_cells(slicks: gpd.GeoDataFrame, truth: Path, grid: Grid) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cells (line, pixel) with true oil, and cells in published slicks, on a multilooked grid of the whole image.

    `truth` is a raster at full resolution. The slicks, in lon/lat, are transformed back through the geolocation, so
    errors there lower the score too.
    """
    with rasterio.open(truth) as dataset:
        full = dataset.read(1)
    azimuth, across = grid.looks
    true_class = full[azimuth // 2 :: azimuth, across // 2 :: across]
    return true_class == OIL, _rasterised(slicks, grid, true_class.shape) & (true_class != NO_DATA)


def _rasterised(slicks: gpd.GeoDataFrame, grid: Grid, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if slicks.empty:
        return np.zeros(shape, bool)
    outlines = grid.from_lonlat(slicks.geometry.to_numpy())
    drawn: NDArray[np.uint8] = rasterize(outlines, out_shape=shape, dtype="uint8")
    return drawn.astype(bool)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
