"""Land polygons, read around a place.

They are OpenStreetMap's, generalised, from the package roaring-landmask; the first use writes them to an indexed file
in the user's cache, so that a place costs one query of a spatial index. A finer coastline can be given instead: a file
of land polygons in WGS 84 that GDAL reads.
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

from ingest.errors import StorageError, UnreadableInput, UsageError
from ingest.files import require_writable, user_cache, whole_file
from ingest.gdal_paths import vector_path

Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees
_OTHER_CACHE = "set XDG_CACHE_HOME to a folder with 250 MB to spare, or give a coastline file"


def land_polygons(bounds: Bounds, coastline: Path | None = None) -> NDArray[np.object_]:
    """The land polygons that touch a box, whole, of a file or else of the package.

    Raises `UsageError` and `UnreadableInput` for an unsuitable file, `StorageError` where the cache cannot be written.
    """
    path = _packaged_coastline() if coastline is None else coastline
    try:
        with vector_path(path) as plain_path:
            meta, _, geometry, _ = pyogrio.raw.read(plain_path, bbox=bounds, columns=[])
    except (DataSourceError, DataLayerError) as error:
        raise UnreadableInput(path, f"no readable land polygons ({error})", "give another coastline file") from error
    if meta["crs"] is None or not CRS(meta["crs"]).equals("EPSG:4326", ignore_axis_order=True):
        raise UsageError(path, "land polygons not in WGS 84 longitude and latitude", "reproject to EPSG:4326")
    found: NDArray[np.object_] = shapely.from_wkb(geometry)
    if not np.isin(shapely.get_dimensions(found), (-1, 2)).all():  # -1: nothing but an empty geometry
        raise UsageError(path, "contains lines or points, not only polygons", "give land polygons")
    return found


def require_coastline(coastline: Path | None) -> None:
    """Raise what `land_polygons` would raise, as far as that is known before there is a place."""
    if coastline is not None:
        land_polygons((0.0, 0.0, 0.0, 0.0), coastline)
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
