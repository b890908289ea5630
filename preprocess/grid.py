"""The grid of a raster in radar geometry: the image pixels its cells average, and where they lie on Earth.

Three coordinate systems meet here: cells (row, column) and image (line, pixel), both as the architecture page
defines them, and longitude and latitude at sea level. Fractional rows and columns are 0 at the outer corner of the
first cell, as GDAL counts; geometries are (x, y), so (column, row), (pixel, line) and (longitude, latitude).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import shapely
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from ingest.errors import UsageError
from ingest.safe.metadata import Annotation
from preprocess.geolocate import Geolocation, geodesic_area_perimeter

Floats = NDArray[np.float64]
Window = tuple[slice, slice]
Vector = tuple[float, float]
Shape = TypeVar("Shape", BaseGeometry, NDArray[np.object_])

_WGS84 = Geod(ellps="WGS84")


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a raster, each `looks` lines and pixels of an image."""

    shape: tuple[int, int]  # rows, columns
    looks: tuple[int, int]  # lines, pixels in a cell
    image_shape: tuple[int, int]  # lines, samples of the whole image
    geolocation: Geolocation
    origin: tuple[int, int] = (0, 0)  # row, column of the first cell, counted from the image's first

    @classmethod
    def of_image(cls, image_shape: tuple[int, int], geolocation: Geolocation, looks: tuple[int, int] = (1, 1)) -> Grid:
        """Cover a whole image; the last cells may reach beyond it."""
        (lines, samples), (azimuth, across) = image_shape, looks
        return cls((-(-lines // azimuth), -(-samples // across)), looks, image_shape, geolocation)

    def __getitem__(self, window: slice | Window) -> Grid:
        """The part of the grid in some rows, or in some rows and columns; slices without steps."""
        parts = window if isinstance(window, tuple) else (window, slice(None))
        rows, columns = (part.indices(length)[:2] for part, length in zip(parts, self.shape, strict=True))
        origin = self.origin[0] + rows[0], self.origin[1] + columns[0]
        return replace(self, shape=(max(0, rows[1] - rows[0]), max(0, columns[1] - columns[0])), origin=origin)

    @property
    def transform(self) -> Affine:
        """The affine map from (column, row) to (pixel, line)."""
        (azimuth, across), (row, column) = self.looks, self.origin
        return Affine(across, 0.0, column * across - 0.5, 0.0, azimuth, row * azimuth - 0.5)

    @property
    def line(self) -> Floats:
        """Lines of the cell centres, (rows,)."""
        return cell_centres(self.shape[0], self.looks[0], self.origin[0])

    @property
    def pixel(self) -> Floats:
        """Pixels of the cell centres, (columns,)."""
        return cell_centres(self.shape[1], self.looks[1], self.origin[1])

    @property
    def image_end(self) -> Vector:
        """(pixel, line) of the image's last corner, which the last cells may reach beyond."""
        return self.image_shape[1] - 0.5, self.image_shape[0] - 0.5

    @property
    def axes(self) -> tuple[Vector, Vector]:
        """The grid's extent along rows and along columns through its middle, each in metres east and north."""
        height, width = self.shape
        longitude, latitude = self.lonlat([0, height, height / 2, height / 2], [width / 2, width / 2, 0, width])
        azimuth, _, distance = _WGS84.inv(longitude[::2], latitude[::2], longitude[1::2], latitude[1::2])
        east, north = distance * np.sin(np.radians(azimuth)), distance * np.cos(np.radians(azimuth))
        return (float(east[0]), float(north[0])), (float(east[1]), float(north[1]))

    @property
    def spacing(self) -> tuple[float, float]:
        """Mean distance of rows and of columns in the middle of the grid, in metres."""
        down, across = self.axes
        return math.hypot(*down) / self.shape[0], math.hypot(*across) / self.shape[1]

    def lonlat(self, row: ArrayLike, column: ArrayLike) -> tuple[Floats, Floats]:
        """Longitude in [-180, 180) and latitude of fractional rows and columns, in degrees; broadcasts."""
        to_image = self.transform
        line = np.asarray(row, np.float64) * to_image.e + to_image.f
        return self.geolocation.lonlat(line, np.asarray(column, np.float64) * to_image.a + to_image.c)

    def row_column(self, longitude: ArrayLike, latitude: ArrayLike) -> tuple[Floats, Floats]:
        """Fractional rows and columns of longitudes and latitudes in degrees, the inverse of `lonlat`; broadcasts.

        NaN far outside the image, see `Geolocation.line_pixel`.
        """
        to_image = self.transform
        line, pixel = self.geolocation.line_pixel(longitude, latitude)
        return (line - to_image.f) / to_image.e, (pixel - to_image.c) / to_image.a

    def to_lonlat(self, geometry: Polygon | MultiPolygon) -> MultiPolygon:
        """Polygons of (column, row) as RFC 7946 polygons in degrees, see `Geolocation.to_lonlat`."""
        to_image = self.transform
        scale, shift = (to_image.a, to_image.e), (to_image.c, to_image.f)
        return self.geolocation.to_lonlat(shapely.transform(geometry, lambda at: at * scale + shift))

    def from_lonlat(self, geometry: Shape) -> Shape:
        """Geometries in degrees, one or an array of them, as geometries of (column, row), vertex by vertex.

        Raises `ValueError` for vertices far outside the image.
        """

        def cells(lonlat: Floats) -> Floats:
            row, column = self.row_column(*lonlat.T)
            if not np.isfinite(row).all():
                raise ValueError("the geometry reaches beyond the geolocation grid")
            return np.column_stack([column, row])

        return shapely.transform(geometry, cells)

    def cell_area(self, row: int, column: int) -> float:
        """Geodesic area of one cell in m2."""
        return geodesic_area_perimeter(self.to_lonlat(box(column, row, column + 1, row + 1)))[0]

    def largest_cell_area(self) -> float:
        """Area of the largest cell in m2, among those at the corners, edges and middle."""
        rows, columns = ((0, length // 2, length - 1) for length in self.shape)
        return max(self.cell_area(row, column) for row in rows for column in columns)


def image_grid(annotation: Annotation, pixel_spacing: float | None = None) -> Grid:
    """The grid of an image at cells of about `pixel_spacing` metres, or at full resolution.

    Raises `UsageError` for a spacing that is no length and `UnreadableInput` for unusable tie points.
    """
    looks = (1, 1) if pixel_spacing is None else looks_for(annotation, pixel_spacing)
    shape = annotation.number_of_lines, annotation.number_of_samples
    return Grid.of_image(shape, Geolocation(annotation.geolocation_grid), looks)


def looks_for(annotation: Annotation, pixel_spacing: float) -> tuple[int, int]:
    """Lines and pixels to average for cells of about `pixel_spacing` metres; at least one, at most all.

    Raises `UsageError` for a spacing that is no length.
    """
    if not 0.0 < pixel_spacing < math.inf:
        raise UsageError("pixel spacing", f"{pixel_spacing} is not a length in metres", "give one such as 40")
    azimuth = round(pixel_spacing / annotation.azimuth_pixel_spacing)
    across = round(pixel_spacing / annotation.range_pixel_spacing)
    return min(max(1, azimuth), annotation.number_of_lines), min(max(1, across), annotation.number_of_samples)


def cell_centres(count: int, look: int, first: int = 0) -> Floats:
    """Full-resolution coordinates of the centres of `count` cells of `look` pixels, from cell `first` on."""
    return np.arange(first, first + count, dtype=np.float64) * look + (look - 1) / 2.0
