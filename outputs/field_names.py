"""Names and descriptions of fields in a GeoPackage, which QGIS shows for column names: its extension `schema`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from outputs.attributes import Attribute

_SPECIFICATION = "http://www.geopackage.org/spec121/#extension_schema"
_TABLES = (
    """CREATE TABLE IF NOT EXISTS gpkg_data_columns (
        table_name TEXT NOT NULL, column_name TEXT NOT NULL, name TEXT, title TEXT, description TEXT, mime_type TEXT,
        constraint_name TEXT, CONSTRAINT pk_gdc PRIMARY KEY (table_name, column_name),
        CONSTRAINT gdc_tn UNIQUE (table_name, name)
    )""",
    """CREATE TABLE IF NOT EXISTS gpkg_data_column_constraints (
        constraint_name TEXT NOT NULL, constraint_type TEXT NOT NULL, value TEXT, min NUMERIC, min_is_inclusive BOOLEAN,
        max NUMERIC, max_is_inclusive BOOLEAN, description TEXT,
        CONSTRAINT gdcc_ntv UNIQUE (constraint_name, constraint_type, value)
    )""",
)


def describe_fields(connection: sqlite3.Connection, layer: str, fields: Sequence[Attribute]) -> None:
    """Record the title and the description of those fields that a layer has, anew where there are some already."""
    for statement in _TABLES:
        connection.execute(statement)
    for table in ("gpkg_data_columns", "gpkg_data_column_constraints"):
        connection.execute(
            "INSERT INTO gpkg_extensions (table_name, column_name, extension_name, definition, scope) "
            "SELECT ?, NULL, 'gpkg_schema', ?, 'read-write' WHERE NOT EXISTS "
            "(SELECT 1 FROM gpkg_extensions WHERE table_name = ? AND extension_name = 'gpkg_schema')",
            (table, _SPECIFICATION, table),
        )
    there = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (layer,))}
    connection.executemany(
        "INSERT OR REPLACE INTO gpkg_data_columns (table_name, column_name, name, title, description) "
        "VALUES (?, ?, ?, ?, ?)",
        [(layer, field.name, field.title, field.title, field.description) for field in fields if field.name in there],
    )
