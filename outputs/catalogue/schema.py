"""The layers and tables of the catalogue: creating the file, recognising it, upgrading it.

GDAL creates the layers, each with its spatial index and the triggers that maintain it; other tables and triggers are
added here. `slicks` and `scenes` hold current rows, `former_slicks` and `former_scenes` superseded ones, so that any
GIS shows the current state without a filter.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio

from ingest.errors import StorageError, UnreadableInput
from ingest.files import storage_errors, whole_file
from ingest.locks import awaited, never
from outputs.attributes import slick_table
from outputs.catalogue.database import Database, failure
from outputs.catalogue.rows import SCENE_COLUMNS, SLICK_EXTRAS, empty_column
from outputs.catalogue.statements import RULES, TABLES
from outputs.catalogue.styles import SCENES_QML
from outputs.vectors import write_geopackage

# SQL from each version of the tables to the next, beginning with version 1.
_UPGRADES: tuple[tuple[str, ...], ...] = ()
_GEOPACKAGE = int.from_bytes(b"GPKG", "big")  # the application_id; user_version is also taken by GeoPackage


def version() -> int:
    """The version of the tables."""
    return 1 + len(_UPGRADES)


def create_file(path: Path) -> None:
    """Create an empty catalogue if missing, also when several processes do so at once. Raises `StorageError`."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with awaited(path.with_name(f".{path.name}.lock"), never()):
            if path.exists():
                return
            with whole_file(path, path.suffix or ".gpkg") as hidden:
                try:
                    _build(hidden)
                except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
                    raise StorageError(
                        path, f"cannot be created ({error})", "check disk space and permissions"
                    ) from error
                except sqlite3.Error as error:
                    raise failure(path, error) from error


def upgrade(database: Database) -> None:
    """Upgrade the tables to `version()`. Raises `UnreadableInput` for another kind of file or a newer version."""
    with database.reading() as connection:
        found = _version_of(connection, database.path)
    if found < version():
        with database.writing() as connection:
            _upgrade(
                connection, _version_of(connection, database.path)
            )  # read again: another process may have upgraded it


def _version_of(connection: sqlite3.Connection, path: Path) -> int:
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    ours = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'slickwatch_catalogue'").fetchone()
    if kind != _GEOPACKAGE or ours is None:
        raise UnreadableInput(path, "not a catalogue of Slickwatch", "choose another or a new file")
    found = int(connection.execute("SELECT version FROM slickwatch_catalogue").fetchone()[0])
    if found > version():
        raise UnreadableInput(
            path, f"written by a newer version of Slickwatch (catalogue {found})", "upgrade Slickwatch"
        )
    return found


def _upgrade(connection: sqlite3.Connection, found: int) -> None:
    for statements in _UPGRADES[found - 1 :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute("UPDATE slickwatch_catalogue SET version = ?", (version(),))


def _build(path: Path) -> None:
    slicks = slick_table([], [])
    for attribute in SLICK_EXTRAS:
        slicks[attribute.name] = empty_column(attribute.kind)
    scenes = gpd.GeoDataFrame(
        {attribute.name: empty_column(attribute.kind) for attribute in SCENE_COLUMNS}, geometry=[], crs="EPSG:4326"
    )
    write_geopackage(slicks, path)
    _add_layer(path, scenes, "scenes", "Footprints of the scenes analysed")
    _add_layer(path, slicks, "former_slicks", "Slicks of superseded results")
    _add_layer(path, scenes, "former_scenes", "Scenes replaced by a later processing")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for statement in (*TABLES, *RULES):
            connection.execute(statement)
        connection.execute("UPDATE gpkg_contents SET description = 'Slicks, current' WHERE table_name = 'slicks'")
        _add_styles(connection)
        connection.execute("INSERT INTO slickwatch_catalogue (version) VALUES (?)", (version(),))
        connection.execute("COMMIT")


def _add_layer(path: Path, rows: pd.DataFrame, layer: str, description: str) -> None:
    options = {"DESCRIPTION": description, "SPATIAL_INDEX": "YES"}
    pyogrio.write_dataframe(
        rows, path, layer=layer, driver="GPKG", geometry_type="MultiPolygon", append=True, layer_options=options
    )


def _add_styles(connection: sqlite3.Connection) -> None:
    """`former_slicks` has the style of `slicks`; scenes are outlines."""
    copy = """
        INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
                                  styleSLD, useAsDefault, description, owner, update_time)
        SELECT f_table_catalog, f_table_schema, :layer, f_geometry_column, :layer, coalesce(:qml, styleQML),
               iif(:qml IS NULL, styleSLD, NULL), useAsDefault, :layer, owner, update_time
        FROM layer_styles WHERE f_table_name = 'slicks'
    """
    for layer, qml in (("former_slicks", None), ("scenes", SCENES_QML), ("former_scenes", SCENES_QML)):
        connection.execute(copy, {"layer": layer, "qml": qml})
