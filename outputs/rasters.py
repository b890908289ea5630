"""Probabilities as a cloud-optimised GeoTIFF and sigma nought as a GeoTIFF, both in the image's own geometry.

The pixels are the radar's, unwarped; ground control points say where they lie. See
docs/decisions/0020-probability-raster.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window

from ingest.errors import StorageError
from outputs.publish import aside_file
from outputs.slicks import cell_corners, class_names, class_plane
from preprocess.geolocate import Geolocation
from preprocess.pipeline import CalibratedScene

STEPS = 250  # the byte 250 is probability 1, so a step is 0.004
NO_PROBABILITY = 255
_WGS84 = "EPSG:4326"
_BLOCK = 512
_GRID = 21  # ground control points along each side
_CACHE_MB = 64  # GDAL's default, 5 % of the memory, would be most of what a run needs


def write_probability_cog(class_probability: xr.DataArray, calibrated: CalibratedScene, path: Path) -> None:
    """Write (class, line, pixel) probabilities as a COG of bytes, one band a class, with overviews.

    A byte times the band's scale, 1/250, is the probability; 255 is no data. Only strips of the
    probabilities are held at a time. Raises `StorageError`.
    """
    names = class_names(class_probability)
    with aside_file(path) as hidden, _gdal(path):
        plain = hidden.with_suffix(".plain.tif")
        try:
            with _new(plain, class_probability[0], calibrated.geolocation, calibrated.looks, "uint8", len(names)) as to:
                to.scales, to.offsets = (1.0 / STEPS,) * len(names), (0.0,) * len(names)
                to.descriptions = tuple(names)
                to.update_tags(**_scene_tags(calibrated), CLASSES=" ".join(names), QUANTITY="class probability")
                for band, name in enumerate(names, 1):
                    _write_bytes(class_plane(class_probability, name), to, band)
            copy(plain, hidden, driver="COG", **_COG)
        finally:
            plain.unlink(missing_ok=True)
        _check_readable(hidden)


_COG: dict[str, Any] = {
    "compress": "DEFLATE",
    "predictor": "YES",
    "blocksize": _BLOCK,
    "overviews": "IGNORE_EXISTING",
    "overview_resampling": "AVERAGE",
    "bigtiff": "IF_SAFER",
}


def write_sigma_nought(
    sigma_nought: xr.DataArray, path: Path, geolocation: Geolocation, looks: tuple[int, int] = (1, 1)
) -> None:
    """Write linear sigma nought (line, pixel) as an uncompressed float32 GeoTIFF, NaN being no data.

    Lazy data are computed in strips of lines, the next strip while one is written, so that a whole image at
    full resolution passes through little memory. `looks` (azimuth, range) are those of its cells.
    Compression would cost more time than the calibration. Raises `StorageError`.
    """
    with aside_file(path) as hidden, _gdal(path):
        with _new(hidden, sigma_nought, geolocation, looks, "float32", 1) as to:
            to.units = ("m2 m-2",)
            to.descriptions = (_description(sigma_nought),)
            for first, block in _strips(sigma_nought):
                to.write(block, 1, window=Window(0, first, block.shape[1], block.shape[0]))
        if hidden.stat().st_size < sigma_nought.size * 4:
            raise StorageError(path, "was not written completely", "check the space there and run again")
        _check_readable(hidden)


def probability_to_byte(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Probabilities 0..1 to 0..250, rounded; NaN becomes 255."""
    steps = np.rint(np.clip(probability, 0.0, 1.0) * STEPS)
    return np.where(np.isnan(steps), NO_PROBABILITY, steps).astype(np.uint8)


def control_points(grid: xr.DataArray, geolocation: Geolocation, looks: tuple[int, int]) -> list[GroundControlPoint]:
    """A regular net of ground control points over a raster's outer edges, at sea level.

    Rows and columns count from the corner of the first cell, as GDAL does. Longitudes go on beyond 180 where
    the scene crosses the antimeridian, because a polynomial is laid through them.
    """
    height, width = grid.shape
    row, column = np.meshgrid(np.linspace(0, height, _GRID), np.linspace(0, width, _GRID), indexing="ij")
    cells = cell_corners(grid, looks)
    pixel, line = cells.c + cells.a * column, cells.f + cells.e * row
    longitude, latitude = geolocation.lonlat(line, pixel)
    middle = longitude[_GRID // 2, _GRID // 2]
    longitude = middle + (longitude - middle + 180.0) % 360.0 - 180.0
    points = zip(row.flat, column.flat, longitude.flat, latitude.flat, strict=True)
    return [GroundControlPoint(row=r, col=c, x=x, y=y, z=0.0) for r, c, x, y in points]


def strip_heights(grid: xr.DataArray) -> list[int]:
    """Heights of the strips of lines to read a raster by: its own chunks, or a row of blocks."""
    if grid.chunks is not None:
        return list(grid.chunks[-2])
    height = grid.shape[-2]
    return [min(_BLOCK, height - first) for first in range(0, height, _BLOCK)]


def _strips(grid: xr.DataArray) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First line and values of each strip, one computed ahead."""
    heights = strip_heights(grid)
    firsts = np.cumsum([0, *heights[:-1]])

    def values(i: int) -> NDArray[np.float32]:
        return np.asarray(grid[firsts[i] : firsts[i] + heights[i]].data, dtype=np.float32)

    with ThreadPoolExecutor(max_workers=1) as ahead:
        coming = ahead.submit(values, 0)
        for i in range(len(heights)):
            block = coming.result()
            if i + 1 < len(heights):
                coming = ahead.submit(values, i + 1)
            yield int(firsts[i]), block


def _write_bytes(plane: NDArray[np.floating], to: Any, band: int) -> None:
    for first in range(0, plane.shape[0], _BLOCK):
        block = probability_to_byte(plane[first : first + _BLOCK])
        to.write(block, band, window=Window(0, first, block.shape[1], block.shape[0]))


def _new(
    path: Path, grid: xr.DataArray, geolocation: Geolocation, looks: tuple[int, int], dtype: str, bands: int
) -> Any:
    height, width = grid.shape
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=bands,
        dtype=dtype,
        nodata=NO_PROBABILITY if dtype == "uint8" else np.nan,
        gcps=control_points(grid, geolocation, looks),
        crs=_WGS84,
        tiled=dtype == "uint8",
        blockysize=_BLOCK if dtype == "uint8" else 1,
        interleave="band",
        bigtiff="IF_SAFER",
        **({"blockxsize": _BLOCK} if dtype == "uint8" else {}),
    )


def _scene_tags(calibrated: CalibratedScene) -> dict[str, str]:
    scene = calibrated.scene
    return {"SCENE_ID": scene.id, "TIFFTAG_DATETIME": scene.acquired_start.strftime("%Y:%m:%d %H:%M:%S")}


def _description(sigma_nought: xr.DataArray) -> str:
    polarisation = sigma_nought.coords.get("polarisation")
    return "sigma nought" if polarisation is None else f"sigma nought {polarisation.item()}"


@contextmanager
def _gdal(path: Path) -> Iterator[None]:
    """GDAL with a small cache; its failures to write become `StorageError`."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        try:
            yield
        except RasterioError as error:
            raise StorageError(path, f"could not be written ({error})", "check space and permissions there") from error


def _check_readable(path: Path) -> None:
    """Read the last cell of every band: it is missing where the disk filled up unnoticed."""
    with rasterio.open(path) as written:
        written.read(window=Window(written.width - 1, written.height - 1, 1, 1))
