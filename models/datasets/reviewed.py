"""Labelled chips around the slicks that analysts confirmed or rejected."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from ingest.errors import SlickwatchError
from ingest.safe.product import SafeProduct
from models.classes import NOT_OIL, OIL
from models.datasets.simulated import GREY_DB
from preprocess.grid import Grid
from preprocess.options import PreprocessOptions, normalised_db
from preprocess.pipeline import calibrated_scene

CHIP = 256  # cells a side
MOST_NO_DATA = 0.1  # fraction of a chip; 8-bit grey cannot tell no data from a dark sea
LABELS = {"confirmed": OIL, "rejected": NOT_OIL}  # by review status
_BLACK_DB, _WHITE_DB = GREY_DB
_GREY = PreprocessOptions(floor_db=_BLACK_DB, mean_db=_BLACK_DB, std_db=_WHITE_DB - _BLACK_DB)


@dataclass(frozen=True)
class ReviewedScene:
    """The slicks of one scene: reviewed ones in the order of their reviews, and unreviewed ones."""

    scene_id: str
    products: tuple[Path, ...]  # the product of each run, the latest first
    reviewed: gpd.GeoDataFrame  # EPSG:4326, with `status`
    unreviewed: gpd.GeoDataFrame

    @property
    def product(self) -> Path | None:
        """The latest product that still exists."""
        return next((path for path in self.products if path.exists()), None)

    def facts(self) -> dict[str, Any]:
        """All that the chips depend on, as plain JSON."""
        return {
            "product": None if self.product is None else str(self.product),
            "reviewed": [
                [status, shapely.to_wkt(outline, rounding_precision=9)]
                for status, outline in zip(self.reviewed["status"], self.reviewed.geometry, strict=True)
            ],
            "unreviewed": [shapely.to_wkt(outline, rounding_precision=9) for outline in self.unreviewed.geometry],
        }  # fmt: skip


@dataclass(frozen=True)
class Chip:
    """A square cut out of a scene: 8-bit grey, linear in decibels between the limits `GREY_DB`, and its labels."""

    name: str
    grey: NDArray[np.uint8]  # (lines, pixels), 0 = no data
    labels: NDArray[np.int64]  # `OIL` or `NOT_OIL`


def reviewed_scenes(reviewed: gpd.GeoDataFrame, unreviewed: gpd.GeoDataFrame) -> list[ReviewedScene]:
    """Group slicks by scene, ordered by scene id.

    reviewed: confirmed and rejected slicks in the order of their reviews, with `scene_id`, `status` and the path of
    the `product`; unreviewed: with `scene_id`. An unreviewed slick that overlaps a reviewed one of its scene counts
    as reviewed.
    """
    scenes = []
    for scene_id, of_scene in reviewed.groupby("scene_id", sort=True):
        others = unreviewed[unreviewed["scene_id"] == scene_id]
        covered = shapely.union_all(of_scene.geometry.to_numpy())
        products = tuple(dict.fromkeys(Path(path) for path in reversed(of_scene["product"].dropna().tolist())))
        scenes.append(ReviewedScene(str(scene_id), products, of_scene, others[~others.intersects(covered)]))
    return scenes


def reviewed_chips(scenes: list[ReviewedScene], left_out: Counter[str], size: int = CHIP) -> Iterator[Chip]:
    """Cut chips of `size` cells around all reviewed slicks, on the multilooked grid.

    A slick larger than a chip gets several. Counted by reason in `left_out`: slicks whose product is missing or
    unreadable, chips that show an unreviewed slick, and those with more than `MOST_NO_DATA` of no data.
    """
    for scene in scenes:
        if scene.product is None:
            left_out["reviewed slicks without their product"] += len(scene.reviewed)
            continue
        try:
            yield from _chips(scene, scene.product, left_out, size)
        except SlickwatchError as error:
            left_out[f"unreadable scenes ({error})"] += 1


def _chips(scene: ReviewedScene, product: Path, left_out: Counter[str], size: int) -> Iterator[Chip]:
    calibrated = calibrated_scene(SafeProduct.open(product), PreprocessOptions())
    sigma_nought = calibrated.sigma_nought[0]
    shape = sigma_nought.shape
    outlines = on_grid(scene.reviewed, calibrated.grid)
    unreviewed = shapely.union_all(on_grid(scene.unreviewed, calibrated.grid))
    labelled = [(one, LABELS[status]) for one, status in zip(outlines, scene.reviewed["status"], strict=True)]
    covered: BaseGeometry = shapely.Polygon()
    for outline in outlines:
        for row, column in _windows(outline, shape, size):
            window = shapely.box(column, row, min(column + size, shape[1]), min(row + size, shape[0]))
            if covered.covers(outline.intersection(window)):
                continue
            if unreviewed.intersects(window):
                left_out["chips with unreviewed slicks"] += 1
                continue
            power = sigma_nought[row : row + size, column : column + size].to_numpy()
            if np.isnan(power).mean() > MOST_NO_DATA:
                left_out["chips with too much no data"] += 1
                continue
            covered = covered.union(window)
            labels = _labels(labelled, power.shape, row, column)
            yield Chip(f"{scene.scene_id}-{row}-{column}", grey_from_power(power), labels)


def on_grid(slicks: gpd.GeoDataFrame, grid: Grid) -> NDArray[np.object_]:
    """Transform outlines from lon/lat to valid outlines in (column, row) of a grid."""
    if slicks.empty:
        return np.array([], object)
    valid: NDArray[np.object_] = shapely.make_valid(grid.from_lonlat(slicks.geometry.to_numpy()))
    return valid


def grey_from_power(power: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Convert linear sigma nought to 8-bit grey as of simulated chips: limits `GREY_DB`, no data 0."""
    level = np.nan_to_num(np.minimum(normalised_db(power, _GREY), 1))
    return np.asarray(np.rint(255 * level), np.uint8)


def _windows(outline: BaseGeometry, shape: tuple[int, ...], size: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and column of the chips that together cover an outline."""
    left, top, right, bottom = outline.bounds
    for row in _starts(top, bottom, size, shape[0]):
        for column in _starts(left, right, size, shape[1]):
            if outline.intersects(shapely.box(column, row, column + size, row + size)):
                yield row, column


def _starts(first: float, last: float, size: int, length: int) -> list[int]:
    """Return where chips begin that cover an interval of an axis, centred on it as far as the scene allows."""
    count = max(1, math.ceil((last - first) / size))
    begin = (first + last - count * size) / 2
    return sorted({min(max(0, round(begin) + i * size), max(0, length - size)) for i in range(count)})


def _labels(
    labelled: list[tuple[BaseGeometry, int]], shape: tuple[int, ...], row: int, column: int
) -> NDArray[np.int64]:  # fmt: skip
    """Rasterise labelled outlines into a window; where they overlap, the later review holds."""
    to_scene = Affine(1, 0, column, 0, 1, row)
    drawn = rasterize(labelled, out_shape=shape, fill=NOT_OIL, transform=to_scene, dtype="uint8")
    return np.asarray(drawn, np.int64)
