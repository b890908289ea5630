"""The land mask: which cells of a grid are land.

Land polygons are clipped to the scene, their vertices converted to cells and filled there: the cost grows
with the length of the coast, not with the number of cells, and the open sea costs one query of a spatial
index. The polygons are OpenStreetMap's, generalised, from the package roaring-landmask; the first use
writes them to an indexed file in the user's cache. A finer coastline can be given instead.
Figures are in docs/decisions/0010-land-mask.md.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from ingest.errors import StorageError, UnreadableInput, UsageError
from ingest.files import require_writable, user_cache, whole_file
from ingest.gdal_paths import vector_path
from preprocess.grid import Grid

# Chords of this length stay within a metre of what a straight coast becomes in the image.
_LONGEST_EDGE = 0.05  # degrees
_OTHER_CACHE = "set XDG_CACHE_HOME to a folder with 250 MB to spare, or give a coastline file"


def land_mask(grid: Grid, coastline: Path | None = None) -> NDArray[np.bool_]:
    """Land (True) and sea (False) on a grid, (rows, columns).

    A cell that land touches is land, so that no rock and no seam between polygons is lost. `coastline` is a file of
    land polygons in WGS 84 that GDAL reads; without it the packaged polygons are used. Raises `UsageError` and
    `UnreadableInput` for an unsuitable file, `StorageError` where the cache cannot be written.
    """
    rows, columns = grid.shape
    surroundings = grid.to_lonlat(shapely.box(-1.0, -1.0, columns + 1.0, rows + 1.0))
    land = _land_within(surroundings, _packaged_coastline() if coastline is None else coastline)
    mask = np.zeros(grid.shape, np.uint8)
    if land:
        dense = [shapely.segmentize(polygon, _LONGEST_EDGE) for polygon in land]
        rasterize([grid.from_lonlat(polygon) for polygon in dense], out=mask, all_touched=True)
    return mask.astype(bool)


def _land_within(scene: shapely.MultiPolygon, coastline: Path) -> list[BaseGeometry]:
    """Land polygons clipped to the scene, as image coordinates are undefined not far outside it."""
    found: list[BaseGeometry] = []
    for part in scene.geoms:
        near = shapely.clip_by_rect(_read(coastline, part.bounds), *part.bounds)
        near = shapely.make_valid(near[~shapely.is_empty(near)], method="structure", keep_collapsed=False)
        found.extend(shapely.get_parts(shapely.intersection(near, part)))
    return [polygon for polygon in found if polygon.area > 0.0]


def _read(coastline: Path, bounds: tuple[float, float, float, float]) -> NDArray[np.object_]:
    try:
        with vector_path(coastline) as plain_path:
            meta, _, geometry, _ = pyogrio.raw.read(plain_path, bbox=bounds, columns=[])
    except (DataSourceError, DataLayerError) as error:
        raise UnreadableInput(
            coastline, f"no readable land polygons ({error})", "give another coastline file"
        ) from error
    if meta["crs"] is None or not CRS(meta["crs"]).equals("EPSG:4326", ignore_axis_order=True):
        raise UsageError(coastline, "land polygons not in WGS 84 longitude and latitude", "reproject to EPSG:4326")
    found: NDArray[np.object_] = shapely.from_wkb(geometry)
    if not np.isin(shapely.get_dimensions(found), (-1, 2)).all():  # -1: nothing but an empty geometry
        raise UsageError(coastline, "contains lines or points, not only polygons", "give land polygons")
    return found


def require_coastline(coastline: Path | None) -> None:
    """Raise what `land_mask` would raise for its land polygons, as far as that is known before there is a grid."""
    if coastline is not None:
        _read(coastline, (0.0, 0.0, 0.0, 0.0))
    elif not (path := _cached_coastline()).is_file():
        require_writable(path.parent, _OTHER_CACHE)


def _packaged_coastline() -> Path:
    """The packaged land polygons as a file with a spatial index, written on first use."""
    path = _cached_coastline()
    if not path.is_file():
        try:
            _write_packaged_coastline(path)
        except (StorageError, DataSourceError, DataLayerError) as error:
            raise StorageError(path, f"cannot store the land polygons ({error})", _OTHER_CACHE) from error
    return path


def _cached_coastline() -> Path:
    try:
        name = f"land-osm-{version('roaring-landmask')}.fgb"
    except ImportError as error:
        raise UsageError(
            "land mask", "the package roaring-landmask is not installed", "give a coastline file"
        ) from error
    return user_cache(name)


def _write_packaged_coastline(path: Path) -> None:
    """Write the packaged polygons as FlatGeobuf."""
    with whole_file(path) as hidden, vector_path(hidden) as plain_path:
        pyogrio.raw.write(
            plain_path,
            _packaged_polygons(),
            field_data=[],
            fields=[],
            geometry_type="Polygon",
            crs="EPSG:4326",
            driver="FlatGeobuf",
        )


def _packaged_polygons() -> NDArray[np.bytes_]:
    """The polygons of roaring-landmask as WKB."""
    from roaring_landmask import LandmaskProvider, Shapes  # slow and large: imported only when its polygons are needed

    wkb: NDArray[np.bytes_] = shapely.to_wkb(shapely.get_parts(shapely.from_wkb(Shapes.wkb(LandmaskProvider.Osm))))
    return wkb
