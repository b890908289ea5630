"""Probabilities and backscatter as cloud-optimised GeoTIFFs, and calibrated sigma nought as a GeoTIFF.

All are in the image's own geometry. The pixels are the radar's, unwarped; ground control points say where they lie. See
docs/decisions/0012-probability-raster.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window

from ingest.errors import StorageError
from ingest.files import require_space, whole_file, write_bytes
from outputs.probability import class_names, class_plane
from outputs.style import probability_qml
from preprocess.grid import Grid
from preprocess.pipeline import CalibratedScene

STEPS = 250  # the byte 250 is probability 1, so a step is 0.004
NO_PROBABILITY = 255
DARKEST_DB, DB_STEP = -40.0, 0.2  # of the byte 0, and between bytes
_WGS84 = "EPSG:4326"
_POLAR = ("EPSG:32661", "EPSG:32761")  # universal polar stereographic, north and south
_BLOCK = 512
_GRID = 21  # ground control points along each side
_CACHE_MB = 64  # GDAL's default, 5 % of the memory, would be most of what a run needs


def write_probability_cog(class_probability: xr.DataArray, calibrated: CalibratedScene, path: Path) -> None:
    """Write (class, line, pixel) probabilities as a COG of bytes, one band a class, with overviews.

    A byte times the band's scale, 1/250, is the probability; 255 is no data. Only strips of the
    probabilities are held at a time. Raises `StorageError`.
    """
    planes = {name: class_plane(class_probability, name) for name in class_names(class_probability)}
    tags = {"CLASSES": " ".join(planes), "QUANTITY": "class probability"}
    _write_cog(planes, probability_to_byte, (1.0 / STEPS, 0.0), tags, calibrated, path)


def write_backscatter_cog(calibrated: CalibratedScene, path: Path) -> None:
    """Write the sigma nought that was analysed, one band a polarisation, as a COG of bytes with overviews.

    A byte times 0.2 minus 40 is sigma nought in dB, from -40 to 10; 255 is no data. Raises `StorageError`.
    """
    planes = {f"sigma nought {one.polarisation.item()}": one for one in calibrated.sigma_nought}
    _write_cog(planes, backscatter_to_byte, (DB_STEP, DARKEST_DB), {"QUANTITY": "sigma nought, dB"}, calibrated, path)


def _write_cog(
    planes: Mapping[str, Any],
    to_byte: Callable[[NDArray[np.floating]], NDArray[np.uint8]],
    scale_and_offset: tuple[float, float],
    tags: Mapping[str, str],
    calibrated: CalibratedScene,
    path: Path,
) -> None:
    """Write planes (line, pixel) by name as the bands of a COG of bytes, strip by strip."""
    with whole_file(path) as hidden, _gdal(path):
        plain = hidden.with_suffix(".plain.tif")
        try:
            with _new(plain, calibrated.grid, "uint8", len(planes)) as to:
                to.scales, to.offsets = ((value,) * len(planes) for value in scale_and_offset)
                to.descriptions = tuple(planes)
                when = f"{calibrated.scene.acquired_start:%Y:%m:%d %H:%M:%S}"
                to.update_tags(**tags, SCENE_ID=calibrated.scene.id, TIFFTAG_DATETIME=when)
                for band, plane in enumerate(planes.values(), 1):
                    for first in range(0, plane.shape[0], _BLOCK):
                        block = to_byte(np.asarray(plane[first : first + _BLOCK]))
                        to.write(block, band, window=Window(0, first, block.shape[1], block.shape[0]))
            copy(plain, hidden, driver="COG", **_COG)
        finally:
            plain.unlink(missing_ok=True)
        _check_readable(hidden)


def write_probability_style(class_names: Sequence[str], path: Path, shown: str = "oil") -> None:
    """Write the QGIS style of a probability raster as a .qml file; it shows the band of the class `shown`.

    QGIS applies it automatically if it lies beside the raster under the same name. Raises `StorageError`.
    """
    write_bytes(path, probability_qml(list(class_names).index(shown) + 1, shown).encode())


_COG: dict[str, Any] = {
    "compress": "DEFLATE",
    "predictor": "YES",
    "blocksize": _BLOCK,
    "overviews": "IGNORE_EXISTING",
    "overview_resampling": "AVERAGE",
    "bigtiff": "IF_SAFER",
}


def write_sigma_nought(
    sigma_nought: xr.DataArray, path: Path, grid: Grid, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write linear sigma nought (line, pixel) as an uncompressed float32 GeoTIFF, NaN being no data.

    Lazy data are computed in strips of lines, the next strip while one is written, so that a whole image at
    full resolution passes through little memory. The tag FLAGS holds any anomalies found by calibration.
    Compression would cost more time than the calibration. `progress` is called with the lines written and all lines.
    Raises `StorageError`.
    """
    require_space(path, 4 * sigma_nought.size)
    with whole_file(path) as hidden, _gdal(path):
        with _new(hidden, grid, "float32", 1) as to:
            to.units = ("m2 m-2",)
            to.descriptions = (_description(sigma_nought),)
            if flags := sigma_nought.attrs.get("flags"):
                to.update_tags(FLAGS="; ".join(flags))
            for first, block in _strips(sigma_nought):
                to.write(block, 1, window=Window(0, first, block.shape[1], block.shape[0]))
                progress(first + len(block), len(sigma_nought))
        if hidden.stat().st_size < sigma_nought.size * 4:
            raise StorageError(path, "not written completely", "check disk space and run again")
        _check_readable(hidden)


def probability_to_byte(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Probabilities 0..1 to 0..250, rounded; NaN becomes 255."""
    steps = np.rint(np.clip(probability, 0.0, 1.0) * STEPS)
    return np.where(np.isnan(steps), NO_PROBABILITY, steps).astype(np.uint8)


def backscatter_to_byte(sigma_nought: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Linear sigma nought to 0..250 in steps of 0.2 dB from -40 dB on, rounded; NaN becomes 255."""
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 10 * np.log10(np.maximum(sigma_nought, 0))
    steps = np.rint(np.clip((decibels - DARKEST_DB) / DB_STEP, 0, STEPS))
    return np.where(np.isnan(steps), NO_PROBABILITY, steps).astype(np.uint8)


def control_points(grid: Grid) -> tuple[list[GroundControlPoint], str]:
    """A regular net of ground control points up to a raster's outer edges, at sea level, and their EPSG code.

    Rows and columns count from the corner of the first cell, as GDAL does. Readers lay a polynomial of second order
    through the points, which metres on a plane suit at any latitude, so they are in `map_projection` of the middle.
    Across the antimeridian they are in degrees that go on beyond 180: QGIS 3.22 crashes when a projected raster is
    zoomed into there on a map in degrees.
    """
    height, width = grid.shape
    row, column = np.meshgrid(np.linspace(0, height, _GRID), np.linspace(0, width, _GRID), indexing="ij")
    longitude, latitude = grid.lonlat(row, column)
    middle = longitude[_GRID // 2, _GRID // 2], latitude[_GRID // 2, _GRID // 2]
    projection = map_projection(float(middle[0]), float(middle[1]))
    if np.ptp(longitude) > 180.0 and projection not in _POLAR:
        projection = _WGS84
        x, y = middle[0] + (longitude - middle[0] + 180.0) % 360.0 - 180.0, latitude
    else:
        x, y = Transformer.from_crs(_WGS84, projection, always_xy=True).transform(longitude, latitude)
    places = zip(row.flat, column.flat, x.flat, y.flat, strict=True)
    return [GroundControlPoint(row=r, col=c, x=east, y=north, z=0.0) for r, c, east, north in places], projection


def map_projection(longitude: float, latitude: float) -> str:
    """The EPSG code of the UTM zone of a place, or of the polar stereographic projection beyond 84 N and 80 S."""
    if latitude > 84.0:
        return _POLAR[0]
    if latitude < -80.0:
        return _POLAR[1]
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    return f"EPSG:{(32600 if latitude >= 0.0 else 32700) + zone}"


def strip_heights(raster: xr.DataArray) -> list[int]:
    """Heights of the strips in which to read a raster: its own chunks, or a row of blocks."""
    if raster.chunks is not None:
        return list(raster.chunks[-2])
    height = raster.shape[-2]
    return [min(_BLOCK, height - first) for first in range(0, height, _BLOCK)]


def _strips(raster: xr.DataArray) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First line and values of each strip, one computed ahead."""
    heights = strip_heights(raster)
    firsts = np.cumsum([0, *heights[:-1]])

    def values(i: int) -> NDArray[np.float32]:
        return np.asarray(raster[firsts[i] : firsts[i] + heights[i]].data, dtype=np.float32)

    with ThreadPoolExecutor(max_workers=1) as ahead:
        coming = ahead.submit(values, 0)
        for i in range(len(heights)):
            block = coming.result()
            if i + 1 < len(heights):
                coming = ahead.submit(values, i + 1)
            yield int(firsts[i]), block


def _new(path: Path, grid: Grid, dtype: str, bands: int) -> Any:
    height, width = grid.shape
    points, projection = control_points(grid)
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=bands,
        dtype=dtype,
        nodata=NO_PROBABILITY if dtype == "uint8" else np.nan,
        gcps=points,
        crs=projection,
        tiled=dtype == "uint8",
        blockysize=_BLOCK if dtype == "uint8" else 1,
        interleave="band",
        bigtiff="IF_SAFER",
        **({"blockxsize": _BLOCK} if dtype == "uint8" else {}),
    )


def _description(sigma_nought: xr.DataArray) -> str:
    polarisation = sigma_nought.coords.get("polarisation")
    return "sigma nought" if polarisation is None else f"sigma nought {polarisation.item()}"


@contextmanager
def _gdal(path: Path) -> Iterator[None]:
    """GDAL with a small cache; its write failures become `StorageError`."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
        try:
            yield
        except RasterioError as error:
            reason = error.__cause__ or error  # rasterio's own message only points to it
            raise StorageError(path, f"cannot be written ({reason})", "check disk space and permissions") from error


def _check_readable(path: Path) -> None:
    """Read the last cell of every band: it is missing where the disk filled up unnoticed."""
    with rasterio.open(path) as written:
        written.read(window=Window(written.width - 1, written.height - 1, 1, 1))
