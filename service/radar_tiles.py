"""Tiles of the radar image and of the probability of oil, out of the rasters of the results, as PNG.

The rasters lie in the radar's geometry; ground control points say where (docs/decisions/0012-probability-raster.md).
Each pixel of a tile is taken there through a thin-plate spline; nothing is fitted to an affine transform.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.transform import GCPTransformer
from rasterio.windows import Window
from scipy.ndimage import map_coordinates

from outputs.rasters import NO_PROBABILITY, STEPS
from outputs.style import PROBABILITY_RAMP
from service.mercator import Tile

Picture = Literal["radar", "probability"]
FILES: dict[Picture, str] = {"radar": "sigma_nought.tif", "probability": "class_probability.tif"}
SIZE = 256  # pixels
_NODES = 17  # along each side of a tile where the spline is evaluated; linear between them
_OVERVIEW = 512  # cells along the longer side from which the stretch of an image is taken
_STRETCH = (0.5, 99.5)  # percentiles of its decibels
_DARKEST, _BRIGHTEST = 0, 250  # of a tile's bytes
Bytes = NDArray[np.uint8]


def picture_tile(picture: Picture, tile: Tile, folders: Iterable[Path]) -> bytes | None:
    """A tile of the images in folders of results, the first ones on top; None where none of them covers it.

    A file that is gone or damaged covers nothing.
    """
    shown = np.full((SIZE, SIZE), NO_PROBABILITY, np.uint8)
    for folder in folders:
        raster = opened(picture, folder)
        if raster is not None:
            blank = shown == NO_PROBABILITY
            if not blank.any():
                break
            shown[blank] = raster.drawn(tile)[blank]
    return None if np.all(shown == NO_PROBABILITY) else _png(shown, _PALETTES[picture])


def opened(picture: Picture, folder: Path) -> Raster | None:
    """An image in a folder of results; None where it is gone or cannot be read."""
    path = folder / FILES[picture]
    try:
        return _opened(path, path.stat().st_mtime_ns, picture)
    except (OSError, RasterioError):
        return None


@lru_cache(maxsize=64)
def _opened(path: Path, changed: int, picture: Picture) -> Raster:
    return Raster.of(path, picture)


@dataclass(frozen=True, eq=False)
class Raster:
    """One band of a raster of results, and how its bytes are shown."""

    path: Path
    band: int
    shape: tuple[int, int]
    crs: str
    box: tuple[float, float, float, float]  # of its control points: least x and y, largest x and y
    transformer: GCPTransformer
    trend: NDArray[np.float64]  # by column, taken off its bytes
    stretch: tuple[float, float]  # bytes, without the trend, that are the darkest and the brightest
    _lock: Lock = field(default_factory=Lock)  # GDAL's transformers serve one thread at a time

    @classmethod
    def of(cls, path: Path, picture: Picture) -> Raster:
        """Open a raster. Raises `OSError`, `RasterioError`."""
        with rasterio.open(path) as source:
            points, crs = source.gcps
            if not points:
                raise RasterioError("no ground control points")
            band = 1 if picture == "radar" else source.descriptions.index("oil") + 1
            height, width = source.shape
            trend, stretch = np.zeros(width), (0.0, float(STEPS))
            if picture == "radar":
                scale = min(1.0, _OVERVIEW / max(height, width))
                size = math.ceil(height * scale), math.ceil(width * scale)
                trend, stretch = _contrast(source.read(band, out_shape=size), width)
            places = np.array([(point.x, point.y) for point in points])
            box = (*places.min(axis=0).tolist(), *places.max(axis=0).tolist())
            spline = GCPTransformer(points, tps=True)
            return cls(path, band, (height, width), crs.to_string(), box, spline, trend, stretch)

    def drawn(self, tile: Tile) -> Bytes:
        """The tile's pixels, 0 to 250; 255 where the image has no data."""
        blank: Bytes = np.full((SIZE, SIZE), NO_PROBABILITY, np.uint8)
        rows, columns = self._cells(tile)
        height, width = self.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        if not inside.any():
            return blank
        step = max(1.0, float(np.nanmedian(np.hypot(np.diff(rows, axis=1), np.diff(columns, axis=1)))))
        first_row, last_row = _ends(rows[inside], step, height)
        first_column, last_column = _ends(columns[inside], step, width)
        window = Window(first_column, first_row, last_column - first_column, last_row - first_row)
        size = math.ceil(window.height / step), math.ceil(window.width / step)
        with rasterio.open(self.path) as source:
            cells = source.read(self.band, window=window, out_shape=size)
        down = (rows - first_row) * size[0] / window.height - 0.5
        along = (columns - first_column) * size[1] / window.width - 0.5
        known = cells != NO_PROBABILITY
        share = _at(known, down, along)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = _at(np.where(known, cells, 0), down, along) / share
        trend = self.trend[np.clip(np.nan_to_num(columns), 0, width - 1).astype(int)]
        low, high = self.stretch
        shown = np.clip((values - trend - low) / (high - low), 0, 1) * (_BRIGHTEST - _DARKEST) + _DARKEST
        return np.where(inside & (share > 0.5), np.nan_to_num(shown), NO_PROBABILITY).astype(np.uint8)

    def _cells(self, tile: Tile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns of the raster at the tile's pixels; not a number where there are none."""
        nodes = np.linspace(0, 1, _NODES)
        longitude, latitude = (np.ravel(one) for one in np.broadcast_arrays(*tile.lonlat(*np.meshgrid(nodes, nodes))))
        least_x, least_y, most_x, most_y = self.box
        across, up = most_x - least_x, most_y - least_y
        rows, columns = np.full((2, longitude.size), np.nan)
        with self._lock:
            x, y = _to(self.crs).transform(longitude, latitude)
            if self.crs == "EPSG:4326":  # across the antimeridian, degrees go on beyond 180
                middle = (least_x + most_x) / 2
                x = middle + (x - middle + 180.0) % 360.0 - 180.0
            # Far from its points, a spline says nothing.
            near = (np.abs(x - (least_x + most_x) / 2) < 1.5 * across) & (np.abs(y - (least_y + most_y) / 2) < 1.5 * up)
            if near.any():
                rows[near], columns[near] = self.transformer.rowcol(x[near], y[near], op=_as_it_is)
        pixels = (np.arange(SIZE) + 0.5) / SIZE * (_NODES - 1)
        down, along = np.meshgrid(pixels, pixels, indexing="ij")
        shape = (_NODES, _NODES)
        return _at(rows.reshape(shape), down, along), _at(columns.reshape(shape), down, along)


def _ends(places: NDArray[np.float64], step: float, length: int) -> tuple[int, int]:
    return max(0, math.floor(places.min() - 2 * step)), min(length, math.ceil(places.max() + 2 * step))


def _at(values: NDArray[Any], down: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values between cells, linear; those of the outermost cells beyond."""
    found: NDArray[np.float64] = map_coordinates(values.astype(float), (down, along), order=1, mode="nearest")
    return found


def _contrast(cells: Bytes, width: int) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """The trend of the sea along range, which hides slicks, as a parabola by column; and the stretch without it."""
    values = np.where(cells == NO_PROBABILITY, np.nan, cells)
    place = np.linspace(-1, 1, cells.shape[1])
    known = np.isfinite(values).mean(axis=0) > 0.05
    curve = np.zeros(3)
    if np.count_nonzero(known) >= 10:
        curve = np.polyfit(place[known], np.nanmedian(values[:, known], axis=0), 2)
    flat = values - np.polyval(curve, place)
    flat = flat[np.isfinite(flat)]
    low, high = np.percentile(flat, _STRETCH) if flat.size else (0.0, 1.0)
    trend = np.asarray(np.polyval(curve, np.linspace(-1, 1, width)), np.float64)
    return trend, (float(low), max(float(high), float(low) + 1.0))


def _png(shown: Bytes, palette: Bytes) -> bytes:
    """Bytes as a picture by a palette (256, 4) of colours."""
    picture = Image.fromarray(shown)
    picture.putpalette(palette[:, :3].tobytes())
    to = io.BytesIO()
    picture.save(to, "PNG", transparency=palette[:, 3].tobytes(), compress_level=1)
    return to.getvalue()


def _greys() -> Bytes:
    shade = np.arange(256, dtype=np.uint8)
    palette = np.column_stack([shade, shade, shade, np.full(256, 255, np.uint8)])
    palette[NO_PROBABILITY] = 0
    return palette


def _ramp(stops: Sequence[tuple[float, str, int]]) -> Bytes:
    at = [share * STEPS for share, _, _ in stops]
    colours = np.array([[*bytes.fromhex(colour[1:]), alpha] for _, colour, alpha in stops])
    palette = np.column_stack([np.interp(np.arange(256), at, channel) for channel in colours.T]).astype(np.uint8)
    palette[NO_PROBABILITY] = 0
    return palette


_PALETTES: dict[Picture, Bytes] = {"radar": _greys(), "probability": _ramp(PROBABILITY_RAMP)}


@lru_cache(maxsize=64)
def _to(crs: str) -> Transformer:
    return Transformer.from_crs("EPSG:4326", crs, always_xy=True)


def _as_it_is(value: Any) -> Any:
    return value
