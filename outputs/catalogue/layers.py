"""Rows of the GeoPackage's tables, and what its table of contents says of their layers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if rows:
        columns = ", ".join(f'"{name}"' for name in rows[0])
        holes = ", ".join("?" * len(rows[0]))
        connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({holes})", [tuple(row.values()) for row in rows]
        )


def extend(connection: sqlite3.Connection, layer: str, column: str, value: str) -> None:
    """Extend the recorded bounds of a layer to the rows with this value; bounds never shrink, they are only a hint."""
    west, south, east, north = connection.execute(
        f"SELECT min(minx), min(miny), max(maxx), max(maxy) FROM rtree_{layer}_geom "
        f"WHERE id IN (SELECT fid FROM {layer} WHERE {column} = ?)",
        (value,),
    ).fetchone()
    if west is not None:
        connection.execute(
            "UPDATE gpkg_contents SET "
            "min_x = min(coalesce(min_x, :west), :west), min_y = min(coalesce(min_y, :south), :south), "
            "max_x = max(coalesce(max_x, :east), :east), max_y = max(coalesce(max_y, :north), :north) "
            "WHERE table_name = :layer",
            {"west": west, "south": south, "east": east, "north": north, "layer": layer},
        )
    mark_changed(connection, layer)


def mark_changed(connection: sqlite3.Connection, layer: str) -> None:
    """Record that a layer changed now."""
    now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    connection.execute(f"UPDATE gpkg_contents SET last_change = {now} WHERE table_name = ?", (layer,))
