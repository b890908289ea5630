"""Export of slicks to the formats of other programs, by file suffix."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import geopandas as gpd
import pyogrio

from ingest.errors import StorageError, UsageError
from ingest.files import whole_file
from outputs.vectors import LAYER, write_geojson, write_geopackage


def export(slicks: gpd.GeoDataFrame, path: Path, suffix: str | None = None) -> None:
    """Write slicks in the format of `suffix`, else of that of `path`, replacing an existing file.

    Raises `UsageError` for a suffix not in `FORMATS`, `StorageError`.
    """
    write = FORMATS.get(suffix or path.suffix.lower())
    if write is None:
        raise UsageError(path, "unknown file suffix", f"use {', '.join(FORMATS)}")
    write(slicks, path)


def write_flatgeobuf(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks as FlatGeobuf with its spatial index. Raises `StorageError`."""
    with whole_file(path) as hidden:
        try:
            pyogrio.write_dataframe(
                slicks, hidden, layer=LAYER, driver="FlatGeobuf", geometry_type="MultiPolygon", SPATIAL_INDEX="YES"
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise StorageError(path, f"cannot be written ({error})", "check disk space and permissions") from error


def write_geoparquet(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks as GeoParquet 1.1 with bounding boxes. Raises `StorageError`, `UsageError` without pyarrow."""
    if find_spec("pyarrow") is None:
        others = ", ".join(suffix for suffix in FORMATS if suffix != ".parquet")
        raise UsageError(path, "GeoParquet needs pyarrow", f"pip install pyarrow, or use {others}")
    with whole_file(path) as hidden:
        slicks.to_parquet(hidden, schema_version="1.1.0", write_covering_bbox=True)


FORMATS: dict[str, Callable[[gpd.GeoDataFrame, Path], None]] = {
    ".geojson": write_geojson,
    ".gpkg": write_geopackage,
    ".fgb": write_flatgeobuf,
    ".parquet": write_geoparquet,
}
