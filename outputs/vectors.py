"""Slicks as GeoJSON (RFC 7946), GeoPackage with its style, FlatGeobuf, GeoParquet and CSV."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyogrio
import shapely
from shapely.geometry import MultiPolygon

from ingest.errors import StorageError, UsageError
from ingest.files import whole_file, write_bytes
from ingest.gdal_paths import vector_path
from outputs.attributes import ATTRIBUTES, SLICK_EXTRAS, plain
from outputs.coordinates import DECIMALS, bounding_box, rounded
from outputs.field_names import describe_fields
from outputs.style import QML, SLD

LAYER = "slicks"


def write_geojson(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks by RFC 7946; no slicks give a valid empty FeatureCollection.

    `slicks` are in EPSG:4326 with a column `id`. Outlines are expected split at the antimeridian, as
    `Geolocation.to_lonlat` does. Raises `StorageError`.
    """
    columns = [name for name in slicks.columns if name != slicks.geometry.name]
    features = [
        _feature(dict(zip(columns, values, strict=True)), outline)
        for values, outline in zip(slicks[columns].itertuples(index=False, name=None), slicks.geometry, strict=True)
    ]
    with whole_file(path) as hidden, hidden.open("w", encoding="utf-8") as file:
        json.dump({"type": "FeatureCollection", "features": features}, file, allow_nan=False, separators=(",", ":"))
        file.write("\n")


def write_geopackage(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks as the layer `slicks` of a GeoPackage with QGIS's table `layer_styles` and names of the fields.

    Raises `StorageError`.
    """
    with whole_file(path) as hidden, vector_path(hidden) as plain_path, driver_failures(path):
        _write_layer(slicks, plain_path)
        _write_style(plain_path)
        with closing(sqlite3.connect(hidden.absolute())) as database, database:
            describe_fields(database, LAYER, (*ATTRIBUTES, *SLICK_EXTRAS))
        _check_complete(hidden, len(slicks))


@contextmanager
def driver_failures(path: Path) -> Iterator[None]:
    """Turn failures of GDAL and SQLite to write a file into `StorageError`."""
    try:
        yield
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, sqlite3.Error) as error:
        raise StorageError(path, f"cannot be written ({error})", "check disk space and permissions") from error


def read_slicks(path: Path) -> gpd.GeoDataFrame:
    """Read the slicks of a file that `write_geopackage` or `write_geojson` wrote."""
    with vector_path(path) as plain_path:
        return gpd.read_file(plain_path, layer=LAYER if path.suffix == ".gpkg" else None)


def write_style(path: Path) -> None:
    """Write the QGIS style of the slick layer as a .qml file. Raises `StorageError`."""
    write_bytes(path, QML.encode())


def _feature(values: dict[str, Any], outline: MultiPolygon) -> dict[str, Any]:
    properties = {name: plain(value) for name, value in values.items()}
    outline = rounded(outline)  # tables of former versions have more decimals
    parts = [_rings(part) for part in outline.geoms]
    return {
        "type": "Feature",
        "id": properties["id"],
        "bbox": bounding_box(outline),
        "geometry": {"type": "MultiPolygon", "coordinates": parts},
        "properties": properties,
    }


def _rings(part: shapely.Polygon) -> list[list[list[float]]]:
    """Exterior counter-clockwise, holes clockwise (RFC 7946, 3.1.6)."""
    rings = (part.exterior, *part.interiors)
    return [shapely.get_coordinates(ring).tolist() for ring in rings]


def _write_layer(slicks: gpd.GeoDataFrame, path: Path) -> None:
    pyogrio.write_dataframe(
        slicks,
        path,
        layer=LAYER,
        driver="GPKG",
        geometry_type="MultiPolygon",
        dataset_options={"VERSION": "1.3"},  # GDAL before 3.7, as in QGIS 3.22 on Debian 12, warns of 1.4 and its times
        layer_options={"DESCRIPTION": "Slicks found in a Sentinel-1 scene", "SPATIAL_INDEX": "YES"},
    )


def _write_style(path: Path) -> None:
    """The table where QGIS looks up styles; the driver registers it as a table without geometry."""
    style = pd.DataFrame(
        {
            "f_table_catalog": [""],
            "f_table_schema": [""],
            "f_table_name": [LAYER],
            "f_geometry_column": ["geom"],
            "styleName": ["slicks by confidence"],
            "styleQML": [QML],
            "styleSLD": [SLD],
            "useAsDefault": [True],
            "description": ["Class and confidence"],
            "owner": [""],
            "ui": pd.Series([None], dtype="object"),
            "update_time": pd.to_datetime([datetime.now(UTC)]).as_unit("ms"),
        }
    )
    pyogrio.write_dataframe(style, path, layer="layer_styles", driver="GPKG", append=True, layer_options={"FID": "id"})


def _check_complete(path: Path, expected: int) -> None:
    """The driver may not report a full disk: count what is there."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        (intact,) = database.execute("PRAGMA quick_check").fetchone()
        (count,) = database.execute(f"SELECT count(*) FROM {LAYER}").fetchone()
        (styles,) = database.execute("SELECT count(*) FROM layer_styles").fetchone()
    if intact != "ok" or count != expected or styles != 1:
        raise StorageError(path, "not written completely", "check disk space and run again")


def export(slicks: gpd.GeoDataFrame, path: Path, suffix: str | None = None) -> None:
    """Write slicks in the format of `suffix`, else of that of `path`, replacing an existing file.

    Raises `UsageError` for a suffix not in `FORMATS`, `StorageError`.
    """
    write = FORMATS.get(suffix or path.suffix.lower())
    if write is None:
        raise UsageError(path, "unknown file suffix", f"use {', '.join(FORMATS)}")
    write(slicks, path)


def write_flatgeobuf(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write features as FlatGeobuf, with its spatial index unless one has no geometry. Raises `StorageError`."""
    index = "NO" if slicks.geometry.isna().any() else "YES"  # which the format cannot hold
    with whole_file(path) as hidden, vector_path(hidden) as plain_path, driver_failures(path):
        pyogrio.write_dataframe(
            slicks, plain_path, layer=LAYER, driver="FlatGeobuf", geometry_type="MultiPolygon", SPATIAL_INDEX=index
        )


def write_geoparquet(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write slicks as GeoParquet 1.1 with bounding boxes. Raises `StorageError`, `UsageError` without pyarrow."""
    if find_spec("pyarrow") is None:
        others = ", ".join(suffix for suffix in FORMATS if suffix != ".parquet")
        raise UsageError(path, "GeoParquet needs pyarrow", f"pip install pyarrow, or use {others}")
    with whole_file(path) as hidden:
        slicks.to_parquet(hidden, schema_version="1.1.0", write_covering_bbox=True)


def write_csv(slicks: gpd.GeoDataFrame, path: Path) -> None:
    """Write the attributes of slicks as CSV, empty where unknown, their outlines as `wkt`. Raises `StorageError`."""
    columns = [name for name in slicks.columns if name != slicks.geometry.name]
    outlines = [shapely.to_wkt(rounded(one), rounding_precision=DECIMALS) for one in slicks.geometry]
    with whole_file(path) as hidden, hidden.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, "wkt"])
        for values, outline in zip(slicks[columns].itertuples(index=False, name=None), outlines, strict=True):
            writer.writerow([*map(plain, values), outline])


FORMATS: dict[str, Callable[[gpd.GeoDataFrame, Path], None]] = {
    ".geojson": write_geojson,
    ".gpkg": write_geopackage,
    ".fgb": write_flatgeobuf,
    ".parquet": write_geoparquet,
    ".csv": write_csv,
}
