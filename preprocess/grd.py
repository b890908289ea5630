"""The measurement of a GRD product as lazy digital numbers, read in bands of whole lines."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from ingest.errors import UnreadableInput
from ingest.safe.product import SafeProduct
from preprocess.grid import cell_centres

# GDAL's block cache defaults to 5 % of the memory, but no band is read twice.
_GDAL = {"GDAL_CACHEMAX": 64 * 1024 * 1024, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
# Bands grow to whole tiles of a tiled TIFF up to this many lines, so that no tile is decoded twice.
_TALLEST_BAND = 2048
_OPEN_AT_MOST = 4


@dataclass(frozen=True)
class Measurement:
    """One image on disk: paths and sizes only, so that other processes can open it."""

    path: str  # for GDAL
    subject: str  # for messages
    lines: int
    samples: int
    block_lines: int  # height of the TIFF's strips or tiles
    deflated: tuple[int, int] | None = None  # modification time (ns) and size of the zip, if it is deflated in one

    def read(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Digital numbers of the lines start..stop-1; (stop - start, samples).

        Raises `UnreadableInput` where the file ends early or is damaged.
        """
        try:
            with rasterio.Env(**_GDAL):
                if self.deflated is not None:
                    return _open_images.read(self, start, stop)
                # Opening takes a millisecond, and closing frees GDAL's cache.
                with _open(self.path) as dataset:
                    return _read(dataset, start, stop)
        except RasterioError as error:
            problem = f"lines {start} to {stop - 1} cannot be read: the file is truncated or damaged"
            raise UnreadableInput(self.subject, problem, "fetch the product again") from error

    def band_lines(self, at_least: int, multiple_of: int = 1) -> int:
        """Height of bands of about `at_least` lines that end at whole looks and, if possible, whole tiles."""
        unit = math.lcm(self.block_lines, multiple_of)
        unit = unit if unit <= _TALLEST_BAND else multiple_of
        return max(1, math.ceil(at_least / unit)) * unit


class _OpenImages:
    """The deflated images that are open in this process, a few at most.

    GDAL inflates a member of a zip from its start each time it is opened, but keeps bookmarks in one that
    stays open. Read in bands, a whole IW image of 0.9 GB takes 3.6 s forward and 7 s in dask's order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # GDAL datasets are not thread-safe
        self._images: OrderedDict[object, tuple[Any, int]] = OrderedDict()  # and the number of lines still to be read

    def read(self, measurement: Measurement, start: int, stop: int) -> NDArray[np.uint16]:
        """Read a band; the image is opened if necessary, and closed after its last line or a failure."""
        key = (os.getpid(), measurement)  # a handle does not survive a fork
        with self._lock:
            image = self._images.pop(key, None)
            dataset, left = image if image is not None else (_open(measurement.path), measurement.lines)
            try:
                band = _read(dataset, start, stop)
            except RasterioError:
                dataset.close()
                raise
            left -= stop - start
            if left > 0:
                self._images[key] = dataset, left
            else:
                dataset.close()
            while len(self._images) > _OPEN_AT_MOST:
                self._images.popitem(last=False)[1][0].close()
        return band


_open_images = _OpenImages()


def open_measurement(product: SafeProduct, polarisation: str) -> Measurement:
    """Check the TIFF of one polarisation against its annotation.

    Raises `UnreadableInput` where it is not a TIFF of one uint16 band with the annotated size.
    """
    path = product.measurement(polarisation)
    subject = f"{product.path}: measurement {polarisation}"
    annotation = product.image(polarisation).annotation
    try:
        with rasterio.Env(**_GDAL), _open(path) as dataset:
            found = (dataset.height, dataset.width)
            kind = (dataset.count, dataset.dtypes[0])
            block_lines = int(dataset.block_shapes[0][0])
    except RasterioError as error:
        problem = "is not a readable TIFF, or a truncated one"
        raise UnreadableInput(subject, problem, "fetch the product again") from error
    if kind != (1, "uint16"):
        problem = f"holds {kind[0]} band(s) of {kind[1]} where a GRD image is one of uint16"
        raise UnreadableInput(subject, problem, "give a GRD product")
    annotated = (annotation.number_of_lines, annotation.number_of_samples)
    if found != annotated:
        problem = f"has {found[0]} x {found[1]} pixels where the annotation says {annotated[0]} x {annotated[1]}"
        raise UnreadableInput(subject, problem, "fetch the product again")
    state = product.path.stat() if product.is_deflated(polarisation) else None
    deflated = None if state is None else (state.st_mtime_ns, state.st_size)
    return Measurement(path, subject, *found, block_lines, deflated)


def _open(path: str) -> Any:
    # No other driver: a VRT named .tiff could make GDAL read any file or address.
    return rasterio.open(path, driver="GTiff")


def _read(dataset: Any, start: int, stop: int) -> NDArray[np.uint16]:
    band: NDArray[np.uint16] = dataset.read(1, window=((start, stop), (0, dataset.width)))
    return band


def digital_number(product: SafeProduct, polarisation: str, rows_per_block: int = 512) -> xr.DataArray:
    """Digital numbers of one polarisation; lazy (line, pixel), uint16, 0 = no data.

    Blocks are bands of about `rows_per_block` whole lines: the TIFFs are stored line by line, and other
    blocks would read each line many times. Raises `UsageError` for a missing polarisation and
    `UnreadableInput` for a file that contradicts the annotation, or on reading, for one that ends early.
    """
    measurement = open_measurement(product, polarisation)
    rows = measurement.band_lines(rows_per_block)
    shape = (measurement.lines, measurement.samples)
    return lines_and_pixels(lazy_bands(_DigitalNumbers(measurement), shape, np.uint16, rows), "digital_number")


@dataclass(frozen=True)
class _DigitalNumbers:
    measurement: Measurement

    def __call__(self, start: int, stop: int) -> NDArray[np.uint16]:
        return self.measurement.read(start, stop)


def lazy_bands(read: Any, shape: tuple[int, int], dtype: type[np.generic], rows: int) -> da.Array:
    """Lazy array of bands of `rows` whole rows, where ``read(start, stop)`` computes the rows start..stop-1."""
    source = _Bands(read, shape, np.dtype(dtype))
    meta = np.empty((0, 0), dtype)
    lazy: da.Array = da.from_array(source, chunks=(rows, shape[1]), name=False, asarray=False, fancy=False, meta=meta)
    return lazy


@dataclass(frozen=True)
class _Bands:
    """The array interface that dask needs; only the requested rows are computed."""

    read: Any
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return 2

    def __getitem__(self, index: tuple[slice | int, slice | int]) -> NDArray[Any]:
        rows, columns = index
        wanted = range(self.shape[0])[rows]
        if isinstance(wanted, int):
            one: NDArray[Any] = self.read(wanted, wanted + 1)[0, columns]
            return one
        if not wanted:
            return np.empty(self.shape, self.dtype)[:0, columns]
        first, last = sorted((wanted[0], wanted[-1]))
        band: NDArray[Any] = self.read(first, last + 1)[:: wanted.step, columns]
        return band


def lines_and_pixels(values: da.Array, name: str, looks: tuple[int, int] = (1, 1)) -> xr.DataArray:
    """Label an image's axes with its cell centres in zero-based full-resolution coordinates."""
    coords = {
        dim: (dim, cell_centres(size, look))
        for dim, size, look in zip(("line", "pixel"), values.shape, looks, strict=True)
    }
    return xr.DataArray(values, dims=("line", "pixel"), coords=coords, name=name)
