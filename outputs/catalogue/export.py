"""Slicks of the catalogue as files for other programs, by the suffix of the name."""

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
    """Write slicks as `suffix`, else that of `path`, says, in place of a former file.

    Raises `UsageError` for a suffix that is not in `FORMATS`, `StorageError`.
    """
    write = FORMATS.get(suffix or path.suffix.lower())
    if write is None:
        raise UsageError(path, "no format has this suffix", f"choose {', '.join(FORMATS)}")
    write(slicks, path)


def write_flatgeobuf(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks as FlatGeobuf with its spatial index. Raises `StorageError`."""
    with whole_file(path) as hidden:
        try:
            pyogrio.write_dataframe(
                slicks, hidden, layer=LAYER, driver="FlatGeobuf", geometry_type="MultiPolygon", SPATIAL_INDEX="YES"
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise StorageError(path, f"could not be written ({error})", "check space and permissions there") from error


def write_geoparquet(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks as GeoParquet 1.1 with the bounds of each. Raises `StorageError`, `UsageError` without pyarrow."""
    if find_spec("pyarrow") is None:
        others = ", ".join(suffix for suffix in FORMATS if suffix != ".parquet")
        raise UsageError(path, "GeoParquet needs pyarrow", f"pip install pyarrow, or choose {others}")
    with whole_file(path) as hidden:
        slicks.to_parquet(hidden, schema_version="1.1.0", write_covering_bbox=True)


FORMATS: dict[str, Callable[[gpd.GeoDataFrame, Path], None]] = {
    ".geojson": write_geojson,
    ".gpkg": write_geopackage,
    ".fgb": write_flatgeobuf,
    ".parquet": write_geoparquet,
}
