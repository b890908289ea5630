"""The layers and tables of the catalogue: how its file is begun, known again, and brought to this program's form.

GDAL makes the layers, each with its spatial index and the triggers that keep it; we add the tables and rules that
are no layers. `slicks` and `scenes` hold what is current, their twins `former_...` what was superseded, so that
every GIS shows the current state without a filter.
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

# From one version of the tables to the next; the first catalogue was version 1.
_UPGRADES: tuple[tuple[str, ...], ...] = ()
_GEOPACKAGE = int.from_bytes(b"GPKG", "big")  # the application_id; user_version is the GeoPackage's own as well


def version() -> int:
    """The version of the tables that this program writes."""
    return 1 + len(_UPGRADES)


def begin(path: Path) -> None:
    """Make an empty catalogue unless there is one; whole, and once only, whoever asks. Raises `StorageError`."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with awaited(path.with_name(f".{path.name}.lock"), never()):
            if path.exists():
                return
            with whole_file(path, path.suffix or ".gpkg") as hidden:
                try:
                    _build(hidden)
                except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
                    raise StorageError(path, f"could not be made ({error})", "check space and permissions") from error
                except sqlite3.Error as error:
                    raise failure(path, error) from error


def check(database: Database) -> None:
    """Bring the tables up to this program's form. Raises `UnreadableInput` for another kind of file or a newer form."""
    with database.reading() as connection:
        found = _version_of(connection, database.path)
    if found < version():
        with database.writing() as connection:
            _upgrade(connection, _version_of(connection, database.path))  # another process may have been faster


def _version_of(connection: sqlite3.Connection, path: Path) -> int:
    (kind,) = connection.execute("PRAGMA application_id").fetchone()
    ours = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'slickwatch_catalogue'").fetchone()
    if kind != _GEOPACKAGE or ours is None:
        raise UnreadableInput(path, "not a catalogue of Slickwatch", "name another file, or one that is not there yet")
    found = int(connection.execute("SELECT version FROM slickwatch_catalogue").fetchone()[0])
    if found > version():
        raise UnreadableInput(path, f"the catalogue is of a newer Slickwatch (version {found})", "upgrade this program")
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
    _add_layer(path, slicks, "former_slicks", "Slicks of results that were superseded")
    _add_layer(path, scenes, "former_scenes", "Scenes whose later processing was taken in their place")
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
    """The twin of `slicks` looks as it does; the scenes are outlines."""
    copy = """
        INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
                                  styleSLD, useAsDefault, description, owner, update_time)
        SELECT f_table_catalog, f_table_schema, :layer, f_geometry_column, :layer, coalesce(:qml, styleQML),
               iif(:qml IS NULL, styleSLD, NULL), useAsDefault, :layer, owner, update_time
        FROM layer_styles WHERE f_table_name = 'slicks'
    """
    for layer, qml in (("former_slicks", None), ("scenes", SCENES_QML), ("former_scenes", SCENES_QML)):
        connection.execute(copy, {"layer": layer, "qml": qml})
