"""Chips around the slicks that analysts confirmed or rejected, with the analysts' word as their labels."""

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
from outputs.catalogue import Catalogue
from preprocess.grid import Grid
from preprocess.options import PreprocessOptions, normalised_db
from preprocess.pipeline import calibrated_scene

CHIP = 256  # cells a side
MOST_NO_DATA = 0.1  # share of a chip; 8-bit grey cannot tell no data from a dark sea
LABELS = {"confirmed": OIL, "rejected": NOT_OIL}
_BLACK_DB, _WHITE_DB = GREY_DB
_GREY = PreprocessOptions(floor_db=_BLACK_DB, mean_db=_BLACK_DB, std_db=_WHITE_DB - _BLACK_DB)


@dataclass(frozen=True)
class ReviewedScene:
    """The slicks of one scene: those that analysts spoke of, in that order, and those that nobody has looked at."""

    scene_id: str
    products: tuple[Path, ...]  # where its product was for each run on it, the last one first
    reviewed: gpd.GeoDataFrame  # EPSG:4326, with `status`
    unreviewed: gpd.GeoDataFrame

    @property
    def product(self) -> Path | None:
        """Its product; None where it is gone."""
        return next((path for path in self.products if path.exists()), None)

    def facts(self) -> dict[str, Any]:
        """All that its chips depend on, as plain JSON."""
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
    """A square cut out of a scene: 8-bit grey, linear in decibels between the two of `GREY_DB`, and its labels."""

    name: str
    grey: NDArray[np.uint8]  # (lines, pixels), 0 where there is no data
    labels: NDArray[np.int64]  # `OIL` or `NOT_OIL`


def reviewed_scenes(catalogue: Path) -> list[ReviewedScene]:
    """Return the scenes with a slick that is confirmed or rejected, by id; none where there is no catalogue.

    A slick that nobody spoke of, but that overlaps one that somebody did, counts as spoken of. Raises what reading the
    catalogue raises.
    """
    if not catalogue.exists():
        return []
    opened = Catalogue.open(catalogue, create=False)
    reviewed, unreviewed = opened.reviewed(), opened.slicks(status="unreviewed")
    scenes = []
    for scene_id, of_scene in reviewed.groupby("scene_id", sort=True):
        others = unreviewed[unreviewed["scene_id"] == scene_id]
        settled = shapely.union_all(of_scene.geometry.to_numpy())
        products = tuple(dict.fromkeys(Path(path) for path in reversed(of_scene["product"].dropna().tolist())))
        scenes.append(ReviewedScene(str(scene_id), products, of_scene, others[~others.intersects(settled)]))
    return scenes


def chips_of(scenes: list[ReviewedScene], left_out: Counter[str], size: int = CHIP) -> Iterator[Chip]:
    """Cut chips of `size` cells around all reviewed slicks, on the grid of the models; `left_out` counts why not.

    A slick larger than a chip gets several. Left out are slicks whose product is gone or cannot be read, chips that
    show a slick nobody has looked at, and those with more than `MOST_NO_DATA` of no data.
    """
    for scene in scenes:
        if scene.product is None:
            left_out["reviewed slicks whose product is gone"] += len(scene.reviewed)
            continue
        try:
            yield from _chips(scene, scene.product, left_out, size)
        except SlickwatchError as error:
            left_out[f"scenes that cannot be read ({error})"] += 1


def _chips(scene: ReviewedScene, product: Path, left_out: Counter[str], size: int) -> Iterator[Chip]:
    calibrated = calibrated_scene(SafeProduct.open(product), PreprocessOptions())
    sigma_nought = calibrated.sigma_nought[0]
    shape = sigma_nought.shape
    outlines = on_grid(scene.reviewed, calibrated.grid)
    unknown = shapely.union_all(on_grid(scene.unreviewed, calibrated.grid))
    said = [(one, LABELS[status]) for one, status in zip(outlines, scene.reviewed["status"], strict=True)]
    seen: BaseGeometry = shapely.Polygon()
    for outline in outlines:
        for row, column in _windows(outline, shape, size):
            window = shapely.box(column, row, min(column + size, shape[1]), min(row + size, shape[0]))
            if seen.covers(outline.intersection(window)):
                continue
            if unknown.intersects(window):
                left_out["chips that show slicks nobody has looked at"] += 1
                continue
            power = sigma_nought[row : row + size, column : column + size].to_numpy()
            if np.isnan(power).mean() > MOST_NO_DATA:
                left_out["chips with too much no data"] += 1
                continue
            seen = seen.union(window)
            labels = _labels(said, power.shape, row, column)
            yield Chip(f"{scene.scene_id}-{row}-{column}", grey_of(power), labels)


def on_grid(slicks: gpd.GeoDataFrame, grid: Grid) -> NDArray[np.object_]:
    """Return outlines in lon/lat as valid outlines in (column, row) of a grid."""
    if slicks.empty:
        return np.array([], object)
    valid: NDArray[np.object_] = shapely.make_valid(grid.from_lonlat(slicks.geometry.to_numpy()))
    return valid


def grey_of(power: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Turn linear sigma nought into 8-bit grey as simulated chips are: between the two of `GREY_DB`, no data 0."""
    share = np.nan_to_num(np.minimum(normalised_db(power, _GREY), 1))
    return np.asarray(np.rint(255 * share), np.uint8)


def _windows(outline: BaseGeometry, shape: tuple[int, ...], size: int) -> Iterator[tuple[int, int]]:
    """Yield first row and column of each chip that shows some of an outline, together all of it."""
    left, top, right, bottom = outline.bounds
    for row in _starts(top, bottom, size, shape[0]):
        for column in _starts(left, right, size, shape[1]):
            if outline.intersects(shapely.box(column, row, column + size, row + size)):
                yield row, column


def _starts(first: float, last: float, size: int, length: int) -> list[int]:
    """Where chips begin along an axis that cover what lies between two cells, in their middle, inside the scene."""
    count = max(1, math.ceil((last - first) / size))
    begin = (first + last - count * size) / 2
    return sorted({min(max(0, round(begin) + i * size), max(0, length - size)) for i in range(count)})


def _labels(
    said: list[tuple[BaseGeometry, int]], shape: tuple[int, ...], row: int, column: int
) -> NDArray[np.int64]:  # fmt: skip
    """Draw what was said into a window; of what overlaps, the later word holds."""
    to_scene = Affine(1, 0, column, 0, 1, row)
    drawn = rasterize(said, out_shape=shape, fill=NOT_OIL, transform=to_scene, dtype="uint8")
    return np.asarray(drawn, np.int64)
