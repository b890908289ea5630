"""Queries of the layers `slicks` and `scenes`, with superseded rows if wanted."""

from __future__ import annotations

import sqlite3
from typing import Any

from outputs.catalogue.selection import Selection


def rows(
    connection: sqlite3.Connection,
    layer: str,
    selection: Selection,
    order: str,
    limit: int | None,
    offset: int,
) -> list[dict[str, Any]]:
    """The rows selected, latest acquisition first."""
    query, values = statement(layer, "*", selection)
    selection.prepare(connection)
    paged = f"{query} ORDER BY acquired_start DESC, {order} LIMIT ? OFFSET ?"
    return [dict(row) for row in connection.execute(paged, (*values, -1 if limit is None else limit, offset))]


def count(connection: sqlite3.Connection, layer: str, selection: Selection) -> int:
    """The number of rows selected."""
    query, values = statement(layer, "fid", selection)
    selection.prepare(connection)
    return int(connection.execute(f"SELECT count(*) FROM ({query})", values).fetchone()[0])


def statement(layer: str, columns: str, selection: Selection) -> tuple[str, list[Any]]:
    """The SQL query of a selection, unordered, and its values."""
    parts: list[str] = []
    values: list[Any] = []
    for table in (layer,) if selection.current else (layer, f"former_{layer}"):
        condition, wanted = selection.condition(table)
        parts.append(f"SELECT {columns} FROM {table} WHERE {condition}")
        values += wanted
    return " UNION ALL ".join(parts), values
